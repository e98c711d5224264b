"""Read WhatsApp's "Export chat" text: Android and iOS, 12 and 24 hours, day first or month first by evidence.

The text has no ids and no time zone. A message's id is its Unix time x 1000 + its place among the messages of that
time, so the same chat exported again gives the same ids; times are the phone's clock, read as UTC. The chat's id is a
hash of its name (from "WhatsApp Chat with NAME"), else of its people; `unite` finds the chat an export continues.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from tuneloop.collect import whatsapp_words as words
from tuneloop.collect.rows import UNSTORABLE, Row, clean, name_id, short_hash
from tuneloop.collect.source import Part
from tuneloop.errors import Damaged, Hostile, NotAnExport
from tuneloop.records import Chat
from tuneloop.texts import _

LONGEST = 1 << 20  # characters of one message; WhatsApp allows 65,536
REMEMBERED = 50_000  # timestamps whose ordinals are kept, for messages that arrive out of order

# Marks of writing direction that WhatsApp puts before dates, names and its own notices.
MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_STAMP = (
    r"(\d{1,4})([./-])(\d{1,2})[./-](\d{1,4})\.?,?[ \u00a0\u202f]+"
    r"(\d{1,2})[:.](\d\d)(?:[:.](\d\d))?(?:[ \u00a0\u202f]?([AaPp])\.?[ \u00a0\u202f]?[Mm]\.?)?"
)
ANDROID = re.compile(rf"[{MARKS}]*{_STAMP} [-–] (.*)", re.S)
IOS = re.compile(rf"[{MARKS}]*\[{_STAMP}\] ?(.*)", re.S)
_TITLE = re.compile(r"(?:WhatsApp Chat (?:with|-)|Чат WhatsApp (?:с контактом|с|-|—))\s+(.+?)(?: \(\d+\))?$")


def looks_like(text: str) -> bool:
    """Whether the beginning of a text is the beginning of a WhatsApp chat."""
    lines = [line for line in text[:20_000].split("\n") if line.strip()][:30]
    return any(
        (match := pattern.match(lines[0])) is not None
        and _plausible(match)
        and any((m := pattern.match(line)) and ": " in m[9] for line in lines)
        for pattern in (ANDROID, IOS)
        if lines
    )


def _plausible(match: re.Match[str]) -> bool:
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    return (len(match[1]) == 4 and second <= 12 and third <= 31) or (
        len(match[1]) <= 2 and len(match[4]) in (2, 4) and max(first, second) <= 31 and min(first, second) <= 12
    )


@dataclass
class Evidence:
    """What a first pass over the whole file tells of its dates and people."""

    pattern: re.Pattern[str]
    lines: int = 0
    year_first: bool = False
    day_first: int = 0  # dates that only make sense day first
    month_first: int = 0
    backwards: tuple[int, int] = (0, 0)  # steps back in time if read day first, month first
    default_month_first: bool = False
    people: frozenset[str] = frozenset()

    def month_comes_first(self) -> tuple[bool, str]:
        """The order and the note that reports how it was decided."""
        if self.year_first:
            return False, "dates read as year/month/day"
        if self.day_first != self.month_first:
            month_first = self.month_first > self.day_first
        elif self.backwards[0] != self.backwards[1]:
            month_first = self.backwards[1] < self.backwards[0]
        elif self.default_month_first:
            return True, "dates fit both orders, read as month/day"
        else:
            return False, "dates fit both orders, read as day/month"
        return month_first, "dates read as month/day" if month_first else "dates read as day/month"


def read(part: Part, notes: Counter[str]) -> Iterator[Chat | Row | str]:
    """Everything in the file: a first pass for the evidence, a second for the messages."""
    evidence = survey(part)
    month_first, note = evidence.month_comes_first()
    name = _name(part)
    key = name or "\n".join(sorted(evidence.people))
    yield Chat("wa:" + short_hash(key), "whatsapp", name or _people(evidence.people))
    notes["times are the phone's clock, read as UTC"] += 1
    notes[note] += 1
    notes["dates that fit only the other order"] += min(evidence.day_first, evidence.month_first)
    places: dict[int, int] = {}
    for match, text in _entries(part, evidence.pattern):
        if match is None:
            yield "text before the first message"
            continue
        when = moment(match, month_first)
        if when is None:
            yield "no date"
            continue
        yield _entry(match[9] + text, when, places, notes)


def survey(part: Part) -> Evidence:
    """Look at every line once. Raises NotAnExport when none of them is a message."""
    evidence: Evidence | None = None
    people: set[str] = set()
    last = [0, 0]
    back = [0, 0]
    for line in lines(part):
        if evidence is None:
            pattern = next((p for p in (ANDROID, IOS) if p.match(line)), None)
            if pattern is None:
                continue
            evidence = Evidence(pattern)
        match = evidence.pattern.match(line)
        if match is None:
            continue
        evidence.lines += 1
        first, second = int(match[1]), int(match[3])
        evidence.year_first = len(match[1]) == 4
        if not evidence.year_first:
            evidence.day_first += first > 12 and second <= 12
            evidence.month_first += second > 12 and first <= 12
            if match[2] == "/" and (match[8] or (len(match[4]) == 2 and "0" not in (match[1][0], match[3][0]))):
                # The United States write 1/9/20 and 1:00 PM; 01/09/2020 is everybody else.
                evidence.default_month_first = evidence.default_month_first or evidence.lines == 1
            for order in (0, 1):
                when = moment(match, bool(order))
                if when is not None:
                    back[order] += when < last[order] - 86_400
                    last[order] = when
        sender, colon, _rest = match[9].partition(": ")
        if colon and len(people) < 1000:
            people.add(sender.strip(MARKS + "~ \u00a0\u202f"))
    if evidence is None:
        raise NotAnExport(
            _("{name} holds no WhatsApp message").format(name=part.name),
            fix=_("In WhatsApp: chat > More > Export chat > Without media; then give that file."),
        )
    evidence.backwards = (back[0], back[1])
    evidence.people = frozenset(people)
    return evidence


def _entries(part: Part, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str] | None, str]]:
    """(match of the first line, the lines that follow it), one per message."""
    head: re.Match[str] | None = None
    rest: list[str] = []
    size = 0
    for line in lines(part):
        match = pattern.match(line)
        if match is None:
            size += len(line)
            if size > LONGEST:
                raise Hostile(
                    _("{name}: one message is longer than {limit} million characters").format(name=part.name, limit=1),
                    fix=_("This is no WhatsApp chat; do not use this file."),
                )
            if head is None:
                if line.strip():
                    yield None, ""
            else:
                rest.append("\n" + line)
            continue
        if head is not None:
            yield head, "".join(rest)
        head, rest, size = match, [], 0
    if head is not None:
        yield head, "".join(rest)


def _entry(said: str, when: int, places: dict[int, int], notes: Counter[str]) -> Row | str:
    if UNSTORABLE.search(said):
        said = clean(said)
        notes["broken characters replaced"] += 1
    sender, colon, text = said.partition(": ")
    sender = sender.strip(MARKS + "~ \u00a0\u202f")
    if not colon or not sender or "\n" in sender:
        return "service: notice of WhatsApp"
    own_notice = text.startswith("\u200e")
    text = text.strip(MARKS + " \n\t\r\u00a0\u202f")
    if words.DELETED.fullmatch(text):
        return "deleted by its author"
    if words.NOTICE.search(text) and (own_notice or words.ENCRYPTION.search(text)):
        return "service: notice of WhatsApp"
    edited = None
    if (mended := words.EDITED.search(text)) is not None:
        text, edited = text[: mended.start()].rstrip(MARKS + " "), when
    kind, text = words.media(text)
    place = places.pop(when, 0)
    places[when] = place + 1
    if len(places) > REMEMBERED:
        for old in list(places)[: REMEMBERED // 2]:
            del places[old]
    return (when * 1000 + place, when, name_id(sender), sender, text, kind, None, None, None, edited)


def moment(match: re.Match[str], month_first: bool) -> int | None:
    """Unix seconds of a matched line, the phone's clock read as UTC; None when there is no such date."""
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if len(match[1]) == 4:
        year, month, day = first, second, third
    else:
        day, month, year = (second, first, third) if month_first else (first, second, third)
        if month > 12 and day <= 12:
            day, month = month, day
    hour, half = int(match[5]), (match[8] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        when = datetime(
            year + 2000 if year < 100 else year, month, day, hour, int(match[6]), int(match[7] or 0), tzinfo=UTC
        )
    except ValueError:
        return None
    return int(when.timestamp())


def lines(part: Part) -> Iterator[str]:
    """The file line by line in constant memory. Raises Damaged for a wrong encoding, Hostile for an endless line."""
    decode = codecs.getincrementaldecoder(part.encoding)().decode
    pending = ""
    read = 0
    with part.opener() as stream:
        while True:
            chunk = stream.read(1 << 18)
            try:
                pending += decode(chunk, not chunk)
            except UnicodeDecodeError as problem:
                raise Damaged(
                    _("{name} is not {encoding} near byte {offset}").format(
                        name=part.name, encoding=part.encoding.upper(), offset=read + problem.start
                    ),
                    fix=_("Save it as UTF-8 (in an editor: Save as > UTF-8), or export the chat again."),
                ) from problem
            read += len(chunk)
            *whole, pending = pending.split("\n")
            for line in whole:
                yield line.rstrip("\r")
            if len(pending) > LONGEST:
                raise Hostile(
                    _("{name}: one line is longer than {limit} million characters").format(name=part.name, limit=1),
                    fix=_("This is no WhatsApp chat; do not use this file."),
                )
            if not chunk:
                if pending:
                    yield pending.rstrip("\r")
                return


def _name(part: Part) -> str:
    """The chat's name, when the file, its archive or its folder carries it."""
    path = PurePosixPath(part.name)
    for piece in (path.stem, PurePosixPath(part.folder).stem, *(PurePosixPath(p).stem for p in path.parts)):
        if match := _TITLE.match(piece):
            return match[1]
    return ""


def _people(people: frozenset[str]) -> str:
    return ", ".join(sorted(people)[:3]) + (f" +{len(people) - 3}" if len(people) > 3 else "")
