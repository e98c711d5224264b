"""The menu of `tuneloop ask FILE` on a terminal: numbered choices, ready questions, a free one, what was asked before.

Lines are read with readline: arrow keys bring earlier questions back, Tab completes names of columns and their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

from rich.markup import escape

from tuneloop.ask.columns import Profile
from tuneloop.ask.facts import askable
from tuneloop.cli.ask_talk import Talk, show_profile
from tuneloop.errors import TuneloopError
from tuneloop.texts import _
from tuneloop.workspace import locate, open_workspace

INDENT = "      "  # under the text of a choice
MOST_HISTORY = 20
MOST_VALUES = 50  # of a column, offered for completion
Read = Callable[[str], str]


def menu(talk: Talk, read: Read = input) -> None:
    """Ask what to do until the person ends it. read: gets a line; raises EOFError at the end."""
    profile = talk.table.profile
    head = _("{name}: {rows} rows, {columns} columns").format(
        name=talk.table.path.name, rows=f"{profile.rows:,}", columns=len(profile.columns)
    )
    choices: list[tuple[str, Callable[[Talk, Read], None]]] = [
        (_("What the table holds"), _profile),
        (_("Ready questions"), _ready),
        (_("Ask in your own words"), _free),
        (_("What was asked before"), _history),
        (_("Write a page with plots"), _report),
        (_("Which model to ask"), _models),
    ]
    with _line_editing(profile, [one.question for one in talk.shelf.answers(talk.source)][::-1]):
        while True:
            chosen = _choose(talk, read, head, [name for name, _do in choices], _("End"))
            if chosen is None:
                return
            try:
                choices[chosen][1](talk, read)
            except TuneloopError as problem:  # the menu outlives a question that cannot be run
                _explain(talk, problem)
            except KeyboardInterrupt:  # stops what is chosen, and the next one the menu itself
                talk.door.say("\n" + _("Stopped."))


def _choose(talk: Talk, read: Read, head: str, names: Sequence[str], back: str) -> int | None:
    """The place of the chosen name, repeated on the screen; None for 0, an empty line at the end, or Ctrl-D."""
    talk.door.say(f"\n[bold]{escape(head)}[/bold]")
    room = max(20, talk.door.console.width - len(INDENT))
    for n, name in enumerate([*names, back], 1):
        first, *rest = wrap(name, room, break_on_hyphens=False) or [""]
        talk.door.say(f"  {n % (len(names) + 1):2}  {escape(first)}")
        for line in rest:
            talk.door.say(INDENT + escape(line))
    while True:
        try:
            typed = read(_("Number: ")).strip()
        except EOFError:
            talk.door.say()
            return None
        if typed == "0":
            talk.door.say(f"[dim]→ {escape(back)}[/dim]")
            return None
        if typed.isascii() and typed.isdigit() and len(typed) < 6 and 1 <= int(typed) <= len(names):
            talk.door.say(f"[dim]→ {int(typed)}  {escape(names[int(typed) - 1])}[/dim]")
            return int(typed) - 1
        if typed:
            talk.door.say(_("Type a number from 0 to {n}.").format(n=len(names)))


def _profile(talk: Talk, _read: Read) -> None:
    show_profile(talk.door, talk.table)


def _ready(talk: Talk, read: Read) -> None:
    """Questions that these columns can answer."""
    questions = [_("How many rows are there?"), *askable(talk.table.profile)]
    _pick(talk, read, _("Ready questions"), questions)


def _history(talk: Talk, read: Read) -> None:
    """Earlier questions, each once, the newest first; the chosen one is asked again."""
    asked = [one.question for one in talk.shelf.answers(talk.source)]
    _pick(talk, read, _("What was asked before"), list(dict.fromkeys(asked))[:MOST_HISTORY])


def _pick(talk: Talk, read: Read, head: str, questions: Sequence[str]) -> None:
    if not questions:
        talk.door.say(_("Nothing yet."))
        return
    while (chosen := _choose(talk, read, head, questions, _("Back"))) is not None:
        _one(talk, read, questions[chosen])


def _free(talk: Talk, read: Read) -> None:
    """Questions until an empty line."""
    talk.door.say(_("An empty line goes back."))
    while True:
        try:
            question = read("? ").strip()
        except EOFError:
            talk.door.say()
            return
        if not question:
            return
        _one(talk, read, question)


def _one(talk: Talk, read: Read, question: str) -> None:
    """Answer, and take a click on the answer."""
    try:
        talk.ask(question)
        _clicked(talk, read)
    except TuneloopError as problem:
        _explain(talk, problem)


def _clicked(talk: Talk, read: Read) -> None:
    answered = talk.shelf.answers(talk.source, most=1)[0]
    if answered.state == "refused":
        return
    hint = _("r: right, w: wrong, Enter: go on") if answered.sql else _("w: say what is meant, Enter: go on")
    try:
        typed = read(f"({hint}) ").strip().lower()
        while typed not in ("", "w", "ц", *(("r", "к") if answered.sql else ())):  # к, ц: these keys in Russian
            typed = read(f"({hint}) ").strip().lower()
        if typed in ("r", "к"):
            talk.click("right")
        elif typed:
            talk.click("wrong", read(_("What was meant (SELECT, or other words; Enter: only wrong): ")).strip())
    except EOFError:
        talk.door.say()


def _report(talk: Talk, read: Read) -> None:
    from tuneloop.ask.page import write

    try:
        typed = read(_("File [report.html]: ")).strip()
    except EOFError:
        talk.door.say()
        return
    path = Path(typed or "report.html").expanduser()
    write(talk.table, path)
    talk.door.say(_("written: {path}").format(path=escape(str(path))))


def _models(talk: Talk, _read: Read) -> None:
    """What the models of this workspace did with questions to tables."""
    from tuneloop import machine
    from tuneloop.ask import trials
    from tuneloop.ask.trial import reader
    from tuneloop.cli.models_trial import table

    place = locate(talk.door.flag)
    known = trials.read(open_workspace(place)) if (place / "tuneloop.toml").exists() else {}
    rows = [row for row in known.values() if row.machine == machine.name()]
    if rows:
        table(talk.door, rows, reader())
        return
    talk.door.say(_("No model was tried on this machine yet; without one the reader answers most questions."))
    talk.door.say(escape(_("What fits: tuneloop models fit. What is good: tuneloop models trial.")))


def _explain(talk: Talk, problem: TuneloopError) -> None:
    talk.door.say(f"[red]{escape(problem.message)}[/red]" + (f"\n{escape(problem.fix)}" if problem.fix else ""))


@contextmanager
def _line_editing(profile: Profile, earlier: Sequence[str]) -> Iterator[None]:
    """Arrow keys and Tab while the menu runs, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    words = completions(profile)
    before, ends = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(lambda typed, n: next(iter(completed(typed, words)[n : n + 1]), None))
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    for question in earlier:
        readline.add_history(question)
    try:
        yield
    finally:
        readline.set_completer(before)
        readline.set_completer_delims(ends)


def completions(profile: Profile) -> list[str]:
    """Names of columns and the values of those with few."""
    values = [v for c in profile.columns if c.distinct <= MOST_VALUES for v in c.values if v.isprintable()]
    return sorted({*(column.name for column in profile.columns), *values})


def completed(typed: str, words: Sequence[str]) -> list[str]:
    """Words that begin like what was typed, in any case."""
    return [word for word in words if typed and word.lower().startswith(typed.lower())]
