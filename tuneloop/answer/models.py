"""The models there are: files of this workspace and what the engines have; fetched, listed, removed.

A file from a URL is somebody's: its address is checked (`engines.address`), every redirect again, its size and sum
while it comes, its header before it takes its name. Nothing that a task, the active version or the way back needs is
removed.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from sqlalchemy import delete, func, select

from tuneloop import versions
from tuneloop.answer import holds
from tuneloop.answer.book import Book
from tuneloop.answer.stores import RESERVE
from tuneloop.db.tables import calls, packs
from tuneloop.engines import address, gguf_check
from tuneloop.engines.address import Resolver, resolve
from tuneloop.engines.ollama import library, tagged
from tuneloop.errors import BadInput, Conflict, Damaged, EngineError, Hostile, Missing
from tuneloop.progress import Progress, silent
from tuneloop.records import EngineSpec
from tuneloop.texts import _
from tuneloop.workspace import Workspace, need_disk

HOPS = 5
PIECE = 1 << 20
PATIENCE = 30.0  # seconds without a byte

Listing = Mapping[str, Sequence[Mapping[str, Any]] | str]  # engine -> its models, or why it does not answer


def files(workspace: Workspace, book: Book | None = None, *, tenant: str = "") -> list[dict[str, Any]]:
    """GGUF files of the workspace: {"id", "path", "size", "family", "quantisation", "used", "needed_by"}.

    used: when a call was last answered by it (Unix seconds), or None. needed_by: why it is not removed.
    """
    with workspace.db.read() as rows:
        packed = rows.execute(select(packs)).all()
        latest = select(calls.c.version, func.max(calls.c.time)).group_by(calls.c.version)
        latest = latest.where(calls.c.tenant == tenant) if tenant else latest
        used: dict[str, float] = {version: float(when) for version, when in rows.execute(latest)}
    found = []
    for row in packed:
        path = workspace.path / row.path
        found.append(
            _described(path, row.version, used.get(row.version), row.quant) | {"id": f"{row.version}/{row.quant}"}
        )
    for path in sorted((workspace.folder("models")).glob("*.gguf")):
        found.append(_described(path, "file:" + path.name, used.get("file:" + path.name), ""))
    for one in found:
        one["needed_by"] = needed_by(workspace, str(one["version"]), Path(one["path"]), book)
    return found


def everything(workspace: Workspace, book: Book, engines: Listing, *, tenant: str = "") -> list[dict[str, Any]]:
    """The files, then the models of every engine that answers, with the keys of `files` and "engine" ("": a file).

    tenant: a team learns when itself used a model last, and whether it is needed, not by whose experiment.
    """
    with workspace.db.read() as rows:
        latest = select(calls.c.engine, calls.c.model, func.max(calls.c.time)).group_by(calls.c.engine, calls.c.model)
        latest = latest.where(calls.c.tenant == tenant) if tenant else latest
        used: dict[tuple[str, str], float] = {}
        for engine, model, when in rows.execute(latest):
            key = (engine, _same(book, engine, model))
            used[key] = max(float(when), used.get(key, 0.0))
    found = [{"engine": "", **one} for one in files(workspace, book, tenant=tenant)]
    for engine, listed in engines.items():
        for model in () if isinstance(listed, str) else listed:
            known = {key: model.get(key) for key in ("id", "size", "family", "quantisation", "modified")}
            found.append(
                {
                    "engine": engine, **known, "used": used.get((engine, _same(book, engine, str(model["id"])))),
                    "needed_by": engine_model_needed_by(workspace, book, engine, str(model["id"])),
                }
            )  # fmt: skip
    for one in found:
        one["needed_by"] = _("it is in use") if tenant and one["needed_by"] else one["needed_by"]
    return found


def needed_by(workspace: Workspace, version: str, path: Path, book: Book | None = None) -> str:
    """What needs a version's file or a fetched one: "" for nothing."""
    users = [e.name for e in (book.engines.values() if book else ()) if path.absolute() in _files_of(e)]
    if users:
        return _("the engine {names}").format(names=", ".join(users))
    known = {} if version.startswith("file:") else {v.id: v for v in versions.history(workspace)}
    if version in known and known[version].active:
        return _("it is the active version")
    active = next((v for v in known.values() if v.active), None)
    if active and versions.previous(workspace, active) == version:
        return _("`tuneloop versions rollback` returns to it")
    return ""


