"""Cut examples into train, validation and test: by time, by whole dialogue, nothing nearly the same on both sides.

Test is the newest dialogues, because a model is used on tomorrow's questions. Validation is a sample of the older
dialogues chosen by the hash of their ids: early stopping then measures fit, not the drift of topics, the newest
months stay in training, and a dialogue keeps its side when later messages are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuneloop.records import Example

FindCopies = Callable[[list[Example], float], dict[str, str]]
FindShared = Callable[[list[Example], list[Example]], dict[str, str]]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Cut:
    """`parts` maps each name of SPLITS to its examples, oldest first; `dropped` maps split to example id to reason."""

    parts: dict[str, list[Example]]
    dropped: dict[str, dict[str, str]]


def split(examples: Iterable[Example], *, validation_share: float, test_share: float) -> dict[str, list[Example]]:
    """Assign whole dialogues. Shares are of examples and met as nearly as whole dialogues allow.

    With three or more dialogues each split has at least one, and training keeps at least one.
    """
    dialogues: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        dialogues.setdefault((example.chat, example.dialogue), []).append(example)
    # A dialogue's place in time is its first answer: every test dialogue began after every other one.
    order = sorted(dialogues, key=lambda key: (min(e.time for e in dialogues[key]), key))
    sizes = {key: len(dialogues[key]) for key in order}
    total = sum(sizes.values())
    enough = len(order) >= 3
    test = _take(order[::-1], sizes, total * test_share, at_least=int(enough and test_share > 0))
    older = [key for key in order if key not in test]
    if len(older) == 0:  # one dialogue holds everything: training is what cannot be empty
        older, test = list(order), set()
    spare = int(len(older) >= 2 and enough and validation_share > 0)
    validation = _take(sorted(older, key=_hash), sizes, total * validation_share, at_least=spare)
    if len(validation) == len(older):
        validation = set()
    sides = {"test": test, "validation": validation, "train": set(order) - test - validation}
    return {
        name: sorted((e for key in sides[name] for e in dialogues[key]), key=lambda e: (e.time, e.chat, e.id))
        for name in SPLITS
    }


def without_copies(
    parts: Mapping[str, Sequence[Example]], like: float, find_copies: FindCopies, find_shared: FindShared
) -> Cut:
    """Drop exact and near copies, within and across splits; training keeps its copy, test and validation lose theirs.

    like: similarity from which two examples are near copies. find_copies: (examples, like) -> {id: reason} of every
    example that repeats an earlier one of the list. find_shared: (train, held out) -> {id: reason} of held-out
    examples whose question is in training.
    """
    reasons = find_copies([example for name in SPLITS for example in parts[name]], like)
    kept = {name: [e for e in parts[name] if e.id not in reasons] for name in SPLITS}
    reasons |= find_shared(kept["train"], [*kept["validation"], *kept["test"]])
    return Cut(
        {name: [e for e in kept[name] if e.id not in reasons] for name in SPLITS},
        {name: {e.id: reasons[e.id] for e in parts[name] if e.id in reasons} for name in SPLITS},
    )


def _take(
    order: Sequence[tuple[str, str]], sizes: Mapping[tuple[str, str], int], wanted: float, *, at_least: int
) -> set[tuple[str, str]]:
    # Stop at the first dialogue whose taking would bring the count further from the wish than leaving it.
    taken: set[tuple[str, str]] = set()
    count = 0
    for key in order:
        if abs(count + sizes[key] - wanted) > abs(count - wanted) and len(taken) >= at_least:
            break
        if count >= wanted and len(taken) >= at_least:
            break
        taken.add(key)
        count += sizes[key]
    return taken


def _hash(key: tuple[str, str]) -> str:
    return hashlib.sha256("\n".join(key).encode()).hexdigest()
