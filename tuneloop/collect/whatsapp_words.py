"""What WhatsApp itself writes into an exported chat, in English and Russian: omitted media, notices, deletions."""

from __future__ import annotations

import re

DELETED = re.compile(
    r"(?i)(?:this message was deleted|you deleted this message|this message was deleted by admin .*"
    r"|(?:данное|это) сообщение удалено|вы удалили (?:данное|это) сообщение|сообщение удалено админ.*)\.?"
)
EDITED = re.compile(r"(?i)[\u200e ]*<(?:this message was edited|сообщение изменено|изменено)>$")
ENCRYPTION = re.compile(r"(?i)end-to-end encrypt|сквозн\w+ шифровани|защищены .*шифровани")
# With a left-to-right mark before it (iOS) this is a notice, without it a person may have said so.
NOTICE = re.compile(
    r"(?i)end-to-end encrypt|сквозн\w+ шифровани|защищены .*шифровани"
    r"|created (?:this )?group|changed (?:the|this|their) |added |left$|removed |joined using|is now an admin"
    r"|pinned a message|missed (?:voice|video) call|you're now an admin|turned (?:on|off)|security code|was added"
    r"|создал\(?а?\)? группу|изменил|добавил|покинул|вышел|удалил|присоединил|закрепил|пропущенный|теперь админ"
    r"|код безопасности"
)
# Android without media: one sentence for all kinds.
_OMITTED = re.compile(
    r"(?i)<(?:media omitted|без медиафайлов|медиафайлы? (?:пропущен\w*|отсутству\w+)|файл пропущен"
    r"|медиа пропущен\w*|view once \w+ message omitted)>"
)
# iOS without media: the kind is named.
_NAMED = re.compile(
    r"(?i)(image|photo|video note|video|audio|sticker|gif|document|contact card"
    r"|изображение|фото|видеосообщение|видео|аудио|стикер|документ|карточка контакта) "
    r"(?:omitted|пропущен[оа]?|отсутствует|опущен[оа]?)"
)
_ATTACHED = re.compile(
    r"(?i)^(?:<(?:attached|прикреплено|вложение): (?P<ios>[^>]{1,200})>"
    r"|(?P<android>[^\n/]{1,200}\.\w{2,5}) \((?:file attached|файл (?:добавлен|прикреплен|прикреплён))\))"
)
_LOCATION = re.compile(r"(?i)^(?:location|местоположение|live location shared|локация): ?https?://")
_POLL = re.compile(r"^(?:POLL|ОПРОС):\n")

_KINDS = {
    "image": "photo", "photo": "photo", "изображение": "photo", "фото": "photo",
    "video": "video", "video note": "video", "gif": "video", "видео": "video", "видеосообщение": "video",
    "audio": "voice", "аудио": "voice",
    "sticker": "sticker", "стикер": "sticker",
    "document": "file", "документ": "file",
    "contact card": "contact", "карточка контакта": "contact",
}  # fmt: skip
_ENDINGS = {
    "jpg": "photo", "jpeg": "photo", "png": "photo", "webp": "sticker", "mp4": "video", "3gp": "video", "mov": "video",
    "gif": "video", "opus": "voice", "ogg": "voice", "m4a": "voice", "aac": "voice", "mp3": "file", "vcf": "contact",
}  # fmt: skip


def media(text: str) -> tuple[str, str]:
    """(kind, what the person wrote beside it) of a message's text."""
    if _OMITTED.fullmatch(text):
        return "other", ""
    if match := _NAMED.fullmatch(text.rsplit("\u200e", 1)[-1].strip()):
        # "report.pdf • 3 pages document omitted" keeps nothing a person wrote
        return _KINDS[match[1].lower()], ""
    if match := _ATTACHED.match(text):
        name = match["ios"] or match["android"]
        return _ENDINGS.get(name.rsplit(".", 1)[-1].lower(), "file"), text[match.end() :].strip("\u200e \n")
    if _LOCATION.match(text):
        return "location", ""
    if match := _POLL.match(text):
        return "poll", text[match.end() :].split("\n", 1)[0].strip("\u200e ")
    return "text", text
