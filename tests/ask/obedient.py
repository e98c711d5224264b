"""A model server on a real port that obeys what stands in a table: it gives the hostile text for every question.

Requests and replies are those of the OpenAI specification of chat completions; a request that is none gets a 400.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Obedient(ThreadingHTTPServer):
    """`says` is every answer; `told` are the texts of all messages that arrived."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says = ""
        self.told: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Obedient

    def log_message(self, format: str, *_args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        models = [{"id": "obedient", "object": "model", "created": 1, "owned_by": "tests"}]
        self._json({"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        messages = body.get("messages", [])
        roles = {message.get("role") for message in messages}
        if self.path != "/v1/chat/completions" or not body.get("model") or not roles <= {"system", "user", "assistant"}:
            said = {"message": "no chat completion", "type": "invalid_request_error", "param": None, "code": None}
            return self._json({"error": said}, 400)
        self.server.told += [str(message["content"]) for message in messages]
        message = {"role": "assistant", "content": self.server.says, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        return self._json(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            }
        )

    def _json(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def obedient() -> Iterator[Obedient]:
    """The server, running in a thread until the block ends."""
    server = Obedient()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
