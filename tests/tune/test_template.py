from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.tune.small_models import CHATML, GEMMA, MISTRAL
from tuneloop.errors import BadInput, Hostile
from tuneloop.tune import template


def folder_with(path: Path, text: str) -> Path:
    (path / "chat_template.jinja").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "system"), [(CHATML, True), (GEMMA, True), (MISTRAL, False)])
def test_a_good_template_is_accepted_and_its_system_turn_known(tmp_path: Path, text: str, system: bool) -> None:
    found = template.check(folder_with(tmp_path, text))
    assert (found.text, found.own, found.system) == (text, True, system)


def test_without_a_template_chatml_is_used(tmp_path: Path) -> None:
    found = template.check(tmp_path)
    assert (found.text, found.own, found.system) == (template.CHATML, False, True)


def test_templates_in_tokenizer_config_are_found(tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "one"}), encoding="utf-8")
    assert template.read(tmp_path) == "one"
    named = [{"name": "tool_use", "template": "other"}, {"name": "default", "template": "two"}]
    config.write_text(json.dumps({"chat_template": named}), encoding="utf-8")
    assert template.read(tmp_path) == "two"
    assert template.read(folder_with(tmp_path, "three")) == "three"


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{{ 'x' * 4000000000 }}",
        "{% set n = namespace(s='x') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    ],
)
def test_a_bomb_is_refused_in_seconds(tmp_path: Path, text: str) -> None:
    started = time.monotonic()
    with pytest.raises((Hostile, BadInput)):
        template.check(folder_with(tmp_path, text))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages[0].__class__.__mro__[1].__subclasses__() }}",  # the sandbox's classic
        "{% if %}",
        "nothing of the chat",
        "{{ raise_exception('never') }}",
    ],
)
def test_a_useless_template_is_one_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="cannot render a question and its answer"):
        template.check(folder_with(tmp_path, text))
