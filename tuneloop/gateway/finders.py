"""The photo searches of a server: one Finder per team, one encoder for all of them, a few at a time.

A search starts a child that may take 300 MB and then computes, so it has threads of its own: however many photos come,
other requests find theirs free, and who would wait too long is told so at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.errors import NotEnoughData, TuneloopError, Unavailable
from tuneloop.loop import photo_preparation
from tuneloop.loop.photo_words import Words
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue
from tuneloop.search.catalogue import Item
from tuneloop.texts import _
from tuneloop.workspace import Workspace

AT_ONCE = 4
WAITING = 32  # at 0.3 s a search the last of them waits 3 s
AT_START = 4  # teams that are prepared before they search; 30 MB each at 10,000 products
TEAMS = 16  # whose catalogues are held in memory, the least recently searched let go first

log = logging.getLogger("tuneloop.gateway")

P = ParamSpec("P")
T = TypeVar("T")


class Finders:
    """Safe to share between requests; `close` it with the server."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._encoder: Encoder | None = None
        self._opening = threading.Lock()
        self._words: OrderedDict[str, Words] = OrderedDict()
        self._listed: OrderedDict[str, tuple[int, list[Item]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="photos")
        self._busy = 0
        self._over = False

    def begin(self, also: Callable[[], None] = lambda: None) -> None:
        """Prepare the searches of those who searched last, in one of the threads; nothing without a catalogue.

        also: what else their requests would wait for.
        """
        self._pool.submit(self._prepare, also)

    def _prepare(self, also: Callable[[], None]) -> None:
        try:
            for turn, tenant in enumerate(photo_preparation.teams(self._workspace)[:AT_START]):
                if not self._over:
                    photo_preparation.prepare(self.finder(tenant))
                    if turn == 0:
                        also()
        except TuneloopError as problem:  # who searches is told
            log.info("photo search is not prepared: %s", problem.message)
        except Exception:  # nobody waits for this thread's word
            log.exception("photo search is not prepared")

    async def run(self, work: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
        """`work` in one of the threads. Raises Unavailable when too much waits already."""
        if self._busy >= AT_ONCE + WAITING:
            raise Unavailable(_("too many photos are being searched"), fix=_("Try again in a few seconds."))
        self._busy += 1
        try:
            context = contextvars.copy_context()  # the language, as asyncio.to_thread takes it along
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, lambda: context.run(work, *given, **more)
            )
        finally:
            self._busy -= 1

    def words(self, tenant: str) -> Words:
        """Searches of one team by words; `finder` of it searches by photo. Raises what `open_encoder` raises."""
        with self._opening:
            found = self._words.get(tenant)
            if found is None:
                if self._encoder is None:
                    self._encoder = open_encoder(self._workspace.settings.text("photos.encoder"))
                finder = Finder(self._workspace, tenant=tenant, encoder=self._encoder)
                found = self._words[tenant] = Words(finder)
            self._words.move_to_end(tenant)
            while len(self._words) > TEAMS:
                self._words.popitem(last=False)
            return found

    def finder(self, tenant: str) -> Finder:
        """Searches of one team by photo. Raises what `open_encoder` raises."""
        return self.words(tenant).finder

    def items(self, tenant: str) -> list[Item]:
        """The team's active products in the order of their ids, read again only after a change.

        Raises NotEnoughData when the team never had one.
        """
        revision = catalogue.revision(self._workspace, tenant=tenant)
        if not revision:
            raise NotEnoughData(
                _("there is no catalogue yet"), fix=_("Import one: tuneloop photos import CATALOGUE.csv")
            )
        held = self._listed.get(tenant)
        if held is None or held[0] != revision:
            held = (revision, catalogue.items(self._workspace, tenant=tenant))
        with self._opening:
            self._listed[tenant] = held
            self._listed.move_to_end(tenant)
            while len(self._listed) > TEAMS:
                self._listed.popitem(last=False)
        return held[1]

    def close(self) -> None:
        self._over = True
        self._pool.shutdown(wait=True, cancel_futures=True)
