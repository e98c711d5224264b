"""The archive that is handed over: weights, tokenizer, Modelfile, card, checksums and instructions in two languages.

The same version and file give the same bytes: fixed order, fixed times, no compression of weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop import __version__
from tuneloop.engines import gguf_check
from tuneloop.progress import Progress, silent
from tuneloop.records import Version, folded
from tuneloop.texts import _
from tuneloop.tune import go_template, pack, template
from tuneloop.tune.folder import TOKENIZER_FILES
from tuneloop.tune.pack import Export
from tuneloop.workspace import Workspace, need_disk

# Answers of a tuned model should be the likely ones; Ollama's own default, 0.8, is made for story telling.
TEMPERATURE = 0.3
MOST_CONTEXT = 4096  # Ollama reserves memory for the whole context
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """How Ollama has to run the model. `template` is None when the training template cannot be expressed in Go."""

    template: str | None
    system: str
    stops: tuple[str, ...]
    context: int

    @property
    def parameters(self) -> dict[str, Any]:
        return {"temperature": TEMPERATURE, "num_ctx": self.context, "stop": list(self.stops)}


def recipe(workspace: Workspace, version: Version, model: Path) -> Recipe:
    """Read the version's tokenizer and template, express the template in Go, find what ends an answer.

    model: the GGUF file to run, for the length of its context.
    """
    from transformers import AutoTokenizer

    folder = workspace.path / version.path
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    takes_system = template.check(folder).system

    def render(chat: go_template.Chat) -> str:
        chat = chat if takes_system else folded(chat)
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    answered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\x00"}], tokenize=False
    )
    end = answered.partition("\x00")[2].strip()
    stops = [t for t in tokenizer.get_added_vocab() if end.startswith(t)]
    if tokenizer.eos_token and tokenizer.eos_token not in stops:
        stops.append(tokenizer.eos_token)
    return Recipe(
        template=go_template.express(render, tokenizer.bos_token),
        system=_system(workspace, version),
        stops=tuple(stops),
        context=min(gguf_check.check(model).number("context_length"), MOST_CONTEXT),
    )


def tag(version: Version) -> str:
    """The name in Ollama: lower case letters, digits and dashes, then the version."""
    name = re.sub(r"[^a-z0-9]+", "-", version.name.lower()).strip("-") or "tuneloop"
    return f"{name}:{version.id[:8]}"


def modelfile(model: str, how: Recipe) -> str:
    """The Modelfile for a GGUF file beside it."""
    lines = [f"FROM ./{model}"]
    if how.template is not None:
        lines.append(f'TEMPLATE """{how.template}"""')
    if how.system and '"""' not in how.system:
        lines.append(f'SYSTEM """{how.system}"""')
    lines += [f"PARAMETER temperature {TEMPERATURE}", f"PARAMETER num_ctx {how.context}"]
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in how.stops]
    return "\n".join(lines) + "\n"


def write(
    workspace: Workspace,
    version: Version,
    export: Export,
    out: Path,
    *,
    how: Recipe | None = None,
    watch: Progress = silent,
) -> Path:
    """Write the archive of one finished file to `out` (a .zip); it takes its name only when it is complete.

    Raises OutOfResources when the disk would not suffice.
    """
    how = how or recipe(workspace, version, export.path)
    need_disk(out.parent, export.bytes + (64 << 20))
    card = _card(version, export, how)
    texts = {
        "Modelfile": modelfile(export.path.name, how),
        "card.json": json.dumps(card, ensure_ascii=False, indent=2) + "\n",
        "LICENSE": _licence(version),
        **{f"INSTRUCTIONS.{lang}.md": _instructions(lang, version, export, how) for lang in ("en", "ru")},
    }
    folder = workspace.path / version.path
    files = {export.path.name: export.path}
    for name in (*TOKENIZER_FILES, "chat_template.jinja"):
        if (folder / name).is_file():
            files[f"tokenizer/{name}"] = folder / name
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    sums |= {name: export.sha256 if path == export.path else pack.sha256(path) for name, path in files.items()}
    texts["SHA256SUMS"] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    partial = out.with_name(f".{out.name}.part")
    try:
        with zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
            for name in sorted({*texts, *files}):
                if name in texts:
                    archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), texts[name])
                else:
                    _add_file(archive, name, files[name], watch)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out


