"""Several adapters on one base: the right one answers, however the requests are mixed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import gguf
import numpy as np

from tests.engines.tiny import write_tiny
from tuneloop.engines.adapters import AdapterEngine
from tuneloop.engines.engine import Limits
from tuneloop.records import EngineSpec

FAST = Limits(20, 20, 20)
PROMPTS = ["hello there", "he said: her", "the rest of the heap", "where?"]


def write_adapter(path: Path, seed: int) -> Path:
    """A LoRA of rank 4 on two matrices of the tiny model, strong enough to change what it says."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for name in ("blk.0.attn_v.weight", "blk.0.attn_output.weight"):
        writer.add_tensor(f"{name}.lora_a", rng.normal(0, 1, (4, 32)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", rng.normal(0, 1, (32, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


async def said(engine: AdapterEngine, model: str, prompt: str) -> str:
    body = {
        "model": model, "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 12, "temperature": 0, "seed": 1,
    }  # fmt: skip
    reply = await engine.ask("/chat/completions", json.dumps(body).encode(), stream=False, limits=FAST)
    assert reply.status == 200, reply.body
    return str(json.loads(reply.body)["choices"][0]["message"]["content"])


def test_each_request_gets_its_own_adapter(tmp_path: Path) -> None:
    base = write_tiny(tmp_path / "base.gguf")
    adapters = {name: str(write_adapter(tmp_path / f"{name}.gguf", seed)) for seed, name in enumerate("xy", 1)}

    async def scene() -> None:
        alone: dict[tuple[str, str], str] = {}
        for name in ("base", *adapters):
            only = {name: adapters[name]} if name in adapters else {}
            engine = AdapterEngine(EngineSpec("e", "llamacpp", file=str(base), adapters=only, parallel=1))
            for prompt in PROMPTS:
                alone[name, prompt] = await said(engine, name, prompt)
            await engine.close()
        assert len({alone[name, PROMPTS[0]] for name in ("base", *adapters)}) == 3
        mixed = AdapterEngine(EngineSpec("e", "llamacpp", file=str(base), adapters=adapters, parallel=4))
        asked = [(name, prompt) for _round in range(10) for prompt in PROMPTS for name in ("base", *adapters)]
        found: list[str] = []
        for start in range(0, len(asked), 4):
            found += await asyncio.gather(*(said(mixed, *one) for one in asked[start : start + 4]))
        wrong = [one for one, text in zip(asked, found, strict=True) if text != alone[one]]
        assert len(asked) == 120 and wrong == []
        assert {m["id"] for m in await mixed.models()} == {"base", "x", "y"}
        unknown = await mixed.ask("/chat/completions", b'{"model": "z", "messages": []}', stream=False, limits=FAST)
        assert unknown.status == 404 and b"no adapter" in unknown.body
        await mixed.close()

    asyncio.run(scene())
