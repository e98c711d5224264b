"""/admin_start_training: learn from every click, while one message tells how far it is and then what came of it.

With `photos.train_every` the bot trains by itself too, in another process, and tells the admins what came of that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError
from aiogram.types import Message

from tuneloop.bot.desk import Desk, sentence
from tuneloop.bot.words import word
from tuneloop.errors import TuneloopError
from tuneloop.loop import photo_training
from tuneloop.loop.photo_retraining import LOOK, Retraining
from tuneloop.texts import _

log = logging.getLogger("tuneloop.bot")

EVERY = 1.0  # seconds between two edits: Telegram takes about one message a second of a chat
BAR = 10  # characters


@dataclass
class Watched:
    """The newest word of the training's thread, for whoever edits the message."""

    started: float = field(default_factory=time.monotonic)
    stage: str = ""
    share: float = 0.0

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        self.stage = stage
        self.share = done / total if total else 0.0

    def text(self) -> str:
        """One line: how far it is."""
        full = round(BAR * min(1.0, self.share))
        seconds = time.monotonic() - self.started
        return f"{self.stage or _('training')} {'█' * full}{'░' * (BAR - full)} {seconds:.0f} s"


async def start(message: Message, desk: Desk) -> None:
    """Train; the search goes on meanwhile, and uses the new version at once if the gate lets it."""
    watched = Watched()
    shown = await message.answer(watched.text())
    work = asyncio.create_task(
        asyncio.to_thread(photo_training.train, desk.workspace, tenant=desk.finder.tenant, watch=watched)
    )
    try:
        await _follow(work, watched, shown)
        said = _brought(await work)
    except TuneloopError as problem:
        said = sentence(problem, admin=True)
    await _edit(shown, said)


async def by_itself(bot: Bot, desk: Desk) -> None:
    """Train whenever enough was clicked, for ever; ends what runs when it is cancelled."""
    own = Retraining(desk.workspace, tenant=desk.finder.tenant)
    try:
        while own.wanted:
            await asyncio.sleep(LOOK)
            try:
                rows = await asyncio.to_thread(own.step)
            except TuneloopError as problem:
                log.warning("training: %s", problem.message)
                continue
            for row in rows:
                await _announce(bot, desk, row)
    finally:
        own.stop()


async def _announce(bot: Bot, desk: Desk, row: dict[str, Any]) -> None:
    said = _("By itself, after enough clicks:") + " " + told(row)
    log.log(logging.WARNING if row["state"] == "failed" else logging.INFO, said)
    for admin in sorted(desk.admins):
        try:
            await bot.send_message(admin, said[:4096])
        except TelegramAPIError as problem:  # an admin who never wrote to the bot cannot be written to
            log.info("admin %s: %s", admin, problem.message)


def told(row: dict[str, Any]) -> str:
    """A row of the trainings as a sentence."""
    rates = [f"{row[when]:.1%}" if row[when] is not None else "-" for when in ("before", "after")]
    said = _("Training of {n} examples: {state}, recall@1 {before} → {after}").format(
        n=row["examples"], state=word(row["state"]), before=rates[0], after=rates[1]
    )
    return f"{said}. {row['note'][:300]}"


async def _follow(work: asyncio.Task[photo_training.Trained], watched: Watched, shown: Message) -> None:
    told = watched.text()
    while not work.done():
        await asyncio.wait([work], timeout=EVERY)
        if not work.done() and watched.text() != told:
            told = watched.text()
            await _edit(shown, told)


async def _edit(shown: Message, text: str) -> None:
    try:
        await shown.edit_text(text[:4096])
    except TelegramAPIError as problem:  # a message that was deleted is no reason to stop a training
        log.info("training: %s", problem.message)


def _brought(done: photo_training.Trained) -> str:
    """What the gate said, before and after on clicked and on other products."""
    lines = [_("Version {id} in {seconds:.1f} s").format(id=done.version.id, seconds=done.seconds)]
    for part, name in (("seen", _("clicked products")), ("unseen", _("other products"))):
        found = done.verdict.figures[part]
        rates = [found[when]["recall_1"] for when in ("before", "after")]
        if None not in rates:
            lines.append(
                _("{what}: recall@1 {before:.1%} → {after:.1%} of {n} photos").format(
                    what=name, before=rates[0], after=rates[1], n=found["photos"]
                )
            )
    lines.append(done.verdict.why)
    lines.append(
        _("It searches from now on; /admin_versions rolls back.")
        if done.active
        else _("It stays inactive: {decision}.").format(decision=word(done.verdict.decision))
    )
    return "\n".join(lines)
