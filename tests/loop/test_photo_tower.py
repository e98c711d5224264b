"""The last rung from clicks to a version: kept only if the gate prefers it, its own vectors, passed on, rolled back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from tests.encoders.test_clip import clip
from tests.search import shop
from tuneloop import versions
from tuneloop.db.photo_tables import picture_vectors
from tuneloop.encoders.choice import open_encoder
from tuneloop.errors import BadInput
from tuneloop.loop import photo_clicks, photo_tower, photo_training, photo_version
from tuneloop.loop.photos import Finder
from tuneloop.records import Verdict
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import Workspace, open_workspace

pytest.importorskip("torch")

NAMES = shop.NAMES[:8]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A shop with 8 products, 5 clicked photos of each, and a tiny CLIP that was never trained."""
    monkeypatch.setattr(photo_tower, "LEAST", 40)
    folder = clip(tmp_path / "clip")
    work = tmp_path / "work"
    work.mkdir()
    (work / "tuneloop.toml").write_text(f'[photos]\nencoder = "{folder}"\ntower = "full"\n', encoding="utf-8")
    workspace = open_workspace(work)
    found = catalogue_sources.read(shop.write(tmp_path, photos=5, names=NAMES))
    catalogue.put(workspace, found, open_encoder(str(folder)))
    finder = Finder(workspace)
    for n in range(5):
        for name in NAMES:
            product = name.replace(" ", "-")
            seen = finder.search(tmp_path / "photos" / f"{product}-{n}.jpg", user=f"user{n}")
            photo_clicks.record(workspace, seen.query, "pointed", item=product, user=f"user{n}")
    return workspace


def spaces(workspace: Workspace) -> dict[str, int]:
    with workspace.db.read() as rows:
        counted = select(picture_vectors.c.encoder, func.count()).group_by(picture_vectors.c.encoder)
        return {name: int(n) for name, n in rows.execute(counted)}


def test_a_tower_that_is_not_better_is_not_kept(workspace: Workspace) -> None:
    """Three epochs at 1e-5 move a tiny model by nothing that 40 photos could prove."""
    done = photo_training.train(workspace)
    assert not done.verdict.figures["rung"].startswith("tower")
    assert photo_version.load(workspace, done.version.id).tower is None
    assert len(spaces(workspace)) == 1


def test_a_tower_that_the_gate_prefers_searches_with_its_own_vectors(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Finder(workspace)
    base = before.encoder.name
    # What the gate would have to be shown is not made with a model of this size: here it says yes to everything.
    monkeypatch.setattr(photo_tower, "verdict_of", lambda held, rung: Verdict("promote", "better", {}))
    done = photo_training.train(workspace)
    assert done.verdict.figures["rung"].startswith("tower")
    version = photo_version.load(workspace, done.version.id)
    assert version.tower is not None and version.space == f"tower-{done.version.id}"
    assert spaces(workspace) == {base: 48, version.space: 48}, "encoded before the first search"
    versions.activate(workspace, done.version, force=True, note="test")
    photo = tmp_path / "photos" / "red-ball-0.jpg"
    assert before.search(photo).version == done.version.id
    state = before.state()
    assert state.encoder.name == version.space
    own = open_encoder(str(version.tower))
    assert state.encoder.side == own.side == 32
    versions.check_files(workspace, done.version)

    monkeypatch.setattr(photo_tower, "LEAST", 1000)
    seen = before.search(tmp_path / "photos" / "red-box-0.jpg", user="late")
    photo_clicks.record(workspace, seen.query, "pointed", item="red-box", user="late")
    again = photo_training.train(workspace)
    passed = photo_version.load(workspace, again.version.id)
    assert passed.space == version.space and passed.tower is not None, "a map over the tower that searches"
    assert set(spaces(workspace)) == {base, version.space}
    versions.check_files(workspace, again.version)


def test_when_it_is_not_tried(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = photo_tower.space(workspace, None)
    items, _raw = photo_training.load_catalogue(workspace, encoder)
    found = photo_training.examples(workspace, encoder, items)
    assert photo_tower.wanted(workspace, found)
    monkeypatch.setattr(photo_tower, "LEAST", 41)
    assert not photo_tower.wanted(workspace, found)
    text = (workspace.path / "tuneloop.toml").read_text()
    (workspace.path / "tuneloop.toml").write_text(text.replace("full", "half"), encoding="utf-8")
    with pytest.raises(BadInput, match="never, full, lora"):
        photo_tower.wanted(open_workspace(workspace.path), found)
    assert np.isfinite(found.clicks.queries).all()
