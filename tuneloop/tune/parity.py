"""Is the exported file the model that was trained? Decided by figures against the trainer's own model in float32.

Three questions, each on real prompts and on texts that break tokenizers:
- does llama.cpp render and split every prompt into the same token ids (100 % or the export is refused);
- given the same tokens, does it choose the same next token (`greedy`), and are the tokens it chooses when left
  alone those the trainer's model would choose at the same place (`free`);
- how far apart are the two distributions: mean KL(trainer || export) per token, in nats, over the whole vocabulary.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneloop.engines import gguf_check
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineError, OutOfResources, Refused
from tuneloop.progress import Progress, silent
from tuneloop.records import composed, folded
from tuneloop.texts import _
from tuneloop.tune import gguf_vocab, template
from tuneloop.tune.native import MAX_TOKENS, Logits

Chat = list[dict[str, str]]

# What has broken tokenizers and templates before: runs of white space, emoji joined by U+200D, composed and
# decomposed letters, digits in rows, scripts without spaces, right-to-left text, markup that looks like a template.
TRICKY = (
    "Привет! Как дела?",
    "Ёжик съел ещё 12345 яблок — «вкусно», №7",
    "Й й é в разложенном виде: Й й é",
    "hello   world\t\ttabs\n\n\nnew lines\r\nand returns ",
    "  two spaces first",
    "😀👍🏽 👨‍👩‍👧‍👦 🇷🇺 ❤️‍🔥",
    "It's we're I'LL DON'T 'tis",
    "1234567890 3.14159 1,000,000 0x1F 2018-11-26T12:00:00Z",
    "https://example.org/путь?q=%D1%8F&x=1#a",
    "日本語と中文 한국어 ไทย",
    "مرحبا بالعالم ١٢٣",
    "def f(x):\n    return {{ x }} {% if %} [INST] <<SYS>> </s> <unk>",
    "ааааааааааааааааааааааааааааааааааааааа" * 3,
    "¯\\_(ツ)_/¯ …—–‑ \u00a0\u2009\u200b end",
    "ＡＢＣ ﬁ ½ ①",
    "",
    "\n",
    "?!?!?!...;;;:::",
)
# Mean KL per token in nats above which a file is refused. f16 only rounds (measured: below 1e-4). The others are
# about ten times what is usual for their bits: a wrong tensor or a broken block gives 2 and more.
KL_BAR = {"f16": 0.01, "q8_0": 0.05, "q6_K": 0.1, "q5_K_M": 0.3, "q5_K_S": 0.3, "q5_1": 0.3, "q5_0": 0.3}
KL_BAR_FOUR_BITS = 1.0
# ... and the KL may be at most this share of what a file that knows nothing (every token as likely) would have: a
# model with flat distributions is not told from noise by nats alone. Measured at 4 bits: 0.1 % to 9 %.
LOST_BAR = 0.25
GREEDY_BAR = 0.99
# A token that the trainer's model holds at least 98 % as likely as its best counts as agreement: between two such
# tokens the rounding to f16 alone decides. `greedy` is printed without this mercy.
TIE = 0.02
# Bytes of a model that one thread computes fast enough: on a busy machine two threads that wait for each other
# took 14 s for what one did in 0.8 s.
SMALL = 200 << 20
CACHE = 512 << 20  # bytes of the trainer's logits kept between two exports


class Trainer:
    """The merged model as transformers computes it, float32, on this machine's CPU."""

    def __init__(self, folder: Path) -> None:
        """Raises OutOfResources when the weights do not fit into memory, and what `template.check` raises."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _need_memory(folder)
        self.system_role = template.check(folder).system
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        self.model = model.eval()
        self._threads = 1 if sum(p.nbytes for p in model.parameters()) < SMALL else torch.get_num_threads()
        self._known: dict[tuple[int, ...], npt.NDArray[np.float32]] = {}

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Float32 (tokens, vocabulary): the scores of the next token after each token."""
        import torch

        key = tuple(ids)
        if key not in self._known:
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads)
            with torch.inference_mode():
                found: npt.NDArray[np.float32] = self.model(torch.tensor([key])).logits[0].float().numpy()
            torch.set_num_threads(before)
            if sum(a.nbytes for a in self._known.values()) + found.nbytes > CACHE:
                return found
            self._known[key] = found
        return self._known[key]

    def render(self, chat: Chat, *, generate: bool) -> str:
        return str(self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate))

    def shape(self, chat: Chat) -> Chat:
        """The dialogue as training showed it and as the gateway sends it: `form` says how."""
        form = self.form()
        chat = chat if form["system_role"] else folded(chat)
        return composed(chat, form["normalise"]) if form["normalise"] else chat

    def form(self) -> dict[str, Any]:
        """How questions must be sent to the export. system_role: the template writes system messages; normalise:
        the Unicode form ("NFC" or "") into which the tokenizer brings texts and llama.cpp does not."""
        return {"system_role": self.system_role, "normalise": normal_form(self.tokenizer)}

    def ids(self, text: str) -> list[int]:
        """Ids of a text that already carries its special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def normal_form(tokenizer: Any) -> str:
    """ "NFC" when the tokenizer composes letters and accents, as Qwen's does; else ""."""
    return "NFC" if "NFC" in repr(tokenizer.backend_tokenizer.normalizer) else ""


