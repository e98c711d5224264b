from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.collect import made
from tests.conftest import read_jsonl
from tuneloop import versions
from tuneloop.collect import dataset, privacy, providers, store, writing
from tuneloop.collect.dataset import prepare
from tuneloop.collect.privacy import Scrubber
from tuneloop.collect.split import SPLITS
from tuneloop.db.tables import datasets
from tuneloop.errors import BadInput, Conflict, Damaged, Missing, NotEnoughData, OutOfResources
from tuneloop.records import Example
from tuneloop.workspace import Workspace, open_workspace


def assemble(workspace: Workspace, found: list[Example], name: str = "small", system: str = "") -> Path:
    return dataset.assemble(
        workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name=name, system=system
    )


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_holds_everything_it_promises(workspace: Workspace) -> None:
    folder = assemble(workspace, made.examples(60), system="Отвечай как мастер.")
    assert folder == workspace.path / "datasets" / "small"
    names = set(content(folder))
    for part in SPLITS:
        assert {f"{part}.jsonl", f"{part}.examples.jsonl", f"formats/gemini/{part}.jsonl"} <= names
        assert {f"formats/sharegpt/{part}.jsonl", f"formats/alpaca/{part}.json"} <= names
    assert {"dialogues.json", "examples.csv", "scrub.json", "report.html", "README.md", "card.json"} <= names
    card = json.loads((folder / "card.json").read_text())
    wanted = "name id tuneloop chats speakers system counts links rejected scrubbed rules rule_pass_rate languages"
    assert set(wanted.split()) | {"topics", "style", "files"} <= set(card)
    assert card["counts"] == {"train": 42, "validation": 6, "test": 12}
    assert card["files"].keys() == names - {"card.json"}
    for name, digest in card["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    first = read_jsonl(folder / "train.jsonl")[0]["messages"]
    assert [m["role"] for m in first] == ["system", "user", "assistant"]
    with workspace.db.read() as rows:
        row = rows.execute(select(datasets)).one()
    assert (row.id, row.path, row.card["name"]) == (card["id"], "datasets/small", "small")


def test_same_messages_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    other = open_workspace(tmp_path / "other", create=True)
    one = content(assemble(workspace, made.examples(50)))
    time.sleep(1.1)  # a clock inside a file would show
    again = content(assemble(workspace, made.examples(50)))
    assert one == again
    assert one == content(assemble(other, made.examples(50)))


def test_id_follows_the_content(workspace: Workspace) -> None:
    ids = {
        dataset.load(assemble(workspace, found, name, system)).id
        for found, name, system in (
            (made.examples(40), "a", ""),
            (made.examples(40), "b", ""),
            (made.examples(41), "c", ""),
            (made.examples(40), "d", "Кратко."),
        )
    }
    assert len(ids) == 3


def test_load_gives_the_examples_back(workspace: Workspace) -> None:
    found = made.examples(40)
    loaded = dataset.load(assemble(workspace, found, system="Кратко."))
    back = [e for part in SPLITS for e in loaded.examples(part)]
    assert sorted(back, key=lambda e: e.id) == found
    assert loaded.system == "Кратко."
    assert loaded.failed == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Что с цепью?", "Привет", "https://example.org", "ну", "Почему гремит каретка?", "Да?"])
            | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
            st.sampled_from(["Смажь цепь.", "Ага", "спасибо", "Каретка гремит от песка", "+", "Мира Вольт знает"])
            | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
            st.integers(0, 8),
        ),
        max_size=30,
    )
)
@settings(max_examples=80, deadline=None)
def test_no_example_is_lost_without_a_reason(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, int]]
) -> None:
    workspace = open_workspace(tmp_path_factory.mktemp("w") / "work", create=True)
    found = [
        replace(made.example(i, dialogue=talk), question=question, answer=answer)
        for i, (question, answer, talk) in enumerate(drawn)
    ]
    done = prepare(made.built(found), Scrubber(made.ROSTER), workspace.settings)
    assert len(found) == len(done.examples) + done.rejected.total()
    assert len({e.id for e in done.examples}) == len(done.examples)


