"""Files, folders and archives are told apart by content; whatever is no export gets one clear sentence."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collect.exports import POSTS, write_html, write_json
from tuneloop.collect import source, store
from tuneloop.collect import walker as walker_module
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, NotAnExport, TuneloopError
from tuneloop.workspace import Workspace

WHATSAPP = "31.12.20, 10:00 - Аня: привет\n31.12.20, 10:01 - Боря: и тебе\n"
DISCORD = '{"guild": {"id": "1"}, "channel": {"id": "2", "name": "x"}, "messages": []}'


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_forms_are_told_by_content_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text(WHATSAPP, encoding="utf-8")
    (tmp_path / "b.dat").write_text(DISCORD, encoding="utf-8")
    write_json(tmp_path / "c.dat", POSTS)
    write_html(tmp_path / "d", POSTS).joinpath("messages.html").rename(tmp_path / "d.dat")
    forms = {part.name: part.form for part in source.parts(tmp_path)}
    assert forms == {"a.dat": "whatsapp", "b.dat": "discord", "c.dat": "telegram", "d.dat": "telegram html"}


def test_folder_with_everything_around_the_export(tmp_path: Path) -> None:
    write_html(tmp_path / "ChatExport", POSTS, page=5)
    (tmp_path / "ChatExport" / "photos").mkdir()
    (tmp_path / "ChatExport" / "photos" / "photo_1.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    (tmp_path / "ChatExport" / "css").mkdir()
    (tmp_path / "ChatExport" / "css" / "style.css").write_text("body { }")
    (tmp_path / "notes.txt").write_text("just notes")
    (tmp_path / "package.json").write_text('{"name": "something else"}')
    (tmp_path / "empty.json").write_text("")
    zipped(tmp_path / "older.zip", **{"x/result.json": write_json(tmp_path / "r.json", POSTS).read_bytes()})
    names = [part.name for part in source.parts(tmp_path)]
    assert names == [
        "r.json",
        "older.zip/x/result.json",
        "ChatExport/messages.html",
        "ChatExport/messages2.html",
        "ChatExport/messages3.html",
        "ChatExport/messages4.html",
    ]


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write_json(tmp_path / "outside" / "result.json", POSTS)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "result.json").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    with pytest.raises(NotAnExport, match="found no files"):
        source.parts(inside)


def test_archive_is_read_without_unpacking(tmp_path: Path, workspace: Workspace) -> None:
    raw = write_json(tmp_path / "result.json", POSTS).read_bytes()
    archive = zipped(tmp_path / "export.zip", **{"ChatExport/result.json": raw, "ChatExport/photos/p.jpg": b"x"})
    before = sorted(tmp_path.rglob("*"))
    (done,) = store.import_export(workspace, archive)
    assert done.kept == sum(not post.action for post in POSTS)
    assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and workspace.path not in p.parents] == []


BAD: dict[str, tuple[bytes, type[TuneloopError], str]] = {
    "empty": (b"", Damaged, "is empty"),
    "only zeros": (bytes(500), Damaged, "is empty"),
    "deep": (b"[" * 78_000, Hostile, "nested deeper than 64"),
    "deep inside": (b'{"messages": ' + b"[" * 78_000, Hostile, "nested deeper than 64"),
    "a list": (b"[1, 2]", NotAnExport, "a JSON list"),
    "other json": (b'{"a": 1}', NotAnExport, "neither messages nor a list of chats"),
    "cut json": (b'{"name": "x", "messages": [{"id": 1,', Damaged, "is cut off: .* at byte 36"),
    "broken json": (b'{"name": "x", "messages": [{"id" 1}]}', Damaged, "not valid JSON at byte 33"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), NotAnExport, "a picture"),
    "pdf": (b"%PDF-1.4 \xff\xfe\xfd", NotAnExport, "a PDF"),
    "database": (b"SQLite format 3\x00" + bytes(100), NotAnExport, "a database"),
    "prose": ("Просто текст, в котором нет переписки.".encode(), NotAnExport, "some text"),
    "other page": (b"<html><body>Hello</body></html>", NotAnExport, "a page or XML"),
    "cp1251": ('{"name": "Чат наш", "messages": []}'.encode("cp1251"), Damaged, "Windows-1251"),
    "koi8-r": ('{"name": "Чат наш", "messages": []}'.encode("koi8-r"), Damaged, "KOI8-R"),
    "noise": (bytes(range(128, 256)) * 8, NotAnExport, "binary data"),
    "half a zip": (b"PK\x03\x04" + bytes(200), Damaged, "whose end is missing"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), NotAnExport, "an archive of another kind"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_clear_sentence_and_change_nothing(name: str, tmp_path: Path, workspace: Workspace) -> None:
    raw, kind, said = BAD[name]
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(kind, match=said) as caught:
        store.import_export(workspace, tmp_path / "file")
    assert type(caught.value) is kind
    assert caught.value.fix
    assert store.chats(workspace) == []


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        source.parts(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAnExport, match="found no files"):
        source.parts(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        source.parts(tmp_path / "pipe")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    if os.geteuid() == 0:  # root may read everything: let the system's answer come from the call itself
        real = Path.open

        def refuse(self: Path, *arguments: object, **options: object) -> object:
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return real(self, *arguments, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refuse)
    else:
        path.chmod(0)
    with pytest.raises(BadInput, match="may not be read"):
        source.parts(path)


def bomb(path: Path) -> None:
    zipped(path, **{"result.json": bytes(64 << 20)})


def traversal(path: Path) -> None:
    zipped(path, **{"../../result.json": "{}"})


def absolute(path: Path) -> None:
    zipped(path, **{"/etc/result.json": "{}"})


def encrypted(path: Path) -> None:
    raw = bytearray(zipped(path, **{"result.json": "{}"}).read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def lying(path: Path) -> None:
    """The header promises 100 bytes, the stream holds 200,000."""
    raw = bytearray(zipped(path, **{"result.json": b'{"messages": [' + b"1, " * 66_000 + b"1]}"}).read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(raw)


def flipped(path: Path) -> None:
    raw = bytearray(zipped(path, **{"result.json": os.urandom(5000)}).read_bytes())
    raw[2000] ^= 0xFF
    path.write_bytes(raw)


def unusual(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("result.json", "{}")


def nested(path: Path) -> None:
    inner = zipped(path.with_name("inner"), **{"result.json": "{}"}).read_bytes()
    zipped(path, **{"export.zip": inner})


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (unusual, BadInput, "unusual way"),
        (nested, NotAnExport, "inside an archive"),
        (bomb, Hostile, "would grow from"),
        (traversal, Hostile, "leaves its folder"),
        (absolute, Hostile, "leaves its folder"),
        (encrypted, BadInput, "is encrypted"),
        (lying, Damaged, "cannot be unpacked|is cut off"),
        (flipped, Damaged, "cannot be unpacked"),
    ],
)
def test_hostile_archives(
    make: Callable[[Path], None], kind: type[TuneloopError], said: str, tmp_path: Path, workspace: Workspace
) -> None:
    make(tmp_path / "x.zip")
    with pytest.raises(kind, match=said):
        store.import_export(workspace, tmp_path / "x.zip")
    assert store.chats(workspace) == []


def test_broken_tail_of_a_long_file_leaves_nothing(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages before the break were read and gathered; none of them may stay."""
    monkeypatch.setattr(walker_module, "CHUNK", 512)
    raw = write_json(tmp_path / "result.json", POSTS).read_bytes()
    (tmp_path / "result.json").write_bytes(raw[:-300])
    with pytest.raises(Damaged, match=rf"at byte {len(raw) - 300}"):
        store.import_export(workspace, tmp_path / "result.json")
    assert store.chats(workspace) == []
    (tmp_path / "result.json").write_bytes(raw)
    assert store.import_export(workspace, tmp_path / "result.json")[0].added == sum(not p.action for p in POSTS)
