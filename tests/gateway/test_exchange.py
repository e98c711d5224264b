"""Requests through the whole gateway to engines that answer, fail, cut and dawdle, over real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.raw import STREAM_HEAD, chunk, whole
from tests.gateway.live import Live, Scripted, running, until
from tuneloop.access import keys
from tuneloop.choose import experiments
from tuneloop.workspace import open_workspace, write_atomically

ECHO = """
[engines.echo]
kind = "echo"
parallel = 200
"""
ASK: dict[str, Any] = {"model": "t", "messages": [{"role": "user", "content": "привет мир"}]}
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-theirs", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }
).encode()  # fmt: skip


def delta(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "chatcmpl-theirs", "choices": [choice]}).encode() + b"\n\n"


@contextmanager
def gateway(path: Path, toml: str) -> Iterator[Live]:
    open_workspace(path / "work", create=True)
    write_atomically(path / "work/tuneloop.toml", toml)
    with running(open_workspace(path / "work"), None) as live:
        yield live


def engine(name: str, url: str, **more: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in ({"url": url + "/v1"} | more).items()]
    return f"[engines.{name}]\n" + "\n".join(lines) + "\n"


def task(*variants: str, **more: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in ({"route": "fixed"} | more).items()]
    return "[tasks.t]\n" + "\n".join(lines) + "\n" + "".join(
        f'[tasks.t.variants.{name}]\nengine = "{name}"\nmodel = "m-{name}"\n' for name in variants
    )  # fmt: skip


def stream(live: Live, body: dict[str, Any] | None = None) -> list[str]:
    with httpx.stream(
        "POST", live.url + "/v1/chat/completions", json=(body or ASK) | {"stream": True}, timeout=10, trust_env=False
    ) as reply:
        assert reply.status_code == 200, reply.read()
        return [line for line in reply.iter_lines() if line]


# --- fallback and deadlines

FAILURES = {
    "500": whole(b'{"error": {"message": "oops"}}', 500),
    "429": whole(b"{}", 429, b"Retry-After: 1\r\n"),
    "hung up": b"",
    "half a body": whole(COMPLETION)[:-9],
    "no json": whole(b"<html>"),
}


@pytest.mark.parametrize("kind", ["500", "429", "hung up", "half a body"])
def test_a_failing_engine_gives_way_to_the_next(tmp_path: Path, kind: str) -> None:
    with (
        Scripted(FAILURES[kind]) as bad,
        gateway(tmp_path, ECHO + engine("bad", bad.url) + task("bad", "echo")) as live,
    ):
        reply = live.post("/v1/chat/completions", ASK)
        assert reply.json()["choices"][0]["message"]["content"] == "привет мир"
        assert reply.headers["x-tuneloop-variant"] == "echo"
        row = live.rows(1)[0]
        assert (row.status, row.variant, row.attempts) == ("ok", "echo", 2)
        assert row.reason.startswith("fixed fallback:")


def test_without_fallback_the_failure_is_told(tmp_path: Path) -> None:
    with Scripted(FAILURES["500"]) as bad:
        toml = ECHO + engine("bad", bad.url) + task("bad", "echo", fallback=False, retries=0)
        with gateway(tmp_path, toml) as live:
            reply = live.post("/v1/chat/completions", ASK)
            assert (reply.status_code, reply.json()["error"]["code"]) == (502, "engine_error")
            assert live.rows(1)[0].status == "error"


def test_a_silent_engine_is_left_within_its_limit_and_one_deadline_holds_for_all(tmp_path: Path) -> None:
    with Scripted(b"", hang=True) as mute:
        toml = ECHO + engine("mute", mute.url, first=0.3) + task("mute", "echo")
        with gateway(tmp_path, toml) as live:
            began = time.monotonic()
            assert live.post("/v1/chat/completions", ASK).status_code == 200
            assert 0.25 < time.monotonic() - began < 5
    with Scripted(b"", hang=True) as mute:
        toml = engine("mute", mute.url, first=5.0) + task("mute", total=0.4, retries=10)
        with gateway(tmp_path / "two", toml) as live:
            began = time.monotonic()
            assert live.post("/v1/chat/completions", ASK).status_code == 504
            assert time.monotonic() - began < 4  # 0.4, and what a busy machine adds; the engine alone may take 5


def test_an_answer_that_is_no_completion_is_an_error_and_not_cached(tmp_path: Path) -> None:
    with (
        Scripted(FAILURES["no json"]) as bad,
        gateway(tmp_path, engine("bad", bad.url) + task("bad", cache=60)) as live,
    ):
        for _turn in range(2):
            assert live.post("/v1/chat/completions", ASK).status_code == 502
        assert [row.cached for row in live.rows(2)] == [False, False]


# --- streams

CUTS = {
    "connection ends": (STREAM_HEAD + chunk(delta("a")), False),
    "close-delimited": (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + delta("a"), False),
    "reset": (STREAM_HEAD + chunk(delta("a")), True),
    "clean end without done": (STREAM_HEAD + chunk(delta("a")) + b"0\r\n\r\n", False),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_stream_is_truncated_in_band_and_never_kept(tmp_path: Path, cut: str) -> None:
    sent, hard = CUTS[cut]
    with Scripted(sent, reset=hard) as bad:
        toml = ECHO + engine("bad", bad.url) + task("bad", "echo", cache=60, checks=["min_chars:1"])
        with gateway(tmp_path, toml) as live:
            said = stream(live)
            assert json.loads(said[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == "a"
            assert "error" in json.loads(said[-1].removeprefix("data: ")) and "[DONE]" not in "".join(said)
            row = live.rows(1)[0]
            assert (row.status, row.answer, row.tokens_out, row.quality) == ("truncated", "a", 1, None)
            assert len(live.server.desk.cache) == 0


def test_a_whole_stream_has_our_id_and_its_counts(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo")) as live:
        said = stream(live)
        assert said[-1] == "data: [DONE]"
        row = live.rows(1)[0]
        assert json.loads(said[0].removeprefix("data: "))["id"] == row.id
        assert (row.answer, row.tokens_out, row.status) == ("привет мир", 2, "ok")
        assert row.first_ms is not None and row.first_ms <= row.latency_ms
        assert not any('"usage"' in line for line in said)
        assert any('"usage"' in line for line in stream(live, ASK | {"stream_options": {"include_usage": True}}))


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_takes_its_request_along(tmp_path: Path, streaming: bool) -> None:
    sent = STREAM_HEAD + chunk(delta("a")) if streaming else b""
    with Scripted(sent, hang=True) as slow, gateway(tmp_path, engine("slow", slow.url) + task("slow")) as live:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                live.url + "/v1/chat/completions", json=ASK | {"stream": streaming}, timeout=0.4, trust_env=False
            )
        assert slow.hung_up.wait(1)
        row = live.rows(1)[0]
        assert (row.status, row.answer) == ("cancelled", "a" if streaming else "")


# --- cache, limits, keys


def test_a_kept_answer_comes_again_as_a_row_of_its_own_for_its_own_team(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo", cache=60)) as live:
        secrets = {team: keys.create(live.workspace, tenant=team, name="x")[1] for team in ("red", "blue")}
        live.server.desk.doorkeeper.forget()

        def ask(team: str, body: dict[str, Any]) -> httpx.Response:
            return live.post("/v1/chat/completions", body, headers={"Authorization": f"Bearer {secrets[team]}"})

        first, again, other = ask("red", ASK), ask("red", {**ASK, "user": "u"}), ask("blue", ASK)
        assert again.headers["x-tuneloop-cache"] == "hit" and "x-tuneloop-cache" not in other.headers
        assert first.json()["id"] != again.json()["id"]
        assert first.json()["choices"] == again.json()["choices"]
        assert "x-tuneloop-cache" not in ask("red", ASK | {"temperature": 0.5}).headers
        rows = live.rows(4)
        assert [row.cached for row in rows].count(True) == 1
        assert {row.tenant for row in rows} == {"red", "blue"}
        with httpx.stream(
            "POST", live.url + "/v1/chat/completions", json=ASK | {"stream": True}, trust_env=False,
            headers={"Authorization": f"Bearer {secrets['red']}"},
        ) as reply:  # fmt: skip
            lines = [line for line in reply.iter_lines() if line]
        assert reply.headers["x-tuneloop-cache"] == "hit" and lines[-1] == "data: [DONE]"


def test_limits_answer_429_with_the_time_to_wait(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo", limit="3/minute")) as live:
        codes = [live.post("/v1/chat/completions", ASK | {"user": "anna"}).status_code for _n in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert live.post("/v1/chat/completions", ASK | {"user": "boris"}).status_code == 200
        refused = live.post("/v1/chat/completions", ASK | {"user": "anna"})
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert len(live.rows(4)) == 4  # what is refused at the door is counted, not kept
        assert live.server.desk.tally.refused["rate_limit_exceeded"] == 3


@pytest.mark.parametrize(("proxies", "passed"), [("", 2), ("127.0.0.1", 6)])
def test_forged_addresses_move_no_limit_unless_a_named_proxy_sends_them(
    tmp_path: Path, proxies: str, passed: int
) -> None:
    toml = f'[access]\nproxies = "{proxies}"\n' + ECHO + task("echo", limit="2/hour")
    with gateway(tmp_path, toml) as live:
        codes = [
            live.post("/v1/chat/completions", ASK, headers={"X-Forwarded-For": f"9.9.9.9, 8.8.8.{n // 2}"}).status_code
            for n in range(6)
        ]
        assert codes.count(200) == passed and codes.count(429) == 6 - passed


def test_roles_and_scopes(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo") + '[tasks.other.variants.x]\nengine = "echo"\nmodel = "x"\n') as live:
        made = {
            "reader": keys.create(live.workspace, name="r", role="reader")[1],
            "scoped": keys.create(live.workspace, name="s", scopes=["other"])[1],
        }
        live.server.desk.doorkeeper.forget()

        def code(who: str, model: str) -> int:
            headers = {"Authorization": f"Bearer {made[who]}"}
            return live.post("/v1/chat/completions", ASK | {"model": model}, headers=headers).status_code

        assert (code("reader", "t"), code("scoped", "t"), code("scoped", "other")) == (403, 403, 200)
        assert live.post("/v1/chat/completions", ASK).status_code == 401


def test_no_secret_is_ever_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = "tl_" + "deadbeef" * 6
    with gateway(tmp_path, ECHO + task("echo")) as live:
        _key, secret = keys.create(live.workspace, name="x", role="admin")
        live.server.desk.doorkeeper.forget()
        for sent in (secret, canary):
            for path in ("/v1/chat/completions", "/feedback", "/tasks/t"):
                reply = live.post(path, ASK, headers={"Authorization": f"Bearer {sent}", "X-Key": sent})
                assert sent not in reply.text
        live.rows(1)
        health = live.get("/health").text
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content and canary.encode() not in content, path
    assert secret not in caplog.text + health and canary not in caplog.text + health


# --- texts, checks, switch


def test_task_texts_cleaner_and_checks(tmp_path: Path) -> None:
    toml = ECHO + task(
        "echo", prompt="Хештеги: {text} #кот #дом", cleaner="hashtags", checks=["hashtags:3-10", "hashtags:1-2"]
    )  # fmt: skip
    with gateway(tmp_path, toml) as live:
        body = ASK | {"messages": [{"role": "user", "content": "про {дом} и {text}"}]}
        assert live.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"] == "#кот #дом"
        said = stream(live, body)  # held back until it is whole, because it is cleaned
        assert '"#кот #дом"' in "".join(said) and said[-1] == "data: [DONE]"
        assert [row.quality for row in live.rows(2)] == [0.5, 0.5]


def test_below_the_threshold_the_original_answers_and_both_are_rows(tmp_path: Path) -> None:
    with Scripted(whole(COMPLETION)) as good:
        toml = ECHO + engine("good", good.url) + task(
            "echo", "good", checks=["contains:ok"], switch="forced", threshold=0.5, original="good", fallback=False
        )  # fmt: skip
        with gateway(tmp_path, toml) as live:
            reply = live.post("/v1/chat/completions", ASK)
            assert reply.json()["choices"][0]["message"]["content"] == "ok"
            rows = {row.variant: row for row in live.rows(2)}
            assert rows["good"].reason.endswith("switch:0.00<0.50") and rows["good"].quality == 1.0
            assert rows["echo"].parent == rows["good"].id and rows["echo"].quality == 0.0


# --- experiments


def test_an_experiment_divides_users_and_a_shadow_answers_unseen(tmp_path: Path) -> None:
    with (
        Scripted(whole(COMPLETION)) as other,
        gateway(tmp_path, ECHO + engine("other", other.url) + task("echo", "other")) as live,
    ):
        arms = {"a": "echo", "b": "other"}
        one = experiments.create(live.workspace, name="x", task="t", arms=arms)
        until(lambda: live.server.desk.assigner.pick("", "t", "u"))
        for n in range(20):
            live.post("/v1/chat/completions", ASK | {"user": f"u{n % 10}"})
        rows = live.rows(20)
        assert {row.experiment for row in rows} == {one.id}
        assert all(arms[row.arm] == row.variant and row.propensity == 0.5 for row in rows)
        by_user: dict[str, set[str]] = {}
        for row in rows:
            by_user.setdefault(row.user, set()).add(row.arm)
        assert all(len(met) == 1 for met in by_user.values()) and len({*map(min, by_user.values())}) == 2
        assert experiments.misassigned(live.workspace, one) == 0
        experiments.stop(live.workspace, one)
        experiments.create(live.workspace, name="y", task="t", arms=arms, mode="shadow")
        until(lambda: live.server.desk.assigner.shadows("", "t", "u"))
        reply = live.post("/v1/chat/completions", ASK)
        assert reply.headers["x-tuneloop-variant"] == "echo"
        shadow = next(row for row in live.rows(22) if row.reason == "shadow")
        assert (shadow.parent, shadow.variant, shadow.answer) == (reply.json()["id"], "other", "ok")


# --- configuration under load


def test_a_broken_configuration_changes_nothing_and_fails_nobody(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo")) as live:
        path, good = live.workspace.path / "tuneloop.toml", ECHO + task("echo")
        done, codes = threading.Event(), []

        def ask_all_the_time() -> None:
            with httpx.Client(trust_env=False, timeout=10) as client:
                while not done.is_set():
                    codes.append(client.post(live.url + "/v1/chat/completions", json=ASK).status_code)

        with ThreadPoolExecutor(4) as pool:
            for _n in range(4):
                pool.submit(ask_all_the_time)
            for bad in ("[tasks.t", good[: len(good) // 2], good + '[tasks.u.variants.v]\nengine = "nobody"\n', ""):
                path.write_text(bad)
                time.sleep(0.4)
            until(lambda: live.get("/health").json()["configuration"])
            path.write_text(good + '[tasks.new.variants.v]\nengine = "echo"\nmodel = "x"\n')
            until(lambda: live.post("/v1/chat/completions", ASK | {"model": "new"}).status_code == 200)
            done.set()
        assert set(codes) == {200} and len(codes) > 100
        assert live.get("/health").json()["configuration"] is None


def test_embeddings_and_completions_pass_through(tmp_path: Path) -> None:
    vectors = b'{"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}'
    with (
        Scripted(whole(vectors)) as good,
        gateway(tmp_path, ECHO + engine("good", good.url) + task("good", "echo")) as live,
    ):
        reply = live.post("/v1/embeddings", {"model": "t", "input": "слово"})
        assert reply.json()["data"][0]["embedding"] == [0.5]
        assert (row := live.rows(1)[0]).kind == "embedding" and row.tokens_in == 3
        said = live.post("/v1/completions", {"model": "t/echo", "prompt": "раз два"}).json()
        assert said["choices"][0]["text"] == "раз два"
