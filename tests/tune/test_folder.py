from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tune.small_models import build
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.tune.folder import DEMO_BASE, fingerprint, inspect


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build(tmp_path / "base", "qwen3")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_everything_is_known_from_the_headers(base: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = inspect(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    linear = [m for n, m in model.named_modules() if n.endswith("_proj")]
    assert found.linear == sum(m.weight.numel() for m in linear)
    assert (found.shape, found.layers, found.heads, found.kv_heads, found.head_dim) == ("qwen3", 4, 4, 2, 96)
    assert (found.hidden, found.intermediate, found.context) == (256, 512, 512)
    assert found.bytes == (base / "model.safetensors").stat().st_size


def test_the_shipped_base_can_be_tuned() -> None:
    found = inspect(DEMO_BASE)
    assert found.shape == "llama"
    assert found.bytes <= 8 << 20


def test_shards_are_read_through_their_index(base: Path) -> None:
    from transformers import AutoModelForCausalLM

    whole = inspect(base)
    AutoModelForCausalLM.from_pretrained(base).bfloat16().save_pretrained(base, max_shard_size="1MB")
    (base / "model.safetensors").unlink()
    assert len(list(base.glob("model-*.safetensors"))) > 1
    assert inspect(base).parameters == whole.parameters
    next(base.glob("model-00002*")).unlink()
    with pytest.raises(Damaged, match="not in the folder"):
        inspect(base)


def test_an_index_may_not_leave_the_folder(base: Path) -> None:
    (base / "model.safetensors").rename(base.parent / "model.safetensors")
    index = {"weight_map": {"model.embed_tokens.weight": "../model.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Damaged):
        inspect(base)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, BadInput, "'bert'"),
        ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, BadInput, "'mixtral'"),
        ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}, BadInput, "'gemma3'"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, BadInput, "cannot be tuned"),
        ({"quantization_config": {"quant_method": "gptq"}}, BadInput, "quantised"),
        ({"hidden_size": -1}, Damaged, "hidden_size"),
        ({"vocab_size": "many"}, Damaged, "vocab_size"),
        ({"vocab_size": 999}, Damaged, "do not fit"),
    ],
)
def test_models_that_cannot_be_tuned_say_why(
    base: Path, changes: dict[str, Any], error: type[TuneloopError], words: str
) -> None:
    change_config(base, **changes)
    with pytest.raises(error, match=words) as told:
        inspect(base)
    assert told.value.fix


def test_pickles_are_never_an_alternative(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(Hostile, match=r"pytorch_model\.bin"):
        inspect(base)


def test_missing_parts_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no model folder"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"no config\.json"):
        inspect(tmp_path)
    (base / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match="no tokenizer"):
        inspect(base)
    (base / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no model\.safetensors"):
        inspect(base)


@pytest.mark.parametrize("keep", [0, 5, 60, 100_000])
def test_truncated_weights_are_damaged(base: Path, keep: int) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput):
        inspect(base)


@pytest.mark.parametrize("text", ["", "{", "[" * 80_000, "[]"])
def test_a_broken_config_is_one_clear_error(base: Path, text: str) -> None:
    (base / "config.json").write_text(text)
    with pytest.raises(BadInput):
        inspect(base)


def test_the_fingerprint_follows_what_decides_outputs_only(base: Path) -> None:
    before = fingerprint(base)
    (base / "README.md").write_text("new words")
    assert fingerprint(base) == before
    (base / "chat_template.jinja").write_text("other")
    assert fingerprint(base) != before
