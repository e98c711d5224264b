"""Words that answer a question of the bot: a product's name, a comment, a new product step by step."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiogram import Bot, F, Router
from aiogram.exceptions import TelegramAPIError
from aiogram.types import ForceReply, Message

from tuneloop.bot import buttons
from tuneloop.bot.desk import Desk, clean, name_of
from tuneloop.errors import BadInput
from tuneloop.loop import bot_rows, photo_clicks
from tuneloop.search import catalogue
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

SHOWN = 8  # products found by name at once
LONGEST_LABEL = 60  # characters of a button that phones show on one line


def routes() -> Router:
    """Every text that is no command."""
    router = Router(name="dialogue")
    router.message.register(words, F.text)
    router.message.register(lost)
    return router


async def words(message: Message, desk: Desk, bot: Bot) -> None:
    """What the words answer; without a question they need one."""
    assert message.from_user and message.text
    expects = await asyncio.to_thread(bot_rows.expected, desk.workspace, desk.bot, name_of(message.from_user.id))
    text = clean(message.text)
    if not expects or text.startswith("/"):
        await lost(message)
        return
    await {"point": point, "comment": comment, "product": product}[expects["kind"]](message, desk, bot, expects, text)


async def lost(message: Message) -> None:
    await message.answer(_("Send a photo of a product; /help says what else there is."))


async def point(message: Message, desk: Desk, bot: Bot, expects: dict[str, Any], text: str) -> None:
    """Products of that name, one button each; the question stays, so that other words can be tried."""
    assert message.from_user
    found = await asyncio.to_thread(
        catalogue.named, desk.workspace, text[:200], tenant=desk.finder.tenant, limit=SHOWN + 1
    )
    if not found:
        await message.answer(_("No product is called that; try another word, or /cancel."))
        return
    query = str(expects["query"]).removeprefix("pq-")
    user = message.from_user.id
    rows = [[(_label(i), desk.button(user, "k", query, buttons.product_key(i.id)))] for i in found[:SHOWN]]
    said = _("Which one is it?")
    if len(found) > SHOWN:
        said += " " + _("There are more: write another word to narrow it down.")
    await message.answer(said, reply_markup=buttons.keyboard(*rows))


async def comment(message: Message, desk: Desk, bot: Bot, expects: dict[str, Any], text: str) -> None:
    assert message.from_user
    user = name_of(message.from_user.id)
    about = {"item": str(expects["item"]), "user": user, "text": text, "tenant": desk.finder.tenant}
    await asyncio.to_thread(photo_clicks.record, desk.workspace, str(expects["query"]), "comment", **about)
    await asyncio.to_thread(bot_rows.expect, desk.workspace, desk.bot, user, None)
    await message.answer(_("Thank you; your comment was noted."))


async def product(message: Message, desk: Desk, bot: Bot, expects: dict[str, Any], text: str) -> None:
    """Name, then category, then price; "-" leaves one of the last two out."""
    assert message.from_user
    if len(text) > photo_clicks.MOST_NAME or (text == "-" and "name" not in expects):
        raise BadInput(_("a product needs a name of at most {n} characters").format(n=photo_clicks.MOST_NAME))
    step = next(name for name in ("name", "category", "price") if name not in expects)
    expects = expects | {step: "" if text == "-" else text}
    user = name_of(message.from_user.id)
    if step != "price":
        await asyncio.to_thread(bot_rows.expect, desk.workspace, desk.bot, user, expects)
        asked = _("Which category? (- for none)") if step == "name" else _("What does it cost? (- for unknown)")
        await message.answer(asked, reply_markup=ForceReply())
        return
    await asyncio.to_thread(_propose, desk, user, expects)
    await message.answer(_("Thank you; an admin will look at {name}.").format(name=expects["name"]))
    await _call_admins(desk, bot)


def _propose(desk: Desk, user: str, expects: dict[str, Any]) -> None:
    """Commit the proposal; a second time, after a crash in between, it is the same one."""
    tenant = desk.finder.tenant
    waiting = photo_clicks.proposals(desk.workspace, tenant=tenant)
    query, name = str(expects["query"]), str(expects["name"])
    if not any((row.query, row.user, row.name) == (query, user, name) for row in waiting):
        more = {"category": str(expects["category"]), "price": str(expects["price"])}
        photo_clicks.propose(desk.workspace, query, name, user=user, tenant=tenant, **more)
    bot_rows.expect(desk.workspace, desk.bot, user, None)


async def _call_admins(desk: Desk, bot: Bot) -> None:
    for admin in sorted(desk.admins):
        try:
            await bot.send_message(admin, _("A product was proposed: /admin_new_products"))
        except TelegramAPIError as problem:  # an admin who never wrote to the bot cannot be written to
            log.info("admin %s: %s", admin, problem.message)


def _label(item: catalogue.Item) -> str:
    name = f"{item.name} · {item.price}" if item.price else item.name
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
