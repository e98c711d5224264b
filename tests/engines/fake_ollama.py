"""A real HTTP server on a real port that does what Ollama's published specification says, with a model that parrots.

Blobs are stored by digest and verified; `create` streams statuses line by line; errors have Ollama's shape. Faults
can be planted: `fail` answers a path with a status, `cut` breaks a stream off, `slow` makes it wait.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOW = "2025-10-17T23:14:07.414671Z"
COUNTS = {
    "total_duration": 174560334,
    "load_duration": 101397084,
    "prompt_eval_count": 11,
    "prompt_eval_duration": 13074791,
    "eval_count": 3,
    "eval_duration": 52479709,
}


class FakeOllama(ThreadingHTTPServer):
    """`requests` remembers (method, path, body) of everything asked; `models` what was created."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str, Any]] = []
        self.models: dict[str, dict[str, Any]] = {}
        self.loaded: set[str] = set()  # models in memory
        self.blobs: dict[str, bytes] = {}
        self.fail: dict[str, tuple[int, str]] = {}  # path -> (status, words)
        self.cut: set[str] = set()  # paths whose stream ends in the middle
        self.broken: set[str] = set()  # paths whose stream reports an error after it began
        self.slow: dict[str, float] = {}  # path -> seconds before the answer
        self.bytes = 100  # of a model that is pulled

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self, path: str) -> list[Any]:
        return [body for _method, asked, body in self.requests if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeOllama

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        raw = self._body()
        blob = self.path.startswith("/api/blobs/")
        body = raw if blob else json.loads(raw) if raw else None
        self.server.requests.append((method, self.path, len(raw) if blob else body))
        time.sleep(self.server.slow.get(self.path, 0))
        if self.path in self.server.fail:
            status, words = self.server.fail[self.path]
            return self._json({"error": words}, status)
        if blob:
            return self._blob(method, self.path.removeprefix("/api/blobs/"), raw)
        known = {
            ("GET", "/api/version"): lambda: self._json({"version": "0.13.5"}),
            ("GET", "/api/tags"): lambda: self._json({"models": [self._summary(n) for n in self.server.models]}),
            ("GET", "/api/ps"): lambda: self._json({"models": [self._loaded(n) for n in self.server.loaded]}),
            ("POST", "/api/create"): lambda: self._create(body),
            ("POST", "/api/pull"): lambda: self._pull(body),
            ("POST", "/api/copy"): lambda: self._copy(body),
            ("POST", "/api/show"): lambda: self._known(body, self._show),
            ("POST", "/api/generate"): lambda: self._known(body, self._generate),
            ("POST", "/api/chat"): lambda: self._known(body, self._chat),
            ("POST", "/api/embed"): lambda: self._known(body, self._embed),
            ("DELETE", "/api/delete"): lambda: self._known(body, self._delete),
        }.get((method, self.path))
        if known is None:
            return self._json({"error": "not found"}, 404)
        return known()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, content: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, events: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.path in self.server.broken:
            events = [*events[:1], {"error": "an error was encountered while running the model"}]
        if self.path in self.server.cut:
            events = events[:1]
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _blob(self, method: str, digest: str, raw: bytes) -> None:
        if not re.fullmatch(r"sha256[:-][0-9a-f]{64}", digest):
            return self._json({"error": "invalid digest format"}, 400)
        if method == "HEAD":
            return self._json({}, 200 if digest in self.server.blobs else 404)
        if "sha256:" + hashlib.sha256(raw).hexdigest() != digest:
            return self._json({"error": f'digest mismatch, expected "{digest}"'}, 400)
        self.server.blobs[digest] = raw
        return self._json({}, 201)

    def _create(self, body: dict[str, Any]) -> None:
        for digest in body.get("files", {}).values():
            if digest not in self.server.blobs:
                return self._json({"error": f"blob {digest} not found"}, 400)
            if not self.server.blobs[digest].startswith(b"GGUF"):
                return self._json({"error": "unsupported content type: unknown"}, 400)
        if body.get("from") and body["from"] not in self.server.models:
            return self._json({"error": f"model '{body['from']}' not found"}, 404)
        self.server.models[body["model"]] = body
        first = next(iter(body.get("files", {}).values()), "sha256:" + "0" * 64)
        events = [{"status": "parsing GGUF"}, {"status": f"using existing layer {first}"}]
        return self._stream([*events, {"status": "writing manifest"}, {"status": "success"}])

    def _pull(self, body: dict[str, Any]) -> None:
        if body["model"].startswith("no-such"):
            return self._stream([{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}])
        if self.server.bytes < 1 << 50:
            self.server.models[body["model"]] = body
        digest = "sha256:" + "a" * 64
        total = self.server.bytes
        steps = (total // 10, total)
        progress = [{"status": f"pulling {digest}", "digest": digest, "total": total, "completed": n} for n in steps]
        return self._stream([{"status": "pulling manifest"}, *progress, {"status": "success"}])

    def _copy(self, body: dict[str, Any]) -> None:
        if body["source"] not in self.server.models:
            return self._json({"error": f'model "{body["source"]}" not found'}, 404)
        self.server.models[body["destination"]] = self.server.models[body["source"]]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def _known(self, body: dict[str, Any], answer: Any) -> None:
        if body["model"] not in self.server.models:
            return self._json({"error": f"model '{body['model']}' not found"}, 404)
        answer(body)
        return None

    def _summary(self, name: str) -> dict[str, Any]:
        details = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
        details["quantization_level"] = "Q4_0"
        return {"name": name, "model": name, "modified_at": NOW, "size": 1, "digest": "0" * 64, "details": details}

    def _loaded(self, name: str) -> dict[str, Any]:
        details = {"format": "gguf", "family": "llama", "quantization_level": "Q4_K_M"}
        known = {"name": name, "model": name, "digest": "0" * 64, "details": details, "context_length": 4096}
        return known | {"size": 6_654_289_920, "size_vram": 5_333_539_264, "expires_at": NOW}

    def _show(self, body: dict[str, Any]) -> None:
        model = self.server.models[body["model"]]
        info = model.get("model_info", {})
        self._json({"template": model.get("template", ""), "details": {"format": "gguf"}, "model_info": info})

    def _delete(self, body: dict[str, Any]) -> None:
        del self.server.models[body["model"]]
        self._json({})

    def _embed(self, body: dict[str, Any]) -> None:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self._json({"model": body["model"], "embeddings": [[float(len(t)), 0.5] for t in texts]})

    def _generate(self, body: dict[str, Any]) -> None:
        words = ["You ", "said: ", body["prompt"]]
        end = {"done": True, "done_reason": "stop", **COUNTS}
        self._reply(body, [{"response": w} for w in words], {"response": "".join(words)}, {"response": ""} | end)

    def _chat(self, body: dict[str, Any]) -> None:
        words = ["You ", "said: ", body["messages"][-1]["content"]]

        def message(text: str) -> dict[str, Any]:
            return {"message": {"role": "assistant", "content": text}}

        end = {"done": True, "done_reason": "stop", **COUNTS}
        self._reply(body, [message(w) for w in words], message("".join(words)), message("") | end)

    def _reply(
        self, body: dict[str, Any], parts: list[dict[str, Any]], whole: dict[str, Any], end: dict[str, Any]
    ) -> None:
        head = {"model": body["model"], "created_at": NOW}
        if body.get("stream", True):
            self._stream([*(head | part | {"done": False} for part in parts), head | end])
        else:
            self._json(head | end | whole)


@contextmanager
def fake_ollama() -> Iterator[FakeOllama]:
    """The server, running in a thread until the block ends."""
    server = FakeOllama()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
