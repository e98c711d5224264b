"""An asynchronous client for a running `tuneloop serve`, under the names that applications of this kind use.

    async with Client("http://127.0.0.1:8090", key="tl_...") as client:
        test = await client.create_ab_test("greeting", "support", "small", "big", traffic_split=0.5)
        arm = await client.select_model_for_ab_test(test["test_id"], user_id="anna")
        await client.record_ab_test_result(test["test_id"], user_id="anna", metric="user_satisfaction", value=1.0)

Every method returns a dictionary; every failure is one of tuneloop's errors with the server's own words. For plain
chat, OpenAI's own client works with the same server. The examples in the docstrings below are run by the tests; in
them `client` is a client of a small server whose task "support" has the variants "small" and "big", and
which has a version "tiny" packed as q8_0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tuneloop.client.documents import DocumentCalls
from tuneloop.errors import (
    BadInput,
    Conflict,
    EngineDown,
    EngineError,
    EngineTimeout,
    Missing,
    OutOfResources,
    Refused,
    TooMany,
    TuneloopError,
    Unauthorised,
)
from tuneloop.texts import _

KINDS: dict[int, type[TuneloopError]] = {
    400: BadInput, 401: Unauthorised, 403: Refused, 404: Missing, 409: Conflict, 413: BadInput, 415: BadInput,
    422: BadInput, 429: TooMany, 503: EngineDown, 504: EngineTimeout, 507: OutOfResources,
}  # fmt: skip


class Client(DocumentCalls):
    """url: of the server. key: an API key or token; none is needed on the same machine before one was made.

    timeout: seconds a request may take.
    """

    def __init__(self, url: str = "http://127.0.0.1:8090", *, key: str = "", timeout: float = 120.0) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- text

    async def generate_text(
        self, prompt: str, model_id: str = "active", *, user_id: str = "", key: str = "", **parameters: Any
    ) -> dict[str, Any]:
        """An answer to one question. key: repeated with the same key and question, the first answer comes again.

        >>> reply = await client.generate_text("hello there", "support")
        >>> reply["text"], reply["usage"]["completion_tokens"]
        ('hello there', 2)
        """
        body = {"model": model_id, "messages": [{"role": "user", "content": prompt}], **parameters}
        if user_id:
            body["user"] = user_id
        headers = {"Idempotency-Key": key} if key else {}
        reply = await self._ask("POST", "/v1/chat/completions", body, headers=headers)
        text = reply["choices"][0]["message"].get("content") or ""
        return {"text": text, "call_id": reply["id"], "model_id": reply.get("model"), "usage": reply.get("usage")}

    async def give_feedback(
        self, call_id: str, kind: str, value: str | float, *, user_id: str = "", key: str = ""
    ) -> dict[str, Any]:
        """What a person says of an answer: thumb "up"/"down", score 0-10, comment, demonstration.

        >>> call = (await client.generate_text("hi", "support"))["call_id"]
        >>> (await client.give_feedback(call, "thumb", "up", user_id="anna"))["value"]
        'up'
        """
        body = {"call": call_id, "kind": kind, "value": value, "user": user_id}
        return await self._ask("POST", "/feedback", body, headers={"Idempotency-Key": key} if key else {})

    # --- quality

    async def assess_quality(
        self,
        prompt: str = "",
        response: str = "",
        criteria: Sequence[str] | Mapping[str, str] = (),
        *,
        call_id: str = "",
        reference: str = "",
    ) -> dict[str, Any]:
        """Scores of an answer, or of a stored call: "relevance_score" and so on, and "overall_score", 0 to 1.

        A score that nothing can measure is None. criteria: names, or a mapping that gives your own their sentences.
        "details" has each score's method and its agreement with people.

        >>> found = await client.assess_quality("How do I oil a chain?", "Wipe the chain and oil it.", ["relevance"])
        >>> found["relevance_score"] > 0.5, found["details"][0]["method"]
        (True, 'stems')
        """
        wanted = dict(criteria) if isinstance(criteria, Mapping) else list(criteria)
        body: dict[str, Any] = {"criteria": wanted, "reference": reference}
        body |= {"call": call_id} if call_id else {"question": prompt, "answer": response}
        found = await self._ask("POST", "/quality", body)
        # Methods come from the plainest to the surest: the last one that says something counts.
        by_name: dict[str, Any] = {}
        for score in found["scores"]:
            name = f"{score['criterion']}_score"
            by_name[name] = by_name.get(name) if score["value"] is None else score["value"]
        return {**by_name, "overall_score": found["overall_score"], "details": found["scores"]}

    async def get_quality_stats(self, model_id: str = "", days: float = 7.0) -> dict[str, Any]:
        """Means, course and agreement with people of every criterion and method.

        >>> sorted(await client.get_quality_stats("active", days=30))
        ['answers', 'criteria', 'days', 'model_id']
        """
        return await self._ask("GET", f"/quality/stats?model={quote(model_id, safe='')}&days={days:g}")

    # --- A/B tests

    async def create_ab_test(
        self,
        name: str,
        model_id: str,
        variant_a: str,
        variant_b: str,
        traffic_split: float = 0.5,
        test_duration_days: float = 14.0,
        success_metrics: Sequence[str] = ("response_time", "quality_score", "user_satisfaction"),
        **more: Any,
    ) -> dict[str, Any]:
        """Begin a test between two variants of the task `model_id`; traffic_split: the share of variant_b.

        >>> test = await client.create_ab_test("tone", "support", "small", "big", traffic_split=0.3)
        >>> test["status"], test["traffic_split"]
        ('running', 0.3)
        """
        if not 0 < traffic_split < 1:
            raise BadInput(_("traffic_split is between 0 and 1"))
        body = {
            "name": name, "task": model_id, "arms": {"a": variant_a, "b": variant_b},
            "weights": {"a": 1 - traffic_split, "b": traffic_split}, "days": test_duration_days,
            "metrics": list(success_metrics), **more,
        }  # fmt: skip
        return _test(await self._ask("POST", "/experiments", body))

    async def select_model_for_ab_test(self, test_id: str, user_id: str) -> dict[str, Any]:
        """Which variant a user meets: always the same one.

        >>> test = await client.create_ab_test("length", "support", "small", "big")
        >>> first = await client.select_model_for_ab_test(test["test_id"], "anna")
        >>> again = await client.select_model_for_ab_test(test["test_id"], "anna")
        >>> first == again, first["model"] in ("small", "big")
        (True, True)
        """
        found = await self._ask("POST", f"/experiments/{quote(test_id, safe='')}/select", {"user": user_id})
        return {"test_id": test_id, "variant": found["arm"], "model": found["variant"], "share": found["share"]}

    async def record_ab_test_result(
        self, test_id: str, *, metric: str, value: float, user_id: str = "", variant: str = "", key: str = ""
    ) -> dict[str, Any]:
        """Report a measurement; the same key again adds nothing.

        >>> test = await client.create_ab_test("sales", "support", "small", "big", success_metrics=["sales"])
        >>> result = {"metric": "sales", "value": 3.5, "user_id": "anna", "key": "order-17"}
        >>> (await client.record_ab_test_result(test["test_id"], **result))["recorded"]
        True
        >>> (await client.record_ab_test_result(test["test_id"], **result))["recorded"]
        False
        """
        body = {"metric": metric, "value": value, "user": user_id, "arm": variant}
        headers = {"Idempotency-Key": key} if key else {}
        found = await self._ask("POST", f"/experiments/{quote(test_id, safe='')}/outcomes", body, headers=headers)
        return {"test_id": test_id, "variant": found["arm"], "recorded": found["added"]}

    async def get_ab_test(self, test_id: str) -> dict[str, Any]:
        """How a test stands: its verdict, with the method beside every number.

        >>> test = await client.create_ab_test("calm", "support", "small", "big")
        >>> (await client.get_ab_test(test["test_id"]))["verdict"]["decision"]
        'not enough data'
        """
        return await self._ask("GET", f"/experiments/{quote(test_id, safe='')}/verdict")

    async def stop_ab_test(self, test_id: str, note: str = "") -> dict[str, Any]:
        """End a test; what serves stays as it is.

        >>> test = await client.create_ab_test("over", "support", "small", "big")
        >>> (await client.stop_ab_test(test["test_id"]))["status"]
        'stopped'
        """
        return _test(await self._ask("POST", f"/experiments/{quote(test_id, safe='')}/stop", {"note": note}))

    # --- optimisation

    async def optimize_model(
        self, model_id: str, target_metrics: Mapping[str, float] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Measure what a version can be served as on the server's machine; needs the installation's owner.

        target_metrics: max_mb, min_tokens_per_second, max_kl, any of them. more: quants, threads, context, parallel,
        rounds, deadline, again, as POST /optimisations takes them. The same call goes on with what was interrupted.

        >>> begun = await client.optimize_model("tiny", {"max_mb": 0.05}, threads=[1], rounds=1)
        >>> begun["target_metrics"]["max_mb"], begun["status"] in ("running", "completed")
        (0.05, True)
        """
        body = {"model": model_id, "targets": dict(target_metrics or {}), **more}
        return _optimisation(await self._ask("POST", "/optimisations", body))

    async def get_optimization_status(self, optimization_id: str) -> dict[str, Any]:
        """How far it is (progress: 0 to 1), what is measured by now; once it is completed, "best": the chosen rung.

        status: running, interrupted (ask for the same again), completed or failed. best is None with "feasible" False
        when nothing here meets the targets; "nearest" is then what came nearest, and "reason" says by how much.

        >>> begun = await client.optimize_model("tiny", {"max_mb": 0.05}, threads=[1], rounds=1)
        >>> found = await client.get_optimization_status(begun["optimization_id"])
        >>> [rung["quant"] for rung in found["results"]], 0 <= found["progress"] <= 1
        (['q8_0'], True)
        """
        return _optimisation(await self._ask("GET", f"/optimisations/{quote(optimization_id, safe='')}"))

    # --- figures

    async def get_system_health(self) -> dict[str, Any]:
        """What serves now, the engines and their breakers, what went wrong last.

        >>> (await client.get_system_health())["status"]
        'ok'
        """
        return await self._ask("GET", "/health")

    async def get_system_health_history(self, hours: float = 24.0) -> list[dict[str, Any]]:
        """A sample a minute: processor, memory, disk, database, engines.

        >>> [sample["cpu_percent"] >= 0 for sample in (await client.get_system_health_history(hours=1))][:1]
        [True]
        """
        found: list[dict[str, Any]] = (await self._ask("GET", f"/health/history?hours={hours:g}"))["data"]
        return found

    async def get_model_stats(self, model_id: str, days: float = 7.0) -> dict[str, Any]:
        """Requests, errors, latency percentiles, tokens, satisfaction of one model.

        >>> (await client.get_model_stats("never-asked"))["total"] is None
        True
        """
        return await self._ask("GET", f"/stats/models/{quote(model_id)}?days={days:g}")

    async def get_system_stats(self, days: float = 7.0) -> dict[str, Any]:
        """All models with their share of the requests.

        >>> sorted(await client.get_system_stats())[:3]
        ['cache_hits', 'cost', 'days']
        """
        return await self._ask("GET", f"/stats?days={days:g}")

    async def list_models(self) -> list[str]:
        """Names a request may give as its model.

        >>> "support/big" in await client.list_models()
        True
        """
        return [model["id"] for model in (await self._ask("GET", "/v1/models"))["data"]]

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            reply = await self._http.request(method, path, json=body, headers=headers)
        except httpx.TimeoutException as problem:
            raise EngineTimeout(_("the server did not answer in time")) from problem
        except httpx.TransportError as problem:
            raise EngineDown(
                _("nobody answers at {url}").format(url=self._http.base_url), fix=_("Start it with `tuneloop serve`.")
            ) from problem
        if reply.status_code >= 400 and path != "/health":
            raise _error(reply)
        try:
            found = reply.json()
        except ValueError as problem:
            raise EngineError(_("the server's answer is no JSON")) from problem
        assert isinstance(found, dict)
        return found


