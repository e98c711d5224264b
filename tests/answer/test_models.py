"""Files of models: fetched whole and sound or not at all, listed, kept while something needs them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.engines.tiny import write_tiny
from tuneloop.answer import models
from tuneloop.answer.book import parse
from tuneloop.errors import BadInput, Conflict, Damaged, EngineError, Hostile, Missing, Refused
from tuneloop.workspace import Workspace, open_workspace, write_atomically


class Files(ThreadingHTTPServer):
    """Serves `content` by path; `cut` bytes are sent of a whole one; `leads` redirects."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.leads: dict[str, str] = {}
        self.ranges: list[str] = []
        self.url = f"http://files.lan:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Files

    def log_message(self, format: str, *_args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self.path in self.server.leads:
            self.send_response(302)
            self.send_header("Location", self.server.leads[self.path])
            self.end_headers()
            return
        data = self.server.content.get(self.path)
        if data is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : self.server.cut.pop(self.path, len(data))])


@pytest.fixture
def server() -> Iterator[Files]:
    files = Files()
    thread = threading.Thread(target=files.serve_forever)
    thread.start()
    yield files
    files.shutdown()
    files.server_close()
    thread.join()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", '[models]\nallowed_hosts = "files.lan"\n')
    return open_workspace(tmp_path / "w")


def here(_name: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def tiny(tmp_path: Path) -> bytes:
    return write_tiny(tmp_path / "source.gguf").read_bytes()


def test_a_file_is_fetched_and_goes_on_where_it_broke_off(workspace: Workspace, server: Files, tmp_path: Path) -> None:
    data = tiny(tmp_path)
    server.content["/a.gguf"], server.cut["/a.gguf"] = data, 1000
    with pytest.raises(EngineError, match="broke off"):
        models.fetch(workspace, server.url + "/a.gguf", resolver=here)
    assert models.files(workspace) == []
    path = models.fetch(
        workspace, server.url + "/a.gguf", sha256=hashlib.sha256(data).hexdigest().upper(), resolver=here
    )
    assert path.read_bytes() == data and server.ranges == ["", "bytes=1000-"]
    listed = models.files(workspace)
    assert [(m["id"], m["family"], m["size"], m["needed_by"]) for m in listed] == [("a.gguf", "llama", len(data), "")]
    with pytest.raises(Conflict):
        models.fetch(workspace, server.url + "/a.gguf", resolver=here)


def test_an_inner_address_is_refused_also_behind_a_redirect(
    workspace: Workspace, server: Files, tmp_path: Path
) -> None:
    server.content["/a.gguf"] = tiny(tmp_path)
    with pytest.raises(Refused):
        models.fetch(workspace, f"http://127.0.0.1:{server.server_port}/a.gguf")
    for target in (
        f"http://127.0.0.1:{server.server_port}/a.gguf",
        "http://169.254.169.254/a.gguf",
        "file:///etc/passwd",
    ):
        server.leads["/x.gguf"] = target
        with pytest.raises((Refused, BadInput)):
            models.fetch(
                workspace,
                server.url + "/x.gguf",
                resolver=lambda name, _p: ["127.0.0.1" if name == "files.lan" else name],
            )
    assert server.ranges == [] and models.files(workspace) == []
    server.leads["/loop.gguf"] = "/loop.gguf"
    with pytest.raises(EngineError, match="on and on"):
        models.fetch(workspace, server.url + "/loop.gguf", resolver=here)


def test_what_is_unsound_never_takes_its_name(workspace: Workspace, server: Files, tmp_path: Path) -> None:
    good = tiny(tmp_path)
    server.content |= {"/bad.gguf": b"PK\x03\x04" + b"x" * 5000, "/cut.gguf": good[: len(good) // 2], "/big.gguf": good}
    for name, error, more in (
        ("bad", (Hostile, Damaged), {}), ("cut", (Hostile, Damaged), {}), ("big", BadInput, {"limit": 1000}),
        ("big", Damaged, {"sha256": "0" * 64}), ("none", EngineError, {}),
    ):  # fmt: skip
        with pytest.raises(error):
            models.fetch(workspace, f"{server.url}/{name}.gguf", resolver=here, **more)  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        models.fetch(workspace, server.url + "/pickle.bin", resolver=here)
    assert list(workspace.folder("models").glob("*.gguf")) == []


def test_a_file_that_an_engine_needs_stays(workspace: Workspace, server: Files, tmp_path: Path) -> None:
    server.content["/a.gguf"] = tiny(tmp_path)
    path = models.fetch(workspace, server.url + "/a.gguf", resolver=here)
    toml = f'[engines.house]\nkind = "llamacpp"\nfile = "{path}"\n'
    book = parse(toml.encode(), workspace.path)
    with pytest.raises(Conflict, match="house"):
        models.remove(workspace, "a.gguf", book)
    assert models.remove(workspace, "a.gguf", parse(b"", workspace.path)) > 0
    for name in ("a.gguf", "../tuneloop.toml", "/etc/passwd"):
        with pytest.raises(Missing):
            models.remove(workspace, name, parse(b"", workspace.path))
