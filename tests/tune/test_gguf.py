"""Small random models of every family: converted, loaded by llama.cpp, compared with transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import pytest

from tests.tune.small_models import CHATML, FAMILIES, build, chats, make_tokenizer
from tuneloop.errors import BadInput, Damaged, Hostile, Missing
from tuneloop.tune import gguf, gguf_vocab, parity, shapes, weights


def _edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_in_llama_cpp_what_it_says_in_transformers(family: str, tmp_path: Path) -> None:
    folder = build(tmp_path / "model", family)
    out = tmp_path / "model.gguf"
    gguf.convert(folder, out)
    figures = parity.check(parity.Trainer(folder), out, chats(), answers=3, answer_tokens=24)
    assert parity.shortfalls(figures, "f16") == []
    assert figures["tokens_equal"] == figures["template_equal"] == figures["texts_equal"] == 1.0
    assert figures["kl"] < 1e-4
    assert figures["greedy"] > 0.97  # without ties: about one position in a hundred of a random model is one
    assert figures["positions"] > 150


@pytest.mark.parametrize(
    ("family", "name"),
    [("qwen2", "Qwen2Tokenizer"), ("gemma", "GemmaTokenizer"), ("llama-sentencepiece", "LlamaTokenizer")],
)
def test_transformers_own_tokenizer_classes_split_alike(family: str, name: str, tmp_path: Path) -> None:
    """Their classes rebuild the tokenizer by rules of their own; Llama's puts a space only in front of a whole text."""
    folder = build(tmp_path / "model", family, num_hidden_layers=1)
    _edit(folder / "tokenizer_config.json", tokenizer_class=name)
    gguf.convert(folder, tmp_path / "model.gguf")
    trainer = parity.Trainer(folder)
    assert type(trainer.tokenizer).__name__ == name
    figures = parity.check(trainer, tmp_path / "model.gguf", chats(), sequences=2, answers=0)
    assert figures["tokens_equal"] == figures["texts_equal"] == 1.0


def test_keys_say_what_the_configuration_says(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "gemma3")
    gguf.convert(folder, tmp_path / "model.gguf", name="My model")
    fields = {k: f.contents() for k, f in library.GGUFReader(tmp_path / "model.gguf").fields.items()}
    assert fields["general.architecture"] == "gemma3"
    assert fields["general.name"] == "My model"
    assert fields["gemma3.block_count"] == 7
    assert fields["gemma3.attention.sliding_window"] == 48
    assert fields["gemma3.attention.head_count_kv"] == 2
    assert fields["gemma3.rope.freq_base_swa"] == 10000.0
    assert fields["tokenizer.ggml.model"] == "llama"
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.eot_token_id"]] == "<end_of_turn>"
    kinds = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], strict=True))
    assert kinds["<bos>"] == gguf_vocab.CONTROL
    assert kinds["<0x0A>"] == gguf_vocab.BYTE
    assert kinds["<unk>"] in (gguf_vocab.UNKNOWN, gguf_vocab.CONTROL)
    assert kinds["▁"] == gguf_vocab.NORMAL
    assert "add_generation_prompt" in fields["tokenizer.chat_template"]


def test_tied_embedding_is_written_once_and_extra_rows_get_names(tmp_path: Path) -> None:
    gguf.convert(build(tmp_path / "model", "qwen2"), tmp_path / "model.gguf")
    reader = library.GGUFReader(tmp_path / "model.gguf")
    assert "output.weight" not in {t.name for t in reader.tensors}
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert tokens[-5:] == [f"[PAD{len(tokens) - n}]" for n in (5, 4, 3, 2, 1)]
    assert tokens[-6] in make_tokenizer("qwen2", CHATML).get_vocab()


def test_mistral_is_limited_to_its_window_and_says_so(tmp_path: Path) -> None:
    notes = gguf.convert(build(tmp_path / "model", "mistral"), tmp_path / "model.gguf")
    assert any("96 tokens" in note for note in notes)
    assert library.GGUFReader(tmp_path / "model.gguf").fields["llama.context_length"].contents() == 96


