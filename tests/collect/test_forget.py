"""Forgetting a person on the shipped sample: nothing of them is left to find, and nobody else is hurt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from tuneloop import versions
from tuneloop.collect import dataset, forget, forgotten, masking, store
from tuneloop.collect.names import forms
from tuneloop.collect.privacy import remove_names
from tuneloop.db.tables import calls, feedback, messages
from tuneloop.db.tables import forgotten as forgotten_table
from tuneloop.errors import BadInput, Missing
from tuneloop.workspace import Workspace, open_workspace

GLEB, MARINA = "Глеб Санников", "Марина Ветрова"


@pytest.fixture
def filled(workspace: Workspace, community: Path) -> Workspace:
    store.import_export(workspace, community)
    return workspace


def sender_of(workspace: Workspace, name: str) -> str:
    return forget.person(workspace, name)[0]


def register(workspace: Workspace, folder: Path, evidence: dict[str, list[int]], name: str) -> str:
    staging = workspace.folder("models") / f".{name}.part"
    staging.mkdir()
    (staging / "evidence.json").write_text(json.dumps(evidence))
    meta = {"dataset_path": str(folder.relative_to(workspace.path)), "dataset": name}
    return versions.register(workspace, staging, kind="chat", name=name, meta=meta).id


def bytes_of(folder: Path) -> bytes:
    return b"\n".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_nothing_of_the_person_is_left_in_the_workspace(filled: Workspace, community: Path) -> None:
    built = dataset.build(filled, speakers=[sender_of(filled, MARINA)], name="marina")
    gleb = sender_of(filled, GLEB)
    theirs = [m for m in store.messages(filled, "tg:1900000001") if m.sender == gleb]
    long_one = max((m.text for m in theirs), key=len)
    assert "Санников" in bytes_of(filled.path).decode(errors="ignore")

    done = forget.forget(filled, gleb)

    assert done.messages == len(theirs) > 100
    everything = bytes_of(filled.path).decode(errors="ignore")
    assert "Санников" not in everything and "анников" not in everything
    assert long_one not in everything and gleb not in everything
    assert done.rebuilt == ["marina"] and built.exists()


def test_importing_again_does_not_revive(filled: Workspace, community: Path) -> None:
    gleb = sender_of(filled, GLEB)
    forget.forget(filled, gleb)
    again = store.import_export(filled, community)[0]
    assert again.added == 0
    assert sum(n for reason, n in again.rejected.items() if "forgotten" in reason) > 100
    with pytest.raises(Missing):
        forget.person(filled, GLEB)


def test_names_shared_with_somebody_who_stays_are_kept(filled: Workspace) -> None:
    before = {m.id: m.text for m in store.messages(filled, "tg:1900000001")}
    forget.forget(filled, GLEB)
    after = {m.id: m.text for m in store.messages(filled, "tg:1900000001")}
    changed = {i for i in after if after[i] != before[i]}
    assert changed and all("[name]" in after[i] for i in changed)
    assert any("марин" in text.lower() for text in after.values())


def test_calls_and_feedback_are_masked(filled: Workspace) -> None:
    row = {
        "id": "c1", "time": 1.0, "version": "v", "status": "ok", "answer": "спросите у Глеба Санникова",
        "request": {"messages": [{"role": "user", "content": "где Глеб Санников?"}]}, "latency_ms": 1.0,
        "tokens_in": 1, "tokens_out": 1, "user": "", "error": "",
    }  # fmt: skip
    said = {"id": "f1", "call": "c1", "kind": "comment", "value": "санников прав", "time": 1.0, "user": "", "key": "k"}
    with filled.db.write() as rows:
        rows.execute(insert(calls), [row])
        rows.execute(insert(feedback), [said])
    assert forget.forget(filled, GLEB).rows == 2
    with filled.db.read() as rows:
        call = rows.execute(select(calls)).one()
        assert "анников" not in json.dumps(call.request, ensure_ascii=False) + call.answer
        assert rows.execute(select(feedback.c.value)).scalar() == "[name] прав"


def test_versions_trained_on_the_person_are_named(filled: Workspace) -> None:
    gleb = sender_of(filled, GLEB)
    built = dataset.build(filled, speakers=[sender_of(filled, MARINA)], name="marina")
    with filled.db.read() as rows:
        one = rows.execute(select(messages.c.id).where(messages.c.sender == gleb).limit(1)).scalar_one()
    guilty = register(filled, built, {"tg:1900000001": [one]}, "guilty")
    register(filled, built, {"tg:1900000001": []}, "innocent")
    assert forget.forget(filled, gleb).versions == [guilty]


def test_a_dataset_of_the_person_alone_is_removed(filled: Workspace) -> None:
    gleb = sender_of(filled, GLEB)
    built = dataset.build(filled, speakers=[gleb], name="gleb")
    done = forget.forget(filled, gleb)
    assert done.removed == ["gleb"] and not built.exists()


@pytest.mark.parametrize(("wanted", "error"), [("Нетакого", Missing), ("а", BadInput)])
def test_nobody_or_several_is_said(filled: Workspace, wanted: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        forget.person(filled, wanted)


def test_the_command_asks_first(filled: Workspace, tuneloop_command: Callable[..., Any]) -> None:
    tuneloop_command("-w", filled.path, "forget", GLEB, input="n\n", code=130)
    assert sender_of(filled, GLEB)
    done = tuneloop_command("-w", filled.path, "forget", GLEB, "--yes", "--json")
    assert json.loads(done.stdout)["messages"] > 100


def test_an_export_without_ids_does_not_revive_either(workspace: Workspace, tmp_path: Path) -> None:
    lines = [
        "05.03.24, 10:{m:02d} - {who}: сообщение {m} про ульи".format(m=m, who=["Анна Б", "Олег В"][m % 2])
        for m in range(30)
    ]
    export = tmp_path / "_chat.txt"
    export.write_text("\n".join(lines), encoding="utf-8")
    assert store.import_export(workspace, export)[0].added == 30
    forget.forget(workspace, "Олег В")
    again = store.import_export(workspace, export)[0]
    assert again.added == 0 and sum(again.rejected.values()) == 15


def test_a_name_forgotten_under_an_id_stays_forgotten_by_name(filled: Workspace, tmp_path: Path) -> None:
    forget.forget(filled, GLEB)
    export = tmp_path / "_chat.txt"
    export.write_text(
        f"05.03.24, 10:00 - {GLEB}: это снова я\n05.03.24, 10:01 - {MARINA}: здравствуйте )\n", encoding="utf-8"
    )
    assert store.import_export(filled, export)[0].added == 1


def later(path: Path, *lines: tuple[int, str, str], name: str = "Пасека и мастерская", chat: int = 1900000001) -> Path:
    """A later export of the sample's group: (message number from 900,000, author, text)."""
    told = [
        {
            "id": 900_000 + n, "type": "message", "date_unixtime": str(1_900_000_000 + n), "from": who,
            "from_id": f"user{sum(map(ord, who))}", "text": text,
        }
        for n, who, text in lines
    ]  # fmt: skip
    export = {"name": name, "type": "private_supergroup", "id": chat, "messages": told}
    path.write_text(json.dumps(export, ensure_ascii=False), encoding="utf-8")
    return path


