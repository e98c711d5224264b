"""Merge to registered files: complete, resumable, and nothing registered that is not the model that was trained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tune.small_models import build, tuned
from tuneloop import versions
from tuneloop.db.tables import packs
from tuneloop.engines import gguf_check
from tuneloop.errors import BadInput, Conflict, Hostile, Missing, OutOfResources, Refused, TuneloopError
from tuneloop.records import Example, Version
from tuneloop.tune import bundle, gguf, pack, parity, quantise, template
from tuneloop.workspace import Workspace, open_workspace


@pytest.fixture
def version(workspace: Workspace, tmp_path: Path) -> Version:
    return tuned(workspace, build(tmp_path / "base", "llama", num_hidden_layers=2))


def _rows(workspace: Workspace) -> dict[str, str]:
    with workspace.db.read() as rows:
        return {r.quant: r.path for r in rows.execute(packs.select())}


def _files(workspace: Workspace, version: Version) -> list[str]:
    return sorted(p.name for p in (workspace.path / "packs" / version.id).iterdir())


def test_a_version_becomes_checked_files_once(workspace: Workspace, version: Version) -> None:
    seen: set[str] = set()
    made = pack.pack(workspace, version, ["q4_K_M", "f16", "q8_0"], watch=lambda s, d, t: seen.add(s))
    assert [e.quant for e in made] == ["q4_K_M", "f16", "q8_0"]
    assert _files(workspace, version) == ["model-f16.gguf", "model-q4_K_M.gguf", "model-q8_0.gguf"]
    assert _rows(workspace)["q8_0"] == f"packs/{version.id}/model-q8_0.gguf"
    assert not any(e.kept for e in made)
    assert made[1].figures["greedy"] >= 0.99
    assert {"merge", "convert", "quantise q8_0", "parity model-f16.gguf"} <= seen
    times = {p: p.stat().st_mtime_ns for p in (workspace.path / "packs" / version.id).iterdir()}
    again = pack.pack(workspace, version, ["f16", "q4_K_M"])
    assert all(e.kept for e in again)
    assert times == {p: p.stat().st_mtime_ns for p in times}
    assert again[0].figures == made[1].figures


def test_the_adapter_is_in_the_file(workspace: Workspace, version: Version, tmp_path: Path) -> None:
    export = pack.pack(workspace, version, ["f16"])[0]
    gguf.convert(tmp_path / "base", tmp_path / "base.gguf")
    base = parity.Trainer(tmp_path / "base")
    with parity.Logits(export.path) as tuned_one, parity.Logits(tmp_path / "base.gguf") as plain:
        ids = base.ids("Привет, как дела?")
        assert parity.divergence(base.logits(ids), plain(ids)).mean() < 1e-4
        assert parity.divergence(base.logits(ids), tuned_one(ids)).mean() > 1e-2


def test_f16_is_a_stepping_stone_when_nobody_asked_for_it(workspace: Workspace, version: Version) -> None:
    made = pack.pack(workspace, version, ["q8_0"])
    assert [e.quant for e in made] == ["q8_0"]
    assert _files(workspace, version) == ["model-q8_0.gguf"]


def test_a_file_changed_afterwards_is_made_again(workspace: Workspace, version: Version) -> None:
    first = pack.pack(workspace, version, ["f16"])[0]
    raw = bytearray(first.path.read_bytes())
    raw[-1] ^= 1
    first.path.write_bytes(raw)
    assert pack.find(workspace, version, "f16") is None
    again = pack.pack(workspace, version, ["f16"])[0]
    assert not again.kept
    assert again.sha256 == first.sha256


def test_below_the_bar_nothing_is_registered(
    workspace: Workspace, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "_interleave", lambda values, heads: values)
    with pytest.raises(Refused, match="not the model that was trained"):
        pack.pack(workspace, version, ["f16", "q8_0"])
    assert _rows(workspace) == {}
    assert _files(workspace, version) == []


def test_a_crash_in_the_middle_keeps_what_was_finished(
    workspace: Workspace, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = quantise.quantise

    def dying(f16: Path, out: Path, quant: str, **options: object) -> None:
        if quant == "q4_0":
            out.with_name(f".{out.name}.part").write_bytes(b"half")
            raise KeyboardInterrupt
        real(f16, out, quant)

    monkeypatch.setattr(quantise, "quantise", dying)
    with pytest.raises(KeyboardInterrupt):
        pack.pack(workspace, version, ["f16", "q8_0", "q4_0"])
    assert set(_rows(workspace)) == {"f16", "q8_0"}
    monkeypatch.setattr(quantise, "quantise", real)
    merged = (workspace.path / "packs" / version.id / ".work" / "merged").stat().st_mtime_ns
    assert merged
    made = pack.pack(workspace, version, ["f16", "q8_0", "q4_0"])
    assert [e.kept for e in made] == [True, True, False]
    assert _files(workspace, version) == ["model-f16.gguf", "model-q4_0.gguf", "model-q8_0.gguf"]


def test_another_folder_outside_the_workspace(workspace: Workspace, version: Version, tmp_path: Path) -> None:
    made = pack.pack(workspace, version, ["f16"], out=tmp_path / "elsewhere")
    assert made[0].path == tmp_path / "elsewhere" / "model-f16.gguf"
    assert pack.find(workspace, version, "f16") == pack.find(workspace, version, "f16", tmp_path / "elsewhere")
    assert pack.find(workspace, version, "f16", workspace.path / "packs" / version.id) is None


def test_refusals_come_before_any_work(workspace: Workspace, version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="q9"):
        pack.pack(workspace, version, ["f16", "q9"])
    with workspace.lock("pack"), pytest.raises(Conflict):
        pack.pack(workspace, version, ["f16"])

    def full(path: Path, needed: int) -> None:
        raise OutOfResources(f"{needed} bytes")

    monkeypatch.setattr("tuneloop.tune.model.need_disk", full)
    with pytest.raises(OutOfResources):
        pack.pack(workspace, version, ["f16"])
    assert _rows(workspace) == {}


def test_held_out_dialogues_are_the_prompts(workspace: Workspace, version: Version) -> None:
    assert pack.held_out(workspace, version)[0][0]["content"] == pack.QUESTIONS[0][0]
    folder = workspace.folder("datasets") / "d"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps({"id": "d", "system": "Be kind."}), encoding="utf-8")
    examples = [
        Example(str(i), "c", "c/1", "s", f"question {i}", "answer", context=(("user", "before"),)) for i in range(100)
    ]
    lines = [json.dumps(asdict(e) | {"from_the_future": 1}) for e in examples]
    (folder / "test.examples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    known = Version(version.id, "chat", "x", version.path, 0, meta={"dataset_path": "datasets/d"})
    chats = pack.held_out(workspace, known)
    assert len(chats) == pack.MOST_CHATS
    assert chats[3] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "before\nquestion 3"},
        {"role": "assistant", "content": "answer"},
    ]


def test_an_opened_archive_becomes_a_version_that_may_not_serve_yet(
    workspace: Workspace, version: Version, tmp_path: Path
) -> None:
    from tuneloop.tune.archive import open_archive

    export = pack.pack(workspace, version, ["q8_0"])[0]
    bundle.write(workspace, version, export, tmp_path / "a.zip")
    open_archive(tmp_path / "a.zip", tmp_path / "into")
    imported = pack.import_version(workspace, tmp_path / "into", name="theirs", origin="a.zip")
    assert imported.kind == "chat" and imported.meta["imported"] == "a.zip"
    versions.check_files(workspace, imported)
    found = pack.find(workspace, imported, "q8_0")
    assert found is not None and found.sha256 == export.sha256
    with pytest.raises(Refused):
        versions.activate(workspace, imported)
    with pytest.raises(BadInput, match="nothing to merge"):
        pack.pack(workspace, imported, ["f16"])
    assert pack.import_version(workspace, tmp_path / "into", name="theirs", origin="a.zip").id == imported.id


def test_a_pack_says_how_its_file_must_be_asked(workspace: Workspace, tmp_path: Path) -> None:
    """Mistral's template knows no system role: that is in the row, and an archive of it tells the same elsewhere."""
    from tuneloop.answer.packed import choose
    from tuneloop.tune.archive import open_archive

    mistral = tuned(workspace, build(tmp_path / "base", "mistral", num_hidden_layers=1))
    export = pack.pack(workspace, mistral, ["q8_0"])[0]
    assert export.figures["system_role"] is False
    assert choose(workspace, mistral).system_role is False
    bundle.write(workspace, mistral, export, tmp_path / "a.zip")
    open_archive(tmp_path / "a.zip", tmp_path / "into")
    elsewhere = open_workspace(tmp_path / "elsewhere", create=True)
    theirs = pack.import_version(elsewhere, tmp_path / "into", name="theirs", origin="a.zip")
    assert choose(elsewhere, theirs).system_role is False


