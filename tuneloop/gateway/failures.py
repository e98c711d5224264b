"""Every way a request can fail, in the shape OpenAI's clients understand: {"error": {message, type, param, code}}."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import JSONResponse

from tuneloop import errors
from tuneloop.texts import _

# The first class that fits decides; what is not listed is a bug of ours: 500.
STATUS: tuple[tuple[type[errors.TuneloopError], int, str], ...] = (
    (errors.ModelRejected, 422, "model_rejected"),
    (errors.EngineTimeout, 504, "timeout"),
    (errors.EngineDown, 503, "engine_down"),
    (errors.EngineError, 502, "engine_error"),
    (errors.BadInput, 400, "invalid_value"),
    (errors.Missing, 404, "not_found"),
    (errors.Unauthorised, 401, "invalid_api_key"),
    (errors.Refused, 403, "refused"),
    (errors.Conflict, 409, "conflict"),
    (errors.NotEnoughData, 409, "not_enough_data"),
    (errors.TooMany, 429, "rate_limit_exceeded"),
    (errors.Unavailable, 503, "unavailable"),
    (errors.OutOfResources, 507, "out_of_resources"),
)


class Failure(Exception):
    """What a client is told instead of an answer. retry_after: whole seconds, for status 503."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, self.status, headers)


def explained(problem: errors.TuneloopError, *, retry_after: int = 1) -> Failure:
    """One of our errors as an answer; its next step is part of the message."""
    status, code = next(((s, c) for kind, s, c in STATUS if isinstance(problem, kind)), (500, "internal_error"))
    message = f"{problem.message}. {problem.fix}" if problem.fix else problem.message
    asked = math.ceil(getattr(problem, "retry_after", 0.0))
    return Failure(status, code, message, retry_after=asked or (retry_after if status == 503 else 0))


def of_engine(status: int, body: bytes) -> Failure:
    """llama.cpp's refusal as an answer: what it finds wrong with a request is the client's 400."""
    try:
        said = json.loads(body)["error"]
        message, kind = str(said["message"])[:500], str(said.get("type", ""))
    except (ValueError, KeyError, TypeError):
        message, kind = body[:200].decode("utf-8", "replace"), ""
    if kind == "exceed_context_size_error":
        return Failure(400, "context_length_exceeded", message, param="messages")
    if status == 501:  # "this server makes no embeddings": asking again is no help
        return Failure(400, "not_supported", message, param="model")
    if 400 <= status < 500 and status not in (401, 403):
        return Failure(400, "invalid_value", message)
    return Failure(502, "engine_error", _("the model server failed: {said}").format(said=message))
