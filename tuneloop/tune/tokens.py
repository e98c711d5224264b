"""Chats become token ids with the place where the answer begins; only answers are learnt.

The last message of an example is its answer. Earlier turns of the speaker are context: in a built dataset each of
them is the answer of another example, and learning it twice would weigh talkative dialogues double.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.progress import Progress, silent
from tuneloop.records import folded
from tuneloop.texts import _
from tuneloop.tune.template import Template

Chat = list[dict[str, str]]
FEWEST = 10  # training examples below which no adapter is worth the name


@dataclass(frozen=True, slots=True)
class Encoded:
    """`ids[start:]` is the answer with its end token; everything before is prompt."""

    ids: list[int]
    start: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a run learns from. `counts`: read, kept, cut (context shortened), and rejected by reason."""

    train: list[Encoded]
    validation: list[Encoded]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the training part."""
        return sum(len(e.ids) for e in self.train)

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(len(e.ids) for e in [*self.train, *self.validation])


def load(
    dataset: Path, tokenizer: Any, template: Template, *, max_length: int, watch: Progress = silent
) -> tuple[Corpus, dict[str, Any]]:
    """Encode train.jsonl and validation.jsonl of a dataset folder; returns the corpus and the dataset's card.

    Raises Missing when the folder is none, BadInput with the line of a broken row, NotEnoughData below 10 examples.
    """
    check_folder(dataset)
    card = json.loads((dataset / "card.json").read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    parts: dict[str, list[Encoded]] = {"train": [], "validation": []}
    for split, kept in parts.items():
        for number, chat in enumerate(chats(dataset / f"{split}.jsonl")):
            watch(_("reading examples"), number, None)
            if not chat[-1]["content"].strip():
                counts[f"{split}: empty answer"] += 1
                continue
            encoded, cut = encode(tokenizer, template, chat, max_length=max_length)
            if encoded is None:
                counts[f"{split}: answer longer than max_length"] += 1
                continue
            counts[f"{split}: context cut"] += cut
            kept.append(encoded)
        counts[f"{split}: kept"] = len(kept)
    if len(parts["train"]) < FEWEST:
        raise NotEnoughData(
            _("{path} has {n} usable training examples; {least} are the least to tune on").format(
                path=dataset, n=len(parts["train"]), least=FEWEST
            ),
            fix=_("Collect more of the chat, or choose a speaker who answers more: `tuneloop speakers`."),
        )
    return Corpus(parts["train"], parts["validation"], {k: n for k, n in sorted(counts.items()) if n}), card


def evidence(dataset: Path) -> dict[str, list[int]]:
    """Chat -> ids of every message the training part was made of; empty for a dataset that does not tell."""
    found: dict[str, set[int]] = {}
    told = dataset / "train.examples.jsonl"
    for line in told.read_text(encoding="utf-8").splitlines() if told.exists() else ():
        example = json.loads(line)
        found.setdefault(example["chat"], set()).update(example["messages"])
    return {chat: sorted(ids) for chat, ids in sorted(found.items())}


def check_folder(dataset: Path) -> None:
    """Raises Missing unless the folder is a dataset."""
    if not (dataset / "card.json").exists() or not (dataset / "train.jsonl").exists():
        raise Missing(
            _("{path} is not a dataset folder (card.json and train.jsonl)").format(path=dataset),
            fix=_("Build one with `tuneloop dataset build`; `tuneloop dataset list` names those that are there."),
        )


def chats(path: Path) -> Iterator[Chat]:
    """The `messages` of each row of a JSONL file in the OpenAI chat shape; the last one is the assistant's."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                messages = json.loads(line)["messages"]
                chat = [{"role": str(m["role"]), "content": str(m["content"])} for m in messages]
            except (ValueError, TypeError, KeyError, RecursionError) as problem:
                raise _bad_row(path, number, _("it has no messages with role and content")) from problem
            if len(chat) < 2 or chat[-1]["role"] != "assistant":
                raise _bad_row(path, number, _("its last message is not the assistant's answer"))
            yield chat


