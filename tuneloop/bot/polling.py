"""Asking Telegram for updates. They are confirmed by the next question, so only after they were committed here."""

from __future__ import annotations

import asyncio
import logging

from aiogram import Bot
from aiogram.exceptions import TelegramConflictError, TelegramNotFound, TelegramRetryAfter, TelegramUnauthorizedError

from tuneloop.bot.inbox import KINDS, Inbox
from tuneloop.bot.line import LONGEST_WAIT, PASSING, RawUpdates, kind_of, unknown_token
from tuneloop.errors import Conflict, OutOfResources
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

ASKED = 25  # seconds that Telegram may take to find something to answer


async def poll(bot: Bot, inbox: Inbox) -> None:
    """Ask until cancelled. Raises Refused when the token is revoked."""
    offset: int | None = None
    failures = 0
    while True:
        await inbox.room()
        try:
            asked = RawUpdates(offset=offset, timeout=ASKED, allowed_updates=list(KINDS))
            found = await bot(asked, request_timeout=ASKED + 10)
            await inbox.take(found)
        except (TelegramUnauthorizedError, TelegramNotFound):
            raise unknown_token() from None
        except TelegramConflictError:
            failures += 1
            _warn(failures, _("another program asks Telegram with this token; only one of them gets each message"))
        except PASSING as problem:
            failures += 1
            _warn(failures, _("Telegram does not answer ({kind}); trying again").format(kind=kind_of(problem)))
            if isinstance(problem, TelegramRetryAfter):
                await asyncio.sleep(min(problem.retry_after, LONGEST_WAIT))
        except (OutOfResources, Conflict) as problem:  # Telegram keeps what could not be committed
            failures += 1
            _warn(failures, problem.message)
        else:
            if failures:
                log.warning(_("Telegram answers again"))
            failures = 0
            if numbers := [u["update_id"] for u in found if isinstance(u.get("update_id"), int)]:
                offset = max(numbers) + 1
            continue
        await asyncio.sleep(min(LONGEST_WAIT, 0.5 * 2 ** min(failures, 8)))


def _warn(failures: int, said: str) -> None:
    """Once when it begins and then ever more rarely: a night without network must not fill a disk with lines."""
    if failures & (failures - 1) == 0:
        log.warning(said)
