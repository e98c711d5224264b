"""Documents as rows: known by id, all or none, each team's own, found at once by every process, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from tests.db.postgres import Postgres, binaries
from tuneloop.db import document_tables
from tuneloop.errors import BadInput, Conflict, Missing, OutOfResources
from tuneloop.search import documents
from tuneloop.search.documents import Added, Document
from tuneloop.search.library import Library
from tuneloop.workspace import Workspace, open_workspace, write_atomically

CHAIN = Document("chain", "Цепь велосипеда смазывают каждые двести километров.", {"title": "Уход за цепью"})
BRAKES = Document("brakes", "Тормозные колодки меняют, когда от них осталось два миллиметра.")
HOURS = Document("hours", "Мастерская открыта с десяти до семи, в воскресенье выходной.")
ALL = (CHAIN, BRAKES, HOURS)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg")
    started = Postgres(programs)
    yield started
    started.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace on each database."""
    open_workspace(tmp_path / "w", create=True)
    if request.param == "postgresql":
        postgres = request.getfixturevalue("server")
        postgres.empty()
        write_atomically(tmp_path / "w/tuneloop.toml", f'[db]\nurl = "{postgres.url}"\n')
    found = open_workspace(tmp_path / "w")
    yield found
    found.db.close()


@pytest.fixture
def shop(workspace: Workspace) -> Workspace:
    documents.create(workspace, "shop")
    documents.add(workspace, "shop", ALL)
    return workspace


def ids(found: list[Any]) -> list[str]:
    return [one.document for one in found]


def test_a_collection_from_its_making_to_its_end(either: Workspace) -> None:
    assert documents.create(either, "shop")["documents"] == 0
    with pytest.raises(Conflict, match="already"):
        documents.create(either, "shop")
    assert documents.add(either, "shop", ALL) == Added(3, 0, 0, 3)
    assert documents.add(either, "shop", ALL) == Added(0, 0, 3, 3)
    changed = Document("hours", "Теперь без выходных.\n\n" + "Приходите в любой день недели! " * 60)
    assert documents.add(either, "shop", [CHAIN, changed]) == Added(0, 1, 1, 5)
    library = Library(either)
    assert ids(library.search("shop", "выходные дни"))[0] == "hours"
    found = library.search("shop", "как часто смазывать цепи велосипедов?", top_k=1)[0]
    assert (found.text, found.metadata, found.number) == (CHAIN.text, CHAIN.metadata, 0)
    assert documents.remove(either, "shop", ["chain", "never"]) == 1
    assert ids(library.search("shop", "цепь велосипеда")) == []
    stats = documents.stats(either, "shop")
    assert (stats["documents"], stats["passages"]) == (2, 4)
    assert [one["name"] for one in documents.history(either)] == ["shop"]
    assert documents.drop(either, "shop") == 2
    for gone in (lambda: library.search("shop", "x"), lambda: documents.stats(either, "shop"),
                 lambda: documents.add(either, "shop", ALL), lambda: documents.drop(either, "shop")):  # fmt: skip
        with pytest.raises(Missing):
            gone()
    with either.db.read() as rows:
        for table in (document_tables.collections, document_tables.documents, document_tables.passages):
            assert rows.execute(select(func.count()).select_from(table)).scalar() == 0


def test_two_writers_of_the_same_documents_come_one_by_one(either: Workspace) -> None:
    """Read, then write: without the lock PostgreSQL would refuse the second insert."""
    documents.create(either, "shop")
    problems: list[Exception] = []

    def write(number: int) -> None:
        try:
            for turn in range(5):
                documents.add(either, "shop", [Document("same", f"{number} {turn}"), Document(f"own{number}", "x")])
        except Exception as problem:  # noqa: BLE001  whatever it is fails the test
            problems.append(problem)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert problems == []
    assert documents.stats(either, "shop")["documents"] == 5


def test_teams_have_nothing_in_common(either: Workspace) -> None:
    for team in ("red", "blue", ""):
        documents.create(either, "shop", tenant=team)
        documents.add(either, "shop", [Document("chain", f"Цепь команды {team or 'без имени'}.")], tenant=team)
    library = Library(either)
    assert [one.text for one in library.search("shop", "цепь", tenant="red")] == ["Цепь команды red."]
    documents.drop(either, "shop", tenant="red")
    documents.clean_up(either, "shop", 1e-9, tenant="blue")
    with pytest.raises(Missing):
        library.search("shop", "цепь", tenant="red")
    assert library.search("shop", "цепь", tenant="blue") == []
    assert ids(library.search("shop", "цепь")) == ["chain"]
    assert [one["documents"] for one in documents.history(either, tenant="blue")] == [0]


def test_what_another_process_commits_is_found_by_the_next_search(shop: Workspace) -> None:
    library, other = Library(shop), open_workspace(shop.path)
    assert library.search("shop", "багажник") == []
    documents.add(other, "shop", [Document("rack", "Багажник выдерживает двадцать пять килограммов.")])
    assert ids(library.search("shop", "багажник")) == ["rack"]
    documents.drop(other, "shop")
    documents.create(other, "shop")
    assert library.search("shop", "багажник") == []  # a new collection under the old name
    other.db.close()


