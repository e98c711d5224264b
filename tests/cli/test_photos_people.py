"""A person of photo search, from the command line: shown, removed, and nothing of them left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.search import shop

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_mine_and_forget(tuneloop_command: Run, tmp_path: Path) -> None:
    catalogue = shop.write(tmp_path / "shop", photos=2, names=shop.NAMES[:8])
    tuneloop_command("photos", "import", catalogue)
    photo = catalogue.parent / "photos" / "red-ball-0.jpg"
    hers = json.loads(tuneloop_command("photos", "search", photo, "--json", "--user", "ann-of-the-shop").stdout)
    other = catalogue.parent / "photos" / "red-ball-1.jpg"
    his = json.loads(tuneloop_command("photos", "search", other, "--json", "--user", "bob").stdout)
    item = hers["hits"][0]["item"]
    tuneloop_command("photos", "click", hers["query"], "right", item, "--user", "ann-of-the-shop")
    tuneloop_command("photos", "click", his["query"], "right", item, "--user", "bob")

    out = tmp_path / "hers.json"
    kept = json.loads(tuneloop_command("photos", "mine", "ann-of-the-shop", "--out", out, "--json").stdout)
    assert json.loads(out.read_text()) == kept
    assert [row["verdict"] for row in kept["clicks"]] == ["right"] and len(kept["searches"]) == 1
    copy = next(p for p in tmp_path.rglob(Path(kept["searches"][0]["path"]).name))

    assert "no undo" in tuneloop_command("photos", "forget", "ann-of-the-shop", code=130, input="n\n").stderr
    assert copy.exists()
    done = json.loads(tuneloop_command("photos", "forget", "ann-of-the-shop", "--yes", "--json").stdout)
    assert (done["searches"], done["clicks"], done["photos"], done["versions"]) == (1, 1, 1, [])
    assert not copy.exists()
    assert "nothing is kept" in tuneloop_command("photos", "forget", "ann-of-the-shop", "--yes", code=7).stderr
    assert "nothing is kept" in tuneloop_command("photos", "mine", "ann-of-the-shop", code=7).stderr
    assert len(json.loads(tuneloop_command("photos", "mine", "bob", "--json").stdout)["clicks"]) == 1
    for file in copy.parents[2].rglob("*"):
        assert not file.is_file() or b"ann-of-the-shop" not in file.read_bytes(), file
