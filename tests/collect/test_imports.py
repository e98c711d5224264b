"""An import is a union: all or nothing; again changes nothing; edits replace; a kill at any moment leaves no half."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.collect.exports import CHAT, POSTS, Post, write_html, write_json
from tests.conftest import shared_data
from tuneloop.collect import store
from tuneloop.db.tables import forgotten, imports
from tuneloop.errors import BadInput, Conflict, OutOfResources
from tuneloop.records import Message
from tuneloop.workspace import Workspace, open_workspace

KEPT = [post for post in POSTS if not post.action]
ID = "tg:1900000001"


def ids(workspace: Workspace, chat: str = ID) -> list[int]:
    return [message.id for message in store.messages(workspace, chat)]


def figures(done: store.Import) -> tuple[int, int, int, int, int]:
    assert done.read == done.kept + sum(done.rejected.values())
    return done.read, done.kept, done.added, done.changed, sum(done.rejected.values())


def test_first_import_and_the_same_again(tmp_path: Path, workspace: Workspace) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    (done,) = store.import_export(workspace, path)
    assert figures(done) == (20, 17, 17, 0, 3)
    assert done.chat.name == CHAT
    # 999 was never exported; the reply of the upgraded group's first message is fine.
    assert done.notes == {"replies to a message that is not here": 1}
    before = list(store.messages(workspace, ID))
    (again,) = store.import_export(workspace, path)
    assert figures(again) == (20, 17, 0, 0, 3)
    assert list(store.messages(workspace, ID)) == before
    assert [(message.id, message.text) for message in before] == [(post.id, post.text) for post in KEPT]


def test_union_of_two_exports_in_any_order(tmp_path: Path, workspace: Workspace) -> None:
    early = write_json(tmp_path / "early.json", POSTS[:12])
    late = write_json(tmp_path / "late.json", POSTS[8:])
    other = open_workspace(tmp_path / "other", create=True)
    assert [store.import_export(workspace, path)[0].added for path in (early, late)] == [10, 7]
    assert [store.import_export(other, path)[0].added for path in (late, early)] == [11, 6]
    assert list(store.messages(workspace, ID)) == list(store.messages(other, ID))


def edited(path: Path, number: int, **changes: Any) -> Path:
    chat = json.loads(path.read_text(encoding="utf-8"))
    for item in chat["messages"]:
        if item["id"] == number:
            item.update(changes)
    path.write_text(json.dumps(chat), encoding="utf-8")
    return path


def test_newer_edit_replaces_and_an_older_export_never_does(tmp_path: Path, workspace: Workspace) -> None:
    old = write_json(tmp_path / "old.json", POSTS)
    new = edited(
        write_json(tmp_path / "new.json", POSTS), 5, text="В духовке", edited_unixtime="1600009000", edited="x"
    )
    newest = edited(write_json(tmp_path / "n.json", POSTS), 5, text="Никак", edited_unixtime="1600009999", edited="x")
    done = [store.import_export(workspace, path)[0] for path in (old, new, old, newest, new)]
    assert [(one.added, one.changed) for one in done] == [(17, 0), (0, 1), (0, 0), (0, 1), (0, 0)]
    (message,) = [m for m in store.messages(workspace, ID) if m.id == 5]
    assert (message.text, message.edited) == ("Никак", 1_600_009_999)


def test_same_message_twice_in_one_file_is_counted_and_the_later_edit_stays(
    tmp_path: Path, workspace: Workspace
) -> None:
    path = write_json(tmp_path / "result.json", [*POSTS, POSTS[2], replace(POSTS[4], text="иначе")])
    chat = json.loads(path.read_text(encoding="utf-8"))
    chat["messages"][-1] |= {"edited": "x", "edited_unixtime": "1700000000"}
    path.write_text(json.dumps(chat), encoding="utf-8")
    (done,) = store.import_export(workspace, path)
    assert figures(done) == (22, 17, 17, 0, 5)
    assert done.rejected["the same message twice"] == 2
    assert next(m.text for m in store.messages(workspace, ID) if m.id == 5) == "иначе"


def test_chat_name_follows_the_export_that_goes_further(tmp_path: Path, workspace: Workspace) -> None:
    for posts, name in ((POSTS[:10], "Старое имя"), (POSTS, "Новое имя"), (POSTS[:10], "Старое имя")):
        store.import_export(workspace, write_json(tmp_path / "result.json", posts, name=name))
    assert [(chat.name, count) for chat, count in store.chats(workspace)] == [("Новое имя", 17)]


def test_html_and_json_of_one_chat_are_one_in_both_orders(tmp_path: Path) -> None:
    html = write_html(tmp_path / "html", POSTS, page=6)
    exported = write_json(tmp_path / "result.json", POSTS)
    seen = []
    for name, order in (("a", (html, exported)), ("b", (exported, html)), ("c", (exported,)), ("d", (tmp_path,))):
        workspace = open_workspace(tmp_path.parent / f"{tmp_path.name}-{name}", create=True)
        for path in order:
            for done in store.import_export(workspace, path):
                figures(done)
        assert [chat.id for chat, _count in store.chats(workspace)] == [ID]
        if name == "a":
            assert done.notes["messages taken over from an earlier export without ids"] == 17
        seen.append(list(store.messages(workspace, ID)))
        assert store.import_export(workspace, html)[0].added == 0
        assert store.import_export(workspace, exported)[0].changed == 0
        assert list(store.messages(workspace, ID)) == seen[-1]
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_later_pages_of_html_find_their_people_and_twins_stay_apart(tmp_path: Path, workspace: Workspace) -> None:
    twin = Post(4, 1_600_000_270, "Борис", "другой Борис")
    exported = write_json(tmp_path / "result.json", [*POSTS[:3], twin, *POSTS[3:11]])
    chat = json.loads(exported.read_text(encoding="utf-8"))
    for item in chat["messages"]:
        if item["id"] == 4:
            item["from_id"] = "user77"
    exported.write_text(json.dumps(chat), encoding="utf-8")
    store.import_export(workspace, exported)
    (done,) = store.import_export(workspace, write_html(tmp_path / "html", POSTS))
    assert done.chat.id == ID
    assert done.added == len([post for post in POSTS[11:] if not post.action])
    senders = {message.id: message.sender for message in store.messages(workspace, ID)}
    assert senders[15] == next(post.sender for post in POSTS if post.name == "Анна")
    assert senders[12].startswith("name:")  # which of the two Borises, nobody can tell


def test_html_of_another_chat_of_that_name_stays_apart(tmp_path: Path, workspace: Workspace) -> None:
    store.import_export(workspace, write_json(tmp_path / "result.json", POSTS))
    strangers = [replace(post, time=post.time + 5, text="иное") for post in POSTS]
    (done,) = store.import_export(workspace, write_html(tmp_path / "html", strangers))
    assert done.chat.id.startswith("tg:name:")
    assert len(store.chats(workspace)) == 2


def test_chat_option_says_where_an_export_without_ids_belongs(tmp_path: Path, workspace: Workspace) -> None:
    store.import_export(workspace, write_json(tmp_path / "result.json", POSTS[:9]))
    html = write_html(tmp_path / "html", POSTS[12:], name="Теперь зовётся иначе")
    (done,) = store.import_export(workspace, html, chat=ID)
    assert (done.chat.id, done.added) == (ID, 7)
    (done,) = store.import_export(workspace, html, chat="tg:42")
    assert (done.chat.id, done.added) == ("tg:42", 7)
    with pytest.raises(BadInput, match="without an id of its own"):
        store.import_export(workspace, tmp_path / "result.json", chat=ID)
    with pytest.raises(BadInput, match="is no chat id"):
        store.import_export(workspace, html, chat="wa:42")


def test_whatsapp_that_begins_in_the_middle_of_a_minute_finds_its_chat(tmp_path: Path, workspace: Workspace) -> None:
    lines = [f"31.12.20, 10:{n // 3:02} - {'АБ'[n % 2]}: реплика {n}" for n in range(30)]
    (tmp_path / "whole.txt").write_text("\n".join(lines), encoding="utf-8")
    more = [*lines[10:], "31.12.20, 11:00 - В: новый человек"]
    (tmp_path / "tail.txt").write_text("\n".join(more), encoding="utf-8")
    (first,) = store.import_export(workspace, tmp_path / "whole.txt")
    (second,) = store.import_export(workspace, tmp_path / "tail.txt")
    assert second.chat == first.chat
    assert (second.read, second.added) == (21, 1)
    assert [message.text for message in store.messages(workspace, first.chat.id)][:30] == [
        f"реплика {n}" for n in range(30)
    ]


def test_topics_reach_messages_of_a_later_export(tmp_path: Path, workspace: Workspace) -> None:
    posts = [
        Post(1, 1_600_000_000, "Анна", action="topic_created"),
        Post(2, 1_600_000_001, "Анна", "в теме", reply=1),
        Post(3, 1_600_000_002, "Борис", "ответ", reply=2),
        Post(4, 1_600_000_003, "Вера", "тоже в теме", reply=1),
        Post(5, 1_600_000_004, "Анна", "и ещё", reply=3),
    ]
    other = open_workspace(tmp_path / "other", create=True)
    store.import_export(other, write_json(tmp_path / "all.json", posts))
    for part in (posts[3:], posts[:3]):
        store.import_export(workspace, write_json(tmp_path / "part.json", part))
    assert list(store.messages(workspace, ID)) == list(store.messages(other, ID))
    assert {message.topic for message in store.messages(workspace, ID)} == {1}


def test_forgotten_people_are_never_revived(tmp_path: Path, workspace: Workspace) -> None:
    boris = next(post.sender for post in POSTS if post.name == "Борис")
    count = sum(post.name == "Борис" for post in KEPT)
    with workspace.db.write() as rows:
        rows.execute(forgotten.insert().values(hash=store.forgotten_hash(boris), time=1))
    exported = write_json(tmp_path / "result.json", POSTS)
    (done,) = store.import_export(workspace, exported)
    assert done.rejected["written by a forgotten person"] == count
    assert figures(done)[2] == 17 - count
    # The HTML form tells who Boris is only after it was united with the chat.
    (done,) = store.import_export(workspace, write_html(tmp_path / "html", POSTS))
    assert boris not in store.roster(workspace)
    assert done.chat.id == ID


def test_forgotten_names_stay_out_of_exports_without_ids_and_of_forwards(tmp_path: Path, workspace: Workspace) -> None:
    with workspace.db.write() as rows:
        for one in store.forgotten_hashes("user1", {"Борис", "Канал о хлебе", ""}):
            rows.execute(forgotten.insert().values(hash=one, time=1))
    (done,) = store.import_export(workspace, write_html(tmp_path / "html", POSTS))
    assert done.rejected["written by a forgotten person"] == sum(post.name == "Борис" for post in KEPT)
    assert figures(done)[2] == done.kept
    found = list(store.messages(workspace, done.chat.id))
    assert {message.name for message in found} == {"Анна", "Вера", ""}
    assert {message.forwarded for message in found} == {None, "", "Другой канал"}


def test_imports_are_written_down(tmp_path: Path, workspace: Workspace) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    store.import_export(workspace, path)
    with workspace.db.read() as rows:
        (row,) = rows.execute(imports.select()).all()
    assert (row.path, row.chat, row.read, row.kept, row.added, row.changed) == (str(path), ID, 20, 17, 17, 0)
    assert sum(row.rejected.values()) == 3


def test_two_imports_at_once_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    with workspace.lock("collect"), pytest.raises(Conflict):
        store.import_export(workspace, path)


def test_progress_reaches_its_total(tmp_path: Path, workspace: Workspace) -> None:
    told: list[tuple[str, float, float | None]] = []
    (tmp_path / "chat.txt").write_text("31.12.20, 10:00 - А: б\n" * 50, encoding="utf-8")
    write_json(tmp_path / "result.json", POSTS)
    write_html(tmp_path / "html", POSTS)
    store.import_export(workspace, tmp_path, lambda stage, done, total: told.append((stage, done, total)))
    reading = [(done, total) for stage, done, total in told if stage == "reading"]
    assert reading[-1][0] == reading[-1][1]
    assert reading == sorted(reading)
    assert told[-1][0] == "storing"
    assert told[-1][1] == told[-1][2]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.lists(st.sampled_from(KEPT), max_size=8), min_size=1, max_size=4), data=st.data())
def test_any_exports_in_any_order_end_in_the_same_bytes(
    parts: list[list[Post]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("union")
    paths = [write_json(folder / f"{n}.json", part) for n, part in enumerate(parts)]
    ends = []
    for turn in range(2):
        workspace = open_workspace(folder / f"work{turn}", create=True)
        for path in paths if turn == 0 else data.draw(st.permutations([*paths, *paths])):
            for done in store.import_export(workspace, path):
                figures(done)
        ends.append(list(store.messages(workspace, ID)))
        workspace.db.close()
    assert ends[0] == ends[1]
    assert [m.id for m in ends[0]] == sorted({post.id for part in parts for post in part})


def big(path: Path, messages: int) -> Path:
    posts = [Post(n, 1_600_000_000 + n, f"Имя {n % 7}", f"реплика {n} " * 4) for n in range(1, messages + 1)]
    return write_json(path, posts)


def digest(workspace: Workspace) -> str:
    found: Iterator[Message] = store.messages(workspace, ID)
    return hashlib.sha256(repr(list(found)).encode()).hexdigest()


def kill_loop(tmp_path: Path, messages: int, kills: int) -> None:
    path = big(tmp_path / "result.json", messages)
    whole = open_workspace(tmp_path / "whole", create=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "tuneloop", "--workspace", str(tmp_path / "warm"), "collect", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    lasts = time.monotonic() - started
    store.import_export(whole, path)
    expected = digest(whole)
    command[4] = str(tmp_path / "killed")
    halves = 0
    for turn in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # From the first import statement to just before the end.
        time.sleep(lasts * (turn + 0.5) / kills)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / "killed" / "tuneloop.toml").exists():
            workspace = open_workspace(tmp_path / "killed")
            stored = len(ids(workspace))
            assert stored in (0, messages)
            halves += stored == 0
            workspace.db.close()
    subprocess.run(command, check=True, capture_output=True)
    workspace = open_workspace(tmp_path / "killed")
    assert digest(workspace) == expected
    assert halves
    # A kill while the workspace itself was made may leave a temporary tuneloop.toml; of the import nothing is left.
    assert not list(workspace.path.glob(".import*"))
    assert len(list(workspace.path.glob("tuneloop.db*"))) <= 3


def test_kill_at_any_point_and_the_same_command_again_ends_in_the_same_bytes(tmp_path: Path) -> None:
    kill_loop(tmp_path, messages=8_000, kills=5)


@pytest.mark.soak
def test_kill_fifty_times(tmp_path: Path) -> None:
    kill_loop(tmp_path, messages=40_000, kills=50)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True)
    if made.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("megabytes", [2, 5])
def test_full_disk_is_one_sentence_and_changes_nothing(tmp_path: Path, megabytes: int) -> None:
    """2 MB: gathering fails. 5 MB: it ends, but the database itself cannot grow."""
    path = big(tmp_path / "result.json", 24_000)
    small = write_json(tmp_path / "small.json", POSTS)
    with small_disk(tmp_path / "disk", megabytes) as disk:
        workspace = open_workspace(disk / "work", create=True)
        store.import_export(workspace, small)
        with pytest.raises(OutOfResources) as caught:
            store.import_export(workspace, path)
        assert caught.value.fix
        assert ids(workspace) == [post.id for post in KEPT]
        assert store.import_export(workspace, small)[0].added == 0
        with workspace.db.read() as rows:
            assert rows.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        workspace.db.close()


def test_real_channel_with_its_increments(tmp_path: Path, workspace: Workspace) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data("tg_json_dev.zip")) as archive:
        names = sorted(n for n in archive.namelist() if "pachum" in n and n.endswith(".json"))
        paths = [Path(archive.extract(name, tmp_path)) for name in names]
    done = [store.import_export(workspace, path)[0] for path in (paths[-1], *paths[:-1], *paths)]
    assert [figures(one)[1:4] for one in done] == [
        (1998, 1998, 0),
        (5, 5, 0),
        (3, 3, 0),
        (5, 0, 0),
        (3, 0, 0),
        (1998, 0, 0),
    ]