def test_an_index_is_made_when_rows_change_and_not_before(shop: Workspace) -> None:
    library = Library(shop)
    for _n in range(3):
        library.search("shop", "цепь")
    assert documents.add(shop, "shop", ALL).unchanged == 3
    library.search("shop", "цепь")
    assert library.made == 1
    documents.add(shop, "shop", [Document("new", "Новое.")])
    library.search("shop", "цепь")
    assert library.made == 2


def test_many_searches_at_once_make_one_index(shop: Workspace) -> None:
    library = Library(shop)
    found: list[list[str]] = []
    askers = [threading.Thread(target=lambda: found.append(ids(library.search("shop", "цепь")))) for _n in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == [["chain"]] * 8
    assert library.made == 1


def test_memory_is_bounded_and_a_collection_too(tmp_path: Path) -> None:
    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", "[documents]\npassages = 4\n")
    workspace = open_workspace(tmp_path / "w")
    library = Library(workspace)
    for name in ("a", "b", "c"):
        documents.create(workspace, name)
        documents.add(workspace, name, [Document(f"{name}{n}", f"Текст {n} о разном.") for n in range(2)])
        assert len(library.search(name, "текст")) == 2
        assert library.held <= 4
    assert library.made == 3
    assert len(library.search("a", "текст")) == 2 and library.made == 4  # forgotten, made again
    with pytest.raises(OutOfResources, match="5 passages, more than 4"):
        documents.add(workspace, "a", [Document(f"more{n}", "Ещё.") for n in range(3)])
    assert documents.stats(workspace, "a")["documents"] == 2, "all or none"


@pytest.mark.parametrize(
    "wrong",
    [
        Document("", "x"), Document("x" * 257, "x"), Document("a\nb", "x"), Document("a\0", "x"), Document("a", " \n"),
        Document("a", "x\0y"), Document("a", "half \ud800 of a pair"), Document("a", "x", {"n": float("nan")}),
        Document("a", "x", {"k": "\udfff"}), Document("a", "x", {"k": "x" * 70_000}), Document("a", "x", {"k": {1, 2}}),
        Document("a", "x" * (documents.LONGEST + 1)),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_cannot_be_kept_is_said_and_nothing_is_kept(shop: Workspace, wrong: Document) -> None:
    with pytest.raises(BadInput):
        documents.add(shop, "shop", [Document("good", "Хороший текст."), wrong])
    assert documents.stats(shop, "shop")["documents"] == 3


def test_names_and_ids_are_checked(shop: Workspace) -> None:
    for name in ("", "a b", "x" * 65, "../x", "a/b", "a\0"):
        with pytest.raises(BadInput, match="1 to 64"):
            documents.create(shop, name)
    with pytest.raises(BadInput, match="same id"):
        documents.add(shop, "shop", [CHAIN, CHAIN])
    for days in (0, -1, float("nan"), 1e9):
        with pytest.raises(BadInput):
            documents.clean_up(shop, "shop", days)


def test_clean_up_takes_what_nobody_sends_any_more(shop: Workspace) -> None:
    week_ago = time.time() - 7 * documents.DAY
    with shop.db.write() as rows:
        rows.execute(update(document_tables.documents).values(seen=week_ago))
    documents.add(shop, "shop", [CHAIN])  # unchanged, but sent
    assert documents.clean_up(shop, "shop", 8) == 0
    assert documents.clean_up(shop, "shop", 6) == 2
    assert [one["id"] for one in documents.listing(shop, "shop")] == ["chain"]
    assert ids(Library(shop).search("shop", "колодки")) == []


def test_listing_goes_on_after_an_id(shop: Workspace) -> None:
    first = documents.listing(shop, "shop", limit=2)
    assert [one["id"] for one in first] == ["brakes", "chain"]
    assert [one["id"] for one in documents.listing(shop, "shop", after=first[-1]["id"])] == ["hours"]
    with pytest.raises(Missing):
        documents.listing(shop, "none")


def test_titles_and_beginnings_find_every_passage_of_a_document(workspace: Workspace) -> None:
    documents.create(workspace, "c")
    long = "Зимний дворец стоит у Невы.\n\n" + "\n\n".join(
        f"{'Его строили долго и дорого. ' * 20}{n}" for n in range(5)
    )
    documents.add(
        workspace, "c", [Document("a", long, {"title": "Эрмитаж"}), Document("b", long.replace("Зимний", ""))]
    )
    found = Library(workspace).search("c", "когда строили эрмитаж", top_k=20)
    assert len(found) > 5 and {one.document for one in found[:5]} == {"a"}


def test_a_threshold_cuts_and_top_k_bounds(shop: Workspace) -> None:
    library = Library(shop)
    everything = library.search("shop", "цепь, колодки, воскресенье", top_k=10)
    assert len(everything) == 3 and len(library.search("shop", "цепь, колодки, воскресенье", top_k=2)) == 2
    bar = sorted(one.similarity for one in everything)[1]
    kept = library.search("shop", "цепь, колодки, воскресенье", top_k=10, similarity_threshold=bar)
    assert (all(one.similarity >= bar for one in kept) and 0 < len(kept) < 3) or len({bar}) == 1


@given(st.text(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_question_may_be_asked(shop: Workspace, question: str) -> None:
    found = Library(shop).search("shop", question)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
