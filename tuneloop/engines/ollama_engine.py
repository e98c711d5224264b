"""Ollama as an engine: OpenAI's requests in, its own API out, and back.

Its own API rather than its OpenAI-compatible one, because only there can a request say how large the context is and
how long the model stays in memory. A stream that ends without `"done": true` was cut, whatever the connection says.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from tuneloop.engines.engine import Limits, Reply, Stream
from tuneloop.engines.http import Http
from tuneloop.errors import EngineDown, EngineError
from tuneloop.records import EngineSpec
from tuneloop.texts import _

PROBE = Limits(first=2.0, gap=2.0, total=2.0)
PATHS = {"/chat/completions": "/api/chat", "/completions": "/api/generate", "/embeddings": "/api/embed"}
# Ollama's name of an option for each of OpenAI's
OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty",
    "num_ctx": "num_ctx",
}


class OllamaEngine:
    """One `[engines.NAME]` of kind "ollama". Implements `engine.Engine`."""

    def __init__(self, spec: EngineSpec) -> None:
        self.http = Http(spec.url or "http://127.0.0.1:11434", spec.headers, connect=spec.connect)

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        asked = json.loads(body)
        data = json.dumps(request(path, asked, stream=stream), ensure_ascii=False).encode()
        reply = await self.http.request("POST", PATHS[path], data, limits, stream=stream)
        if reply.pieces is not None:
            return Reply(200, {}, b"", Events(reply.pieces, path, str(asked.get("model", ""))))
        if reply.status != 200:
            return Reply(reply.status, reply.headers, _error(reply.body))
        try:
            whole = json.loads(reply.body)
            translated = completion(path, whole, str(asked.get("model", "")))
        except (ValueError, KeyError, TypeError) as problem:
            raise EngineError(_("Ollama's answer is not understood: {why}").format(why=problem)) from None
        return Reply(200, {}, json.dumps(translated, ensure_ascii=False).encode())

    async def models(self) -> list[dict[str, Any]]:
        reply = await self.http.request("GET", "/api/tags", b"", PROBE)
        if reply.status != 200:
            raise EngineError(_("Ollama refused ({code}): {said}").format(code=reply.status, said=reply.body[:200]))
        listed = []
        for model in json.loads(reply.body).get("models") or []:
            details = model.get("details") or {}
            listed.append(
                {
                    "id": str(model.get("name") or model.get("model")),
                    "size": model.get("size"),
                    "family": details.get("family"),
                    "quantisation": details.get("quantization_level"),
                    "modified": model.get("modified_at"),
                }
            )
        return listed

    async def alive(self) -> bool:
        try:
            return (await self.http.request("GET", "/api/version", b"", PROBE)).status == 200
        except EngineError:
            return False

    async def close(self) -> None:
        await self.http.close()


def request(path: str, asked: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """OpenAI's request as Ollama's. Fields that Ollama has no word for are left out."""
    body: dict[str, Any] = {"model": asked.get("model", ""), "stream": stream}
    if path == "/embeddings":
        size = {"dimensions": asked["dimensions"]} if asked.get("dimensions") is not None else {}
        return {"model": body["model"], "input": asked.get("input", ""), **size}
    options = {theirs: asked[ours] for ours, theirs in OPTIONS.items() if asked.get(ours) is not None}
    if options:
        body["options"] = options
    if asked.get("keep_alive") is not None:
        body["keep_alive"] = asked["keep_alive"]
    form = asked.get("response_format") or {}
    if form.get("type") == "json_object":
        body["format"] = "json"
    elif form.get("type") == "json_schema":
        body["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    if path == "/completions":
        prompt = asked.get("prompt", "")
        return body | {"prompt": prompt if isinstance(prompt, str) else "".join(map(str, prompt[:1]))}
    tools: dict[str, str] = {}
    body["messages"] = [_message(message, tools) for message in asked.get("messages") or []]
    if asked.get("tools"):
        body["tools"] = asked["tools"]
    return body


def completion(path: str, reply: dict[str, Any], model: str) -> dict[str, Any]:
    """Ollama's whole answer as OpenAI's."""
    if path == "/embeddings":
        vectors = reply["embeddings"]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        tokens = reply.get("prompt_eval_count") or 0
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": reply.get("model") or model, "usage": usage}
    known = {"id": "ollama-" + str(time.time_ns()), "created": int(time.time()), "model": reply.get("model") or model}
    choice: dict[str, Any] = {"index": 0, "finish_reason": _finish(reply), "logprobs": None}
    if path == "/completions":
        choice["text"] = reply["response"]
        return known | {"object": "text_completion", "choices": [choice], "usage": _usage(reply)}
    message = reply["message"]
    choice["message"] = {"role": "assistant", "content": message.get("content") or "", "refusal": None}
    if calls := message.get("tool_calls"):
        choice["message"]["tool_calls"] = _tools(calls)
        choice["finish_reason"] = "tool_calls"
    return known | {"object": "chat.completion", "choices": [choice], "usage": _usage(reply)}


class Events(AsyncIterator[bytes]):
    """Ollama's lines of JSON as server-sent events. Raises EngineDown when they stop before "done"."""

    def __init__(self, pieces: Stream, path: str, model: str) -> None:
        self._pieces = pieces
        self._path = path
        self._known = {"id": f"ollama-{time.time_ns()}", "created": int(time.time()), "model": model}
        self._rest = b""
        self._done = self._called = False

    async def __anext__(self) -> bytes:
        while not self._done:
            try:
                self._rest += await self._pieces.__anext__()
            except StopAsyncIteration:
                raise EngineDown(_("Ollama stopped in the middle of its answer")) from None
            *lines, self._rest = self._rest.split(b"\n")
            if events := b"".join(self._event(line) for line in lines if line.strip()):
                return events
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._pieces.aclose()

    def _event(self, line: bytes) -> bytes:
        try:
            heard = json.loads(line)
        except ValueError as problem:
            raise EngineError(_("Ollama's answer is not understood: {why}").format(why=problem)) from None
        if "error" in heard:
            raise EngineError(_("Ollama reports: {said}").format(said=str(heard["error"])[:300]))
        events = b""
        message = heard.get("message") or {}
        text, calls = message.get("content") or heard.get("response") or "", message.get("tool_calls")
        if text or calls:
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            delta: dict[str, Any] = {"content": text} if text else {}
            if calls:
                self._called = True
                delta["tool_calls"] = [call | {"index": i} for i, call in enumerate(_tools(calls))]
            if self._path == "/completions":
                choice["text"] = text
            else:
                choice["delta"] = delta
            events += self._line([choice])
        if heard.get("done"):
            self._done = True
            last: dict[str, Any] = {"index": 0, "finish_reason": "tool_calls" if self._called else _finish(heard)}
            if self._path == "/completions":
                last["text"] = ""
            else:
                last["delta"] = {}
            events += self._line([last]) + self._line([], usage=_usage(heard)) + b"data: [DONE]\n\n"
        return events

    def _line(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        kind = "text_completion" if self._path == "/completions" else "chat.completion.chunk"
        event = self._known | {"object": kind, "choices": choices} | more
        return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def _message(message: dict[str, Any], tools: dict[str, str]) -> dict[str, Any]:
    """tools: names by the id of their call, as heard so far; Ollama knows a result by its tool's name alone."""
    content = message.get("content")
    found: dict[str, Any] = {"role": "system" if message.get("role") == "developer" else message.get("role", "user")}
    if isinstance(content, list):
        found["content"] = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
        images = [str((p.get("image_url") or {}).get("url", "")) for p in content if isinstance(p, dict)]
        inline = [url.partition(",")[2] for url in images if url.startswith("data:")]
        if inline:
            found["images"] = inline
    else:
        found["content"] = content or ""
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [_call(call) for call in calls]
        tools |= {str(call.get("id")): (call.get("function") or {}).get("name", "") for call in calls}
    if name := tools.get(str(message.get("tool_call_id"))):
        found["tool_name"] = name
    return found


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = {}
    return {"function": {"name": function.get("name", ""), "arguments": parsed or {}}}


def _tools(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ollama's arguments are an object, OpenAI's a text of JSON; Ollama names no ids."""
    found = []
    for position, call in enumerate(calls):
        function = call.get("function") or {}
        arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
        named = {"name": function.get("name", ""), "arguments": arguments}
        found.append({"id": f"call_{position}", "type": "function", "function": named})
    return found


def _finish(reply: dict[str, Any]) -> str:
    return "length" if reply.get("done_reason") == "length" else "stop"


def _usage(reply: dict[str, Any]) -> dict[str, int]:
    asked, said = int(reply.get("prompt_eval_count") or 0), int(reply.get("eval_count") or 0)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _error(body: bytes) -> bytes:
    """Ollama's {"error": "words"} in OpenAI's shape."""
    try:
        words = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        words = body[:300].decode("utf-8", "replace")
    return json.dumps({"error": {"message": words, "type": "invalid_request_error", "code": None}}).encode()