def texts_of(workspace: Workspace, chat: str = "tg:1900000001") -> list[str]:
    return [m.text for m in store.messages(workspace, chat) if m.id >= 900_000]


def test_new_messages_that_mention_the_person_are_masked(filled: Workspace, tmp_path: Path) -> None:
    forget.forget(filled, GLEB)
    said = (
        "спросите у Глеба Санникова", "глебу скажи", "санниковым писали", "ping gleb plz", "Sannikov знает",
        "глебушка, привет", "ГЛЕБ САННИКОВ",
    )  # fmt: skip
    export = later(tmp_path / "result.json", *((n, "Марина Ветрова", text) for n, text in enumerate(said)))
    done = store.import_export(filled, export)[0]
    assert texts_of(filled) == [
        "спросите у [name]", "[name] скажи", "[name] писали", "ping [name] plz", "[name] знает", "[name], привет",
        "[name]",
    ]  # fmt: skip
    assert done.notes["names of forgotten people masked"] == len(said)
    assert done.read == done.kept + sum(done.rejected.values())
    everything = bytes_of(filled.path).decode(errors="ignore").lower()
    assert "санников" not in everything and "sannikov" not in everything
    assert store.import_export(filled, export)[0].changed == 0, "the same export again changes nothing"


def test_what_others_are_called_and_ordinary_words_stay(filled: Workspace, tmp_path: Path) -> None:
    forget.forget(filled, GLEB)
    kept = ("Марина, рамки готовы", "хлеб и мёд", "глобально", "санки", "Ветрова права")
    store.import_export(
        filled, later(tmp_path / "result.json", *((n, "Ольга Дьякова", text) for n, text in enumerate(kept)))
    )
    assert texts_of(filled) == list(kept)


def test_a_first_name_that_somebody_new_has_too_stays_but_the_whole_name_goes(
    filled: Workspace, tmp_path: Path
) -> None:
    forget.forget(filled, GLEB)
    lines = [(0, "Глеб Иволгин", "всем привет"), (1, "Марина Ветрова", "глебу рамку, а Глебу Санникову две")]
    lines.append((2, "Марина Ветрова", "был тут глеб санников"))
    store.import_export(filled, later(tmp_path / "result.json", *lines))
    assert texts_of(filled) == ["всем привет", "глебу рамку, а Глебу [name] две", "был тут [name]"]


