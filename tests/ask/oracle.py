"""A model server on a real port that knows the right query to every question of the set."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tuneloop.ask import gold


class Oracle(ThreadingHTTPServer):
    """`asked` counts completions; `seconds` before each answer; `status` other than 200 refuses with `words`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = ["oracle"]
        self.asked = 0
        self.seconds = 0.0
        self.status = 200
        self.words = "no"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Oracle

    def log_message(self, format: str, *_args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._json({"data": [{"id": name, "created": 1} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        time.sleep(self.server.seconds)
        if self.server.status != 200:
            return self._json({"error": {"message": self.server.words}}, self.server.status)
        question = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
        said = gold.questions().get(question, "one two three") or "NO"
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        return self._json({"choices": [{"message": {"role": "assistant", "content": said}}], "usage": usage})

    def _json(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def oracle() -> Iterator[Oracle]:
    """The server, running in a thread until the block ends."""
    server = Oracle()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
