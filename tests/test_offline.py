"""Without any network: every module is imported, commands answer, a server starts and answers; nobody asks for a name.

Run in a network namespace of its own, where only the loopback address exists, under strace where it is installed: an
audit hook of Python would not see what libraries in C do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.test_exchange import ECHO, task
from tuneloop.workspace import open_workspace, write_atomically

LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
"""
EVERY_MODULE = """
import importlib, pkgutil, tuneloop
known = []
for module in pkgutil.walk_packages(tuneloop.__path__, "tuneloop."):
    if ".migrations." in module.name or module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
        known.append(module.name)
    except ImportError as problem:  # an optional part that is not installed here
        assert "tuneloop" not in (problem.name or ""), problem
assert len(known) > 100, known
"""
A_SERVER_ANSWERS = """
import sys, threading, time, urllib.request
from pathlib import Path
from tuneloop.gateway.app import create
from tuneloop.gateway.server import Server, listen
from tuneloop.workspace import open_workspace
server = Server(create(open_workspace(Path(sys.argv[1])), None), grace=1)
with listen("127.0.0.1", 0) as bound:
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1/chat/completions"
    body = b'{"model": "t", "messages": [{"role": "user", "content": "hi"}]}'
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    assert b'"hi"' in urllib.request.urlopen(asked, timeout=20).read()
    server.should_exit = True
    thread.join()
"""
# An address in a traced call: AF_INET with its port and address, AF_INET6 likewise.
CALLED = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")')


@pytest.fixture
def workspace_folder(tmp_path: Path) -> Path:
    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", ECHO + task("echo"))
    return tmp_path / "w"


def alone(folder: Path, code: str, *arguments: object) -> list[tuple[int, str]]:
    """Run code in a namespace without a network; (port, address) of every call to somewhere else."""
    apart = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*apart, sys.executable, "-c", LOOPBACK_UP], capture_output=True, check=False).returncode
    ):
        pytest.skip("network namespaces are not allowed here")
    log = folder / "calls.log"
    trace = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
    command = [*apart, *(trace if shutil.which("strace") else []), sys.executable, "-c", LOOPBACK_UP + code]
    environment = {k: v for k, v in os.environ.items() if "OFFLINE" not in k and not k.lower().endswith("_proxy")}
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    traced = log.read_text() if log.exists() else ""
    found = [(int(port), four or six) for port, four, six in CALLED.findall(traced)]
    return [(port, address) for port, address in found if port == 53 or address not in ("127.0.0.1", "::1")]


def test_every_module_is_imported_without_a_call_to_anywhere(tmp_path: Path) -> None:
    assert alone(tmp_path, EVERY_MODULE) == []


def test_a_server_starts_and_answers_without_a_network(tmp_path: Path, workspace_folder: Path) -> None:
    assert alone(tmp_path, A_SERVER_ANSWERS, workspace_folder) == []


@pytest.mark.parametrize("words", ["--help", "settings", "tasks list", "doctor"])
def test_commands_answer_without_a_network(tmp_path: Path, workspace_folder: Path, words: str) -> None:
    code = "import runpy, sys; sys.argv[0] = 'tuneloop'\ntry: runpy.run_module('tuneloop', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code, end.code\n"
    assert alone(tmp_path, code, "-w", workspace_folder, *words.split()) == []


def test_a_call_to_elsewhere_would_be_seen(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass\n"
    assert alone(tmp_path, code) == [(80, "192.0.2.1")]
