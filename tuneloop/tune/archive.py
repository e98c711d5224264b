"""Opens somebody's archive (zip, tar, tar.gz) without trusting a byte of it.

Everything runs in a child process with limits. Only regular files with expected names are written, into a folder
that takes its name when all of them passed; whatever is refused leaves nothing behind. `zipfile.extractall` and
`tarfile.extractall` are never used: tarfile's default writes outside the folder, system unzip makes symlinks.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tuneloop.child import run_limited
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, OutOfResources
from tuneloop.texts import _
from tuneloop.tune import contents
from tuneloop.workspace import new_folder

MOST_FILES = 512  # a large sharded model has about 200
MOST_DEPTH = 4
MOST_BYTES = 64 << 30
MOST_NAME = 200
# 1 GiB of zeros packs into 1 MiB (1000 : 1); tokenizer.json, the most compressible honest file, packs 8 : 1.
MOST_RATIO = 100
RATIO_FREE = 4 << 20  # bytes below which a ratio means nothing
PIECE = 1 << 20
_PART = re.compile(r"[\w][\w .+@=-]*")


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of the archive, not yet read. `packed`: its bytes inside, 0 when unknown."""

    name: str
    size: int
    packed: int
    open: Callable[[], IO[bytes]]


def open_archive(path: Path, into: Path) -> dict[str, Any]:
    """Extract `path` into the new folder `into`; returns {"files": {name: sha256}, "bytes", "checksums": bool}.

    Raises Missing when there is no such file, Hostile or Damaged with the reason, OutOfResources when the disk is
    too small, BadInput when `into` is there and not empty. On any of them nothing of the archive is left.
    """
    if not path.is_file():
        raise Missing(_("there is no file {path}").format(path=path), fix=_("Check the name of the archive."))
    if into.exists() and any(into.iterdir()):
        raise BadInput(
            _("{folder} is not empty").format(folder=into),
            fix=_("Choose another folder with --into, or remove that one."),
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    # 20 MB/s is a slow disk with two checksums over every byte; a bomb stops at its own caps long before.
    seconds = 60 + path.stat().st_size * 4 / 20e6
    with new_folder(into.absolute()) as staging:
        return run_limited(extract, path.absolute(), staging, seconds=seconds, memory=1 << 30, what=path.name)


def extract(path: Path, target: Path) -> dict[str, Any]:
    """In the child: write every file of the archive into `target`, then judge each by its content."""
    import shutil

    allowed = min(MOST_BYTES, int(shutil.disk_usage(target).free * 0.9))
    total = 0
    seen: set[str] = set()
    sums: dict[str, str] = {}
    try:
        for member in _members(path):
            if len(sums) == MOST_FILES:
                raise refuse(path, _("it holds more than {n} files").format(n=MOST_FILES))
            _check_name(path, member.name, seen)
            room = allowed - total
            if member.size > room:
                kind = OutOfResources if allowed < MOST_BYTES else Hostile
                raise kind(
                    _("{archive} would unpack to more than {n} bytes").format(archive=path.name, n=allowed),
                    fix=_("Free some disk space, or ask its author for a smaller archive."),
                )
            digest, written = _copy(path, member, target, room)
            sums[member.name] = digest
            total += written
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError) as problem:
        raise Damaged(
            _("{archive} cannot be read: {problem}").format(archive=path.name, problem=str(problem)[:200]),
            fix=_("Copy it again from its source; nothing of it was kept."),
        ) from problem
    if not sums:
        raise Damaged(_("{archive} is empty").format(archive=path.name), fix=_("Ask its author for another one."))
    for name in sums:
        contents.check(target / name, name)
    return {"files": sums, "bytes": total, "checksums": _check_sums(path, target, sums)}


def refuse(path: Path, reason: str) -> Hostile:
    """The refusal of an archive; `reason` is the end of the sentence."""
    return Hostile(
        _("{archive} was refused: {reason}").format(archive=path.name, reason=reason),
        fix=_("Nothing of it was kept. Ask its author for an archive with GGUF or safetensors files only."),
    )


def _members(path: Path) -> Iterator[_Member]:
    with path.open("rb") as handle:
        start = handle.read(512)
    if start.startswith(b"PK\x03\x04"):
        yield from _zip_members(path)
    elif start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        yield from _tar_members(path)
    elif contents.is_pickle(start):
        raise refuse(path, _("it is a pickle, which runs code when it is opened"))
    else:
        raise refuse(path, _("it is neither zip nor tar nor tar.gz"))


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES * 2:
            raise refuse(path, _("it holds more than {n} files").format(n=MOST_FILES))
        _check_overlap(path, entries, archive.start_dir)
        for entry in entries:
            # zipfile cuts a name at a NUL and turns the system's separator into "/": look at what was written
            raw = getattr(entry, "orig_filename", entry.filename)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir() and kind in (0, stat.S_IFDIR):
                _check_name(path, raw.rstrip("/"), set(), folder=True)
                continue
            if kind not in (0, stat.S_IFREG):
                raise refuse(path, _("{name} is a link or a device").format(name=shown(raw)))
            if entry.flag_bits & 0x1:
                raise refuse(path, _("{name} is encrypted").format(name=shown(raw)))
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise refuse(path, _("{name} is packed in an unusual way").format(name=shown(raw)))
            yield _Member(raw, entry.file_size, entry.compress_size, lambda e=entry: archive.open(e))  # type: ignore[misc]


