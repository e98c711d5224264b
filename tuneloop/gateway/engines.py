"""The engines of the configuration, running: one station each, kept while its configuration stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuneloop.answer.book import Book
from tuneloop.answer.local import Local
from tuneloop.answer.route import Lane, Route
from tuneloop.answer.serving import Serving
from tuneloop.answer.station import Station
from tuneloop.engines.engine import Engine, Limits, Reply
from tuneloop.engines.kinds import KINDS
from tuneloop.errors import EngineDown, TuneloopError
from tuneloop.records import EngineSpec
from tuneloop.texts import _
from tuneloop.workspace import Workspace

DEFAULT = "chat"  # the task of requests that name the served version


class Engines:
    """`stations` by engine name; `find` resolves what a request calls its model."""

    def __init__(self, workspace: Workspace, serving: Serving | None) -> None:
        self.stations: dict[str, Station] = {}
        self._workspace = workspace
        self._serving = serving
        self._names: dict[str, tuple[Route, Lane | None]] = {}
        self._served: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def follow(self, book: Book) -> None:
        """Take up a configuration whole: requests see the old tables or the new ones, never a mixture."""
        old, stations = self.stations, {}
        settings = self._workspace.settings
        for name, written in book.engines.items():
            spec = written
            if written.kind == "local":  # as many places as the served model was loaded for
                places, queue = settings.integer("serve.parallel"), settings.integer("serve.queue")
                seconds = settings.number("serve.timeout")
                spec = replace(spec, parallel=places, queue=queue, first=seconds, gap=seconds, total=seconds)
            kept = old.get(name)
            stations[name] = kept if kept and kept.spec == spec else Station(spec, self._engine(spec))
        names: dict[str, tuple[Route, Lane | None]] = {}
        for task in book.tasks.values():
            route = Route.of(task, stations)
            for lane in route.lanes:
                names[f"{task.name}/{lane.variant.name}"] = (route, lane)
            names[task.name] = (route, None)
        self.stations, self._names, self._served = stations, names, set()
        self.follow_serving()
        for station in old.values():
            if station not in stations.values():
                self._retire(station)

    def follow_serving(self) -> None:
        """The served version's own names mean the default task."""
        served = self._serving.names if self._serving else {"active", "tuneloop", ""}
        if served != self._served and DEFAULT in self._names:
            for name in self._served - served:
                self._names.pop(name, None)
            for name in served:
                self._names.setdefault(name, self._names[DEFAULT])
            self._served = served

    def find(self, model: str) -> tuple[Route | None, Lane | None]:
        """The route of a task, and the lane if a variant was named ("task/variant"); (None, None) if there is none."""
        found = self._names.get(model)
        if found is None or model in self._served:  # another version may have come to serve just now
            self.follow_serving()
            found = self._names.get(model)
        return found or (None, None)

    @property
    def names(self) -> list[str]:
        return sorted(name for name in self._names if name)

    async def close(self) -> None:
        for station in self.stations.values():
            await station.engine.close()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _engine(self, spec: EngineSpec) -> Engine:
        try:
            if spec.kind == "local":
                return Local(self._serving) if self._serving else Absent(_("no version is served here"))
            return KINDS[spec.kind](spec)
        except TuneloopError as problem:
            return Absent(problem.message)

    def _retire(self, station: Station) -> None:
        """Close an engine that is no longer configured, once its last request has ended."""

        async def last() -> None:
            while station.running:
                await asyncio.sleep(0.2)
            await station.engine.close()

        try:
            task = asyncio.get_running_loop().create_task(last())
        except RuntimeError:  # no loop runs yet: nothing was asked of it
            return
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


class Absent:
    """An engine that cannot be used as it is configured: every request to it fails with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        raise EngineDown(self.reason)

    async def models(self) -> list[dict[str, Any]]:
        raise EngineDown(self.reason)

    async def alive(self) -> bool:
        return False

    async def close(self) -> None:
        return


async def listing(engines: Mapping[str, Engine]) -> dict[str, list[dict[str, Any]] | str]:
    """What each of these says it has, or why it does not answer; all are asked at once."""

    async def ask(engine: Engine) -> list[dict[str, Any]] | str:
        try:
            return await engine.models()
        except TuneloopError as problem:
            return problem.message
        except (ValueError, KeyError, TypeError, AttributeError) as problem:  # it answers, but something else
            return _("the answer is not understood: {why}").format(why=problem)

    return dict(zip(engines, await asyncio.gather(*map(ask, engines.values())), strict=True))
