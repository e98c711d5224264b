"""Full disks and disks that fail: one clear error, nothing acknowledged is lost, and it heals by itself.

Three harms to a server that runs: a file system without room (needs root, for its mount), a limit on the size of files
(works everywhere), and `fdatasync` that fails (strace).
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.gateway.process import Served, serve
from tests.gateway.test_exchange import ASK, ECHO, task
from tuneloop.answer import calls, feedback
from tuneloop.workspace import open_workspace, write_atomically

SMALL = 300_000  # bytes a file may have: the fresh database and its log have 200,000

Harm = Callable[[], None]


def processes(served: Served) -> list[psutil.Process]:
    server = psutil.Process(served.process.pid)
    return [server, *server.children(recursive=True)]


@contextmanager
def no_room(served: Served, folder: Path) -> Iterator[None]:
    """Fill the file system up to its last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as handle:
        for size in (65536, 512):
            try:
                while handle.write(b"x" * size):
                    continue
            except OSError:
                continue
    yield
    ballast.unlink()


@contextmanager
def small_files(served: Served, folder: Path) -> Iterator[None]:
    before = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    for process in processes(served):
        process.rlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    yield
    for process in processes(served):
        process.rlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def failing_sync(served: Served, folder: Path) -> Iterator[None]:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    inject = "inject=fdatasync,fsync:error=EIO"
    command = ["strace", "-f", "-qq", "-o", str(folder / "strace.log"), "-e", inject, "-e", "trace=fdatasync,fsync"]
    with subprocess.Popen([*command, "-p", str(served.process.pid)], stderr=subprocess.PIPE) as strace:
        status = Path(f"/proc/{served.process.pid}/status")
        deadline = time.monotonic() + 10
        while "TracerPid:\t0\n" in status.read_text():
            if strace.poll() is not None or time.monotonic() > deadline:
                pytest.skip("this machine does not allow strace")
            time.sleep(0.02)
        yield
        strace.send_signal(signal.SIGINT)


@contextmanager
def small_file_system(path: Path) -> Iterator[Path]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Clicks:
    """A client that sends one comment after the other and remembers which were taken."""

    def __init__(self, served: Served, call: str) -> None:
        self.served, self.call, self.sent = served, call, 0
        self.taken: set[str] = set()

    def send(self) -> httpx.Response:
        self.sent += 1
        value = f"{self.sent} " + "x" * 5000
        body = {"call": self.call, "kind": "comment", "value": value}
        reply = httpx.post(self.served.url + "/feedback", json=body, trust_env=False, timeout=30)
        if reply.status_code == 200:
            self.taken.add(value)
        return reply


@pytest.mark.parametrize("harm", [no_room, small_files, failing_sync])
def test_a_server_says_507_loses_nothing_and_heals(
    tmp_path: Path, harm: Callable[[Served, Path], Iterator[None]]
) -> None:
    with ExitStack() as stack:
        path = stack.enter_context(small_file_system(tmp_path / "disk")) if harm is no_room else tmp_path
        open_workspace(path / "work", create=True)
        write_atomically(path / "work/tuneloop.toml", ECHO + task("echo"))
        served = stack.enter_context(serve(path / "work"))

        def ask() -> httpx.Response:
            body = ASK | {"messages": [{"role": "user", "content": "x" * 10_000}]}
            return httpx.post(served.url + "/v1/chat/completions", json=body, trust_env=False, timeout=30)

        clicks = Clicks(served, ask().json()["id"])
        assert all(clicks.send().status_code == 200 for _n in range(5))
        asked = 1
        with harm(served, path):
            refused = next(reply for _n in range(400) if (reply := clicks.send()).status_code != 200)
            assert refused.status_code == 507, refused.text
            error = refused.json()["error"]
            assert error["code"] == "out_of_resources" and "disk" in error["message"]
            for _n in range(3):
                assert clicks.send().status_code == 507
                assert ask().status_code == 200  # an answer is not withheld because nobody can write it down
                asked += 1
            for readable in ("/stats", "/health", "/v1/models"):
                assert httpx.get(served.url + readable, trust_env=False, timeout=30).status_code == 200
        deadline = time.monotonic() + 10
        while clicks.send().status_code != 200:
            assert time.monotonic() < deadline, "it did not heal"
            time.sleep(0.1)
        assert all(clicks.send().status_code == 200 for _n in range(5))
        unrecorded = httpx.get(served.url + "/health", trust_env=False, timeout=30).json()["unrecorded"]
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0
        workspace = open_workspace(path / "work")
        stored = [said.value for said in feedback.of_call(workspace, clicks.call)]
        print(f"{len(clicks.taken)} taken, {len(clicks.taken - set(stored))} lost, {unrecorded} calls not recorded")
        assert clicks.taken <= set(stored) and len(stored) == len(set(stored))
        assert calls.count_by_status(workspace) == {"ok": asked - unrecorded}
        assert unrecorded == (3 if harm is no_room else 0)
        assert workspace.db.problems() == []
        workspace.db.close()


COMMANDS = {
    "collect": ("collect", "{community}"),
    "build": ("dataset", "build", "--name", "big"),
    "backup": ("backup", "{tmp}/copy.db"),
    "forget": ("forget", "Глеб Санников", "--yes"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_so_once_and_can_be_given_again(tmp_path: Path, community: Path, name: str) -> None:
    """The workspace of before is there after the failure, and the same command with room does all of its work."""
    work = tmp_path / "work"
    base = [sys.executable, "-m", "tuneloop", "-w", str(work)]

    def run(*arguments: str, limit: int = 0) -> subprocess.CompletedProcess[str]:
        def limited() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        return subprocess.run(
            [*base, *(a.format(community=community, tmp=tmp_path) for a in arguments)], capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, preexec_fn=limited if limit else None,
        )  # fmt: skip

    def content() -> dict[str, object]:
        workspace = open_workspace(work)
        with workspace.db.read() as rows:
            found = {
                table: rows.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2").all()
                for table in ("chats", "messages", "datasets", "forgotten", "calls")
            }
        assert workspace.db.problems() == []
        workspace.db.close()
        found["files"] = sorted(str(p) for p in (work / "datasets").rglob("*") if p.is_file())  # type: ignore[assignment]
        return dict(found)

    first = ["keys", "create", "first"] if name == "collect" else ["collect", str(community)]
    assert run(*first).returncode == 0
    if name == "forget":
        assert run("dataset", "build", "--name", "held").returncode == 0
    before = content()
    failed = run(*COMMANDS[name], limit=60_000)
    assert failed.returncode == 6, failed.stderr
    assert "Traceback" not in failed.stderr and len(failed.stderr.strip().splitlines()) <= 4
    assert content() == before
    assert not (tmp_path / "copy.db").exists()
    done = run(*COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert content() != before or (tmp_path / "copy.db").exists()