def test_too_few_examples_say_how_many_and_what_to_do(workspace: Workspace) -> None:
    found = [*made.examples(7), replace(made.example(8), answer="https://example.org/a")]
    with pytest.raises(NotEnoughData, match="only 7 of 8 examples") as caught:
        assemble(workspace, found)
    assert "answer is a link only 1" in caught.value.message
    assert "speakers" in caught.value.fix
    assert not list(workspace.folder("datasets").iterdir())


def test_personal_data_is_in_no_file_that_may_leave(workspace: Workspace) -> None:
    secrets = ("mira@example.org", "+7 900 123-45-67", "4111 1111 1111 1111", "@gavrila_77", "Вольт", "Шкив")
    said = "Пиши mira@example.org или +7 900 123-45-67, карта 4111 1111 1111 1111, @gavrila_77, Мира Вольт, Шкив"
    found = [
        replace(
            made.example(i),
            question=f"{made.example(i).question} {said}",
            answer=f"{made.example(i).answer} {said}",
            context=(("user", said), ("assistant", said)),
        )
        for i in range(40)
    ]
    folder = assemble(workspace, found)
    for name, data in content(folder).items():
        text = data.decode("utf-8", "replace")
        names_allowed = name in {"card.json", "report.html", "README.md"}
        for secret in secrets:
            if not (names_allowed and secret in {"Вольт", "Шкив"}):
                assert secret not in text, f"{secret} in {name}"
    card = json.loads((folder / "card.json").read_text())
    assert card["scrubbed"]["email"] == 160
    assert card["scrubbed"]["card"] == 160
    for name in ("train.jsonl", "formats/gemini/test.jsonl", "examples.csv", "dialogues.json"):
        assert privacy.check_receipt(folder / name)["email"] == 160


def test_files_pass_the_providers_rules(workspace: Workspace) -> None:
    folder = assemble(workspace, made.examples(60), system="Отвечай как мастер.")
    for name, provider in (("train.jsonl", "openai"), ("train.jsonl", "hf"), ("formats/gemini/train.jsonl", "gemini")):
        done = providers.validate(folder / name, provider)
        assert (done.errors, done.warnings, done.examples) == (0, 0, 42)


def test_dialogues_are_whole_and_nameless(workspace: Workspace) -> None:
    folder = assemble(workspace, made.examples(40))
    found = json.loads((folder / "dialogues.json").read_text())
    assert len(found) == 20
    assert [t["who"] for t in found[0]["turns"]] == ["person 1", "speaker", "person 1", "speaker"]
    assert found[0]["turns"][0]["messages"] == [1]


def test_rebuilding_replaces_the_folder(workspace: Workspace) -> None:
    assemble(workspace, made.examples(40))
    (workspace.path / "datasets" / "small" / "stray.txt").write_text("old")
    folder = assemble(workspace, made.examples(60))
    assert not (folder / "stray.txt").exists()
    assert [d.folder.name for d in dataset.listed(workspace)] == ["small"]
    with workspace.db.read() as rows:
        assert len(rows.execute(select(datasets)).all()) == 1


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 90, "a b"])
def test_names_that_are_no_folder_names_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(BadInput, match="name"):
        assemble(workspace, made.examples(40), name=name)
    assert not list(workspace.folder("datasets").iterdir())


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Пасека и мастерская", "paseka-i-masterskaya"),
        ("QA — Load & Performance", "qa-load-performance"),
        ("../../etc", "etc"),
        ("🐝", "dataset"),
        ("Щука Ёж", "schuka-ezh"),
    ],
)
def test_slug(name: str, slug: str) -> None:
    assert dataset.slug(name) == slug


