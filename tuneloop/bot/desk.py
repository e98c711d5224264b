"""What every answer of the bot needs: the workspace, the search, who may do what, and whose button is whose."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from tuneloop.bot import buttons
from tuneloop.errors import BadInput, TuneloopError
from tuneloop.loop.photos import Finder
from tuneloop.settings import Settings
from tuneloop.texts import _
from tuneloop.workspace import Workspace


@dataclass(frozen=True)
class Desk:
    """One bot over one workspace. `bot`: its id at Telegram; `key` signs its buttons."""

    workspace: Workspace
    finder: Finder
    bot: int
    key: bytes
    admins: frozenset[int]

    @property
    def oldest_button(self) -> float:
        """Searches before this moment (Unix seconds) take no clicks any more."""
        return time.time() - 86400 * self.workspace.settings.number("bot.button_days")

    def button(self, user: int, action: str, *parts: str) -> str:
        """Signed callback data for this person."""
        return buttons.sign(self.key, user, action, *parts)


def admins(settings: Settings) -> frozenset[int]:
    """Telegram ids from `bot.admins`; empty: nobody. Raises BadInput for what is no id."""
    written = settings.text("bot.admins").strip("[] ")
    found = [part.strip() for part in re.split(r"[,;\s]+", written) if part.strip()]
    if wrong := [part for part in found if not re.fullmatch(r"[1-9]\d{0,15}", part)]:
        raise BadInput(
            _("bot.admins holds '{text}', which is no Telegram id").format(text=wrong[0][:40]),
            fix=_("Give numbers, like 1234,5678; the bot tells everybody theirs at /my_data."),
        )
    return frozenset(map(int, found))


def name_of(user: int) -> str:
    """How rows call a person of Telegram."""
    return f"tg:{user}"


def sentence(problem: TuneloopError, *, admin: bool) -> str:
    """An error as a person of the chat reads it; commands of the terminal are for those who run the bot."""
    fix = problem.fix if admin or "tuneloop " not in problem.fix else ""
    said = problem.message[:1].upper() + problem.message[1:]
    return f"{said.rstrip('.')}. {fix}".strip()


def clean(text: str) -> str:
    """What somebody wrote, without characters that databases refuse (NUL, halves of surrogate pairs)."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8").strip()
