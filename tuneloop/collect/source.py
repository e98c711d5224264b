"""What lies at a path: a file, a folder or a zip archive, as streams of the chat exports inside.

The form is told by content, never by name. Nothing of an archive is unpacked to disk: its members are streams with a
limit on size and on the ratio of compression (1 GiB of zeros fits into a zip of 1 MB; text shrinks 3 to 15 times).
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Literal, Protocol, Self

from tuneloop.collect.depth import Guard
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, NotAnExport
from tuneloop.texts import _

Form = Literal["telegram", "telegram html", "whatsapp", "discord"]

HEAD = 1 << 16
LARGEST = 64 << 30  # bytes of one archive member
RATIO = 400  # deflate of real exports: HTML 12, JSON 15, of zeros 1,032
MEMBERS = 200_000  # files in one archive or folder; an account with its photos has tens of thousands


def known_forms() -> str:
    """The sentence that ends every "this is no export"."""
    return _(
        "Known forms: Telegram Desktop (result.json or messages*.html), WhatsApp (_chat.txt), DiscordChatExporter"
        " (JSON); as a file, a folder or a zip."
    )


class Stream(Protocol):
    """What readers need of a file."""

    def read(self, size: int = -1, /) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@dataclass(frozen=True)
class Part:
    """One file of an export. `name` is for people, `folder` groups the files of one HTML export."""

    name: str
    folder: str
    size: int
    opener: Callable[[], Stream]
    form: Form = "telegram"
    encoding: str = "utf-8"


def parts(path: Path) -> list[Part]:
    """The chat exports at `path`, in reading order. Raises as `look` does."""
    return look(path)[0]


def look(path: Path) -> tuple[list[Part], list[str]]:
    """(the chat exports at `path` in reading order, what else lies there and is left out, each with what it is).

    Raises Missing (nothing there), BadInput (no permission, encrypted), NotAnExport, Damaged (empty, broken archive,
    unknown encoding) or Hostile, each naming what was found.
    """
    found: list[Part] = []
    left_out: list[str] = []
    try:
        candidates = list(_files(path))
        for part in candidates:
            with part.opener() as stream:
                head = stream.read(HEAD)
            if known := _recognise(part, head, alone=len(candidates) == 1):
                found.append(known)
            else:
                left_out.append(f"{part.name}: {_description(head)}")
    except PermissionError as problem:
        raise BadInput(
            _("{path} may not be read: permission denied").format(path=problem.filename or path),
            fix=_("Give yourself the right to read it (chmod +r), then run this again."),
        ) from problem
    except OSError as problem:
        raise Damaged(
            _("{path} cannot be read: {problem}").format(path=problem.filename or path, problem=problem.strerror),
            fix=_("Copy it to another disk and try again."),
        ) from problem
    if not found:
        what = "; ".join(left_out[:3]) or _("no files")
        raise NotAnExport(
            _("{path} holds no chat export (found {what})").format(path=path, what=what),
            fix=known_forms(),
        )
    return sorted(found, key=_order), left_out


def _files(path: Path) -> Iterator[Part]:
    if not path.exists():
        raise Missing(
            _("there is no file or folder {path}").format(path=path),
            fix=_("Check the path; `tuneloop collect --help` shows an example."),
        )
    if path.is_dir():
        for count, inner in enumerate(_walk(path)):
            if count >= MEMBERS:
                raise BadInput(
                    _("{path} holds more than {n} files").format(path=path, n=MEMBERS),
                    fix=_("Give the folder of the chat export itself."),
                )
            if inner.suffix.lower() in MEDIA_SUFFIXES:
                continue
            if zipfile.is_zipfile(inner):
                yield from _members(inner)
            else:
                name = inner.relative_to(path).as_posix()
                yield Part(name, PurePosixPath(name).parent.as_posix(), inner.stat().st_size, _opener(inner))
    elif path.is_file() and zipfile.is_zipfile(path):
        yield from _members(path)
    elif path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise Damaged(
                    _("{path} is a zip archive whose end is missing").format(path=path),
                    fix=_("Download or copy it again; nothing of it was kept."),
                )
        yield Part(path.name, path.parent.as_posix(), path.stat().st_size, _opener(path))
    else:
        raise BadInput(
            _("{path} is neither a file nor a folder").format(path=path),
            fix=known_forms(),
        )


# Never the export itself; a folder of an account holds thousands of these.
MEDIA_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "png", "gif", "webp", "ico", "svg", "tgs", "mp4", "mov", "webm"),
        *("ogg", "oga", "opus", "mp3", "m4a", "wav", "pdf", "css", "js", "vcf"),
    )
)


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files under a folder, sorted; links are not followed."""
    for place, folders, files in os.walk(folder, onerror=_reraise):
        folders.sort()
        for name in sorted(files):
            inner = Path(place, name)
            if not inner.is_symlink() and inner.is_file():
                yield inner


