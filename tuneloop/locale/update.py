"""`make texts`: collect every text of the code, merge it into the Russian catalogue, compile the catalogue.

Translations are kept, texts that no longer exist are dropped, nothing is guessed ("fuzzy" entries would show a
sentence that nobody wrote). Neither dates nor line numbers are written: the same code gives the same bytes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

HERE = Path(__file__).parent
PACKAGE = HERE.parent
PO = HERE / "ru" / "LC_MESSAGES" / "tuneloop.po"
MO = PO.with_suffix(".mo")

KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "n_": (1, 2)}
NEVER_CHANGES = datetime(2026, 1, 1, tzinfo=UTC)
COMMENT = "# Russian texts of tuneloop. Written by hand; `make texts` merges new ones in."

# Header lines that say when, by whom and with which Babel: they would change without any text changing.
UNSTABLE = tuple(
    f'"{name}:'.encode()
    for name in (
        "POT-Creation-Date",
        "PO-Revision-Date",
        "Last-Translator",
        "Language-Team",
        "Report-Msgid-Bugs-To",
        "Generated-By",
        "Project-Id-Version",
    )
)

# What click itself says through gettext on --help and on a mistyped command line.
CLICK = (
    "Usage:",
    "Options",
    "Arguments",
    "Positional arguments",
    "Show this message and exit.",
    "Show the version and exit.",
    "Try '{command} {option}' for help.",
    "Error: {message}",
    "Error: invalid input",
    "Aborted!",
    "Missing command.",
    "Missing argument",
    "Missing option",
    "Missing parameter",
    "No such command {name!r}.",
    "No such option {name!r}.",
    "Choose from:\n\t{choices}",
    "Option {name!r} does not take a value.",
    "Invalid value: {message}",
    "Invalid value for {param_hint}: {message}",
    "{name} {filename!r} does not exist.",
    "{name} {filename!r} is a directory.",
    "{name} {filename!r} is a file.",
    "{name} {filename!r} is not readable.",
    "{value!r} is not a valid {number_type}.",
    "{value} is not in the range {range}.",
    "default: {default}",
    "required",
    "file",
    "directory",
    "path",
)
CLICK_PLURAL = (
    ("Did you mean {possibility}?", "(Did you mean one of: {possibilities}?)"),
    ("Option {name!r} requires an argument.", "Option {name!r} requires {nargs} arguments."),
    ("Got unexpected extra argument ({args})", "Got unexpected extra arguments ({args})"),
    ("{value!r} is not {choice}.", "{value!r} is not one of {choices}."),
)


def texts() -> Iterator[tuple[str | tuple[str, ...], str]]:
    """Every text with the file it is in: those wrapped in `_` or `n_`, and those translated when they are shown."""
    found = extract_from_dir(PACKAGE, method_map=[("**.py", "python")], keywords=KEYWORDS)
    for name, _line, message, _comments, _context in found:
        yield message, f"tuneloop/{name}"

    from tuneloop.cli import COMMANDS
    from tuneloop.loop import chat, duel
    from tuneloop.settings import OBSOLETE, SETTINGS

    contestants = (chat.CANDIDATE, chat.BASE, chat.SHOWN, chat.SERVING, chat.HISTORY, chat.CHANCE, duel.PERSON)
    yield from ((contestant, "tuneloop/loop/chat.py") for contestant in contestants)
    yield from ((line, "tuneloop/cli/__init__.py") for _module, _attribute, line in COMMANDS.values())
    yield from ((setting.help, "tuneloop/settings.py") for setting in SETTINGS)
    yield from ((sentence, "tuneloop/settings.py") for sentence in OBSOLETE.values())
    yield from ((text, "click") for text in (*CLICK, *CLICK_PLURAL))


def merged() -> Catalog:
    """The catalogue as it should be: every text of the code, with the Russian it has so far."""
    template = _catalogue()
    for text, place in sorted(texts(), key=lambda found: found[1]):
        template.add(text, locations=[(place, 0)])
    with PO.open("rb") as file:
        russian = read_po(file, locale="ru")
    for message in entries(template):
        known = russian.get(message.id)
        if isinstance(known, Message) and known.pluralizable == message.pluralizable:
            message.string = known.string
    return template


def entries(catalogue: Catalog) -> list[Message]:
    """All texts of a catalogue, without its header."""
    return [message for message in catalogue if isinstance(message, Message) and message.id]


def _catalogue() -> Catalog:
    catalogue = Catalog("ru", header_comment=COMMENT, project="tuneloop", charset="utf-8", fuzzy=False)
    catalogue.creation_date = catalogue.revision_date = NEVER_CHANGES
    return catalogue


def as_po(catalogue: Catalog) -> bytes:
    """The catalogue as it is read and written by people."""
    out = io.BytesIO()
    write_po(out, catalogue, width=110, sort_by_file=True, include_lineno=False)
    head, _blank, body = out.getvalue().partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith(UNSTABLE)]
    return b"\n".join(kept) + b"\n\n" + body


def as_mo(po: bytes) -> bytes:
    """The same, compiled for `gettext`."""
    out = io.BytesIO()
    catalogue = read_po(io.BytesIO(po), locale="ru")
    catalogue.creation_date = catalogue.revision_date = NEVER_CHANGES  # else the .mo holds the time of its making
    write_mo(out, catalogue)
    return out.getvalue()


def missing(catalogue: Catalog) -> list[str]:
    """Texts without a complete Russian translation."""
    return [str(m.id) for m in entries(catalogue) if not all(forms(m))]


def forms(message: Message) -> tuple[str, ...]:
    """The Russian of a text: one form, or three where a number decides."""
    if isinstance(message.string, (tuple, list)):
        return tuple(str(form) for form in message.string)
    return (str(message.string or ""),)


def main() -> int:
    """Write both files; exit 1 when a text has no translation yet."""
    catalogue = merged()
    po = as_po(catalogue)
    PO.write_bytes(po)
    MO.write_bytes(as_mo(po))
    untranslated = missing(catalogue)
    sys.stdout.write(f"{len(catalogue)} texts, {len(untranslated)} without a Russian translation\n")
    sys.stdout.writelines(f"  {text!r}\n" for text in untranslated)
    return 1 if untranslated else 0


if __name__ == "__main__":
    sys.exit(main())
