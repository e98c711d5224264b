"""Hostile archives: refused with the reason, nothing outside, nothing left. Honest ones: opened and verified."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.tune import archive, contents, weights
from tuneloop.tune.archive import extract, open_archive

PICKLE = b"\x80\x04\x95\x15\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
OLD_PICKLE = b"cos\nsystem\n(S'touch pwned'\ntR."


def _safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(head)) + head + b"\0" * 8


def _zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.filename = name  # ZipInfo tidies a name; an attacker does not
            entry.compress_type = method
            made.writestr(entry, data)
    return path


def _zip_with_mode(path: Path, name: str, mode: int, data: bytes = b"/etc/passwd") -> Path:
    with zipfile.ZipFile(path, "w") as made:
        entry = zipfile.ZipInfo(name)
        entry.create_system = 3
        entry.external_attr = mode << 16
        made.writestr(entry, data)
    return path


def _tar(path: Path, *members: tuple[str, bytes, bytes, str], mode: str = "w") -> Path:
    """Members are (name, type, data, link target)."""
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, kind, data, link in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), link
            made.addfile(entry, io.BytesIO(data))
    return path


def _patched(path: Path, old: bytes, new: bytes) -> Path:
    raw = path.read_bytes()
    assert old in raw and len(old) == len(new)
    path.write_bytes(raw.replace(old, new))
    return path


REG = tarfile.REGTYPE
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "traversal": (lambda p: _zip(p, {"../evil.json": b"{}"}), "outside its folder"),
    "deep traversal": (lambda p: _zip(p, {"a/../../evil.json": b"{}"}), "outside its folder"),
    "absolute": (lambda p: _zip(p, {"/tmp/evil.json": b"{}"}), "outside its folder"),
    "backslash": (lambda p: _zip(p, {"..\\evil.json": b"{}"}), "outside its folder"),
    "drive": (lambda p: _zip(p, {"C:evil.json": b"{}"}), "outside its folder"),
    "NUL": (lambda p: _patched(_zip(p, {"goodX.json": b"{}"}), b"goodX", b"good\0"), "file name|refused"),
    "newline": (lambda p: _zip(p, {"a\nb.json": b"{}"}), "file name"),
    "dot": (lambda p: _zip(p, {"./a.json": b"{}"}), "file name"),
    "hidden": (lambda p: _zip(p, {".bashrc": b"x"}), "file name"),
    "long": (lambda p: _zip(p, {"a" * 5000 + ".json": b"{}"}), "too long"),
    "deep": (lambda p: _zip(p, {"a/b/c/d/e/f.json": b"{}"}), "too deep"),
    "trailing space": (lambda p: _zip(p, {"a /b.json": b"{}"}), "file name"),
    "symlink": (lambda p: _zip_with_mode(p, "a.json", 0o120777), "link"),
    "device": (lambda p: _zip_with_mode(p, "a.json", 0o020666), "device"),
    "case twins": (lambda p: _zip(p, {"a.json": b"{}", "A.json": b"{}"}), "twice"),
    "file as folder": (lambda p: _zip(p, {"a.json": b"{}", "a.json/b.json": b"{}"}), "inside a file"),
    "composed twins": (lambda p: _zip(p, {"й.json": b"{}", "и\u0306.json": b"{}"}), "twice|file name"),
    "too many": (lambda p: _zip(p, {f"{i}.json": b"{}" for i in range(513)}), "more than 512"),
    "far too many": (lambda p: _zip(p, {f"{i}.json": b"" for i in range(1100)}), "more than 512"),
    "bomb": (lambda p: _zip(p, {"a.json": b"\0" * (32 << 20)}), "bomb"),
    "pickle": (lambda p: _zip(p, {"model.bin": PICKLE}), "run code"),
    "renamed pickle": (lambda p: _zip(p, {"model.safetensors": PICKLE}), "pickle under another name"),
    "old pickle": (lambda p: _zip(p, {"README": OLD_PICKLE}), "pickle under another name"),
    "torch zip": (lambda p: _zip(p, {"archive/data.pkl": PICKLE, "archive/version": b"3"}), "run code"),
    "renamed zip": (
        lambda p: _zip(p, {"model.gguf": _zip(p.with_suffix(".in"), {"a.json": b"{}"}).read_bytes()}),
        "archive or a program",
    ),
    "nested": (lambda p: _zip(p, {"inner.zip": b"PK"}), "inside an archive"),
    "code": (lambda p: _zip(p, {"modeling_x.py": b"import os"}), "no place"),
    "program": (lambda p: _zip(p, {"README": b"\x7fELF" + b"\0" * 100}), "program"),
    "wrong magic": (lambda p: _zip(p, {"model.gguf": b"MAGIC" * 20}), "GGUF"),
    "lying safetensors": (
        lambda p: _zip(p, {"m.safetensors": _safetensors().replace(b"[0, 8]", b"[0, 9]")}),
        "safetensors",
    ),
    "no sentencepiece": (lambda p: _zip(p, {"tokenizer.model": b"abc"}), "sentencepiece"),
    "no JSON": (lambda p: _zip(p, {"config.json": b"{"}), "no JSON"),
    "deep JSON": (lambda p: _zip(p, {"config.json": b"[" * 100_000}), "no JSON"),
    "binary text": (lambda p: _zip(p, {"README": b"\xff\xfe\x00"}), "UTF-8"),
    "tar traversal": (lambda p: _tar(p, ("../evil.json", REG, b"{}", "")), "outside its folder"),
    "tar absolute": (lambda p: _tar(p, ("/tmp/evil.json", REG, b"{}", "")), "outside its folder"),
    "tar symlink": (lambda p: _tar(p, ("a.json", tarfile.SYMTYPE, b"", "/etc/passwd")), "link"),
    "tar hardlink": (
        lambda p: _tar(p, ("a.json", REG, b"{}", ""), ("b.json", tarfile.LNKTYPE, b"", "/etc/passwd")),
        "link",
    ),
    "tar device": (lambda p: _tar(p, ("a.json", tarfile.CHRTYPE, b"", "")), "device"),
    "tar fifo": (lambda p: _tar(p, ("a.json", tarfile.FIFOTYPE, b"", "")), "device"),
    "tar twice": (lambda p: _tar(p, ("a.json", REG, b"{}", ""), ("a.json", REG, b"[]", "")), "twice"),
    "tar.gz bomb": (lambda p: _tar(p, ("a.json", REG, b"\0" * (32 << 20), ""), mode="w:gz"), "bomb"),
    "tar pickle": (lambda p: _tar(p, ("pytorch_model.pt", REG, PICKLE, ""), mode="w:gz"), "run code"),
    "bare pickle": (lambda p: _write(p, PICKLE), "pickle"),
    "text": (lambda p: _write(p, b"hello " * 200), "neither zip nor tar"),
    "gzip of text": (lambda p: _write(p, gzip.compress(b"hello " * 200)), "cannot be read"),
    "cut zip": (lambda p: _write(p, _zip(p, {"a.json": b"{}" * 500}).read_bytes()[:-30]), "cannot be read"),
    "empty zip": (lambda p: _write(p, b"PK\x05\x06" + b"\0" * 18), "neither zip nor tar"),
}


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    """In this process, because a child for each would take a second; `open_archive` is the same in a child."""
    build, reason = HOSTILE[case]
    (tmp_path / "deep" / "target").mkdir(parents=True)
    path = build(tmp_path / "archive")
    before = sorted(p for p in tmp_path.rglob("*") if "target" not in p.parts)
    with pytest.raises(BadInput, match=reason) as caught:
        extract(path, tmp_path / "deep" / "target")
    assert caught.value.fix
    assert "\n" not in caught.value.message
    assert sorted(p for p in tmp_path.rglob("*") if "target" not in p.parts) == before
    assert not Path("/tmp/evil.json").exists()


@pytest.mark.parametrize("case", ["traversal", "bomb", "torch zip", "tar symlink"])
def test_nothing_is_left_of_a_refused_archive(case: str, tmp_path: Path) -> None:
    path = HOSTILE[case][0](tmp_path / "archive.zip")
    with pytest.raises(Hostile):
        open_archive(path, tmp_path / "into")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive.zip"]


def test_one_gigabyte_of_zeros_stops_early(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("model.gguf", "w", force_zip64=True) as out,
    ):
        for _piece in range(256):
            out.write(b"\0" * (1 << 20))
    (tmp_path / "target").mkdir()
    with pytest.raises(Hostile, match="bomb"):
        extract(path, tmp_path / "target")
    written = sum(p.stat().st_size for p in (tmp_path / "target").rglob("*") if p.is_file())
    assert written <= path.stat().st_size * archive.MOST_RATIO + (1 << 20)


def test_size_that_lies_is_found(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"a.jsonl": b"[]" * 5000}, zipfile.ZIP_STORED)
    # the directory says 40 bytes, the file has 10,000
    raw = path.read_bytes()
    at = raw.rindex(b"PK\x01\x02")
    path.write_bytes(raw[: at + 24] + struct.pack("<I", 40) + raw[at + 28 :])
    (tmp_path / "target").mkdir()
    with pytest.raises((Hostile, Damaged)):
        extract(path, tmp_path / "target")


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"a.json": b"[1]" * 100, "b.json": b"[2]" * 100}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 10)  # where the second file begins
    path.write_bytes(bytes(raw))
    (tmp_path / "target").mkdir()
    with pytest.raises(Hostile, match="overlap"):
        extract(path, tmp_path / "target")


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_an_honest_archive_is_opened_and_its_checksums_verified(form: str, tmp_path: Path) -> None:
    files = {"model/weights.safetensors": _safetensors(), "model/config.json": b'{"a": 1}', "model/README.md": b"# hi"}
    sums = "".join(f"{hashlib.sha256(d).hexdigest()}  {n.partition('/')[2]}\n" for n, d in files.items())
    files["model/SHA256SUMS"] = sums.encode()
    path = tmp_path / f"a.{form}"
    if form == "zip":
        _zip(path, files)
    else:
        members = [("./" + n, REG, d, "") for n, d in files.items()]
        _tar(path, ("./", tarfile.DIRTYPE, b"", ""), *members, mode="w:gz" if form.endswith("gz") else "w")
    opened = open_archive(path, tmp_path / "into")
    assert opened["checksums"] is True
    assert set(opened["files"]) == set(files)
    assert (tmp_path / "into" / "model" / "config.json").read_bytes() == b'{"a": 1}'
    assert opened["bytes"] == sum(map(len, files.values()))
    assert {p.stat().st_mode & 0o111 for p in (tmp_path / "into").rglob("*") if p.is_file()} == {0}


@pytest.mark.parametrize(
    ("sums", "kind", "reason"),
    [
        (b"0" * 64 + b"  config.json\n", Damaged, "checksum differs"),
        (
            hashlib.sha256(b"{}").hexdigest().encode() + b"  config.json\n" + b"1" * 64 + b"  gone.json\n",
            Damaged,
            "gone",
        ),
        (b"not a checksum\n", Hostile, "no checksum"),
        (b"", Damaged, "checksum differs"),
    ],
)
def test_wrong_checksums(sums: bytes, kind: type[TuneloopError], reason: str, tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"config.json": b"{}", "SHA256SUMS": sums})
    (tmp_path / "target").mkdir()
    with pytest.raises(kind, match=reason):
        extract(path, tmp_path / "target")


def test_flipped_bytes_never_pass(tmp_path: Path) -> None:
    """Every tenth byte of a small honest archive, flipped: refused, or the very same files come out."""
    files = {"config.json": b'{"a": [1, 2, 3]}', "weights.safetensors": _safetensors()}
    files["SHA256SUMS"] = "".join(f"{hashlib.sha256(d).hexdigest()}  {n}\n" for n, d in files.items()).encode()
    raw = _zip(tmp_path / "a.zip", files).read_bytes()
    for position in range(0, len(raw), 10):
        flipped = tmp_path / "b.zip"
        flipped.write_bytes(raw[:position] + bytes([raw[position] ^ 0x20]) + raw[position + 1 :])
        target = tmp_path / f"t{position}"
        target.mkdir()
        try:
            extract(flipped, target)
        except TuneloopError:
            continue
        found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
        assert {v for k, v in found.items() if k in files} <= set(files.values())


def test_where_to(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        open_archive(tmp_path / "no.zip", tmp_path / "into")
    path = _zip(tmp_path / "a.zip", {"a.json": b"{}"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(BadInput, match="not empty"):
        open_archive(path, tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text(encoding="utf-8") == "keep"


def test_more_than_the_disk_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    path = _zip(tmp_path / "a.zip", {"a.jsonl": b"[]\n" * 1000}, zipfile.ZIP_STORED)
    (tmp_path / "target").mkdir()
    with pytest.raises(TuneloopError, match="more than 1000 bytes"):
        extract(path, tmp_path / "target")


@given(st.binary(max_size=300))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_as_safetensors_are_an_error_or_a_header(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    try:
        weights.header(path)
    except (Damaged, Hostile):
        return
    assert data[8:9] == b"{"


@pytest.mark.parametrize(
    ("entry", "extra", "reason"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, b"\0" * 4, "lies about its size"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, b"\0" * 12, "hole"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, b"\0" * 9, "belong to no tensor"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}, b"\0" * 8, "impossible"),
        ({"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}, b"\0" * 8, "impossible"),
        ({"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}, b"\0" * 8, "impossible"),
        ({"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}, b"\0" * 8, "impossible"),
        ({"dtype": "F32", "shape": "ab", "data_offsets": [0, 8]}, b"\0" * 8, "impossible"),
        ({"shape": [2]}, b"\0" * 8, "not described"),
        ([], b"", "not described"),
    ],
)
def test_lying_safetensors_headers(entry: object, extra: bytes, reason: str, tmp_path: Path) -> None:
    head = json.dumps({"w": entry}).encode()
    path = _write(tmp_path / "x.safetensors", struct.pack("<Q", len(head)) + head + extra)
    with pytest.raises((Damaged, Hostile), match=reason):
        weights.header(path)


def test_a_header_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(Hostile, match="would take"):
        weights.header(_write(tmp_path / "x.safetensors", struct.pack("<Q", 1 << 40) + b"{}"))
    with pytest.raises(Damaged, match="not JSON"):
        head = b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'
        weights.header(_write(tmp_path / "y.safetensors", struct.pack("<Q", len(head)) + head))


def test_texts_that_only_look_like_a_pickle_pass(tmp_path: Path) -> None:
    for name, data in {"vocab.txt": b"cat\ndog\nmouse\n", "LICENSE": b"copyright\nnotice\n\nall rights"}.items():
        contents.check(_write(tmp_path / name, data), name)
