"""Which teams are prepared, and that a search afterwards finds everything made."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.loop.test_photos import photo, prepared, workspace  # noqa: F401  fixtures
from tuneloop.encoders.choice import open_encoder
from tuneloop.loop.photo_preparation import prepare, teams
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import Workspace, open_workspace


def test_teams_with_a_catalogue_the_last_searched_first(workspace: Workspace, prepared: Path) -> None:  # noqa: F811
    few = [p for p in catalogue_sources.read(prepared / "catalogue.csv") if "box" in p.id]
    catalogue.put(workspace, few, open_encoder("classical"), tenant="red")
    assert teams(workspace) == ["", "red"]
    Finder(workspace, tenant="red").search(photo(prepared, "red-ball"))
    assert teams(workspace) == ["red", ""]


def test_there_is_nobody_to_prepare_for_without_a_catalogue(tmp_path: Path) -> None:
    assert teams(open_workspace(tmp_path / "empty", create=True)) == []


def test_what_is_prepared_is_what_searches(workspace: Workspace, prepared: Path) -> None:  # noqa: F811
    finder = Finder(workspace)
    prepare(finder)
    state = finder.state()
    assert finder.state() is state
    assert len(finder.search(photo(prepared, "red-ball"), k=24).hits) == 24


def test_copies_that_are_gone_stop_nothing(workspace: Workspace, prepared: Path) -> None:  # noqa: F811
    for folder in (workspace.path / "photos").glob("??"):
        shutil.rmtree(folder)
    prepare(Finder(workspace))
