"""Forgetting a person in what servers wrote: rows, replies, and rows still on their way to the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import JSON, Text, insert, select

from tests.test_journal import row
from tuneloop import journal
from tuneloop.answer import replies
from tuneloop.collect import forget, masking, store
from tuneloop.collect.names import forms
from tuneloop.db import metadata
from tuneloop.db.question_tables import table_answers, table_questions
from tuneloop.db.tables import calls, feedback, outcomes
from tuneloop.db.tables import replies as replies_table
from tuneloop.errors import Conflict
from tuneloop.workspace import Workspace

GLEB = "Глеб Санников"
NAMES = forms([GLEB])

# What a new column has to be added to: masked (in masking.py or forget.py), or named here with what it holds instead.
MASKED = {
    "chats.name", "messages.text", "messages.name", "messages.sender", "messages.forwarded", "calls.request",
    "calls.answer", "calls.user", "calls.error", "calls.tags", "feedback.value", "feedback.user", "replies.reply",
    "replies.key", "outcomes.user", "photo_feedback.text", "new_products.name", "new_products.category",
    "table_answers.question", "table_answers.sentence", "table_answers.sql", "table_answers.user",
    "table_questions.question", "table_questions.sql", "table_questions.shape", "table_questions.user",
}  # fmt: skip
IDS = {
    "chats.id", "chats.source", "chats.kind", "messages.chat", "messages.kind", "imports.chat", "datasets.id",
    "versions.id",
    "versions.kind", "version_events.version", "version_events.event", "version_events.previous", "packs.version",
    "packs.quant", "calls.id", "calls.version", "calls.status", "calls.tenant", "calls.key",
    "calls.kind", "calls.task", "calls.variant", "calls.engine", "calls.model", "calls.reason", "calls.experiment",
    "calls.arm", "calls.code", "calls.parent", "feedback.id", "feedback.call", "feedback.kind", "feedback.tenant",
    "judgements.kind", "judgements.subject", "judgements.verdict", "keys.id", "keys.tenant", "keys.role", "keys.scopes",
    "keys.replaces", "experiments.id", "experiments.tenant", "experiments.task", "experiments.salt",
    "experiments.state", "experiment_events.experiment", "experiment_events.event", "outcomes.experiment",
    "outcomes.arm", "outcomes.metric", "outcomes.call", "replies.tenant", "replies.body", "replies.call",
    "scores.call", "scores.criterion", "scores.method", "switches.task", "collections.tenant", "collections.revision",
    "documents.tenant", "documents.id", "passages.tenant", "passages.document", "optimisations.id",
    "optimisations.tenant", "optimisations.version", "optimisations.state", "optimisations.stage",
    "optimisations.worker", "optimisation_samples.optimisation", "optimisation_samples.rung",
    "optimisation_samples.state", "catalogue_items.tenant", "catalogue_items.id", "catalogue_items.state",
    "catalogue_pictures.tenant", "catalogue_pictures.item", "catalogue_pictures.path", "picture_vectors.encoder",
    "photo_queries.id", "photo_queries.tenant", "photo_queries.version", "photo_queries.encoder", "photo_queries.path",
    "photo_feedback.id", "photo_feedback.tenant", "photo_feedback.query", "photo_feedback.item", "photo_feedback.kind",
    "photo_feedback.verdict", "photo_feedback.used", "new_products.id", "new_products.tenant", "new_products.query",
    "new_products.path", "new_products.state", "new_products.item", "photo_trainings.tenant", "photo_trainings.state",
    "photo_trainings.version", "table_files.id", "table_files.tenant", "table_files.key", "table_answers.id",
    "table_answers.tenant", "table_answers.state", "table_answers.route", "table_questions.tenant",
    "table_questions.verdict", "bot_updates.state", "bot_files.picture", "bot_files.file",
}  # fmt: skip
HASHES = {
    "forgotten.hash", "keys.hash", "feedback.key", "outcomes.key",  # the last two: clients' own click ids
    "packs.sha256", "documents.hash", "catalogue_pictures.id", "picture_vectors.id", "photo_queries.photo",
    "optimisations.fingerprint", "table_files.columns", "table_answers.columns", "table_questions.columns",
    "table_questions.id",
}  # fmt: skip
FIGURES = {
    "datasets.card", "packs.parity", "experiments.design", "experiments.verdict", "scores.detail", "switches.evidence",
    "health.sample", "versions.meta", "versions.verdict", "imports.rejected", "judgements.meta",
    "optimisations.ladder", "optimisations.targets", "optimisation_samples.figures", "optimisations.error",
    "photo_queries.results", "photo_trainings.note",
}  # fmt: skip
THE_TEAMS_OWN = {  # what the people who run the installation called things
    "imports.path", "datasets.path", "versions.name", "versions.path", "version_events.note", "packs.path", "keys.name",
    "experiments.name", "experiment_events.note", "experiment_events.by", "judgements.rater",
    "optimisations.by", "new_products.price", "table_files.name", "table_answers.source", "bot_updates.note",
    # What the team put here to be found: a document or a product is taken out by its own command.
    "collections.name", "documents.collection", "documents.metadata", "passages.collection", "passages.text",
    "passages.lemmas", "catalogue_items.name", "catalogue_items.category", "catalogue_items.price",
    "catalogue_items.description", "catalogue_items.source",
}  # fmt: skip
OPAQUE_USERS = {  # "tg:12": `photo_people.forget` removes all that is kept of one, messages on their way included
    "photo_queries.user", "photo_feedback.user", "new_products.user", "new_products.decided_by", "bot_updates.user",
    "bot_updates.body", "bot_dialogues.user", "bot_dialogues.expects",
}  # fmt: skip


def test_every_column_is_masked_or_known_to_hold_no_words() -> None:
    written = {str(c) for t in metadata.tables.values() for c in t.columns if isinstance(c.type, Text | JSON)}
    known = [MASKED, IDS, HASHES, FIGURES, THE_TEAMS_OWN, OPAQUE_USERS]
    assert written == set().union(*known)
    assert len(written) == sum(map(len, known))
    assert {f"calls.{name}" for name in masking.WORDS} < MASKED


@pytest.fixture
def filled(workspace: Workspace, community: Path) -> Workspace:
    store.import_export(workspace, community)
    return workspace


def bytes_of(folder: Path) -> str:
    found = b"\n".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())
    return found.decode(errors="ignore").lower()


def test_rows_on_their_way_to_the_database_are_masked_too(filled: Workspace) -> None:
    writer = journal.Journal(filled.path / "journal")
    writer.append(row(1, answer="спросите у Глеба Санникова"))
    journal.settle(filled)
    writer.append(row(2, request={"messages": [{"content": "кто?\nСанников?"}]}))  # nobody has drained this one
    assert forget.forget(filled, GLEB).rows == 2
    writer.append(row(3, answer="новая строка"))
    assert "анников" not in bytes_of(filled.path)
    assert journal.settle(filled) == 1
    with filled.db.read() as rows:
        assert list(rows.execute(select(calls.c.answer).order_by(calls.c.time)).scalars()) == [
            "спросите у [name]", "", "новая строка",
        ]  # fmt: skip
    writer.close()
    journal.settle(filled)
    assert list((filled.path / "journal").glob("*.jsonl")) == []


def test_a_blanked_segment_is_read_again_without_harm(filled: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    folder, url = journal.place(filled)
    writer = journal.Journal(folder)
    writer.append(row(1, answer="глеб"))
    journal.drain(folder, url)
    journal.blank(folder)
    next(folder.glob("*.done")).unlink()  # as a crash before it reached the disk would have it
    writer.append(row(2))
    journal.drain(folder, url)
    with filled.db.read() as rows:
        assert len(rows.execute(select(calls.c.id)).all()) == 2
    assert not caplog.records
    writer.close()


def reply(workspace: Workspace, key: str, body: str, call: str) -> None:
    assert replies.begin(workspace, "", key, "a" * 64, call=call) is None
    replies.finish(workspace, "", key, call=call, status=200, body=body.encode())


def test_stored_replies_that_may_name_the_person_go(filled: Workspace) -> None:
    def event(text: str) -> str:
        return "data: " + json.dumps({"choices": [{"delta": {"content": text}}]}) + "\n\n"

    told = {
        "plain": json.dumps({"content": "Глеб Санников"}, ensure_ascii=False),
        "escaped": json.dumps({"content": "да\nГлеб Санников"}),  # \u0413\u043b\u0435\u0431
        "events": event("вам поможет ") + event("Санников") + "data: [DONE]\n\n",
        "cut": event("вам поможет Санн") + event("иков") + "data: [DONE]\n\n",
        "santa": json.dumps({"content": "сани"}),
    }
    with filled.db.write() as rows:
        for n, key in enumerate(told):
            answer = "вам поможет Санников" if key == "cut" else "x"
            rows.execute(insert(calls), [json.loads(row(n, id=key, answer=answer))])
    for key, body in told.items():
        reply(filled, key, body, key)
    reply(filled, "no row", "{}", "c-nobody-knows")
    assert replies.begin(filled, "", "runs", "a" * 64, call="later") is None
    forget.forget(filled, GLEB)
    with filled.db.read() as rows:
        assert set(rows.execute(select(replies_table.c.key)).scalars()) == {"santa", "runs"}
    with pytest.raises(Conflict, match="still running"):
        replies.begin(filled, "", "runs", "a" * 64, call="again")
    assert replies.begin(filled, "", "cut", "b" * 64, call="again") is None  # a new call


def test_their_part_in_experiments_no_longer_counts(filled: Workspace) -> None:
    from tuneloop.choose import experiments

    sender = forget.person(filled, GLEB)[0]
    one = experiments.create(filled, name="x", task="t", arms={"a": "a", "b": "b"})
    for user in (sender, "u1"):
        arm = experiments.choose_arm(one, user)
        assert arm is not None
        experiments.record(filled, one, arm=arm.name, metric="sales", value=1.0, user=user)
        with filled.db.write() as rows:
            made = json.loads(row(1, id=user, user=user, experiment=one.id, arm=arm.name))
            rows.execute(insert(calls), [made])
            said = {"id": user, "call": user, "kind": "thumb", "value": "up", "time": 1.0, "user": user, "key": user}
            rows.execute(insert(feedback), [said])
    forget.forget(filled, GLEB)
    assert experiments.misassigned(filled, one) == 0
    with filled.db.read() as rows:
        assert list(rows.execute(select(outcomes.c.user)).scalars()) == ["u1"]
        assert set(rows.execute(select(feedback.c.user)).scalars()) == {"", "u1"}
        assert set(rows.execute(select(calls.c.user, calls.c.experiment)).all()) == {("", ""), ("u1", one.id)}


def test_what_they_asked_of_tables_is_masked(filled: Workspace) -> None:
    sender = forget.person(filled, GLEB)[0]
    common = {"tenant": "", "columns": "c", "sql": "SELECT 1 WHERE name = 'Санников'", "time": 1.0, "user": sender}
    asked = {**common, "question": "Сколько продал Санников?"}
    answer = {"source": "f", "state": "answered", "sentence": "Глеб Санников: 3.", "sure": 0.9, "route": "reader"}
    with filled.db.write() as rows:
        rows.execute(insert(table_answers), [{**asked, **answer, "id": "a"}])
        said = {**asked, "id": "q", "verdict": "right", "shape": {"values": ["Санников"]}}
        rows.execute(insert(table_questions), [said, {**said, "id": "r", "tenant": "others", "user": "u1"}])
    forget.forget(filled, GLEB)
    with filled.db.read() as rows:
        found = rows.execute(select(table_answers)).mappings().one()
        assert (found["question"], found["sentence"], found["user"]) == ("Сколько продал [name]?", "[name]: 3.", "")
        users = {row.id: row.user for row in rows.execute(select(table_questions))}
        assert users == {"q": "", "r": "u1"}
    assert "анников" not in bytes_of(filled.path)


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("Глеб Санников", "[name]"),
        ({"a": ["да\nГлеб", {"b": "санникову"}]}, {"a": ["да\n[name]", {"b": "[name]"}]}),
        ({"arguments": '{"who": "\\u0413\\u043b\\u0435\\u0431"}'}, {"arguments": '{"who": "[name]"}'}),
        ({"Глеб": None, "n": [1, 0.5, True]}, {"[name]": None, "n": [1, 0.5, True]}),
        ('{"broken": Глеб', '{"broken": [name]'),
    ],
)
def test_names_are_found_at_any_depth(value: Any, cleaned: Any) -> None:
    assert masking.masked(value, NAMES)[0] == cleaned


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(JSONS)
def test_what_names_nobody_stays_as_it_is(value: Any) -> None:
    assert masking.masked(value, NAMES) == (value, 0)