def _need_memory(folder: Path) -> None:
    import psutil

    from tuneloop.tune import weights

    needed = sum(int(np.prod(t.shape)) * 4 for t in weights.folder(folder).values())
    free = psutil.virtual_memory().available
    if needed * 1.2 > free:
        raise OutOfResources(
            _("comparing the export with its model needs {needed:.1f} GB of memory, {free:.1f} GB are free").format(
                needed=needed * 1.2 / 1e9, free=free / 1e9
            ),
            fix=_("Close other programs, or pack on a machine with more memory."),
        )


def check(
    trainer: Trainer,
    export: Path,
    chats: Sequence[Chat],
    *,
    sequences: int = 24,
    answers: int = 8,
    answer_tokens: int = 32,
    watch: Progress = silent,
) -> dict[str, Any]:
    """Compare `export` (a GGUF file) with the trainer's model.

    chats: dialogues in the OpenAI shape, each ending with the assistant's answer (or with the question). All are
    checked for tokens; the first `sequences` for distributions, the first `answers` generate `answer_tokens`.
    Returns figures: shares between 0 and 1, KL in nats per token; and the `form` in which the export was asked.
    Raises ModelRejected when llama.cpp refuses.
    """
    stage = _("parity {file}").format(file=export.name)
    chats = [trainer.shape(chat) for chat in chats]
    known = gguf_check.check(export)
    context = min(MAX_TOKENS, int(known.number("context_length")))
    figures: dict[str, Any] = trainer.form()
    threads = 1 if export.stat().st_size < SMALL else None
    with LlamaCpp(export, context=context, threads=threads) as engine:
        figures |= _tokens(trainer, engine, chats, lambda done, total: watch(stage, done, 2 * total))
        spoken = _answers(trainer, engine, chats[:answers], min(answer_tokens, context // 4), context)
    with Logits(export, threads=threads or 2) as compute:
        full = [
            trainer.ids(trainer.render(chat, generate=False))[-min(context, MAX_TOKENS // 2) :]
            for chat in chats[:sequences]
        ]
        figures |= _distributions(trainer, compute, [ids for ids in full if ids], watch, stage)
    figures |= _free(trainer, spoken)
    return figures


def _tokens(trainer: Trainer, engine: LlamaCpp, chats: Sequence[Chat], tell: Any) -> dict[str, Any]:
    """Every prompt and every tricky text, rendered and split by both."""
    texts = [_composed(trainer, text) for text in (*TRICKY, *_with_special_tokens(trainer))]
    lead = _lead(trainer)
    prompts = [_question(chat) for chat in chats] + [[{"role": "user", "content": t}] for t in texts if t.strip()]
    equal = rendered = 0
    differing: list[str] = []
    for done, chat in enumerate(prompts):
        tell(done, len(prompts))
        ours = trainer.render(chat, generate=True)
        try:
            theirs = str(engine.post("/apply-template", {"messages": chat})["prompt"])
        except EngineError as problem:
            differing.append(f"{chat[-1]['content'][:40]!r}: {problem.message[:200]}")
            continue
        bos = trainer.tokenizer.bos_token or "\0"
        rendered += theirs.removeprefix(bos) == ours.removeprefix(bos)
        same = _split(engine, theirs, special=True) == trainer.ids(ours)
        equal += same
        if not same:
            differing.append(repr(chat[-1]["content"][:60]))
    plain = [text for text in texts if _split(engine, lead + text, special=False) != trainer.ids(lead + text)]
    return {
        "prompts": len(prompts),
        "tokens_equal": equal / len(prompts),
        "template_equal": rendered / len(prompts),
        "texts": len(texts),
        "texts_equal": 1 - len(plain) / len(texts),
        "differing": (differing + [repr(t[:60]) for t in plain])[:5],
    }


def _split(engine: LlamaCpp, text: str, *, special: bool) -> list[int]:
    """Ids from llama.cpp. special: with BOS where the model has it, as for a prompt."""
    body = {"content": text, "add_special": special, "parse_special": True}
    return list(engine.post("/tokenize", body)["tokens"])


def _lead(trainer: Trainer) -> str:
    """What stands before a text without template: a special token where only the very beginning gets a space."""
    definition = json.loads(trainer.tokenizer.backend_tokenizer.to_str())
    return str(trainer.tokenizer.eos_token or "") if gguf_vocab.starts_first(definition) else ""


def _question(chat: Chat) -> Chat:
    return chat[:-1] if chat[-1]["role"] == "assistant" else chat


def _with_special_tokens(trainer: Trainer) -> list[str]:
    """The tokenizer's own special tokens inside and beside words: people do write them."""
    known = list(trainer.tokenizer.get_added_vocab())[:6]
    return [f"a{token}b {token} {token}\n" for token in known]


def _composed(trainer: Trainer, text: str) -> str:
    """Tokenizers that normalise get normalised text: llama.cpp does not, so the gateway does it before it sends."""
    return unicodedata.normalize("NFC", text) if normal_form(trainer.tokenizer) else text


def _answers(
    trainer: Trainer, engine: LlamaCpp, chats: Sequence[Chat], length: int, context: int
) -> list[tuple[int, list[int]]]:
    """What the export says by itself, always taking the likeliest token: (length of the prompt, all ids)."""
    spoken = []
    for chat in chats:
        prompt = trainer.ids(trainer.render(_question(chat), generate=True))[-(context - length - 1) :]
        body = {
            "prompt": prompt,
            "n_predict": length,
            "temperature": 0,
            "cache_prompt": False,
            "return_tokens": True,
        }
        said = engine.post("/completion", body, seconds=600.0)["tokens"]
        spoken.append((len(prompt), [*prompt, *said]))
    return spoken


def _distributions(
    trainer: Trainer, compute: Logits, sequences: Sequence[list[int]], watch: Progress, stage: str
) -> dict[str, Any]:
    divergences: list[npt.NDArray[np.float64]] = []
    nothing: list[npt.NDArray[np.float64]] = []
    agreeing = tied = positions = 0
    for done, ids in enumerate(sequences):
        watch(stage, len(sequences) + done, 2 * len(sequences))
        ours, theirs = trainer.logits(ids), compute(ids)
        if ours.shape != theirs.shape:
            raise Refused(
                _("the export has {theirs} tokens, its model {ours}").format(theirs=theirs.shape[1], ours=ours.shape[1])
            )
        agreeing += int((ours.argmax(1) == theirs.argmax(1)).sum())
        tied += _agreeing(ours, theirs.argmax(1))
        positions += len(ids)
        divergences.append(divergence(ours, theirs))
        nothing.append(divergence(ours, np.zeros_like(ours)))
    watch(stage, 2 * len(sequences), 2 * len(sequences))
    every = np.concatenate(divergences)
    return {
        "positions": positions,
        "greedy": agreeing / positions,
        "greedy_or_tie": tied / positions,
        "kl": float(every.mean()),
        "kl_p99": float(np.quantile(every, 0.99)),
        "lost": float(every.mean() / np.concatenate(nothing).mean()),
    }


def divergence(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """KL(softmax(ours) || softmax(theirs)) of each row, in nats, computed in float64."""
    found = np.empty(len(ours))
    for start in range(0, len(ours), 32):  # 32 rows of 150,000 in float64 are 38 MB
        p, q = (_log_softmax(a[start : start + 32].astype(np.float64)) for a in (ours, theirs))
        found[start : start + 32] = (np.exp(p) * (p - q)).sum(axis=1)
    return np.maximum(found, 0.0)  # rounding gives -1e-17


def _log_softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values = values - values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def _free(trainer: Trainer, spoken: Sequence[tuple[int, list[int]]]) -> dict[str, Any]:
    """Of the tokens the export chose by itself, the share the trainer's model would choose there too, ties aside."""
    agreeing = total = 0
    for start, ids in spoken:
        if start < len(ids):
            agreeing += _agreeing(trainer.logits(ids)[start - 1 : -1], np.array(ids[start:]))
            total += len(ids) - start
    return {"free_positions": total, "free": agreeing / total if total else 1.0}


def _agreeing(scores: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64]) -> int:
    """How many of the chosen tokens the trainer's model would choose, ties counted in."""
    return int((scores[np.arange(len(scores)), chosen] >= scores.max(1) - TIE).sum())


def shortfalls(figures: dict[str, Any], quant: str) -> list[str]:
    """Why a file may not be used, as sentences; empty when it passes."""
    found = []
    for key, what in (
        ("tokens_equal", _("prompts split into other tokens")),
        ("template_equal", _("prompts rendered differently")),
        ("texts_equal", _("texts split into other tokens")),
    ):
        if figures[key] < 1.0:
            found.append(f"{what}: {1 - figures[key]:.1%} ({'; '.join(figures['differing'][:3])})")
    if quant == "f16":
        found += [
            _("{what} {value:.2%}, {bar:.0%} needed").format(what=what, value=figures[key], bar=GREEDY_BAR)
            for key, what in (("greedy_or_tie", _("greedy agreement")), ("free", _("agreement of its own answers")))
            if figures[key] < GREEDY_BAR
        ]
    bar = KL_BAR.get(quant, KL_BAR_FOUR_BITS)
    if not figures["kl"] <= bar:  # also true for nan
        found.append(_("KL {value:.4f} nats per token, at most {bar} allowed").format(value=figures["kl"], bar=bar))
    elif not figures["lost"] <= LOST_BAR:
        found.append(_("KL loses {share:.0%} of what the model knows").format(share=figures["lost"]))
    return found


def require(figures: dict[str, Any], quant: str) -> None:
    """Raises Refused with the figures when the file is not the model that was trained."""
    if reasons := shortfalls(figures, quant):
        raise Refused(
            _("the {quant} export is not the model that was trained: {reasons}").format(
                quant=quant, reasons="; ".join(reasons)
            ),
            fix=_("Nothing was registered. Try another quantisation, or report the sentence above as a bug."),
        )
