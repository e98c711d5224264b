"""Keys, tokens, limits, proxies: what is let in, what is not, and what is never written down."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.access import keys, limits, proxies, tokens
from tuneloop.access.caller import Doorkeeper
from tuneloop.access.limits import Limiter
from tuneloop.errors import BadInput, Conflict, Missing, Refused, Unauthorised
from tuneloop.settings import load
from tuneloop.workspace import Workspace, open_workspace, write_atomically

SIGNING = "k" * 48


def bearer(text: str) -> bytes:
    return b"Bearer " + text.encode()


# --- keys


def test_a_key_works_until_it_is_revoked_and_only_its_hash_is_stored(workspace: Workspace) -> None:
    key, secret = keys.create(workspace, tenant="red", name="shop", role="user", scopes=["hashtags"])
    door = Doorkeeper(workspace)
    caller = door.caller(bearer(secret))
    assert (caller.tenant, caller.key, caller.role, caller.scopes) == ("red", key.id, "user", ("hashtags",))
    workspace.db.close()
    for path in workspace.path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes() and secret[-20:].encode() not in path.read_bytes()
    keys.revoke(workspace, key.id)
    door.forget()
    with pytest.raises(Unauthorised, match="revoked"):
        door.caller(bearer(secret))


def test_the_hash_of_a_key_is_no_key(workspace: Workspace) -> None:
    _key, secret = keys.create(workspace, name="x")
    with pytest.raises(Unauthorised):
        Doorkeeper(workspace).caller(bearer(keys.hashed(secret)))


def test_rotation_gives_the_old_key_a_time_of_grace(workspace: Workspace) -> None:
    old, secret = keys.create(workspace, name="x", role="admin", days=10)
    new, fresh = keys.rotate(workspace, old.id, grace_hours=1)
    assert (new.role, new.replaces) == ("admin", old.id)
    door = Doorkeeper(workspace)
    assert door.caller(bearer(secret)).key == old.id and door.caller(bearer(fresh)).key == new.id
    newer, _secret = keys.rotate(workspace, new.id, grace_hours=0)
    with pytest.raises(Unauthorised):
        Doorkeeper(workspace).caller(bearer(fresh))
    with pytest.raises(Conflict):
        keys.rotate(workspace, new.id)
    assert [k.id for k in keys.history(workspace)][:1] == [newer.id]


def test_an_expired_key_is_refused(workspace: Workspace) -> None:
    _key, secret = keys.create(workspace, name="x", days=0.5 / 86400)
    time.sleep(0.6)
    with pytest.raises(Unauthorised, match="expired"):
        Doorkeeper(workspace).caller(bearer(secret))


@pytest.mark.parametrize("sent", ["' OR 1=1 --", '" OR ""="', "tl_x'; DROP TABLE keys; --", "tl_", "tl_\x00", "é" * 50])
def test_sql_in_a_key_is_a_wrong_key(workspace: Workspace, sent: str) -> None:
    keys.create(workspace, name="x")
    with pytest.raises(Unauthorised):
        Doorkeeper(workspace).caller(b"Bearer " + sent.encode())
    assert len(keys.history(workspace)) == 1


def test_keys_that_begin_alike_are_different_callers(workspace: Workspace) -> None:
    """A cache by the first 20 characters let one in as the other (CVE-2026-35030)."""
    _key, secret = keys.create(workspace, name="x", role="admin")
    door = Doorkeeper(workspace)
    assert door.caller(bearer(secret)).role == "admin"
    with pytest.raises(Unauthorised):
        door.caller(bearer(secret[:-1] + ("a" if secret[-1] != "a" else "b")))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, BadInput), ({"name": "x" * 65}, BadInput), ({"name": "a\nb"}, BadInput),
        ({"name": "x", "role": "root"}, BadInput), ({"name": "x", "days": -1}, BadInput),
        ({"name": "x", "tenant": "a/b"}, BadInput),
    ],
)  # fmt: skip
def test_nonsense_makes_no_key(workspace: Workspace, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        keys.create(workspace, **fields)
    assert keys.history(workspace) == []


def test_another_teams_key_is_not_there(workspace: Workspace) -> None:
    key, _secret = keys.create(workspace, tenant="red", name="x")
    with pytest.raises(Missing):
        keys.revoke(workspace, key.id, tenant="blue")


def test_on_a_loopback_address_it_works_without_a_key_until_there_is_one(workspace: Workspace) -> None:
    door = Doorkeeper(workspace)
    assert (door.locked, door.caller(b"").role, door.caller(b"Bearer anything").role) == (False, "admin", "admin")
    keys.create(workspace, name="x")
    door.forget()
    assert door.locked
    with pytest.raises(Unauthorised):
        door.caller(b"")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_on_any_other_address_it_does_not_start_without_one(workspace: Workspace, host: str) -> None:
    with pytest.raises(Refused, match="no key"):
        Doorkeeper(workspace, host=host)
    keys.create(workspace, name="x")
    assert Doorkeeper(workspace, host=host).locked


# --- tokens: the table of what must be refused


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    known = {"sub": "anna", "iat": now, "exp": now + 600, "aud": "tuneloop", "role": "user", "tenant": "red"}
    return {name: value for name, value in (known | changes).items() if value is not None}


def signed(key: str = SIGNING, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


NOW = int(time.time())
REFUSED: dict[str, Any] = {
    "no algorithm": lambda: jwt.encode(claims(), None, "none"),
    "another algorithm": lambda: signed(algorithm="HS512", key="k" * 64),
    "another key": lambda: signed("x" * 48),
    "critical extension": lambda: signed(headers={"crit": ["exp"], "exp": 1}),
    "no end": lambda: signed(exp=None),
    "ended": lambda: signed(iat=NOW - 900, exp=NOW - 300),
    "ends in 2121": lambda: signed(exp=4_765_132_800),
    "lives 25 h": lambda: signed(exp=NOW + 25 * 3600),
    "25 h, begun before": lambda: signed(iat=NOW - 20 * 3600, exp=NOW + 5 * 3600 + 60),
    "no subject": lambda: signed(sub=None),
    "no audience": lambda: signed(aud=None),
    "another audience": lambda: signed(aud="somebody"),
    "several audiences": lambda: signed(aud=["tuneloop", "somebody"]),
    "no beginning": lambda: signed(iat=None),
    "begins tomorrow": lambda: signed(iat=NOW + 86_000, exp=NOW + 86_300),
    "unknown role": lambda: signed(role="root"),
    "scopes no list": lambda: signed(scopes="all"),
    "tampered": lambda: signed()[:-4] + "AAAA",
    "no token": lambda: "a.b.c",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_like_this_is_refused(case: str) -> None:
    with pytest.raises(Unauthorised):
        tokens.verify(REFUSED[case](), SIGNING)


def test_a_good_token_is_taken_and_a_short_key_is_not(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.issue(SIGNING, subject="anna", tenant="red", role="user", scopes=("seo",))
    assert tokens.verify(token, SIGNING)["scopes"] == ("seo",)
    for short in ("", "abc", "k" * 31):
        with pytest.raises(BadInput):
            tokens.issue(short, subject="a", tenant="", role="user")
    with pytest.raises(BadInput):
        tokens.issue(SIGNING, subject="a", tenant="", role="user", seconds=90_000)
    write_atomically(workspace.path / "tuneloop.toml", '[access]\njwt_key_env = "SIGNING_KEY"\n')
    monkeypatch.setenv("SIGNING_KEY", SIGNING)
    caller = Doorkeeper(open_workspace(workspace.path)).caller(bearer(token))
    assert (caller.tenant, caller.user, caller.role, caller.scopes) == ("red", "anna", "user", ("seo",))
    monkeypatch.delenv("SIGNING_KEY")
    with pytest.raises(BadInput, match="SIGNING_KEY"):
        Doorkeeper(open_workspace(workspace.path))


# --- limits


def limiter(url: str = "") -> Limiter:
    return Limiter(load(None, {"TUNELOOP_ACCESS_REDIS_URL": url}))


def test_a_burst_up_to_the_limit_then_one_at_a_time() -> None:
    one, now = limiter(), 100.0
    assert [one.wait("a", "3/minute", now) for _n in range(3)] == [0, 0, 0]
    wait = one.wait("a", "3/minute", now)
    assert 0 < wait <= 20
    assert one.wait("b", "3/minute", now) == 0
    assert one.wait("a", "3/minute", now + wait + 0.001) == 0
    assert one.wait("a", "3/minute", now + wait + 0.002) > 0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200), st.integers(1, 20))
def test_never_more_than_two_bursts_in_a_window(gaps: list[float], count: int) -> None:
    one, now, passed = limiter(), 0.0, []
    for gap in gaps:
        now += gap
        if one.wait("x", f"{count}/minute", now) == 0:
            passed.append(now)
    for begin in passed:
        assert sum(begin <= moment < begin + 60 for moment in passed) <= 2 * count


@pytest.mark.parametrize("limit", ["", "x", "0/minute", "5/fortnight", "-3/hour", "1e3/minute", "9999999999/day"])
def test_what_is_no_limit_is_said(limit: str) -> None:
    with pytest.raises(BadInput):
        limits.parsed(limit)


def test_a_million_users_fit_into_ten_megabytes() -> None:
    import tracemalloc

    one = limiter()
    tracemalloc.start()
    for number in range(200_000):
        one.wait(f"user:{number}", "60/minute", number * 1e-4)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(one._empty_at) <= limits.SCOPES
    assert peak < 20e6  # while a full table is copied without its empty buckets, both are there


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    import shutil

    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _try in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}", process
    process.kill()
    process.wait()


def test_servers_that_share_a_redis_share_the_limit_and_its_death_does_not_open_it(
    redis: tuple[str, subprocess.Popen[bytes]],
) -> None:
    import asyncio

    url, process = redis

    async def scene() -> None:
        one, two = limiter(url), limiter(url)
        now = time.monotonic()
        got = [await server.wait_shared("u", "5/hour", now) for server in (one, two) * 5]
        assert got.count(0.0) == 5
        process.kill()
        process.wait()
        began = time.monotonic()
        after = [await two.wait_shared("v", "5/hour", time.monotonic()) for _n in range(20)]
        assert after.count(0.0) == 5  # the local limit holds
        assert time.monotonic() - began < 8  # five tries, then it is left alone
        for server in (one, two):
            await server.close()

    asyncio.run(scene())


# --- proxies

TRUSTED = proxies.networks("10.0.0.0/8, 192.168.1.5")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", b"1.1.1.1", "8.8.8.8"),
        ("10.0.0.1", b"1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1, 192.168.1.5", "1.1.1.1"),
        ("10.0.0.1", b"garbage", "10.0.0.1"),
        ("10.0.0.1", b"6.6.6.6, garbage, 10.0.0.9", "10.0.0.9"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("127.0.0.1", b"1.1.1.1", "127.0.0.1"),
    ],
)
def test_only_named_proxies_are_believed(peer: str, forwarded: bytes, address: str) -> None:
    assert proxies.client_address(peer, forwarded, TRUSTED) == address


@given(st.text(max_size=40), st.binary(max_size=200))
def test_no_header_raises(peer: str, forwarded: bytes) -> None:
    proxies.client_address(peer, forwarded, TRUSTED)


def test_wrong_proxies_are_said_at_the_start() -> None:
    with pytest.raises(BadInput):
        proxies.networks("10.0.0.0/33")
