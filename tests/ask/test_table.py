"""Open files of every kind as tables: every row accounted for, loaded once, bad files one clear sentence."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
import zipfile
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tuneloop.ask.report import sentence, subject, sum_of_rows
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, Missing, TuneloopError

CSV = "город,продано,день\nОмск,10,2024-01-05\nТверь,12,2024-02-05\n,7,2024-03-05\n"
PROSE = """The river rose in the night, and by morning the mill stood in water.
Nobody had seen the like, not the miller, not his father, not the oldest of the carters,
who came down to look.
They stood on the bank, smoking, with their hands in their pockets, and said little, as men do, when there is
nothing, or nearly nothing, to be done.
At noon it stopped.
The ducks, alone, were pleased, and swam through the door of the barn, one, two, three, four, five of them.
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def rows(table: Table, sql: str = "SELECT * FROM t") -> list[tuple[object, ...]]:
    try:
        return table.run(sql, seconds=30).rows  # type: ignore[return-value]
    finally:
        table.close()


def test_profile_report_and_query(source: Path) -> None:
    table = open_table(source)
    city, sold, day = table.profile.columns
    assert (city.kind, city.missing, city.distinct, city.values) == ("text", 1, 2, ("Омск", "Тверь"))
    assert (sold.kind, sold.low, sold.high, sold.sql) == ("number", 7.0, 12.0, '"продано"')
    assert (day.kind, day.low) == ("date", "2024-01-05")
    assert sum_of_rows(table.report) == "4 lines = 1 header + 3 loaded"
    assert all(subject(f) and sentence(f) for f in table.report.found)
    assert table.profile.column("ГОРОД") is city
    result = table.run("SELECT sum(продано) AS s FROM t WHERE день < DATE '2024-03-01'")
    assert (result.columns, result.rows) == (("s",), [(22,)])
    table.close()


def test_loaded_once_and_again_when_it_changed(source: Path) -> None:
    first = open_table(source)
    stamp = first.database.stat().st_mtime_ns
    assert open_table(source).database.stat().st_mtime_ns == stamp
    source.write_text(CSV + "Пермь,1,2024-04-05\n", encoding="utf-8")
    again = open_table(source)
    assert (again.database, again.profile.rows) == (first.database, 4)
    assert rows(again, "SELECT count(*) FROM t") == [(4,)]
    first.close()
    assert not list(source.parent.glob(".tuneloop/.loading-*"))


def test_overrides_have_their_own_copy(source: Path) -> None:
    plain, text = open_table(source), open_table(source, kinds={"продано": "text"})
    assert plain.database != text.database
    assert text.profile.column("продано").kind == "text"
    with pytest.raises(BadInput):
        open_table(source, colour="red")


