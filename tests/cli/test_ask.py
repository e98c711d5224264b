"""`tuneloop ask` as users run it: a question, clicks, a plot, exit codes, and the menu on a real terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.ask.test_clicks import DEAR, SQL
from tests.ask.test_reply import CSV
from tuneloop import machine
from tuneloop.ask import gold, trials
from tuneloop.ask.table import open_table
from tuneloop.cli.ask_menu import completed, completions, menu
from tuneloop.cli.ask_talk import show_profile, talk
from tuneloop.cli.show import Door, Harmless
from tuneloop.workspace import open_workspace

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def test_an_answer_has_sentence_bars_sql_and_why(tuneloop_command: Command, source: Path) -> None:
    shown = tuneloop_command("ask", source, "average price by city", "--plot", "p.png").stdout
    assert "Mean of price by city: Пермь 215; Омск 200; Тверь 120." in shown
    assert "████" in shown and 'SELECT "city", avg("price")' in shown and "% sure" in shown
    assert (source.parent / "p.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(tuneloop_command("ask", source, "average price by city", "--json").stdout)
    assert found["rows"][0] == ["Пермь", 215.0] and found["chart"]["kind"] == "bars" and found["plot"] is None


def test_exit_codes_tell_abstaining_from_refusing(tuneloop_command: Command, source: Path) -> None:
    assert "Ask for example" in tuneloop_command("ask", source, "what is the weather", code=4).stdout
    assert json.loads(tuneloop_command("ask", source, "what is the weather", "--json", code=4).stdout)["askable"]
    assert "only read" in tuneloop_command("ask", source, "delete all rows", code=5).stdout
    assert "1 to 500" in tuneloop_command("ask", source, " ", code=3).stderr
    assert tuneloop_command("ask", source, "how many rows", "--sql", "SELECT 1", code=2).stdout == ""
    assert "PNG" in tuneloop_command("ask", source, "how many rows", "--plot", "p.jpg", code=3).stderr
    assert source.read_text(encoding="utf-8") == CSV


def test_clicks_beside_the_table(tuneloop_command: Command, source: Path) -> None:
    assert "nothing was asked" in tuneloop_command("ask", source, "--right", code=7).stderr
    tuneloop_command("ask", source, DEAR, code=4)
    assert "nothing to confirm" in tuneloop_command("ask", source, "--right", code=3).stderr
    assert "kept as right: SELECT count(*)" in tuneloop_command("ask", source, "--wrong", SQL).stdout
    found = json.loads(tuneloop_command("ask", source, DEAR.replace("Омске", "Перми"), "--json").stdout)
    assert (found["route"], found["rows"]) == ("confirmed", [[1]])
    kept = json.loads(tuneloop_command("ask", source, "--right", "--json").stdout)["kept"]
    assert kept == [["right", found["sql"]]]
    tuneloop_command("ask", source, "how many rows")
    assert "kept as wrong" in tuneloop_command("ask", source, "--wrong").stdout
    tuneloop_command("ask", source, "how many rows", code=4)
    assert not (source.parent / "tuneloop-work").exists()


def test_clicks_in_the_workspace(tuneloop_command: Command, source: Path, tmp_path: Path) -> None:
    open_workspace(tmp_path / "tuneloop-work", create=True)
    tuneloop_command("ask", source, DEAR, code=4)
    tuneloop_command("ask", source, "--wrong", SQL)
    other = source.with_name("february.csv")
    other.write_text(CSV + "Омск,tea,500,2024-02-01\n", encoding="utf-8")
    assert json.loads(tuneloop_command("ask", other, DEAR, "--json").stdout)["rows"] == [[2]]
    assert not (source.parent / ".tuneloop" / "questions.jsonl").exists()


def test_the_model_of_the_settings(tuneloop_command: Command, source: Path, tmp_path: Path) -> None:
    work = open_workspace(tmp_path / "tuneloop-work", create=True)
    (work.path / "tuneloop.toml").write_text('[ask]\nmodel = "echo/m"\n[engines.echo]\nkind = "echo"\n')
    question = "Mood please: SELECT max(price) - min(price) AS mood FROM t"
    found = json.loads(tuneloop_command("ask", source, question, "--json").stdout)
    assert (found["route"], found["rows"], found["sentence"]) == ("model", [[270]], "mood: 270.")
    (work.path / "tuneloop.toml").write_text('[ask]\nmodel = "other/m"\n')
    assert "other" in tuneloop_command("ask", source, question, code=3).stderr


def test_without_a_terminal_no_menu(tuneloop_command: Command, source: Path) -> None:
    shown = tuneloop_command("ask", source, stdin=subprocess.DEVNULL).stdout
    assert "6 lines = 1 header + 5 loaded" in shown and "Ready questions" not in shown
    assert "Nothing was drawn" in tuneloop_command("ask", source, "how many rows", "--plot", "p.png").stdout
    drawn = tuneloop_command("ask", source, "--sql", "SELECT city, count(*) FROM t GROUP BY 1", "--plot", "s.png")
    assert "written: s.png" in drawn.stdout


def run_menu(source: Path, typed: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    table = open_table(source)
    lines = iter(typed)

    def read(prompt: str) -> str:
        print(prompt, end="")
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    try:
        menu(talk(Door(None, False), table, 5.0, 50), read)
    finally:
        table.close()
    assert next(lines, None) is None, "not everything was read"
    return capsys.readouterr().out


def test_menu_repeats_the_choice_and_goes_back(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    typed = ["9", "x", "", "2", "1", "r", "0", "3", "average price by city", "w", "median price by city"]
    typed += ["delete all rows", "x" * 600, "", "4", "1", "", "0", "1", "5", "", "0"]
    shown = run_menu(source, typed, capsys)
    assert shown.count("Type a number from 0 to 6.") == 2
    assert "→ 2  Ready questions" in shown and "→ 1  How many rows are there?" in shown and "→ Back" in shown
    assert "Number of rows: 5." in shown and "kept as right" in shown and "kept as wrong" in shown
    assert "only read" in shown and "1 to 500" in shown
    assert "6 lines = 1 header + 5 loaded" in shown and "→ End" in shown
    assert (source.parent / "report.html").stat().st_size > 1000


def test_wrong_keys_lose_nothing(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that only begins like one, a question typed at the click, a report over the table itself."""
    monkeypatch.chdir(source.parent)
    typed = ["000001999", "²", "-1", "3", "average price by city", "how many rows", "к", "", "5", "shop.csv"]
    typed += ["5", "none/r.html", "0"]
    shown = run_menu(source, typed, capsys)
    assert shown.count("Type a number from 0 to 6.") == 3 and shown.count("r: right, w: wrong") == 2
    assert "kept as right" in shown and "no name of an HTML page" in shown and "there is no folder" in shown
    assert source.read_text(encoding="utf-8") == CSV and not list(source.parent.glob("*.html"))


