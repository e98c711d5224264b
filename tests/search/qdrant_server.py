"""A small server that speaks the part of Qdrant's REST API which photo search uses, as its reference publishes it.

Vectors are compared exactly; `fail` makes it answer 500, `hang` makes it take its time.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np


class Qdrant(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.collections: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        self.fail, self.hang = False, 0.0
        self.turn = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Qdrant
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urlsplit(self.path).path
        time.sleep(self.server.hang)
        with self.server.turn:
            self.server.seen.append(f"{self.command} {path}")
            if self.server.fail:
                status, result = 500, None
            else:
                status, result = self.answered(path, json.loads(body) if body else {})
        said: dict[str, Any] = {"time": 0.001, "status": "ok", "result": result}
        if status != 200:
            said = {"time": 0.001, "status": {"error": str(result)}}
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do  # noqa: N815  the library's names

    def answered(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        held = self.server.collections
        if (self.command, path) == ("GET", "/collections"):
            return 200, {"collections": [{"name": name} for name in held]}
        found = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
        if not found:
            return 404, "Not found"
        name, rest = found[1], found[2] or ""
        if rest == "/exists":
            return 200, {"exists": name in held}
        if self.command == "PUT" and not rest:
            if name in held:
                return 409, f"Wrong input: Collection `{name}` already exists!"
            assert body["vectors"]["distance"] == "Dot"
            held[name] = {"size": body["vectors"]["size"], "points": {}}
            return 200, True
        if name not in held:
            return 404, f"Not found: Collection `{name}` doesn't exist!"
        if self.command == "DELETE" and not rest:
            del held[name]
            return 200, True
        return self.points(held[name], rest, body)

    def points(self, collection: dict[str, Any], rest: str, body: dict[str, Any]) -> tuple[int, Any]:
        points: dict[str, Any] = collection["points"]
        if rest == "/points" and self.command == "PUT":
            for point in body["points"]:
                if len(point["vector"]) != collection["size"]:
                    return 400, "Wrong input: Vector dimension error"
                points[str(uuid.UUID(point["id"]))] = np.array(point["vector"], dtype=np.float32)
            return 200, {"operation_id": 1, "status": "completed"}
        if rest == "/points/delete":
            for one in body["points"]:
                points.pop(one, None)
            return 200, {"operation_id": 1, "status": "completed"}
        if rest == "/points/scroll":
            ids = sorted(one for one in points if one >= (body.get("offset") or ""))
            limit = min(body.get("limit") or 10, 7)  # a page is small, so that there are several
            shown = [{"id": one, "payload": None, "vector": None} for one in ids[:limit]]
            return 200, {"points": shown, "next_page_offset": ids[limit] if len(ids) > limit else None}
        if rest == "/points/query":
            given = body["query"]
            query = np.array(given["nearest"] if isinstance(given, dict) else given, dtype=np.float32)
            near = sorted(((float(v @ query), one) for one, v in points.items()), reverse=True)[: body["limit"]]
            return 200, {"points": [{"id": one, "version": 0, "score": score} for score, one in near]}
        return 404, "Not found"

    def log_message(self, *_said: object) -> None:
        """Tests are quiet."""


@contextmanager
def qdrant() -> Iterator[Qdrant]:
    server = Qdrant()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
