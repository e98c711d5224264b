"""Files that are no tables, or hardly: one clear sentence, or every row accounted for; never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuneloop.ask import kaggle
from tuneloop.ask.report import sentence, sum_of_rows
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, Damaged, EngineDown, Hostile, Missing, OutOfResources, TuneloopError

ROWS = "city,n\n" + "".join(f"city {n},{n}\n" for n in range(3000))
JARGON = ("Exception", "Traceback", "Errno", "InvalidInput", "LINE 1", "\n")


def opened(path: Path) -> Table:
    table = open_table(path)
    table.close()
    return table


def workbook(path: Path) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for n in range(500):
        book.active.append([f"city {n}", n, n * 1.5])
    book.save(path)
    return path.read_bytes()


def parquet() -> bytes:
    import tempfile

    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        duckdb.sql("SELECT range AS n, 'v' || range AS s FROM range(5000)").write_parquet(str(path))
        return path.read_bytes()


def zipped(name: str = "a.csv", text: str = ROWS) -> bytes:
    import io

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return made.getvalue()


def spoilt(raw: bytes, start: int, size: int) -> bytes:
    return raw[:start] + b"\xff" * size + raw[start + size :]


def locked(raw: bytes) -> bytes:
    """A zip whose member says that it needs a password."""
    made, entry = bytearray(raw), raw.find(b"PK\x01\x02")
    made[6] |= 1
    made[entry + 8] |= 1
    return bytes(made)


DAMAGED: dict[str, Callable[[Path], bytes]] = {
    "half.xlsx": lambda path: workbook(path)[:9000],
    "end.xlsx": lambda path: workbook(path)[:-10],
    "part.xlsx": lambda path: spoilt(raw := workbook(path), raw.find(b"sheet1.xml") + 60, 300),
    "fake.xlsx": lambda _: zipped("xl/workbook.xml", "<x/>"),
    "half.parquet": lambda _: parquet()[:9000],
    "end.parquet": lambda _: parquet()[:-20],
    "part.parquet": lambda _: spoilt(parquet(), 100, 1900),
    "half.zip": lambda _: zipped()[:6000],
    "part.zip": lambda _: spoilt(zipped(), 200, 200),
    "half.csv.gz": lambda _: gzip.compress(ROWS.encode())[:3000],
    "junk.csv.gz": lambda _: b"\x1f\x8b" + b"\x99" * 500,
    "half.sqlite": lambda _: b"SQLite format 3\x00" + random.Random(3).randbytes(4000),
}
REFUSED: dict[str, Callable[[Path], bytes]] = {
    "empty.csv": lambda _: b"",
    "blanks.csv": lambda _: b"   \n \t \n",
    "header.csv": lambda _: b"a,b,c\n",
    "mark.csv": lambda _: b"\xef\xbb\xbf",
    "noise.csv": lambda _: random.Random(1).randbytes(100_000),
    "zeros.csv": lambda _: bytes(100_000),
    "program.csv": lambda _: Path(sys.executable).resolve().read_bytes()[:100_000],
    "sound.wav": lambda _: b"RIFF\x00\x00\x00\x00WAVEfmt " + random.Random(2).randbytes(20_000),
    "x.pkl": lambda _: pickle.dumps(list(range(3000))),
    "wide.csv": lambda _: (",".join(f"c{n}" for n in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n").encode(),
    "line.csv": lambda _: b"x" * 50_000_000,
    "empty.zip": lambda _: b"PK\x05\x06" + bytes(18),
    "locked.zip": lambda _: locked(zipped()),
    "bomb.zip": lambda _: zipped(text="0,1\n" * 10_000_000),
    "number.json": lambda _: b"42",
}


@pytest.mark.parametrize("name", [*DAMAGED, *REFUSED])
def test_one_clear_sentence_and_nothing_left(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    raw = (DAMAGED | REFUSED)[name](path)
    path.write_bytes(raw)
    began = time.monotonic()
    with pytest.raises(TuneloopError) as refusal:
        open_table(path)
    said = refusal.value
    assert said.message and said.fix and len(said.message) < 300
    assert not any(word in said.message for word in JARGON), said.message
    assert isinstance(said, BadInput) and (name not in DAMAGED or "damaged" in said.message)
    assert time.monotonic() - began < 30
    assert [p.suffix for p in tmp_path.glob(".tuneloop/*")] in ([], [".lock"])


def test_bombs_inside_a_workbook(tmp_path: Path) -> None:
    good = workbook(tmp_path / "good.xlsx")
    (tmp_path / "good.xlsx").write_bytes(good)
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row>'
    long = head + b'<c t="inlineStr"><is><t>' + b"a" * 100_000_000 + b"</t></is></c></row></sheetData></worksheet>"
    laughs = b'<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    )
    laugh = (
        b"<!DOCTYPE l ["
        + laughs
        + b"]>"
        + head
        + b'<c t="inlineStr"><is><t>&j;</t></is></c></row></sheetData></worksheet>'
    )
    for sheet, kind in ((long, Hostile), (laugh, Damaged)):
        with (
            zipfile.ZipFile(tmp_path / "bad.xlsx", "w", zipfile.ZIP_DEFLATED) as bad,
            zipfile.ZipFile(tmp_path / "good.xlsx") as old,
        ):
            for name in old.namelist():
                bad.writestr(name, sheet if name.endswith("sheet1.xml") else old.read(name))
        with pytest.raises(kind):
            open_table(tmp_path / "bad.xlsx")


def test_formulas_without_values_are_told(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["city", "n", "twice", "error"])
    for n in range(20):
        book.active.append([f"c{n}", n, f"=B{n + 2}*2", "#DIV/0!" if n % 5 == 0 else n])
    book.save(tmp_path / "x.xlsx")
    table = opened(tmp_path / "x.xlsx")
    told = {f.what: f for f in table.report.found}
    assert told["formulas"].value == "20" and "hold no value" in sentence(told["formulas"])
    assert (table.profile.column("error").kind, table.profile.column("error").missing) == ("number", 4)
    assert "formulas" not in {f.what for f in (opened(_plain(tmp_path))).report.found}


def _plain(folder: Path) -> Path:
    workbook(folder / "plain.xlsx")
    return folder / "plain.xlsx"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('a,b\n1,"' + "x y " * 12_500_000 + '"\n2,z\n3,w\n', "1 header + 1 rejected (a quote that is never closed)"),
        ("a,b\n1," + "x" * 50_000_000 + "\n2,z\n3,w\n", "1 header + 1 rejected (longer than 500,000 characters)"),
        ("a,b\n" + "".join(f"{n},v{n}{chr(0) * (n % 10 == 0)}\n" for n in range(99)), "10 rejected (zero bytes)"),
        ("a,b\r\n1,2\n3,4\r\n5,6\r7,8\n", "5 lines = 1 header + 4 loaded"),
        ("a,a,,A,\n1,2,3,4,5\n2,2,3,4,5\n", "3 lines = 1 header + 2 loaded"),
    ],
)  # fmt: skip
def test_odd_rows_are_counted(raw: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(raw.encode())
    table = opened(path)
    assert said in sum_of_rows(table.report) and table.report.adds_up()
    names = [column.name.lower() for column in table.profile.columns]
    assert all(names) and len(set(names)) == len(names)


def test_lines_in_another_encoding_are_read_as_that(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for code in ("cp1251", "koi8-r"):
        first = "имя,город\n" + "".join(f"Иван{n},Омск\n" for n in range(500))
        path.write_bytes(first.encode() + "Пётр,Тверь\nСергей,Кострома\n".encode(code) * 200)
        table = open_table(path)
        assert table.run("SELECT count(*) FROM t WHERE город IN ('Омск', 'Тверь', 'Кострома')").rows == [(900,)]
        assert any(f.how == "mixed" and code in sentence(f) for f in table.report.found)
        table.close()


def test_a_rejected_line_of_broken_bytes_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(("имя,город\n" + "Иван,Омск\n" * 500).encode() + b"\xff\xfe\xfa,x\n")
    report = opened(path).report
    assert report.rejected == {"encoding": 1} and json.dumps(report.examples, ensure_ascii=False).encode()


def test_items_of_an_array_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"a": "w"}, 2, {"a": "x\\ud800"}]')
    assert sum_of_rows(opened(path).report) == "3 rows = 1 rejected (not a JSON object) + 2 loaded"


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "away").symlink_to(tmp_path / "gone")
    for path, kind in ((tmp_path / "pipe", BadInput), (Path("/dev/zero"), BadInput), (tmp_path / "away", Missing),
                       (tmp_path / ("x" * 300), Missing)):  # fmt: skip
        with pytest.raises(kind):
            open_table(path)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "".join(f"{n},v{n}\n" for n in range(200_000)))
    done = threading.Event()

    def grow() -> None:
        with path.open("a") as file:
            while not done.wait(0.002):
                file.write("1,more\n" * 20)
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        table = opened(path)
    finally:
        done.set()
        writer.join()
    assert table.report.adds_up() and table.profile.rows >= 200_000
    assert "it is read again next time" in " ".join(sentence(f) for f in table.report.found)
    again = opened(path)
    assert again.report.loaded == path.read_text().count("\n") - 1
    assert "source" not in {f.what for f in again.report.found}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system of a given size needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("ragged", [False, True], ids=["fast", "exact"])
def test_a_full_disk_is_said_and_nothing_is_left(tiny_disk: Path, tmp_path: Path, ragged: bool) -> None:
    path = tmp_path / "x.csv"
    chance = random.Random(1)
    path.write_text("a,b\n" + "".join(f"{n},{chance.getrandbits(200):x}\n" for n in range(200_000)) + "7\n" * ragged)
    with pytest.raises(OutOfResources, match="disk is full"):
        open_table(path, cache=tiny_disk)
    assert [p.suffix for p in tiny_disk.iterdir()] == [".lock"]
    opened(path)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with x.csv in which nothing can be written, also by root."""
    folder = tmp_path / "data"
    folder.mkdir()
    root = os.getuid() == 0
    if root and subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere but on a read-only file system")
    (folder / "x.csv").write_text(ROWS)
    if root:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    else:
        folder.chmod(0o555)
    yield folder
    if root:
        subprocess.run(["umount", folder], check=True)
    else:
        folder.chmod(0o755)


def test_nothing_can_be_written_beside_the_file(
    read_only: Path, tmp_path: Path, tuneloop_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "HOME": str(home)}
    done = tuneloop_command("ask", read_only / "x.csv", "--json", "how many rows", env=environment)
    assert json.loads(done.stdout)["rows"] == [[3000]]
    assert "is kept in" in done.stderr and str(home / ".cache" / "tuneloop" / "tables") in done.stderr
    assert list(home.glob(".cache/tuneloop/tables/*.duckdb"))
    beside = tuneloop_command("ask", read_only / "x.csv", "--cache", read_only / "no", "--profile", code=3)
    assert "cannot be made" in beside.stderr


def test_kaggle_without_network_is_one_sentence_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("kagglehub")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(EngineDown) as refusal:
        kaggle.fetched("nobody/nothing-here")
    assert "cannot be reached" in refusal.value.message and "key" in refusal.value.fix
    assert time.monotonic() - began < 10
    with pytest.raises(BadInput):
        kaggle.fetched("../etc/passwd")
