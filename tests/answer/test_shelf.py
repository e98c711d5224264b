"""The shelf: the last good book whatever happens to the file, and edits that keep comments."""

from __future__ import annotations

import logging
import os
import random
import stat
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneloop.answer import documents
from tuneloop.answer.book import Book
from tuneloop.answer.layout import grouped
from tuneloop.answer.shelf import SETTLE, Shelf
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.records import Task, Variant
from tuneloop.workspace import Workspace, open_workspace

WRITTEN = """\
# ours, by hand
[serve]
port = 8091  # behind nginx

[engines.deepseek]
url = "https://api.deepseek.com/v1"
key_env = "DEEPSEEK_API_KEY"  # in the unit file

[db]
url = ""

# the shop
[tasks.hashtags]
prompt = "Hashtags: {text}"  # short on purpose

[tasks.hashtags.variants.own]
weight = 0.8

[tasks.hashtags.variants.deepseek]  # dear
engine = "deepseek"
model = "deepseek-chat"
weight = 0.2
"""


@pytest.fixture
def shelf(workspace: Workspace) -> Shelf:
    (workspace.path / "tuneloop.toml").write_text(WRITTEN, encoding="utf-8")
    return Shelf(open_workspace(workspace.path))


def overwrite(shelf: Shelf, content: str | bytes, *, age: float = 10.0) -> None:
    """As an editor does: in place. age: seconds that seem to have passed since."""
    data = content.encode() if isinstance(content, str) else content
    shelf.path.write_bytes(data)
    moment = time.time() - age + random.random() / 10
    os.utime(shelf.path, (moment, moment))


def weights(book: Book) -> dict[str, float]:
    return {v.name: v.weight for v in book.tasks["hashtags"].variants}


# --- the last good book


def test_a_changed_file_is_taken_up_once(shelf: Shelf) -> None:
    assert not shelf.refresh()
    overwrite(shelf, WRITTEN.replace("weight = 0.8", "weight = 0.5"))
    assert shelf.refresh()
    assert weights(shelf.book) == {"own": 0.5, "deepseek": 0.2}
    assert not shelf.refresh()


def test_a_file_that_is_being_written_is_left_to_settle(shelf: Shelf) -> None:
    overwrite(shelf, WRITTEN.partition("[tasks")[0], age=0.0)  # good TOML, and not what was meant
    assert not shelf.refresh()
    assert "hashtags" in shelf.book.tasks
    shelf.path.write_text(WRITTEN.replace("0.8", "0.7"), encoding="utf-8")
    time.sleep(SETTLE + 0.05)
    assert shelf.refresh()
    assert weights(shelf.book)["own"] == 0.7


