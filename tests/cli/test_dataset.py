from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.collect import made
from tests.conftest import read_jsonl
from tuneloop.collect import audit, dataset, store
from tuneloop.workspace import Workspace, open_workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small(tmp_path: Path) -> Workspace:
    """A workspace with one dataset of 40 examples; the command line finds it as ./tuneloop-work."""
    workspace = open_workspace(tmp_path / "tuneloop-work", create=True)
    found = made.examples(40)
    dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="small")
    return workspace


def in_terminal(arguments: list[str], keys: list[tuple[str, str]], cwd: Path) -> tuple[str, int]:
    """Run the command in a real pseudo-terminal; for each (awaited text, keys) type the keys when the text shows."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuneloop", *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  Ctrl-C shall be a signal
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(child)
    seen = ""
    fresh = 0
    waiting = list(keys)
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline:
        ready, _w, _x = select.select([parent], [], [], 0.2)
        if ready:
            try:
                seen += os.read(parent, 65536).decode("utf-8", "replace")
            except OSError:
                break
        if waiting and waiting[0][0] in seen[fresh:]:
            fresh = seen.index(waiting[0][0], fresh) + len(waiting[0][0])  # the next text may have come with it
            os.write(parent, waiting.pop(0)[1].encode())
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"still waiting for {waiting[:1]}; shown so far:\n{seen}")
    finally:
        os.close(parent)
    return seen, code


def test_build_from_the_shipped_chat(tuneloop_command: Command, community: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "tuneloop-work", create=True)
    store.import_export(workspace, community)
    said = tuneloop_command("dataset", "build", "--name", "bees", stdin=subprocess.DEVNULL).stdout
    card = json.loads((workspace.path / "datasets" / "bees" / "card.json").read_text())
    kept = sum(card["counts"].values())
    assert f"bees: {card['read']} examples = {kept} kept + {card['read'] - kept} left out" in said
    assert "Choose with --speaker" in said
    again = tuneloop_command("--json", "dataset", "build", "--name", "bees", stdin=subprocess.DEVNULL).stdout
    assert json.loads(again)["id"] == card["id"]


def test_build_asks_whose_answers(community: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "tuneloop-work", create=True)
    store.import_export(workspace, community)
    ranked = store.speakers(workspace, store.chats(workspace)[0][0].id)
    seen, code = in_terminal(
        ["dataset", "build", "--name", "two"],
        [("Whose answers", "99\r"), ("Numbers from 1", ""), ("Whose answers", "1,2\r")],
        tmp_path,
    )
    assert code == 0, seen
    card = json.loads((workspace.path / "datasets" / "two" / "card.json").read_text())
    assert sorted(s["id"] for s in card["speakers"]) == sorted(s.sender for s in ranked[:2])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["dataset", "build"], 7, "tuneloop collect"),
        (["dataset", "build", "--chat", "nowhere"], 7, "tuneloop collect"),
        (["dataset", "show", "nothing"], 7, "no dataset 'nothing'"),
        (["dataset", "audit"], 7, "dataset build"),
        (["dataset", "rm", "nothing", "--yes"], 7, "no dataset"),
    ],
)
def test_an_empty_workspace_says_what_to_do(
    tuneloop_command: Command, workspace: Workspace, arguments: list[str], code: int, said: str
) -> None:
    done = tuneloop_command("-w", workspace.path, *arguments, code=code)
    assert said in done.stderr


def test_an_unknown_chat_is_answered_with_the_known(tuneloop_command: Command, community: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "tuneloop-work", create=True)
    store.import_export(workspace, community)
    done = tuneloop_command("dataset", "build", "--chat", "кухня", code=7)
    assert store.chats(workspace)[0][0].id in done.stderr
    done = tuneloop_command("dataset", "build", "--speaker", "Никто", code=3)
    assert "Никто" in done.stderr


def test_list_and_show(tuneloop_command: Command, small: Workspace) -> None:
    listed = json.loads(tuneloop_command("dataset", "list", "--json").stdout)
    assert [d["name"] for d in listed] == ["small"]
    assert listed[0]["counts"] == {"train": 28, "validation": 4, "test": 8}
    assert "Гаврила Шкив" in tuneloop_command("dataset", "list").stdout
    said = tuneloop_command("dataset", "show").stdout
    assert "small: 40 examples = 40 kept + 0 left out" in said
    shown = json.loads(tuneloop_command("dataset", "show", "small", "--json").stdout)
    assert shown["rule_pass_rate"] == 1.0
    assert shown["audit"]["precision"]["n"] == 0


def test_validate_exit_codes(tuneloop_command: Command, small: Workspace, tmp_path: Path) -> None:
    train = small.path / "datasets" / "small" / "train.jsonl"
    done = tuneloop_command("dataset", "validate", train, "--for", "openai")
    assert "No errors found" in done.stdout
    few = tmp_path / "few.jsonl"
    few.write_bytes(b"".join(train.read_bytes().splitlines(keepends=True)[:5]))
    done = tuneloop_command("dataset", "validate", few, "--for", "openai", code=4)
    assert "No errors found" in done.stdout
    assert "Too few examples" in done.stdout
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"\xef\xbb\xbf" + train.read_bytes().replace(b"\n", b"\r\n"))
    done = tuneloop_command("dataset", "validate", bad, "--for", "openai", "--json", code=5)
    assert json.loads(done.stdout)["codes"] == {"bom": 1, "crlf": 28}
    done = tuneloop_command("dataset", "validate", bad, "--for", "openai", "--fix", code=0)
    assert (tmp_path / "bad.mended.jsonl").read_bytes() == train.read_bytes()
    assert "0 errors and 0 warnings are left" in " ".join(done.stdout.split())
    tuneloop_command("dataset", "validate", few, "--for", "openai", "--model", "gpt-99", code=3)
    tuneloop_command("dataset", "validate", tmp_path / "absent.jsonl", "--for", "openai", code=2)


def test_brackets_in_a_file_do_not_steer_the_screen(tuneloop_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"messages": [{"role": "[red]x[/]", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    done = tuneloop_command("dataset", "validate", path, "--for", "openai", code=5)
    assert "[red]x[/]" in done.stdout


@pytest.mark.parametrize("format_", ["openai", "gemini", "sharegpt", "alpaca", "json", "csv", "parquet"])
def test_export(tuneloop_command: Command, small: Workspace, tmp_path: Path, format_: str) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "out" / "file"
    arguments = ("dataset", "export", "small", "--format", format_, "--split", "all", "--out", out)
    done = tuneloop_command(*arguments, "--json")
    assert json.loads(done.stdout)["examples"] == 40
    assert out.stat().st_size > 1000
    assert json.loads((out.parent / "scrub.json").read_text())["file"]["sha256"]
    tuneloop_command(*arguments, code=8)
    tuneloop_command(*arguments, "--force")


def test_rm_asks_and_says_how_to_get_it_back(tuneloop_command: Command, small: Workspace) -> None:
    tuneloop_command("dataset", "rm", "small", input="n\n", code=130)
    assert dataset.listed(small)
    done = tuneloop_command("dataset", "rm", "small", "--yes")
    assert "dataset build --chat tg:77" in done.stdout
    assert not dataset.listed(small)


def clicks(workspace: Workspace) -> list[str]:
    return [verdict for _e, _r, verdict in audit.judged(workspace, dataset.find(workspace, "small"))]


def test_audit_in_a_terminal(small: Workspace, tmp_path: Path) -> None:
    keys = [("1 of 5", "y"), ("2 of 5", "n"), ("3 of 5", "?"), ("Please press", "s"), ("4 of 5", "u"), ("3 of 5", "1")]
    seen, code = in_terminal(["dataset", "audit", "--n", "5"], [*keys, ("4 of 5", "q")], tmp_path)
    assert code == 0, seen
    assert clicks(small) == ["yes", "no", "yes"]
    assert "2 are left" in seen
    assert "95 % interval" in seen
    first = audit.sample(dataset.find(small, "small"), 1)[0]
    assert first.question[:20] in seen

    seen, code = in_terminal(["dataset", "audit", "--n", "5"], [("4 of 5", "2"), ("5 of 5", "д")], tmp_path)
    assert code == 0, seen
    assert clicks(small) == ["yes", "no", "yes", "no", "yes"], "it went on where it was"
    assert "60.0%" in seen


def test_ctrl_c_keeps_what_was_clicked(small: Workspace, tmp_path: Path) -> None:
    seen, code = in_terminal(["dataset", "audit"], [("1 of 40", "y"), ("2 of 40", "\x03")], tmp_path)
    assert code == 130, seen
    assert clicks(small) == ["yes"]


def test_audit_from_a_pipe_and_as_json(tuneloop_command: Command, small: Workspace) -> None:
    tuneloop_command("dataset", "audit", "small", "--n", "4", "--rater", "мира", input="1\n1\n2")
    done = tuneloop_command("dataset", "audit", "--json", input="1")
    now: dict[str, Any] = json.loads(done.stdout)
    assert (now["precision"]["good"], now["precision"]["n"], now["raters"]) == (2, 3, ["мира"])
    assert clicks(small) == ["yes", "yes", "no"], "--json only reports"


def test_chat_text_cannot_steer_the_terminal(tuneloop_command: Command, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "tuneloop-work", create=True)
    found = [made.example(i, answer=f"[bold]\x1b]0;pwned\x07\x1b[2J {made.example(i).answer}") for i in range(12)]
    dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="small")
    said = tuneloop_command("dataset", "audit", input="5").stdout
    assert "\x1b]0" not in said
    assert "\x1b[2J" not in said
    assert "[bold]" in said


def test_exported_lines_are_the_dataset(tuneloop_command: Command, small: Workspace, tmp_path: Path) -> None:
    tuneloop_command("dataset", "export", "--format", "openai", "--out", tmp_path / "t.jsonl")
    assert read_jsonl(tmp_path / "t.jsonl") == read_jsonl(small.path / "datasets" / "small" / "train.jsonl")