def _reraise(problem: OSError) -> None:
    raise problem


def _opener(path: Path) -> Callable[[], Stream]:
    return lambda: path.open("rb")


def _members(path: Path) -> Iterator[Part]:
    try:
        archive = zipfile.ZipFile(path)
        members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as problem:
        raise Damaged(
            _("{path} is a broken zip archive: {problem}").format(path=path, problem=problem),
            fix=_("Download or copy it again; nothing of it was kept."),
        ) from problem
    with archive:
        if len(members) > MEMBERS:
            raise Hostile(
                _("{path} holds more than {n} files").format(path=path, n=MEMBERS),
                fix=_("Unpack it yourself if you trust it, and give the folder."),
            )
        for member in members:
            if member.is_dir() or PurePosixPath(member.filename).suffix.lower() in MEDIA_SUFFIXES:
                continue
            _check_member(path, member)
            folder = f"{path.name}/{PurePosixPath(member.filename).parent}"
            yield Part(f"{path.name}/{member.filename}", folder, member.file_size, _unzipper(path, member))


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & 1:
        raise BadInput(
            _("{path} is encrypted").format(path=path),
            fix=_("Unpack it with its password and give the folder."),
        )
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput(
            _("{path} is compressed in an unusual way").format(path=path),
            fix=_("Unpack it and give the folder."),
        )
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or len(name) > 1000 or "\x00" in name:
        raise Hostile(
            _("{path} holds a file with a path that leaves its folder: {name}").format(path=path, name=name[:80]),
            fix=_("This archive was made to overwrite files; do not use it."),
        )
    if member.file_size > LARGEST or member.file_size > RATIO * max(member.compress_size, 1024):
        raise Hostile(
            _("{path}: {name} would grow from {small} to {large} bytes").format(
                path=path, name=name, small=member.compress_size, large=member.file_size
            ),
            fix=_("This looks like a zip bomb; unpack it yourself if you trust it, and give the folder."),
        )


def _unzipper(path: Path, member: zipfile.ZipInfo) -> Callable[[], Stream]:
    return lambda: _Unzipped(path, member)


