"""A version becomes files that llama.cpp and Ollama serve: merge, convert, quantise, check parity, register.

packs/<version>/model-<quant>.gguf appears, and its row is written, only after the parity check passed. What was
finished before a crash is not made again; what a crash left half made lies in `.work` and never takes a final name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tuneloop.db.tables import packs
from tuneloop.errors import BadInput, Hostile, Refused
from tuneloop.progress import Progress, silent
from tuneloop.records import Example, Version
from tuneloop.texts import _
from tuneloop.tune import gguf, parity, quantise
from tuneloop.tune.parity import Chat
from tuneloop.workspace import Workspace, need_disk

MOST_CHATS = 64  # held-out dialogues whose tokens are compared; 24 of them for distributions
# For versions without a dataset beside them (imported ones): plain questions in both languages.
QUESTIONS = (
    ("Как сбросить пароль?", "Откройте настройки и нажмите «Сбросить пароль»."),
    ("Where do I find the report for last month?", "Open Reports, choose the month, press Download."),
    ("Не работает сканер, что проверить?", "Проверьте кабель и питание, потом драйвер."),
    ("Can you repeat that in one sentence?", "Yes: restart the router and wait two minutes."),
    ("Во сколько открывается склад в субботу?", "В 10:00, но лучше позвонить заранее."),
    ("ok thanks 👍", "You're welcome!"),
)


@dataclass(frozen=True)
class Export:
    """One finished file. `figures` are those of `parity.check`; `kept`: it was there before this run."""

    quant: str
    path: Path
    bytes: int
    sha256: str
    figures: dict[str, Any]
    kept: bool = False
    notes: list[str] = field(default_factory=list)


def pack(
    workspace: Workspace,
    version: Version,
    quants: Sequence[str],
    *,
    out: Path | None = None,
    watch: Progress = silent,
) -> list[Export]:
    """Make (or find) the named quantisations of a version, in `out` or packs/<version>/.

    Raises Refused with the figures when a file is not the model that was trained; then it is neither kept nor
    registered. Raises BadInput for what cannot be exported, OutOfResources before or when the disk is full.
    """
    for quant in quants:
        quantise.check_name(quant)
    if "base" not in version.meta:
        raise BadInput(
            _("version {id} came as a finished file: there is nothing to merge").format(id=version.id),
            fix=_("Hand its own archive over, or tune a version here."),
        )
    folder = (out or workspace.folder("packs") / version.id).absolute()
    with workspace.lock("pack"):
        folder.mkdir(parents=True, exist_ok=True)
        finished = {q: e for q in quants if (e := find(workspace, version, q, folder))}
        missing = [q for q in quants if q not in finished]
        if missing:
            work = folder / ".work"
            try:
                made = _make(workspace, version, missing, folder, watch)
            except Refused:
                shutil.rmtree(work)
                raise
            shutil.rmtree(work)
            finished |= {export.quant: export for export in made}
    return [finished[q] for q in dict.fromkeys(quants)]


def find(workspace: Workspace, version: Version, quant: str, folder: Path | None = None) -> Export | None:
    """The registered export of a version, if its file (in `folder`, when given) is still what was registered."""
    with workspace.db.read() as rows:
        chosen = packs.select().where(packs.c.version == version.id, packs.c.quant == quant)
        row = rows.execute(chosen).first()
    if row is None:
        return None
    path = workspace.path / row.path
    if (folder and path.parent != folder) or not path.is_file() or path.stat().st_size != row.bytes:
        return None
    if sha256(path) != row.sha256:
        return None
    return Export(quant, path, row.bytes, row.sha256, row.parity, kept=True)


def register(workspace: Workspace, version: Version, export: Export) -> None:
    """Write the row of a finished file, replacing an older one of the same quantisation."""
    inside = export.path.is_relative_to(workspace.path)
    row = {
        "version": version.id,
        "quant": export.quant,
        "path": str(export.path.relative_to(workspace.path) if inside else export.path),
        "sha256": export.sha256,
        "bytes": export.bytes,
        "created": int(time.time()),
        "parity": export.figures,
    }
    with workspace.db.write() as rows:
        rows.execute(packs.delete().where(packs.c.version == version.id, packs.c.quant == export.quant))
        rows.execute(packs.insert(), [row])


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def held_out(workspace: Workspace, version: Version) -> list[Chat]:
    """Up to MOST_CHATS dialogues of the version's own test part, else plain questions."""
    dataset = workspace.path / str(version.meta.get("dataset_path") or ".")
    card, test = dataset / "card.json", dataset / "test.examples.jsonl"
    if not card.is_file() or not test.is_file():
        return [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in QUESTIONS]
    system = str(json.loads(card.read_text(encoding="utf-8")).get("system") or "")
    known = {f.name for f in fields(Example)}
    chats: list[Chat] = []
    with test.open(encoding="utf-8") as lines:
        for line in lines:
            read = {k: v for k, v in json.loads(line).items() if k in known}
            read["context"] = tuple((role, text) for role, text in read.get("context", ()))
            chats.append(Example(**read).conversation(system))
            if len(chats) == MOST_CHATS:
                break
    return chats