BROKEN = {
    "malformed": "[tasks.hashtags\n",
    "half of a line": WRITTEN[:-20],
    "unknown key": WRITTEN + "colour = 1\n",
    "unknown engine": WRITTEN.replace('engine = "deepseek"', 'engine = "deepsek"'),
    "unknown check": WRITTEN.replace("[tasks.hashtags]", '[tasks.hashtags]\nchecks = ["no_such"]'),
    "wrong type": WRITTEN.replace("weight = 0.8", 'weight = "much"'),
    "not UTF-8": WRITTEN.encode() + b"# \xff\n",
    "empty": "",
    "huge": WRITTEN + "#" * 2_000_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_wrong_file_changes_nothing_and_is_said_once(
    shelf: Shelf, content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = shelf.book
    overwrite(shelf, content)
    with caplog.at_level(logging.ERROR):
        assert [shelf.refresh() for _n in range(5)] == [False] * 5
    assert shelf.book is good
    assert len(caplog.records) == shelf.failures == 1
    assert shelf.problem
    assert shelf.problem["message"]
    assert shelf.problem["since"] == pytest.approx(time.time(), abs=5)
    overwrite(shelf, WRITTEN)
    assert shelf.refresh()
    assert shelf.problem is None


def test_a_file_that_is_gone_or_unreadable_changes_nothing(shelf: Shelf) -> None:
    shelf.path.rename(shelf.path.with_suffix(".away"))
    assert not shelf.refresh()
    assert not shelf.refresh()
    assert shelf.failures == 1
    assert shelf.problem and "not there" in shelf.problem["message"]
    shelf.path.mkdir()
    os.utime(shelf.path, (1, 1))
    assert not shelf.refresh()
    assert shelf.failures == 2
    shelf.path.rmdir()
    shelf.path.with_suffix(".away").rename(shelf.path)
    os.utime(shelf.path, (2, 2))
    assert shelf.refresh()
    assert shelf.problem is None


def test_there_must_be_a_good_book_to_begin_with(workspace: Workspace) -> None:
    (workspace.path / "tuneloop.toml").write_text("[tasks.active]\n", encoding="utf-8")
    with pytest.raises(BadInput, match="active"):
        Shelf(workspace)


def test_readers_never_see_half_a_book(shelf: Shelf) -> None:
    """Half a second of overwriting in place, torn and wrong files among good ones, under four readers (A11)."""
    versions = [WRITTEN.replace("0.8", str(n)).replace("hashtags", f"hashtags{n}") for n in range(1, 6)]
    wrong: list[str] = []
    end = threading.Event()

    def read() -> None:
        while not end.is_set():
            book = shelf.book
            (name,) = book.tasks
            task = book.tasks[name]
            expected = {f"{name}/own": task.variants[0], f"{name}/deepseek": task.variants[1], name: None}
            if {key: variant for key, (of, variant) in book.names.items() if of is task} != expected:
                wrong.append(str(book.names))
            if name != "hashtags" and task.variants[0].weight != float(name.removeprefix("hashtags")):
                wrong.append(name)

    readers = [threading.Thread(target=read) for _n in range(4)]
    for reader in readers:
        reader.start()
    seen = set()
    draw = random.Random(1)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline or len(seen) < 3:
        whole = draw.choice(versions)
        # a torn file that is still being written has a young date; a torn one that stays is not TOML
        torn = draw.random()
        if torn < 0.3:
            overwrite(shelf, whole[: draw.randrange(len(whole))], age=0.0)
        elif torn < 0.6:
            overwrite(shelf, draw.choice(list(BROKEN.values())))
        else:
            overwrite(shelf, whole)
        shelf.refresh()
        seen |= set(shelf.book.tasks)
    end.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert shelf.failures > 0


# --- edits


def test_an_edit_keeps_comments_and_order(shelf: Shelf) -> None:
    shelf.set_weights("hashtags", {"own": 0.5})
    assert shelf.path.read_text(encoding="utf-8") == WRITTEN.replace("weight = 0.8", "weight = 0.5")
    shelf.put_task("hashtags", {"cache": 60}, keep=True)
    shelf.put_engine("deepseek", {"parallel": 4}, keep=True)
    shelf.put_variant("hashtags", "new", {"weight": 0.1})
    text = shelf.path.read_text(encoding="utf-8")
    for comment in ("# ours, by hand", "# behind nginx", "# in the unit file", "# the shop", "# short on", "# dear"):
        assert comment in text
    assert list(weights(shelf.book)) == ["own", "deepseek", "new"]
    assert shelf.book.tasks["hashtags"].cache == 60
    assert shelf.book.engines["deepseek"].parallel == 4


def test_tables_that_do_not_stand_together_are_brought_together(shelf: Shelf) -> None:
    """tomlkit loses edits of such tables: 9 of the tests here failed before."""
    database = '[db]\nurl = ""\n\n'
    strewn = WRITTEN.replace(database, "").replace(
        "[tasks.hashtags.variants.own]", database + "[tasks.hashtags.variants.own]"
    )
    overwrite(shelf, strewn)
    shelf.put_variant("hashtags", "new", {"weight": 3, "parameters": {"temperature": 0}})
    text = shelf.path.read_text(encoding="utf-8")
    assert text.index("[db]") > text.index("[tasks.hashtags.variants.new.parameters]")
    assert text.index("# the shop") == text.index("[tasks.hashtags]") - len("# the shop\n")
    assert weights(shelf.book) == {"own": 0.8, "deepseek": 0.2, "new": 3}
    assert grouped(WRITTEN) == WRITTEN
    assert grouped(strewn) != strewn


def test_an_edit_is_heard_of_by_the_next_look(shelf: Shelf) -> None:
    shelf.set_weights("hashtags", {"own": 0.5})
    assert weights(shelf.book)["own"] == 0.5
    assert [shelf.refresh(), shelf.refresh()] == [True, False]


def test_what_is_put_whole_replaces_what_was_there(shelf: Shelf) -> None:
    task = shelf.put_task("hashtags", {"system": "s", "variants": {"a": {"weight": 2}}})
    assert task == Task("hashtags", (Variant("a", "local", "active", 2.0),), "s")
    assert shelf.put_task("hashtags", {"system": None, "retries": 1}).variants == task.variants
    assert tomllib.loads(shelf.path.read_text(encoding="utf-8"))["tasks"] == {
        "hashtags": {"variants": {"a": {"engine": "local", "weight": 2}}}
    }
    shelf.put_task("hashtags", {"variants": {"b": {}, "a": {}}})  # the first variant is the one that is tried first
    assert list(weights(shelf.book)) == ["b", "a"]


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda s: s.put_task("active", {}), BadInput),
        (lambda s: s.put_task("hashtags", {"chekcs": []}), BadInput),
        (lambda s: s.put_task("hashtags", {"system": "\ud800"}), BadInput),
        (lambda s: s.put_task("hashtags", {"variants": {}, "original": "own"}), BadInput),
        (lambda s: s.put_task("", {}), BadInput),
        (lambda s: s.put_engine("x", {"url": "http://h", "key": "s"}), BadInput),
        (lambda s: s.put_engine("x", {"url": "http://h", "parallel": True}), BadInput),
        (lambda s: s.put_variant("hashtags", "own", {"engine": "none"}), BadInput),
        (lambda s: s.put_variant("none", "own", {}), Missing),
        (lambda s: s.set_weights("hashtags", {"none": 1}), Missing),
        (lambda s: s.set_weights("hashtags", {"own": -1}), BadInput),
        (lambda s: s.set_weights("hashtags", {"own": 0, "deepseek": 0}), BadInput),
        (lambda s: s.set_weights("hashtags", {"own": float("nan")}), BadInput),
        (lambda s: s.remove_task("none"), Missing),
        (lambda s: s.remove_engine("local"), Missing),
        (lambda s: s.remove_engine("deepseek"), Conflict),
        (lambda s: s.remove_variant("hashtags", "none"), Missing),
        (lambda s: s.undo(), Missing),
    ],
)
def test_a_wrong_edit_changes_nothing(shelf: Shelf, edit: Callable[[Shelf], None], error: type[Exception]) -> None:
    good = shelf.book
    with pytest.raises(error):
        edit(shelf)
    assert shelf.path.read_text(encoding="utf-8") == WRITTEN
    assert shelf.book is good
    assert shelf.problem is None


