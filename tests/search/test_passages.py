"""Cutting: every word is in a passage, no passage is too long, sentences and paragraphs stay whole where they can."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tuneloop.search.passages import LENGTH, OVERLAP, cut, spans

SENTENCE = "Рамку с мёдом вынимают из улья осторожно, дымя понемногу и не стуча. "
PIECES = st.sampled_from(
    [SENTENCE, "\n", "\n\n", "\r\n", "# Глава\n", "== Сюжет ==\n", "- пункт\n", "слово ", "А. П. Чехов. ", "x" * 900,
     " ", "\t", "Really? Yes! ", "т. е. ", "…"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=400))


@given(TEXTS)
def test_passages_are_slices_that_leave_nothing_out(text: str) -> None:
    reached = 0
    for start, end in spans(text):
        assert reached - OVERLAP <= start < end <= start + LENGTH and end > reached
        assert not text[reached:start].strip()
        reached = end
    assert not text[reached:].strip()
    assert all(passage and passage == passage.strip() for passage in cut(text))


@given(TEXTS, st.integers(50, 400))
def test_other_lengths_are_kept_too(text: str, length: int) -> None:
    assert all(0 < len(passage) <= length for passage in cut(text, length=length, overlap=length // 4))


def test_short_texts_are_one_passage_and_empty_ones_none() -> None:
    assert cut("  Два слова.\n") == ["Два слова."]
    assert cut("") == cut(" \n\n\t") == []


def test_a_paragraph_is_not_broken_when_it_can_begin_the_next_passage() -> None:
    first, second = SENTENCE * 7, SENTENCE * 6
    assert cut(f"{first.strip()}\n\n{second.strip()}") == [first.strip(), second.strip()]


def test_inside_a_paragraph_the_sentence_before_the_cut_is_repeated() -> None:
    numbered = [f"Предложение {n} говорит о том, что случилось в этот день в деревне." for n in range(30)]
    found = cut(" ".join(numbered))
    assert len(found) > 2
    for one, other in pairwise(found):
        assert one.endswith(".") and other.startswith(one[one.rindex("Предложение") :])


def test_a_heading_opens_a_passage_and_never_ends_one() -> None:
    text = f"Начало. {SENTENCE * 4}\n\n== Уход ==\n\n{SENTENCE * 8}\n## Ещё\n{SENTENCE * 8}"
    found = cut(text)
    assert [p for p in found if p.startswith(("== Уход ==", "## Ещё"))] != []
    assert not [p for p in found if p.splitlines()[-1].startswith(("==", "#"))]
    assert [p.startswith("== Уход ==") for p in found].index(True) == 1


def test_lines_of_a_list_are_places_to_cut() -> None:
    found = cut("\n".join(f"- пункт номер {n} без точки в конце" for n in range(100)))
    assert all(p.startswith("- пункт") and p.endswith("конце") for p in found)


def test_initials_and_little_words_do_not_end_a_sentence() -> None:
    text = "Повесть А. П. Чехова, т. е. рассказ. " * 40
    assert all(p.endswith("рассказ.") for p in cut(text))
