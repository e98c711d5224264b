"""The bot from start to stop: who it is, what was left over, polling or webhook, a quiet end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError

from tuneloop.bot import buttons, desk, people, polling, training, webhook
from tuneloop.bot.dispatch import dispatcher
from tuneloop.bot.inbox import Inbox
from tuneloop.bot.line import LONGEST_WAIT, introduce, open_bot
from tuneloop.errors import BadInput, EngineDown, NotEnoughData
from tuneloop.loop.photos import Finder
from tuneloop.texts import _
from tuneloop.workspace import Workspace

log = logging.getLogger("tuneloop.bot")

GRACE = 10.0  # seconds for answers that are being written when the bot is stopped


@dataclass(frozen=True)
class Ready:
    """What is running: the bot's name, how many updates were left over, the webhook's port (0: it polls)."""

    name: str
    left: int
    port: int


def run(workspace: Workspace, token: str, ready: Callable[[Ready], None] = lambda _r: None) -> None:
    """Answer until SIGTERM or Ctrl-C. Raises Refused for a wrong token, Conflict when this bot runs here already,
    BadInput for settings that make no sense."""
    asyncio.run(_until_signal(workspace, token, ready))


async def _until_signal(workspace: Workspace, token: str, ready: Callable[[Ready], None]) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await answer(workspace, token, stop, ready)


async def answer(
    workspace: Workspace, token: str, stop: asyncio.Event, ready: Callable[[Ready], None] = lambda _r: None
) -> None:
    """Answer until `stop` is set; see `run`."""
    admins = desk.admins(workspace.settings)
    url = workspace.settings.text("bot.webhook_url")
    if url and not url.startswith("https://"):
        raise BadInput(
            _("bot.webhook_url must begin with https://"), fix=_("Telegram brings updates to no other address.")
        )
    bot = open_bot(token, workspace.settings.text("bot.api_url"))
    try:
        with workspace.lock(f"bot-{bot.id}"):
            finder = await asyncio.to_thread(_finder, workspace)
            table = desk.Desk(workspace, finder, bot.id, buttons.key_of(token), admins)
            inbox = Inbox(table, bot, dispatcher(table))
            await _talk(bot, inbox, token, url, stop, ready)
    finally:
        await bot.session.close()


def _finder(workspace: Workspace) -> Finder:
    finder = Finder(workspace)
    try:
        finder.state()  # the first customer need not wait for it
    except NotEnoughData as problem:
        log.warning("%s %s", problem.message, problem.fix)
    return finder


async def _talk(
    bot: Bot, inbox: Inbox, token: str, url: str, stop: asyncio.Event, ready: Callable[[Ready], None]
) -> None:
    work = asyncio.create_task(_work(bot, inbox, token, url, ready))
    stopped = asyncio.create_task(stop.wait())
    trains = asyncio.create_task(training.by_itself(bot, inbox.desk))
    await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not work.done():
        work.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        trains.cancel()
        await asyncio.gather(trains, return_exceptions=True)
        await inbox.drain(GRACE)


async def _work(bot: Bot, inbox: Inbox, token: str, url: str, ready: Callable[[Ready], None]) -> None:
    name = await _introduced(bot)
    left = await inbox.resume()
    try:
        await people.announce(bot)
    except TelegramAPIError as problem:  # without a menu it answers all the same
        log.warning(_("Telegram did not take the menu: {problem}").format(problem=problem.message))
    if not url:
        await bot.delete_webhook()
        ready(Ready(name, left, 0))
        await polling.poll(bot, inbox)
        return
    settings = inbox.desk.workspace.settings
    runner, port = await webhook.listen(
        inbox, token, settings.text("bot.webhook_host"), settings.integer("bot.webhook_port")
    )
    try:
        await webhook.register(bot, url, token)
        ready(Ready(name, left, port))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _introduced(bot: Bot) -> str:
    """The bot's name, however long Telegram takes to answer."""
    wait = 1.0
    while True:
        try:
            return (await introduce(bot)).username or str(bot.id)
        except EngineDown as problem:
            log.warning("%s; %s", problem.message, _("trying again in {n:.0f} s").format(n=wait))
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 2)