def test_the_last_variant_stays(shelf: Shelf) -> None:
    shelf.remove_variant("hashtags", "deepseek")
    with pytest.raises(Conflict):
        shelf.remove_variant("hashtags", "own")
    shelf.remove_engine("deepseek")
    shelf.remove_task("hashtags")
    assert list(shelf.book.tasks) == ["chat"]
    assert list(shelf.book.engines) == ["local"]


def test_undo_goes_back_and_forth(shelf: Shelf) -> None:
    shelf.set_weights("hashtags", {"own": 0.5})
    after = shelf.path.read_text(encoding="utf-8")
    shelf.undo()
    assert shelf.path.read_text(encoding="utf-8") == WRITTEN
    assert weights(shelf.book)["own"] == 0.8
    shelf.undo()
    assert shelf.path.read_text(encoding="utf-8") == after


@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("content", ["[tasks.broken", "", None])
def test_undo_mends_what_was_broken_by_hand_and_the_edit_before_it_stays(
    shelf: Shelf, content: str | None, looked: bool
) -> None:
    shelf.set_weights("hashtags", {"own": 0.5})
    after = shelf.path.read_text(encoding="utf-8")
    if content is None:
        shelf.path.unlink()
    else:
        overwrite(shelf, content)
    if looked:
        shelf.refresh()
        assert shelf.problem
    shelf.undo()
    assert shelf.problem is None
    assert shelf.path.read_text(encoding="utf-8") == after
    shelf.undo()
    assert shelf.path.read_text(encoding="utf-8") == WRITTEN


def test_undo_to_a_file_that_is_no_good_changes_nothing(shelf: Shelf) -> None:
    shelf.previous.write_text("[tasks.active]\n", encoding="utf-8")
    with pytest.raises(BadInput):
        shelf.undo()
    assert shelf.path.read_text(encoding="utf-8") == WRITTEN


