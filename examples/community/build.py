"""Compile the hand-written sample chat into a Telegram Desktop export (result.json).

Sources are chat/YYYY-MM.txt, one file per month, one message per line:

    # comment
    = 14                              the 14th day of the file's month
    9:05 тим #клещ: text              absolute time, speaker key, label for later replies
    +3 мар >клещ: text                3 minutes later, explicit reply to the label
    +1 мар >2: text                   explicit reply to the message two lines above
    +4 мар ~клещ: text                answers the label, but the export gets no reply link
    +2 тим >gone: text                reply to a message that the export lacks
    +2 !: join тим                    service message, see SERVICE below

Text may start with flags in braces: {photo} {sticker E} {voice SEC} {round SEC} {gif} {doc NAME MIME}
{video NAME} {edit MIN} {fwd NAME} {react E3 E1} {poll Q|answer:votes|...} {peer ID}
{contact FIRST LAST PHONE} {geo LAT LON} {via NAME}.  Inline: **bold** __italic__ ~~strike~~ ||spoiler||
`code` [text](url) [Name](user:key) <ce E> (custom emoji), \\n (line break), \\ud83d (a lone surrogate).
Links, @mentions, #hashtags, /commands, e-mails, phones and card numbers become entities by themselves.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parents[1] / "tuneloop" / "demo" / "community" / "result.json"
ZONE = timezone(timedelta(hours=3))
GROUP = {"name": "Пасека и мастерская", "type": "private_supergroup", "id": 1900000001}
OTHER_CHAT = "channel1900000002"
NO_FILE = "(File not included. Change data exporting settings to download.)"
# fmt: off
PEOPLE: dict[str, str | None] = {  # their numbers follow this order
    "мар": "Марина Ветрова", "гл": "Глеб Санников", "оля": "Ольга Дьякова", "паш": "Паша Крутиков 🐝",
    "тим": "Тимур Аксаков", "лен": "Лена Зуева", "дед": "Николай Ефимыч", "рус": "Рустам Галимов",
    "кос": "kostya", "ира": "Ирина Соболь", "дан": "Dan Holloway", "вик": "Вика Морозова",
    "сер": "Сергей Лаптев", "ант": "Антон Рябинин", "жен": "Женя Кольцов", "сан": "Саня",
    "нат": "Наталья Грекова", "ник": None, "бот": "Пчелобот", "спам": "Алина | доход",
}
# fmt: on
FILES: dict[str, dict[str, Any]] = {
    "sticker": {"media_type": "sticker"},
    "voice": {"media_type": "voice_message", "mime_type": "audio/ogg"},
    "round": {"media_type": "video_message", "mime_type": "video/mp4"},
    "gif": {"media_type": "animation", "mime_type": "video/mp4", "duration_seconds": 3},
    "video": {"media_type": "video_file", "mime_type": "video/mp4"},
    "doc": {},
}
HEAD = re.compile(r"(\d{1,2}:\d\d|\+\d+) (\S+?)(?: ([>~])(\S+?))?(?: #(\S+?))?: ?(.*)")
FLAG = re.compile(r"\{([^}]*)\} ?")
INLINE = re.compile(
    r"\*\*(?P<bold>.+?)\*\*|__(?P<italic>.+?)__|~~(?P<strikethrough>.+?)~~|\|\|(?P<spoiler>.+?)\|\|"
    r"|`(?P<code>[^`]+)`|\[(?P<label>[^\]]+)\]\((?P<href>[^)]+)\)|<ce (?P<custom_emoji>[^>]+)>"
    r"|(?P<link>https?://[^\s)]*[^\s.,)!?]|\bt\.me/[\w+/-]+)|(?P<email>[\w.+-]+@[\w-]+\.[\w.]*\w)"
    r"|(?<!\w)(?P<mention>@\w{4,})|(?<!\S)(?P<hashtag>#[a-zа-яё]\w+)|(?<!\S)(?P<bot_command>/[a-z]{3,}\b)"
    r"|(?P<phone>\+7[ (-]*\d{3}[ )-]*\d{3}[ -]?\d\d[ -]?\d\d)|(?P<bank_card>\b\d{4} \d{4} \d{4} \d{4}\b)"
)


@dataclass
class Line:
    """One source line, before identifiers are known."""

    where: str
    when: datetime
    who: str
    text: str
    link: str = ""  # ">" explicit reply, "~" an answer without a link, "" neither
    target: str = ""
    label: str = ""
    flags: list[tuple[str, str]] = field(default_factory=list)
    id: int = 0
    answers: Line | None = None  # the message that this one answers, linked or not


def read_sources(folder: Path) -> list[Line]:
    """Parse every month file, in order."""
    lines: list[Line] = []
    for path in sorted(folder.glob("*.txt")):
        year, month = (int(part) for part in path.stem.split("-"))
        when = datetime(year, month, 1, tzinfo=ZONE)
        for number, raw in enumerate(path.read_text("utf-8").splitlines(), 1):
            if raw.startswith("="):
                when = datetime(year, month, int(raw[1:]), tzinfo=ZONE)
            elif raw.strip() and not raw.startswith("#"):
                line = parse_line(raw, f"{path.name}:{number}", when)
                when = line.when
                lines.append(line)
    return lines


def parse_line(raw: str, where: str, when: datetime) -> Line:
    """Parse one message line; ``when`` is the time of the line before it."""
    match = HEAD.fullmatch(raw)
    if not match or (match[2] != "!" and match[2] not in PEOPLE):
        raise ValueError(f"{where}: cannot read {raw!r}")
    clock, who, link, target, label, text = match.groups(default="")
    if clock.startswith("+"):
        moment = when + timedelta(minutes=int(clock))
    else:
        hour, minute = clock.split(":")
        moment = when.replace(hour=int(hour), minute=int(minute))
    if moment < when.replace(second=0):
        raise ValueError(f"{where}: earlier than the line before it")
    moment = max(moment.replace(second=zlib.crc32(raw.encode()) % 60), when + timedelta(seconds=1))
    line = Line(where, moment, who, text, link, target, label)
    while who != "!" and (flag := FLAG.match(line.text)):
        name, _, argument = flag[1].partition(" ")
        line.flags.append((name, argument))
        line.text = line.text[flag.end() :]
    line.text = line.text.replace("\\n", "\n").replace("\\ud83d", "\ud83d")
    return line


def resolve(lines: list[Line]) -> None:
    """Give identifiers (with gaps, as after deletions) and find what each line answers."""
    labels: dict[str, Line] = {}
    number = 0
    for index, line in enumerate(lines):
        jump = zlib.crc32(str(index).encode()) % 29
        number += 1 + (jump if jump < 4 else 0) + (line.target == "gone")
        line.id = number
        if line.target.isdigit():
            line.answers = lines[index - int(line.target)]
        elif line.target and line.target != "gone":
            if line.target not in labels:
                raise ValueError(f"{line.where}: no label {line.target!r}")
            line.answers = labels[line.target]
        if line.answers and line.answers.who == line.who and line.link == "~":
            raise ValueError(f"{line.where}: answers its own author")
        if line.label in labels:
            raise ValueError(f"{line.where}: label {line.label!r} used twice")
        if line.label:
            labels[line.label] = line


def sender(key: str) -> tuple[str | None, str]:
    """Display name and identifier of a speaker."""
    return PEOPLE[key], f"user{90000000101 + list(PEOPLE).index(key)}"


def entities(text: str) -> list[dict[str, Any]]:
    """Split marked-up text into Telegram entities."""
    parts: list[dict[str, Any]] = []
    at = 0
    for match in INLINE.finditer(text):
        if match.start() > at:
            parts.append({"type": "plain", "text": text[at : match.start()]})
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "href" and match["href"].startswith("user:"):
            user = int(sender(match["href"][5:])[1][4:])
            parts.append({"type": "mention_name", "text": match["label"], "user_id": user})
        elif kind == "href":
            parts.append({"type": "text_link", "text": match["label"], "href": match["href"]})
        else:
            document = {"document_id": NO_FILE} if kind == "custom_emoji" else {}
            parts.append({"type": kind, "text": match[kind], **document})
    if at < len(text) or (parts and text):
        parts.append({"type": "plain", "text": text[at:]})
    return parts


def with_text(message: dict[str, Any], text: str) -> dict[str, Any]:
    """Add ``text`` and ``text_entities`` the way Telegram Desktop does."""
    parts = entities(text)
    listed = [part["text"] if part["type"] == "plain" else part for part in parts]
    message["text"] = text if len(listed) == 1 and isinstance(listed[0], str) else (listed or "")
    message["text_entities"] = parts
    return message


def stamp(prefix: str, when: datetime) -> dict[str, str]:
    """A local time and its Unix time."""
    return {prefix: when.strftime("%Y-%m-%dT%H:%M:%S"), f"{prefix}_unixtime": str(int(when.timestamp()))}


def media(line: Line, kind: str, value: str) -> dict[str, Any]:
    """Keys of an attachment flag."""
    size = 4000 + zlib.crc32(f"{line.where}{kind}".encode()) % 90000
    name, _, rest = value.partition(" ")
    if kind == "photo":
        return {"photo": NO_FILE, "photo_file_size": size, "width": 960, "height": 1280}
    if kind in FILES:
        extra = dict(FILES[kind])
        if kind in ("voice", "round"):
            extra["duration_seconds"] = int(value)
        elif kind == "sticker":
            extra |= {"file_name": "sticker.webp", "sticker_emoji": value, "width": 512, "height": 512}
        elif kind == "doc":
            extra |= {"file_name": name, "mime_type": rest}
        elif kind == "video":
            extra |= {"file_name": value, "duration_seconds": 41}
        return {"file": NO_FILE, "file_size": size, **extra}
    if kind == "contact":
        last, _, phone = rest.partition(" ")
        return {"contact_information": {"first_name": name, "last_name": last, "phone_number": phone}}
    if kind == "geo":
        return {"location_information": {"latitude": float(name), "longitude": float(rest)}}
    if kind == "poll":
        question, *options = value.split("|")
        answers = [
            {"text": text, "voters": int(votes), "chosen": False}
            for text, _, votes in (option.rpartition(":") for option in options)
        ]
        total = sum(int(str(answer["voters"])) for answer in answers)
        return {"poll": {"question": question, "closed": True, "total_voters": total, "answers": answers}}
    raise ValueError(f"{line.where}: unknown flag {kind!r}")


def reactions(line: Line, value: str) -> list[dict[str, Any]]:
    """Reaction counters with the most recent person, as in the export."""
    everyone = sorted(key for key, name in PEOPLE.items() if name and key not in ("бот", "спам"))
    result = []
    for item in value.split():
        who, user = sender(everyone[zlib.crc32(f"{line.where}{item}".encode()) % len(everyone)])
        recent = {"from": who, "from_id": user, "date": stamp("d", line.when + timedelta(minutes=9))["d"]}
        result.append({"type": "emoji", "count": int(item[-1]), "emoji": item[:-1], "recent": [recent]})
    return result


def service(line: Line, by_label: dict[str, Line]) -> dict[str, Any]:
    """A service message: ``KIND ACTOR [ARGUMENT]``."""
    kind, actor, *words = line.text.split(" ")
    rest = " ".join(words)
    members = [sender(word)[0] for word in words if word in PEOPLE]
    kinds: dict[str, dict[str, Any]] = {
        "join": {"action": "join_group_by_link", "inviter": "Group"},
        "invite": {"action": "invite_members", "members": members},
        "kick": {"action": "remove_members", "members": members},
        "title": {"action": "edit_group_title", "title": rest},
        "cover": {"action": "edit_group_photo", "photo": NO_FILE, "width": 640, "height": 640},
        "migrate": {"action": "migrate_from_group", "title": rest},
        "topic": {"action": "topic_created", "title": rest},
        "call": {"action": "group_call", "duration": int(rest) if rest.isdigit() else 0},
        "pin": {"action": "pin_message", "message_id": by_label[rest].id if rest in by_label else 0},
    }
    name, user = sender(actor) if actor != "group" else (GROUP["name"], f"channel{GROUP['id']}")
    head = {"id": line.id, "type": "service", **stamp("date", line.when), "actor": name, "actor_id": user}
    return with_text({**head, **kinds[kind]}, "")


def message(line: Line) -> dict[str, Any]:
    """An ordinary message."""
    flags = dict(line.flags)
    result: dict[str, Any] = {"id": line.id, "type": "message", **stamp("date", line.when)}
    if "edit" in flags:
        result |= stamp("edited", line.when + timedelta(minutes=int(flags.pop("edit"))))
    result["from"], result["from_id"] = sender(line.who)
    if "fwd" in flags:
        result["forwarded_from"] = flags.pop("fwd")
    if "via" in flags:
        result["via_bot"] = flags.pop("via")
    if "peer" in flags:
        result |= {"reply_to_message_id": int(flags.pop("peer")), "reply_to_peer_id": OTHER_CHAT}
    elif line.target == "gone":
        result["reply_to_message_id"] = line.id - 1
    elif line.link == ">" and line.answers:
        result["reply_to_message_id"] = line.answers.id
    reacted = flags.pop("react", "")
    for kind, value in flags.items():
        result |= media(line, kind, value)
    with_text(result, line.text)
    if reacted:
        result["reactions"] = reactions(line, reacted)
    return result


def export(lines: list[Line]) -> str:
    """The whole result.json as text; a lone surrogate stays an escape, as JSON needs."""
    resolve(lines)
    by_label = {line.label: line for line in lines if line.label}
    messages = [service(line, by_label) if line.who == "!" else message(line) for line in lines]
    text = json.dumps({**GROUP, "messages": messages}, ensure_ascii=False, indent=1)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def main() -> None:
    """Command line: write the compiled export."""
    parser = argparse.ArgumentParser(description="compile the sample community chat")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where to write result.json")
    parser.add_argument("--answers", type=Path, help="also write true pairs: answer, question, > or ~")
    args = parser.parse_args()
    lines = read_sources(HERE / "chat")
    args.out.write_text(export(lines), "utf-8", newline="\n")
    if args.answers:
        pairs = [f"{line.id}\t{line.answers.id}\t{line.link}\n" for line in lines if line.answers]
        args.answers.write_text("".join(pairs), "utf-8", newline="\n")
    print(f"{args.out}: {len(lines)} messages")


if __name__ == "__main__":
    main()
