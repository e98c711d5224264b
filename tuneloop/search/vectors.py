"""Pictures as they are kept: a clean copy in `photos/`, and one vector per encoder, made once.

Everything is named by the sha256 of the file as it came, so that the same picture is never read or encoded twice.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select

from tuneloop.db.photo_tables import picture_vectors
from tuneloop.encoders import picture, views
from tuneloop.encoders.choice import Encoder
from tuneloop.encoders.decode import MOST_BYTES
from tuneloop.errors import BadInput, Missing, TuneloopError
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.workspace import Workspace

Matrix = NDArray[np.float32]
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that is in the workspace, or the error that says why it is not."""

    id: str  # sha256
    path: str  # of the clean copy, relative to the workspace; "" with a problem
    problem: TuneloopError | None = None


def keep(workspace: Workspace, files: Sequence[Path], encoder: Encoder, *, watch: Progress = silent) -> list[Kept]:
    """Read, copy and encode every file that is new, in the order given; a bad one carries its error.

    Vectors are committed in batches of 64: a crash in the middle of 10,000 loses no finished work.
    """
    named = [_identify(file) for file in files]
    stored = known(workspace, [k.id for k in named if not k.problem], encoder.name)
    bad: dict[str, TuneloopError] = {}
    fresh = {k.id: f for k, f in zip(named, files, strict=True) if not k.problem}
    fresh = {i: f for i, f in fresh.items() if i not in stored or not (workspace.path / place(i)).exists()}
    ids = list(fresh)
    for start in range(0, len(ids), AT_ONCE):
        watch(_("pictures"), start, len(ids))
        part = ids[start : start + AT_ONCE]
        bad |= _encode(workspace, part, [fresh[i] for i in part], encoder, stored)
    watch(_("pictures"), len(ids), len(ids))
    return [k if k.problem else Kept(k.id, "" if k.id in bad else place(k.id), bad.get(k.id)) for k in named]


def encode_copies(workspace: Workspace, ids: Sequence[str], encoder: Encoder, *, watch: Progress = silent) -> None:
    """Give pictures that are kept already a vector of another encoder; a copy that is gone stays without one."""
    for start in range(0, len(ids), AT_ONCE):
        watch(_("pictures"), start, len(ids))
        part = list(ids[start : start + AT_ONCE])
        found = picture.read([workspace.path / place(i) for i in part], encoder.side)
        _store(workspace, [(i, p.pixels) for i, p in zip(part, found, strict=True) if p.pixels is not None], encoder)
    watch(_("pictures"), len(ids), len(ids))


def place(identity: str) -> str:
    """Where the clean copy of a picture lies, relative to the workspace."""
    return f"photos/{identity[:2]}/{identity}.jpg"


def known(workspace: Workspace, ids: Sequence[str], encoder: str) -> set[str]:
    """Those of the pictures that have a vector of this encoder."""
    found: set[str] = set()
    with workspace.db.read() as rows:
        for start in range(0, len(ids), 500):
            wanted = picture_vectors.c.id.in_(list(ids[start : start + 500]))
            found |= {
                r.id
                for r in rows.execute(select(picture_vectors.c.id).where(wanted, picture_vectors.c.encoder == encoder))
            }
    return found


def load(workspace: Workspace, ids: Sequence[str], encoder: str) -> dict[str, Matrix]:
    """{picture: (d,) vector} of those that have one."""
    found: dict[str, Matrix] = {}
    with workspace.db.read() as rows:
        for start in range(0, len(ids), 500):
            wanted = picture_vectors.c.id.in_(list(ids[start : start + 500]))
            asked = select(picture_vectors.c.id, picture_vectors.c.vector)
            for row in rows.execute(asked.where(wanted, picture_vectors.c.encoder == encoder)):
                found[row.id] = np.frombuffer(row.vector, dtype="<f4")
    return found


def _identify(file: Path) -> Kept:
    try:
        if file.stat().st_size > MOST_BYTES:
            too_large = _("the picture has more than {n} MB").format(n=MOST_BYTES // 10**6)
            return Kept("", "", BadInput(too_large, fix=_("Send a smaller picture.")))
        with file.open("rb") as handle:
            return Kept(hashlib.file_digest(handle, "sha256").hexdigest(), "")
    except OSError as problem:
        said = _("{path} cannot be read: {problem}").format(path=file, problem=problem.strerror)
        return Kept("", "", Missing(said))


def _encode(
    workspace: Workspace, ids: list[str], files: list[Path], encoder: Encoder, stored: set[str]
) -> dict[str, TuneloopError]:
    targets = [workspace.path / place(i) for i in ids]
    # Two people may send the same photo at the same moment, to two threads of a bot or to two processes.
    parts = [t.with_name(f".{t.name}.{os.getpid()}.{threading.get_ident()}.tmp") for t in targets]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    found = picture.read(files, encoder.side, keep=list(parts))
    bad = {i: p.problem for i, p in zip(ids, found, strict=True) if p.problem is not None}
    good = [(i, p.pixels) for i, p in zip(ids, found, strict=True) if p.pixels is not None]
    for part, target, identity in zip(parts, targets, ids, strict=True):
        if identity not in bad:
            part.replace(target)
        part.unlink(missing_ok=True)
    _store(workspace, [(i, pixels) for i, pixels in good if i not in stored], encoder)
    return bad


def _store(workspace: Workspace, read: list[tuple[str, picture.Pixels]], encoder: Encoder) -> None:
    if not read:
        return
    pixels = np.stack([p for _i, p in read])
    made, studio = encoder.pictures(pixels), views.studio(pixels)
    new = [
        {"id": i, "encoder": encoder.name, "vector": v.astype("<f4").tobytes(), "studio": bool(not s.all())}
        for (i, _p), v, s in zip(read, made, studio, strict=True)
    ]
    mine = (picture_vectors.c.id.in_([r["id"] for r in new]), picture_vectors.c.encoder == encoder.name)
    with workspace.db.write() as rows:
        # another process may have encoded the same picture meanwhile
        there = {r.id for r in rows.execute(select(picture_vectors.c.id).where(*mine))}
        if new := [r for r in new if r["id"] not in there]:
            rows.execute(insert(picture_vectors), new)
