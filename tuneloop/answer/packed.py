"""Which file of a version serves: the packed GGUF of the preferred quantisation, unchanged since it was packed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from tuneloop.db.tables import packs
from tuneloop.errors import Damaged, Missing
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace

# From "as good as the original" downwards; a quantisation that is not listed comes last.
BEST_FIRST = ("q8_0", "f16", "bf16", "f32", "q6_K", "q5_K_M", "q5_K_S", "q5_0", "q4_K_M", "q4_K_S", "q4_0")


@dataclass(frozen=True, slots=True)
class Packed:
    """A GGUF file and what it was made from.

    system_role, normalise: how it must be asked, as its parity check found (`serving.shaped`). A file given by its
    path has no such check: it is asked as it comes, and llama.cpp fits a system text in as it sees fit.
    """

    path: Path
    version: str
    name: str
    quant: str
    sha256: str = ""
    system_role: bool = True  # the template writes system messages
    normalise: str = ""  # Unicode form into which the tokenizer brings texts: "NFC" or ""


def choose(workspace: Workspace, version: Version) -> Packed:
    """The file of `version` to serve: quantisation `serve.quant`, else the best there is. Raises Missing for none."""
    preferred = workspace.settings.text("serve.quant")
    with workspace.db.read() as rows:
        found = list(rows.execute(select(packs).where(packs.c.version == version.id)))
    if not found:
        raise Missing(
            _("version {id} is not packed yet").format(id=version.id),
            fix=_("Run: tuneloop pack {id}").format(id=version.id),
        )
    order = [quant.lower() for quant in (preferred, *BEST_FIRST, *(row.quant for row in found))]
    best = min(found, key=lambda row: order.index(row.quant.lower()))
    form = best.parity  # rows of earlier releases say nothing of the form
    return Packed(
        workspace.path / best.path,
        version.id,
        version.name,
        best.quant,
        best.sha256,
        system_role=form.get("system_role") is not False,
        normalise="NFC" if form.get("normalise") == "NFC" else "",
    )


def quants(workspace: Workspace) -> dict[str, list[str]]:
    """version id -> the quantisations it is packed in."""
    listed: dict[str, list[str]] = {}
    with workspace.db.read() as rows:
        for row in rows.execute(select(packs.c.version, packs.c.quant).order_by(packs.c.version, packs.c.quant)):
            listed.setdefault(row.version, []).append(row.quant)
    return listed


def missing_files(workspace: Workspace) -> list[Path]:
    """Packed files that have a row but are gone."""
    with workspace.db.read() as rows:
        found = [workspace.path / row.path for row in rows.execute(select(packs.c.path).order_by(packs.c.path))]
    return [path for path in found if not path.is_file()]


def check_unchanged(packed: Packed) -> None:
    """Raises Missing or Damaged unless the file is the one that passed its parity check (0.5 s per GB)."""
    if not packed.sha256:  # a file given by its path
        return
    if not packed.path.is_file():
        raise Missing(
            _("the packed file is gone: {path}").format(path=packed.path),
            fix=_("Make it again: tuneloop pack {id}").format(id=packed.version),
        )
    with packed.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != packed.sha256:
        raise Damaged(
            _("{path} is not the file that was packed: its checksum differs").format(path=packed.path),
            fix=_("Make it again: tuneloop pack {id}").format(id=packed.version),
        )
