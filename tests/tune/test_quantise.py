"""Quantised files: the bytes of the reference, the mix llama.cpp makes, every key kept, nothing half written."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf as library
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from tests.tune.small_models import build, chats
from tuneloop.errors import BadInput, OutOfResources, TuneloopError
from tuneloop.tune import gguf, native, parity, quantise


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An f16 file of 256-wide rows, beside the folder it was made of."""
    folder = tmp_path_factory.mktemp("half")
    gguf.convert(build(folder / "model", "llama"), folder / "f16.gguf")
    return folder / "f16.gguf"


@pytest.fixture(scope="module")
def trainer(half: Path) -> parity.Trainer:
    return parity.Trainer(half.with_name("model"))


@pytest.mark.parametrize(("quant", "kind"), [("q8_0", Type.Q8_0), ("q4_0", Type.Q4_0), ("q5_0", Type.Q5_0)])
def test_blocks_are_those_of_the_reference_implementation(quant: str, kind: Type) -> None:
    values = np.random.default_rng(0).normal(size=(33, 256)).astype(np.float32)
    values[5] = 0.0
    out = np.empty(library.quant_shape_to_byte_shape(values.shape, kind), dtype=np.uint8)
    native.quantise_rows(native.library(), int(kind), values, out)
    expected = library.quants.quantize(values, kind).view(np.uint8)
    assert np.mean(out == expected) > 0.999  # the two round halves differently
    back = library.quants.dequantize(out, kind)
    assert np.abs(back - values).max() < {"q8_0": 0.02, "q4_0": 0.3, "q5_0": 0.15}[quant]


# KL in nats per token of a random model, which suffers more than a trained one; the next format must be no worse
KL = {"q8_0": 0.005, "q6_K": 0.01, "q5_K_M": 0.02, "q5_0": 0.04, "q4_K_M": 0.08, "q4_0": 0.15}


def test_fewer_bits_are_smaller_and_further_away(half: Path, trainer: parity.Trainer, tmp_path: Path) -> None:
    sizes, distances = [half.stat().st_size], [0.0]
    for quant, limit in KL.items():
        out = tmp_path / f"{quant}.gguf"
        quantise.quantise(half, out, quant, threads=1)
        figures = parity.check(trainer, out, chats(), answers=1, answer_tokens=4)
        assert parity.shortfalls(figures, quant) == []
        assert figures["kl"] < limit
        sizes.append(out.stat().st_size)
        distances.append(figures["kl"])
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * sizes[2]
    assert distances[1] < distances[2] < distances[5] < distances[6]


