"""The command line over a made-up shop: import, search, click, train, versions, report; and what goes wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.gateway.process import serve
from tests.search import shop

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return shop.write(tmp_path / "shop", photos=2, names=shop.NAMES[:8])


def test_from_a_catalogue_to_a_click(tuneloop_command: Run, catalogue: Path, tmp_path: Path) -> None:
    said = tuneloop_command("photos", "import", catalogue).stdout
    assert "8 added" in said and "photos search" in said
    photo = catalogue.parent / "photos" / "red-ball-0.jpg"
    found = json.loads(tuneloop_command("photos", "search", photo, "--json", "--user", "ann").stdout)
    assert len(found["hits"]) == 5 and found["hits"][0]["price"]
    worst = found["hits"][4]["item"]
    tuneloop_command("photos", "click", found["query"], "pointed", worst, "--user", "ann")
    again = json.loads(tuneloop_command("photos", "search", photo, "--json").stdout)
    assert again["hits"][0]["item"] == worst
    tuneloop_command("photos", "click", found["query"], "pointed", worst, "--user", "ann", "--undo")
    report = json.loads(tuneloop_command("photos", "report", "--json").stdout)
    assert (report["products"], report["searches"], report["verdicts"]) == (8, 2, {})
    assert "red ball" in tuneloop_command("photos", "list", "red").stdout
    too_few = tuneloop_command("photos", "train", code=4)
    assert "20 more" in too_few.stderr and "next:" in too_few.stderr
    (start,) = json.loads(tuneloop_command("photos", "versions", "--json").stdout)
    assert (start["id"], start["active"]) == ("start", True)


def test_add_and_retire(tuneloop_command: Run, catalogue: Path) -> None:
    picture = catalogue.parent / "pictures" / "red-ball.png"
    tuneloop_command("photos", "add", "x1", "Great ball", picture, "--price", "5")
    (item,) = json.loads(tuneloop_command("photos", "list", "--json").stdout)
    assert (item["id"], item["price"], len(item["pictures"])) == ("x1", "5", 1)
    tuneloop_command("photos", "retire", "x1")
    assert json.loads(tuneloop_command("photos", "list", "--json").stdout) == []
    assert "nobody" in tuneloop_command("photos", "retire", "nobody", code=7).stderr


def test_what_goes_wrong_is_one_sentence(tuneloop_command: Run, catalogue: Path, tmp_path: Path) -> None:
    bad = tmp_path / "x.jpg"
    bad.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    assert "no workspace" in tuneloop_command("photos", "search", bad, code=7).stderr
    tuneloop_command("photos", "import", catalogue)
    refused = tuneloop_command("photos", "search", bad, code=3)
    assert "EPS" in refused.stderr and "Traceback" not in refused.stderr
    assert "no search" in tuneloop_command("photos", "click", "forged", "absent", code=7).stderr
    tuneloop_command("photos", "activate", "nothing", code=7)
    assert "searched before" in tuneloop_command("photos", "rollback", code=7).stderr
    assert "start" in tuneloop_command("photos", "activate", "start").stdout


def test_words_find_names_and_say_so(tuneloop_command: Run, catalogue: Path) -> None:
    tuneloop_command("photos", "import", catalogue, "--team", "other")
    assert "photos import" in tuneloop_command("photos", "find", "red", code=4).stderr
    tuneloop_command("photos", "import", catalogue)
    said = tuneloop_command("photos", "find", "green", "star")
    assert "green-star" in said.stdout and "knows no text" in said.stdout
    found = json.loads(tuneloop_command("photos", "find", "RED b", "-k", 2, "--json").stdout)
    assert [hit["item"] for hit in found["hits"]] == ["red-ball", "red-bottle"] and found["method"] == "names"
    tuneloop_command("photos", "find", "red", "--category", "hats", code=3)


def test_a_team_has_a_catalogue_of_its_own(tuneloop_command: Run, catalogue: Path) -> None:
    tuneloop_command("photos", "import", catalogue, "--team", "red")
    assert json.loads(tuneloop_command("photos", "list", "--json").stdout) == []
    tuneloop_command("photos", "retire", "red-ball", code=7)
    tuneloop_command("photos", "retire", "red-ball", "--team", "red")
    assert len(json.loads(tuneloop_command("photos", "list", "--team", "red", "--json").stdout)) == 7
    photo = catalogue.parent / "photos" / "green-star-0.jpg"
    tuneloop_command("photos", "search", photo, code=4)
    found = json.loads(tuneloop_command("photos", "search", photo, "--team", "red", "--user", "ann", "--json").stdout)
    click = (found["query"], "pointed", "green-star", "--user", "ann")
    tuneloop_command("photos", "click", *click, code=7)
    tuneloop_command("photos", "click", *click, "--team", "red")
    told = json.loads(tuneloop_command("photos", "report", "--team", "red", "--json").stdout)
    assert (told["verdicts"], told["version"]) == ({"pointed": 1}, "start")
    assert json.loads(tuneloop_command("photos", "report", "--json").stdout)["verdicts"] == {}
    assert "19 more" in tuneloop_command("photos", "train", "--team", "red", code=4).stderr
    tuneloop_command("photos", "forget", "ann", "--yes", code=7)
    tuneloop_command("photos", "forget", "ann", "--yes", "--team", "red")


def test_the_page_is_served_without_a_model(tuneloop_command: Run, catalogue: Path, tmp_path: Path) -> None:
    tuneloop_command("-w", tmp_path / "work", "photos", "import", catalogue)
    with serve(tmp_path / "work", group="photos") as served:
        assert served.said["page"] == served.url + "/photos"
        assert "<h3" not in httpx.get(str(served.said["page"]), trust_env=False).text
        photo = catalogue.parent / "photos" / "red-ball-0.jpg"
        reply = httpx.post(
            served.url + "/catalogue/search", files={"photo": photo.read_bytes()}, trust_env=False, timeout=60
        )
        assert len(reply.json()["results"]) == 5
