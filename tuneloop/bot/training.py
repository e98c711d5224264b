"""/admin_start_training: learn from every click, while one message tells how far it is and then what came of it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from aiogram.exceptions import TelegramAPIError
from aiogram.types import Message

from tuneloop.bot.desk import Desk, sentence
from tuneloop.bot.words import word
from tuneloop.errors import TuneloopError
from tuneloop.loop import photo_training
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
