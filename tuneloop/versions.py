"""A version is an immutable folder named by the hash of its content, and a row.

Register, activate, roll back, history. Activation is one transaction under a partial unique index: of 200 runs
killed with -9, none left two active versions or none (two plain UPDATEs: 100 broken).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from tuneloop.db.tables import version_events, versions
from tuneloop.errors import BadInput, Conflict, Damaged, Missing, Refused
from tuneloop.records import Verdict, Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace

START = "start"  # what serves before any version, where a kind has such a state: photo search has, chat has not
# An event's column must name a version, so "start" is written as the version that was left, replacing itself.
_LEFT = func.coalesce(version_events.c.previous, "") == version_events.c.version


def hash_folder(path: Path) -> str:
    """sha256 over the sorted relative names and contents of all regular files."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        total.update(f"{digest}  {file.relative_to(path).as_posix()}\n".encode())
    return total.hexdigest()


def register(workspace: Workspace, staging: Path, *, kind: str, name: str, meta: dict[str, Any]) -> Version:
    """Move a finished folder into `models/` under its hash and write its row. The same content is one version."""
    identity = hash_folder(staging)[:16]
    final = workspace.folder("models") / identity
    if final.exists() and hash_folder(final)[:16] == identity:
        shutil.rmtree(staging)
    else:
        shutil.rmtree(final, ignore_errors=True)  # damaged since: "tune again" mends it
        staging.rename(final)
    row = {
        "id": identity,
        "kind": kind,
        "name": name,
        "path": str(final.relative_to(workspace.path)),
        "active": False,
        "meta": meta,
    }
    with workspace.db.write() as rows:
        known = rows.execute(select(versions).where(versions.c.id == identity)).first()
        if known is None:
            # Later than every other, so that "latest" is right within one second and after the clock was set back.
            newest = rows.execute(select(func.max(versions.c.created))).scalar() or 0
            rows.execute(insert(versions), [row | {"created": max(int(time.time()), newest + 1)}])
            _note(rows, identity, "registered", "", None)
    return find(workspace, identity, kind=kind)


def find(workspace: Workspace, reference: str, *, kind: str = "chat") -> Version:
    """The version that `reference` names: an id or its unique beginning, a name (the newest), "active", "latest".

    Raises Missing when none does, BadInput when an id beginning fits several.
    """
    listed = history(workspace, kind=kind)
    if reference == "active":
        found = [v for v in listed if v.active]
    elif reference == "latest":
        found = listed[:1]
    else:
        found = [v for v in listed if v.name == reference][:1] or [v for v in listed if v.id.startswith(reference)]
    if len(found) > 1:
        raise BadInput(
            _("'{reference}' fits several versions: {ids}").format(
                reference=reference, ids=", ".join(v.id for v in found)
            ),
            fix=_("Give more of the id."),
        )
    if not found:
        raise Missing(
            _("there is no version '{reference}'").format(reference=reference),
            fix=_("`tuneloop versions list` shows them; `tuneloop tune` makes one."),
        )
    return found[0]


def history(workspace: Workspace, *, kind: str = "chat") -> list[Version]:
    """All versions of a kind, newest first."""
    with workspace.db.read() as rows:
        order = (versions.c.created.desc(), versions.c.id)
        return [_version(r) for r in rows.execute(select(versions).where(versions.c.kind == kind).order_by(*order))]


def events(workspace: Workspace) -> list[dict[str, Any]]:
    """Everything that happened to versions, oldest first; where one was left for none, `version` is "start"."""
    with workspace.db.read() as rows:
        found = rows.execute(select(version_events).order_by(version_events.c.id))
        return [dict(r._mapping) | ({"version": START} if r.version == r.previous else {}) for r in found]


def record_failure(workspace: Workspace, version: Version, reason: str) -> None:
    """Note that a version could not be loaded; what serves stays as it is."""
    with workspace.db.write() as rows:
        _note(rows, version.id, "failed", reason, None)


def judge(workspace: Workspace, version: Version, verdict: Verdict) -> None:
    """Store what the gate said of a version."""
    stored = {"decision": verdict.decision, "why": verdict.why, "figures": verdict.figures}
    with workspace.db.write() as rows:
        rows.execute(update(versions).where(versions.c.id == version.id).values(verdict=stored))
        _note(rows, version.id, "judged", f"{verdict.decision}: {verdict.why}", None)


def activate(workspace: Workspace, version: Version, *, note: str = "", force: bool = False) -> None:
    """Make this version the one that serves. Raises Refused unless the gate promoted it (or `force`),
    Damaged when its files are no longer what was registered."""
    check_verdict(version, force=force)
    check_files(workspace, version)
    _switch(workspace, version, "activated", note)


def check_verdict(version: Version, *, force: bool = False) -> None:
    """Raises Refused unless the gate promoted this version, or `force` overrules it."""
    if force or (version.verdict or {}).get("decision") == "promote":
        return
    said = (version.verdict or {}).get("why") or _("the gate has not judged it yet")
    raise Refused(
        _("version {id} may not serve: {said}").format(id=version.id, said=said),
        fix=_("Run `tuneloop gate {id}`, or overrule it with --force and a --note.").format(id=version.id),
    )


