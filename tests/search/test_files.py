"""Documents from files: what a reader of the page would see, in any usual encoding; all else is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.errors import BadInput, Hostile, Missing
from tuneloop.search.files import LARGEST, gathered, parse_page, read

PAGE = """<!DOCTYPE html><html><head><title>Уход &amp; ремонт</title><style>p {color: red}</style></head>
<body><nav><a href="/">Главная</a></nav><h1>Цепь</h1><p>Смазывают   <b>каждые</b>
200&nbsp;км.<br>Потом протирают.</p><script>alert("x < y")</script>
<ul><li>масло</li><li>ветошь</li></ul><table><tr><td>шаг</td><td>12,7 мм</td></tr></table>
<pre>a
  b</pre></body></html>"""


def write(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_page_is_what_its_reader_sees() -> None:
    title, text = parse_page(PAGE)
    assert title == "Уход & ремонт"
    assert text.split("\n\n") == [
        "# Цепь", "Смазывают каждые 200 км.\nПотом протирают.", "масло", "ветошь", "шаг", "12,7 мм", "a\nb"
    ]  # fmt: skip


def test_three_kinds_have_their_titles(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", a__txt="просто текст", b__md="вступление\n\n## Глава ##\nтекст", c__html=PAGE)
    found = {one.id: one for one in read(gathered([folder]))}
    assert {name: one.metadata["title"] for name, one in found.items()} == {
        "a.txt": "a", "b.md": "Глава", "c.html": "Уход & ремонт"
    }  # fmt: skip
    assert found["a.txt"].text == "просто текст"
    assert "Смазывают" in found["c.html"].text and "alert" not in found["c.html"].text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("name", ["a.txt", "a.html"])
def test_encodings_are_told_apart(tmp_path: Path, encoding: str, name: str) -> None:
    (tmp_path / name).write_bytes("Ёлка и дом.\r\nЕщё строка.".encode(encoding))
    (found,) = read(gathered([tmp_path / name]))
    assert found.text in ("Ёлка и дом.\nЕщё строка.", "Ёлка и дом. Ещё строка.")


def test_folders_are_read_deep_and_their_other_files_left(tmp_path: Path) -> None:
    write(tmp_path / "f", a__txt="1", b__pdf=b"%PDF", c__docx=b"PK")
    write(tmp_path / "f/deep/er", a__txt="2")
    assert list(gathered([tmp_path / "f"])) == ["a.txt", "deep/er/a.txt"]
    assert list(gathered([tmp_path / "f/deep", tmp_path / "f/a.txt"])) == ["er/a.txt", "a.txt"]


def test_what_is_no_document_is_said(tmp_path: Path) -> None:
    write(tmp_path / "f", a__pdf=b"%PDF", b__txt=b"\x00\x01\xff", c__txt=bytes(range(128, 256)))
    write(tmp_path / "g", b__txt="x")
    with pytest.raises(BadInput, match=r"a\.pdf is no text"):
        gathered([tmp_path / "f/a.pdf"])
    with pytest.raises(Missing, match="is not there"):
        gathered([tmp_path / "none"])
    with pytest.raises(BadInput, match=r"two files would be the document 'b\.txt'"):
        gathered([tmp_path / "f/b.txt", tmp_path / "g"])
    for name in ("b.txt", "c.txt"):
        with pytest.raises(BadInput, match="no text that can be read"):
            list(read(gathered([tmp_path / "f" / name])))


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as handle:
        handle.truncate(LARGEST + 1)
    with pytest.raises(BadInput, match="larger than 20 MB"):
        list(read(gathered([tmp_path / "a.txt"])))


def test_a_page_that_eats_its_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneloop.search.files.SECONDS", 0.05)  # less than the child needs to start
    write(tmp_path, a__html=PAGE)
    with pytest.raises(Hostile, match=r"a\.html"):
        list(read(gathered([tmp_path])))


@given(st.text(alphabet='<>/!-&;abp"= \n\x00é', max_size=200) | st.text(max_size=100))
def test_any_page_can_be_read(html: str) -> None:
    title, text = parse_page(html)
    assert text == text.strip() and "\n\n\n" not in text and len(title) <= 200
