"""What the OpenAPI document says of the errors a route may give."""

from __future__ import annotations

from typing import Any

from tuneloop.gateway.requests import ErrorBody


def answers(*codes: int) -> dict[int | str, dict[str, Any]]:
    """400 to 415 may come from the checks at the door, for every route; `codes` are the route's own."""
    return {code: {"model": ErrorBody} for code in (400, 401, 403, 408, 413, 415, 429, *codes)}
