"""The line to Telegram: opening it, waiting when it is told to, and fetching photos within limits.

The token is part of every address, and addresses are part of what HTTP clients say of errors; so nothing of such an
error is passed on but its kind.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import User
from aiogram.utils.token import TokenValidationError

from tuneloop.encoders.decode import MOST_BYTES
from tuneloop.errors import BadInput, EngineDown, Refused
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

# What comes of a Telegram that is down, overloaded or behind a broken proxy: trying again is right.
PASSING = (TelegramNetworkError, TelegramServerError, TelegramRetryAfter, ClientDecodeError)
TRIES = 3
LONGEST_WAIT = 60.0


class Patience(BaseRequestMiddleware):
    """Repeats a request that Telegram could not take now: when it says when, then; else after 0.5, 1 ... s."""

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        if method.__api_method__ == "getUpdates":  # polling has a patience of its own
            return await make_request(bot, method)
        for attempt in range(TRIES):
            try:
                return await make_request(bot, method)
            except TelegramRetryAfter as problem:
                if attempt + 1 == TRIES or problem.retry_after > LONGEST_WAIT:
                    raise
                await asyncio.sleep(problem.retry_after)
            except PASSING:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(0.5 * 2**attempt)
        raise AssertionError("every try returns or raises")


class RawUpdates(TelegramMethod[list[dict[str, Any]]]):
    """getUpdates with its answer as it came: one update that aiogram cannot read must not hold up all others."""

    __returning__ = list[dict[str, Any]]
    __api_method__ = "getUpdates"

    offset: int | None = None
    timeout: int = 0
    allowed_updates: list[str] | None = None


def open_bot(token: str, url: str) -> Bot:
    """The client. Raises BadInput for what cannot be a token."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(url), timeout=60.0)
    session.middleware(Patience())
    try:
        return Bot(token, session=session)
    except TokenValidationError:
        raise BadInput(
            _("that is no token of a Telegram bot"),
            fix=_("@BotFather gives one, like 123456:ABC-DEF; put it into the environment variable."),
        ) from None


async def introduce(bot: Bot) -> User:
    """Who the bot is. Raises Refused for a wrong token, EngineDown when Telegram does not answer."""
    try:
        return await bot.get_me()
    except (TelegramUnauthorizedError, TelegramNotFound):
        raise unknown_token() from None
    except PASSING as problem:
        raise EngineDown(
            _("Telegram does not answer ({kind})").format(kind=kind_of(problem)),
            fix=_("Check the network and the setting bot.api_url."),
        ) from None


def unknown_token() -> Refused:
    return Refused(
        _("Telegram does not know this token"), fix=_("Ask @BotFather for the bot's token; it may have been revoked.")
    )


def kind_of(problem: BaseException) -> str:
    """What kind of failure it was, in one word; never an address, which would hold the token."""
    cause = problem.__cause__ if isinstance(problem, TelegramNetworkError) and problem.__cause__ else problem
    return type(cause).__name__


async def fetch(bot: Bot, file: str, target: Path) -> None:
    """Download what somebody sent. Raises BadInput above 20 MB, EngineDown when it does not come."""
    told = await bot.get_file(file)
    if not told.file_path or (told.file_size or 0) > MOST_BYTES:
        raise too_large()
    url = bot.session.api.file_url(bot.token, told.file_path)
    received = 0
    try:
        with target.open("wb") as handle:
            async for chunk in bot.session.stream_content(url, timeout=60, chunk_size=1 << 16, raise_for_status=True):
                received += len(chunk)
                if received > MOST_BYTES:
                    raise too_large()
                handle.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as problem:
        raise EngineDown(
            _("the photo could not be fetched from Telegram ({kind})").format(kind=type(problem).__name__),
            fix=_("Send it again."),
        ) from None


def too_large() -> BadInput:
    return BadInput(
        _("the picture has more than {n} MB").format(n=MOST_BYTES // 10**6), fix=_("Send a smaller picture.")
    )
