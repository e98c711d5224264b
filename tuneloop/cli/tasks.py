"""`tuneloop tasks`: what applications ask for by name, who answers it, and the engines behind; all in tuneloop.toml."""

from __future__ import annotations

import sys
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tuneloop.answer import checks, cleaners, documents
from tuneloop.answer.tasks import Shelf
from tuneloop.cli.show import Door
from tuneloop.errors import BadInput, Missing
from tuneloop.records import Task
from tuneloop.texts import _

ENGINE = click.option("--engine", "is_engine", is_flag=True, help=_("NAME is an engine, not a task."))


@click.group("tasks", help=_("List, show, change, remove and check tasks, their variants and engines."))
def tasks() -> None:
    pass


@tasks.command("list", help=_("All tasks and engines."))
@click.pass_obj
def list_(door: Door) -> None:
    shelf = Shelf(door.workspace())
    rows = []
    for task in shelf.book.tasks.values():
        for number, variant in enumerate(task.variants):
            name = "" if number else task.name
            rows.append((name, variant.name, variant.engine, escape(variant.model), _share(task, variant.weight)))
    columns = (_("task"), _("variant"), _("engine"), _("model"), _("share"))
    door.table(_("Tasks"), columns, rows, right=(4,))
    engines = [(e.name, e.kind, escape(e.url or e.file), e.key_env) for e in shelf.book.engines.values()]
    door.table(_("Engines"), (_("engine"), _("kind"), _("address"), _("key in")), engines)
    folder = shelf.workspace.path
    door.result(
        {
            "tasks": [documents.of_task(task, folder) for task in shelf.book.tasks.values()],
            "engines": [documents.of_engine(engine, folder) for engine in shelf.book.engines.values()],
        }
    )


@tasks.command("show", help=_("Everything about a task, a variant (TASK/VARIANT) or an engine."))
@click.argument("name")
@ENGINE
@click.pass_obj
def show(door: Door, name: str, is_engine: bool) -> None:
    shelf = Shelf(door.workspace())
    if is_engine:
        if name not in shelf.book.engines:
            raise Missing(
                _("there is no engine '{name}'").format(name=name), fix=_("`tuneloop tasks list` shows them.")
            )
        document = documents.of_engine(shelf.book.engines[name], shelf.workspace.path)
    else:
        task, variant = _found(shelf, name)
        document = documents.of_variant(variant) if variant else documents.of_task(task, shelf.workspace.path)
    _tell(door, name, document)


@tasks.command(
    "set",
    help=_(
        "Change a task, a variant (TASK/VARIANT) or an engine; make it when it is not there. Values are TOML or plain "
        "text; KEY= alone takes the key out, parameters.temperature=0 goes one deeper."
    ),
)
@click.argument("name")
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
@ENGINE
@click.pass_obj
def set_(door: Door, name: str, values: tuple[str, ...], is_engine: bool) -> None:
    shelf = Shelf(door.workspace())
    fields = _fields(values)
    document: dict[str, Any]
    if is_engine:
        document = documents.of_engine(shelf.put_engine(name, fields, keep=True), shelf.workspace.path)
    elif "/" in name:
        task, _slash, variant = name.partition("/")
        document = documents.of_variant(shelf.put_variant(task, variant, fields, keep=True))
    else:
        document = documents.of_task(shelf.put_task(name, fields, keep=True), shelf.workspace.path)
    _tell(door, name, document)
    door.say(_("A running server takes this up within two seconds; `tuneloop tasks undo` takes it back."))


@tasks.command("rm", help=_("Remove a task, a variant (TASK/VARIANT) or an engine."))
@click.argument("name")
@ENGINE
@click.pass_obj
def remove(door: Door, name: str, is_engine: bool) -> None:
    shelf = Shelf(door.workspace())
    if is_engine:
        shelf.remove_engine(name)
    elif "/" in name:
        task, _slash, variant = name.partition("/")
        shelf.remove_variant(task, variant)
    else:
        shelf.remove_task(name)
    door.say(_("'{name}' was removed; `tuneloop tasks undo` takes it back.").format(name=escape(name)))
    door.result({"removed": name})


@tasks.command("undo", help=_("Take back the last change; undone twice it is made again."))
@click.pass_obj
def undo(door: Door) -> None:
    book = Shelf(door.workspace()).undo()
    door.say(_("Taken back. Tasks: {names}").format(names=", ".join(book.tasks)))
    door.result({"tasks": list(book.tasks), "engines": list(book.engines)})


@tasks.command("check", help=_("Check tuneloop.toml; with NAME, check an answer as that task does."))
@click.argument("name", required=False)
@click.option("--question", default="", help=_("What was asked."))
@click.option("--answer", help=_("The answer to clean and check."))
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help=_("Read the answer from a file; - for standard input."),
)
@click.pass_obj
def check(door: Door, name: str | None, question: str, answer: str | None, path: Path | None) -> None:
    shelf = Shelf(door.workspace())
    if name is None:
        door.say(_("tuneloop.toml is good. Tasks: {tasks}, engines: {engines}.").format(**_counts(shelf)))
        door.result({"good": True, **_counts(shelf)})
        return
    task, _variant = _found(shelf, name)
    if answer is None:
        if path is None:
            raise click.UsageError(_("give the answer with --answer or --file"))
        answer = _read(path)
    cleaned = cleaners.clean(task.cleaner, answer)
    score, passed = checks.score(task.checks, question, cleaned)
    door.say(escape(cleaned))
    rows = [(escape(rule), _("passed") if good else _("failed")) for rule, good in passed.items()]
    door.table(_("Score {score:.2f}").format(score=score), (_("check"), _("result")), rows)
    door.result({"answer": cleaned, "score": score, "checks": passed})


def _found(shelf: Shelf, name: str) -> tuple[Task, Any]:
    if name not in shelf.book.names:
        raise Missing(_("there is no task '{name}'").format(name=name), fix=_("`tuneloop tasks list` shows them."))
    return shelf.book.names[name]


def _fields(values: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE pairs as a tree."""
    fields: dict[str, Any] = {}
    for pair in values:
        path, equals, written = pair.partition("=")
        if not equals or not path.strip():
            raise click.UsageError(_("'{pair}' is not KEY=VALUE").format(pair=pair))
        *outer, key = path.strip().split(".")
        here = fields
        for name in outer:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise BadInput(_("'{key}' is given twice").format(key=path), fix=_("Give it once."))
        here[key] = _value(written)
    return fields


def _value(written: str) -> Any:
    """What TOML makes of it; the text itself where that is nothing, or a date."""
    if not written:
        return None
    try:
        found = tomllib.loads(f"value = {written}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return written
    plain = found.keys() == {"value"} and not isinstance(found["value"], date | datetime | time)
    return found["value"] if plain else written


def _read(path: Path) -> str:
    data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(_("{path} is not UTF-8 text").format(path=path), fix=_("Save it as UTF-8.")) from None


def _tell(door: Door, name: str, document: dict[str, Any]) -> None:
    rows = [(key, escape(_line(value))) for key, value in document.items() if key != "variants"]
    rows += [(f"variants.{key}", escape(_line(value))) for key, value in document.get("variants", {}).items()]
    door.table(escape(name), (_("key"), _("value")), rows)
    door.result(document)


def _line(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _share(task: Task, weight: float) -> str:
    if task.route != "weighted":
        return task.route
    return f"{weight / sum(v.weight for v in task.variants):.0%}"


def _counts(shelf: Shelf) -> dict[str, int]:
    return {"tasks": len(shelf.book.tasks), "engines": len(shelf.book.engines)}
