"""Versions with a packed tiny model, as `tune` and `pack` would leave them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from tests.engines.tiny import write_tiny
from tuneloop import versions
from tuneloop.db.tables import packs
from tuneloop.records import Verdict, Version
from tuneloop.workspace import Workspace

PROMOTE = Verdict("promote", "better on 40 of 50 questions", {"questions": 50})


def add_version(
    workspace: Workspace,
    name: str,
    *,
    promote: bool = True,
    meta: dict[str, Any] | None = None,
    evidence: dict[str, list[int]] | None = None,
) -> Version:
    """A registered (and judged) version whose folder holds a small file, and the ids of its messages."""
    staging = workspace.folder("models") / f".{name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    (staging / "tuneloop.json").write_text(f'{{"name": "{name}"}}')
    if evidence:
        (staging / "evidence.json").write_text(json.dumps(evidence))
    version = versions.register(workspace, staging, kind="chat", name=name, meta=meta or {})
    if promote:
        versions.judge(workspace, version, PROMOTE)
    return versions.find(workspace, version.id)


def add_pack(workspace: Workspace, version: Version, quant: str = "q8_0", **options: Any) -> Path:
    """A packed file of a version and its row."""
    folder = workspace.folder("packs") / version.id
    folder.mkdir(exist_ok=True)
    path = write_tiny(folder / f"model-{quant}.gguf", **options)
    row = {
        "version": version.id,
        "quant": quant,
        "path": str(path.relative_to(workspace.path)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "created": 0,
        "parity": {},
    }
    with workspace.db.write() as rows:
        rows.execute(insert(packs), [row])
    return path


def add_packed(workspace: Workspace, name: str, **options: Any) -> Version:
    version = add_version(workspace, name)
    add_pack(workspace, version, seed=sum(map(ord, name)), **options)
    return version


def crashing() -> Callable[[Any], None]:
    """A change that passes the header check and aborts llama.cpp's process."""

    def change(writer: Any) -> None:
        writer.kv_data[0].pop("llama.block_count", None)
        writer.add_uint32("llama.block_count", 600)

    return change
