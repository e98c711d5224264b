"""The audit in the terminal: one example at a time, one key each; every click is saved before the next is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from tuneloop.cli.show import Door
from tuneloop.collect import audit as auditing
from tuneloop.collect.audit import Share, Standing
from tuneloop.collect.dataset import Dataset
from tuneloop.records import Example
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace

# Digits work in every keyboard layout. The Russian "н" is not taken: it is on the key Y and means "нет".
KEYS = {
    **dict.fromkeys("y1дД", "yes"),
    **dict.fromkeys("n2тТ", "no"),
    **dict.fromkeys("s3ыЫ ", "skip"),
    **dict.fromkeys("u4гГ\x7f\x08", "undo"),
    **dict.fromkeys("q5йЙ\x04", "quit"),
}


def click_through(door: Door, workspace: Workspace, dataset: Dataset, n: int, rater: str) -> None:
    """Show what this rater has not judged yet of the first `n` of the sample, until done, q or end of input."""
    chosen = auditing.sample(dataset, n)
    mine = {example for example, who, _v in auditing.judged(workspace, dataset) if who == rater}
    clicked: list[Example] = []
    left = [e for e in chosen if e.id not in mine]
    if not left:
        door.say(_("All {n} of the sample are judged. Look at more with --n.").format(n=len(chosen)))
        return
    door.say(_("Would you be content with this answer to this question? The keys work in any layout as digits."))
    with single_keys():
        while left:
            example = left[0]
            _show(door, example, len(chosen) - len(left) + 1, len(chosen))
            asked = ask_key(KEYS, _("Please press 1, 2, 3, 4 or 5."), door)
            if asked == "quit":
                break
            if asked == "undo":
                if clicked:
                    last = clicked.pop()
                    auditing.undo(workspace, dataset, last, rater)
                    left.insert(0, last)
                else:
                    door.say(_("Nothing to undo."))
                continue
            auditing.judge(workspace, dataset, example, asked, rater)
            clicked.append(left.pop(0))
            door.say(f"[dim]{escape(example.id)} {asked}[/dim]")
    n_clicked = len(clicked)
    door.say(n_("{n} click saved.", "{n} clicks saved.", n_clicked).format(n=n_clicked))
    if left:
        door.say(_("{n} are left; the same command goes on there.").format(n=len(left)))


def show_standing(door: Door, now: Standing) -> None:
    """Precision with its interval, beside that of what passes and fails the rules."""
    if not now.precision.n:
        door.say(_("Nobody has judged an example yet: tuneloop dataset audit."))
        return
    rows = [
        (_("all judged examples"), *_cells(now.precision)),
        (_("of those that pass every rule"), *_cells(now.passing)),
        (_("of those that fail a rule"), *_cells(now.failing)),
    ]
    columns = (_("audited precision"), _("good"), _("of"), _("share"), _("95 % interval"))
    door.table("", columns, rows, right=(1, 2, 3, 4))
    if now.skipped:
        door.say(n_("{n} skipped, not counted.", "{n} skipped, not counted.", now.skipped).format(n=now.skipped))
    if now.kappa is not None:
        door.say(
            _("Two raters agree on {n} common examples with Cohen's kappa {kappa:.2f}.").format(
                n=now.both_judged, kappa=now.kappa
            )
        )


def _cells(share: Share) -> tuple[object, ...]:
    if share.rate is None:
        return ("", 0, "", "")
    return (share.good, share.n, f"{share.rate:.1%}", f"{share.low:.1%} - {share.high:.1%}")


def _show(door: Door, example: Example, number: int, total: int) -> None:
    say = door.console.print
    say(Rule(_("{number} of {total}").format(number=number, total=total)))
    for role, text in example.context:
        who = _("speaker") if role == "assistant" else _("others")
        say(Text(f"{who}: {printable(text)}", style="dim"))
    say(Panel(Text(printable(example.question)), title=_("question"), title_align="left", border_style="cyan"))
    say(Panel(Text(printable(example.answer)), title=_("answer"), title_align="left", border_style="green"))
    say("[bold]1/y[/bold] " + _("yes") + "  [bold]2/n[/bold] " + _("no") + "  [bold]3/s[/bold] " + _("skip"), end="  ")
    say("[bold]4/u[/bold] " + _("undo") + "  [bold]5/q[/bold] " + _("quit"))


@contextmanager
def single_keys() -> Iterator[None]:
    """Let the terminal hand over each key at once; click.getchar would throw away keys typed ahead."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def ask_key(keys: Mapping[str, str], reminder: str, door: Door) -> str:
    """What the next known key means; the end of input means "quit"."""
    while True:
        key = sys.stdin.read(1)
        if key == "":
            return "quit"
        if found := keys.get(key) or keys.get(key.lower()):
            return found
        if not key.isspace():
            door.say(reminder)


def printable(text: str) -> str:
    """Chat text must not steer the terminal: control characters other than line ends are dropped."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
