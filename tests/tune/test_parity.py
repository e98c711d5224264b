"""The parity check must find what goes wrong in exports: weights, rotation, templates, tokenizers."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune.small_models import build, chats
from tuneloop.answer.packed import Packed
from tuneloop.answer.serving import Model, shaped
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import ModelRejected, OutOfResources, Refused
from tuneloop.records import folded
from tuneloop.tune import gguf, gguf_vocab, native, parity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("parity") / "model", "llama")


@pytest.fixture(scope="module")
def trainer(folder: Path) -> parity.Trainer:
    return parity.Trainer(folder)


def _check(trainer: parity.Trainer, export: Path) -> dict[str, Any]:
    return parity.check(trainer, export, chats(), answers=2, answer_tokens=12)


def test_a_right_export_passes(trainer: parity.Trainer, folder: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    gguf.convert(folder, tmp_path / "m.gguf")
    figures = parity.check(trainer, tmp_path / "m.gguf", chats(system=True), watch=lambda s, d, t: seen.append(d))
    parity.require(figures, "f16")
    assert figures["prompts"] > len(parity.TRICKY)
    assert figures["free_positions"] > 20
    assert seen


def test_a_system_text_joins_the_first_question_where_there_is_no_system_role(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "mistral", num_hidden_layers=1)
    gguf.convert(folder, tmp_path / "m.gguf")
    mistral = parity.Trainer(folder)
    assert mistral.shape(chats(system=True)[0])[0]["content"].startswith("Ты помогаешь на складе.\n\n")
    figures = parity.check(mistral, tmp_path / "m.gguf", chats(system=True), answers=1)
    parity.require(figures, "f16")
    assert figures["system_role"] is False and figures["normalise"] == ""


def test_a_model_is_asked_in_the_form_it_was_trained_in(tmp_path: Path) -> None:
    """What the gateway sends gives the training prompt; the request as it came does not."""
    folder = build(tmp_path / "model", "mistral", num_hidden_layers=1)
    gguf.convert(folder, tmp_path / "m.gguf")
    mistral = parity.Trainer(folder)
    packed = Packed(tmp_path / "m.gguf", "v", "v", "f16", system_role=False)
    question = chats(system=True)[0][:-1]
    trained = mistral.render(folded(question), generate=True)
    with LlamaCpp(tmp_path / "m.gguf", context=256, threads=1) as engine:
        sent = shaped(Model(packed, engine), question)
        asked = [engine.post("/apply-template", {"messages": m})["prompt"] for m in (sent, question)]
    assert asked[0].removeprefix("<s>") == trained.removeprefix("<s>")
    assert asked[1].removeprefix("<s>") != trained.removeprefix("<s>")


def test_decomposed_letters_are_composed_where_the_tokenizer_does_so(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "qwen2", num_hidden_layers=1)
    gguf.convert(folder, tmp_path / "m.gguf")
    qwen = parity.Trainer(folder)
    apart = [{"role": "user", "content": unicodedata.normalize("NFD", "чей ёжик? café")}]
    assert qwen.form() == {"system_role": True, "normalise": "NFC"}
    packed = Packed(tmp_path / "m.gguf", "v", "v", "f16", normalise="NFC")
    with LlamaCpp(tmp_path / "m.gguf", context=256, threads=1) as engine:
        sent = shaped(Model(packed, engine), apart)
        ids = [
            engine.post("/tokenize", {"content": engine.post("/apply-template", {"messages": m})["prompt"],
                                      "add_special": True, "parse_special": True})["tokens"]
            for m in (sent, apart)
        ]  # fmt: skip
    trained = qwen.ids(qwen.render(apart, generate=True))
    assert ids[0] == trained != ids[1]
    figures = parity.check(qwen, tmp_path / "m.gguf", [[*apart, {"role": "assistant", "content": "мой"}]], answers=1)
    assert figures["tokens_equal"] == 1.0, "a held-out question in decomposed letters does not refuse the export"


def test_forgotten_rotation_is_refused(
    trainer: parity.Trainer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "_interleave", lambda values, heads: values)
    gguf.convert(folder, tmp_path / "m.gguf")
    figures = _check(trainer, tmp_path / "m.gguf")
    with pytest.raises(Refused, match="greedy agreement") as caught:
        parity.require(figures, "f16")
    assert "KL" in caught.value.message
    assert figures["tokens_equal"] == 1.0


def test_one_lost_tensor_is_refused_at_four_bits_too(trainer: parity.Trainer, folder: Path, tmp_path: Path) -> None:
    gguf.convert(folder, tmp_path / "m.gguf")
    reader = library.GGUFReader(tmp_path / "m.gguf", "r+")
    for tensor in reader.tensors:
        if tensor.name in ("blk.1.ffn_down.weight", "blk.2.ffn_down.weight", "output.weight"):
            tensor.data[:] = np.roll(tensor.data, 7, axis=0)
    reader.data.flush()
    with pytest.raises(Refused, match="KL"):
        parity.require(_check(trainer, tmp_path / "m.gguf"), "q4_K_M")


def test_another_template_is_refused(
    trainer: parity.Trainer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gguf_vocab.without_generation_tags
    monkeypatch.setattr(gguf_vocab, "without_generation_tags", lambda t: real(t).replace("'\\n'", "' '"))
    gguf.convert(folder, tmp_path / "m.gguf")
    figures = _check(trainer, tmp_path / "m.gguf")
    assert figures["template_equal"] == 0.0
    assert any("rendered differently: 100.0%" in reason for reason in parity.shortfalls(figures, "q8_0"))


def test_another_splitting_is_refused(
    trainer: parity.Trainer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_vocab, "_splitting", lambda definition: "llama-bpe")
    gguf.convert(folder, tmp_path / "m.gguf")
    figures = _check(trainer, tmp_path / "m.gguf")
    assert figures["texts_equal"] < 1.0
    assert figures["differing"]
    with pytest.raises(Refused, match="texts split into other tokens"):
        parity.require(figures, "q8_0")


def test_a_doubled_beginning_is_refused(
    trainer: parity.Trainer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BOS in front of prompts that were trained without it is the most common silent fault of exports."""
    real = gguf_vocab._special

    def with_bos(found: gguf_vocab.Vocabulary, tokenizer: Any) -> None:
        real(found, tokenizer)
        found.fields["ggml.add_bos_token"] = True

    monkeypatch.setattr(gguf_vocab, "_special", with_bos)
    gguf.convert(folder, tmp_path / "m.gguf")
    assert _check(trainer, tmp_path / "m.gguf")["tokens_equal"] == 0.0


