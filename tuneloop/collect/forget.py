"""Remove a person: their messages, their names in other people's, the datasets and rows that held them.

What stays are hashes in `forgotten`, so that importing the same export again does not bring them back and new messages
that mention them are masked (forgotten.py says how far that goes), and the list of model versions trained on their
words: weights cannot be edited, only retired and tuned again. Calls and feedback are masked as they are now, those on
their way to the database included; what clients send to a server later is kept as they send it, and answers that a
running server remembers (`cache` of a task) are given until their time is over.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update

from tuneloop import journal, versions
from tuneloop.collect import forgotten as forgotten_names
from tuneloop.collect import masking, store
from tuneloop.collect.names import WORD, Forms, fold, forms
from tuneloop.collect.privacy import remove_names
from tuneloop.db.tables import chats, datasets, forgotten, messages
from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.workspace import Workspace, write_json

UNFINISHED = ".forget.json"  # in the workspace, from the first change to the last


@dataclass
class Forgotten:
    """What `forget` did. `versions` were trained on the person and still know them."""

    person: str
    names: list[str]
    messages: int = 0
    mentions: int = 0
    rows: int = 0
    rebuilt: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


def person(workspace: Workspace, wanted: str) -> tuple[str, set[str]]:
    """(sender id, display names) of the one person that `wanted` (an id, a full name, a part of one) names.

    Raises Missing when nobody fits, BadInput when several do.
    """
    roster = {sender: names for sender, names in store.roster(workspace).items() if not sender.startswith("forwarded:")}
    if begun := _begun(workspace):
        roster[begun["sender"]] = set(begun["names"])
    if wanted in roster:
        return wanted, roster[wanted]
    folded = fold(wanted)
    exact = [s for s, names in roster.items() if folded in {fold(n) for n in names}]
    found = exact or [s for s, names in roster.items() if any(folded in fold(n) for n in names)]
    if len(found) > 1:
        listed = ", ".join(f"{s} ({', '.join(sorted(roster[s]))})" for s in sorted(found)[:10])
        raise BadInput(
            _("'{wanted}' fits several people: {listed}").format(wanted=wanted, listed=listed),
            fix=_("Give the id instead of the name."),
        )
    if not found:
        raise Missing(
            _("nobody here is called '{wanted}'").format(wanted=wanted), fix=_("`tuneloop speakers` lists the people.")
        )
    return found[0], roster[found[0]]


def forget(workspace: Workspace, wanted: str, *, watch: Progress = silent) -> Forgotten:
    """Remove the person everywhere in the workspace; see the module. Safe to repeat after a crash."""
    sender, names = person(workspace, wanted)
    begun = _begun(workspace)
    if begun and begun["sender"] != sender:
        forget(workspace, begun["sender"], watch=watch)
        begun = None
    done = Forgotten(sender, sorted(names))
    theirs = _their_messages(workspace, sender)
    trained = [v for v in versions.history(workspace) if _uses(versions.lineage(workspace, v)["messages"], theirs)]
    done.versions = begun["versions"] if begun else [v.id for v in trained]
    affected = begun["datasets"] if begun else _affected_datasets(workspace, theirs, names)
    theirs_alone = _forms_of_one(workspace, sender, names)
    with workspace.lock("collect"):
        # Once the rows are gone nobody could say any more which datasets held them.
        note = {"sender": sender, "names": done.names, "datasets": affected, "versions": done.versions}
        write_json(workspace.path / UNFINISHED, note)
        journal.settle(workspace)
        with workspace.db.write() as rows:
            _remember_only_hashes(rows, sender, names, theirs_alone)
            done.messages = rows.execute(delete(messages).where(messages.c.sender == sender)).rowcount
            rows.execute(update(messages).where(messages.c.forwarded.in_(names)).values(forwarded=""))
            _unname_chats(rows, theirs_alone)
            done.mentions = _scrub_messages(rows, theirs_alone, watch)
            done.rows = masking.mask_rows(rows, sender, theirs_alone)
        _wipe_free_pages(workspace)
        journal.blank(workspace.path / "journal")
    for number, name in enumerate(affected):
        watch(_("rebuilding datasets"), number, len(affected))
        if (folder := workspace.folder("datasets") / name).exists():
            (done.rebuilt if _rebuild(workspace, folder, sender) else done.removed).append(name)
    (workspace.path / UNFINISHED).unlink()
    return done


def _begun(workspace: Workspace) -> dict[str, Any] | None:
    """Whom a `forget` that was killed half way was about; the next one finishes it."""
    path = workspace.path / UNFINISHED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _remember_only_hashes(rows: Connection, sender: str, names: set[str], theirs_alone: Forms) -> None:
    """Of the id; of each display name, because exports without ids (HTML, WhatsApp) know people by their names alone;
    and of each form of the names, to find them in what others write."""
    known = set(rows.execute(select(forgotten.c.hash)).scalars())
    salt = forgotten_names.salt_of(known) or forgotten_names.new_salt()
    kept = {salt} | store.forgotten_hashes(sender, names) | forgotten_names.hashes(theirs_alone, salt)
    fresh = [{"hash": h, "time": int(time.time())} for h in sorted(kept - known)]
    if fresh:
        rows.execute(insert(forgotten), fresh)


def _forms_of_one(workspace: Workspace, sender: str, names: set[str]) -> Forms:
    """This person's names only: a first name shared with somebody who stays is not theirs alone."""
    others = [n for s, listed in store.roster(workspace).items() if s != sender for n in listed - names]
    return forms(names, without={fold(w) for name in others for w in WORD.findall(name)})


