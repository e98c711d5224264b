"""Which model fits: shapes that are true, sizes as the quantiser makes them, verdicts with both numbers."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.tiny import write_tiny
from tuneloop.errors import BadInput, Damaged
from tuneloop.loop import fit, shapes
from tuneloop.loop.shapes import Shape
from tuneloop.machine import Machine

GB = 10**9
HERE = Machine("a test", 2, 16 * GB, 8 * GB, bandwidth=20e9, gflops=400.0)
ENTRIES = tomllib.loads(shapes.LIST.read_text(encoding="utf-8"))["model"]
# As their authors count them; of the last three to three digits.
PUBLISHED = {
    "Qwen2.5-0.5B-Instruct": 494_032_768, "SmolLM2-135M-Instruct": 134_515_008, "Llama-3.2-1B-Instruct": 1_235_814_400,
    "Gemma-3-1B-it": 999_885_952, "Qwen3-8B": 8.19e9, "SmolLM3-3B": 3.08e9, "Qwen2.5-3B-Instruct": 3.09e9,
}  # fmt: skip


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one["name"])
def test_parameters_follow_from_the_shape(one: dict[str, Any]) -> None:
    hidden, heads, kv = one["hidden"], one["heads"] * one["head_dim"], one["kv_heads"] * one["head_dim"]
    layer = 2 * hidden * heads + 2 * hidden * kv + 3 * hidden * one["intermediate"]
    tables = one["vocabulary"] * hidden * (1 if one.get("tied", True) else 2)
    counted = tables + one["layers"] * layer
    assert counted <= one["parameters"] <= 1.001 * counted, "norms and biases are a thousandth"
    known = PUBLISHED.get(one["name"], one["parameters"])
    assert abs(one["parameters"] - known) <= (0 if isinstance(known, int) else 0.005 * known)
    assert one["licence"] and one["context"] >= 8192


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one["name"])
@pytest.mark.parametrize("quant", shapes.QUANTS)
def test_sizes_are_those_that_the_quantiser_makes(one: dict[str, Any], quant: str) -> None:
    pytest.importorskip("gguf")
    estimate = shapes.listed()[one["name"]].file_bytes(quant)
    assert estimate == pytest.approx(_ruled(one, quant), rel=0.03, abs=8e6)


def _ruled(one: dict[str, Any], quant: str) -> float:
    """Bytes of the tensors by the rule of `tune.quantise`."""
    import gguf

    from tuneloop.tune import quantise

    model = quantise.Model("llama", one["layers"], not one.get("tied", True), one["heads"] != one["kv_heads"])
    hidden, inner = one["hidden"], one["intermediate"]
    heads, kv = one["heads"] * one["head_dim"], one["kv_heads"] * one["head_dim"]
    tensors = {"token_embd.weight": (hidden, one["vocabulary"])}
    if model.has_output:
        tensors["output.weight"] = (hidden, one["vocabulary"])
    for n in range(one["layers"]):
        tensors |= {
            f"blk.{n}.attn_q.weight": (hidden, heads), f"blk.{n}.attn_k.weight": (hidden, kv),
            f"blk.{n}.attn_v.weight": (hidden, kv), f"blk.{n}.attn_output.weight": (heads, hidden),
            f"blk.{n}.ffn_gate.weight": (hidden, inner), f"blk.{n}.ffn_up.weight": (hidden, inner),
            f"blk.{n}.ffn_down.weight": (inner, hidden),
        }  # fmt: skip
    total = 0.0
    for name, (width, rows) in tensors.items():
        kind = gguf.GGMLQuantizationType.F16
        if quant != "f16":
            kind = quantise.type_of(name, width, quant, model)
        values, size = gguf.GGML_QUANT_SIZES[kind]
        total += width * rows * size / values
    return total


def test_names_are_found_as_people_write_them() -> None:
    for name in ("qwen3-0.6b", "Qwen/Qwen3-0.6B", "qwen3:0.6b", "hf.co/Qwen/Qwen3-0.6B"):
        assert shapes.in_list(name) is shapes.listed()["Qwen3-0.6B"]
    assert shapes.in_list("no-such-model") is None and shapes.in_list("") is None
    assert len({s.ollama for s in shapes.listed().values() if s.ollama}) == sum("ollama" in one for one in ENTRIES)
    assert shapes.dated() >= "2026-11-21"


def test_a_window_bounds_the_cache() -> None:
    gemma = shapes.listed()["Gemma-3-1B-it"]
    assert gemma.cache_bytes(512) == 26 * 512 * 2 * 2 * 256
    assert gemma.cache_bytes(8192) == (4 * 8192 + 22 * 512) * 2 * 2 * 256
    qwen = shapes.listed()["Qwen2.5-0.5B-Instruct"]
    assert qwen.cache_bytes(2048) == 24 * 2 * 2 * 64 * 2 * 2048


def shape(**more: Any) -> Shape:
    return replace(shapes.listed()["Qwen3-4B"], **more)


@pytest.mark.parametrize(
    ("here", "free", "verdict", "said"),
    [
        (HERE, 50 * GB, "fits", "fits"),
        (replace(HERE, gflops=5.0), 50 * GB, "slow", "fits, slow"),
        (replace(HERE, memory_free=GB), 50 * GB, "memory now",
         "does not fit now: needs 3.0 GB of memory, 1.0 GB are free"),
        (replace(HERE, memory=2 * GB, memory_free=GB), 50 * GB, "memory",
         "does not fit: needs 3.0 GB of memory, there are 2.0 GB"),
        (HERE, 2 * GB, "disk", "does not fit: needs 2.8 GB of disk, 2.0 GB are free"),
    ],
)  # fmt: skip
def test_a_verdict_names_both_numbers(here: Machine, free: int, verdict: str, said: str) -> None:
    row = fit.judged(shape(), "q4_K_M", here, free)
    assert (row.verdict, row.said) == (verdict, said)
    assert row.fits == (verdict in ("fits", "slow")) and "size" in row.estimated
    assert row.memory > row.size > 2e9 and row.seconds > 0


def test_what_is_here_needs_no_disk_and_its_size_is_no_estimate() -> None:
    row = fit.judged(shape(quant="q4_k", bytes=2_500_000_000), "q4_k", HERE, 1000)
    assert (row.verdict, row.disk, row.size, row.estimated) == ("fits", 0, 2_500_000_000, ("memory", "speed"))


def test_speed_is_bound_by_memory_or_by_cores_and_corrected_by_what_was_measured() -> None:
    bound = fit.generating(4 * GB, 2 * GB, "q4_K_M", replace(HERE, bandwidth=1e9))
    assert bound == pytest.approx(0.5)
    assert fit.generating(4 * GB, 2 * GB, "q4_K_M", HERE) > fit.generating(4 * GB, 8 * GB, "f16", HERE) > 0
    real = {"parameters": 4 * GB, "size": 2 * GB, "quant": "q4_K_M", "tokens_per_second": 3 * bound}
    tiny = real | {"size": 10**6, "tokens_per_second": 9000.0}
    factor, of = fit.calibrated([real, tiny], replace(HERE, bandwidth=1e9))
    assert (factor, of) == (pytest.approx(3.0), 1)
    assert fit.calibrated([], HERE) == (1.0, 0)
    slow, fast = (fit.judged(shape(), "q4_K_M", HERE, 50 * GB, factor=f) for f in (1.0, 2.0))
    assert fast.tokens_per_second == pytest.approx(2 * slow.tokens_per_second, abs=0.1)


def test_the_best_is_the_largest_that_is_quick_enough() -> None:
    rows = [fit.judged(one, "q4_K_M", replace(HERE, memory_free=3 * GB), 50 * GB) for one in shapes.listed().values()]
    best = fit.best(rows)
    assert best and best.parameters == max(row.parameters for row in rows if row.verdict == "fits")
    assert fit.best([row for row in rows if not row.fits]) is None


def test_a_file_tells_its_own_shape(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.gguf")
    found = shapes.of_file(path)
    assert (found.layers, found.hidden, found.kv_heads, found.head_dim) == (1, 32, 2, 16)
    assert (found.vocabulary, found.context, found.quant, found.tied) == (260, 2048, "f32", False)
    assert found.bytes == path.stat().st_size == found.file_bytes("f32") and found.quants == ("f32",)
    assert 26_000 < found.parameters < 28_000
    path.write_bytes(b"GGUF")
    with pytest.raises(Damaged):
        shapes.of_file(path)


def test_a_folder_can_be_packed_in_every_quantisation(demo_base: Path) -> None:
    pytest.importorskip("torch")
    found = shapes.of_folder(demo_base)
    assert found.quants == shapes.QUANTS and found.bytes == 0 and found.parameters > 1e6
    assert found.file_bytes("q4_K_M") < found.file_bytes("q8_0") < found.file_bytes("f16")


def test_an_ollama_tells_what_it_has() -> None:
    told = {
        "details": {"quantization_level": "Q4_K_M"},
        "model_info": {
            "general.architecture": "qwen3", "general.parameter_count": 4_022_468_096, "qwen3.block_count": 36,
            "qwen3.embedding_length": 2560, "qwen3.attention.head_count": 32, "qwen3.attention.head_count_kv": 8,
            "qwen3.attention.key_length": 128, "qwen3.context_length": 40960,
        },
    }  # fmt: skip
    found = shapes.of_ollama("qwen3:4b", told, 2_620_000_000)
    assert (found.quant, found.bytes, found.cache_bytes(1)) == ("q4_k_m", 2_620_000_000, 36 * 8 * 128 * 4)
    assert fit.judged(found, found.quant, HERE, 0).fits
    with pytest.raises(BadInput):
        shapes.of_ollama("x", {"details": {}}, 1)
