"""Buttons under products: a verdict is committed before the person is told that it was taken; undone the same way.

Pressing twice, late or after a crash gives the same row: a verdict of a person on a product for a photo is one fact.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import CallbackQuery, ForceReply, InlineKeyboardMarkup, Message

from tuneloop.bot import buttons, results
from tuneloop.bot.desk import Desk, name_of
from tuneloop.errors import Missing
from tuneloop.loop import bot_rows, photo_clicks, photo_people
from tuneloop.search import catalogue
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")


async def judge(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Right or Wrong."""
    search, item = await asyncio.to_thread(_meant, desk, query.from_user.id, parts)
    verdict = "right" if (query.data or "").startswith("r.") else "wrong"
    await _record(desk, query.from_user.id, search.id, verdict, item)
    await relabel(query, results.judged(desk, query.from_user.id, search.id, item, verdict))
    await tell(query, _("Noted; the next search knows it."))


async def undo(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Take back what was said of this product for this photo."""
    user = query.from_user.id
    search, item = await asyncio.to_thread(_meant, desk, user, parts)
    said = await asyncio.to_thread(
        photo_people.said_of, desk.workspace, search.id, name_of(user), tenant=desk.finder.tenant
    )
    if item in said:
        await asyncio.to_thread(
            photo_clicks.undo, desk.workspace, search.id, item=item, user=name_of(user), tenant=desk.finder.tenant
        )
    if isinstance(query.message, Message) and not query.message.photo:
        await rewrite(query, _("Taken back."))
    else:
        await relabel(query, results.choices(desk, user, search.id, item))
    await tell(query, _("Taken back."))


async def ask_which(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Point at the right product: ask for its name."""
    search, _item = await asyncio.to_thread(_meant, desk, query.from_user.id, parts)
    await _ask(query, desk, {"kind": "point", "query": search.id}, _("Write a word or two of the product's name."))


async def ask_comment(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Comment: ask for the words."""
    search, item = await asyncio.to_thread(_meant, desk, query.from_user.id, parts)
    await _ask(query, desk, {"kind": "comment", "query": search.id, "item": item}, _("Write your comment."))


async def ask_product(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Add product: ask for its name; category and price are asked for after that."""
    search, _item = await asyncio.to_thread(_meant, desk, query.from_user.id, parts)
    said = _("The photo you sent becomes its picture, once an admin agrees. What is the product called?")
    await _ask(query, desk, {"kind": "product", "query": search.id}, said)


async def pick(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """One of the products that were found by name: that is the right one."""
    user = query.from_user.id
    search, item = await asyncio.to_thread(_meant, desk, user, parts)
    await _record(desk, user, search.id, "pointed", item)
    await asyncio.to_thread(bot_rows.expect, desk.workspace, desk.bot, name_of(user), None)
    found = await asyncio.to_thread(catalogue.find, desk.workspace, item, tenant=desk.finder.tenant)
    markup = results.judged(desk, user, search.id, item, "pointed")
    await rewrite(query, _("Noted: your photo shows {name}.").format(name=found.name), markup)
    await tell(query, _("Noted; the next search knows it."))


ACTIONS = {"r": judge, "w": judge, "u": undo, "p": ask_which, "c": ask_comment, "n": ask_product, "k": pick}


def _meant(desk: Desk, user: int, parts: list[str]) -> tuple[Any, str]:
    """(row of the search, id of the product) that a button names. Raises Missing, BadInput for one that is too old."""
    query, key = parts
    tenant = desk.finder.tenant
    since = desk.oldest_button
    search = photo_people.search_of(desk.workspace, "pq-" + query, name_of(user), tenant=tenant, since=since)
    shown = [str(item) for item, _similarity in search.results]
    for item in shown:
        if buttons.product_key(item) == key:
            return search, item
    for listed in catalogue.items(desk.workspace, tenant=tenant):
        if buttons.product_key(listed.id) == key:
            return search, listed.id
    raise Missing(_("that product is not in the catalogue any more"))


async def _record(desk: Desk, user: int, query: str, verdict: str, item: str) -> None:
    await asyncio.to_thread(
        photo_clicks.record,
        desk.workspace,
        query,
        verdict,
        item=item,
        user=name_of(user),
        tenant=desk.finder.tenant,
    )


async def _ask(query: CallbackQuery, desk: Desk, expects: dict[str, Any], text: str) -> None:
    await asyncio.to_thread(bot_rows.expect, desk.workspace, desk.bot, name_of(query.from_user.id), expects)
    await tell(query)
    if query.message:
        await query.message.answer(text, reply_markup=ForceReply())


async def tell(query: CallbackQuery, text: str = "", *, alert: bool = False) -> None:
    """End the waiting circle on the button; Telegram takes no answer to one that was pressed long ago."""
    try:
        await query.answer(text[:200] or None, show_alert=alert)
    except TelegramBadRequest as problem:
        log.info("callback %s: %s", query.id, problem.message)


async def relabel(query: CallbackQuery, markup: InlineKeyboardMarkup | None) -> None:
    """Other buttons under the same message; one that is too old to be changed stays as it is."""
    if not isinstance(query.message, Message):
        return
    try:
        await query.message.edit_reply_markup(reply_markup=markup)
    except TelegramBadRequest as problem:
        log.info("message %s: %s", query.message.message_id, problem.message)


async def rewrite(query: CallbackQuery, text: str, markup: InlineKeyboardMarkup | None = None) -> None:
    """Another text in the same message, or a new message where that one cannot be changed."""
    if query.message is None:
        return
    try:
        if not isinstance(query.message, Message):
            await query.message.answer(text, reply_markup=markup)
        elif query.message.photo:
            await query.message.edit_caption(caption=text, reply_markup=markup)
        else:
            await query.message.edit_text(text, reply_markup=markup)
    except TelegramBadRequest as problem:
        log.info("message: %s", problem.message)