def test_rows_of_q_and_k_become_neighbours() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)  # two heads of four
    assert gguf._interleave(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_llama3_slows_down_only_long_waves() -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    shape = shapes.plan(_config("llama", rope_parameters=rope, head_dim=128))
    assert shape.rope_factors is not None
    assert shape.rope_factors[0] == 1.0
    assert shape.rope_factors[-1] == 8.0
    assert np.all(np.diff(shape.rope_factors) >= 0)


def _config(kind: str, **changes: Any) -> dict[str, Any]:
    config = {
        "model_type": kind,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "vocab_size": 100,
        "hidden_act": "gelu_pytorch_tanh" if kind.startswith("gemma") else "silu",
    }
    if kind in ("gemma2", "gemma3_text"):
        config |= {"sliding_window": 64, "head_dim": 64, "query_pre_attn_scalar": 64}
        config |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0} if kind == "gemma2" else {}
    return config | changes


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mixtral", {}, "mixtral"),
        ("phi3", {}, "phi3"),
        ("llama", {"hidden_act": "gelu"}, "gelu"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial"),
        ("llama", {"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope"),
        ("qwen2", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("gemma2", {"attn_logit_softcapping": None}, "soft caps"),
        ("gemma2", {"query_pre_attn_scalar": 144}, "144"),
        ("gemma3_text", {"layer_types": ["full_attention", "full_attention"]}, "order of sliding"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "bidirectional"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused_by_name(kind: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        shapes.plan(_config(kind, **changes))


def test_linear_scaling_and_old_spelling_of_rope() -> None:
    shape = shapes.plan(_config("llama", rope_theta=5e5, rope_scaling={"type": "linear", "factor": 4}))
    assert shape.fields["llama.rope.freq_base"] == 5e5
    assert shape.fields["llama.rope.scaling.type"] == "linear"
    assert shape.fields["llama.rope.scaling.factor"] == 4.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("small"), "llama", num_hidden_layers=1)


def _copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize(
    ("pre", "reason"),
    [
        ({"type": "Whitespace"}, "Whitespace"),
        ({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, "ByteLevel"),
        (
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            },
            "splitting",
        ),
    ],
)
def test_unknown_splitting_is_refused_and_nothing_is_written(
    small: Path, tmp_path: Path, pre: dict[str, Any], reason: str
) -> None:
    folder = _copy(small, tmp_path / "model")
    _edit(folder / "tokenizer.json", pre_tokenizer=pre)
    with pytest.raises(BadInput, match=reason):
        gguf.convert(folder, tmp_path / "model.gguf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_unigram_is_refused(small: Path, tmp_path: Path) -> None:
    folder = _copy(small, tmp_path / "model")
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], "byte_fallback": False}
    _edit(folder / "tokenizer.json", model=unigram, added_tokens=[], pre_tokenizer=None, decoder=None)
    with pytest.raises(BadInput, match="Unigram"):
        gguf.convert(folder, tmp_path / "model.gguf")


def test_missing_and_broken_weights(small: Path, tmp_path: Path) -> None:
    folder = _copy(small, tmp_path / "model")
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[:-10])
    with pytest.raises(Hostile, match="lies about its size"):
        gguf.convert(folder, tmp_path / "model.gguf")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(Missing, match="no safetensors") as caught:
        gguf.convert(folder, tmp_path / "model.gguf")
    assert "pytorch_model.bin" in caught.value.fix
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(Damaged, match="cannot be read"):
        gguf.convert(folder, tmp_path / "model.gguf")
    with pytest.raises(Missing, match=r"config\.json"):
        gguf.convert(tmp_path, tmp_path / "model.gguf")


def _with_tensor(folder: Path, name: str, values: np.ndarray[Any, Any]) -> None:
    from safetensors.numpy import save_file

    kept = {n: t.load() for n, t in weights.folder(folder).items()}
    save_file(kept | {name: values}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "kind", "reason"),
    [
        ("model.layers.0.self_attn.sinks", 1.0, BadInput, "sinks"),
        ("model.layers.0.input_layernorm.bias", 1.0, BadInput, r"input_layernorm\.bias"),
        ("model.layers.0.self_attn.q_proj.weight", 1e6, BadInput, "do not fit into f16"),
        ("model.layers.0.self_attn.q_proj.weight", np.nan, Damaged, "no numbers"),
    ],
)
def test_tensors_that_cannot_be_expressed(
    small: Path, tmp_path: Path, name: str, value: float, kind: type[BadInput], reason: str
) -> None:
    folder = _copy(small, tmp_path / "model")
    shape = (256, 256) if name.endswith("q_proj.weight") else (256,)
    _with_tensor(folder, name, np.full(shape, value, dtype=np.float32))
    with pytest.raises(kind, match=reason):
        gguf.convert(folder, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*.gguf*")) and not list(tmp_path.glob(".*"))


def test_generation_marks_leave_no_trace_in_the_text() -> None:
    tokenizer = make_tokenizer("gpt-2", CHATML)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    before = tokenizer.apply_chat_template(chat, tokenize=False)
    tokenizer.chat_template = gguf_vocab.without_generation_tags(CHATML)
    assert "generation -" not in tokenizer.chat_template
    assert tokenizer.apply_chat_template(chat, tokenize=False) == before


def test_generation_marks_keep_their_white_space() -> None:
    marked = "a\n{% generation %}\nb\n{%- endgeneration -%}\nc{%+ generation %}d{% endgeneration %}"
    plain = gguf_vocab.without_generation_tags(marked)
    assert plain == "a\n{% if true %}\nb\n{%- endif -%}\nc{%+ if true %}d{% endif %}"
