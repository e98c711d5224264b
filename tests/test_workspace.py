"""Files and folders that a crash leaves old or new, never half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuneloop.errors import BadInput, Conflict, Missing, OutOfResources
from tuneloop.workspace import (
    FOLDERS,
    Workspace,
    clear_leftover,
    leftovers,
    locate,
    need_disk,
    new_folder,
    open_workspace,
    write_atomically,
    write_json,
)


def test_opening_creates_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no workspace") as caught:
        open_workspace(tmp_path / "w")
    assert "tuneloop collect" in caught.value.fix
    assert not (tmp_path / "w").exists()
    made = open_workspace(tmp_path / "w", create=True)
    assert open_workspace(tmp_path / "w").path == made.path
    assert [made.folder(name).is_dir() for name in FOLDERS] == [True] * len(FOLDERS)


def test_where_the_workspace_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(Path("given")) == tmp_path / "given"
    assert locate(None) == tmp_path / "tuneloop-work"
    monkeypatch.setenv("TUNELOOP_WORKSPACE", str(tmp_path / "configured"))
    assert locate(None) == tmp_path / "configured"
    monkeypatch.delenv("TUNELOOP_WORKSPACE")
    (tmp_path / "tuneloop.toml").write_text("")
    assert locate(None) == tmp_path


def test_lock_is_held_by_one_and_freed_by_death(workspace: Workspace) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tuneloop.workspace import open_workspace\n"
        "with open_workspace(Path(sys.argv[1])).lock('tune'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(workspace.path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match="'tune'"), workspace.lock("tune"):
            pass
        with workspace.lock("other"):
            pass
        holder.kill()
    with workspace.lock("tune"):
        pass


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"я": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "я": [\n    1\n  ]\n}\n'
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    with pytest.raises(OutOfResources, match="cannot be written"):
        write_atomically(tmp_path / "no" / "such" / "folder", "x")
    assert "я" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: writing beyond it fails in the same call."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from tuneloop.errors import OutOfResources\n"
        "from tuneloop.workspace import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), 'x' * 5000)\n"
        "except OutOfResources as problem: print(problem.message, '|', problem.fix)"
    )
    path = tmp_path / "file"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "nothing was changed" in done.stdout
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_folder_appears_finished_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "d"
    with new_folder(final) as staging:
        (staging / "card.json").write_text("1")
        assert not final.exists()
    with pytest.raises(BadInput), new_folder(final) as staging:
        (staging / "card.json").write_text("2")
        raise BadInput("stop")
    assert (final / "card.json").read_text() == "1"
    with new_folder(final) as staging:
        (staging / "other").write_text("3")
    assert [p.name for p in final.iterdir()] == ["other"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


BUILDER = """
import itertools, sys
from pathlib import Path
from tuneloop.workspace import new_folder, write_json
for n in itertools.count(int(sys.argv[2])):
    with new_folder(Path(sys.argv[1])) as staging:
        for k in range(3):
            write_json(staging / f"{k}.json", n)
    print(n, flush=True)
"""


def kill_while_building(tmp_path: Path, kills: int, seed: int) -> None:
    """After each kill the folder is whole, or (between two renames) its only copy is put back by `clear_leftover`."""
    path = tmp_path / "datasets"
    path.mkdir()
    final = path / "d"
    rng = random.Random(seed)
    for turn in range(kills):
        command = [sys.executable, "-c", BUILDER, str(final), str(turn * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as builder:
            assert builder.stdout
            assert builder.stdout.readline()
            time.sleep(rng.random() * 0.05)
            os.kill(builder.pid, signal.SIGKILL)
        for left in leftovers(tmp_path, older_than=-1):
            clear_leftover(left)
        assert len({(final / f"{k}.json").read_text() for k in range(3)}) == 1
        assert [p.name for p in path.iterdir()] == ["d"]


def test_kill_9_leaves_whole_folders(tmp_path: Path) -> None:
    kill_while_building(tmp_path, kills=4, seed=1)


@pytest.mark.soak
def test_200_times_kill_9_leaves_whole_folders(tmp_path: Path) -> None:
    kill_while_building(tmp_path, kills=200, seed=2)


def test_young_leftovers_are_somebodys_work(tmp_path: Path) -> None:
    part = tmp_path / "runs" / ".r.part"
    part.mkdir(parents=True)
    assert leftovers(tmp_path) == []
    os.utime(part, (0, 0))
    assert leftovers(tmp_path) == [part]


def test_replaced_folder_comes_back_only_when_its_successor_never_came(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f".{name}.old").mkdir()
    (tmp_path / "b").mkdir()
    assert clear_leftover(tmp_path / ".a.old") == tmp_path / "a"
    assert clear_leftover(tmp_path / ".b.old") is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_lack_of_disk_is_said_before_the_work(tmp_path: Path) -> None:
    need_disk(tmp_path, 1000)
    need_disk(tmp_path / "not yet there", 1000)
    with pytest.raises(OutOfResources, match="GB of disk are needed"):
        need_disk(tmp_path, 10**18)


def test_a_replacement_killed_half_way_gets_its_old_folder_back(tmp_path: Path) -> None:
    final = tmp_path / "data"
    with new_folder(final) as staging:
        (staging / "card.json").write_text("old")
    final.rename(tmp_path / ".data.old")  # what a kill between the two renames leaves
    with pytest.raises(BadInput), new_folder(final) as staging:
        raise BadInput("the next attempt fails")
    assert (final / "card.json").read_text() == "old"
    with new_folder(final) as staging:
        (staging / "card.json").write_text("new")
    assert (final / "card.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
