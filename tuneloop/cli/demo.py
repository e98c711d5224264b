"""`tuneloop demo`: the whole loop on the bundled sample chat, or on yours, to a running server.

It calls the same commands a person would type, one after another, and says how long each took.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.panel import Panel

from tuneloop.cli.show import Door
from tuneloop.texts import _
from tuneloop.workspace import Workspace, locate

SAMPLE = Path(__file__).parents[1] / "demo" / "community" / "result.json"
NAME = "demo"


@click.command(help=_("The whole loop on a bundled sample chat (or yours with --input), to a running server."))
@click.option("--input", "export", type=click.Path(path_type=Path, exists=True), help=_("Your own chat export."))
@click.option("--speaker", help=_("Whose answers to learn (name or id); default: who answers most."))
@click.option("--base", type=click.Path(path_type=Path), help=_("Base model folder; default: the small demo base."))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help=_("Port of the server; 0 picks a free one."))
@click.option("--once", is_flag=True, help=_("Ask the server one question, then stop it (for scripts)."))
@click.pass_context
def demo(
    ctx: click.Context, export: Path | None, speaker: str | None, base: Path | None, port: int, once: bool
) -> None:
    door: Door = ctx.obj
    door.flag = door.flag or Path.cwd() / _folder(export)
    door.hints = False  # the next command comes by itself
    began = time.monotonic()
    _introduce(door, export)
    took: list[tuple[str, float]] = []
    with _stage(door, took, "collect", _("read the export, count what is kept and why the rest is not")):
        _run(ctx, "collect", paths=(export or SAMPLE,))
    with _stage(door, took, "dataset build", _("pair questions with answers, remove personal data, split by time")):
        speaker = speaker or (_suggested(door) if export is None else None)
        _run(ctx, "dataset", "build", speakers=(speaker,) if speaker else (), name=NAME)
    with _stage(door, took, "tune", _("LoRA on the base model")):
        # The demo base is so small that it still learns in the sixth pass; a real one is best left at the default.
        _run(ctx, "tune", dataset=NAME, base=base, epochs=None if base else 6)
    with _stage(door, took, "gate", _("held-out questions: tuned against base, base + examples, and plain lookup")):
        _run(ctx, "gate", version="latest", activate=True)
    with _stage(door, took, "pack", _("merge, convert to GGUF, quantise, check parity with the trainer's model")):
        _run(ctx, "pack", version="latest", archive=True)
    workspace = door.workspace()
    _conclude(door, workspace, took, time.monotonic() - began)
    from tuneloop.cli import serve

    question = _question(workspace)
    serve.run(
        door,
        workspace,
        host="127.0.0.1",
        port=port,
        version="latest",  # promoted or not: a person wants to talk to what was just made
        visitor=lambda url: _visit(door, url, question) and not once,
    )


def _folder(export: Path | None) -> str:
    """The workspace's name: every export has its own, or the sample beside your chat would be the larger one."""
    from tuneloop.collect.dataset import slug

    if export is None:
        return "tuneloop-demo"
    path = export.absolute()
    return "tuneloop-demo-" + slug(f"{path.parent.name} {path.stem}")


def _suggested(door: Door) -> str | None:
    """Who answers most in the sample: nobody is asked there."""
    from tuneloop.collect import store

    workspace = door.workspace()
    people = store.speakers(workspace, store.find_chat(workspace).id)
    found = next((one for one in people if one.suggested), None)
    if found:
        door.say(_("Learning the answers of {name}. Choose with --speaker.").format(name=escape(found.name)))
    return found.sender if found else None


def _introduce(door: Door, export: Path | None) -> None:
    assert door.flag is not None
    if export is None:
        text = _(
            "The sample is the chat of a fictional beekeepers' workshop, written for this project: 17 invented people,"
            " a bot and a spammer. Nobody in it exists, and the questions are asked by nobody real."
        )
    else:
        text = _("Your chat stays on this machine: {path}").format(path=escape(str(export)))
    if not door.as_json:
        door.console.print(Panel(text, title="tuneloop demo", border_style="cyan"))
    door.say(_("Workspace: {path} (delete the folder to start over)").format(path=escape(str(locate(door.flag)))))


@contextmanager
def _stage(door: Door, took: list[tuple[str, float]], name: str, what: str) -> Iterator[None]:
    if not door.as_json:
        door.console.print()
        door.console.rule(f"[bold cyan]tuneloop {name}[/bold cyan]", align="left")
        door.say(f"[dim]{escape(what)}[/dim]")
    began = time.monotonic()
    yield
    took.append((name, time.monotonic() - began))


def _run(ctx: click.Context, *words: str, **given: Any) -> None:
    """Call a command as the command line would; options not given keep their defaults."""
    assert ctx.parent is not None
    command: Any = ctx.parent.command
    for word in words:
        command = command.get_command(ctx, word)
    ctx.invoke(command, **given)


def _conclude(door: Door, workspace: Workspace, took: list[tuple[str, float]], total: float) -> None:
    """What came out, in a table: seconds, versions, verdict."""
    from tuneloop import versions

    version = versions.find(workspace, "latest")
    verdict = version.verdict or {}
    rows = [(f"tuneloop {name}", f"{seconds:.1f}") for name, seconds in took]
    if not door.as_json:
        door.console.print()
        door.console.rule("[bold cyan]" + _("verdict") + "[/bold cyan]", align="left")
    door.table("", (_("step"), _("seconds")), [*rows, (_("all"), f"{total:.1f}")], right=(1,))
    decision = str(verdict.get("decision"))
    colour = {"promote": "green", "refuse": "red"}.get(decision, "yellow")
    if decision == "promote":
        text = _("It beat what you have now, so it is the active version.")
    else:
        text = _(
            "It did not beat what you have now, so nothing was switched over: this server is a preview of the refused"
            " version. The demo base is a toy of 3 million weights; a real one (--base FOLDER) may well win."
        )
    if not door.as_json:
        door.console.print(
            Panel(f"{escape(str(verdict.get('why')))}\n\n{text}", title=_(decision), border_style=colour)
        )


def _question(workspace: Workspace) -> str:
    """A real held-out question of the chat; one that asks something, where there is one."""
    from tuneloop.collect import dataset

    held_out = dataset.find(workspace, NAME).examples("test")
    asking = (e for e in held_out if e.edge == "reply" and e.question.endswith("?") and not e.context)
    return next(asking, held_out[0]).question


def _visit(door: Door, url: str, question: str) -> bool:
    """Ask the running server the question over HTTP and show its answer. True: it answered."""
    body = json.dumps({"model": "tuneloop", "messages": [{"role": "user", "content": question}], "max_tokens": 80})
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        answer = json.load(reply)["choices"][0]["message"]["content"]
    if not door.as_json:
        door.console.print(Panel(escape(answer), title=escape(question[:100]), title_align="left"))
    here = sys.argv[0] if Path(sys.argv[0]).name == "tuneloop" else "tuneloop"
    door.say(_("The same with your own chat: {command} demo --input YOUR_EXPORT").format(command=escape(here)))
    return True
