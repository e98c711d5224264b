"""What a file of an archive may be called and must contain: a model file is code, so only data forms are let in.

Weights are safetensors or GGUF by their bytes, not by their name; texts are UTF-8; a pickle is refused under any
name, because opening it runs what its author wanted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tuneloop.engines import gguf_check
from tuneloop.errors import Hostile
from tuneloop.texts import _
from tuneloop.tune import weights

TEXTS = {".json", ".jsonl", ".txt", ".md", ".jinja", ".modelfile"}
WEIGHTS = {".gguf", ".safetensors"}
PLAIN = {"modelfile", "license", "licence", "notice", "readme", "sha256sums", "copying", "usage_policy"}
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras", ".msgpack"}
PACKED = {".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".zst", ".whl"}
MOST_TEXT = 64 << 20  # the tokenizer.json of a vocabulary of 262,144 takes 33 MB


def check_name(name: str) -> None:
    """Raises Hostile unless a file of this name belongs into a model's archive."""
    plain = name.rpartition("/")[2]
    suffix = Path(plain).suffix.lower()
    if suffix in PICKLES:
        raise _refusal(name, _("files of this kind can run code when they are opened"))
    if suffix in PACKED:
        raise _refusal(name, _("an archive inside an archive"))
    if suffix == ".model" or suffix in TEXTS or suffix in WEIGHTS or plain.lower() in PLAIN:
        return
    raise _refusal(name, _("files of this kind have no place in a model's archive"))


def check(path: Path, name: str) -> None:
    """Judge an extracted file by its content. Raises Hostile or Damaged with the reason."""
    with path.open("rb") as handle:
        start = handle.read(4096)
    suffix = path.suffix.lower()
    if is_pickle(start):
        raise _refusal(name, _("it is a pickle under another name, which runs code when it is opened"))
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"\x7fELF", b"MZ")):
        raise _refusal(name, _("it is an archive or a program under another name"))
    if suffix == ".gguf":
        gguf_check.check(path)
    elif suffix == ".safetensors":
        weights.header(path)
    elif suffix == ".model":
        _check_sentencepiece(name, start)
    else:
        _check_text(path, name, suffix)


def is_pickle(start: bytes) -> bool:
    """Whether bytes begin like a Python pickle: protocol 2 to 5, or an old text protocol that calls a function."""
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and len(start) > 1:
        return True
    # protocol 0 names module and function on the first two lines: "cos\nsystem\n(S'...'\ntR."
    return re.match(rb"c[A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n[()\]}pq0-9]", start) is not None


def _check_sentencepiece(name: str, start: bytes) -> None:
    # A protocol buffer whose first field is a vocabulary piece: tag 0x0a, then a length
    if start[:1] != b"\x0a":
        raise _refusal(name, _("it is no sentencepiece model"))


def _check_text(path: Path, name: str, suffix: str) -> None:
    if path.stat().st_size > MOST_TEXT:
        raise _refusal(name, _("a text of more than {n} MB").format(n=MOST_TEXT >> 20))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _refusal(name, _("it is no UTF-8 text")) from None
    if "\0" in text:
        raise _refusal(name, _("it is no text"))
    if suffix == ".json":
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            raise _refusal(name, _("it is no JSON")) from None


def _refusal(name: str, reason: str) -> Hostile:
    return Hostile(
        _("{name} was refused: {reason}").format(name=repr(name[:80])[1:-1], reason=reason),
        fix=_("Nothing was kept. Ask its author for an archive with GGUF or safetensors files only."),
    )