def _unname_chats(rows: Connection, names: Forms) -> None:
    """A personal chat is called what the other person is called."""
    for row in rows.execute(select(chats.c.id, chats.c.name)).all():
        cleaned, hits = remove_names(row.name, names)
        if hits:
            rows.execute(update(chats).where(chats.c.id == row.id).values(name=cleaned))


def _their_messages(workspace: Workspace, sender: str) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    with workspace.db.read() as rows:
        for row in rows.execute(select(messages.c.chat, messages.c.id).where(messages.c.sender == sender)):
            found.setdefault(row.chat, set()).add(row.id)
    return found


def _uses(evidence: dict[str, list[int]], theirs: dict[str, set[int]]) -> bool:
    return any(not ids.isdisjoint(evidence.get(chat, ())) for chat, ids in theirs.items())


def _affected_datasets(workspace: Workspace, theirs: dict[str, set[int]], names: set[str]) -> list[str]:
    affected = []
    for card in sorted(workspace.folder("datasets").glob("*/card.json")):
        folder = card.parent
        evidence: dict[str, list[int]] = {}
        for file in folder.glob("*.examples.jsonl"):
            for line in file.read_text(encoding="utf-8").splitlines():
                example = json.loads(line)
                evidence.setdefault(example["chat"], []).extend(example["messages"])
        if _uses(evidence, theirs) or any(name and name in card.read_text(encoding="utf-8") for name in names):
            affected.append(folder.name)
    return affected


def _scrub_messages(rows: Connection, names: Forms, watch: Progress) -> int:
    total = rows.execute(select(func.count()).select_from(messages)).scalar_one()
    changed: list[dict[str, Any]] = []
    for number, row in enumerate(rows.execute(select(messages.c.chat, messages.c.id, messages.c.text))):
        watch(_("looking for mentions"), number, total)
        cleaned, hits = remove_names(row.text, names)
        if hits:
            changed.append({"c": row.chat, "i": row.id, "t": cleaned})
    if changed:
        where = (messages.c.chat == bindparam("c")) & (messages.c.id == bindparam("i"))
        rows.execute(update(messages).where(where).values(text=bindparam("t")), changed)
    return len(changed)


def _wipe_free_pages(workspace: Workspace) -> None:
    """Deleted rows stay readable in an SQLite file's free pages and log until both are rewritten."""
    if not workspace.db.is_sqlite:
        return
    with workspace.db.engine.connect() as connection:
        connection.execute(text("VACUUM"))
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    for copy in workspace.path.glob("*.before-*.db"):  # before-upgrade, before-restore
        copy.unlink()


def _rebuild(workspace: Workspace, folder: Path, sender: str) -> bool:
    """Build a dataset again from what is left; False (and the folder removed) when that is not possible."""
    from tuneloop.collect import dataset

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    speakers: Sequence[str] = [s["id"] for s in card["speakers"] if s["id"] != sender]
    try:
        if not speakers:
            raise NotEnoughData(_("the forgotten person was the dataset's only speaker"))
        dataset.build(
            workspace, chat=card["chats"][0]["id"], speakers=speakers, name=folder.name, system=card["system"]
        )
    except NotEnoughData:
        shutil.rmtree(folder)
        with workspace.db.write() as rows:
            rows.execute(delete(datasets).where(datasets.c.path == str(folder.relative_to(workspace.path))))
        return False
    return True