def test_a_first_name_shared_at_the_time_is_only_found_in_the_whole_name(workspace: Workspace, tmp_path: Path) -> None:
    first = [(0, "Анна Серова", "кто дежурит?"), (1, "Анна Лисицкая", "я"), (2, "Пётр Гром", "Анна Серова и я")]
    store.import_export(workspace, later(tmp_path / "one.json", *first))
    forget.forget(workspace, "Анна Серова")
    lines = [(5, "Пётр Гром", "анна серова уехала"), (6, "Пётр Гром", "Анна дежурит"), (7, "Пётр Гром", "без серовой")]
    store.import_export(workspace, later(tmp_path / "two.json", *lines))
    assert texts_of(workspace) == ["я", "[name] и я", "[name] уехала", "Анна дежурит", "без [name]"]


def test_a_personal_chat_loses_its_name_now_and_in_later_exports(workspace: Workspace, tmp_path: Path) -> None:
    lines = [(n, who, f"строка {n}") for n, who in enumerate(["Глеб Санников", "Я Сам"] * 3)]
    export = later(tmp_path / "one.json", *lines, name=GLEB, chat=77)
    store.import_export(workspace, export)
    forget.forget(workspace, GLEB)
    longer = later(tmp_path / "two.json", *lines, (50, "Я Сам", "всё"), name=GLEB, chat=77)
    store.import_export(workspace, longer)
    assert [(chat.name, n) for chat, n in store.chats(workspace)] == [("[name]", 4)]
    assert "анников" not in bytes_of(workspace.path).decode(errors="ignore")


def test_only_salted_hashes_of_the_forms_are_kept(filled: Workspace, tmp_path: Path) -> None:
    other = open_workspace(tmp_path / "other", create=True)
    store.import_export(other, later(tmp_path / "x.json", (0, GLEB, "я"), (1, MARINA, "и я")))
    kept = []
    for one in (filled, other):
        forget.forget(one, GLEB)
        with one.db.read() as rows:
            kept.append(set(rows.execute(select(forgotten_table.c.hash)).scalars()))
    salts = [{entry for entry in entries if entry.startswith("salt:")} for entries in kept]
    assert [len(s) for s in salts] == [1, 1] and salts[0] != salts[1]
    common = kept[0] & kept[1]
    assert len(common) <= 2, "two workspaces share only the hashes of the name and the id"
    assert all(len(entry) == 64 and set(entry) <= set("0123456789abcdef") for entry in kept[0] - salts[0])


def test_a_second_person_uses_the_same_salt_and_the_first_stays_forgotten(filled: Workspace, tmp_path: Path) -> None:
    forget.forget(filled, GLEB)
    forget.forget(filled, "Рустам Галимов")
    store.import_export(
        filled, later(tmp_path / "r.json", (0, MARINA, "санникову и галимову привет, рустам и глеб молодцы"))
    )
    assert texts_of(filled) == ["[name] и [name] привет, [name] и [name] молодцы"]


@given(
    st.lists(st.sampled_from(["глеб", "Санников", "санникова", "и", "марина", "дом", "42", "—", "gleb"]), max_size=8)
)
@settings(max_examples=60, deadline=None)
def test_hashed_forms_mask_exactly_what_the_forms_themselves_would(words: list[str]) -> None:
    text = " ".join(words)
    plain = forms([GLEB])
    entries = {forgotten.new_salt()}
    entries |= forgotten.hashes(plain, str(forgotten.salt_of(entries)))
    found = forgotten.recognised([text], entries, list)
    assert (remove_names(text, found)[0] if found else text) == remove_names(text, plain)[0]


def test_a_crash_while_forgetting_leaves_everything_or_nothing(
    filled: Workspace, community: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(store.messages(filled, "tg:1900000001"))

    def dying(*_given: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(masking, "mask_rows", dying)
    with pytest.raises(KeyboardInterrupt):
        forget.forget(filled, GLEB)
    assert list(store.messages(filled, "tg:1900000001")) == before
    with filled.db.read() as rows:
        assert rows.execute(select(forgotten_table)).first() is None
    monkeypatch.undo()
    assert forget.forget(filled, GLEB).messages > 100


@pytest.mark.parametrize("following", [GLEB, "Рустам Галимов"])
def test_a_crash_after_the_rows_is_made_good_by_the_next_forget(
    filled: Workspace, monkeypatch: pytest.MonkeyPatch, following: str
) -> None:
    """The rows that tell which datasets held the person are gone by then."""
    gleb = sender_of(filled, GLEB)
    both = dataset.build(filled, speakers=[sender_of(filled, MARINA), gleb], name="both")
    theirs = [m.id for m in store.messages(filled, "tg:1900000001") if m.sender == gleb]
    guilty = register(filled, both, {"tg:1900000001": theirs}, "guilty")

    def dying(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "build", dying)
    with pytest.raises(KeyboardInterrupt):
        forget.forget(filled, GLEB)
    monkeypatch.undo()
    assert "анников" in bytes_of(filled.path / "datasets").decode(errors="ignore")
    done = forget.forget(filled, following)
    assert "анников" not in bytes_of(filled.path).decode(errors="ignore")
    assert following != GLEB or (done.versions, done.rebuilt) == ([guilty], ["both"])
    with pytest.raises(Missing):
        forget.person(filled, GLEB)
