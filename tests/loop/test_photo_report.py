"""What is confused, most frequent first, and the page that shows it: whole, escaped, without a network."""

# ruff: noqa: F401, F811  fixtures of another module

from __future__ import annotations

from pathlib import Path

from tests.loop.test_photos import photo, prepared, workspace  # fixtures
from tuneloop.encoders.choice import open_encoder
from tuneloop.loop import photo_clicks, photo_report, photo_training
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import Workspace


def test_confusions_and_their_page(workspace: Workspace, prepared: Path) -> None:
    assert photo_report.confusions(workspace) == []
    assert "Nothing yet" in photo_report.page(workspace, photo_training.report(workspace))
    hostile = '<script>alert(1)</script>"&'
    picture = prepared / "pictures" / "red-ball.png"
    product = catalogue_sources.Product(hostile, hostile, "", "", "", (picture,))
    catalogue.put(workspace, [product], open_encoder("classical"))
    finder = Finder(workspace)
    # The same photo by two people, another photo of the same pair, and one that was right.
    asked = [("red-ball", 0, "ann"), ("red-ball", 0, "bob"), ("blue-star", 0, hostile)]
    for name, n, user in asked:
        found = finder.search(photo(prepared, name, n), user=user, k=5)
        wanted = hostile if user == hostile else "green-box"
        photo_clicks.record(workspace, found.query, "pointed", item=wanted, user=user)
    good = finder.search(photo(prepared, "pink-box"), user="ann")
    photo_clicks.record(workspace, good.query, "right", item=good.hits[0].item, user="ann")
    pairs = photo_report.confusions(workspace)
    assert all(one.count == 1 and one.photo for one in pairs)
    assert {one.right for one in pairs} == {"green-box", hostile} and len(pairs) == 2
    told = photo_training.report(workspace)
    shown = photo_report.page(workspace, told)
    assert "<script" not in shown and "&lt;script&gt;" in shown and "http" not in shown.replace("http-equiv", "")
    assert shown.count("data:image/jpeg;base64,") == 6
    assert "More than half" not in shown
    for n in range(2):
        for name in ("red-box", "red-star", "pink-ball"):
            found = finder.search(photo(prepared, name, n), user="mob")
            photo_clicks.record(workspace, found.query, "right", item=found.hits[0].item, user="mob")
    assert "More than half" in photo_report.page(workspace, photo_training.report(workspace))
