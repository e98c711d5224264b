"""Which class is an engine of which kind."""

from __future__ import annotations

from collections.abc import Callable

from tuneloop.engines.engine import Engine
from tuneloop.engines.openai import OpenAI
from tuneloop.records import EngineSpec


def _ollama(spec: EngineSpec) -> Engine:
    from tuneloop.engines.ollama_engine import OllamaEngine

    return OllamaEngine(spec)


def _adapters(spec: EngineSpec) -> Engine:
    from tuneloop.engines.adapters import AdapterEngine

    return AdapterEngine(spec)


def _echo(spec: EngineSpec) -> Engine:
    from tuneloop.engines.echo import Echo

    return Echo(spec)


KINDS: dict[str, Callable[[EngineSpec], Engine]] = {
    "openai": OpenAI,
    "ollama": _ollama,
    "llamacpp": _adapters,
    "echo": _echo,
}
