"""`tuneloop gate` and `tuneloop duel`: the verdict of the figures, and the verdict of a person."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape
from rich.panel import Panel

from tuneloop.cli.show import Door
from tuneloop.errors import BadInput, Refused
from tuneloop.texts import _, n_

_COLOURS = {"promote": "green", "refuse": "red", "not enough data": "yellow"}


@click.command(help=_("Judge a version on held-out questions: promote, refuse, or not enough data."))
@click.argument("version", default="latest")
@click.option("--activate", is_flag=True, help=_("If it is promoted, let it serve at once."))
@click.option("--strict", is_flag=True, help=_("Exit with code 5 unless it is promoted (for scripts)."))
@click.pass_obj
def gate(door: Door, version: str, activate: bool, strict: bool) -> None:
    from tuneloop import versions
    from tuneloop.loop import chat

    workspace = door.workspace()
    candidate = versions.find(workspace, version)
    with door.progress() as watch:
        judged = chat.judge(workspace, candidate, watch=watch)
    show_verdict(door, judged.verdict.decision, judged.verdict.why, judged.verdict.figures)
    door.say(_("Answers side by side: {path}").format(path=escape(str(judged.folder / "items.jsonl"))))
    promoted = judged.verdict.decision == "promote"
    if promoted and activate:
        versions.activate(workspace, versions.find(workspace, candidate.id), note="gate --activate")
        door.say(_("Version {id} is active.").format(id=candidate.id))
    elif promoted:
        door.hint(_("Next: tuneloop pack {id}, tuneloop versions activate {id}").format(id=candidate.id))
    door.result({"version": candidate.id, **asdict(judged.verdict), "folder": str(judged.folder)})
    if strict and not promoted:
        raise Refused(
            judged.verdict.why, fix=_("`tuneloop duel {id} base` asks people instead.").format(id=candidate.id)
        )


def show_verdict(door: Door, decision: str, why: str, figures: dict[str, Any]) -> None:
    """The verdict as a table of contestants, the memory and style figures, and one sentence in a box."""
    bits, chrf = figures.get("bits_per_char", {}), figures.get("chrf", {})
    rows = []
    for contestant in dict.fromkeys([*bits, *chrf]):
        against = figures.get("against", {}).get(contestant)
        gain = f"{against['gain']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]" if against else ""
        rows.append(
            (
                escape(_(contestant)),
                f"{bits[contestant]:.3f}" if contestant in bits else "",
                gain,
                f"{chrf[contestant]:.1f}" if contestant in chrf else "",
            )
        )
    title = n_("{n} held-out question", "{n} held-out questions", figures["questions"]).format(n=figures["questions"])
    columns = (_("contestant"), _("bits per character"), _("tuned is better by"), _("likeness (chrF)"))
    door.table(title, columns, rows, right=(1, 2, 3))
    memory, style = figures["memory"], figures.get("closeness") or {}
    said = _("Repeats word for word: {train:.0%} of training answers, {heldout:.0%} of unseen ones.")
    door.say(said.format(train=memory["train_rate"], heldout=memory["heldout_rate"]))
    if memory["canaries"]:
        said = _(
            "Planted secrets given away: {k} of {n}; exposure {bits:.1f} bits of 8 (chance alone: up to {bar:.1f})."
        )
        given = {"k": memory["canaries_extracted"], "n": memory["canaries"], "bits": memory["exposure_bits"]}
        door.say(said.format(**given, bar=memory["exposure_by_chance"]))
    if style.get("closeness") is not None and style["closeness"] <= 0:
        door.say(_("Style: no closer to the speaker than the base model."))
    elif style.get("closeness") is not None:
        said = _("Style: {share:.0%} of the way from the base model to the speaker's own other half.")
        door.say(said.format(share=style["closeness"]))
    if not door.as_json:
        colour = _COLOURS[decision]
        door.console.print(Panel(escape(why), title=f"[bold {colour}]{_(decision)}[/]", border_style=colour))


@click.command(
    help=_("Compare two contestants blind: a version, base, history (retrieval) or person (the real answers).")
)
@click.argument("a", default="latest")
@click.argument("b", default="base")
@click.option("--rater", default=None, help=_("Who clicks; each rater's clicks are kept apart."))
@click.option("--show", is_flag=True, help=_("Only show what the clicks say so far."))
@click.pass_obj
def duel(door: Door, a: str, b: str, rater: str | None, show: bool) -> None:
    from tuneloop import versions
    from tuneloop.loop import duel as verb
    from tuneloop.loop.chat import BASE, HISTORY

    workspace = door.workspace()
    special = (BASE, HISTORY, verb.PERSON)
    if a in special and b in special:
        anchor = versions.find(workspace, "latest")
    else:
        anchor = versions.find(workspace, b if a in special else a)
    a, b = (c if c in special else versions.find(workspace, c).id for c in (a, b))
    if not show and not door.as_json:
        who = rater or getpass.getuser()
        with door.progress() as watch:
            left = verb.pairs(workspace, anchor, a, b, rater=who, watch=watch)
        _click_through(door, left, lambda pair, said: _keep(workspace, anchor, a, b, pair, said, who))
    now = verb.standing(workspace, anchor, a, b)
    _show_standing(door, now)
    door.result({**asdict(now), "decided": now.decided})


def _keep(workspace: Any, anchor: Any, a: str, b: str, pair: Any, said: str, rater: str) -> None:
    from tuneloop.loop import duel as verb

    if said == "undo":
        verb.undo(workspace, anchor, a, b, pair, rater=rater)
    else:
        verb.record(workspace, anchor, a, b, pair, said, rater=rater)


def _click_through(door: Door, left: list[Any], keep: Any) -> None:
    """One pair at a time; 1 the left is better, 2 the right, 0 equal, u undo, q quit. Saved at each key."""
    if not left:
        door.say(_("Every pair has been judged in both orders."))
        return
    if not sys.stdin.isatty() and sys.stdin.closed:
        raise BadInput(_("a duel needs somebody to click"), fix=_("Run it in a terminal, or use --show."))
    keys = {"1": "left", "2": "right", "0": "tie", "u": "undo", "q": "quit", "": "quit"}
    door.say(_("Which answer would you rather give? 1 the first, 2 the second, 0 no difference, u undo, q stop."))
    position = 0
    while position < len(left):
        pair = left[position]
        door.say(f"\n[dim]{position + 1} / {len(left)}[/dim]")
        for role, text in pair.example.context:
            door.say(f"[dim]{escape(role)}: {escape(text)}[/dim]")
        door.say(f"[bold]{escape(pair.example.question)}[/bold]")
        for number, text in ((1, pair.left), (2, pair.right)):
            door.console.print(Panel(escape(text) or _("(no answer)"), title=str(number), title_align="left"))
        said = keys.get(_key(door), "")
        if said == "quit":
            door.say(_("Saved. The same command goes on from here."))
            return
        if said == "undo":
            position = max(0, position - 1)
            keep(left[position], "undo")
        elif said:
            keep(pair, said)
            position += 1


def _key(door: Door) -> str:
    if sys.stdin.isatty():
        return click.getchar().lower()
    return sys.stdin.readline().strip().lower()


def _show_standing(door: Door, now: Any) -> None:
    from tuneloop.loop.duel import FEWEST_DECIDED

    rate = "" if now.rate_a is None else f"{now.rate_a:.0%} [{now.low:.0%}, {now.high:.0%}]"
    door.table(
        _("Duel"),
        (_("A"), _("B"), _("A wins"), _("B wins"), _("ties"), _("A's share of decided")),
        [(now.a, now.b, now.wins_a, now.wins_b, now.ties, rate)],
        right=(2, 3, 4, 5),
    )
    if now.half_done:
        said = n_(
            "{n} question was seen in one order only.", "{n} questions were seen in one order only.", now.half_done
        )
        door.say(said.format(n=now.half_done))
    if now.decided < FEWEST_DECIDED:
        door.say(
            _("{n} decided questions are few: no claim under {least}.").format(n=now.decided, least=FEWEST_DECIDED)
        )
    if now.more_clicks:
        door.say(
            _("About {n} more clicks are needed to tell them apart, if the share stays.").format(n=now.more_clicks)
        )