def _check_overlap(path: Path, entries: list[zipfile.ZipInfo], end: int) -> None:
    """Files that share bytes make 42 KB out of 5 GB: each must end before the next one begins."""
    ordered = sorted(entries, key=lambda e: e.header_offset)
    for entry, following in zip(ordered, [*(e.header_offset for e in ordered[1:]), end], strict=True):
        if entry.header_offset + 30 + entry.compress_size > following:
            raise refuse(path, _("its files overlap"))


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r|*", errorlevel=2) as archive:
        for entry in archive:
            if entry.isdir():
                if entry.name not in (".", "./"):
                    _check_name(path, entry.name.removeprefix("./").rstrip("/"), set(), folder=True)
                continue
            if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.sparse is not None:
                raise refuse(path, _("{name} is a link or a device").format(name=shown(entry.name)))

            def reader(entry: tarfile.TarInfo = entry) -> IO[bytes]:
                stream = archive.extractfile(entry)
                assert stream
                return stream

            yield _Member(entry.name.removeprefix("./"), entry.size, 0, reader)


def _check_name(path: Path, name: str, seen: set[str], *, folder: bool = False) -> None:
    parts = name.split("/")
    if "\\" in name or name.startswith("/") or ":" in name or ".." in parts:
        raise refuse(path, _("{name} points outside its folder").format(name=shown(name)))
    if len(name) > MOST_NAME or len(parts) > MOST_DEPTH:
        raise refuse(path, _("{name} is too long or too deep").format(name=shown(name)))
    if not all(_PART.fullmatch(part) and not part.endswith((" ", ".")) for part in parts):
        raise refuse(path, _("{name} is no plain file name").format(name=shown(name)))
    # Windows and macOS would write these two into one file
    folded = unicodedata.normalize("NFC", name).casefold()
    if folded in seen:
        raise refuse(path, _("{name} is there twice").format(name=shown(name)))
    seen.add(folded)
    if not folder:
        contents.check_name(name)


def _copy(path: Path, member: _Member, target: Path, room: int) -> tuple[str, int]:
    """Write one file, counting what really comes out; returns its sha256 and size."""
    file = target / member.name
    if any(parent.is_file() for parent in file.parents if parent != target and target in parent.parents):
        raise refuse(path, _("{name} is inside a file").format(name=shown(member.name)))
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        raise refuse(path, _("{name} is there twice").format(name=shown(member.name)))
    digest = hashlib.sha256()
    written = 0
    packed = member.packed or path.stat().st_size
    with member.open() as source, file.open("xb") as out:
        while piece := source.read(PIECE):
            written += len(piece)
            if written > member.size or written > room:
                raise refuse(path, _("{name} is larger than it says").format(name=shown(member.name)))
            if written > RATIO_FREE and written > packed * MOST_RATIO:
                raise refuse(path, _("{name} unpacks to more than {n} times its size: a bomb").format(
                    name=shown(member.name), n=MOST_RATIO
                ))  # fmt: skip
            digest.update(piece)
            out.write(piece)
    if written != member.size:
        raise refuse(path, _("{name} is smaller than it says").format(name=shown(member.name)))
    return digest.hexdigest(), written


def _check_sums(path: Path, target: Path, sums: dict[str, str]) -> bool:
    """Compare with SHA256SUMS (beside the files, or in their one common folder). False: there is none."""
    lists = [name for name in sums if name.rpartition("/")[2] == "SHA256SUMS"]
    for name in lists:
        folder = name.removesuffix("SHA256SUMS")
        listed: dict[str, str] = {}
        for line in (target / name).read_text(encoding="utf-8").splitlines():
            if not (found := re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)):
                raise refuse(path, _("{name} has a line that is no checksum").format(name=name))
            listed[folder + found[2]] = found[1]
        for file, digest in sums.items():
            if file != name and file.startswith(folder) and listed.get(file) != digest:
                raise Damaged(
                    _("{archive}: {name} is not the file that was packed (its checksum differs)").format(
                        archive=path.name, name=file
                    ),
                    fix=_("Copy the archive again from its source; nothing of it was kept."),
                )
        if missing := sorted(set(listed) - set(sums)):
            raise Damaged(
                _("{archive}: {name} is missing").format(archive=path.name, name=missing[0]),
                fix=_("Copy the archive again from its source; nothing of it was kept."),
            )
    return bool(lists)


def shown(name: str) -> str:
    """A hostile name, safe to print: no control characters, at most 80 characters."""
    return repr(name[:80])[1:-1]
