"""A proposed product becomes one product, whatever is pressed twice, at the same time or half way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bot.running import prepare
from tuneloop.encoders.choice import open_encoder
from tuneloop.errors import Conflict, Missing
from tuneloop.loop import photo_clicks, photo_proposals
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue
from tuneloop.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(prepare(tmp_path, ["red ball", "blue box"], photos=1) / "work")


@pytest.fixture
def proposal(workspace: Workspace, tmp_path: Path) -> str:
    found = Finder(workspace).search(tmp_path / "photos" / "red-ball-0.jpg", user="ann")
    return photo_clicks.propose(workspace, found.query, "Globe", category="toys", price="7", user="ann")


def test_approval_is_one_product_with_the_photo(workspace: Workspace, proposal: str, tmp_path: Path) -> None:
    item = photo_proposals.approve(workspace, proposal, open_encoder("classical"), by="boss")
    assert (item.name, item.category, item.price, len(item.pictures)) == ("Globe", "toys", "7", 1)
    with pytest.raises(Conflict, match="approved"):
        photo_proposals.approve(workspace, proposal, open_encoder("classical"), by="boss")
    assert len(catalogue.named(workspace, "globe")) == 1
    assert photo_clicks.votes(workspace) == []  # its own catalogue picture is no example of it
    found = Finder(workspace).search(tmp_path / "photos" / "red-ball-0.jpg")
    assert found.hits[0].name == "Globe"


def test_a_rejection_that_came_first_wins(workspace: Workspace, proposal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = catalogue.put

    def late(*arguments: object, **more: object) -> object:
        photo_proposals.reject(workspace, proposal, by="other")
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue, "put", late)
    with pytest.raises(Conflict, match="rejected"):
        photo_proposals.approve(workspace, proposal, open_encoder("classical"), by="boss")
    assert catalogue.named(workspace, "globe") == []


def test_a_crash_half_way_and_once_more(workspace: Workspace, proposal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_a: object, **_k: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(photo_clicks, "decide", dies)
        with pytest.raises(KeyboardInterrupt):
            photo_proposals.approve(workspace, proposal, open_encoder("classical"), by="boss")
    photo_proposals.approve(workspace, proposal, open_encoder("classical"), by="boss")
    assert len(catalogue.named(workspace, "globe")) == 1


def test_nothing_and_nobody(workspace: Workspace, proposal: str) -> None:
    with pytest.raises(Missing):
        photo_proposals.approve(workspace, "np-none", open_encoder("classical"), by="boss")
    with pytest.raises(Missing):
        photo_proposals.reject(workspace, proposal, by="boss", tenant="other")
    assert photo_proposals.reject(workspace, proposal, by="boss") == "Globe"
    assert photo_clicks.proposals(workspace) == []
