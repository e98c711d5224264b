"""Both languages say the same: every text has its Russian, the catalogue is what the code and the .po file say."""

from __future__ import annotations

import ast
import importlib.util
import json
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tuneloop import texts
from tuneloop.settings import SETTINGS
from tuneloop.texts import _, n_

PACKAGE = Path(__file__).parents[1] / "tuneloop"
# These translate when they show: the help of commands and settings, names of contestants and verdicts are data.
SHOWN_LATER = {"cli/__init__.py", "cli/settings.py", "cli/gate.py", "cli/demo.py", "answer/gate.py"}
Command = Callable[..., subprocess.CompletedProcess[str]]


def load_update() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update", PACKAGE / "locale" / "update.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


update = load_update()
CATALOGUE = update.merged()


def placeholders(text: str) -> set[str]:
    """Names in braces; '{n:.1f}' and '{n}' are the same name."""
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}


def sources(message: Any) -> tuple[str, ...]:
    return message.id if isinstance(message.id, tuple) else (message.id,)


def test_every_text_has_its_russian() -> None:
    assert update.missing(CATALOGUE) == [], "add them to the .po file, then run `make texts`"


def test_no_translation_is_a_guess() -> None:
    assert [m.id for m in update.entries(CATALOGUE) if m.fuzzy] == []


def test_russian_has_the_same_placeholders() -> None:
    """Each form names what the English form names; for plurals the first is that of 1 and 21, the others of many."""
    different = [
        (message.id, form)
        for message in update.entries(CATALOGUE)
        for place, form in enumerate(update.forms(message))
        if placeholders(form) != placeholders(sources(message)[0 if place == 0 else -1])
    ]
    assert different == []


def test_russian_is_russian() -> None:
    """A translation has Cyrillic letters, or is the source text itself (a name, a unit)."""
    odd = [
        (message.id, form)
        for message in update.entries(CATALOGUE)
        for form in update.forms(message)
        if form and form not in sources(message) and not any("а" <= letter <= "я" for letter in form.lower())
    ]
    assert odd == []


def test_russian_keeps_spaces_and_line_ends() -> None:
    uneven = [
        message.id
        for message in update.entries(CATALOGUE)
        for form in update.forms(message)
        if form
        and (form[:1].isspace(), form.count("\n"))
        != (sources(message)[0][:1].isspace(), sources(message)[0].count("\n"))
    ]
    assert uneven == []


def test_catalogue_is_what_the_code_says() -> None:
    assert update.as_po(CATALOGUE) == update.PO.read_bytes(), "run `make texts`"


def test_compiled_catalogue_is_what_the_catalogue_says() -> None:
    assert update.as_mo(update.PO.read_bytes()) == update.MO.read_bytes(), "run `make texts`"


def test_compiled_catalogue_does_not_say_when_it_was_made() -> None:
    assert b"POT-Creation-Date: 2026-01-01 00:00+0000" in update.MO.read_bytes()


def test_a_new_text_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(update.missing(update.merged()))
    found = [*update.texts(), ("a sentence nobody translated", "here.py"), (("{n} new", "{n} new ones"), "here.py")]
    monkeypatch.setattr(update, "texts", lambda: iter(found))
    assert set(update.missing(update.merged())) - before == {
        "a sentence nobody translated",
        "('{n} new', '{n} new ones')",
    }


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(PACKAGE.rglob("*.py")) if "locale" not in p.parts],
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)
def test_texts_can_be_collected(path: Path) -> None:
    """`_(f"...")` and `_(variable)` are never translated: what the collector sees is a literal."""
    if path.relative_to(PACKAGE).as_posix() in SHOWN_LATER:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "n_"):
            said = node.args[: 1 if node.func.id == "_" else 2]
            literal = all(isinstance(text, ast.Constant) and isinstance(text.value, str) for text in said)
            assert literal, f"line {node.lineno}: give the text itself, then .format()"


@pytest.mark.parametrize(
    ("n", "said"),
    [(1, "1 сообщение удалено"), (2, "2 сообщения удалено"), (5, "5 сообщений удалено"), (21, "21 сообщение удалено")],
)
def test_russian_counts_in_three_forms(n: int, said: str) -> None:
    texts.use("ru_RU.UTF-8")
    assert n_("{n} message removed", "{n} messages removed", n).format(n=n) == said


def test_other_languages_get_english() -> None:
    texts.use("de_DE.UTF-8")
    assert _("Which chat") == "Which chat"


def test_help_speaks_russian(tuneloop_command: Command) -> None:
    said = tuneloop_command("--lang", "ru", "--help").stdout
    assert "Команды" in said
    assert "Прочитать экспорт чата" in said


@pytest.mark.parametrize("variables", [{"LANG": "ru_RU.UTF-8"}, {"TUNELOOP_LANG": "ru"}])
def test_language_comes_from_the_environment(tuneloop_command: Command, variables: dict[str, str]) -> None:
    import os

    said = tuneloop_command("--help", env={**os.environ, **variables}).stdout
    assert "Команды" in said


def test_errors_and_their_next_step_are_russian(tuneloop_command: Command) -> None:
    done = tuneloop_command("--lang", "ru", "dataset", "list", code=7)
    assert "ошибка: в" in done.stderr
    assert "нет рабочей папки" in done.stderr
    assert "дальше: Создайте её: tuneloop collect" in done.stderr


def test_settings_are_explained_in_russian(tuneloop_command: Command) -> None:
    said = tuneloop_command("--lang", "ru", "--json", "settings").stdout
    assert "порт; 0" in said
    assert SETTINGS[0].help not in said


def test_a_conversation_has_a_language_of_its_own() -> None:
    """Inside a thread or task only; a process that talks with several people speaks with each in their language."""
    import asyncio

    async def one(language: str) -> list[str]:
        with texts.speaking(language):
            found = []
            for _round in range(3):
                await asyncio.sleep(0)
                found.append(await asyncio.to_thread(texts.language))
            return found

    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(one("ru-RU"), one("en"), one("de"))

    assert asyncio.run(all_at_once()) == [["ru"] * 3, ["en"] * 3, ["en"] * 3]
    assert texts.language() == "en"
    texts.use("ru")
    with texts.speaking("en"):
        assert _("Which chat") == "Which chat"
    assert texts.language() == "ru"


def test_a_thread_may_speak_another_language_for_a_while() -> None:
    """Answers in their question's language must not turn what other threads say, in whatever order they end."""
    import threading

    heard: list[str] = []

    def speak() -> None:
        heard.append(texts.language())

    with texts.speaking("ru"):
        assert texts.language() == "ru" and _("rows") != "rows"
        with texts.speaking("en-GB"):
            assert texts.language() == "en" and n_("{n} row", "{n} rows", 2) == "{n} rows"
        other = threading.Thread(target=speak)
        other.start()
        other.join()
    assert heard == ["en"] and texts.language() == "en"


def test_texts_of_others_are_shown_and_not_obeyed() -> None:
    assert texts.visible("\x1b[2J\x9b1m\u202eab\u200f c\td\r\ne\r") == "\u241b[2J\ufffd1m\ufffdab c\td\ne\u240d"
    assert texts.visible("12\u00a0345 Омск 👨\u200d👩 \udcff") == "12\u00a0345 Омск 👨\u200d👩 \ufffd"
    document = json.dumps({"a": "\x1b\x9b\u202e\u2028\x7f\udcff ж"}, ensure_ascii=False)
    written = texts.visible_json(document)
    assert json.loads(written) == json.loads(document) and "ж" in written and "\x9b" not in written
    written.encode()
