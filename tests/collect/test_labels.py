from __future__ import annotations

from tuneloop.collect import clean, duplicates, labels
from tuneloop.collect.privacy import KINDS
from tuneloop.collect.split import SPLITS


def test_every_code_has_a_label() -> None:
    """A label that equals an unknown code would stay English for everybody."""
    import inspect

    source = inspect.getsource(labels)
    for code in (*clean.CHECKS, *duplicates.describe()):
        assert f'_("{code}")' in source, code
        assert labels.reason(code) == code  # in English the code is the label
    for kind in KINDS:
        assert labels.kind(kind) != kind, kind
    for edge in ("reply", "ranked", "turn"):
        assert labels.edge(edge) != edge
    assert [labels.part(part) for part in SPLITS] == ["training", "validation", "test"]


def test_an_unknown_code_is_shown_as_it_is() -> None:
    assert labels.reason("moon phase") == "moon phase"
    assert labels.kind("x") == "x"
