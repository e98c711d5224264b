"""Ollama's own HTTP API: hand a GGUF file over, create a model from it, list, pull, chat, embed.

    async with Ollama("http://127.0.0.1:11434") as server:
        await server.create("answers:1a2b", {"model-q8_0.gguf": path}, template=..., watch=...)
        reply = await server.chat("answers:1a2b", [{"role": "user", "content": "hello"}])

Requests and replies follow the published specification (docs/api.md and openapi.yaml of ollama/ollama). Every
failure is an EngineDown, EngineTimeout or EngineError with Ollama's own words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tuneloop.errors import BadInput, EngineDown, EngineError, EngineTimeout, Missing
from tuneloop.progress import Progress, silent
from tuneloop.texts import _

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# host / namespace / model : tag, as Ollama itself reads a name
NAME = re.compile(r"(?:\w[\w.:-]{0,349}/)?(?:\w[\w-]{0,79}/)?\w[\w.-]{0,79}(?::\w[\w.-]{0,79})?", re.ASCII)
PIECE = 1 << 20
USUAL_URL = "http://127.0.0.1:11434"
CONNECT = 5.0  # seconds; a server that needs longer is not there


class Ollama:
    """One Ollama server. `timeout`: seconds without a byte before a request is given up."""

    def __init__(self, url: str = "", *, timeout: float = 300.0, headers: Mapping[str, str] | None = None) -> None:
        self.url = (url or USUAL_URL).rstrip("/")
        limits = httpx.Timeout(timeout, connect=CONNECT)
        # a proxy of the environment must not see local traffic, and a redirect may lead anywhere
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=limits, headers=headers, trust_env=False, follow_redirects=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def version(self) -> str:
        """The server's version. Raises EngineDown when nobody answers there, or something that is not Ollama."""
        try:
            return str((await self._json("GET", "/api/version"))["version"])
        except (KeyError, EngineError, Missing) as problem:
            if isinstance(problem, EngineDown | EngineTimeout):
                raise
            raise EngineDown(
                _("{url} answers, but it is not Ollama").format(url=self.url),
                fix=_("Set pack.ollama_url to the address of Ollama."),
            ) from problem

    async def tags(self) -> list[dict[str, Any]]:
        """The models the server has: name, size, digest, details."""
        return list((await self._json("GET", "/api/tags")).get("models") or [])

    async def running(self) -> list[dict[str, Any]]:
        """The models now in memory."""
        return list((await self._json("GET", "/api/ps")).get("models") or [])

    async def show(self, model: str) -> dict[str, Any]:
        """Template, parameters, details and metadata of a model. Raises Missing when it is not there."""
        return await self._json("POST", "/api/show", {"model": name(model)})

    async def delete(self, model: str) -> None:
        """Remove a model. Raises Missing when it is not there."""
        await self._json("DELETE", "/api/delete", {"model": name(model)})

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises Missing when it is not there."""
        await self._json("POST", "/api/copy", {"source": name(source), "destination": name(destination)})

    async def pull(self, model: str, *, watch: Progress = silent, room: Callable[[int], None] | None = None) -> None:
        """Download a model from Ollama's library; a broken download goes on where it stopped.

        room: called with the bytes that are announced and still to come; what it raises ends the download.
        """
        await self._statuses("/api/pull", {"model": name(model), "stream": True}, watch, room)

    async def create(
        self,
        model: str,
        files: Mapping[str, Path],
        *,
        source: str = "",
        template: str | None = None,
        system: str = "",
        parameters: Mapping[str, Any] | None = None,
        licence: str = "",
        watch: Progress = silent,
    ) -> None:
        """Upload GGUF files (by name) and make a model of them, or of the model `source` that the server has.

        A file the server has is not sent again. Raises BadInput unless it is one of both.
        """
        if bool(files) == bool(source):
            raise BadInput(_("a model is made of a file or of another model"), fix=_("Name one of the two."))
        digests = {short: await self.upload(path, watch=watch) for short, path in files.items()}
        made_of = {"from": name(source)} if source else {"files": digests}
        body: dict[str, Any] = {"model": name(model), **made_of, "stream": True}
        if template is not None:
            body["template"] = template
        if system:
            body["system"] = system
        if parameters:
            body["parameters"] = dict(parameters)
        if licence:
            body["license"] = licence
        await self._statuses("/api/create", body, watch)

    async def upload(self, path: Path, *, watch: Progress = silent) -> str:
        """Send one file as a blob, unless the server has it; returns its digest "sha256:..."."""
        digest = await asyncio.to_thread(_digest, path)
        if await self.has_blob(digest):
            return digest
        size = path.stat().st_size

        async def pieces() -> AsyncIterator[bytes]:
            done = 0
            with path.open("rb") as handle:
                while piece := await asyncio.to_thread(handle.read, PIECE):
                    yield piece
                    done += len(piece)
                    watch(_("upload to Ollama"), done, size)

        # The length in the header makes a cut-off upload an error instead of a short blob.
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        async with self._send("POST", f"/api/blobs/{digest}", content=pieces(), headers=headers):
            return digest

    async def has_blob(self, digest: str) -> bool:
        """Whether the server has this blob. Raises BadInput for anything but "sha256:" and 64 hex digits."""
        if not DIGEST.fullmatch(digest):
            raise BadInput(
                _("'{digest}' is no sha256 digest").format(digest=digest[:100]),
                fix=_("It has to be sha256: and 64 hexadecimal digits."),
            )
        try:
            async with self._send("HEAD", f"/api/blobs/{digest}"):
                return True
        except Missing:
            return False

    async def chat(self, model: str, messages: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """One answer, whole. more: options={"temperature": 0}, format, think, keep_alive, tools."""
        body = {"model": name(model), "messages": [dict(m) for m in messages], "stream": False, **more}
        return await self._json("POST", "/api/chat", body)

    async def chat_stream(
        self, model: str, messages: Sequence[Mapping[str, Any]], **more: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of one answer as they come; the last has done=true and the counts."""
        body = {"model": name(model), "messages": [dict(m) for m in messages], "stream": True, **more}
        async for event in self._events("/api/chat", body):
            yield event

    async def generate(self, model: str, prompt: str, **more: Any) -> dict[str, Any]:
        """One completion, whole. more: options, system, format, raw, suffix, images, keep_alive."""
        return await self._json(
            "POST", "/api/generate", {"model": name(model), "prompt": prompt, "stream": False, **more}
        )

    async def generate_stream(self, model: str, prompt: str, **more: Any) -> AsyncIterator[dict[str, Any]]:
        """The events of one completion as they come."""
        body = {"model": name(model), "prompt": prompt, "stream": True, **more}
        async for event in self._events("/api/generate", body):
            yield event

    async def embed(self, model: str, texts: Sequence[str], **more: Any) -> list[list[float]]:
        """One vector for each text. Raises EngineError when their number differs."""
        reply = await self._json("POST", "/api/embed", {"model": name(model), "input": list(texts), **more})
        vectors = reply.get("embeddings") or []
        if len(vectors) != len(texts):
            raise EngineError(
                _("Ollama sent {got} vectors for {n} texts").format(got=len(vectors), n=len(texts)),
                fix=_("Is {model} a model for embeddings?").format(model=model),
            )
        return list(vectors)

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._send(method, path, json=body) as reply:
            raw = await reply.aread()
        if not raw:
            return {}
        try:
            parsed = json.loads(raw)
        except ValueError as problem:
            raise _wrong(raw) from problem
        if not isinstance(parsed, dict):
            raise _wrong(raw)
        return parsed

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """NDJSON, one event a line, until done=true. A stream that stops before it was cut off."""
        async with self._send("POST", path, json=body) as reply:
            done = False
            async for event in _lines(reply):
                done = bool(event.get("done"))
                yield event
        if not done:
            raise EngineError(
                _("Ollama stopped in the middle of its answer"), fix=_("Ask again; look into Ollama's log.")
            )

    async def _statuses(
        self, path: str, body: dict[str, Any], watch: Progress, room: Callable[[int], None] | None = None
    ) -> None:
        """Long work of the server: statuses line by line, the last one "success"."""
        status = ""
        coming: dict[str, int] = {}  # by digest: each part is announced when its download begins
        async with self._send("POST", path, json=body) as reply:
            async for event in _lines(reply):
                status = str(event.get("status") or status)
                total, digest = event.get("total"), str(event.get("digest") or "")
                if room and digest and isinstance(total, int):
                    known = digest in coming
                    coming[digest] = total - int(event.get("completed") or 0)  # what has come is taken from free
                    if not known:
                        room(sum(coming.values()))
                watch(f"Ollama: {status.split(' sha256:')[0]}", event.get("completed") or 0, total)
        if status != "success":
            raise EngineError(
                _("Ollama ended with '{status}', not with success").format(status=status),
                fix=_("Run the same command again; what was uploaded stays there."),
            )

    @asynccontextmanager
    async def _send(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """One request; the reply is open inside the block. Everything that goes wrong, also while it is read,
        becomes one of our errors."""
        options = {key: value for key, value in options.items() if value is not None}
        try:
            async with self._http.stream(method, path, **options) as reply:
                if reply.status_code >= 300:
                    raise _refusal(reply.status_code, await reply.aread(), self.url)
                yield reply
        except httpx.ConnectTimeout as problem:
            raise self._down(problem) from problem
        except httpx.TimeoutException as problem:
            raise EngineTimeout(
                _("Ollama at {url} did not answer in time").format(url=self.url),
                fix=_("It may still be loading a large model: try again, or take a smaller one."),
            ) from problem
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise self._down(problem) from problem

    def _down(self, problem: Exception) -> EngineDown:
        return EngineDown(
            _("Ollama does not answer at {url}: {problem}").format(url=self.url, problem=problem),
            fix=_("Start it with `ollama serve`, or set pack.ollama_url to its address."),
        )


def name(model: str) -> str:
    """The name itself. Raises BadInput for what Ollama would not take as the name of a model."""
    if not NAME.fullmatch(model):
        raise BadInput(
            _("'{name}' is no name for a model in Ollama").format(name=model[:100]),
            fix=_("Use letters, digits, dots and dashes, e.g. answers:1."),
        )
    return model


def tagged(model: str) -> str:
    """The name with its tag, as Ollama lists it: "bees" is "bees:latest"."""
    return model if ":" in model.rpartition("/")[2] else model + ":latest"


def library(model: str) -> str:
    """The host that Ollama would ask for a model of this name; "" for its own library."""
    parts = name(model).split("/")
    return parts[0] if len(parts) > 2 or (len(parts) == 2 and ("." in parts[0] or ":" in parts[0])) else ""


async def _lines(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as problem:
            raise _wrong(line.encode()) from problem
        if not isinstance(event, dict):
            raise _wrong(line.encode())
        if "error" in event:  # after the first line the status code can no longer say it
            raise _refusal(200, line.encode(), "")
        yield event


def _refusal(code: int, raw: bytes, url: str) -> EngineError | Missing:
    try:
        said = str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError):
        said = raw[:300].decode("utf-8", "replace").strip()
    if code == 404:
        return Missing(
            _("Ollama does not have it: {said}").format(said=said or url),
            fix=_("`ollama list` shows what is there; `ollama pull NAME` fetches a model."),
        )
    return EngineError(
        _("Ollama refused ({code}): {said}").format(code=code, said=said or "?"),
        fix=_("Its log says more: `journalctl -u ollama`, or the window `ollama serve` runs in."),
    )


def _wrong(raw: bytes) -> EngineError:
    return EngineError(
        _("Ollama's answer is not JSON: {said}").format(said=raw[:100].decode("utf-8", "replace")),
        fix=_("Is another program listening at that address?"),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()
