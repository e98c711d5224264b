"""Forgetting a person on the shipped sample: nothing of them is left to find, and nobody else is hurt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from tuneloop import versions
from tuneloop.collect import dataset, forget, store
from tuneloop.db.tables import calls, feedback, messages
from tuneloop.errors import BadInput, Missing
from tuneloop.workspace import Workspace

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
