"""`tuneloop experiment replay`: two variants answer stored questions, you judge blind, one key a pair.

The space bar is no key here: a verdict given by leaning on the keyboard is none.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.columns import Columns
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from tuneloop.answer.book import Book, read
from tuneloop.choose import replay as plans
from tuneloop.choose.replay import Replay
from tuneloop.cli.judging import ask_key, printable, single_keys
from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.gateway.engines import Engines
from tuneloop.gateway.replays import asker, shown
from tuneloop.loop import replay as verb
from tuneloop.loop.replay import Pair
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace

# Digits work in every keyboard layout; Cyrillic letters are those on the same keys.
KEYS = {
    **dict.fromkeys("l1дД", "left"),
    **dict.fromkeys("r2кК", "right"),
    **dict.fromkeys("t30еЕ", "tie"),
    **dict.fromkeys("s4ыЫ", "skip"),
    **dict.fromkeys("u5гГ\x7f\x08", "undo"),
    **dict.fromkeys("q6йЙ\x04", "quit"),
}
DECISIONS = {
    "winner": lambda: _("winner"),
    "no winner": lambda: _("no winner"),
    "not enough data": lambda: _("not enough data"),
}


@click.command("replay", help=_("Judge blind how variants A and B of TASK answer stored questions; resumable."))
@click.argument("task")
@click.argument("a")
@click.argument("b")
@click.option("--questions", default=50, show_default=True, type=click.IntRange(plans.LEAST, plans.MOST),
              help=_("How many stored questions both answer."))  # fmt: skip
@click.option("--rater", default=None, help=_("Who judges; each person's verdicts are kept apart."))
@click.option("--end", is_flag=True, help=_("End it with what is judged so far, and show the result."))
@click.option("--show", is_flag=True, help=_("Only show how far it is, or the last result."))
@click.pass_obj
def replay(door: Door, task: str, a: str, b: str, questions: int, rater: str | None, end: bool, show: bool) -> None:
    workspace = door.workspace()
    book = read(workspace.path / "tuneloop.toml")
    if task not in book.tasks:
        raise Missing(_("there is no task '{name}'").format(name=task), fix=_("`tuneloop tasks list` shows them."))
    found = plans.open_one(workspace, task=task, a=a, b=b)
    if found is None and (show or end):
        found = _latest(workspace, task, a, b)
    elif not (show or end):
        found = found or verb.begin(workspace, book.tasks[task], a, b, questions=questions, by="cli")
        if not door.as_json:
            asyncio.run(_prepare(door, workspace, book, found))
            end = _click_through(door, workspace, found, book, rater or getpass.getuser())
    assert found is not None
    found = verb.reveal(workspace, found, end=end) if end else found
    _show(door, workspace, found)
    door.result(shown(workspace, found))


def _latest(workspace: Workspace, task: str, a: str, b: str) -> Replay:
    for one in plans.history(workspace):
        if one.task == task and {one.a, one.b} == {a, b}:
            return one
    raise Missing(
        _("these two variants were never replayed"), fix=_("`tuneloop experiment replay TASK A B` begins one.")
    )


@contextmanager
def _engines(workspace: Workspace, book: Book, found: Replay) -> Iterator[Engines]:
    """The engines of the configuration; the served version is loaded only where one of both variants is it."""
    from tuneloop.answer.serving import Serving

    asked = [v.engine for v in book.tasks[found.task].variants if v.name in (found.a, found.b)]
    serving = Serving(workspace) if any(book.engines[name].kind == "local" for name in asked) else None
    try:
        if serving:
            serving.start()
        engines = Engines(workspace, serving)
        engines.follow(book)
        yield engines
    finally:
        if serving:
            serving.stop()


async def _prepare(door: Door, workspace: Workspace, book: Book, found: Replay) -> None:
    """Both answers to every question, before the first click."""
    if not verb.standing(workspace, found).unmade:
        return
    with _engines(workspace, book, found) as engines, door.progress() as watch:
        try:
            task = book.tasks[found.task]
            await verb.prepare(workspace, found, task, asker(workspace, engines, task), watch)
        finally:
            await engines.close()


def _click_through(door: Door, workspace: Workspace, found: Replay, book: Book, rater: str) -> bool:
    """One pair at a time, saved at each key; whether everything is judged and the result may be shown."""
    door.say(_("Which answer would you rather give? The sides change by lot; who is who is told at the end."))
    clicked: list[int] = []
    with single_keys():
        while True:
            pair = asyncio.run(verb.next_pair(workspace, found, book.tasks[found.task], _never, rater=rater))
            if pair is None and not clicked:
                return _complete(door, workspace, found)
            said = _ask_for(door, workspace, found, pair)
            if said == "undo" and clicked:
                verb.judge(workspace, found, clicked.pop(), "undo", rater=rater)
            elif said == "undo":
                door.say(_("Nothing to undo."))
            elif said == "quit" and pair is not None:
                n = len(clicked)
                door.say(n_("{n} verdict saved.", "{n} verdicts saved.", n).format(n=n))
                door.say(_("The same command goes on from here."))
                return False
            elif pair is None:
                return _complete(door, workspace, found)
            else:
                verb.judge(workspace, found, pair.number, said, rater=rater)
                clicked.append(pair.number)


def _complete(door: Door, workspace: Workspace, found: Replay) -> bool:
    if verb.standing(workspace, found).complete:
        return True
    door.say(_("You have judged what there is for you; --end shows the result without the rest."))
    return False


async def _never(_stored: Any, _variant: str, _identity: str) -> Any:
    raise AssertionError("every answer was made before the first click")


def _ask_for(door: Door, workspace: Workspace, found: Replay, pair: Pair | None) -> str:
    if pair is None:
        words = _("show the result"), _("take back the last verdict")
        door.say(f"[bold]6/q[/bold] {words[0]}  [bold]5/u[/bold] {words[1]}")
    else:
        waiting = len(verb.standing(workspace, found).waiting())
        _show_pair(door, pair, len(found.questions) - waiting + 1, len(found.questions))
    return ask_key(KEYS, _("Please press 1, 2, 3, 4, 5 or 6."), door)


def _show_pair(door: Door, pair: Pair, number: int, total: int) -> None:
    say = door.console.print
    say(Rule(_("{number} of {total}").format(number=number, total=total)))
    *context, asked = [message for message in pair.messages if message.get("role") != "system"]
    for message in context:
        say(Text(f"{message.get('role')}: {printable(verb.text_of(message))}", style="dim"))
    say(Panel(Text(printable(verb.text_of(asked))), title=_("question"), title_align="left", border_style="cyan"))
    width = max(30, door.console.width // 2 - 1)
    panels = [
        Panel(Text(printable(text) or _("(no answer)")), title=title, title_align="left", width=width)
        for title, text in ((f"1 {_('left')}", pair.left), (f"2 {_('right')}", pair.right))
    ]
    say(Columns(panels, padding=(0, 1)))
    words = (_("left"), _("right"), _("tie"), _("skip"), _("undo"), _("quit"))
    keys = "  ".join(f"[bold]{n}/{key}[/bold] {word}" for n, key, word in zip("123456", "lrtsuq", words, strict=True))
    say(keys)


def _show(door: Door, workspace: Workspace, found: Replay) -> None:
    told = found.verdict
    if told is None:
        now = verb.standing(workspace, found)
        door.say(
            _("{n} of {total} questions are judged, {open} are open; who is who is told at the end.").format(
                n=now.judged, total=len(found.questions), open=now.outcomes.count(None)
            )
        )
        return
    colour = "green" if told["decision"] == "winner" else "yellow"
    door.say(f"[{colour}]{DECISIONS[told['decision']]()}[/{colour}]: {escape(told['why'])}")
    rows = [
        (found.a, told["wins_a"], told["failed_a"]),
        (found.b, told["wins_b"], told["failed_b"]),
    ]
    door.table(_("Blind replay"), (_("variant"), _("better"), _("no answer")), rows, right=(1, 2))
    if told["share"] is not None:
        door.say(
            _("{variant} won {share:.0%} of decided questions, 95 % interval {low:.0%} to {high:.0%}.").format(
                variant=escape(found.b), share=told["share"], low=told["low"], high=told["high"]
            )
        )
    counts = _("Ties {ties}, skipped {skipped}, same answer {same}, removed {gone}, not judged {open}.")
    door.say(counts.format(**{name: told[name] for name in ("ties", "skipped", "same", "gone", "open")}))
    if told["more"] and told["decision"] == "no winner":
        door.say(_("About {n} more questions would decide it, if the share stays.").format(n=told["more"]))
    for note in told["notes"]:
        door.say(escape(note))
    door.say(_("Method: {method}.").format(method=told["method"]))
