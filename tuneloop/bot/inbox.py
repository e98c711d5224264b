"""Updates become rows, then work: nothing that Telegram was told is here can be lost, nothing is done twice.

One person's updates are done one after another, those of different people beside each other. What fails because
Telegram or the database is away is done again later; what fails for any other reason is noted and left behind, so that
one bad message never stops the bot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiogram import Bot, Dispatcher
from aiogram.exceptions import AiogramError, TelegramForbiddenError
from aiogram.types import Update
from pydantic import ValidationError

from tuneloop import texts
from tuneloop.bot.desk import Desk, name_of
from tuneloop.bot.line import PASSING, kind_of
from tuneloop.errors import Conflict, EngineDown, OutOfResources, Unavailable
from tuneloop.loop import bot_rows
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

KINDS = ("message", "callback_query")  # what is asked of Telegram; edits and channel posts are not
AT_ONCE = 8  # updates that are worked on beside each other
MOST_WAITING = 200  # no more are fetched while so many wait
MOST_TRIES = 8  # then an update is given up: with the waits between, after about four minutes
LONG_WORK = "/admin_start_training"  # has a queue of its own, so that its sender can go on meanwhile


class Inbox:
    """Takes raw updates, commits them, and sees to their work."""

    def __init__(self, desk: Desk, bot: Bot, dispatcher: Dispatcher) -> None:
        self.desk = desk
        self.bot = bot
        self.dispatcher = dispatcher
        self._last: dict[str, asyncio.Task[None]] = {}
        self._working = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether more updates wait than should."""
        return self._waiting >= MOST_WAITING

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    async def resume(self) -> int:
        """Begin everything that an earlier process took and did not finish; how many those are."""
        await asyncio.to_thread(bot_rows.sweep, self.desk.workspace, self.desk.bot)
        left = await asyncio.to_thread(bot_rows.pending, self.desk.workspace, self.desk.bot)
        for number, body in left:
            self._begin(number, body, known=True)
        return len(left)

    async def take(self, updates: Sequence[dict[str, Any]]) -> None:
        """Commit raw updates and begin their work. Raises Unavailable, Conflict, OutOfResources: then none is taken."""
        good = [u for u in updates if isinstance(u.get("update_id"), int) and 0 <= u["update_id"] < 1 << 62]
        listed = [(u["update_id"], sender(u), u) for u in good]
        fresh = set(await asyncio.to_thread(bot_rows.take, self.desk.workspace, self.desk.bot, listed))
        for number, _user, body in listed:
            if number in fresh:
                fresh.discard(number)
                self._begin(number, body)

    async def drain(self, seconds: float) -> None:
        """Let work end for so long; what is not done then is done after the next start."""
        tasks = list(self._last.values())
        if tasks:
            _done, rest = await asyncio.wait(tasks, timeout=seconds)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    def _begin(self, number: int, body: dict[str, Any], *, known: bool = False) -> None:
        lane = sender(body) + (LONG_WORK if text_of(body).startswith(LONG_WORK) else "")
        before = self._last.get(lane)
        self._waiting += 1
        if self.full:
            self._room.clear()
        task = asyncio.create_task(self._queued(before, number, body, known))
        self._last[lane] = task
        task.add_done_callback(lambda done: self._ended(lane, done))

    def _ended(self, lane: str, task: asyncio.Task[None]) -> None:
        self._waiting -= 1
        if not self.full:
            self._room.set()
        if self._last.get(lane) is task:
            del self._last[lane]
        if not task.cancelled() and (problem := task.exception()):
            log.error(_("an update could not be settled and is done again after a restart"), exc_info=problem)

    async def _queued(self, before: asyncio.Task[None] | None, number: int, body: dict[str, Any], known: bool) -> None:
        if before is not None:
            await asyncio.wait([before])
        while True:
            tries = await asyncio.to_thread(bot_rows.tried, self.desk.workspace, self.desk.bot, number) if known else 0
            if tries > MOST_TRIES:
                log.warning(_("update {id} was given up after {n} tries").format(id=number, n=tries - 1))
                await self._settle(number, "failed", "too many tries")
                await self._apologise(body)
                return
            async with self._working:
                ended = await self._work(number, body)
            if ended:
                return
            known = True
            await asyncio.sleep(min(60.0, 0.5 * 2 ** max(tries, 0)))

    async def _work(self, number: int, body: dict[str, Any]) -> bool:
        """Do one update; False when it has to be tried again."""
        try:
            await self.dispatcher.feed_update(self.bot, Update.model_validate(body, context={"bot": self.bot}))
        except ValidationError:
            log.warning(_("update {id} is not as the Bot API describes it; it was left out").format(id=number))
            await self._settle(number, "failed", "not as the Bot API describes it")
        except TelegramForbiddenError:
            await self._settle(number, "done", "the person has blocked the bot")
        except Exception as problem:
            if passing(problem):
                said = _("update {id} waits: {kind}").format(id=number, kind=kind_of(problem))
                log.warning(said)
                return False
            log.exception(_("update {id} failed; the bot goes on").format(id=number))
            await self._settle(number, "failed", type(problem).__name__)
            await self._apologise(body)
        else:
            await self._settle(number, "done", "")
        return True

    async def _apologise(self, body: dict[str, Any]) -> None:
        """Tell the person that it is our fault; a person who cannot be told now is not told later."""
        who = sender(body).removeprefix("tg:")
        if not who:
            return
        with texts.speaking(_language_of(body)):
            said = _("Something went wrong here, and was noted. Please try again.")
        try:
            await self.bot.send_message(int(who), said)
        except AiogramError as problem:
            log.info("no apology to %s: %s", who, kind_of(problem))

    async def _settle(self, number: int, state: str, note: str) -> None:
        await asyncio.to_thread(bot_rows.settle, self.desk.workspace, self.desk.bot, number, state=state, note=note)


def passing(problem: BaseException) -> bool:
    """Whether it is Telegram or the database that is away, so that the same may succeed later."""
    if isinstance(problem, (*PASSING, Unavailable, EngineDown)):
        return True
    # A database that is locked or has no room says so with its driver's error as the cause.
    return isinstance(problem, Conflict | OutOfResources) and problem.__cause__ is not None


def sender(body: dict[str, Any]) -> str:
    """Who an update comes from, as rows call them; "" when nobody is named."""
    for kind in KINDS:
        who = body.get(kind)
        who = who.get("from") if isinstance(who, dict) else None
        if isinstance(who, dict) and isinstance(who.get("id"), int):
            return name_of(who["id"])
    return ""


def _language_of(body: dict[str, Any]) -> str:
    for kind in KINDS:
        said = body.get(kind)
        code = said["from"].get("language_code") if isinstance(said, dict) and "from" in said else None
        if isinstance(code, str):
            return code
    return texts.language()


def text_of(body: dict[str, Any]) -> str:
    """What was written, if anything."""
    message = body.get("message")
    text = message.get("text") if isinstance(message, dict) else ""
    return text if isinstance(text, str) else ""
