"""Headers wherever they stand: in two rows, below titles, none at all; in real files, and as the user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneloop.ask.report import sentence
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput

GROUPED = ",Sales,,Returns,\nCity,2023,2024,2023,2024\nOmsk,10,12,1,2\nTver,11,13,3,1\nPerm,7,9,0,0\n"


def opened(folder: Path, text: str, **asked: object) -> Table:
    path = folder / "x.csv"
    path.write_text(text, encoding="utf-8")
    table = open_table(path, **asked)
    table.close()
    return table


def names(table: Table) -> list[str]:
    return [column.name for column in table.profile.columns]


def place(table: Table) -> tuple[str, str]:
    return next((f.value, f.how) for f in table.report.found if f.what == "header")


@pytest.mark.parametrize(
    ("text", "columns", "found"),
    [
        (GROUPED, ["City", "Sales 2023", "Sales 2024", "Returns 2023", "Returns 2024"], ("1-2", "groups")),
        (
            "Итоги\n\n" + GROUPED,
            ["City", "Sales 2023", "Sales 2024", "Returns 2023", "Returns 2024"],
            ("3-4", "groups"),
        ),
        (
            "Region;I кв.;;II кв.;\n;янв;фев;апр;май\nСевер;1,5;2;3;4\nЮг;2;3;4;5\n",
            ["Region", "I кв. янв", "I кв. фев", "II кв. апр", "II кв. май"],
            ("1-2", "groups"),
        ),
        (
            "id,Sales,Sales,Returns,Returns\nid,units,money,units,money\n1,10,12.5,1,2.5\n2,11,13,3,1.5\n",
            ["id", "Sales units", "Sales money", "Returns units", "Returns money"],
            ("1-2", "groups"),
        ),
        (
            "Person,,Address,\nfirst,last,city,street\nAnn,Lee,Omsk,Main\nBob,Ray,Tver,Low\n",
            ["Person first", "Person last", "Address city", "Address street"],
            ("1-2", "groups"),
        ),
        ("city,weight,height\n,kg,cm\nOmsk,10,12\nTver,11,13\n", ["city", "weight kg", "height cm"], ("1-2", "units")),
    ],
)
def test_two_rows_are_one_header(text: str, columns: list[str], found: tuple[str, str], tmp_path: Path) -> None:
    table = opened(tmp_path, text)
    assert names(table) == columns and place(table) == found
    assert table.report.header == 2 and table.report.loaded == len(text.strip().split("\n")) - 2 - table.report.above
    assert {c.kind for c in table.profile.columns[1:]} in ({"number"}, {"text"})
    assert any("below" in sentence(f) for f in table.report.found)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\nx,1,\ny,2,z\n",
        "name,,city\nAnn,,Omsk\nBob,,Tver\n",
        "name,sold\nn/a,1\nOmsk,2\nTver,3\n",
        "city,x,y\nOmsk,1,2\n,3,4\nTver,5,6\n",
        "year,a,b\n2001,5,6\n2002,7,8\n",
        "Ann,,Omsk\nBob,Ray,Tver\nCid,Lee,Perm\n",
    ],
)
def test_one_row_is_not_taken_for_two(text: str, tmp_path: Path) -> None:
    assert opened(tmp_path, text).report.header < 2


@pytest.mark.parametrize("above", range(5))
def test_a_header_in_any_of_the_first_five_rows(above: int, tmp_path: Path) -> None:
    titles = ["Report of sales", "made 2024-01-01", "by,me", ""][:above]
    titles += [""] * (above - len(titles))
    table = opened(tmp_path, "\n".join([*titles, "city,sold,price", "Omsk,1,2.5", "Tver,2,3.5", "Perm,3,4.5"]) + "\n")
    assert names(table) == ["city", "sold", "price"] and place(table)[0] == str(above + 1)
    assert (table.report.above, table.report.loaded) == (above, 3)


def test_no_header_is_said_and_columns_are_numbered(tmp_path: Path) -> None:
    table = opened(tmp_path, "Omsk,10,2024-01-01\nTver,11,2024-01-02\nPerm,12,2024-01-03\n")
    assert names(table) == ["column 1", "column 2", "column 3"] and place(table) == ("-", "data")
    assert table.report.loaded == 3


def test_the_user_has_the_last_word(tmp_path: Path) -> None:
    assert names(opened(tmp_path, GROUPED, header="2"))[0] == "City"
    assert names(opened(tmp_path, GROUPED, header="0"))[0] == "column 1"
    one = "a,b\nx,y\n1,2\n3,4\n"
    assert names(opened(tmp_path, one, header="1-2")) == ["a x", "b y"]
    assert place(opened(tmp_path, one, header="1-2")) == ("1-2", "asked")
    for wrong in ("x", "1-3", "2-1", "-1", ""):
        with pytest.raises(BadInput, match="no row of a header"):
            opened(tmp_path, one, header=wrong)


def test_a_merged_header_of_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["Отчёт"], ["Город", "Продажи", None, "Возвраты", None], [None, "шт.", "руб.", "шт.", "руб."]):
        sheet.append(row)
    for row in (["Омск", 1, 2.5, 0, 0], ["Тверь", 2, 3.5, 1, 1.5]):
        sheet.append(row)
    for cells in ("A2:A3", "B2:C2", "D2:E2"):
        sheet.merge_cells(cells)
    book.save(tmp_path / "x.xlsx")
    table = open_table(tmp_path / "x.xlsx")
    assert names(table) == ["Город", "Продажи шт.", "Продажи руб.", "Возвраты шт.", "Возвраты руб."]
    assert place(table) == ("2-3", "groups")
    assert table.run('SELECT sum("Продажи руб.") FROM t').rows == [(6.0,)]
    table.close()


@pytest.mark.parametrize(
    "text",
    [
        '"a,b,c"\n"1,2,x"\n"3,4,y"\n"5,6,""q, r"""\n',
        'a,b,c\n"1,2,x"\n"3,4,y"\n"5,6,""q, r"""\n',
        '"a;b;c"\n"1;2;x"\n"3;4;y"\n"5;6;""q, r"""\n',
    ],
)
def test_whole_rows_inside_one_quoted_cell(text: str, tmp_path: Path) -> None:
    table = opened(tmp_path, text)
    assert names(table) == ["a", "b", "c"] and ("quotes", "wrapped") in [(f.what, f.how) for f in table.report.found]
    assert table.run("SELECT * FROM t").rows == [(1, 2, "x"), (3, 4, "y"), (5, 6, "q, r")]
    table.close()
