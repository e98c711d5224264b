"""Where models lie and what may go; a download that an Ollama's disk does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.tiny import write_tiny
from tuneloop.answer import models, stores
from tuneloop.answer.book import parse
from tuneloop.errors import OutOfResources
from tuneloop.records import EngineSpec
from tuneloop.workspace import Workspace


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where nothing lies yet."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(stores, "SERVICE", tmp_path / "service")
    return tmp_path


def filled(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def test_all_three_places_with_what_may_go(workspace: Workspace, places: Path) -> None:
    path = write_tiny(workspace.folder("models") / "used.gguf")
    size = write_tiny(workspace.folder("models") / "free.gguf").stat().st_size
    blob = filled(places / ".cache/huggingface/hub/models--org--name/blobs/b", 1000)
    (blob.parent.parent / "snapshots").symlink_to(blob.parent, target_is_directory=True)  # counted once
    filled(places / ".ollama/models/blobs/sha256-1", 500)
    book = parse(f'[engines.house]\nkind = "llamacpp"\nfile = "{path}"\n'.encode(), workspace.path)
    listed = models.everything(workspace, book, {"ollama": [{"id": "bees:1", "size": 500}]})
    own, face, ollama = stores.stores(workspace, listed)
    assert (own.bytes, own.free <= own.all) == (2 * size, True)
    assert {m.name: m.remove for m in own.models} == {"free.gguf": "tuneloop models rm free.gguf", "used.gguf": ""}
    assert next(m.needed_by for m in own.models if not m.remove) == "the engine house"
    assert (face.bytes, face.models[0].name, face.models[0].bytes) == (1000, "org/name", 1000)
    assert face.models[0].remove == f"rm -r {blob.parent.parent}"
    assert (ollama.bytes, ollama.models[0].remove) == (500, "tuneloop models rm bees:1 --engine ollama")
    assert [one.name for one in stores.stores(None)] == ["Hugging Face", "Ollama"]


def test_variables_say_where_the_places_are(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stores.hugging_face() == places / ".cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert stores.hugging_face() == places / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert stores.hugging_face() == Path("/elsewhere")
    assert stores.ollama_store() == places / ".ollama/models"
    (places / "service").mkdir()
    assert stores.ollama_store() == places / "service"
    monkeypatch.setenv("OLLAMA_MODELS", "~/o")
    assert stores.ollama_store() == places / "o"


def test_a_model_of_the_cache_is_found_by_its_name(places: Path) -> None:
    inside = places / ".cache/huggingface/hub/models--org--name/snapshots"
    filled(inside / "one/config.json", 2)
    assert stores.snapshot("org/name") is None, "without weights it is not there"
    filled(inside / "one/model.safetensors", 9)
    assert stores.snapshot("org/name") == inside / "one"
    for name in ("org/other", "org", "../../etc/x", "a/b/c", ""):
        assert stores.snapshot(name) is None


def test_only_an_ollama_on_this_machine_fills_our_disk() -> None:
    for url in ("http://127.0.0.1:11434", "http://localhost:1", "http://[::1]:1", ""):
        check = stores.room_of(EngineSpec("o", "ollama", url=url))
        assert check is not None
        check(1000)
        with pytest.raises(OutOfResources, match="GB are free"):
            check(1 << 60)
    for url in ("http://10.0.0.5:11434", "http://ollama.lan:11434"):
        assert stores.room_of(EngineSpec("o", "ollama", url=url)) is None
