"""A chat server of OpenAI's form that judges by a rule of the test: it reads the request as a model would.

`mind(shown, options)`: shown is {name: text} of what stands between the boundaries, options {word: meaning}; it
returns what the model says.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Mind = Callable[[dict[str, str], dict[str, str]], str]


class FakeJudge:
    def __init__(self, mind: Mind, *, status: int = 200) -> None:
        asked = self.asked = []  # type: list[dict[str, Any]]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append(body)
                said = mind(*read(body))
                message = {"role": "assistant", "content": said}
                reply = {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def read(body: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    text = body["messages"][-1]["content"]
    boundary = text.split(" ", 1)[0]
    parts = text.split(boundary + " ")[1:]
    shown = {}
    for part in parts[:-1]:
        name, _line, content = part.partition("\n")
        shown[name] = content.rstrip("\n")
    options = dict(re.findall(r"^([a-z]+) - (.+)$", parts[-1], re.M))
    return shown, options


def by_length(shown: dict[str, str], options: dict[str, str]) -> str:
    """An honest judge of a kind: the longer the answer, the better."""
    words = {meaning: word for word, meaning in options.items()}
    if "answer" in shown:
        marks = ("useless", "poor", "fair", "good", "excellent")
        return words[marks[min(4, len(shown["answer"]) // 20)]]
    one, other = len(shown["first answer"]), len(shown["second answer"])
    best = "both alike" if one == other else "the first answer" if one > other else "the second answer"
    return f"<think>{next(iter(options))}?</think> {words[best].upper()}."


def first_always(shown: dict[str, str], options: dict[str, str]) -> str:
    return next(iter(options))


def gullible(shown: dict[str, str], options: dict[str, str]) -> str:
    """Does whatever the answer tells it to."""
    order = re.search(r"say (\w+)", " ".join(shown.values()))
    return order[1] if order else first_always(shown, options)
