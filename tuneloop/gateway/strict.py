"""Requests for llama.cpp: checked field by field, because its server trusts the numbers it is sent."""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from tuneloop.gateway.failures import Failure
from tuneloop.gateway.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from tuneloop.texts import _

KINDS: dict[str, type[ChatRequest] | type[CompletionRequest] | type[EmbeddingRequest]] = {
    "/chat/completions": ChatRequest,
    "/completions": CompletionRequest,
    "/embeddings": EmbeddingRequest,
}


def strict_body(path: str, body: bytes, context: int) -> bytes:
    """The same request with only the fields that are listed, each in its bounds. Raises Failure 400 naming the field.

    context: tokens of the model's window.
    """
    try:
        # Lone surrogates, which msgspec refuses and pydantic's own parser lets through, are found here.
        asked = KINDS[path].model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        said = f"{param}: {first['msg']}" if param else first["msg"]
        raise Failure(400, "invalid_value", said, param=param) from None
    try:
        return msgspec.json.encode(asked.for_engine(context))
    except UnicodeEncodeError:
        raise Failure(400, "invalid_value", _("the request has characters that are no text")) from None