def _entry(name: str, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = method
    entry.create_system = 3  # Unix, also when packed on Windows: the same bytes everywhere
    entry.external_attr = 0o100644 << 16
    return entry


def _add_file(archive: zipfile.ZipFile, name: str, path: Path, watch: Progress) -> None:
    # Quantised weights do not shrink (2 % at most) and compressing 1 GB takes half a minute.
    method = zipfile.ZIP_STORED if path.suffix == ".gguf" else zipfile.ZIP_DEFLATED
    entry = _entry(name, method)
    entry.file_size = total = path.stat().st_size
    with path.open("rb") as source, archive.open(entry, "w", force_zip64=total > (1 << 30)) as target:
        done = 0
        while piece := source.read(PIECE):
            target.write(piece)
            done += len(piece)
            if path.suffix == ".gguf":
                watch(_("archive"), done, total)


def _card(version: Version, export: Export, how: Recipe) -> dict[str, Any]:
    return {
        "tuneloop": __version__,
        "version": version.id,
        "name": version.name,
        # the folder's name only: where it lies on the packer's disk is nobody's business
        "base": {"name": _base(version), "sha256": version.meta.get("base_sha256")},
        "dataset": version.meta.get("dataset"),
        "verdict": version.verdict,
        "figures": version.meta.get("figures"),
        "file": {"name": export.path.name, "quant": export.quant, "bytes": export.bytes, "sha256": export.sha256},
        "parity": export.figures,
        "ollama": {"template": how.template is not None, "system": how.system, "parameters": how.parameters},
    }


def _base(version: Version) -> str:
    path = Path(str(version.meta.get("base") or "?"))
    return "tuneloop demo base" if path.parts[-2:] == ("demo", "base") else path.name


def _system(workspace: Workspace, version: Version) -> str:
    card = workspace.path / str(version.meta.get("dataset_path") or ".") / "card.json"
    if not version.meta.get("dataset_path") or not card.is_file():
        return ""
    return str(json.loads(card.read_text(encoding="utf-8")).get("system") or "")


def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("handover.toml").read_text(encoding="utf-8"))


def _licence(version: Version) -> str:
    """The base model's own licence text; where there is none, a sentence that says so."""
    folder = Path(str(version.meta.get("base") or "?"))
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8", errors="replace")
    note = ""
    readme = folder / "README.md"
    if readme.is_file():  # a Hugging Face card begins with a block of keys
        found = re.search(r"^license:\s*(\S+)", readme.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        note = f"The base model's card names its licence: {found[1]}\n" if found else ""
    if note:
        return note
    return "".join(words["no_licence"].format(base=_base(version)) + "\n" for words in _words().values())


def _instructions(lang: str, version: Version, export: Export, how: Recipe) -> str:
    words = _words()[lang]
    figures = export.figures
    return (
        words["instructions"]
        .format(
            name=version.name,
            tag=tag(version),
            quant=export.quant,
            model=export.path.name,
            megabytes=round(export.bytes / 1e6, 1),
            template_note=words["template_note" if how.template is not None else "no_template_note"],
            stops=", ".join(f"`{stop}`" for stop in how.stops),
            base=_base(version),
            dataset=version.meta.get("dataset") or "?",
            verdict=(version.verdict or {}).get("decision") or "-",
            tokens=f"{figures['tokens_equal']:.0%}",
            greedy=f"{figures['greedy']:.1%}",
            kl=f"{figures['kl']:.5f}",
        )
        .lstrip()
    )
