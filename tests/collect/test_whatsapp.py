"""WhatsApp's text in its dialects: Android and iOS, 12 and 24 hours, day first and month first, Russian and English."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import shared_data
from tuneloop.collect import reasons, source, whatsapp
from tuneloop.collect.rows import ROW
from tuneloop.collect.source import Part
from tuneloop.errors import Damaged, Hostile
from tuneloop.records import Chat


class Memory:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.raw[self.at : self.at + size]
        self.at += len(chunk)
        return chunk

    def close(self) -> None: ...
    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_problem: object) -> None: ...


def part(text: str | bytes, name: str = "_chat.txt", encoding: str = "utf-8") -> Part:
    raw = text if isinstance(text, bytes) else text.encode(encoding)
    return Part(name, "", len(raw), lambda: Memory(raw), "whatsapp", encoding)


def read(text: str | bytes, **options: Any) -> tuple[Chat, list[dict[str, Any]], list[str], Counter[str]]:
    notes: Counter[str] = Counter()
    chat, *found = whatsapp.read(part(text, **options), notes)
    assert isinstance(chat, Chat)
    rows = [dict(zip(ROW, row, strict=True)) for row in found if isinstance(row, tuple)]
    return chat, rows, [one for one in found if isinstance(one, str)], notes


def when(row: dict[str, Any]) -> str:
    return f"{datetime.fromtimestamp(row['time'], UTC):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("31.12.20, 23:55 - Аня: привет", "2020-12-31 23:55:00"),
        ("31/12/2020, 23:55 - Аня: привет", "2020-12-31 23:55:00"),
        ("12/31/20, 11:55 PM - Аня: привет", "2020-12-31 23:55:00"),
        ("12/31/20, 11:55\u202fPM - Аня: привет", "2020-12-31 23:55:00"),
        ("31/12/2020, 12:05 a. m. - Аня: привет", "2020-12-31 00:05:00"),
        ("2020-12-31, 23:55 - Аня: привет", "2020-12-31 23:55:00"),
        ("31.12.2020 23:55 - Аня: привет", "2020-12-31 23:55:00"),
        ("[31.12.20, 23:55:07] Аня: привет", "2020-12-31 23:55:07"),
        ("[12/31/20, 12:55:07\u202fPM] Аня: привет", "2020-12-31 12:55:07"),
        ("\u200e[31/12/2020, 23:55:07] ~\u202fАня: привет", "2020-12-31 23:55:07"),
        ("\ufeff31.12.20, 23:55 – Аня: привет", "2020-12-31 23:55:00"),
    ],
)
def test_dialects(line: str, expected: str) -> None:
    assert whatsapp.looks_like(line)
    _chat, rows, rejected, _notes = read(line)
    assert [(when(row), row["name"], row["text"]) for row in rows] == [(expected, "Аня", "привет")]
    assert not rejected


@pytest.mark.parametrize(
    ("dates", "expected", "note"),
    [
        (("01/02/20", "13/02/20"), "2020-02-01", "dates read as day/month"),
        (("01/02/20", "02/13/20"), "2020-01-02", "dates read as month/day"),
        # 3 April, 4 March would go back in time; March 4, April 3 goes on
        (("03/04/20", "04/03/20"), "2020-03-04", "dates read as month/day"),
        (("04/03/20", "03/04/20"), "2020-03-04", "dates read as day/month"),
        (("1/2/20",), "2020-01-02", "dates fit both orders, read as month/day"),
        (("01/02/2020",), "2020-02-01", "dates fit both orders, read as day/month"),
        (("01.02.20",), "2020-02-01", "dates fit both orders, read as day/month"),
        (("2020-02-01", "2020-02-13"), "2020-02-01", "dates read as year/month/day"),
    ],
)
def test_day_or_month_first_by_the_evidence_of_the_whole_file(dates: tuple[str, ...], expected: str, note: str) -> None:
    _chat, rows, _rejected, notes = read("\n".join(f"{date}, 10:00 - А: б" for date in dates))
    assert when(rows[0])[:10] == expected
    assert +notes == {note: 1, "times are the phone's clock, read as UTC": 1}


def test_dates_of_both_orders_in_one_file_follow_the_majority_and_are_counted() -> None:
    _chat, rows, _rejected, notes = read("\n".join(f"{d}, 10:00 - А: б" for d in ("13/01/20", "14/01/20", "02/15/20")))
    assert [when(row)[:10] for row in rows] == ["2020-01-13", "2020-01-14", "2020-02-15"]
    assert notes["dates that fit only the other order"] == 1


def test_messages_of_many_lines_keep_them() -> None:
    _chat, rows, _rejected, _notes = read("31.12.20, 10:00 - А: раз\nдва\n\nтри: 4\r\n31.12.20, 10:01 - Б: да")
    assert [row["text"] for row in rows] == ["раз\nдва\n\nтри: 4", "да"]


def test_quoted_line_of_the_other_dialect_is_text() -> None:
    _chat, rows, _rejected, _notes = read("[31.12.20, 10:00:00] А: смотри\n30.12.20, 10:00 - Б: это цитата")
    assert [row["text"] for row in rows] == ["смотри\n30.12.20, 10:00 - Б: это цитата"]


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("<Media omitted>", "other", ""),
        ("<Без медиафайлов>", "other", ""),
        ("\u200eimage omitted", "photo", ""),
        ("\u200eаудио пропущено", "voice", ""),
        ("\u200eстикер пропущен", "sticker", ""),
        ("\u200e<attached: 00000012-PHOTO-2020.jpg>", "photo", ""),
        ("\u200eIMG-20201231-WA0001.jpg (file attached)\nвот он", "photo", "вот он"),
        ("PTT-20201231-WA0001.opus (файл добавлен)", "voice", ""),
        ("location: https://maps.google.com/?q=1,2", "location", ""),
        ("POLL:\nКогда?\nOPTION: завтра (1 vote)", "poll", "Когда?"),
        ("это не <Media omitted>, а текст", "text", "это не <Media omitted>, а текст"),
        ("поправил <Сообщение изменено>", "text", "поправил"),
    ],
)
def test_media(said: str, kind: str, text: str) -> None:
    _chat, rows, _rejected, _notes = read(f"31.12.20, 10:00 - А: {said}")
    assert [(row["kind"], row["text"]) for row in rows] == [(kind, text)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("31.12.20, 10:00 - Messages and calls are end-to-end encrypted.", "service: notice of WhatsApp"),
        ('31.12.20, 10:00 - Аня создала группу "Хлеб"', "service: notice of WhatsApp"),
        ("[31.12.20, 10:00:00] Хлеб: \u200eСообщения защищены сквозным шифрованием.", "service: notice of WhatsApp"),
        ("[31.12.20, 10:00:00] Аня: \u200eАня добавила Борю", "service: notice of WhatsApp"),
        ("31.12.20, 10:00 - Аня: This message was deleted", "deleted by its author"),
        ("31.12.20, 10:00 - Аня: Вы удалили данное сообщение", "deleted by its author"),
        ("45.12.20, 10:00 - Аня: нет такого дня", "no date"),
        ("31.12.20, 25:00 - Аня: нет такого часа", "no date"),
    ],
)
def test_lines_that_are_no_messages(line: str, reason: str) -> None:
    _chat, rows, rejected, _notes = read(f"{line}\n")
    assert (rows, rejected) == ([], [reason])


def test_text_before_the_first_message_is_counted() -> None:
    _chat, rows, rejected, _notes = read("обрывок\n31.12.20, 10:00 - А: б")
    assert (len(rows), rejected) == (1, ["text before the first message"])


def test_ids_are_stable_when_the_chat_grows_and_unique_out_of_order() -> None:
    first = "31.12.20, 10:00 - А: раз\n31.12.20, 10:00 - Б: два\n31.12.20, 10:02 - А: три\n31.12.20, 10:00 - А: позже\n"
    _chat, rows, _rejected, _notes = read(first)
    _chat, more, _rejected, _notes = read(first + "31.12.20, 10:00 - Б: ещё\n31.12.20, 10:03 - Б: всё\n")
    assert [row["id"] for row in more[:4]] == [row["id"] for row in rows]
    assert len({row["id"] for row in more}) == 6
    assert [row["id"] - row["time"] * 1000 for row in more] == [0, 1, 0, 2, 3, 0]


def test_chat_is_named_by_its_file_or_its_people() -> None:
    text = "31.12.20, 10:00 - Б: раз\n31.12.20, 10:00 - А: два"
    named = read(text, name="WhatsApp Chat with Хлеб.txt")[0]
    assert named.name == "Хлеб"
    assert read(text, name="Чат WhatsApp с контактом Хлеб.txt")[0] == named
    assert read(text, name="WhatsApp Chat - Хлеб (2).zip/_chat.txt")[0] == named
    assert read(text)[0].name == "А, Б"
    assert read(text + "\n31.12.20, 10:05 - А: ещё")[0].id == read(text)[0].id


def test_encodings(tmp_path: Path) -> None:
    line = "31.12.20, 10:00 - Аня: привет, как дела у всех\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
        (tmp_path / "chat.txt").write_bytes(line.encode(encoding))
        (found,) = source.parts(tmp_path / "chat.txt")
        assert [r[4] for r in whatsapp.read(found, Counter()) if isinstance(r, tuple)] == ["привет, как дела у всех"]
    for encoding, name in (("cp1251", "Windows-1251"), ("koi8-r", "KOI8-R")):
        (tmp_path / "chat.txt").write_bytes(line.encode(encoding))
        with pytest.raises(Damaged, match=name):
            source.parts(tmp_path / "chat.txt")


def test_wrong_bytes_later_name_their_place() -> None:
    with pytest.raises(Damaged, match="near byte 25"):
        read("31.12.20, 10:00 - А: б\n".encode() + b"\xff\n")


def test_endless_line_is_refused() -> None:
    with pytest.raises(Hostile, match="one line is longer"):
        read("31.12.20, 10:00 - А: " + "б" * (2 << 20))
    with pytest.raises(Hostile, match="one message is longer"):
        read("31.12.20, 10:00 - А: " + "б\n" * (2 << 20))


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=10)
STAMP = st.sampled_from(["31.12.20, 10:00 - ", "[31.12.20, 10:00:05] ", "1/13/21, 1:05 PM - ", "31.12.20 ", "- ", ""])


@given(st.lists(st.tuples(STAMP, WORDS, st.sampled_from([": ", ":", "", " - "]), WORDS), max_size=8))
def test_whatever_comes_in_is_kept_or_rejected_with_a_known_reason(lines: list[tuple[str, ...]]) -> None:
    text = "\n".join(["31.12.20, 10:00 - А: начало", *map("".join, lines)])
    _chat, rows, rejected, notes = read(text)
    begun = [line for line in text.split("\n") if whatsapp.ANDROID.match(line)]
    assert len(rows) + len(rejected) == len(begun)
    assert set(rejected) <= reasons.reasons().keys()
    assert set(notes) <= reasons.notes().keys()


PERSON = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=8)
SAID = st.text(st.characters(categories=["Lu", "Ll", "Nd", "Po"], exclude_characters="\u200e"), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.integers(0, 600), PERSON, SAID), min_size=1, max_size=10), st.booleans())
def test_round_trip(said: list[tuple[int, str, str]], ios: bool) -> None:
    start = datetime(2021, 5, 20, 9, 30, tzinfo=UTC)
    moments = [datetime.fromtimestamp(start.timestamp() + 60 * minute, UTC) for minute, _name, _text in said]
    lines = [
        f"[{moment:%d.%m.%y, %H:%M:%S}] {name}: {text}" if ios else f"{moment:%d/%m/%Y, %H:%M} - {name}: {text}"
        for moment, (_minute, name, text) in zip(moments, said, strict=True)
    ]
    _chat, rows, rejected, _notes = read("\n".join(lines))
    assert not rejected
    assert [(row["time"], row["name"], row["text"]) for row in rows] == [
        (int(moment.timestamp()), name, text) for moment, (_minute, name, text) in zip(moments, said, strict=True)
    ]


def test_real_samples() -> None:
    import zipfile

    with zipfile.ZipFile(shared_data("chats_other_dev.zip")) as archive:
        name = next(n for n in archive.namelist() if n.endswith("2A_5M.txt"))
        _chat, rows, rejected, _notes = read(archive.read(name))
    assert ([row["kind"] for row in rows], rejected) == (["text", "text", "text", "other", "text"], [])