def engine_model_needed_by(workspace: Workspace, book: Book, engine: str, model: str) -> str:
    """What needs a model of an engine: an experiment that runs, else a variant that may be rolled back to."""
    users = [
        f"{task.name}/{variant.name}"
        for task in book.tasks.values()
        for variant in task.variants
        if variant.engine == engine and _same(book, engine, variant.model) == _same(book, engine, model)
    ]
    held = holds.held(workspace) if users else {}
    if experiment := next((held[name] for name in users if name in held), ""):
        return _("the experiment {name}").format(name=experiment)
    return _("the variant {names}").format(names=", ".join(users)) if users else ""


def check_unneeded(workspace: Workspace, book: Book, engine: str, model: str) -> None:
    """Raises Conflict naming what needs a model of an engine."""
    if why := engine_model_needed_by(workspace, book, engine, model):
        raise _needed(model, why)


def ollama(book: Book, engine: str) -> EngineSpec:
    """The Ollama engine of that name. Raises Missing."""
    spec = book.engines.get(engine)
    if spec is None or spec.kind != "ollama":
        raise Missing(
            _("'{name}' is no Ollama engine of tuneloop.toml").format(name=engine[:100]),
            fix=_('Write [engines.NAME] with kind = "ollama".'),
        )
    return spec


def check_library(workspace: Workspace, model: str, *, resolver: Resolver = resolve) -> None:
    """A model's name may name a host, and Ollama asks whichever it is. Raises Refused for one that is not public."""
    if host := library(model):
        address.allowed(f"https://{host}/", hosts=_hosts(workspace), resolver=resolver)


def file_of(workspace: Workspace, name: str) -> Path:
    """The GGUF file called like an "id" of `files`. Raises Missing."""
    found = next((Path(one["path"]) for one in files(workspace) if one["id"] == name), None)
    if found is None or not found.is_file():
        raise Missing(
            _("there is no file '{name}' in models/").format(name=name[:100]),
            fix=_("`tuneloop models list` shows them."),
        )
    return found


def fetch(
    workspace: Workspace,
    url: str,
    *,
    sha256: str = "",
    limit: int = 64 << 30,
    watch: Progress = silent,
    resolver: Resolver = resolve,
) -> Path:
    """Download a GGUF file into models/; a broken download goes on where it stopped.

    limit: bytes. Raises Refused for an address that is not public, BadInput, Damaged (another sum than `sha256`),
    Hostile or Damaged for a file that is no sound GGUF, EngineError for what the server says.
    """
    name = Path(urlsplit(url).path).name
    if not name.endswith(".gguf") or name.startswith("."):
        raise BadInput(_("the address does not end in the name of a .gguf file"), fix=_("Only GGUF files are fetched."))
    target = workspace.folder("models") / name
    if target.exists():
        raise Conflict(_("{path} is there already").format(path=target), fix=_("Remove it first, or rename it."))
    part = target.with_name(f".{name}.part")
    with workspace.lock("fetch"):  # two that write one half-done file would spoil it
        try:
            _download(url, part, limit, _hosts(workspace), resolver, watch)
        except (http.client.HTTPException, OSError) as problem:
            raise EngineError(_("the download broke off: {why}").format(why=problem), fix=_again()) from problem
        found = _sum(part)
        if sha256 and found != sha256.lower():
            part.unlink()
            raise Damaged(_("the file's SHA-256 is {found}, not the one given").format(found=found))
        try:
            gguf_check.check(part)
        except (Hostile, Damaged):
            part.unlink()
            raise
        part.rename(target)
    return target