def prompt_ids(tokenizer: Any, template: Template, messages: Sequence[dict[str, str]]) -> list[int]:
    """What the model sees before it answers: the ids that training and judging both use."""
    return _render(tokenizer, _shaped(template, messages), add_generation_prompt=True)


def encode(tokenizer: Any, template: Template, chat: Chat, *, max_length: int) -> tuple[Encoded | None, bool]:
    """Token ids of one example, and whether its context had to be cut.

    Too long: the oldest turns go first, then the beginning of what is left; never the answer. None when the
    answer alone does not fit.
    """
    encoded = _encode(tokenizer, template, chat)
    cut = False
    while len(encoded.ids) > max_length and (shorter := _without_oldest(chat)):
        chat, cut = shorter, True
        encoded = _encode(tokenizer, template, chat)
    excess = len(encoded.ids) - max_length
    if excess <= 0:
        return encoded, cut
    begins = 1 if encoded.ids[0] == tokenizer.bos_token_id else 0  # some models fall apart without it
    if encoded.start - excess <= begins:
        return None, False
    return Encoded(encoded.ids[:begins] + encoded.ids[begins + excess :], encoded.start - excess), True


def _encode(tokenizer: Any, template: Template, chat: Chat) -> Encoded:
    messages = _shaped(template, chat)
    whole = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=_marks_answers(template)
    )
    ids = list(whole["input_ids"])
    if _marks_answers(template) and any(mask := list(whole["assistant_masks"])):
        end = len(mask) - mask[::-1].index(1)
        start = end - next((i for i, m in enumerate(mask[:end][::-1]) if not m), end)
    else:
        start = _shared(_render(tokenizer, messages[:-1], add_generation_prompt=True), ids)
    if not 0 < start < len(ids):
        raise BadInput(
            _("the chat template hides where the answer begins (row: {row})").format(row=chat[-1]["content"][:60]),
            fix=_("Use a base model whose template ends with the assistant's answer."),
        )
    # Gemma's <end_of_turn> is no named special token, only an added one that is marked special.
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special.update(tokenizer.all_special_ids)
    last = max((i for i in range(start, len(ids)) if ids[i] in special), default=None)
    if last is None:  # without an end token the model would never learn to stop
        ids = [*ids, tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else ids
    else:
        ids = ids[: last + 1]
    return Encoded(ids, start)


def _shared(prompt: list[int], whole: list[int]) -> int:
    """How many leading ids of the whole are the prompt; merges across the border belong to the answer.

    A template that writes the prompt differently once the answer is there shares too little: 0.
    """
    same = next(
        (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole))
    )
    return same if len(prompt) - same <= 8 else 0


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
    rendered = tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    return list(rendered["input_ids"])


def _shaped(template: Template, messages: Sequence[dict[str, str]]) -> Chat:
    """The messages as the template can take them: a system text joins the first question where it must."""
    return list(messages) if template.system else folded(messages)


def _marks_answers(template: Template) -> bool:
    return re.search(r"\{%-?\s*generation\s*-?%\}", template.text) is not None


def _without_oldest(chat: Chat) -> Chat | None:
    """The chat without its oldest turn (and its reply), None when only the question is left."""
    head = chat[:1] if chat[0]["role"] == "system" else []
    turns = chat[len(head) : -1]
    rest = turns[1:]
    while rest and rest[0]["role"] != "user":
        rest = rest[1:]
    return [*head, *rest, chat[-1]] if rest else None


def _bad_row(path: Path, number: int, reason: str) -> BadInput:
    return BadInput(
        _("{path}, line {number}: {reason}").format(path=path, number=number, reason=reason),
        fix=_("Correct or remove that line; `tuneloop dataset validate` lists every such line."),
    )
