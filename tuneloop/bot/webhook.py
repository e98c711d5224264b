"""Updates that Telegram brings by itself: an address that takes nothing without the secret that Telegram was given.

The secret follows from the token, so there is nothing more to configure or to leak. Addresses in X-Forwarded-For are
not looked at: anybody can write them. An update is answered with 200 once it is committed; bringing it
again changes nothing.
"""

from __future__ import annotations

import hmac
import json
import logging

from aiogram import Bot
from aiohttp import web

from tuneloop.bot.inbox import KINDS, Inbox
from tuneloop.errors import Conflict, TuneloopError
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

HEADER = "X-Telegram-Bot-Api-Secret-Token"
LARGEST = 1_000_000  # bytes of a body; an update with the longest texts has some 30,000


def secret_of(token: str) -> str:
    """64 hexadecimal digits that only Telegram and this bot know."""
    return hmac.digest(token.encode(), b"tuneloop webhook", "sha256").hex()


async def listen(inbox: Inbox, token: str, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Take updates at POST /telegram; the port it is. Raises Conflict when the port is taken."""
    secret = secret_of(token).encode()

    async def take(request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode("utf-8", "replace"), secret):
            return web.Response(status=401)
        if inbox.full:
            return web.Response(status=503)  # Telegram brings it again
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.Response(status=400)
        if not isinstance(body, dict):
            return web.Response(status=400)
        try:
            await inbox.take([body])
        except TuneloopError as problem:
            log.warning(problem.message)
            return web.Response(status=503)
        return web.Response(status=200)

    app = web.Application(client_max_size=LARGEST)
    app.router.add_post("/telegram", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as problem:
        await runner.cleanup()
        raise Conflict(
            _("cannot listen on {host}:{port}: {problem}").format(host=host, port=port, problem=problem.strerror),
            fix=_("Choose another port with the setting bot.webhook_port (0 picks a free one)."),
        ) from None
    return runner, int(runner.addresses[0][1])


async def register(bot: Bot, url: str, token: str) -> None:
    """Tell Telegram where to bring updates, and the secret to bring along."""
    await bot.set_webhook(
        url.rstrip("/") + "/telegram", secret_token=secret_of(token), allowed_updates=list(KINDS), max_connections=10
    )