def _make(workspace: Workspace, version: Version, quants: Sequence[str], folder: Path, watch: Progress) -> list[Export]:
    from tuneloop.tune import model

    work = folder / ".work"
    work.mkdir(exist_ok=True)
    merged = work / "merged"
    if not merged.exists():  # it takes this name only when it is complete
        watch(_("merge"), 0, 1)
        model.merge(workspace, version, merged)
        watch(_("merge"), 1, 1)
    weights = sum(file.stat().st_size for file in merged.glob("*.safetensors")) // 4
    need_disk(folder, int(weights * (2 + sum(quantise.bits(q) / 8 for q in quants))))
    trainer = parity.Trainer(merged)
    chats = held_out(workspace, version)
    half, made = _half(workspace, version, quants, folder, trainer, chats, watch)
    for quant in quants:
        if quant == "f16":
            continue
        file = work / f"model-{quant}.gguf"
        quantise.quantise(half, file, quant, watch=watch)
        figures = parity.check(trainer, file, chats, watch=watch)
        made.append(_accept(workspace, version, quant, file, folder, figures, []))
    return made


def _half(
    workspace: Workspace,
    version: Version,
    quants: Sequence[str],
    folder: Path,
    trainer: parity.Trainer,
    chats: list[Chat],
    watch: Progress,
) -> tuple[Path, list[Export]]:
    """The f16 file, which all others are made of: found, or converted and checked even when nobody asked for it."""
    if known := find(workspace, version, "f16", folder):
        return known.path, []
    file = folder / ".work" / "model-f16.gguf"
    notes = gguf.convert(folder / ".work" / "merged", file, name=f"{version.name}-{version.id}", watch=watch)
    figures = parity.check(trainer, file, chats, watch=watch)
    if "f16" not in quants:
        parity.require(figures, "f16")
        return file, []
    export = _accept(workspace, version, "f16", file, folder, figures, notes)
    return export.path, [export]


def _accept(
    workspace: Workspace,
    version: Version,
    quant: str,
    file: Path,
    folder: Path,
    figures: dict[str, Any],
    notes: list[str],
) -> Export:
    """Refuse, or give the file its final name and then its row."""
    parity.require(figures, quant)
    final = folder / f"model-{quant}.gguf"
    export = Export(quant, final, file.stat().st_size, sha256(file), figures, notes=notes)
    file.replace(final)
    register(workspace, version, export)
    return export


def import_version(workspace: Workspace, folder: Path, *, name: str, origin: str) -> Version:
    """Register an opened archive as a version of kind "chat"; the gate has to judge it before it may serve.

    Raises Refused naming what is missing: a GGUF model with its vocabulary and a chat template; Hostile for a
    template that does not end.
    """
    from tuneloop import versions

    model = chat_model(folder)
    form = form_of(model, folder)
    quant = model.stem.removeprefix("model-")
    # A copy: the opened folder stays the user's, the version's is immutable.
    staging = workspace.folder("models") / f".import-{os.getpid()}.part"
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(folder, staging)
    meta = {"imported": origin, "gguf": str(model.relative_to(folder))}
    version = versions.register(workspace, staging, kind="chat", name=name, meta=meta)
    path = workspace.path / version.path / model.relative_to(folder)
    figures = {"imported": True, **form}
    register(workspace, version, Export(quant, path, path.stat().st_size, sha256(path), figures))
    return version


def form_of(model: Path, folder: Path) -> dict[str, Any]:
    """How somebody's export must be asked (as `parity.Trainer.form`): its own template tried in a child, and the
    normaliser of the tokenizer beside it, where the archive has one. Raises Hostile for a template that hangs."""
    from tuneloop.engines import gguf_check
    from tuneloop.tune import template

    try:
        system = template.takes_system(str(gguf_check.check(model).metadata["tokenizer.chat_template"]), model)
    except Hostile:
        raise
    except BadInput:
        system = True  # what only llama.cpp can render is asked as it comes
    found = ""
    for path in sorted(folder.rglob("tokenizer.json"))[:1]:
        try:
            normaliser = json.loads(path.read_text(encoding="utf-8")).get("normalizer")
        except (ValueError, AttributeError, RecursionError):
            normaliser = None  # not needed to serve: the vocabulary is inside the GGUF file
        found = "NFC" if '"NFC"' in json.dumps(normaliser) else ""
    return {"system_role": system, "normalise": found}


def chat_model(folder: Path) -> Path:
    """The GGUF file of an opened archive that can chat. Raises Refused when there is none."""
    from tuneloop.engines import gguf_check

    files = sorted(folder.rglob("*.gguf"))
    for file in files:
        known = gguf_check.check(file).metadata
        if "tokenizer.chat_template" in known and "tokenizer.ggml.tokens" in known:
            return file
    raise Refused(
        _("this archive cannot become a version: it has no GGUF model with a chat template"),
        fix=_("It was only unpacked. A model in safetensors can be a base: tuneloop tune --base FOLDER."),
    )
