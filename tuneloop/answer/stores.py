"""Where model files lie on this machine, how much they take, and what of them may go.

Three places: this workspace, the cache of Hugging Face, the store of an Ollama. The last two belong to other programs:
their variables say where they are (HF_HUB_CACHE, HF_HOME, OLLAMA_MODELS), else the usual folders are looked at.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuneloop import machine
from tuneloop.errors import OutOfResources
from tuneloop.records import EngineSpec
from tuneloop.texts import _
from tuneloop.workspace import Workspace

SERVICE = Path("/usr/share/ollama/.ollama/models")  # of an Ollama that runs as a service
RESERVE = 512 << 20  # bytes that a download leaves free


@dataclass(frozen=True, slots=True)
class Model:
    """A model that lies somewhere. remove: the command, "" where something needs it."""

    name: str
    bytes: int
    remove: str
    needed_by: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """A place for models: bytes taken, bytes free and all of its disk."""

    name: str
    path: str
    bytes: int
    free: int
    all: int
    models: tuple[Model, ...]


def stores(workspace: Workspace | None, listed: Sequence[Mapping[str, Any]] = ()) -> list[Store]:
    """The places there are. listed: what `models.everything` knows of files and engines."""
    found = []
    if workspace is not None:
        taken = [workspace.path / "models", workspace.path / "packs"]
        own = tuple(_listed(one) for one in listed if not one["engine"])
        found.append(_store(_("this workspace"), workspace.path, sum(map(size, taken)), own))
    cache = hugging_face()
    if cache.is_dir():
        found.append(_store("Hugging Face", cache, size(cache), tuple(_repositories(cache))))
    ollama = ollama_store()
    if ollama.is_dir():
        theirs = tuple(_listed(one) for one in listed if one["engine"] and one.get("size"))
        found.append(_store("Ollama", ollama, size(ollama), theirs))
    return found


def hugging_face() -> Path:
    """The cache of huggingface_hub."""
    if path := os.environ.get("HF_HUB_CACHE"):
        return Path(path).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def snapshot(name: str) -> Path | None:
    """The folder of "org/name" in the cache of Hugging Face, the newest with weights; None where there is none."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    folders = (hugging_face() / f"models--{name.replace('/', '--')}" / "snapshots").glob("*")
    whole = [one for one in folders if (one / "config.json").exists() and any(one.glob("*.safetensors"))]
    return max(whole, key=lambda one: one.stat().st_mtime, default=None)


def ollama_store() -> Path:
    """Where an Ollama on this machine keeps its models."""
    if path := os.environ.get("OLLAMA_MODELS"):
        return Path(path).expanduser()
    own = Path("~/.ollama/models").expanduser()
    return SERVICE if not own.is_dir() and SERVICE.is_dir() else own


def is_here(spec: EngineSpec) -> bool:
    """Whether an Ollama runs on this machine, and takes its disk and memory."""
    host = urlsplit(spec.url).hostname or "127.0.0.1"
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def room_of(spec: EngineSpec) -> Callable[[int], None] | None:
    """What raises OutOfResources when so many bytes do not fit an Ollama's disk; None: its disk is not ours."""
    if not is_here(spec):
        return None
    place = ollama_store()

    def check(needed: int) -> None:
        free = machine.disk(place)[0]
        if needed + RESERVE > free:
            raise OutOfResources(
                _("the download needs {needed:.1f} GB of disk in {path}, {free:.1f} GB are free").format(
                    needed=(needed + RESERVE) / 1e9, path=place, free=free / 1e9
                ),
                fix=_("Free some space (`tuneloop models fit` shows what may go), or take a smaller model."),
            )

    return check


def size(path: Path) -> int:
    """Bytes that a folder takes on its disk; links and what may not be read count nothing."""
    total = 0
    for folder, _folders, names in os.walk(path):  # it does not follow links
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118  a cache has 100,000 files
            except OSError:
                continue
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _store(name: str, path: Path, taken: int, models: tuple[Model, ...]) -> Store:
    free, whole = machine.disk(path)
    return Store(name, str(path), taken, free, whole, tuple(sorted(models, key=lambda one: -one.bytes)))


def _listed(one: Mapping[str, Any]) -> Model:
    more = f" --engine {one['engine']}" if one["engine"] else ""
    remove = "" if one["needed_by"] else f"tuneloop models rm {one['id']}{more}"
    return Model(str(one["id"]), int(one["size"] or 0), remove, str(one["needed_by"]))


def _repositories(cache: Path) -> Iterator[Model]:
    for folder in sorted(cache.glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        yield Model(name, size(folder), f"rm -r {folder}")
