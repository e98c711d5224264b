"""Files of models: fetched whole and sound or not at all, listed, kept while something needs them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import insert

from tests.engines.tiny import write_tiny
from tuneloop import versions
from tuneloop.answer import calls, models
from tuneloop.answer.book import parse
from tuneloop.choose import experiments
from tuneloop.db import tables
from tuneloop.errors import BadInput, Conflict, Damaged, EngineError, Hostile, Missing, OutOfResources, Refused
from tuneloop.records import Call
from tuneloop.workspace import Workspace, open_workspace, write_atomically


class Files(ThreadingHTTPServer):
    """Serves `content` by path; `cut` bytes are sent of a whole one; `leads` redirects."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.leads: dict[str, str] = {}
        self.announced: dict[str, int] = {}  # said to have so many bytes, of which none comes
        self.unannounced: set[str] = set()
        self.ranges: list[str] = []
        self.url = f"http://files.lan:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Files

    def log_message(self, format: str, *_args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if size := self.server.announced.get(self.path):
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            return
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
        if self.path not in self.server.unannounced:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : self.server.cut.pop(self.path, len(data))])


@contextmanager
def file_server() -> Iterator[Files]:
    files = Files()
    thread = threading.Thread(target=files.serve_forever)
    thread.start()
    yield files
    files.shutdown()
    files.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[Files]:
    with file_server() as files:
        yield files


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


def test_what_the_disk_does_not_hold_is_not_begun(
    workspace: Workspace, server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.announced["/vast.gguf"] = 1 << 50
    with pytest.raises(OutOfResources, match="GB of disk are needed"):
        models.fetch(workspace, server.url + "/vast.gguf", limit=1 << 60, resolver=here)
    assert not list(workspace.folder("models").iterdir())
    server.content["/a.gguf"] = tiny(tmp_path)
    server.unannounced.add("/a.gguf")
    monkeypatch.setattr(models, "RESERVE", 1 << 50)
    with pytest.raises(OutOfResources, match="GB of disk are needed"):
        models.fetch(workspace, server.url + "/a.gguf", resolver=here)
    monkeypatch.setattr(models, "RESERVE", 1000)
    assert models.fetch(workspace, server.url + "/a.gguf", resolver=here).exists()


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


OLLAMA = """
[engines.ollama]
kind = "ollama"
url = "http://127.0.0.1:1"

[tasks.t.variants.own]
engine = "ollama"
model = "bees"

[tasks.t.variants.big]
engine = "ollama"
model = "hub.lan/bees/big:7b"
"""


def test_a_model_that_a_variant_or_an_experiment_asks_stays(workspace: Workspace) -> None:
    book = parse(OLLAMA.encode(), workspace.path)
    assert models.engine_model_needed_by(workspace, book, "ollama", "bees:latest") == "the variant t/own"
    assert models.engine_model_needed_by(workspace, book, "ollama", "bees:7b") == ""
    assert models.engine_model_needed_by(workspace, book, "elsewhere", "bees") == ""
    experiments.create(workspace, name="tone", task="t", arms={"a": "own", "b": "big"})
    with pytest.raises(Conflict, match="the experiment tone"):
        models.check_unneeded(workspace, book, "ollama", "hub.lan/bees/big:7b")
    models.check_unneeded(workspace, book, "ollama", "wasps")


def test_everything_is_listed_with_its_last_use(workspace: Workspace, tmp_path: Path) -> None:
    book = parse(OLLAMA.encode(), workspace.path)
    write_tiny(workspace.folder("models") / "a.gguf")
    for n, (model, tenant) in enumerate((("bees", "red"), ("bees:latest", "blue"))):
        known = {"engine": "ollama", "model": model, "tenant": tenant, "task": "t", "variant": "own"}
        calls.write(workspace, Call(f"c{n}", 100.0 + n, "", "ok", {}, "x", 1.0, **known))  # type: ignore[arg-type]
    listing = {"ollama": [{"id": "bees:latest", "size": 7, "family": "llama"}], "far": "nobody answers"}
    file, bees = models.everything(workspace, book, listing)
    assert (file["engine"], file["id"], file["family"], file["used"]) == ("", "a.gguf", "llama", None)
    assert (bees["used"], bees["size"], bees["quantisation"]) == (101.0, 7, None)
    assert bees["needed_by"] == "the variant t/own"
    theirs = models.everything(workspace, book, listing, tenant="red")[1]
    assert (theirs["used"], theirs["needed_by"]) == (100.0, "it is in use"), "a team sees its own use, nobody's names"


def test_adapters_and_packs_stay_too(workspace: Workspace, tmp_path: Path) -> None:
    path = write_tiny(workspace.folder("models") / "style.gguf")
    toml = (
        f'[engines.house]\nkind = "llamacpp"\nfile = "{tmp_path}/x.gguf"\n[engines.house.adapters]\nstyle = "{path}"\n'
    )
    with pytest.raises(Conflict, match="house"):
        models.remove(workspace, "style.gguf", parse(toml.encode(), workspace.path))
    workspace.folder("packs").joinpath("v1").mkdir()
    rows = []
    for n, version in enumerate(("v1", "v2", "v3")):
        file = workspace.folder("packs") / "v1" / f"{version}.gguf"
        write_tiny(file)
        known = {"version": version, "quant": "q8_0", "sha256": "", "bytes": 1, "created": n, "parity": {}}
        rows.append(known | {"path": str(file.relative_to(workspace.path))})
    with workspace.db.write() as connection:
        for row in rows:
            known = {"kind": "chat", "name": "n", "path": "p", "created": row["created"], "meta": {}}
            connection.execute(insert(tables.versions), [{"id": row["version"], "active": False, **known}])
            connection.execute(insert(tables.packs), [row])
    for version in ("v1", "v2"):
        versions._switch(workspace, versions.find(workspace, version), "activated", "")
    book = parse(b"", workspace.path)
    for version, why in (("v2", "active"), ("v1", "rollback")):
        with pytest.raises(Conflict, match=why):
            models.remove(workspace, f"{version}/q8_0", book)
    assert models.remove(workspace, "v3/q8_0", book) > 0
    assert [one["id"] for one in models.files(workspace)] == ["v1/q8_0", "v2/q8_0", "style.gguf"]
    with pytest.raises(Missing):
        models.remove(workspace, "v3/q8_0", book)


def test_a_model_name_cannot_send_ollama_into_the_house(workspace: Workspace) -> None:
    for name in ("10.0.0.1:5000/ns/model", "localhost:11434/a/b", "registry.lan/x/y:1"):
        with pytest.raises(Refused):
            models.check_library(workspace, name, resolver=lambda host, _p: ["10.0.0.1"])
    models.check_library(workspace, "files.lan/ns/model", resolver=here)  # models.allowed_hosts
    for name in ("bees", "bees:7b", "library/bees", "hf.co/ns/model:Q4_K_M"):
        models.check_library(workspace, name, resolver=lambda host, _p: {"hf.co": ["1.1.1.1"]}[host])


def test_two_downloads_do_not_write_one_file(workspace: Workspace, server: Files, tmp_path: Path) -> None:
    server.content["/a.gguf"] = tiny(tmp_path)
    with workspace.lock("fetch"), pytest.raises(Conflict, match="fetch"):
        models.fetch(workspace, server.url + "/a.gguf", resolver=here)
    assert models.fetch(workspace, server.url + "/a.gguf", resolver=here).exists()