def test_an_edit_of_a_broken_file_names_the_line(shelf: Shelf) -> None:
    overwrite(shelf, "[tasks.hashtags\n")
    with pytest.raises(BadInput, match="line 1"):
        shelf.set_weights("hashtags", {"own": 1})


def test_who_may_not_read_the_settings_may_not_read_the_copy(shelf: Shelf) -> None:
    shelf.path.chmod(0o600)
    shelf.set_weights("hashtags", {"own": 0.5})
    assert stat.S_IMODE(shelf.path.stat().st_mode) == stat.S_IMODE(shelf.previous.stat().st_mode) == 0o600


def test_edits_at_once_are_all_there(shelf: Shelf) -> None:
    """Eight threads here and four other processes: each edit starts from what the others wrote."""
    code = (
        "import sys; from pathlib import Path\n"
        "from tuneloop.workspace import open_workspace\n"
        "from tuneloop.answer.tasks import Shelf\n"
        "shelf = Shelf(open_workspace(Path(sys.argv[1])))\n"
        "for n in range(3): shelf.put_task(f'p{sys.argv[2]}-{n}', {'system': 'x'})\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(shelf.workspace.path), str(number)]) for number in range(4)
    ]
    threads = [
        threading.Thread(target=lambda n=number: [shelf.put_task(f"t{n}-{m}", {"system": "x"}) for m in range(3)])
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0] * 4
    overwrite(shelf, shelf.path.read_bytes())
    shelf.refresh()
    assert len(shelf.book.tasks) == 1 + 4 * 3 + 8 * 3


def test_an_edit_waits_for_another_process_and_then_says_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneloop.answer.shelf.PATIENCE", 0.1)
    with shelf.workspace.lock("config"), pytest.raises(Conflict):
        shelf.set_weights("hashtags", {"own": 1})


NAMES = st.sampled_from(["a", "b", "c.d", "e_f", "1"])
TEXTS = st.text(max_size=20) | st.sampled_from(
    ['"""', "'''", "\\", "#", "\t", "\x7f", "\x1b", "[tasks.x]\n", "é\u2028"]
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "stop", "odd key", "ж"]),
    st.recursive(
        st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
VARIANTS = st.fixed_dictionaries(
    {},
    optional={"weight": st.integers(1, 5) | st.floats(0.1, 5), "parameters": PARAMETERS, "when": st.just({"p": "q"})},
)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "system": TEXTS,
        "prompt": TEXTS.map(lambda t: t + "{text}"),
        "retries": st.integers(0, 3),
        "fallback": st.booleans(),
        "checks": st.lists(st.sampled_from(["json", "min_chars:3"]), unique=True),
        "variants": st.dictionaries(NAMES, VARIANTS, min_size=1, max_size=3),
    },
)
EDITS = st.lists(
    st.tuples(st.just("put_task"), NAMES, TASKS)
    | st.tuples(st.just("put_variant"), NAMES, NAMES, VARIANTS)
    | st.tuples(st.just("put_engine"), NAMES, st.just({"url": "http://h/v1"}))
    | st.tuples(st.sampled_from(["remove_task", "remove_engine"]), NAMES)
    | st.tuples(st.just("remove_variant"), NAMES, NAMES)
    | st.tuples(st.just("undo")),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_any_edits_leave_a_good_file_that_says_what_the_book_says(workspace: Workspace, edits: list[Any]) -> None:
    (workspace.path / "tuneloop.toml").write_text(WRITTEN, encoding="utf-8")
    (workspace.path / "tuneloop.toml.previous").unlink(missing_ok=True)
    shelf = Shelf(workspace)
    for name, *arguments in edits:
        try:
            getattr(shelf, name)(*arguments)
        except (BadInput, Missing, Conflict):
            continue
    again = Shelf(workspace).book
    assert (again.tasks, again.engines) == (shelf.book.tasks, shelf.book.engines)
    assert tomllib.loads(shelf.path.read_text(encoding="utf-8"))["serve"] == {"port": 8091}
    folder = workspace.path
    for task in list(again.tasks.values()):  # what is shown can be put back
        if again.tasks.keys() != {"chat"}:
            shown = documents.of_task(task, folder)
            assert shown.pop("name") == task.name
            assert shelf.put_task(task.name, shown) == task
