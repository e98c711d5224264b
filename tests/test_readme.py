"""Every command that a document or a text of the program shows is a command that exists, with options that exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.test_texts import CATALOGUE, sources, update
from tuneloop.cli import main_group

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("README*.md")), ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(tuneloop [^`\n]+)`")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


def command_lines(text: str) -> Iterator[str]:
    """Lines of a shell block that call tuneloop, without prompts, comments and variables in front."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words and words[0] == "tuneloop":
            yield shlex.join(words)


def problem(line: str) -> str | None:
    """What is wrong with a shown command line, None when nothing is. Values are not looked up, only their kind is."""
    words = shlex.split(line)[1:]
    command: click.Command = main_group
    context = click.Context(command, info_name="tuneloop")
    while True:
        try:
            values, words, _order = command.make_parser(context).parse_args(list(words))
        except click.UsageError as said:
            return said.format_message()
        if said_wrong := _wrong_value(command, values, context):
            return said_wrong
        if not isinstance(command, click.Group):
            return f"too many words: {words}" if words else _missing(command, values)
        if not words:
            return None
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command '{words[0]}'"
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)


def _wrong_value(command: click.Command, values: dict[str, object], context: click.Context) -> str | None:
    for parameter in command.params:
        value = values.get(str(parameter.name))
        placeholder = isinstance(value, str) and (value.isupper() or "{" in value)
        left_out = value is None or not isinstance(value, str | int | float | tuple | list)  # click marks some so
        if left_out or placeholder or isinstance(parameter.type, click.Path):
            continue
        try:
            parameter.type_cast_value(context, value)
        except click.BadParameter as said:
            return said.format_message()
    return None


def _missing(command: click.Command, values: dict[str, object]) -> str | None:
    lacking = [p.name for p in command.params if p.required and not values.get(str(p.name))]
    return f"{lacking} is missing" if lacking and not values.get("help") else None


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_shown_commands_exist(path: Path) -> None:
    shown = [line for text in blocks(path, "sh") for line in command_lines(text)]
    assert [f"{line}: {wrong}" for line in shown if (wrong := problem(line))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_named_commands_exist(path: Path) -> None:
    """In running text a command may leave its arguments out, as in "`tuneloop gate` decides"."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    wrong = [f"{line}: {said}" for line in INLINE.findall(text) if (said := problem(line)) and "missing" not in said]
    assert wrong == []


def commands_in_texts() -> Iterator[tuple[str, str]]:
    """(command line, the text it is in): what texts of the program tell people to run, in both languages."""
    for message in update.entries(CATALOGUE):
        for text in (*sources(message), *update.forms(message)):
            for line in INLINE.findall(text):
                yield line, text
            bare = re.search(r"(?:with|again|Run|Next|next|like|Выполните|Дальше|заново|run): +(tuneloop [^`(]+)", text)
            if bare:
                for line in re.split(r",? +(?:or|then|или|затем) +|, ", bare[1]):
                    yield line.rstrip(" ."), text


def test_commands_in_texts_exist() -> None:
    shown = list(commands_in_texts())
    assert len(shown) > 50
    wrong = {
        f"{line}: {said}"
        for line, _text in shown
        if line.startswith("tuneloop ") and (said := problem(line)) and "missing" not in said
    }
    assert wrong == set()


@pytest.mark.parametrize(
    "line",
    [
        "tuneloop wash",
        "tuneloop dataset",
        "tuneloop gate --louder",
        "tuneloop dataset validate x.jsonl",
        "tuneloop dataset validate x.jsonl --for nobody",
        "tuneloop serve --port many",
        "tuneloop settings extra",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    assert problem(line) or line == "tuneloop dataset"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = "\n".join(blocks(path, "sh") + blocks(path, "bash"))
    used = {
        word for line in re.findall(r"^make ([\w ]+)", shown, re.MULTILINE) for word in line.split() if word != "ARGS"
    }
    assert used <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_python_shown_is_python(path: Path) -> None:
    for text in blocks(path, "python"):
        ast.parse(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_bodies_sent_with_curl_are_json(path: Path) -> None:
    for text in blocks(path, "bash"):
        for body in re.findall(r"-d '([^']+)'", text):
            assert json.loads(body)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_shown_settings_exist(path: Path) -> None:
    """A tuneloop.toml shown in a document is taken as it is."""
    import tomllib

    import tomlkit

    from tuneloop.answer.book import parse
    from tuneloop.settings import SETTINGS

    known = {setting.name for setting in SETTINGS}
    for text in blocks(path, "toml"):
        tree = tomllib.loads(text)
        settings = {section: keys for section, keys in tree.items() if section not in ("engines", "tasks")}
        assert {f"{section}.{key}" for section, keys in settings.items() for key in keys} <= known
        for task in tree.get("tasks", {}).values():  # a task may be shown without the variants written elsewhere
            original = task.get("original")
            for name in [original] if original and "variants" not in task else []:
                task["variants"] = {"first": {"engine": "local"}, name: {"engine": "local"}}
        parse(tomlkit.dumps(tree).encode(), path.parent)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_named_settings_exist(path: Path) -> None:
    from tuneloop.settings import SETTINGS

    sections = {setting.name.partition(".")[0] for setting in SETTINGS if "." in setting.name}
    known = {setting.name for setting in SETTINGS}
    text = path.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_]+)`", text)
    files = {".json", ".csv", ".jsonl", ".toml", ".py"}
    assert {name for name in named if name not in known and not any(name.endswith(end) for end in files)} == set()
