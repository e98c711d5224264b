"""Which words reach which answer: private chats only, in the sender's language, errors as one sentence.

Edited messages, channel posts and whatever comes from groups reach nothing: in a group an "anonymous admin" has the
same sender for everybody, so that no right can be told from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import BaseMiddleware, Bot, Dispatcher, F, Router
from aiogram.enums import ChatType
from aiogram.types import CallbackQuery, Message, TelegramObject, Update

from tuneloop import texts
from tuneloop.bot import admin, buttons, clicks, dialogue, people, results
from tuneloop.bot.desk import Desk, sentence
from tuneloop.bot.inbox import passing
from tuneloop.errors import TuneloopError
from tuneloop.texts import _

Handler = Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]]


def dispatcher(desk: Desk) -> Dispatcher:
    """Everything the bot answers."""
    made = Dispatcher(disable_fsm=True)
    made["desk"] = desk
    made.update.outer_middleware(Language())
    private = Router(name="private")
    private.message.filter(F.chat.type == ChatType.PRIVATE, F.from_user.is_bot.is_(False))
    private.callback_query.filter(F.message.chat.type == ChatType.PRIVATE)
    private.message.middleware(Answer())
    private.callback_query.middleware(Answer())
    private.callback_query.register(press)
    for routes in (people.routes, admin.routes, results.routes, dialogue.routes):
        private.include_router(routes())
    made.include_router(private)
    return made


class Language(BaseMiddleware):
    """Answers an update in the language that the sender's client asked for."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        assert isinstance(event, Update)
        said = event.message or event.callback_query
        code = (said.from_user.language_code if said and said.from_user else None) or texts.language()
        with texts.speaking(code):
            return await handler(event, data)


class Answer(BaseMiddleware):
    """An error that is meant for people becomes a message; one that will pass is left to whoever tries again."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        try:
            return await handler(event, data)
        except TuneloopError as problem:
            if passing(problem):
                raise
            desk: Desk = data["desk"]
            if isinstance(event, CallbackQuery):
                said = sentence(problem, admin=event.from_user.id in desk.admins)
                return await clicks.tell(event, said, alert=True)
            assert isinstance(event, Message) and event.from_user
            return await event.answer(sentence(problem, admin=event.from_user.id in desk.admins))


async def press(query: CallbackQuery, desk: Desk, bot: Bot) -> None:
    """Every button: its signature first, then what it stands for."""
    action, parts = buttons.read(desk.key, query.from_user.id, query.data or "")
    if action in clicks.ACTIONS:
        await clicks.ACTIONS[action](query, desk, bot, parts)
    elif action in people.ACTIONS:
        await people.ACTIONS[action](query, desk, bot, parts)
    elif query.from_user.id in desk.admins:
        await admin.ACTIONS[action](query, desk, bot, parts)
    else:
        await clicks.tell(query, _("That is for admins."), alert=True)
