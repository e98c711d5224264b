"""Blind replay over HTTP, against real engines: an echo and something that speaks Ollama's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tests.gateway.live import Live
from tests.gateway.test_exchange import ECHO, gateway
from tuneloop.access import keys
from tuneloop.answer import calls
from tuneloop.choose import replay as plans

TASK = """
[tasks.t]
route = "fixed"
prompt = "Briefly: {text}"
cleaner = "first_line"

[tasks.t.variants.own]
engine = "echo"

[tasks.t.variants.big]
engine = "ollama"
model = "bees"
parameters = {temperature = 0.5}
"""


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models["bees"] = {}
        yield server


@pytest.fixture
def live(tmp_path: Path, ollama: FakeOllama) -> Iterator[Live]:
    engine = f'\n[engines.ollama]\nkind = "ollama"\nurl = "{ollama.url}"\n'
    with gateway(tmp_path, ECHO + engine + TASK) as live:
        yield live


def ask(live: Live, n: int = 20, **options: Any) -> None:
    for number in range(n):
        body = {"model": "t", "user": f"u{number}", "messages": [{"role": "user", "content": f"bee {number}\nplease"}]}
        assert live.post("/v1/chat/completions", body | {"stream": number % 2 == 0}, **options).status_code == 200


def begin(live: Live, **options: Any) -> Any:
    reply = live.post("/replays", {"task": "t", "a": "own", "b": "big", "questions": 20}, **options)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_from_stored_questions_to_a_verdict(live: Live, ollama: FakeOllama) -> None:
    ask(live)
    one = begin(live)
    assert (one["questions"], one["open"], one["verdict"], one["state"]) == (20, 20, None, "replaying")
    path = f"/replays/{one['id']}"
    seen = []
    while (pair := live.get(path + "/next").json())["question"] is not None:
        assert {pair["left"], pair["right"]} == {"Briefly: " + (text := words(pair)), "You said: Briefly: " + text}
        said = {"question": pair["question"], "verdict": "left" if pair["left"].startswith("You") else "right"}
        assert live.post(path + "/judgements", said).json()["judged"] == len(seen) + 1
        seen.append(pair["question"])
        if len(seen) < 20:
            told = live.get(path)
            assert "own" not in told.text and "big" not in told.text and told.json()["open"] == 20 - len(seen)
    assert sorted(seen) == list(range(20)) and pair["waiting"] == 0
    told = live.get(path).json()
    assert (told["state"], told["a"], told["b"], told["verdict"]["wins_b"]) == ("replayed", "own", "big", 20)
    assert told["verdict"]["variant"] == "big" and "McNemar" in told["verdict"]["method"]
    assert live.get("/replays").json()["data"] == [told] and live.get(path).json() == told
    assert live.post(path + "/judgements", said).status_code == 409
    assert live.get(path + "/next").status_code == 409
    body = ollama.bodies("/api/chat")[0]
    assert (body["options"]["temperature"], body["stream"], body["model"]) == (0.5, False, "bees")
    rows = [row for row in calls.recent(live.workspace) if row.experiment == one["id"]]
    assert len(rows) == 40 and {row.arm for row in rows} == {"a", "b"}
    assert all(row.parent and row.reason == "replay" and row.status == "ok" and row.attempts == 1 for row in rows)


def words(pair: dict[str, Any]) -> str:
    return str(pair["messages"][-1]["content"]).partition("\n")[0]


def test_a_lost_reply_is_sent_again_and_a_verdict_taken_back(live: Live) -> None:
    ask(live)
    path = f"/replays/{begin(live)['id']}"
    assert begin(live)["id"] in path, "the open one goes on"
    pair = live.get(path + "/next").json()
    said = {"question": pair["question"], "verdict": "tie", "rater": "anna"}
    assert live.post(path + "/judgements", said).json() == live.post(path + "/judgements", said).json()
    after = live.get(path + "/next?rater=anna").json()
    assert after["question"] != pair["question"]
    ahead = live.get(f"{path}/next?rater=anna&besides={after['question']}").json()
    assert ahead["question"] not in (pair["question"], after["question"])
    undone = live.post(path + "/judgements", said | {"verdict": "undo"}).json()
    assert (undone["judged"], undone["waiting"]) == (0, 20)
    ended = live.post(path + "/end", {}).json()
    assert ended["verdict"]["decision"] == "not enough data" and ended["verdict"]["open"] == 20


def test_a_refusal_counts_against_the_variant_and_an_outage_against_nobody(live: Live, ollama: FakeOllama) -> None:
    ask(live)
    path = f"/replays/{begin(live)['id']}"
    ollama.fail["/api/chat"] = (503, "busy")
    assert live.get(path + "/next").status_code == 502
    assert live.get(path).json()["open"] == 20
    ollama.fail["/api/chat"] = (400, "the picture is broken")
    assert live.get(path + "/next").json()["question"] is None
    told = live.get(path).json()["verdict"]
    assert (told["failed_b"], told["failed_a"], told["decision"]) == (20, 0, "not enough data")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"task": "none", "a": "own", "b": "big"}, 404), ({"task": "t", "a": "own", "b": "none"}, 404),
        ({"task": "t", "a": "own", "b": "own"}, 400), ({"task": "t", "a": "own", "b": "big", "questions": 5}, 400),
        ({"task": "t", "a": "own"}, 400),
    ],
)  # fmt: skip
def test_a_replay_that_makes_no_sense_is_not_begun(live: Live, body: dict[str, Any], status: int) -> None:
    assert live.post("/replays", body).status_code == status
    assert plans.history(live.workspace) == []


def test_too_few_questions_are_said(live: Live) -> None:
    ask(live, 3)
    reply = live.post("/replays", {"task": "t", "a": "own", "b": "big"})
    assert reply.status_code == 409 and "3 different questions" in reply.json()["error"]["message"]


def test_teams_roles_and_scopes(live: Live) -> None:
    def bearer(**more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys.create(live.workspace, **({'role': 'admin'} | more))[1]}"}

    red, blue = bearer(name="r", tenant="red"), bearer(name="b", tenant="blue")
    other, user = bearer(name="o", tenant="red", scopes=["x"]), bearer(name="u", tenant="red", role="user")
    ask(live, headers=red)
    assert live.post("/replays", {"task": "t", "a": "own", "b": "big"}, headers=blue).status_code == 409
    one = begin(live, headers=red)
    for path in (f"/replays/{one['id']}", f"/replays/{one['id']}/next"):
        assert live.get(path, headers=blue).status_code == 404
        assert live.get(path, headers=other).status_code == 403, "people's questions are of its task only"
        assert live.get(path, headers=user).status_code == 200
    assert live.get("/replays", headers=other).json()["data"] == []
    assert live.post(f"/replays/{one['id']}/end", {}, headers=user).status_code == 403
    pair = live.get(f"/replays/{one['id']}/next", headers=user).json()
    said = {"question": pair["question"], "verdict": "left"}
    assert live.post(f"/replays/{one['id']}/judgements", said, headers=blue).status_code == 404
    assert live.post(f"/replays/{one['id']}/judgements", said, headers=user).status_code == 200