def test_find_by_name_id_or_the_only_one(workspace: Workspace) -> None:
    for wanted, said in ((None, r"no dataset yet$"), ("x", "no dataset 'x'")):
        with pytest.raises(Missing, match=said) as nothing:
            dataset.find(workspace, wanted)
        assert "dataset build" in nothing.value.fix
    one = dataset.load(assemble(workspace, made.examples(40), "one"))
    assert dataset.find(workspace, None).id == one.id
    assemble(workspace, made.examples(50), "two")
    assert dataset.find(workspace, "one").id == one.id
    assert dataset.find(workspace, one.id[:6]).folder.name == "one"
    with pytest.raises(BadInput, match="several"):
        dataset.find(workspace, None)
    with pytest.raises(Missing) as caught:
        dataset.find(workspace, "three")
    assert "one, two" in caught.value.fix


def test_a_folder_without_a_good_card_is_no_dataset(workspace: Workspace) -> None:
    folder = assemble(workspace, made.examples(40))
    (folder / "card.json").write_text("{")
    with pytest.raises(Damaged, match=r"card\.json"):
        dataset.load(folder)
    (folder / "card.json").unlink()
    with pytest.raises(Missing, match="no dataset"):
        dataset.load(folder)


def test_remove_and_who_was_trained_on_it(workspace: Workspace) -> None:
    found = dataset.load(assemble(workspace, made.examples(40), system="Будь краток."))
    staging = workspace.path / "staging"
    staging.mkdir()
    (staging / "weights").write_text("w")
    version = versions.register(
        workspace, staging, kind="chat", name="v1", meta={"dataset": found.id, "dataset_path": "datasets/small"}
    )
    assert dataset.trained_on(workspace, found) == [version.id]
    again = dataset.command(found)
    assert again == ("tuneloop dataset build --chat tg:77 --name small --speaker user1 --system 'Будь краток.'")
    dataset.remove(workspace, found)
    assert dataset.listed(workspace) == []
    with workspace.db.read() as rows:
        assert rows.execute(select(datasets)).all() == []


def test_the_shipped_chat_becomes_a_dataset(workspace: Workspace, community: Path) -> None:
    store.import_export(workspace, community)
    made_ = dataset.load(dataset.build(workspace))
    card = made_.card
    kept = sum(card["counts"].values())
    assert card["read"] == kept + sum(card["rejected"].values())
    assert kept >= 100
    assert min(card["counts"].values()) >= 10
    assert card["topics"]
    assert card["period"][0] < card["period"][1]
    talks = [{e.dialogue for e in made_.examples(part)} for part in SPLITS]
    assert not talks[0] & talks[1] | talks[0] & talks[2] | talks[1] & talks[2]
    with pytest.raises(Missing, match="no chat"):
        dataset.build(workspace, chat="tg:404")


def test_without_messages_there_is_a_next_step(workspace: Workspace) -> None:
    with pytest.raises(Missing) as caught:
        dataset.build(workspace)
    assert "tuneloop collect" in caught.value.fix


