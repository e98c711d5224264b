"""Write the same small chat in the forms of the real exporters: Telegram's JSON and HTML, WhatsApp's text."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

CHAT = "Клуб «Тесто & Ко»"
OFFSET = timezone(timedelta(hours=4))


@dataclass(frozen=True)
class Post:
    """One item of a chat. `action`: a service line instead of a message."""

    id: int
    time: int
    name: str | None = "Анна"  # None: a deleted account
    text: str = ""
    kind: str = "text"
    reply: int | None = None
    forwarded: str | None = None
    action: str = ""

    @property
    def sender(self) -> str:
        return "user" + str(sum((self.name or "nobody").encode()) * 31 + len(self.name or ""))


MEDIA: dict[str, dict[str, Any]] = {
    "text": {},
    "photo": {"photo": "photos/photo_1.jpg", "width": 10, "height": 10},
    "sticker": {"file": "stickers/sticker.webp", "media_type": "sticker", "sticker_emoji": "👍"},
    "voice": {"file": "voice_messages/audio_1.ogg", "media_type": "voice_message", "duration_seconds": 3},
    "video": {"file": "video_files/video.mp4", "media_type": "video_file"},
    "file": {"file": "files/price.pdf", "file_name": "price.pdf"},
    "location": {"location_information": {"latitude": 1.5, "longitude": 2.5}},
    "contact": {"contact_information": {"first_name": "Х", "last_name": "", "phone_number": "000"}},
    "poll": {"poll": {"question": "", "closed": False, "total_voters": 0, "answers": []}},
}
BLOCKS = {
    "photo": '<a class="photo_wrap clearfix pull_left" href="photos/photo_1.jpg"><img class="photo" src="t.jpg"/></a>',
    "sticker": '<div class="media clearfix pull_left media_photo"><div class="fill pull_left"></div><div class="body">'
    '<div class="title bold">\nSticker\n</div><div class="status details">\n👍\n</div></div></div>',
    "voice": '<a class="media clearfix pull_left block_link media_voice_message" href="voice_messages/audio_1.ogg">'
    '<div class="body"><div class="title bold">\nVoice message\n</div></div></a>',
    "video": '<a class="video_file_wrap clearfix pull_left" href="video_files/video.mp4"></a>',
    "file": '<a class="media clearfix pull_left block_link media_file" href="files/price.pdf"><div class="body">'
    '<div class="title bold">\nprice.pdf\n</div></div></a>',
    "location": '<a class="media clearfix pull_left block_link media_location" href="https://maps.example.org"></a>',
    "contact": '<div class="media clearfix pull_left media_contact"></div>',
}


def write_json(path: Path, posts: Sequence[Post], *, name: str = CHAT, number: int = 1900000001) -> Path:
    items = [_item(post) for post in posts]
    chat = {"name": name, "type": "private_supergroup", "id": number, "messages": items}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chat, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def _item(post: Post) -> dict[str, Any]:
    item: dict[str, Any] = {"id": post.id, "date": "2020-01-01T00:00:00", "date_unixtime": str(post.time)}
    if post.action:
        return item | {
            "type": "service",
            "actor": post.name,
            "actor_id": post.sender,
            "action": post.action,
            "text": "",
        }
    item |= {"type": "message", "from": post.name, "from_id": post.sender}
    if post.reply is not None:
        item["reply_to_message_id"] = post.reply
    if post.forwarded is not None:
        item["forwarded_from"] = post.forwarded
    if post.kind == "poll":
        return item | {"poll": {"question": post.text, "closed": False, "answers": []}, "text": "", "text_entities": []}
    return item | MEDIA[post.kind] | {"text": _entities(post.text), "text_entities": []}


def _entities(text: str) -> str | list[Any]:
    """Every other text as the exporter writes formatted ones: a list of strings and entities."""
    middle = len(text) // 2
    return text if middle % 2 == 0 else [text[:middle], {"type": "bold", "text": text[middle:]}, ""]


def write_html(folder: Path, posts: Sequence[Post], *, name: str = CHAT, page: int = 1000) -> Path:
    """messages.html, messages2.html, ...: joined messages have no author line, a reply to another page names it."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = [posts[start : start + page] for start in range(0, len(posts), page)]
    home = {post.id: _page(i) for i, part in enumerate(pages) for post in part}
    for i, part in enumerate(pages):
        blocks = [_separator(-1, part[0].time)]
        before: Post | None = None
        for post in part:
            if post.action:
                blocks.append(_service(post))
                before = None
            else:
                blocks.append(_message(post, before, home, _page(i)))
                before = post
        (folder / _page(i)).write_text(
            '<!DOCTYPE html>\n<html>\n <head>\n  <meta charset="utf-8"/>\n<title>Exported Data</title>\n </head>\n'
            ' <body onload="CheckLocation();">\n  <div class="page_wrap">\n   <div class="page_header">\n'
            f'    <div class="content">\n     <div class="text bold">\n{_escaped(name)}\n     </div>\n    </div>\n'
            '   </div>\n   <div class="page_body chat_page">\n    <div class="history">\n'
            + "\n".join(blocks)
            + "\n    </div>\n   </div>\n  </div>\n </body>\n</html>\n",
            encoding="utf-8",
        )
    return folder


