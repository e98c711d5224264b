"""`tuneloop serve`: the active version behind an OpenAI-compatible API, and a page to talk to it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.errors import MissingExtra
from tuneloop.texts import _
from tuneloop.workspace import Workspace, locate, open_workspace

if TYPE_CHECKING:
    from tuneloop.answer.serving import Serving
    from tuneloop.gateway.server import Server

SNIPPET = """\
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")
reply = client.chat.completions.create(model="active", messages=[{{"role": "user", "content": "{question}"}}])
print(reply.choices[0].message.content)
"""


@click.command("serve", help=_("Serve the active version behind an OpenAI-compatible API, with a page to talk to it."))
@click.option("--version", "version", help=_("Serve this version instead of the active one (id, name or 'latest')."))
@click.option(
    "--model",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("Serve a GGUF file instead of a version."),
)
@click.option("--host", help=_("Address to listen on (default: setting serve.host)."))
@click.option("--port", type=click.IntRange(0, 65535), help=_("Port; 0 picks a free one (default: serve.port)."))
@click.pass_obj
def serve(door: Door, version: str | None, file: Path | None, host: str | None, port: int | None) -> None:
    if version and file:
        raise click.UsageError(_("--version and --model exclude each other"))
    need_extra()
    workspace = _workspace(door, file)
    host = host or workspace.settings.text("serve.host")
    port = workspace.settings.integer("serve.port") if port is None else port
    run(door, workspace, host=host, port=port, version=version, file=file)


def run(
    door: Door,
    workspace: Workspace,
    *,
    host: str,
    port: int,
    version: str | None = None,
    file: Path | None = None,
    visitor: Callable[[str], bool] | None = None,
    page: str = "",
) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises what `Serving.start` raises, Refused for an open address without a key.

    page: the path of the page that people are sent to; where it is given, no version is loaded.
    visitor: called with the URL, in a thread, as soon as the server answers; the server stops when it returns false.
    """
    from tuneloop import versions
    from tuneloop.answer.serving import Serving
    from tuneloop.gateway.app import create
    from tuneloop.gateway.server import Server, listen

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    socket = listen(host, port)
    wanted = versions.find(workspace, version) if version else None
    loads = not page and (file or wanted or needs_version(workspace))
    serving = Serving(workspace, file=file, version=wanted) if loads else None
    try:
        app = create(workspace, serving, host=host)  # refuses an open address without a key before anything is loaded
        if serving:
            serving.start()
        url = _url(host, socket.getsockname()[1])

        def ready() -> None:
            if page:
                door.say(_("The page:   {url}").format(url=f"[link={url}{page}]{url}{page}[/link]"))
                door.say(_("Ctrl-C stops it; requests in flight may end first."))
                door.result({"url": url, "page": url + page})
            else:
                _introduce(door, workspace, serving, url, app.state.doorkeeper.locked)
            if visitor:
                threading.Thread(target=_visit, args=(server, visitor, url), daemon=True).start()

        grace = workspace.settings.number("serve.grace")
        server = Server(app, grace=grace, ready=ready)
        server.run(sockets=[socket])
    finally:
        if serving:
            serving.stop()
        socket.close()
    door.say(_("Stopped."))


def needs_version(workspace: Workspace) -> bool:
    """Whether a task asks the version this workspace serves; the task there is without any written one does."""
    from tuneloop.answer.book import read

    book = read(workspace.path / "tuneloop.toml")
    return any(book.engines[v.engine].kind == "local" for task in book.tasks.values() for v in task.variants)


def _visit(server: Server, visitor: Callable[[str], bool], url: str) -> None:
    stays = False
    try:
        stays = visitor(url)
    finally:
        server.should_exit = server.should_exit or not stays


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _introduce(door: Door, workspace: Workspace, serving: Serving | None, url: str, key: bool) -> None:
    status: dict[str, Any] = serving.status() if serving else {"serving": None, "failure": None}
    door.result({"url": url, **status})
    served = status["serving"]
    if served:
        name = escape(" ".join(part for part in (served["name"], served["version"], served["quant"]) if part))
        door.say(_("Serving {name}").format(name=f"[bold]{name}[/bold]"))
    else:
        door.say(_("Serving the tasks of tuneloop.toml; no version of this workspace."))
    if status["failure"]:
        door.say(
            "[red]" + escape(_("Not the active version: {why}").format(why=status["failure"]["reason"])) + "[/red]"
        )
    door.say(_("Talk to it:   {url}").format(url=f"[link={url}]{url}[/link]"))
    door.say()
    bearer = " -H 'Authorization: Bearer KEY'" if key else ""
    body = json.dumps({"messages": [{"role": "user", "content": _("Hello!")}]}, ensure_ascii=False)
    curl = f"curl {url}/v1/chat/completions -H 'Content-Type: application/json'{bearer} -d '{body}'"
    python = SNIPPET.format(url=url, key="KEY" if key else "none", question=_("Hello!"))
    if not door.as_json:  # to be copied: never wrapped
        door.console.print(f"{curl}\n\n{python}", markup=False, soft_wrap=True)
    door.say(_("Ctrl-C stops it; requests in flight may end first."))


def _workspace(door: Door, file: Path | None) -> Workspace:
    """The user's workspace; a plain file may be served without one, its calls are then kept where it would be."""
    return open_workspace(locate(door.flag), create=file is not None)


def need_extra() -> None:
    """Raises MissingExtra without what the server needs."""
    import importlib.util

    missing = [name for name in ("fastapi", "uvicorn", "httpx", "xllamacpp") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            _("serving needs {names}").format(names=", ".join(missing)),
            fix=_("Install them with: pip install 'tuneloop[serve]'"),
        )