def test_a_file_llama_cpp_cannot_load_is_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with native.Logits(tmp_path / "m.gguf") as export, pytest.raises(ModelRejected, match="cannot compute"):
        export([1, 2, 3])


def test_logits_are_those_of_every_position(trainer: parity.Trainer, folder: Path, tmp_path: Path) -> None:
    gguf.convert(folder, tmp_path / "m.gguf")
    ids = trainer.ids("Привет, как дела?")
    with native.Logits(tmp_path / "m.gguf") as export:
        whole, start = export(ids), export(ids[:3])
    assert whole.shape == (len(ids), trainer.model.config.vocab_size)
    np.testing.assert_allclose(whole[:3], start, atol=2e-2)
    np.testing.assert_allclose(whole, trainer.logits(ids), atol=2e-2)


def test_too_little_memory_is_said_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", type("Memory", (), {"available": 1000}))
    with pytest.raises(OutOfResources, match="GB of memory"):
        parity.Trainer(folder)


@given(
    st.lists(st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.floats(-5, 5, width=32),
)
def test_divergence_is_zero_for_shifted_scores_and_positive_otherwise(rows: list[list[float]], shift: float) -> None:
    scores = np.array(rows, dtype=np.float32)
    assert parity.divergence(scores, scores + np.float32(shift)).max() < 1e-5
    other = scores.copy()
    other[:, 0] += 3.0
    assert (parity.divergence(scores, other) > 0).all()


def test_divergence_of_a_known_pair() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    found = parity.divergence(np.log(p)[None].astype(np.float32), np.log(q)[None].astype(np.float32))
    assert found[0] == pytest.approx(0.25 * np.log(2), rel=1e-5)


def test_nan_is_no_parity() -> None:
    figures = {"tokens_equal": 1.0, "template_equal": 1.0, "texts_equal": 1.0, "differing": []}
    assert parity.shortfalls(figures | {"kl": float("nan"), "lost": 0.0}, "q4_0")
    assert parity.shortfalls(figures | {"kl": 0.1, "lost": float("nan")}, "q4_0")
    assert not parity.shortfalls(figures | {"kl": 0.1, "lost": 0.02}, "q4_0")