def test_narrow_rows_fall_back_and_still_agree(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "llama-192")
    gguf.convert(folder, tmp_path / "f16.gguf")
    quantise.quantise(tmp_path / "f16.gguf", tmp_path / "q4.gguf", "q4_K_M", threads=1)
    kinds = {t.name: t.tensor_type for t in library.GGUFReader(tmp_path / "q4.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == Type.Q5_0  # 192 is no multiple of 256
    assert kinds["output.weight"] == Type.Q8_0
    assert kinds["blk.0.ffn_norm.weight"] == Type.F32
    figures = parity.check(parity.Trainer(folder), tmp_path / "q4.gguf", chats(), answers=1, answer_tokens=4)
    assert parity.shortfalls(figures, "q4_K_M") == []


def test_keys_are_kept_but_the_file_type(half: Path, tmp_path: Path) -> None:
    quantise.quantise(half, tmp_path / "q.gguf", "q4_K_M", threads=1)
    before = {k: f.contents() for k, f in library.GGUFReader(half).fields.items()}
    after = {k: f.contents() for k, f in library.GGUFReader(tmp_path / "q.gguf").fields.items()}
    assert before.pop("general.file_type") == library.LlamaFileType.MOSTLY_F16
    assert after.pop("general.file_type") == library.LlamaFileType.MOSTLY_Q4_K_M
    assert before == after


def test_the_same_file_gives_the_same_bytes_with_any_number_of_threads(half: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        quantise.quantise(half, tmp_path / f"{threads}.gguf", "q5_K_M", threads=threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_mix_of_a_model_with_32_layers() -> None:
    """llama.cpp's rule for q4_K_M: first and last eighth and every third layer between get more bits."""
    model = quantise.Model("llama", 32, has_output=True, grouped=True)
    rich = [i for i in range(32) if quantise.type_of(f"blk.{i}.attn_v.weight", 4096, "q4_K_M", model) == Type.Q6_K]
    assert rich == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert rich == [
        i for i in range(32) if quantise.type_of(f"blk.{i}.ffn_down.weight", 14336, "q4_K_M", model) == Type.Q6_K
    ]
    others = {quantise.type_of(f"blk.5.{n}.weight", 4096, "q4_K_M", model) for n in ("attn_q", "attn_k", "ffn_up")}
    assert others == {Type.Q4_K}


@pytest.mark.parametrize(
    ("name", "width", "quant", "output", "kind"),
    [
        ("output.weight", 4096, "q4_K_M", True, Type.Q6_K),
        ("output.weight", 4096, "q8_0", True, Type.Q8_0),
        ("output.weight", 4096, "q4_0", True, Type.Q6_K),
        ("output.weight", 160, "q4_0", True, Type.Q8_0),
        ("token_embd.weight", 4096, "q4_K_M", True, Type.Q4_K),
        ("token_embd.weight", 4096, "q4_K_M", False, Type.Q6_K),
        ("token_embd.weight", 160, "q4_K_M", False, Type.Q8_0),
        ("blk.1.attn_v.weight", 4096, "q4_K_S", True, Type.Q5_K),
        ("blk.4.attn_v.weight", 4096, "q4_K_S", True, Type.Q4_K),
        ("blk.1.ffn_down.weight", 4096, "q5_K_S", True, Type.Q5_K),
        ("blk.1.attn_q.weight", 96, "q5_K_M", True, Type.Q5_1),
        ("blk.1.attn_q.weight", 96, "q6_K", True, Type.Q8_0),
        ("blk.1.attn_q.weight", 40, "q4_K_M", True, Type.F16),
    ],
)
def test_rule_by_rule(name: str, width: int, quant: str, output: bool, kind: Type) -> None:
    model = quantise.Model("llama", 32, has_output=output, grouped=True)
    assert quantise.type_of(name, width, quant, model) == kind


def test_values_of_80_layer_models_get_more_bits() -> None:
    model = quantise.Model("llama", 80, has_output=True, grouped=True)
    kinds = Counter(quantise.type_of(f"blk.{i}.attn_v.weight", 8192, "q4_K_M", model) for i in range(80))
    assert set(kinds) == {Type.Q6_K, Type.Q5_K}


def test_unknown_name_is_refused_with_the_list(half: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="q3_X") as caught:
        quantise.quantise(half, tmp_path / "q.gguf", "q3_X")
    assert "q4_K_M" in caught.value.fix


def test_a_dying_child_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\3\0\0\0 nothing more")
    with pytest.raises(TuneloopError, match="quantising to q8_0 failed"):
        quantise.quantise(tmp_path / "broken.gguf", tmp_path / "q.gguf", "q8_0")
    assert [p.name for p in tmp_path.iterdir()] == ["broken.gguf"]


def test_a_full_disk_is_said_and_leaves_nothing(half: Path, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from tuneloop.tune import quantise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"quantise.quantise(Path({str(half)!r}), Path('q.gguf'), 'q8_0')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "quantising to q8_0 failed" in done.stderr or "disk filled up" in done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutOfResources, match="filled up"):
        quantise._explain(1, "OSError: [Errno 28] No space left on device", "q8_0", tmp_path / "q.gguf")


def test_progress_reaches_the_end(half: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, float, float | None]] = []
    quantise.quantise(half, tmp_path / "q.gguf", "q8_0", watch=lambda s, d, t: seen.append((s, d, t)))
    assert seen[-1][1] == seen[-1][2]
    assert [d for _s, d, _t in seen] == sorted(d for _s, d, _t in seen)
