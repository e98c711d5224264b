"""`tuneloop dataset`: build, list, show, audit, validate, export, remove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.texts import _, n_

if TYPE_CHECKING:
    from tuneloop.collect.providers import Outcome


@click.group(help=_("Build, look at, audit, validate and export datasets."))
def dataset() -> None:
    pass


@dataset.command(help=_("Make a dataset of a chat: question, context and answer of the people you choose."))
@click.option("--chat", help=_("Id or name of the chat; without it: asked for, or the largest."))
@click.option("--speaker", "speakers", multiple=True, help=_("Whose answers to learn (name or id); may be repeated."))
@click.option("--name", help=_("Name of the dataset; without it: the chat's."))
@click.option("--system", default="", help=_("System text put before every example."))
@click.pass_obj
def build(door: Door, chat: str | None, speakers: tuple[str, ...], name: str | None, system: str) -> None:
    from tuneloop.cli.choose import choose_chat, choose_speakers
    from tuneloop.collect import dataset as verb

    workspace = door.workspace()
    chosen = choose_chat(door, workspace, chat)
    people = list(speakers) or choose_speakers(door, workspace, chosen)
    with door.progress() as watch:
        folder = verb.build(workspace, chat=chosen, speakers=people, name=name, system=system, watch=watch)
    made = verb.load(folder)
    show_card(door, made.card)
    door.say()
    door.say(_("Folder: {path}").format(path=escape(str(folder))))
    door.say(_("Report: {path}").format(path=escape(str(folder / "report.html"))))
    door.hint(_("Next: tuneloop dataset audit {name}   or   tuneloop tune {name}").format(name=escape(folder.name)))
    door.result({"folder": str(folder), **made.card})


@dataset.command("from-feedback", help=_("Make a dataset of answers that people praised or corrected."))
@click.option("--name", default="feedback", show_default=True, help=_("Name of the dataset."))
@click.option("--task", default="", help=_("Only calls of this task."))
@click.pass_obj
def from_feedback(door: Door, name: str, task: str) -> None:
    from tuneloop.collect import dataset as verb
    from tuneloop.loop import from_feedback as loop

    with door.progress() as watch:
        folder = loop.build(door.workspace(), name=name, task=task, watch=watch)
    card = verb.load(folder).card
    counts = " / ".join(str(n) for n in card["counts"].values())
    door.say(_("{path}: train / validation / test {counts}").format(path=folder, counts=counts))
    door.result({"path": str(folder), "counts": card["counts"], "rejected": card["rejected"]})


@dataset.command("list", help=_("Every dataset of the workspace."))
@click.pass_obj
def list_(door: Door) -> None:
    from tuneloop.collect import dataset as verb

    known = verb.listed(door.workspace())
    if not known:
        door.say(_("There is no dataset yet. Make one: tuneloop dataset build."))
    else:
        columns = (_("name"), _("id"), _("speakers"), _("train"), _("validation"), _("test"), _("pass all rules"))
        rows = [
            (
                escape(d.folder.name),
                d.id,
                escape(", ".join(s["name"] or s["id"] for s in d.card["speakers"])),
                *(d.card["counts"][part] for part in ("train", "validation", "test")),
                f"{d.card['rule_pass_rate']:.1%}",
            )
            for d in known
        ]
        door.table(_("Datasets"), columns, rows, right=(3, 4, 5, 6))
    keys = ("id", "counts", "speakers", "rule_pass_rate")
    door.result([{"name": d.folder.name, "path": str(d.folder), **{k: d.card[k] for k in keys}} for d in known])


@dataset.command(help=_("All figures of one dataset, and what an audit said of it."))
@click.argument("name", required=False)
@click.pass_obj
def show(door: Door, name: str | None) -> None:
    from tuneloop.collect import audit as auditing
    from tuneloop.collect import dataset as verb

    workspace = door.workspace()
    found = verb.find(workspace, name)
    show_card(door, found.card)
    now = auditing.standing(workspace, found)
    if now.precision.n:
        from tuneloop.cli.judging import show_standing

        show_standing(door, now)
    door.say(_("Report: {path}").format(path=escape(str(found.folder / "report.html"))))
    door.result({**found.card, "path": str(found.folder), "audit": now.as_dict()})


@dataset.command(help=_("Look at a random sample and click yes or no; prints the precision with its interval."))
@click.argument("name", required=False)
@click.option("--n", default=50, show_default=True, type=click.IntRange(1), help=_("How many examples to look at."))
@click.option("--rater", default="me", show_default=True, help=_("Who clicks; two raters give an agreement figure."))
@click.pass_obj
def audit(door: Door, name: str | None, n: int, rater: str) -> None:
    from tuneloop.cli.judging import click_through, show_standing
    from tuneloop.collect import audit as auditing
    from tuneloop.collect import dataset as verb

    workspace = door.workspace()
    found = verb.find(workspace, name)
    if not door.as_json:
        click_through(door, workspace, found, n, rater)
    now = auditing.standing(workspace, found)
    show_standing(door, now)
    door.result({"dataset": found.folder.name, "id": found.id, **now.as_dict()})


@dataset.command(help=_("Check a tuning file against what a provider publishes; exit code 5 when it has errors."))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--for", "provider", required=True, type=click.Choice(["openai", "gemini", "kimi", "hf"]))
@click.option("--model", help=_("Whose limits to check against; without it: the provider's usual one."))
@click.option("--as-of", "on", default="9999", help=_("Limits as published on this day (2024-05-31)."))
@click.option("--fix", is_flag=True, help=_("Write FILE.mended.jsonl with what a machine can mend; FILE stays."))
@click.pass_obj
def validate(door: Door, file: Path, provider: str, model: str | None, on: str, fix: bool) -> None:
    from tuneloop.collect import providers

    target = file.with_name(f"{file.stem}.mended.jsonl") if fix else None
    with door.progress() as watch:
        outcome = providers.validate(file, provider, model=model, on=on, fix=target, watch=watch)
    show_outcome(door, outcome)
    left = outcome
    if target:
        left = providers.validate(target, provider, model=model, on=on)
        door.say(
            _("Mended copy: {path}: {errors} errors and {warnings} warnings are left.").format(
                path=escape(str(target)), errors=left.errors, warnings=left.warnings
            )
        )
    door.result({**outcome.as_dict(), "left": {"errors": left.errors, "warnings": left.warnings} if target else None})
    # Findings are this command's result, not its failure; the exit code is for scripts: 5 refused, 4 too few.
    if left.errors or not left.enough:
        sys.exit(5 if left.errors else 4)


@dataset.command(help=_("Write one part of a dataset in one format to a file."))
@click.argument("name", required=False)
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["openai", "gemini", "sharegpt", "alpaca", "json", "csv", "parquet"]),
)
@click.option(
    "--split", "part", default="train", show_default=True, type=click.Choice(["train", "validation", "test", "all"])
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help=_("File to write; without it: NAME-SPLIT.FORMAT.")
)
@click.option("--force", is_flag=True, help=_("Overwrite the file when it exists."))
@click.pass_obj
def export(door: Door, name: str | None, format_: str, part: str, out: Path | None, force: bool) -> None:
    from tuneloop.collect import dataset as verb
    from tuneloop.collect.formats import FORMATS, render
    from tuneloop.collect.privacy import write_receipt
    from tuneloop.collect.split import SPLITS
    from tuneloop.errors import Conflict
    from tuneloop.workspace import write_atomically

    found = verb.find(door.workspace(), name)
    path = out or Path(f"{found.folder.name}-{part}-{format_}{FORMATS[format_]}")
    if path.exists() and not force:
        raise Conflict(
            _("{path} exists already").format(path=path), fix=_("Give another --out, or overwrite it with --force.")
        )
    parts = [(p, found.examples(p)) for p in (SPLITS if part == "all" else (part,))]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render(format_, parts, found.system))
    write_receipt(path, found.card["scrubbed"])
    n = sum(len(examples) for _p, examples in parts)
    door.say(
        n_("{n} example written to {path}", "{n} examples written to {path}", n).format(n=n, path=escape(str(path)))
    )
    door.result({"path": str(path), "format": format_, "split": part, "examples": n})


@dataset.command(help=_("Remove a dataset; the same build command makes it again, byte for byte."))
@click.argument("name")
@click.option("--yes", is_flag=True, help=_("Do not ask."))
@click.pass_obj
def rm(door: Door, name: str, yes: bool) -> None:
    from tuneloop.collect import dataset as verb

    workspace = door.workspace()
    found = verb.find(workspace, name)
    users = verb.trained_on(workspace, found)
    if users:
        door.say(
            "[yellow]"
            + _("Versions trained on it lose their lineage: {ids}").format(ids=", ".join(users))
            + "[/yellow]"
        )
    if not yes:
        click.confirm(_("Remove {path}?").format(path=found.folder), abort=True, err=True)
    again = verb.command(found)
    verb.remove(workspace, found)
    door.say(_("Removed. To build it again: {command}").format(command=escape(again)))
    door.result({"removed": found.folder.name, "again": again, "versions": users})


def show_card(door: Door, card: dict[str, Any]) -> None:
    """What a build found, what it left out and why, and how the rest does."""
    from tuneloop.collect import labels
    from tuneloop.collect.score import describe

    counts = card["counts"]
    kept = sum(counts.values())
    left_out = card["read"] - kept
    door.say(
        "[bold]"
        + _("{name}: {read} examples = {kept} kept + {out} left out").format(
            name=escape(card["name"]), read=card["read"], kept=kept, out=left_out
        )
        + "[/bold]"
    )
    if card["rejected"]:
        listed = sorted(card["rejected"].items(), key=lambda item: (-item[1], item[0]))
        door.table(
            "", (_("left out because"), _("examples")), [(labels.reason(code), n) for code, n in listed], right=(1,)
        )
    rows = [
        (_("train / validation / test"), " / ".join(str(counts[p]) for p in ("train", "validation", "test"))),
        (_("speakers"), escape(", ".join(s["name"] or s["id"] for s in card["speakers"]))),
        (_("dialogues"), card["dialogues"]),
        (_("linked by"), ", ".join(f"{labels.edge(code)} {n}" for code, n in card["edges"].items())),
        (_("languages"), ", ".join(f"{code} {n}" for code, n in card["languages"].items())),
        (
            _("personal data removed"),
            ", ".join(f"{labels.kind(code)} {n}" for code, n in card["scrubbed"].items()) or _("none found"),
        ),
        (_("topics"), "; ".join(escape(t["name"]) for t in card["topics"][:6]) or _("too few examples")),
        (_("pass all rules"), f"{card['rule_pass_rate']:.1%}"),
    ]
    door.table("", ("", ""), rows)
    worst = [(rule, rate) for rule, rate in sorted(card["rules"].items(), key=lambda item: item[1])[:3] if rate < 1]
    if worst:
        texts = describe()
        rows = [(texts.get(rule, rule), f"{1 - rate:.1%}") for rule, rate in worst]
        door.table("", (_("rules failed most"), _("examples")), rows, right=(1,))


def show_outcome(door: Door, outcome: Outcome) -> None:
    """Findings with their lines, then errors, warnings and the minimum apart from each other."""
    if outcome.findings:
        rows = [
            (
                f.line or "",
                f"[red]{_('error')}[/red]" if f.level == "error" else f"[yellow]{_('warning')}[/yellow]",
                escape(f.message),
                escape(f.fix),
            )
            for f in outcome.findings[:60]
        ]
        door.table(_("Findings"), (_("line"), "", _("what is wrong"), _("how to mend it")), rows, right=(0,))
        hidden = outcome.codes.total() - len(rows)
        if hidden > 0:
            listed = ", ".join(f"{code} {n}" for code, n in sorted(outcome.codes.items()))
            door.say(_("... and {n} more; in all: {listed}").format(n=hidden, listed=listed))
    limit = outcome.limits
    facts = [
        (_("checked for"), f"{outcome.title}, {outcome.model} ({limit['since']})"),
        (_("errors"), outcome.errors),
        (_("warnings"), outcome.warnings),
        (_("examples"), f"{outcome.examples} " + _("(at least {n} needed)").format(n=limit["minimum"])),
        (_("turns in an example"), f"{outcome.messages_min} - {outcome.messages_max}"),
        (_("without system / user"), f"{outcome.missing_system} / {outcome.missing_user}"),
        (_("tokens, estimated"), f"{outcome.tokens} ({outcome.tokens_min} - {outcome.tokens_max})"),
        (_("over {n} tokens").format(n=limit["tokens"]), outcome.over_limit),
    ]
    if outcome.provider == "openai":
        billed = _("{n} x {epochs} epochs").format(n=outcome.billed, epochs=outcome.epochs)
        facts.append((_("billed tokens, estimated"), f"{outcome.billed * outcome.epochs} = {billed}"))
    door.table(_("Result"), ("", ""), [(a, escape(str(b))) for a, b in facts])
    door.say(escape(outcome.note))
    if not outcome.enough:
        door.say("[yellow]" + _("Too few examples: the provider would refuse the file for that alone.") + "[/yellow]")
    elif outcome.examples < limit.get("advised", 0):
        door.say(_("The provider advises to start with {n} examples.").format(n=limit["advised"]))
    if not outcome.errors:
        door.say("[green]" + _("No errors found.") + "[/green]")
