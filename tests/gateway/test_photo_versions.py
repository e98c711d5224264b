"""Versions of photo search over HTTP: each team's administrator lists, activates and rolls back the team's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.gateway.live import configured, running
from tests.loop.test_photo_teams import made
from tuneloop.access import keys


def test_each_team_switches_its_own(tmp_path: Path) -> None:
    with running(configured(tmp_path / "work", grace=0.5), None) as live:
        red, plain, bad = (
            made(live.workspace, "a", "red"), made(live.workspace, "a"), made(live.workspace, "b", "red", "refuse")
        )  # fmt: skip
        secret = {
            who: keys.create(live.workspace, tenant=who.partition(" ")[0], name=who, role=who.rpartition(" ")[2])[1]
            for who in ("red admin", "red reader", "blue admin")
        }
        secret["owner"] = keys.create(live.workspace, name="owner", role="admin")[1]
        live.server.desk.doorkeeper.forget()

        def ask(who: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
            told = {"Authorization": f"Bearer {secret[who]}"}
            method, url = ("GET" if body is None else "POST"), f"{live.url}/catalogue/versions{path}"
            return httpx.request(method, url, headers=told, json=body, trust_env=False)

        def active(who: str) -> tuple[str, str | None, int]:
            said = ask(who, "").json()
            return said["active"], said["before"], len(said["data"])

        assert active("red reader") == ("start", None, 2) and active("blue admin") == ("start", None, 0)
        assert active("owner") == ("start", None, 1)
        assert ask("red reader", f"/{red.id}/activate", {}).status_code == 403
        for stranger in ("blue admin", "owner"):
            assert ask(stranger, f"/{red.id}/activate", {"force": True, "note": "mine"}).status_code == 404
        assert ask("red admin", f"/{bad.id}/activate", {}).status_code == 403, "the gate refused it"
        assert ask("red admin", f"/{red.id}/activate", {}).json() == {"active": red.id}
        assert ask("red admin", f"/{bad.id}/activate", {"force": True, "note": "I know"}).status_code == 200
        assert active("red reader") == (bad.id, red.id, 2) and active("owner") == ("start", None, 1)
        assert ask("blue admin", "/rollback", {}).status_code == 404
        back = {"of": bad.id, "note": "worse"}
        assert ask("red admin", "/rollback", back).json() == {"active": red.id}
        assert ask("red admin", "/rollback", back).status_code == 409, "the same order again goes back once"
        assert ask("red admin", "/rollback", {}).json() == {"active": "start"}
        assert ask("red admin", "/rollback", {}).status_code == 404
        assert ask("owner", f"/{plain.id}/activate", {}).json() == {"active": plain.id}
        assert ask("owner", "/start/activate", {}).json() == {"active": "start"}
        assert active("owner") == ("start", plain.id, 1) and active("red reader")[0] == "start"