def remove(workspace: Workspace, name: str, book: Book) -> int:
    """Remove a fetched file, or one quantisation of a version ("VERSION/QUANT"); bytes freed.

    Raises Missing, Conflict naming what needs it.
    """
    path = file_of(workspace, name)
    version, packed, quant = name.partition("/")
    if why := needed_by(workspace, version if packed else "file:" + name, path, book):
        raise _needed(name, why)
    size = path.stat().st_size
    if packed:  # the row first: a file without a row is a leftover, a row without a file a broken promise
        with workspace.db.write() as rows:
            rows.execute(delete(packs).where(packs.c.version == version, packs.c.quant == quant))
    path.unlink()
    return size


def _needed(name: str, why: str) -> Conflict:
    return Conflict(_("'{name}' is needed: {why}").format(name=name, why=why), fix=_("Change that first."))


def _same(book: Book, engine: str, model: str) -> str:
    """One spelling of a model's name: to Ollama "bees" is "bees:latest"."""
    spec = book.engines.get(engine)
    return tagged(model) if spec is not None and spec.kind == "ollama" else model


def _files_of(engine: EngineSpec) -> set[Path]:
    return {Path(file).absolute() for file in (engine.file, *engine.adapters.values()) if file}


def _hosts(workspace: Workspace) -> list[str]:
    return [host.strip() for host in workspace.settings.text("models.allowed_hosts").split(",") if host.strip()]


def _download(url: str, part: Path, limit: int, hosts: list[str], resolver: Resolver, watch: Progress) -> None:
    for _hop in range(HOPS):
        done = part.stat().st_size if part.exists() else 0
        with closing(_asked(url, done, hosts, resolver)) as connection:
            reply = connection.getresponse()
            if reply.status in (301, 302, 303, 307, 308):
                url = urljoin(url, reply.headers.get("Location", ""))
                continue  # to be checked like the first
            if reply.status not in (200, 206):
                raise EngineError(_("the server answered with status {status}").format(status=reply.status))
            done = done if reply.status == 206 else 0
            announced = int(reply.headers.get("Content-Length") or 0)
            total = done + announced if announced else 0
            if total > limit:
                raise BadInput(_("{path} is larger than {n} bytes").format(path=url, n=limit))
            need_disk(part.parent, announced)
            with part.open("ab" if done else "wb") as out:
                for piece in _pieces(reply):
                    done += len(piece)
                    if done > limit:
                        raise BadInput(_("{path} is larger than {n} bytes").format(path=url, n=limit))
                    if not total:  # its size was not announced: the disk must not fill up
                        need_disk(part.parent, RESERVE)
                    out.write(piece)
                    watch(_("download"), done, total or None)
                out.flush()
                os.fsync(out.fileno())
            if total and done < total:
                raise EngineError(_("the download broke off: {why}").format(why=f"{done} / {total}"), fix=_again())
            return
    raise EngineError(_("the address leads on and on"))


def _asked(url: str, start: int, hosts: list[str], resolver: Resolver) -> http.client.HTTPConnection:
    """A connection on which the file was asked for; to the very address that was checked."""
    parts = urlsplit(url)
    sock = address.connect(url, seconds=PATIENCE, hosts=hosts, resolver=resolver)
    host = parts.hostname or ""
    if parts.scheme == "https":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    connection = http.client.HTTPConnection(host, parts.port or 80)
    connection.sock = sock
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    connection.request("GET", path, headers=headers)
    return connection


def _pieces(reply: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := reply.read(PIECE):
        yield piece


def _described(path: Path, version: str, used: float | None, quant: str) -> dict[str, Any]:
    family = ""
    if path.exists():
        try:
            family = str(gguf_check.check(path).architecture)
        except (BadInput, Missing):
            family = "?"
    size = path.stat().st_size if path.exists() else 0
    return {
        "id": path.name, "version": version, "path": str(path), "size": size, "family": family, "quantisation": quant,
        "used": used,
    }  # fmt: skip


def _sum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _again() -> str:
    return _("Run the same command again: it goes on where it stopped.")
