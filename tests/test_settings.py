"""Every knob: where its value comes from, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneloop import settings
from tuneloop.errors import BadInput


def written(folder: Path, text: str) -> Path:
    (folder / "tuneloop.toml").write_text(text, encoding="utf-8")
    return folder


def test_environment_before_file_before_default(tmp_path: Path) -> None:
    folder = written(tmp_path, "[serve]\nport = 1111\nparallel = 3\n")
    found = settings.load(folder, {"TUNELOOP_SERVE_PORT": "2222"})
    assert (found.integer("serve.port"), found.origin("serve.port")) == (2222, "TUNELOOP_SERVE_PORT")
    assert (found.integer("serve.parallel"), found.origin("serve.parallel")) == (3, "tuneloop.toml")
    assert (found.text("serve.host"), found.origin("serve.host")) == ("127.0.0.1", "default")
    assert settings.load(None, {}).integer("serve.port") == 8090


def test_every_setting_has_help_a_type_and_a_variable() -> None:
    names = [s.name for s in settings.SETTINGS]
    assert len(names) == len(set(names)) == len({s.variable for s in settings.SETTINGS})
    for setting in settings.SETTINGS:
        assert setting.help
        assert isinstance(setting.default, str | int | float | bool)
        assert set(setting.variable) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serve]\nport = 'many'\n", "serve.port"),
        ("[serve]\nport = 1.5\n", "serve.port"),
        ("[serve]\nport = true\n", "serve.port"),
        ("[serve]\ntimeout = nan\n", "serve.timeout"),
        ("[serve]\ntimeout = inf\n", "serve.timeout"),
        ("[serve]\nprot = 1\n", "serve.prot"),
        ("colour = 'red'\n", "colour"),
        ("[serve\n", "cannot be read"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings.load(written(tmp_path, text), {})
    assert said in caught.value.message
    assert caught.value.fix


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "tuneloop.toml").write_bytes(b"lang = '\xff\xfe'")
    with pytest.raises(BadInput, match="cannot be read"):
        settings.load(tmp_path, {})


def test_wrong_variable_is_named() -> None:
    with pytest.raises(BadInput, match="TUNELOOP_SERVE_QUEUE"):
        settings.load(None, {"TUNELOOP_SERVE_QUEUE": "lots"})


def test_obsolete_key_says_what_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.OBSOLETE, "serve.workers", "Use serve.parallel.")
    with pytest.raises(BadInput, match="no longer used") as caught:
        settings.load(written(tmp_path, "[serve]\nworkers = 2\n"), {})
    assert caught.value.fix == "Use serve.parallel."


@pytest.mark.parametrize(("raw", "value"), [("yes", True), ("TRUE", True), ("0", False), ("off", False)])
def test_truth_has_a_few_spellings(monkeypatch: pytest.MonkeyPatch, raw: str, value: bool) -> None:
    flag = settings.Setting("x.flag", False, "a flag")
    monkeypatch.setattr(settings, "SETTINGS", (flag,))
    assert settings.load(None, {"TUNELOOP_X_FLAG": raw}).values["x.flag"] is value
    with pytest.raises(BadInput):
        settings.load(None, {"TUNELOOP_X_FLAG": "perhaps"})


def test_language_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert settings.language_of_environment() == "en"
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    assert settings.language_of_environment() == "ru_RU.UTF-8"
    monkeypatch.setenv("TUNELOOP_LANG", "en")
    assert settings.language_of_environment() == "en"
