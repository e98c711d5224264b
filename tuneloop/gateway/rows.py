"""A call being made: what the hot path fills in and the journal takes."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct):
    """Its fields are the columns of the table `calls`; `request` is the client's JSON, untouched."""

    id: str
    time: float
    kind: str
    request: msgspec.Raw
    version: str = ""
    status: str = "cancelled"
    answer: str = ""
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    user: str = ""
    error: str = ""
    tenant: str = ""
    key: str = ""
    task: str = ""
    variant: str = ""
    engine: str = ""
    model: str = ""
    reason: str = ""
    propensity: float = 1.0
    experiment: str = ""
    arm: str = ""
    cached: bool = False
    attempts: int = 0
    first_ms: float | None = None
    quality: float | None = None
    cost: float = 0.0
    code: str = ""
    tags: dict[str, str] | None = None
    parent: str = ""
