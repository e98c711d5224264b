"""Where things stand in a tuneloop.toml, also in one written to mislead; moving tables about loses nothing."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.answer.layout import grouped, line_of, spaced


def test_lines_are_found_behind_texts_that_look_like_headers() -> None:
    source = '[tasks.a]\nsystem = """\n[tasks.b]\nroute = "x"\n"""\n[tasks.b] # here\nroute = "y"\n"quoted" = 1\n'
    assert line_of(source, ("tasks", "b")) == 6
    assert line_of(source, ("tasks", "b", "route")) == 7
    assert line_of(source, ("tasks", "b", "quoted")) == 8
    assert line_of(source, ("tasks", "b", "absent")) == 6
    assert line_of(source, ("engines",)) is None


def test_strewn_tables_come_together_with_their_comments() -> None:
    source = "x = 1\n# of a\n[a]\n[b]\ny = 1\n# of a.c\n# too\n[a.c]\nz = 2\n"
    assert grouped(source) == "x = 1\n# of a\n[a]\n# of a.c\n# too\n[a.c]\nz = 2\n[b]\ny = 1\n"
    assert spaced("[a]\nx = 1\n# of b\n[b]\n\n[c]\n[d]") == "[a]\nx = 1\n# of b\n[b]\n\n[c]\n\n[d]"


BLOCKS = st.sampled_from(
    [
        *("[a]\n", "[b]\n", "[a.b]\n", "[a.b.c]\n", "[b.'x.y']\n", "  [c]  # note\n"),
        *("# note\n", "\n", "m = [\n  1,\n]\n", "n = 1\n", 'o = "[a]"\n'),
        *('k = """\n[a]\n"""\n', "p = '''\n[b]'''\r\n", 'q = """x"""\n'),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(BLOCKS, max_size=12).map("".join))
def test_moving_and_spacing_lose_nothing(source: str) -> None:
    try:
        meant = tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        return
    assert tomllib.loads(grouped(source)) == meant
    assert tomllib.loads(spaced(source)) == meant
    assert grouped(grouped(source)) == grouped(source)
    assert sorted(grouped(source).split()) == sorted(source.split())