def test_the_card_counts_what_the_files_hold(workspace: Workspace) -> None:
    """Every figure of the card, counted again from the files themselves."""
    found = made.examples(60)
    found += [
        replace(made.example(70), answer="https://example.org/a"),
        replace(found[3], id="copy", dialogue="tg:77/x"),
    ]
    folder = assemble(workspace, found)
    card = json.loads((folder / "card.json").read_text())
    parts = {part: read_jsonl(folder / f"{part}.examples.jsonl") for part in SPLITS}
    assert card["counts"] == {part: len(rows) for part, rows in parts.items()}
    assert card["read"] == 62 == sum(card["counts"].values()) + sum(card["rejected"].values())
    everything = [row for rows in parts.values() for row in rows]
    assert card["dialogues"] == len({row["dialogue"] for row in everything})
    assert card["edges"] == {"reply": len(everything)} and card["languages"] == {"ru": len(everything)}
    assert sum(card["copies"].values()) == 1
    assert card["rule_pass_rate"] == 1 - len(read_jsonl(folder / "rules.jsonl")) / len(everything)
    lengths = sorted(len(row["answer"]) for row in everything)
    assert card["answer_length"] == {"median": lengths[len(lengths) // 2], "p90": lengths[len(lengths) * 9 // 10]}
    for part in SPLITS:
        told = [row["messages"][-1]["content"] for row in read_jsonl(folder / f"{part}.jsonl")]
        assert told == [row["answer"] for row in parts[part]]
        gemini = [
            row["contents"][-1]["parts"][0]["text"] for row in read_jsonl(folder / f"formats/gemini/{part}.jsonl")
        ]
        assert gemini == told


def test_the_split_is_by_time_and_never_cuts_a_dialogue(workspace: Workspace) -> None:
    folder = assemble(workspace, made.examples(80))
    parts = {part: dataset.load(folder).examples(part) for part in SPLITS}
    newest_learnt = max(e.time for part in ("train", "validation") for e in parts[part])
    assert newest_learnt < min(e.time for e in parts["test"])
    talks = [{e.dialogue for e in parts[part]} for part in SPLITS]
    assert sum(map(len, talks)) == len(set().union(*talks))


@given(st.permutations(made.examples(24)), st.lists(st.integers(0, 5), min_size=24, max_size=24))
@settings(max_examples=40, deadline=None)
def test_the_order_of_reading_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, shuffled: list[Example], talks: list[int]
) -> None:
    """Whatever order examples come in, parts, order and reasons are the same, and no dialogue is in two parts."""
    workspace = open_workspace(tmp_path_factory.mktemp("w") / "work", create=True)
    placed = [replace(e, dialogue=f"tg:77/{talks[int(e.id, 16)]}") for e in shuffled]
    one = prepare(made.built(placed), Scrubber(made.ROSTER), workspace.settings)
    two = prepare(made.built(sorted(placed, key=lambda e: e.time)), Scrubber(made.ROSTER), workspace.settings)
    assert one.parts == two.parts and one.rejected == two.rejected
    where = {e.dialogue: part for part in SPLITS for e in one.parts[part]}
    assert all(where[e.dialogue] == part for part in SPLITS for e in one.parts[part])


@pytest.mark.parametrize("step", ["_sha256", "render", "readme", "write_json"])
def test_an_error_while_writing_leaves_the_old_dataset(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = content(assemble(workspace, made.examples(40)))

    def full(*_given: object, **_named: object) -> None:
        raise OutOfResources("the disk is full")

    monkeypatch.setattr(writing, step, full)
    with pytest.raises(OutOfResources):
        assemble(workspace, made.examples(60))
    monkeypatch.undo()
    assert content(workspace.path / "datasets" / "small") == before
    assert [p.name for p in (workspace.path / "datasets").iterdir()] == ["small"]
    with workspace.db.read() as rows:
        assert rows.execute(select(datasets)).one().id == json.loads(before["card.json"])["id"]


def test_two_builds_at_once_are_refused_not_mixed(workspace: Workspace) -> None:
    with workspace.lock("dataset"), pytest.raises(Conflict, match="busy with 'dataset'"):
        assemble(workspace, made.examples(40))
    assert not list(workspace.folder("datasets").glob("[!.]*"))


KILLED = """
import sys
from pathlib import Path
from tests.collect import made
from tuneloop.collect import dataset
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
n = int(sys.argv[2])
print("ready", flush=True)
while True:
    found = made.examples(n)
    dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="small")
    print("built", flush=True)
    n += 1
"""


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_kill_leaves_a_whole_dataset_or_none(tmp_path: Path, rounds: int) -> None:
    workspace = open_workspace(tmp_path / "work", create=True)
    rng = random.Random(4)
    for turn in range(rounds):
        command = [sys.executable, "-c", KILLED, str(workspace.path), str(40 + 3 * turn)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if turn % 2:
            child.stdout.readline()  # kill the second build, which replaces the first
        time.sleep(rng.uniform(0, 0.4))
        child.kill()
        child.communicate()
        for found in dataset.listed(workspace):
            for name, digest in found.card["files"].items():
                assert hashlib.sha256((found.folder / name).read_bytes()).hexdigest() == digest
    folder = assemble(workspace, made.examples(30))
    assert sorted(p.name for p in folder.parent.iterdir()) == ["small"], "what kills left behind is gone"