def _page(i: int) -> str:
    return "messages.html" if i == 0 else f"messages{i + 1}.html"


def _separator(number: int, time: int) -> str:
    day = f"{datetime.fromtimestamp(time, UTC):%d %B %Y}"
    return f'<div class="message service" id="message{number}"><div class="body details">\n{day}\n</div></div>'


SAID = {
    "invite_members": "{name} invited Пётр",
    "pin_message": "{name} pinned this message",
    "migrate_from_group": "{name} converted a basic group to this supergroup «Старая»",
    "topic_created": "{name} created topic «Печи»",
}


def _service(post: Post) -> str:
    said = SAID[post.action].format(name=_escaped(post.name or "Deleted Account"))
    return f'<div class="message service" id="message{post.id}"><div class="body details">\n{said}\n</div></div>'


def _message(post: Post, before: Post | None, home: dict[int, str], page: str) -> str:
    joined = (
        before is not None and before.name == post.name and (before.forwarded is None or post.forwarded is not None)
    )
    again = joined and before is not None and post.forwarded is not None and before.forwarded == post.forwarded
    stamp = f"{datetime.fromtimestamp(post.time, OFFSET):%d.%m.%Y %H:%M:%S} UTC+04:00"
    inner = ""
    if post.kind == "poll":
        question = _broken(post.text)
        inner += (
            f'<div class="media_wrap clearfix"><div class="media_poll"><div class="question bold">\n{question}\n</div>'
        )
        inner += '<div class="answer">\n- да <span class="details">2 votes</span>\n</div></div></div>\n'
    elif post.kind != "text":
        inner += f'<div class="media_wrap clearfix">\n{BLOCKS[post.kind]}\n</div>\n'
    if post.text and post.kind != "poll":
        middle = len(post.text) // 2
        formatted = (
            _broken(post.text)
            if middle % 2 == 0
            else f"{_broken(post.text[:middle])}<strong>{_broken(post.text[middle:])}</strong>"
        )
        inner += f'<div class="text">\n{formatted}\n</div>\n'
    body = f'<div class="pull_right date details" title="{stamp}">\n{stamp[11:16]}\n</div>\n'
    if not joined:
        body += f'<div class="from_name">\n{_escaped(post.name or "Deleted Account")}\n</div>\n'
    if post.reply is not None:
        there = home.get(post.reply, page)
        link = f"#go_to_message{post.reply}" if there == page else f"{there}#go_to_message{post.reply}"
        body += f'<div class="reply_to details">\nIn reply to <a href="{link}">this message</a>\n</div>\n'
    if post.forwarded is not None:
        author = _escaped(post.forwarded)
        line = (
            f'<div class="from_name">\n{author}<span class="date details" title="{stamp}"> {stamp[:19]}</span>\n</div>'
        )
        inner = f'<div class="forwarded body">\n{"" if again else line}\n{inner}</div>\n'
        if not again:
            inner = f'<div class="pull_left forwarded userpic_wrap"></div>\n{inner}'
    return (
        f'<div class="message default clearfix{" joined" if joined else ""}" id="message{post.id}">\n'
        f'<div class="body">\n{body}{inner}</div>\n</div>'
    )


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _broken(text: str) -> str:
    return _escaped(text).replace("\n", "<br>")


# A conversation with everything in it that the two Telegram forms share.
POSTS = (
    Post(-999_999_990, 1_600_000_000, "Анна", "Это из старой группы"),
    Post(1, 1_600_000_100, "Анна", action="migrate_from_group"),
    Post(2, 1_600_000_200, "Анна", "Кто печёт хлеб дома?\nИ в чём?"),
    Post(3, 1_600_000_260, "Анна", "Мука <любая> & вода"),
    Post(5, 1_600_000_300, "Борис", "Я, в чугунке", reply=2),
    Post(6, 1_600_000_310, "Борис", kind="photo", reply=3),
    Post(7, 1_600_000_400, None, "А я из духовки", reply=2),
    Post(8, 1_600_000_500, "Вера", action="invite_members"),
    Post(9, 1_600_000_600, "Вера", "Пересылаю рецепт", forwarded="Канал о хлебе"),
    Post(10, 1_600_000_601, "Вера", kind="file", forwarded="Канал о хлебе"),
    Post(11, 1_600_000_602, "Вера", "и ещё один", forwarded="Другой канал"),
    Post(12, 1_600_000_700, "Борис", kind="sticker"),
    Post(13, 1_600_000_710, "Борис", "Сколько градусов?", kind="poll"),
    Post(14, 1_600_000_800, "Анна", kind="voice", reply=13),
    Post(15, 1_600_000_900, "Анна", "230 😀", reply=13),
    Post(16, 1_600_001_000, "Вера", kind="location"),
    Post(17, 1_600_001_100, "Вера", "спасибо!", reply=999),
    Post(18, 1_600_001_200, "Борис", action="pin_message"),
    Post(19, 1_600_001_300, "Борис", kind="video"),
    Post(20, 1_600_001_400, "Анна", "подпись", kind="photo"),
)
