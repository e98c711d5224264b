"""Small random models of every family that can be packed, built from configuration in a second, never downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuneloop import versions
from tuneloop.records import Version
from tuneloop.workspace import Workspace

SAMPLE = [
    "Привет! Как сбросить пароль от общей почты? Зайдите в настройки и нажмите сброс.",
    "Сканер на втором этаже не включается, что проверить? Проверьте кабель, питание и драйвер.",
    "Hello world, the quick brown fox doesn't jump over 12 lazy dogs; it's 2018-11-26 12:00.",
    "def answer(question):\n    return sorted(question.split(), key=len)\n",
    "Где лежат ключи от склада? У Марины в верхнем ящике, спросите её до шести вечера.",
    "I'll be there at 10:30, we've got 1,000 items — don't worry!",
]
CHATML = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- message['content'] + '<|im_end|>' -}}"
    "{%- endgeneration -%}{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}{{- '\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + message['content'] | trim"
    " + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + '[/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
)
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.05,  # wide enough that the likeliest token is not a matter of rounding
    "tie_word_embeddings": False,
}
# family -> (class of transformers' configuration, its own settings, tokenizer, chat template)
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "llama": ("LlamaConfig", {}, "gpt-2", CHATML),
    "llama-192": ("LlamaConfig", {"hidden_size": 192, "intermediate_size": 320}, "gpt-2", CHATML),
    "llama3": (
        "LlamaConfig",
        {
            "attention_bias": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        "llama-bpe",
        LLAMA3,
    ),
    "llama-sentencepiece": ("LlamaConfig", {"tie_word_embeddings": True}, "sentencepiece", CHATML),
    "mistral": ("MistralConfig", {"head_dim": 32, "sliding_window": 96}, "sentencepiece", MISTRAL),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}, "qwen2", CHATML),
    "qwen2-yarn": (
        "Qwen2Config",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
        "qwen2",
        CHATML,
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 96}, "qwen2", CHATML),
    "gemma": ("GemmaConfig", {"head_dim": 64, "tie_word_embeddings": True}, "sentencepiece", GEMMA),
    "gemma2": (
        "Gemma2Config",
        {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 48, "tie_word_embeddings": True},
        "sentencepiece",
        GEMMA,
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 64,
            "query_pre_attn_scalar": 64,
            "sliding_window": 48,
            "num_hidden_layers": 7,
            "tie_word_embeddings": True,
        },
        "sentencepiece",
        GEMMA,
    ),
}
SPECIALS = {
    CHATML: ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    LLAMA3: ["<|pad|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end|>"],
    GEMMA: ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    MISTRAL: ["<pad>", "<s>", "</s>", "[INST]", "[/INST]"],
}


def build(folder: Path, family: str, **changes: Any) -> Path:
    """Write config.json, model.safetensors (bfloat16), the tokenizer and its chat template into `folder`."""
    import torch
    import transformers

    kind, own, splitting, template = FAMILIES[family]
    tokenizer = make_tokenizer(splitting, template)
    tokenizer.save_pretrained(folder)
    config = getattr(transformers, kind)(
        **{**SMALL, "vocab_size": len(tokenizer) + 5, **own, **changes},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(len(family))
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, values in model.named_parameters():
        if name.endswith("bias") or "norm" in name:  # initialised to a constant, which would hide a mistake
            values.data += torch.randn_like(values) * 0.1
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def make_tokenizer(splitting: str, template: str) -> Any:
    """A tokenizer of 600 tokens trained on SAMPLE, split as the named family does it."""
    from transformers import PreTrainedTokenizerFast

    specials = SPECIALS[template]
    made = _sentencepiece(specials) if splitting == "sentencepiece" else _byte_level(splitting, specials)
    ends = {CHATML: "<|im_end|>", LLAMA3: "<|end|>", GEMMA: "<eos>", MISTRAL: "</s>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=specials[1],
        eos_token=ends[template],
        pad_token=specials[0],
        **({"unk_token": "<unk>"} if splitting == "sentencepiece" else {}),
    )
    tokenizer.chat_template = template
    return tokenizer


def _byte_level(splitting: str, specials: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    from tuneloop.tune.gguf_vocab import SPLITS

    made = Tokenizer(models.BPE(ignore_merges=splitting == "llama-bpe"))
    if splitting == "gpt-2":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        rule = next(r for r, name in SPLITS.items() if name == splitting)
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(rule), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    if splitting == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(SAMPLE * 4, trainer)
    if splitting == "llama-bpe":  # Llama 3's tokenizer puts BOS in front of every text
        bos = specials[1]
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    return made


def _sentencepiece(specials: list[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    draft = Tokenizer(models.BPE())
    draft.normalizer = normalizers.Replace(" ", "▁")
    draft.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    draft.train_from_iterator(SAMPLE * 4, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learned = json.loads(draft.to_str())["model"]
    tokens = [*specials, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [t for t, _i in sorted(learned["vocab"].items(), key=lambda item: item[1])]
    merges = [tuple(m) for m in learned["merges"]]
    model = models.BPE(
        {t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in [*specials, "<unk>"]])
    return made


def chats(system: bool = False) -> list[list[dict[str, str]]]:
    """A few dialogues with answers, long enough to leave a sliding window of 48 tokens."""
    first = [{"role": "system", "content": "Ты помогаешь на складе."}] if system else []
    return [
        [*first, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in zip(SAMPLE, reversed(SAMPLE), strict=True)
    ]


def tuned(workspace: Workspace, base: Path, *, dataset: str = "", scale: float = 0.05) -> Version:
    """A version as `tune` registers it, with a random adapter on every linear layer instead of a trained one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tuneloop.tune.folder import fingerprint
    from tuneloop.tune.model import copy_tokenizer, quiet_peft

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    torch.manual_seed(7)
    asked = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet_peft():
        wrapped = get_peft_model(model, asked)
    for name, values in wrapped.named_parameters():
        if "lora_" in name:
            values.data = torch.randn_like(values) * scale
    staging = workspace.folder("models") / ".small.part"
    wrapped.save_pretrained(staging / "adapter")
    for extra in (staging / "adapter").glob("*.md"):
        extra.unlink()
    copy_tokenizer(base, staging)
    meta = {"base": str(base), "base_sha256": fingerprint(base), "dataset": "d1", "dataset_path": dataset}
    return versions.register(workspace, staging, kind="chat", name="Склад answers", meta=meta)
