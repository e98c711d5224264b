"""The shipped demo base model: size, files, template, tokenizer, quality, and the script that makes it.

Why: everything after tuning (export to GGUF, the demo, the docs) rests on these files, and the script must be
able to make them again, so a tiny run of it is part of the tests (some 20 s on one core).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "tuneloop" / "demo" / "base"
SCRIPT = ROOT / "examples" / "demo_base" / "train.py"
TEXT = SCRIPT.parent / "text"
LIMIT = 8_000_000

CHAT = [
    {"role": "system", "content": "Ты помощник."},
    {"role": "user", "content": "Как дела? 🙂"},
    {"role": "assistant", "content": "Норм, а у тебя?\nЧто нового 🚲"},
    {"role": "user", "content": "fine thanks"},
    {"role": "assistant", "content": "Great."},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


@pytest.fixture(scope="module")
def model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


def test_folder_is_complete_and_small() -> None:
    names = {p.name for p in BASE.iterdir()}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    assert sum(p.stat().st_size for p in BASE.iterdir()) <= LIMIT


def test_config_has_the_agreed_shape(model: Any, tokenizer: Any) -> None:
    config = json.loads((BASE / "config.json").read_text(encoding="utf-8"))
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 4096,
        "max_position_embeddings": 1024,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 3,
    }
    assert {name: config[name] for name in expected} == expected
    assert len(tokenizer) == 4096
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == [
        "<|pad|>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|pad|>", "<|im_end|>")
    assert model.generation_config.eos_token_id == 3
    assert 3_000_000 < model.num_parameters() < 3_500_000


def test_pre_tokenizer_is_plain_gpt2() -> None:
    stored = json.loads((BASE / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["model"]["type"] == "BPE"
    assert stored["normalizer"] is None
    assert stored["pre_tokenizer"]["type"] == "ByteLevel"
    assert stored["pre_tokenizer"]["add_prefix_space"] is False
    assert stored["pre_tokenizer"]["use_regex"] is True


@pytest.mark.parametrize(
    "text",
    [
        "Привет, как дела? Ёлка, съезд, «кавычки» — и тире…",
        "Hello there, don't panic: it's 10:30 , ok ?",
        "щас гляну 🙂👍🏽🤷‍♂️ ❤️ ))) https://example.org/a?b=1&c=ж",
        "  two  spaces,\ttab\r\nand lines\n\n\nend ",
        "日本語 ελληνικά \u200b\u00a0 \x00",
    ],
)
def test_tokenizer_round_trip(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids).encode() == text.encode()
    assert not set(ids) & {0, 1, 2, 3}


def test_template_text(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert text == "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in CHAT)
    prompt = tokenizer.apply_chat_template(CHAT[1:2], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nКак дела? 🙂<|im_end|>\n<|im_start|>assistant\n"


def test_assistant_mask_covers_answer_and_end(tokenizer: Any) -> None:
    encoded = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    masked = [i for i, m in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(masked) == f"{CHAT[2]['content']}<|im_end|>{CHAT[4]['content']}<|im_end|>"


@pytest.mark.parametrize("question", ["как починить велосипед?", "My wifi is slow, what can I do?"])
def test_generates_an_answer_that_ends(model: Any, tokenizer: Any, question: str) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**prompt, max_new_tokens=120, do_sample=False)
    answer = output[0, prompt["input_ids"].shape[1] :].tolist()
    assert answer[-1] == 3
    assert len(tokenizer.decode(answer, skip_special_tokens=True).strip()) > 3


@pytest.mark.parametrize(("lang", "limit"), [("ru", 2.5), ("en", 2.1)])
def test_predicts_unseen_text_well(model: Any, tokenizer: Any, lang: str, limit: float) -> None:
    import torch

    text = (TEXT / f"heldout_{lang}.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids).loss)
    bits = loss * (ids.shape[1] - 1) / math.log(2) / len(text)
    uniform = 8 * len(text.encode()) / len(text)
    assert uniform > 7.9
    assert bits < limit


def test_card_agrees_with_the_record() -> None:
    record = json.loads((BASE / "training.json").read_text(encoding="utf-8"))
    card = (BASE / "README.md").read_text(encoding="utf-8")
    assert f"{record['steps']:,} steps" in card
    assert len(record["books"]) > 50
    for name in ("books_ru", "books_en", "own_ru", "own_en"):
        assert f"{record['bits_per_char'][name]:.2f}" in card


def test_training_text_avoids_the_demo_subject() -> None:
    """The demo chat is about a workshop and bees; a base that knew its answers would prove nothing."""
    forbidden = re.compile(r"пч[её]л|улей|улья|мастерск|beek|\bhives?\b|\bbees?\b|maker|workshop|honey", re.I)
    for path in TEXT.glob("*.txt"):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path.name


def _run(books: Path, out: Path, *more: str) -> str:
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(SCRIPT)]
    options = (
        "--steps 6 --batch 4 --sequence 64 --long-sequence 128 --long-share 0.2 --vocab 512 "
        "--dialogues 40 --log-every 1 --rate 0.003"
    )
    done = subprocess.run(
        [*command, "--books", str(books), "--out", str(out), *options.split(), *more],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _losses(output: str) -> list[float]:
    return [float(found) for found in re.findall(r"^step \d+ loss ([\d.]+)", output, re.M)]


@pytest.mark.soak
def test_script_trains_resumes_and_writes_the_folder(tmp_path: Path) -> None:
    books = tmp_path / "books"
    (books / "deep").mkdir(parents=True)
    english = "".join(f"The old man number {i} walked to the river and sat down.\n" for i in range(200))
    russian = "".join(f"Старик номер {i} пошёл к реке и сел на берегу ждать.\n" for i in range(200))
    (books / "river.txt").write_text(english, encoding="utf-8")
    (books / "deep" / "река.txt").write_bytes(russian.encode("cp1251"))

    whole = _losses(_run(books, tmp_path / "whole"))
    assert len(whole) == 6
    assert whole[2] < whole[0]

    out = tmp_path / "halves"
    first = _losses(_run(books, out, "--stop-after", "3"))
    assert not out.exists()
    resumed = _run(books, out, "--resume")
    assert "resumed at step 3" in resumed
    assert first + _losses(resumed) == whole

    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == 512
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["books"] == ["deep: река", "books: river"]
    assert record["steps"] == 6