def test_a_folder_that_cannot_be_written(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_a: False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_table(source).database.is_relative_to(tmp_path / "home")


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "cp1251", "koi8-r", "cp866", "utf-16"])
def test_encodings_without_mojibake(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = [f"Сотрудник номер {n};Отделение связи;{n},5" for n in range(1000)]
    path.write_bytes(("имя;место;ставка\n" + "\n".join(lines)).encode(name))
    table = open_table(path)
    assert table.profile.rows == 1000
    assert table.profile.column("ставка").kind == "number"
    assert rows(table, "SELECT count(*) FROM t WHERE имя LIKE 'Сотрудник номер %'") == [(1000,)]


def test_rows_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("n,a,b,c\n" + "".join(f"{n},{n % 7}.5,2024-01-0{n % 9 + 1},v{n}\n" for n in range(60_000)))
    assert rows(open_table(path), "SELECT count(*) FROM t WHERE n <> rowid") == [(0,)]


def test_fast_and_exact_readers_agree(tmp_path: Path) -> None:
    """The same rows, once as DuckDB reads them itself and once as one short row makes the exact reader read them."""
    chance = random.Random(5)
    cells = ["a b", 'say "hi"', "two\nlines", "x,y", "", " padded ", "ё", "NA"]
    body = ""
    for n in range(3000):
        text = chance.choice(cells).replace('"', '""')
        body += f'{n},"{text}",{n / 4},{2000 + n % 20}-0{1 + n % 9}-11\n'
    plain, ragged = tmp_path / "plain.csv", tmp_path / "ragged.csv"
    plain.write_text("id,word,share,day\n" + body)
    ragged.write_text("id,word,share,day\n" + body + "3000\n")
    fast, exact = open_table(plain), open_table(ragged)
    assert (fast.report.reader, exact.report.reader) == ("fast", "exact")
    assert exact.report.padded == 1
    assert fast.report.continued == exact.report.continued > 0
    sql = "SELECT * FROM t WHERE id < 3000 ORDER BY id"
    assert fast.run(sql, most=5000).rows == exact.run(sql, most=5000).rows
    for table in (fast, exact):
        table.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3,4,5\n6,7\n", "4 lines = 1 header + 1 rejected (more cells than columns) + 2 loaded"),
        ("a,b\n1,2\n\n\n3,4\n", "5 lines = 1 header + 2 blank + 2 loaded"),
        ("Report\n\na,b\n1,2\n3,4\n", "5 lines = 2 above the header + 1 header + 2 loaded"),
        ("a,b\r\n1,2\r\n3,4\n", "3 lines = 1 header + 2 loaded"),
        ("a,b\n1,2\n,\n3,4\n", "4 lines = 1 header + 1 rejected (no cell is filled) + 2 loaded"),
        ("a,b\nx,2\na,b\ny,4\n", "4 lines = 1 header + 1 rejected (the header once more) + 2 loaded"),
        ("a,b\n1,=cmd|' /C calc'!A0\n2,x\n", "3 lines = 1 header + 2 loaded"),
        ("sep=;\na;b\n1;2\n", "3 lines = 1 above the header + 1 header + 1 loaded"),
        ('a,b\n1,"x\ny"\n2,z\n', "4 lines = 1 header + 1 inside quoted cells + 2 loaded"),
        ("a,b\n1,x\x00y\n2,z\n3,w\n", "4 lines = 1 header + 1 rejected (zero bytes) + 2 loaded"),
        ('name,";DROP TABLE t;--"\nx,2\n', "2 lines = 1 header + 1 loaded"),
    ],
)
def test_shapes_that_lose_rows_elsewhere(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    table = open_table(path)
    assert sum_of_rows(table.report) == said
    assert rows(table, "SELECT count(*) FROM t") == [(table.report.loaded,)]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("empty.csv", b""),
        ("blank.csv", b"\n\n\n"),
        ("header.csv", b"a,b\n"),
        ("page.html", b"<!doctype html><html><body>no</body></html>"),
        ("x.pdf", b"%PDF-1.7 ..."),
        ("x.png", b"\x89PNG\r\n\x1a\n...."),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 500),
        ("broken.xlsx", b"PK\x03\x04 no archive"),
        ("x.parquet", b"PAR1 no parquet PAR1"),
        ("x.sqlite", b"SQLite format 3\x00" + b"\x01" * 200),
        ("wide.csv", ",".join(f"c{n}" for n in range(50_000)).encode() + b"\n" + b"1," * 49_999 + b"1\n"),
        ("noise.bin", bytes(range(256)) * 40),
        ("broken.json", b'[{"a": 1}, {"a": '),
        ("deep.json", b'{"a":' * 100_000),
        ("prose.txt", PROSE.encode()),
    ],
)
def test_what_is_no_table_is_one_clear_sentence(name: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(TuneloopError) as refusal:
        open_table(path)
    assert refusal.value.message
    assert "Error:" not in refusal.value.message.split(":")[0]
    assert not list(tmp_path.glob(".tuneloop/*.duckdb"))


def test_line_ends_inside_cells_are_no_ends_of_rows(tmp_path: Path) -> None:
    """Excel writes cp1251 with CRLF, also inside cells; web pages leave U+2028; paths end with a backslash."""
    path = tmp_path / "a.csv"
    path.write_bytes('имя,цена\r\n"Анна\r\nПетровна",1\r\n"Олег",2\r\n'.encode("cp1251"))
    assert rows(open_table(path)) == [("Анна\r\nПетровна", 1), ("Олег", 2)]
    for blank in ("\u2028", "\x85", "\x0c", "\x1d"):
        path.write_text(f"note{blank}x,price\na{blank}b,1\nc,2\nd,3\n", encoding="utf-8")
        table = open_table(path)
        assert table.report.loaded == 3 and table.report.above == 0, sum_of_rows(table.report)
        assert rows(table)[0] == (f"a{blank}b", 1)
    lines = "".join(f'"C:\\data; x\\{n}\\",me,{n}\n' for n in range(8))
    path.write_text("path,owner,size\n" + lines, encoding="utf-8")
    assert rows(open_table(path))[1] == ("C:\\data; x\\1\\", "me", 1)
    path.write_text('a,b\n"he said \\"hi, you\\"",1\n"5\\"",2\n"x",3\n', encoding="utf-8")
    assert rows(open_table(path)) == [('he said "hi, you"', 1), ('5"', 2), ("x", 3)]


def test_a_name_may_begin_like_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("{price},city\n1,Омск\n2,Тверь\n", encoding="utf-8")
    assert rows(open_table(tmp_path / "a.csv")) == [(1, "Омск"), (2, "Тверь")]
    (tmp_path / "b.csv").write_text('{"price": 1}\n{"price": 2}\n', encoding="utf-8")
    assert rows(open_table(tmp_path / "b.csv")) == [(1,), (2,)]


def test_a_name_that_is_no_text_is_said(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/b\xff.csv"))
    path.write_text(CSV, encoding="utf-8")
    with pytest.raises(BadInput, match="UTF-8"):
        open_table(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        open_table(tmp_path / "none.csv")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [json.dumps({"n": n, "who": {"name": f"user {n}"}, "ok": n % 2 == 0}) for n in range(20)]
    path.write_text("\n".join([*lines, "{broken", "", "[1]"]) + "\n", encoding="utf-8")
    table = open_table(path)
    assert [c.name for c in table.profile.columns] == ["n", "who.name", "ok"]
    assert sum_of_rows(table.report) == "23 rows = 1 blank + 2 rejected (not a JSON object) + 20 loaded"
    assert rows(table, "SELECT sum(n), count_if(ok) FROM t WHERE \"who.name\" > ''") == [(190, 10)]


def test_a_json_array_inside_an_object(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"items": [{"a": 1}, {"a": 2, "b": "x"}]}), encoding="utf-8")
    assert rows(open_table(path)) == [(1, None), (2, "x")]


def test_sqlite_with_several_tables(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE goods (id INTEGER, name TEXT)")
        database.execute("CREATE TABLE sales (good INTEGER, price REAL)")
        database.executemany("INSERT INTO goods VALUES (?, ?)", [(1, "tea"), (2, "milk")])
        database.executemany("INSERT INTO sales VALUES (?, ?)", [(1, 2.5), (1, 3.5), (2, None)])
    table = open_table(path)
    assert table.tables == ("goods", "sales", "t")
    assert table.run("SELECT count(*) FROM t").rows == [(3,)]
    sql = "SELECT name, sum(price) FROM sales JOIN goods ON id = good GROUP BY name ORDER BY name"
    assert rows(table, sql) == [("milk", None), ("tea", 6.0)]
    assert open_table(path, table="goods").profile.rows == 2


def test_parquet(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "x.parquet"
    duckdb.sql("SELECT range AS n, 'v' || range AS s, [range] AS l FROM range(50)").write_parquet(str(path))
    table = open_table(path)
    assert [c.kind for c in table.profile.columns] == ["number", "text", "text"]
    assert rows(table, "SELECT max(n), max(l) FROM t") == [(49, "[9]")]


def test_excel(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["Итоги"], [], ["город", "сумма"], ["Омск", 1.5], ["Тверь", 2], [None, None], ["Пермь", 3]):
        book.active.append(row)
    book.create_sheet("пусто")
    path = tmp_path / "x.xlsx"
    book.save(path)
    table = open_table(path)
    assert sum_of_rows(table.report) == "7 rows = 2 above the header + 1 header + 1 blank + 3 loaded"
    assert rows(table, "SELECT sum(сумма) FROM t") == [(6.5,)]
    with pytest.raises(BadInput):
        open_table(path, sheet="нет такого")


def test_a_folder_of_files_with_the_same_columns(tmp_path: Path) -> None:
    folder = tmp_path / "years"
    folder.mkdir()
    for year in (2022, 2023):
        (folder / f"{year}.csv").write_text("day,n\n" + "".join(f"{year}-01-0{d},{d}\n" for d in range(1, 6)))
    (folder / "readme.csv").write_text("x;y;z\n1;2;3\n")
    table = open_table(folder)
    assert sum_of_rows(table.report) == "12 lines = 2 header + 10 loaded"
    assert rows(table, "SELECT file, sum(n) FROM t GROUP BY file ORDER BY file") == [("2022.csv", 15), ("2023.csv", 15)]
    assert "readme.csv" in " ".join(sentence(f) for f in table.report.found)


def test_archives_and_bombs(tmp_path: Path) -> None:
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(b"a;b\n1;2\n3;4\n"))
    assert rows(open_table(packed)) == [(1, 2), (3, 4)]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../../evil.csv", "a,b\n1,2\n")
    assert rows(open_table(tmp_path / "x.zip")) == [(1, 2)]
    assert not (tmp_path.parent / "evil.csv").exists()
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"0" * 50_000_000))
    with pytest.raises(BadInput, match="times its size"):
        open_table(bomb)


def test_unread_cells_are_counted_beyond_the_sample(tmp_path: Path) -> None:
    """The sample of a large file says "numbers"; the one odd word far behind it is found and told."""
    path = tmp_path / "x.csv"
    path.write_text("n,x\n" + "".join(f"{n},{n}\n" for n in range(50_000)) + "50000,unknown to us\n50001,1.5\n")
    table = open_table(path)
    assert table.profile.column("x").kind == "number"
    assert table.report.unread["x"] == (1, ("unknown to us",))
    assert rows(table, "SELECT x FROM t WHERE n = 50001") == [(1.5,)]


def test_every_development_table_adds_up(tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data("csv_dev.zip")) as archive:
        archive.extractall(tmp_path)
    tables = [p for p in sorted(tmp_path.rglob("*.csv")) if "tennis" not in str(p)]
    for path in [*tables, next(tmp_path.rglob("tennis_atp"))]:
        report = open_table(path, cache=tmp_path / "cache").report
        assert report.adds_up()
        assert sum(report.rejected.values()) <= 3
    assert len(tables) >= 10
