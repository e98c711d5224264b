"""Tables over HTTP: upload, look, ask, click, remove; sizes, forms, teams, and what is left on the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.ask.test_clicks import DEAR, SQL
from tests.ask.test_reply import CSV
from tests.gateway.live import Live, configured, running, until
from tuneloop.access import keys
from tuneloop.ask.uploads import Load, Opened, safe_name
from tuneloop.db.question_tables import table_answers, table_files
from tuneloop.workspace import open_workspace, write_atomically

FORM = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    workspace = configured(tmp_path / "work", grace=0.5)
    write_atomically(workspace.path / "tuneloop.toml", "[serve]\ngrace = 0.5\n[tables]\nbytes = 200000\nmost = 3\n")
    with running(open_workspace(workspace.path), None) as live:
        yield live
    live.workspace.db.close()
    workspace.db.close()


def upload(live: Live, content: bytes | str = CSV, name: str = "shop.csv", **headers: str) -> httpx.Response:
    content = content.encode() if isinstance(content, str) else content
    return httpx.post(
        f"{live.url}/tables",
        params={"name": name},
        content=content,
        headers=FORM | headers,
        timeout=60,
        trust_env=False,
    )


def folders(live: Live) -> list[str]:
    return sorted(path.name for path in live.workspace.folder("tables").iterdir())


def ask(live: Live, table: str, question: str) -> dict[str, Any]:
    reply = live.post(f"/tables/{table}/ask", {"question": question})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_upload_look_ask_click_remove(live: Live) -> None:
    made = upload(live).json()
    assert (made["name"], made["rows"], made["width"], made["bytes"]) == ("shop.csv", 5, 4, len(CSV.encode()))
    price = next(column for column in made["columns"] if column["name"] == "price")
    assert price["kind"] == "number" and price["facts"]["mean"] == 190 and made["askable"] and made["found"]
    assert live.get(f"/tables/{made['id']}").json() == made
    assert [one["id"] for one in live.get("/tables").json()["data"]] == [made["id"]] == folders(live)
    found = ask(live, made["id"], "average price by city")
    assert found["rows"][0] == ["Пермь", 215.0] and found["chart"]["labels"][0] == "Пермь" and found["sql"]
    assert ask(live, made["id"], "what is the weather")["state"] == "unknown"
    assert ask(live, made["id"], "delete all rows")["state"] == "refused"
    said = {"answer": found["id"], "verdict": "right"}
    for _time in range(2):
        kept = live.post(f"/tables/{made['id']}/clicks", said)
        assert kept.json()["kept"] == [{"verdict": "right", "sql": found["sql"]}]
    assert ask(live, made["id"], "average price by city")["route"] == "confirmed"
    gone = httpx.delete(f"{live.url}/tables/{made['id']}", trust_env=False)
    assert gone.json() == {"removed": made["id"]} and folders(live) == []
    assert live.get(f"/tables/{made['id']}").status_code == 404
    with live.workspace.db.read() as rows:
        assert rows.execute(select(func.count()).select_from(table_answers)).scalar_one() == 0


def test_a_click_on_one_months_file_holds_for_the_next(live: Live) -> None:
    one, two = upload(live).json()["id"], upload(live, CSV + "Омск,tea,500,2024-02-01\n", "next.csv").json()["id"]
    asked = ask(live, one, DEAR)
    assert asked["state"] == "unknown"
    said = {"answer": asked["id"], "verdict": "wrong", "reading": SQL}
    assert live.post(f"/tables/{two}/clicks", said).status_code == 404  # an answer of another table
    assert live.post(f"/tables/{one}/clicks", said).status_code == 200
    assert ask(live, two, DEAR)["rows"] == [[2]]
    for reading, status in (("SELECT * FROM '/etc/passwd'", 403), ("blah blah", 400), ("SELECT x FROM t", 400)):
        assert live.post(f"/tables/{one}/clicks", said | {"reading": reading}).status_code == status, reading


@pytest.mark.parametrize(
    ("content", "name", "headers", "status", "code"),
    [
        (b"", "a.csv", {}, 400, "invalid_value"),
        (b"\x7fELF" + bytes(2000), "a.csv", {}, 400, "invalid_value"),
        (b"PK\x03\x04 broken", "a.xlsx", {}, 400, "invalid_value"),
        (b"x" * 200_001, "a.csv", {}, 413, "too_large"),
        (b"a,b\n1,2\n", "", {}, 400, "invalid_value"),
        (b"a,b\n1,2\n", "a.csv", {"Content-Type": "text/plain"}, 415, "wrong_content_type"),
        (b"a,b\n1,2\n", "a.csv", {"Content-Type": "application/json"}, 415, "wrong_content_type"),
        (b"a,b\n1,2\n", "a.csv", {"Host": "evil.example"}, 400, "wrong_host"),
    ],
)
def test_what_is_no_table_is_one_error_and_leaves_nothing(
    live: Live, content: bytes, name: str, headers: dict[str, str], status: int, code: str
) -> None:
    reply = upload(live, content, name, **headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    assert folders(live) == [] and live.get("/tables").json()["data"] == []


def test_a_body_in_pieces_ends_at_the_limit(live: Live) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _n in range(1000):
            sent += 50_000
            yield b"1,2\n" * 12_500

    try:
        reply = httpx.post(f"{live.url}/tables?name=a.csv", content=pieces(), headers=FORM, timeout=30, trust_env=False)
        assert reply.status_code == 413
    except httpx.TransportError:
        assert sent > 200_000  # the server hung up while we still sent
    assert sent < 50_000_000 and folders(live) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(live: Live) -> None:
    import socket

    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /tables?name=a.csv HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\na,b\n1,2\n".encode())
        deadline = time.monotonic() + 10
        while not folders(live):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    deadline = time.monotonic() + 10
    while folders(live):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def large(rows: int) -> bytes:
    """A file that only the exact reader takes: half a second for 20,000 rows."""
    return "имя;цена\n".encode("cp1251") + b"".join(f"место {n};{n % 97}\n".encode("cp1251") for n in range(rows))


def test_how_far_an_upload_is_can_be_asked(tmp_path: Path) -> None:
    workspace = configured(tmp_path / "work", grace=0.5)
    with running(open_workspace(workspace.path), None) as live:
        got: list[httpx.Response] = []
        path = f"{live.url}/tables?name=a.csv&load=mine"
        sending = threading.Thread(
            target=lambda: got.append(
                httpx.post(path, content=large(200_000), headers=FORM, timeout=60, trust_env=False)
            )
        )
        sending.start()
        seen = []
        while sending.is_alive():
            asked = live.get("/tables/loads/mine")
            if asked.status_code == 200:
                seen.append(asked.json())
            time.sleep(0.05)
        sending.join()
        assert got[0].status_code == 200, got[0].text
        assert "reading" in {one["stage"] for one in seen}, seen  # a look may miss the shorter ones
        assert any(0 < (one["rows"] or 0) < 200_000 for one in seen), seen
        shares = [one["share"] for one in seen if one["share"] is not None]
        assert shares and all(0 <= share <= 1 for share in shares)
        assert live.get("/tables/loads/mine").status_code == 404 and not live.server.desk.tables.loads
    live.workspace.db.close()
    workspace.db.close()


def test_a_client_that_leaves_while_it_is_loaded_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = configured(tmp_path / "work", grace=0.5)
    with running(open_workspace(workspace.path), None) as live:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{live.url}/tables?name=a.csv&load=left", content=large(800_000), headers=FORM,
                timeout=httpx.Timeout(60, read=1.0), trust_env=False,
            )  # fmt: skip
        assert live.server.desk.tables.loads, "else it was loaded before we left"
        until(lambda: not live.server.desk.tables.loads and not folders(live), 15)
        assert live.get("/tables").json()["data"] == []
        assert upload(live).status_code == 200
    assert "Traceback" not in capfd.readouterr().err, "a client that leaves is no bug"
    live.workspace.db.close()
    workspace.db.close()


def test_one_name_is_one_upload_and_a_team_sees_its_own(live: Live) -> None:
    assert live.get("/tables/loads/none").status_code == 404
    loads = live.server.desk.tables.loads
    loads["", "taken"] = Load("reading", 0.5, 10)
    loads["blue", "theirs"] = Load("reading")
    assert live.get("/tables/loads/taken").json() == {"stage": "reading", "share": 0.5, "rows": 10}
    assert live.get("/tables/loads/theirs").status_code == 404
    path = f"{live.url}/tables?name=a.csv&load=taken"
    assert httpx.post(path, content=CSV.encode(), headers=FORM, trust_env=False).status_code == 409
    assert folders(live) == []


def test_a_team_keeps_as_many_as_it_may(live: Live) -> None:
    for n in range(3):
        assert upload(live, name=f"{n}.csv").status_code == 200
    assert upload(live).status_code == 507 and len(folders(live)) == 3


def test_what_a_crash_left_is_swept_away(live: Live) -> None:
    import os

    for name, age in (("tb-old", 7200), ("tb-new", 60)):
        path = live.workspace.folder("tables") / name
        path.mkdir()
        os.utime(path, (time.time() - age,) * 2)
    made = upload(live).json()["id"]
    assert folders(live) == sorted([made, "tb-new"])


def test_teams_and_keys(live: Live) -> None:
    workspace = live.workspace
    secret = {team: keys.create(workspace, tenant=team, name="k", role="user")[1] for team in ("red", "blue")} | {
        "reader": keys.create(workspace, tenant="red", name="r", role="reader")[1]
    }
    live.server.desk.doorkeeper.forget()
    key = {who: {"Authorization": f"Bearer {value}"} for who, value in secret.items()}
    assert upload(live).status_code == 401 and upload(live, **key["reader"]).status_code == 403
    made = upload(live, **key["red"]).json()["id"]
    scoped = keys.create(workspace, tenant="red", name="s", role="admin", scopes=["t"])[1]
    live.server.desk.doorkeeper.forget()
    key["scoped"] = {"Authorization": f"Bearer {scoped}"}
    asked = {"question": "how many rows"}
    for who, status in (("red", 200), ("blue", 404), ("reader", 403), ("scoped", 403)):
        assert live.post(f"/tables/{made}/ask", asked, headers=key[who]).status_code == status, who
    assert live.get(f"/tables/{made}", headers=key["reader"]).status_code == 200
    for who in ("blue", "scoped"):
        assert live.get("/tables", headers=key[who]).json()["data"] == []
        assert httpx.delete(f"{live.url}/tables/{made}", headers=key[who], trust_env=False).status_code in (403, 404)
    assert upload(live, **key["scoped"]).status_code == 403
    assert folders(live) == [made]


def test_only_a_few_are_open_and_each_answers(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.server.desk.tables, "_most", 1)
    made = [upload(live, CSV + "x,tea,1,2024-01-01\n" * n, f"{n}.csv").json()["id"] for n in range(3)]
    found: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append((n, ask(live, made[n % 3], "how many rows")["rows"])))
        for n in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(n, [[5 + n % 3]]) for n in range(9)]
    opened: Opened = live.server.desk.tables
    assert len(opened._open) == 1 and not any(opened._used.values())
    with opened.lease(made[0]):
        busy = httpx.delete(f"{live.url}/tables/{made[0]}", trust_env=False)
        assert (busy.status_code, busy.headers["retry-after"]) == (409, "5")
    with live.workspace.db.read() as rows:
        assert rows.execute(select(func.count()).select_from(table_files)).scalar_one() == 3


def test_a_model_is_asked_what_the_reader_does_not_know(tmp_path: Path) -> None:
    """The echo repeats the question, so a question with SQL in it is a model that gives this SQL."""
    workspace = configured(tmp_path / "work", grace=0.5)
    toml = '[serve]\ngrace = 0.5\n[ask]\nmodel = "echo/m"\n[engines.echo]\nkind = "echo"\n'
    write_atomically(workspace.path / "tuneloop.toml", toml)
    with running(open_workspace(workspace.path), None) as live:
        made = upload(live).json()["id"]
        found = ask(live, made, "Mood please: SELECT max(price) - min(price) AS mood FROM t")
        assert (found["route"], found["rows"], found["sure"]) == ("model", [[270]], 0.8)
        assert "echo/m" in found["why"]
        assert ask(live, made, "Mood please: SELECT nothing FROM t")["state"] == "unknown"
        assert ask(live, made, "how many rows")["route"] == "reader"
    live.workspace.db.close()
    workspace.db.close()


@given(st.text(max_size=120))
def test_any_name_is_a_file_in_the_folder(name: str) -> None:
    safe = safe_name(name)
    assert (
        safe == Path(safe).name and safe not in (".", "..") and not safe.startswith(".") and len(safe.encode()) <= 200
    )


def test_names_keep_their_ending() -> None:
    assert safe_name("C:\\data\\Продажи 2024.xlsx") == "Продажи 2024.xlsx"
    assert safe_name("../../etc/passwd") == "passwd" and safe_name("..") == "table.csv"
    assert safe_name("я" * 200 + ".csv").endswith(".csv")