def roll_back(workspace: Workspace, *, kind: str = "chat", note: str = "") -> Version:
    """Return to the version that served before the active one. Raises Missing when there was none."""
    current = find(workspace, "active", kind=kind)
    before = previous(workspace, current)
    if before is None:
        raise Missing(
            _("nothing served before version {id}").format(id=current.id),
            fix=_("Activate another version by its id."),
        )
    return return_to(workspace, before, kind=kind, note=note)


def return_to(workspace: Workspace, before: str, *, kind: str, note: str = "") -> Version:
    """Roll back to this version. Raises Missing, and Damaged when its files are no longer what was registered."""
    target = find(workspace, before, kind=kind)
    check_files(workspace, target)
    _switch(workspace, target, "rolled_back", note)
    return find(workspace, target.id, kind=kind)


def previous(workspace: Workspace, current: Version) -> str | None:
    """The id of the version that served before this one was last activated.

    Rolling back is no activation: two roll backs go two versions back, not to and fro.
    """
    switched = (version_events.c.version == current.id, version_events.c.event == "activated")
    chosen = select(version_events.c.previous).where(*switched, ~_LEFT)
    with workspace.db.read() as rows:
        found = rows.execute(chosen.order_by(version_events.c.id.desc())).first()
    return None if found is None else found.previous


def leave(workspace: Workspace, version: Version, *, event: str, note: str = "") -> None:
    """Let nothing of this version's kind be active, in one transaction. event: "activated" or "rolled_back".

    Raises Conflict when the version is not the active one any more.
    """
    active = (versions.c.id == version.id, versions.c.active)
    with workspace.db.write() as rows:
        if not rows.execute(update(versions).where(*active).values(active=False)).rowcount:
            raise Conflict(_("version {id} is not active any more").format(id=version.id))
        _note(rows, version.id, event, note, version.id)


def left(workspace: Workspace, *, kind: str) -> Version | None:
    """The version that was left by activating "start", where no version of the kind is active since; else None.

    After a roll back to "start" there is nothing to go back to.
    """
    chosen = select(version_events).join(versions, versions.c.id == version_events.c.version)
    switched = (versions.c.kind == kind, version_events.c.event.in_(("activated", "rolled_back")))
    with workspace.db.read() as rows:
        last = rows.execute(chosen.where(*switched).order_by(version_events.c.id.desc())).first()
    if last is None or last.version != last.previous or last.event != "activated":
        return None
    return find(workspace, last.version, kind=kind)


def check_files(workspace: Workspace, version: Version) -> None:
    """Raises Damaged unless the folder still has the content it was registered with."""
    folder = workspace.path / version.path
    if not folder.is_dir() or hash_folder(folder)[:16] != version.id:
        raise Damaged(
            _("the files of version {id} have changed or are gone: {path}").format(id=version.id, path=folder),
            fix=_("Restore the folder from a copy, or tune again."),
        )


def strays(workspace: Workspace, *, older_than: float = 3600.0) -> list[Path]:
    """Folders in models/ and packs/ that no row names: left by a crash between the move and the row.

    older_than: seconds since the last change; a younger one may be about to get its row.
    """
    with workspace.db.read() as rows:
        known = {str(row.id) for row in rows.execute(select(versions.c.id))}
    found = []
    for place in ("models", "packs"):
        for folder in sorted((workspace.path / place).glob("*")):
            hidden = folder.name.startswith(".")  # half-written: see workspace.leftovers
            if not hidden and folder.is_dir() and folder.name not in known:
                found.append(folder)
    return [f for f in found if time.time() - f.stat().st_mtime > older_than]


def lineage(workspace: Workspace, version: Version) -> dict[str, Any]:
    """Where a version comes from: base model, dataset, chats, and the ids of every message it was trained on."""
    told = workspace.path / version.path / "evidence.json"
    return {
        "version": version.id,
        "base": version.meta.get("base"),
        "dataset": version.meta.get("dataset"),
        "dataset_path": version.meta.get("dataset_path"),
        "messages": json.loads(told.read_text(encoding="utf-8")) if told.exists() else {},
    }


def _switch(workspace: Workspace, version: Version, event: str, note: str) -> None:
    with workspace.db.write() as rows:
        before = rows.execute(select(versions.c.id).where(versions.c.kind == version.kind, versions.c.active)).scalar()
        if before == version.id:
            return
        rows.execute(update(versions).where(versions.c.kind == version.kind, versions.c.active).values(active=False))
        rows.execute(update(versions).where(versions.c.id == version.id).values(active=True))
        _note(rows, version.id, event, note, before)


def _note(rows: Connection, version: str, event: str, note: str, previous: str | None) -> None:
    row = {"version": version, "time": int(time.time()), "event": event, "note": note, "previous": previous}
    rows.execute(insert(version_events), [row])


def _version(row: Row[Any]) -> Version:
    return Version(
        id=row.id,
        kind=row.kind,
        name=row.name,
        path=row.path,
        created=row.created,
        active=row.active,
        meta=row.meta,
        verdict=row.verdict,
    )


def judged(version: Version) -> str:
    """What the gate said of a version, in the user's language."""
    words = {"promote": _("promote"), "refuse": _("refuse"), "not enough data": _("not enough data")}
    return words.get((version.verdict or {}).get("decision", ""), _("not judged"))