@pytest.mark.parametrize("width", [30, 40, 60])
def test_a_narrow_terminal_breaks_no_words(source: Path, width: int) -> None:
    table = open_table(source)
    out = io.StringIO()
    door = Door(None, False, console=Harmless(file=out, width=width, color_system=None, force_terminal=True))
    show_profile(door, table)
    assert "different: 3" in out.getvalue() and "  at least: 80" in out.getvalue()
    typed = iter(["2", "0", "0"])
    menu(talk(door, table, 5.0, 50), lambda _prompt: next(typed))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    at = next(n for n, line in enumerate(lines) if "   4  Which" in line)
    assert width == 60 or lines[at + 1].startswith(" " * 6), lines[at : at + 2]
    table.close()


def test_the_menu_tells_which_model_to_ask(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    assert "No model was tried on this machine yet" in run_menu(source, ["6", "0"], capsys)
    workspace = open_workspace(source.parent / "tuneloop-work", create=True)
    figures = {"asked": 16, "right": 15, "wrong": 1, "question_seconds": 2.0}
    row = trials.Row("far", "m", machine.name(), "openai", "done", 1.0, gold.edition(), 16, **figures)  # type: ignore[arg-type]
    trials.keep(workspace, row)
    shown = run_menu(source, ["6", "0"], capsys)
    assert "far/m" in shown and "15/16" in shown and 'model = "far/m"' in shown


def test_menu_ends_with_the_input_wherever_it_is(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    for typed in ([], ["2"], ["2", "1"], ["3"], ["3", "how many rows", "w"], ["5"], ["4"], ["4", "1"]):
        run_menu(source, typed, capsys)


def test_every_ready_question_is_answered(tuneloop_command: Command, source: Path) -> None:
    for language in ("en", "ru"):
        profile = json.loads(tuneloop_command("--lang", language, "ask", source, "--profile", "--json").stdout)
        answered = [
            tuneloop_command("--lang", language, "ask", source, question, code=None).returncode
            for question in profile["askable"]
        ]
        assert answered and set(answered) == {0}, list(zip(profile["askable"], answered, strict=True))


def test_completion_offers_columns_and_values(source: Path) -> None:
    table = open_table(source)
    words = completions(table.profile)
    assert completed("ПЕ", words) == ["Пермь"] and completed("p", words) == ["price"] and completed("", words) == []


def test_the_menu_on_a_real_terminal(source: Path) -> None:
    """Tab completes, the arrow brings the question back, Ctrl-D ends."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tuneloop", "ask", source.name]
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=source.parent, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < deadline and child.poll() is None, seen
            if select.select([ours], [], [], 0.2)[0]:
                seen += os.read(ours, 65536).decode("utf-8", "replace")
        seen = seen.partition(text)[2]

    try:
        until("Number: ")
        os.write(ours, b"3\n")
        until("? ")
        os.write(ours, b"average pri\t by cit\t\n")
        until("Mean of price by city")
        until("go on) ")
        os.write(ours, b"r\n")
        until("kept as right")
        until("? ")
        os.write(ours, b"\x1b[A\x1b[A\n")
        until("confirmed on")
        until("go on) ")
        os.write(ours, b"\n\n")
        until("Number: ")
        os.write(ours, b"\x04")
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def test_ctrl_c_goes_back_and_then_ends(source: Path) -> None:
    """In a question it stops the question, at the menu the menu; neither says that it would go on."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tuneloop", "ask", source.name]
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=source.parent, env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < deadline and child.poll() is None, seen
            if select.select([ours], [], [], 0.2)[0]:
                seen += os.read(ours, 65536).decode("utf-8", "replace")
        seen = seen.partition(text)[2]

    try:
        until("Number: ")
        os.write(ours, b"3\n")
        until("? ")
        time.sleep(0.5)  # between the prompt and its waiting for keys, CPython loses a signal until the next key
        os.killpg(child.pid, signal.SIGINT)
        until("Stopped.")
        until("Number: ")
        time.sleep(0.5)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(20) == 130
        while select.select([ours], [], [], 0.2)[0]:
            try:
                seen += os.read(ours, 65536).decode("utf-8", "replace")
            except OSError:
                break
        assert "The same command" not in seen
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def test_loading_is_shown_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """On a terminal: a bar with bytes, rows and the time left; the same command afterwards loads it."""
    path = tmp_path / "large.csv"
    line = "".join(f"{n},2024-01-0{n % 9 + 1},word {n % 70},{n / 8}\n" for n in range(1, 5000))
    path.write_text("id,day,name,price\n" + 'x,,"a\n' + "".join([line] * 80))  # a row that only the exact reader takes
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tuneloop", "ask", path.name, "how many rows"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140"}
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment, start_new_session=True
    )
    os.close(theirs)
    seen, deadline = "", time.monotonic() + 60
    try:
        while "reading" not in seen or " rows" not in seen:
            assert time.monotonic() < deadline and child.poll() is None, seen
            if select.select([ours], [], [], 0.2)[0]:
                seen += os.read(ours, 65536).decode("utf-8", "replace")
        assert " MB" in seen and "0:00:" in seen
        os.killpg(child.pid, signal.SIGINT)  # what a terminal does
        while "nothing half-made is left" not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(ours, 65536).decode("utf-8", "replace")
        assert child.wait(20) == 130
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert [p.suffix for p in (tmp_path / ".tuneloop").iterdir()] == [".lock"]
    again = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["rows"] == [[80 * 4999 + 1]]
    assert [p for p in (tmp_path / ".tuneloop").iterdir() if p.name.startswith(".")] == []


def test_what_a_killed_load_left_is_swept_by_the_next(tmp_path: Path, source: Path) -> None:
    open_table(source).close()
    kept = next((tmp_path / ".tuneloop").glob("*.duckdb"))
    mark = kept.name.removesuffix(".duckdb").rpartition(".")[2]
    left = kept.with_name(f".loading-{mark}-killed")
    left.mkdir()
    (left / "table.duckdb").write_bytes(b"half of it")
    source.write_text(CSV + "Пермь,9\n", encoding="utf-8")
    open_table(source).close()
    assert not left.exists()
