from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collect.made import example, examples
from tuneloop.collect import duplicates
from tuneloop.collect.split import SPLITS, split, without_copies
from tuneloop.records import Example


def cut(found: list[Example], validation: float = 0.1, test: float = 0.2) -> dict[str, list[Example]]:
    return split(found, validation_share=validation, test_share=test)


def dialogues(part: list[Example]) -> set[tuple[str, str]]:
    return {(e.chat, e.dialogue) for e in part}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10_000)), max_size=120),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
@settings(max_examples=200, deadline=None)
def test_no_dialogue_in_two_parts_and_nothing_lost(
    drawn: list[tuple[int, int]], validation: float, test: float
) -> None:
    found = [example(i, dialogue=d, time=t) for i, (d, t) in enumerate(drawn)]
    parts = cut(found, validation, test)
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in found)
    for one in SPLITS:
        for other in SPLITS:
            if one != other:
                assert not dialogues(parts[one]) & dialogues(parts[other])
    if found:
        assert parts["train"], "training is never empty"
    begin = {d: min(e.time for e in found if (e.chat, e.dialogue) == d) for d in dialogues(found)}
    older = [begin[d] for d in dialogues(parts["train"]) | dialogues(parts["validation"])]
    newer = [begin[d] for d in dialogues(parts["test"])]
    if older and newer:
        assert max(older) <= min(newer), "every test dialogue began after every other"


@given(st.integers(3, 200), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_examples_does_not_matter(n: int, random: object) -> None:
    found = examples(n)
    mixed = list(found)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert cut(found) == cut(mixed)


def test_shares_are_met_when_dialogues_are_small() -> None:
    parts = cut(examples(1000))
    assert {name: len(part) for name, part in parts.items()} == {"train": 700, "validation": 100, "test": 200}


def test_three_dialogues_give_every_part_one() -> None:
    parts = cut([example(i, dialogue=i) for i in range(3)], 0.01, 0.01)
    assert [len(parts[name]) for name in SPLITS] == [1, 1, 1]


def test_one_dialogue_is_all_training() -> None:
    parts = cut([example(i, dialogue=0) for i in range(20)])
    assert [len(parts[name]) for name in SPLITS] == [20, 0, 0]


def test_a_huge_last_dialogue_does_not_swallow_training() -> None:
    found = [example(i, dialogue=i) for i in range(10)] + [example(i, dialogue=99) for i in range(10, 110)]
    parts = cut(found)
    assert parts["train"]
    assert sum(map(len, parts.values())) == 110


def test_a_dialogue_keeps_its_side_when_newer_messages_come() -> None:
    """Of the dialogues validation had, nearly all stay there after a tenth more data came."""
    before = dialogues(cut(examples(400))["validation"])
    after = dialogues(cut(examples(440))["validation"])
    assert len(before & after) >= 0.8 * len(before)


def test_copies_across_the_parts_are_dropped_from_the_held_out_side() -> None:
    found = [example(i, dialogue=i) for i in range(40)]
    newest = found[-1]
    found.append(replace(newest, id="copy", question=found[3].question, answer=found[3].answer))
    found.append(replace(newest, id="near", question=found[4].question, answer=found[4].answer + "!"))
    found.append(
        replace(newest, id="asked", question=found[5].question, answer="Совсем другой ответ про раму и вилку.")
    )
    parts = cut(found, 0.0, 0.2)
    assert {"copy", "near", "asked"} <= {e.id for e in parts["test"]}
    done = without_copies(parts, 0.8, duplicates.exact_and_near, duplicates.shared_questions)
    assert done.dropped["test"] == {
        "copy": "exact duplicate",
        "near": "exact duplicate",
        "asked": "question is in training too",
    }
    assert done.dropped["train"] == {}
    assert done.parts["train"] == parts["train"]


@given(st.lists(st.sampled_from([example(i) for i in range(6)]), min_size=1, max_size=40), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_after_dropping_no_question_and_answer_is_in_two_parts(drawn: list[Example], shift: int) -> None:
    found = [replace(e, id=f"{i}", dialogue=f"d{(i + shift) % 7}", time=i * 1000) for i, e in enumerate(drawn)]
    done = without_copies(cut(found, 0.2, 0.3), 0.8, duplicates.exact_and_near, duplicates.shared_questions)
    said = [{(e.question, e.answer) for e in done.parts[name]} for name in SPLITS]
    assert not said[0] & said[1]
    assert not said[0] & said[2]
    assert not said[1] & said[2]
    assert sum(map(len, done.parts.values())) + sum(map(len, done.dropped.values())) == len(found)
