"""A photo in, products out: each with its picture, name, price, similarity, and the buttons that teach the search."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from aiogram import Bot, F, Router
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import FSInputFile, InlineKeyboardMarkup, Message

from tuneloop.bot import buttons
from tuneloop.bot.desk import Desk, name_of
from tuneloop.bot.line import fetch, too_large
from tuneloop.encoders.decode import MOST_BYTES
from tuneloop.errors import BadInput, TooMany
from tuneloop.loop import bot_rows, photo_people
from tuneloop.loop.photos import Found, Hit
from tuneloop.texts import _

LONGEST_CAPTION = 1024  # characters, as the Bot API limits it


def routes() -> Router:
    """Photos, and pictures sent as files."""
    router = Router(name="results")
    router.message.register(photo, F.photo)
    router.message.register(document, F.document)
    router.message.register(other, F.video | F.animation | F.sticker | F.video_note | F.voice | F.audio)
    return router


async def photo(message: Message, desk: Desk, bot: Bot) -> None:
    """The largest size of it that a bot may download."""
    sizes = [size for size in message.photo or [] if (size.file_size or 0) <= MOST_BYTES]
    if not sizes:
        raise too_large()
    await search(message, desk, bot, sizes[-1].file_id)


async def document(message: Message, desk: Desk, bot: Bot) -> None:
    """A picture that was sent as a file; anything else is said to be none before it is fetched."""
    assert message.document
    if not (message.document.mime_type or "").startswith("image/"):
        raise BadInput(_("that file is no picture"), fix=_("Send a photo, or a JPEG, PNG or WebP file."))
    if (message.document.file_size or 0) > MOST_BYTES:
        raise too_large()
    await search(message, desk, bot, message.document.file_id)


async def other(message: Message) -> None:
    raise BadInput(_("that is no picture"), fix=_("Send a photo, or a JPEG, PNG or WebP file."))


async def search(message: Message, desk: Desk, bot: Bot, file: str) -> None:
    """Fetch, search, answer; what the person was asked before is not waited for any more."""
    assert message.from_user
    user = message.from_user.id
    await asyncio.to_thread(_admit, desk, user)
    with tempfile.TemporaryDirectory(prefix="tuneloop-bot-") as folder:
        path = Path(folder) / "photo"
        await fetch(bot, file, path)
        found = await asyncio.to_thread(desk.finder.search, path, user=name_of(user))
    if not found.known:
        await message.answer(_("This does not seem to be in the catalogue; nearest to it are:"))
    await show(message, desk, bot, found)


def _admit(desk: Desk, user: int) -> None:
    bot_rows.expect(desk.workspace, desk.bot, name_of(user), None)
    limit = desk.workspace.settings.integer("bot.searches_per_hour")
    asked = photo_people.searches_since(desk.workspace, name_of(user), time.time() - 3600, tenant=desk.finder.tenant)
    if limit and asked >= limit:
        raise TooMany(_("{n} searches in an hour are the limit").format(n=limit), fix=_("Send this photo again later."))


async def show(message: Message, desk: Desk, bot: Bot, found: Found) -> None:
    """One message per product, best first."""
    assert message.from_user
    user = message.from_user.id
    pictures = [hit.picture for hit in found.hits if hit.picture]
    known = await asyncio.to_thread(bot_rows.uploaded, desk.workspace, desk.bot, pictures)
    fresh: dict[str, str] = {}
    for place, hit in enumerate(found.hits, 1):
        caption = described(place, hit)
        markup = choices(desk, user, found.query, hit.item)
        if not hit.picture:
            await message.answer(caption, reply_markup=markup)
            continue
        sent = await send_picture(message, desk, hit.picture, known.get(hit.picture, ""), caption, markup)
        if sent and sent != known.get(hit.picture):
            fresh[hit.picture] = sent
    if fresh:
        await asyncio.to_thread(bot_rows.note_uploads, desk.workspace, desk.bot, fresh)


async def send_picture(
    message: Message,
    desk: Desk,
    picture: str,
    uploaded: str,
    caption: str,
    markup: InlineKeyboardMarkup | None = None,
) -> str:
    """Send a picture of the workspace, by Telegram's own name where it has one, and return that name."""
    path = desk.workspace.path / picture
    if uploaded:
        try:
            await message.answer_photo(uploaded, caption=caption, reply_markup=markup)
        except TelegramBadRequest as problem:
            if "file" not in problem.message:
                raise
            await asyncio.to_thread(bot_rows.lose_upload, desk.workspace, desk.bot, picture)
        else:
            return uploaded
    if not path.is_file():
        await message.answer(caption, reply_markup=markup)
        return ""
    sent = await message.answer_photo(FSInputFile(path), caption=caption, reply_markup=markup)
    return sent.photo[-1].file_id if sent.photo else ""


def described(place: int, hit: Hit) -> str:
    """What is written under a product's picture."""
    facts = " · ".join(part for part in (hit.category, hit.price) if part)
    lines = [f"{place}. {hit.name}", facts, _("similarity {n:.0%}").format(n=max(0.0, hit.similarity))]
    return "\n".join(line for line in lines if line)[:LONGEST_CAPTION]


def choices(desk: Desk, user: int, query: str, item: str) -> InlineKeyboardMarkup:
    """The five buttons under a product."""
    ids = (query.removeprefix("pq-"), buttons.product_key(item))

    def press(text: str, action: str) -> tuple[str, str]:
        return text, desk.button(user, action, *ids)

    return buttons.keyboard(
        [press(_("✓ Right"), "r"), press(_("✗ Wrong"), "w")],
        [press(_("Point at the right product"), "p")],
        [press(_("Add product"), "n"), press(_("Comment"), "c")],
    )


def judged(desk: Desk, user: int, query: str, item: str, verdict: str) -> InlineKeyboardMarkup:
    """What is left to press once somebody has said what a product is."""
    ids = (query.removeprefix("pq-"), buttons.product_key(item))
    said = {"right": _("✓ Right"), "wrong": _("✗ Wrong"), "pointed": _("✓ That one")}[verdict]
    undo = _("{said}, undo").format(said=said)
    comment = [(_("Comment"), desk.button(user, "c", *ids))]
    return buttons.keyboard([(undo, desk.button(user, "u", *ids))], comment if verdict != "pointed" else [])
