"""Catalogues as shops have them: other column names, other alphabets, SQLite, folders; and mistakes named plainly."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.search import catalogue_sources as sources


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_csv_with_english_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "product_id,Name,Group,Price,Image\n7,Lemon,Fruit,1.20,a/l.jpg\n8,Lime,,,\n")
    lemon, lime = sources.read(path)
    assert lemon == sources.Product("7", "Lemon", "Fruit", "1.20", "", (tmp_path / "a/l.jpg",))
    assert lime.pictures == () and lime.category == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_a_russian_csv(tmp_path: Path, encoding: str, mark: str) -> None:
    rows = [["Артикул", "Название", "Категория", "Цена", "Фото"], ["А-1", "Чайник синий", "Посуда", "1 200", "ч.jpg"]]
    path = write(tmp_path / "c.csv", "\r\n".join(mark.join(row) for row in rows), encoding)
    assert sources.read(path) == [
        sources.Product("А-1", "Чайник синий", "Посуда", "1 200", "", (tmp_path / "ч.jpg",)),
    ]


def test_several_pictures_in_one_field_or_in_several_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "id,name,picture\n1,Cup,a.jpg|b.jpg\n2,Pot,c.jpg\n2,Pot,d.jpg\n2,Pot,c.jpg\n")
    cup, pot = sources.read(path)
    assert [p.name for p in cup.pictures] == ["a.jpg", "b.jpg"]
    assert [p.name for p in pot.pictures] == ["c.jpg", "d.jpg"]


MISTAKES = [
    ("id,name\n1,Cup\n1,Pot\n", "'1' names two products, 'Cup' and 'Pot'"),
    ("id,price\n1,2\n", "no column for the name"),
    ("name,price\nCup,2\n", "no column for the id"),
    ("id,name\n", "no products"),
    ("", "no products"),
    ("id,name\n,Cup\n", "'Cup' has no id"),
    ("id,name,picture\n1,Cup,../../etc/passwd\n", "lies outside"),
    ("id,name,picture\n1,Cup,/etc/passwd\n", "lies outside"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said for _text, said in MISTAKES])
def test_mistakes_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sources.read(write(tmp_path / "c.csv", text))


def test_what_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        sources.read(tmp_path / "gone.csv")
    (tmp_path / "binary").write_bytes(b"\x00\x01\x02" * 100)
    with pytest.raises(BadInput, match="no text"):
        sources.read(tmp_path / "binary")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no pictures"):
        sources.read(tmp_path / "empty")


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as rows, rows:
        for statement in statements:
            rows.execute(statement)
    return path


def test_the_table_that_is_a_catalogue_is_found(tmp_path: Path) -> None:
    path = database(
        tmp_path / "unified_products.db",
        "CREATE TABLE users (id INTEGER, name TEXT)",
        'CREATE TABLE "my products" (id, name TEXT, category TEXT, price REAL, image_path TEXT, description TEXT)',
        "INSERT INTO \"my products\" VALUES (1, 'Cup', 'Kitchen', 12.5, 'a.jpg', NULL)",
        "INSERT INTO \"my products\" VALUES (2, 'Pot', NULL, NULL, NULL, 'x')",
    )
    cup, pot = sources.read(path)
    assert cup == sources.Product("1", "Cup", "Kitchen", "12.5", "", (tmp_path / "a.jpg",))
    assert pot == sources.Product("2", "Pot", "", "", "x", ())


def test_a_database_without_products_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no table"):
        sources.read(database(tmp_path / "a.db", "CREATE TABLE t (x INTEGER)"))
    path = database(tmp_path / "b.db", "CREATE TABLE p (id INTEGER, name TEXT)", "INSERT INTO p VALUES (1, 'x')")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises((Damaged, Hostile)):
        sources.read(path)


def test_a_folder_of_folders(tmp_path: Path) -> None:
    for file in ("Fruit/Red-Apple/1.jpg", "Fruit/Red-Apple/2.PNG", "Cup.webp", "Fruit/readme.txt", ".git/x.jpg"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"x")
    found = {p.id: p for p in sources.read(tmp_path)}
    assert set(found) == {"Fruit/Red-Apple", "Cup"}
    apple = found["Fruit/Red-Apple"]
    assert (apple.name, apple.category, len(apple.pictures)) == ("Red Apple", "Fruit", 2)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(tmp_path: Path, text: str) -> None:
    """Whatever follows the header, there are products with an id, or one clear error."""
    try:
        found = sources.read(write(tmp_path / "c.csv", "id,name,picture\n" + text))
        assert all(p.id for p in found) and len({p.id for p in found}) == len(found)
    except TuneloopError as problem:
        assert problem.message
