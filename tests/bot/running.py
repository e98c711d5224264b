"""The bot in a thread of the test, with the real client, against the Telegram of this machine; and its shop."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bot.fake_telegram import TOKEN, FakeTelegram
from tests.search import shop
from tuneloop.bot.run import Ready, answer
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import Workspace, open_workspace

NAMES = shop.NAMES[:8]
ADMIN, ANN, BOB = 900, 7, 8


def prepare(folder: Path, names: list[str] | None = None, photos: int = 3) -> Path:
    """A workspace with a shop's catalogue, and photos/NAME-SEED.jpg beside it."""
    shop.write(folder, photos=photos, names=names or NAMES)
    workspace = open_workspace(folder / "work", create=True)
    catalogue.put(workspace, catalogue_sources.read(folder / "catalogue.csv"), open_encoder("classical"), source="shop")
    workspace.db.close()
    return folder


def copied(prepared: Path, target: Path, telegram: FakeTelegram, **settings: object) -> Workspace:
    """A copy of the prepared workspace that talks to this Telegram."""
    shutil.copytree(prepared / "work", target)
    said = {"api_url": telegram.url, "admins": ADMIN, **settings}
    lines = [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in said.items()]
    (target / "tuneloop.toml").write_text("[bot]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return open_workspace(target)


@contextmanager
def running(workspace: Workspace, token: str = TOKEN) -> Iterator[Ready]:
    """The bot answers inside the block; an error it ends with is raised at the block's end."""
    stop = asyncio.Event()
    ready: list[Ready] = []
    known = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    problems: list[BaseException] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        await answer(workspace, token, stop, lambda what: (ready.append(what), known.set())[1])

    def whole() -> None:
        try:
            asyncio.run(work())
        except Exception as problem:  # noqa: BLE001  raised again where the test waits
            problems.append(problem)
        finally:
            known.set()

    thread = threading.Thread(target=whole)
    thread.start()
    try:
        assert known.wait(60)
        if problems:
            raise problems[0]
        yield ready[0]
    finally:
        if thread.is_alive():
            loops[0].call_soon_threadsafe(stop.set)
        thread.join(30)
    if problems:
        raise problems[0]