def _test(found: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment under the source story's names."""
    arms = {arm["name"]: arm for arm in found["design"]["arms"]}
    return {
        "test_id": found["id"], "name": found["name"], "model_id": found["task"], "status": found["state"],
        "variant_a": arms["a"]["variant"], "variant_b": arms["b"]["variant"],
        "traffic_split": round(arms["b"]["share"], 6), "start_date": found["created"], "end_date": found["ends"],
        "success_metrics": [metric["name"] for metric in found["design"]["metrics"] if metric["role"] == "goal"],
    }  # fmt: skip


def _optimisation(found: Mapping[str, Any]) -> dict[str, Any]:
    """An optimisation under the source story's names."""
    choice = found["choice"] or {"decision": "", "row": None, "why": ""}
    row = None if choice["row"] is None else found["rows"][choice["row"]]
    feasible = choice["decision"] == "chosen"
    return {
        "optimization_id": found["id"], "model_id": found["version"],
        "status": "completed" if found["state"] == "done" else found["state"], "progress": found["progress"],
        "stage": found["stage"], "error": found["error"],
        "target_metrics": {name: value for name, value in found["targets"].items() if value is not None},
        "results": found["rows"], "feasible": feasible if found["choice"] else None,
        "best": row if feasible else None, "nearest": None if feasible else row, "reason": choice["why"],
    }  # fmt: skip


def _error(reply: httpx.Response) -> TuneloopError:
    try:
        said = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = reply.text[:300] or f"HTTP {reply.status_code}"
    kind = KINDS.get(reply.status_code, EngineError)
    if kind is TooMany:
        return TooMany(said, retry_after=float(reply.headers.get("retry-after", 1)))
    return kind(said)
