"""/start, /help, /cancel, and what people are owed: /my_data shows what is kept of them, /forget_me removes it."""

from __future__ import annotations

import asyncio
import json
import logging

from aiogram import Bot, Router
from aiogram.filters import Command, CommandStart
from aiogram.types import BotCommand, BufferedInputFile, CallbackQuery, Message

from tuneloop import texts
from tuneloop.bot import buttons, clicks
from tuneloop.bot.desk import Desk, name_of
from tuneloop.loop import bot_rows, photo_people
from tuneloop.texts import _, n_

log = logging.getLogger("tuneloop.bot")


def routes() -> Router:
    """Commands of everybody."""
    router = Router(name="people")
    router.message.register(greet, CommandStart())
    router.message.register(explain, Command("help"))
    router.message.register(cancel, Command("cancel"))
    router.message.register(my_data, Command("my_data"))
    router.message.register(forget_me, Command("forget_me"))
    return router


def commands() -> list[BotCommand]:
    """The bot's menu, in the language that is spoken."""
    listed = {
        "help": _("how it works"),
        "my_data": _("what is kept of you"),
        "forget_me": _("remove what is kept of you"),
        "cancel": _("never mind"),
    }
    return [BotCommand(command=name, description=text) for name, text in listed.items()]


async def announce(bot: Bot) -> None:
    """Give Telegram the menu in both languages."""
    for language in texts.LANGUAGES:
        with texts.speaking(language):
            # Without a language code it is everybody's whose language has no menu of its own.
            await bot.set_my_commands(commands(), language_code=None if language == "en" else language)


async def greet(message: Message) -> None:
    await message.answer(
        _("Send a photo of a product: I look it up in the catalogue. Your clicks make the next search better. /help")
    )


async def explain(message: Message, desk: Desk) -> None:
    assert message.from_user
    lines = [
        _("Send a photo, or a picture as a file (JPEG, PNG, WebP, up to 20 MB)."),
        _("Under each product: Right and Wrong teach the search at once and can be undone."),
        _("Point at the right product finds it by name; Add product proposes one that is missing."),
        _("/my_data: what is kept of you. /forget_me: remove it. /cancel: never mind."),
    ]
    if message.from_user.id in desk.admins:
        lines += [
            _("For admins:"),
            *("/admin_training_stats", "/admin_start_training", "/admin_view_examples"),
            *("/admin_new_products", "/admin_versions"),
        ]
    await message.answer("\n".join(lines))


async def cancel(message: Message, desk: Desk) -> None:
    assert message.from_user
    await asyncio.to_thread(bot_rows.expect, desk.workspace, desk.bot, name_of(message.from_user.id), None)
    await message.answer(_("Never mind, then. Send a photo whenever you like."))


async def my_data(message: Message, desk: Desk) -> None:
    """Counts as a text, every row as a JSON file."""
    assert message.from_user
    user = name_of(message.from_user.id)
    kept = await asyncio.to_thread(photo_people.kept_of, desk.workspace, user, tenant=desk.finder.tenant)
    said = [
        _("Your Telegram id: {id}").format(id=message.from_user.id),
        n_("{n} photo search", "{n} photo searches", len(kept["searches"])).format(n=len(kept["searches"])),
        n_("{n} click or comment", "{n} clicks and comments", len(kept["clicks"])).format(n=len(kept["clicks"])),
        n_("{n} proposed product", "{n} proposed products", len(kept["proposals"])).format(n=len(kept["proposals"])),
        _("/forget_me removes all of it."),
    ]
    await message.answer("\n".join(said))
    if any(kept.values()):
        body = json.dumps({"user": user, **kept}, ensure_ascii=False, indent=2, default=str).encode()
        await message.answer_document(BufferedInputFile(body, "my-data.json"))


async def forget_me(message: Message, desk: Desk) -> None:
    """Asked once more: it cannot be undone."""
    assert message.from_user
    user = message.from_user.id
    yes, no = (_("Remove everything"), desk.button(user, "F")), (_("Keep it"), desk.button(user, "K"))
    said = _("Your searches, photos, clicks, comments and proposals will be removed for good. Sure?")
    await message.answer(said, reply_markup=buttons.keyboard([yes, no]))


async def forget(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Remove, then say what was removed and which versions learned from it."""
    user = name_of(query.from_user.id)
    done = await asyncio.to_thread(photo_people.forget, desk.workspace, user, tenant=desk.finder.tenant)
    said = _(
        "Removed: {searches} searches, {photos} photos, {clicks} clicks and comments, {proposals} proposals."
    ).format(searches=done.searches, photos=done.photos, clicks=done.clicks, proposals=done.proposals)
    if done.versions:
        said += " " + _("Versions that learned from your clicks: {ids}; the next training will not.").format(
            ids=", ".join(done.versions)
        )
    log.info("a person was forgotten; versions taught: %s", ", ".join(done.versions) or "none")
    await clicks.rewrite(query, said)
    await clicks.tell(query)


async def keep(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    await clicks.rewrite(query, _("Nothing was removed."))
    await clicks.tell(query)


ACTIONS = {"F": forget, "K": keep}