class _Unzipped:
    """A zip member as a stream that never gives more than its header promised."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._path = path
        self._name = member.filename
        self._left = member.file_size
        self._archive = zipfile.ZipFile(path)
        try:
            self._stream: IO[bytes] = self._archive.open(member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
            self._archive.close()
            raise self._broken(problem) from problem

    def read(self, size: int = -1, /) -> bytes:
        try:
            chunk = self._stream.read(size)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, zlib.error) as problem:
            raise self._broken(problem) from problem
        self._left -= len(chunk)
        if self._left < 0:
            raise Hostile(
                _("{path}: {name} is longer than its archive says").format(path=self._path, name=self._name),
                fix=_("This looks like a zip bomb; do not use it."),
            )
        return chunk

    def close(self) -> None:
        self._stream.close()
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    def _broken(self, problem: Exception) -> Damaged:
        return Damaged(
            _("{path}: {name} cannot be unpacked: {problem}").format(path=self._path, name=self._name, problem=problem),
            fix=_("Download or copy the archive again; nothing of it was kept."),
        )


_DISCORD = re.compile(r'"guild"\s*:\s*\{.*?"channel"\s*:\s*\{', re.S)
_TELEGRAM = re.compile(
    r'"(?:text_entities|date_unixtime|from_id|actor_id)"\s*:|"left_chats"\s*:\s*\{'
    r'|"type"\s*:\s*"(?:personal_chat|bot_chat|saved_messages|replies|verification_codes'
    r'|(?:private|public)_(?:group|supergroup|channel))"|"about"\s*:\s*"Here is the data you requested'
)
_HTML = re.compile(r'class="(?:page_body chat_page|history|message (?:default|service)[^"]*)"')


def _recognise(part: Part, head: bytes, *, alone: bool) -> Part | None:
    """The part with its form and encoding, None when it is no export. `alone`: say precisely what is wrong with it."""
    if not head.strip(b"\x00 \t\r\n"):
        if alone:
            raise Damaged(
                _("{name} is empty").format(name=part.name),
                fix=_("Export the chat again, or copy the file again."),
            )
        return None
    encoding = encoding_of(head)
    if encoding is None:
        if alone and (likely := _likely(head)):
            raise Damaged(
                _("{name} is text in {encoding}, not in UTF-8").format(name=part.name, encoding=likely),
                fix=_("Save it as UTF-8 (in an editor: Save as > UTF-8), or export the chat again."),
            )
        return None
    text = head.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    form = _form(part.name, text, alone=alone)
    return Part(part.name, part.folder, part.size, part.opener, form, encoding) if form else None


def _form(name: str, text: str, *, alone: bool) -> Form | None:
    if text[0:1] in ("{", "["):
        if alone:
            Guard(name).feed(text.encode("utf-8", "ignore"))
        if text[0] == "[":
            return _whatsapp(text)
        if _DISCORD.search(text):
            return "discord"
        # Alone, an object is read on: an account may begin with a long list of contacts.
        return "telegram" if alone or _TELEGRAM.search(text) else None
    if text[0:1] == "<":
        return "telegram html" if _HTML.search(text) else None
    return _whatsapp(text)


def _whatsapp(text: str) -> Form | None:
    from tuneloop.collect.whatsapp import looks_like

    return "whatsapp" if looks_like(text) else None


def encoding_of(head: bytes) -> str | None:
    """ "utf-8", "utf-16-le" or "utf-16-be" by byte order mark or by where the zeros are; None: none of them."""
    if head.startswith(b"\xff\xfe"):
        return "utf-16-le"
    if head.startswith(b"\xfe\xff"):
        return "utf-16-be"
    if len(head) > 3 and head[0] and not head[1]:
        return "utf-16-le"
    if len(head) > 3 and not head[0] and head[1]:
        return "utf-16-be"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as problem:
        return "utf-8" if problem.start >= len(head) - 4 else None
    return "utf-8"


def _likely(head: bytes) -> str:
    """The old Cyrillic encoding this text is probably in, "" when it looks like no text at all."""
    if b"\x00" in head:
        return ""
    letters = sum(b >= 0xC0 for b in head)
    if letters < sum(b >= 0x80 for b in head) * 0.8:
        return ""
    # Most Russian letters are small: those are 0xE0-0xFF in Windows-1251 and 0xC0-0xDF in KOI8-R.
    return "Windows-1251" if sum(b >= 0xE0 for b in head) * 2 > letters else "KOI8-R"


def _order(part: Part) -> tuple[object, ...]:
    """Reading order: messages.html, messages2.html, ..., messages10.html; folders 2019-02, 2019-10."""
    path = PurePosixPath(part.name)
    return (part.form, _natural(part.folder), _natural(path.stem), part.name)


def _description(head: bytes) -> str:
    """What a file that is no export looks like, in two or three words."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    known = (
        ((b"{",), _("some other JSON")),
        ((b"[",), _("a JSON list")),
        ((b"<",), _("a page or XML")),
        ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), _("a picture")),
        ((b"%PDF",), _("a PDF")),
        ((b"SQLite format 3",), _("a database")),
        ((b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"PK"), _("an archive of another kind, or inside an archive")),
    )
    for beginnings, words in known:
        if start.startswith(beginnings):
            return words
    return _("binary data") if encoding_of(head) is None or b"\x00" in head else _("some text")


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    return tuple((0, int(x)) if x.isdigit() else (1, x) for x in re.split(r"(\d+)", name))