def test_what_a_tokenizer_beside_the_model_normalises_is_kept(
    workspace: Workspace, version: Version, tmp_path: Path
) -> None:
    file = pack.pack(workspace, version, ["q8_0"])[0].path
    tokenizer = tmp_path / "into" / "tokenizer" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True)
    wanted = {'{"normalizer": {"type": "NFC"}}': "NFC", '{"normalizer": null}': "", "[]": "", "{": "", "[" * 9000: ""}
    for text, form in wanted.items():
        tokenizer.write_text(text, encoding="utf-8")
        assert pack.form_of(file, tmp_path / "into") == {"system_role": True, "normalise": form}


def test_an_archive_whose_template_never_ends_is_refused_and_nothing_is_registered(
    workspace: Workspace, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
    file = pack.pack(workspace, version, ["q8_0"])[0].path
    (tmp_path / "into").mkdir()
    shutil.copyfile(file, tmp_path / "into" / "model-q8_0.gguf")
    header = gguf_check.check(file)
    header.metadata["tokenizer.chat_template"] = endless
    monkeypatch.setattr(gguf_check, "check", lambda _path: header)
    monkeypatch.setattr(template, "run_limited", partial(run_briefly, template.run_limited))
    with pytest.raises(Hostile):
        pack.import_version(workspace, tmp_path / "into", name="theirs", origin="a.zip")
    assert [v.id for v in versions.history(workspace)] == [version.id]
    assert not list(workspace.folder("models").glob(".*"))


def run_briefly(real: Callable[..., Any], *given: Any, seconds: float, **named: Any) -> Any:
    return real(*given, seconds=min(seconds, 3.0), **named)


KILLED = """
import sys
from pathlib import Path
from tuneloop import versions
from tuneloop.tune import pack
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
def tell(stage, done, total):
    print(stage, flush=True)
pack.pack(workspace, versions.find(workspace, "latest"), ["f16", "q8_0", "q4_K_M"], watch=tell)
"""


@pytest.mark.parametrize("stage", ["convert", "parity model-f16.gguf", "quantise q4_K_M"])
def test_kill_9_leaves_only_checked_files_and_the_next_run_ends_the_same(
    workspace: Workspace, version: Version, stage: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(workspace.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        assert any(line.strip() == stage for line in child.stdout), "it ended before it could be killed"
        os.killpg(child.pid, signal.SIGKILL)
    folder = workspace.path / "packs" / version.id
    for quant, path in _rows(workspace).items():
        assert pack.find(workspace, version, quant) is not None, "a row is only written for a whole, checked file"
        assert (workspace.path / path).is_file()
    named = {p.name for p in folder.glob("model-*.gguf")}
    assert {Path(path).name for path in _rows(workspace).values()} <= named
    done = pack.pack(workspace, version, ["f16", "q8_0", "q4_K_M"])
    assert _files(workspace, version) == ["model-f16.gguf", "model-q4_K_M.gguf", "model-q8_0.gguf"]
    assert {e.quant: pack.sha256(e.path) for e in done} == {e.quant: e.sha256 for e in done}


def test_an_archive_without_a_chat_model_is_only_unpacked(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Refused, match="no GGUF model"):
        pack.import_version(workspace, tmp_path / "into", name="x", origin="x.zip")
    with pytest.raises((Missing, TuneloopError)):
        versions.find(workspace, "latest")
