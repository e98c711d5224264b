"""Read documents from files: plain text, Markdown, HTML. HTML is parsed in a child process with limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from tuneloop.child import run_limited
from tuneloop.errors import BadInput, Missing
from tuneloop.search.documents import Document
from tuneloop.texts import _

PLAIN, PAGES = (".txt", ".md", ".markdown"), (".html", ".htm")
LARGEST = 20_000_000  # bytes of one file
TOGETHER = 40  # pages that one child reads: starting it takes 0.1 s
SECONDS = 60.0  # for them
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "math", "iframe", "select", "button", "nav"})
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|header|hr|li|"
    "main|ol|p|pre|section|table|td|th|tr|ul"
)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})


def gathered(paths: Sequence[Path]) -> dict[str, Path]:
    """id -> file. A file's id is its name; below a folder, its path in that folder, other kinds of files left out.

    Raises Missing for a path that is not there, BadInput for a file of another kind and for two of one id.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise Missing(_("{path} is not there").format(path=path), fix=_("Look at the spelling of its name."))
        inside = sorted(one for one in path.rglob("*") if one.is_file() and _kind(one)) if path.is_dir() else [path]
        for one in inside:
            if not _kind(one):
                raise BadInput(
                    _("{path} is no text, Markdown or HTML file").format(path=one),
                    fix=_("Save it as .txt, .md or .html first."),
                )
            identity = one.relative_to(path).as_posix() if path.is_dir() else one.name
            if found.setdefault(identity, one) != one:
                raise BadInput(
                    _("two files would be the document '{name}'").format(name=identity),
                    fix=_("Add the folder that holds both."),
                )
    return found


def read(files: dict[str, Path]) -> Iterator[Document]:
    """The documents of `gathered` files, in their order. Raises BadInput, Hostile for a file that cannot be read."""
    names = list(files)
    for start in range(0, len(names), TOGETHER):
        some = names[start : start + TOGETHER]
        pages = [str(files[name]) for name in some if _kind(files[name]) == "page"]
        parsed = iter(run_limited(parse_pages, pages, seconds=SECONDS, what=_short(pages)) if pages else [])
        for name in some:
            title, text = next(parsed) if _kind(files[name]) == "page" else _plain(files[name])
            yield Document(name, text, {"title": title or files[name].stem})


def parse_pages(paths: list[str]) -> list[tuple[str, str]]:
    """(title, text) of HTML files; runs in the child."""
    return [parse_page(_decoded(Path(path))) for path in paths]


def parse_page(html: str) -> tuple[str, str]:
    """The title of a page, and its text: paragraphs apart by empty lines, headings as Markdown has them."""
    page = _Page()
    page.feed(html)
    page.close()
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in "".join(page.parts).split("\n"))
    return " ".join("".join(page.title).split())[:200], re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Page(HTMLParser):
    """Keeps what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.parts: list[str] = []
        self._inside: list[str] = []  # silent elements and <title> that are open
        self._kept = 0  # <pre> that are open: their lines stay

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in _SILENT or tag == "title":
            self._inside.append(tag)
        elif tag in _HEADINGS:
            self.parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "br":
            self.parts.append("\n")
        elif _BLOCKS.fullmatch(tag):
            self.parts.append("\n\n")
            self._kept += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            del self._inside[self._inside.index(tag) :]
        elif tag in _HEADINGS or _BLOCKS.fullmatch(tag):
            self.parts.append("\n\n")
            self._kept = max(0, self._kept - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._inside:
            if self._inside == ["title"]:
                self.title.append(data)
        else:
            self.parts.append(data if self._kept else re.sub(r"\s+", " ", data))


def _plain(path: Path) -> tuple[str, str]:
    text = _decoded(path)
    heading = _HEADING.search(text) if path.suffix.lower() != ".txt" else None
    return (heading[1] if heading else ""), text


def _decoded(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 (with its mark) or windows-1251. Raises BadInput for anything else."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(
                _("{path} is larger than {n} MB").format(path=path, n=LARGEST // 10**6), fix=_("Split it first.")
            )
        data = path.read_bytes()
    except OSError as problem:
        raise BadInput(_("{path} cannot be read: {problem}").format(path=path, problem=problem.strerror)) from None
    for decode in _WAYS:
        try:
            text = decode(data)
        except UnicodeDecodeError:
            continue
        if text is not None and "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise BadInput(_("{path} is no text that can be read").format(path=path), fix=_("Save it as UTF-8 text."))


def _utf16(data: bytes) -> str | None:
    return data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else None


def _cp1251(data: bytes) -> str | None:
    """Any bytes are some windows-1251: it counts where most of what is beyond ASCII are Russian letters."""
    text = data.decode("cp1251")
    beyond = [letter for letter in text if letter > "\x7f"]
    return text if sum("А" <= letter <= "я" for letter in beyond) > 0.8 * len(beyond) else None


_WAYS: tuple[Callable[[bytes], str | None], ...] = (_utf16, lambda data: data.decode("utf-8-sig"), _cp1251)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return "plain" if suffix in PLAIN else "page" if suffix in PAGES else ""


def _short(pages: Sequence[str]) -> str:
    return ", ".join(pages[:3]) + (", ..." if len(pages) > 3 else "")
