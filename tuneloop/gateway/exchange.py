"""One request from its bytes to its row: the hot path, in the order in which things happen.

    who asks (key, limits) -> what (task, variant, experiment) -> said before? (cache) -> ask an engine (one retry
    loop, one deadline) -> clean, check, perhaps the original instead (quality switch) -> row -> reply

Whatever ends a request, its client's leaving included, its row is written before the client sees the end of the
answer. Requests refused at the door (no key, no place, no such model) are counted but have no row: a flood of them
would fill the disk.
"""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec

from tuneloop.access.caller import Caller
from tuneloop.answer import attempts, cache, checks, cleaners, tasks
from tuneloop.answer.attempts import Attempt, Trail
from tuneloop.answer.route import Lane, Route
from tuneloop.errors import EngineError, TooMany, TuneloopError
from tuneloop.gateway import reading, shadows
from tuneloop.gateway.desk import Desk
from tuneloop.gateway.failures import Failure, explained, of_engine
from tuneloop.gateway.once import Once
from tuneloop.gateway.reading import Asked
from tuneloop.gateway.relay import Relay
from tuneloop.gateway.strict import strict_body
from tuneloop.gateway.wire import Client
from tuneloop.journal import Row
from tuneloop.texts import _

log = logging.getLogger("tuneloop.gateway")
encode = msgspec.json.Encoder().encode

PATHS = {b"/v1/chat/completions": "chat", b"/v1/completions": "completion", b"/v1/embeddings": "embedding"}
NEEDED = {"chat": "messages", "completion": "prompt", "embedding": "input"}
PREFIX = {"chat": "chatcmpl-", "completion": "cmpl-", "embedding": "emb-"}
STRICT = ("local", "llamacpp")  # engines whose server trusts numbers in JSON: only listed fields reach them


class Exchange:
    """One request. `run` never raises."""

    __slots__ = (
        "_key",
        "ask",
        "asked",
        "caller",
        "desk",
        "held",
        "lanes",
        "once",
        "out",
        "path",
        "route",
        "row",
        "until",
    )

    def __init__(self, desk: Desk, ask: Client) -> None:
        self.desk = desk
        self.ask = ask
        self.row: Row | None = None  # None while the request may still be refused at the door
        self.out: tuple[int, bytes, bytes] | None = None  # status (0: the end of a stream), header lines, body
        self.once = Once(desk, ask) if b"idempotency-key" in ask.headers else None
        self._key: tuple[str, bytes] = ("", b"")

    async def run(self) -> None:
        try:
            self._admit()
            await self._plan()
            if self.once and await self.once.replayed(self):
                pass
            elif not await self._from_cache():
                await self._answer()
        except asyncio.CancelledError:
            self._interrupted()
        except Failure as failure:
            self._failed(failure)
        except TooMany as problem:
            self.desk.refused += 1
            self._failed(Failure(503, "overloaded", problem.message, retry_after=max(1, round(problem.retry_after))))
        except TuneloopError as problem:
            self._failed(explained(problem, retry_after=self.desk.retry_after))
        except Exception:
            log.exception("a request met a bug of this server")
            self._failed(
                Failure(500, "internal_error", _("something went wrong here; the server's log has the details"))
            )
        await self._close()

    # --- who

    def _admit(self) -> None:
        headers = self.ask.headers
        self.desk.origin.check(headers)
        self.caller: Caller = self.desk.doorkeeper.caller(headers.get(b"authorization", b""))
        if self.caller.role == "reader":
            raise Failure(403, "refused", _("this key may read, not ask"))

    # --- what, and by whom it is answered

    async def _plan(self) -> None:
        ask, desk, caller = self.ask, self.desk, self.caller
        asked = self.asked = Asked(ask.body)
        kind = PATHS[ask.path]
        self.path = ask.path[3:].decode()
        asked.needs(NEEDED[kind])
        route, pinned = desk.engines.find(asked.model)
        if route is None:
            said = _("the model '{name}' is not served; GET /v1/models lists what is").format(name=asked.model[:100])
            raise Failure(404, "model_not_found", said, param="model")
        self.route: Route = route
        task = route.task
        if caller.scopes and task.name not in caller.scopes:
            raise Failure(403, "refused", _("this key may not ask for '{name}'").format(name=task.name))
        user = asked.user or caller.user
        await desk.limit("key:" + caller.key, desk.limit_key)
        who = user or desk.address(ask)  # without a name, everybody behind one address is one user
        await desk.limit(f"user:{caller.tenant}:{who}", desk.limit_user)
        await desk.limit(f"task:{caller.tenant}:{task.name}:{who}", task.limit)
        self.until = ask.began + (task.total or desk.timeout)
        self.row = row = Row(desk.new_id(PREFIX[kind]), time.time(), kind, msgspec.Raw(ask.body))
        row.tenant, row.key, row.user, row.tags, row.task = caller.tenant, caller.key, user, asked.tags, task.name
        self._choose(pinned, user or row.id)

    def _choose(self, pinned: Lane | None, unit: str) -> None:
        row, desk, asked = self.row, self.desk, self.asked
        assert row is not None
        if pinned is not None:
            self.lanes, row.reason = [pinned], "asked"
        elif (picked := desk.assigner.pick(row.tenant, row.task, unit)) and (lane := self.route.lane(picked[2])):
            row.experiment, row.arm, _variant, row.propensity = picked
            others = [other for other in self.route.lanes if other is not lane]
            self.lanes, row.reason = [lane, *others], "experiment"
        else:
            self.lanes, row.reason, row.propensity = desk.choose(self.route, asked, row.user)
        if not self.route.task.fallback:
            self.lanes = self.lanes[:1]
        self._credit(self.lanes[0])

    def _credit(self, lane: Lane) -> None:
        row = self.row
        assert row is not None
        row.variant, row.engine, row.model = lane.variant.name, lane.variant.engine, lane.variant.model

    # --- said before

    async def _from_cache(self) -> bool:
        task, row = self.route.task, self.row
        assert row is not None
        if not task.cache or row.experiment:  # an experiment compares answers, not memories
            return False
        found = await self.desk.recall(self._cache_key(row.variant))
        if found is None:
            return False
        row.cached, row.status, row.reason = True, "ok", "cache"
        reading.hear(row, found)
        body = reading.renamed(found, row.id)
        if self.asked.stream:
            self.ask.open_stream(self._head())
            self.out = (0, b"", reading.as_events(body))
        else:
            self.out = (200, self._head(), body)
        return True

    def _cache_key(self, variant: str) -> bytes:
        """Teams are kept apart, and every answer with the variant it is of."""
        if self._key[0] != variant:
            scope = f"{self.caller.tenant}/{variant}"
            self._key = (variant, cache.key(self.route.fingerprint, self.asked.fields, scope=scope))
        return self._key[1]

    # --- ask an engine

    async def _answer(self) -> None:
        row = self.row
        assert row is not None
        trail = Trail()
        self.held = self._held_back()
        try:
            answered = await attempts.attempt(
                self.lanes,
                self.path,
                self._body,
                stream=self.asked.stream and not self.held,
                until=self.until,
                retries=self.route.task.retries,
                trail=trail,
            )
        finally:
            row.attempts = trail.attempts
            if trail.failures:
                row.code = trail.failures[-1][1]
        if trail.failures:
            row.reason += f" fallback:{row.code}"
        row.code = ""
        self._credit(answered.lane)
        row.version = answered.reply.headers.get(b"x-tuneloop-version", b"").decode("utf-8", "replace")
        if answered.reply.status != 200:
            raise of_engine(answered.reply.status, answered.reply.body)
        if answered.reply.pieces is None:
            await self._whole(answered)
        else:
            await self._stream(answered)

    def _held_back(self) -> bool:
        """Whether the answer must be whole before the client sees any of it: it will be cleaned, or judged."""
        task = self.route.task
        return bool(task.cleaner or self.desk.switch.threshold(task) is not None)

    def _body(self, lane: Lane) -> bytes:
        return self.body(lane, stream=self.asked.stream and not self.held)

    def body(self, lane: Lane, *, stream: bool) -> bytes:
        """The request as a variant's engine gets it."""
        return body_for(self.route, lane, self.asked, self.path, self.desk.context, stream=stream)

    async def _whole(self, answered: Attempt) -> None:
        row, task = self.row, self.route.task
        assert row is not None
        body = answered.reply.body
        reading.hear(row, body)
        row.cost = answered.lane.cost(row.tokens_in, row.tokens_out)
        cleaned = cleaners.clean(task.cleaner, row.answer) if task.cleaner and row.kind == "chat" else row.answer
        if task.checks:
            row.quality, _passed = checks.score(task.checks, self.asked.text(), cleaned)
        if task.switch != "off" and answered.lane.variant.name != task.original and await self._switched(cleaned):
            return
        changed = cleaned if cleaned != row.answer else None
        row.answer, row.status = cleaned, "ok"
        if row.kind != "embedding":
            body = reading.renamed(body, row.id, changed)
        if task.cache and not row.experiment and cache.cacheable(self.asked.fields, 200):
            self.desk.remember(self._cache_key(row.variant), body, task.cache)
        if self.asked.stream:
            self.ask.open_stream(self._head())
            self.out = (0, b"", reading.as_events(body))
        else:
            self.out = (200, self._head(), body)

    async def _switched(self, text: str) -> bool:
        """The quality switch: whether the original variant answers instead of an answer that scored too little."""
        row, original = self.row, self.route.lane(self.route.task.original)
        assert row is not None
        bar = self.desk.switch.threshold(self.route.task)
        if bar is None or original is None:
            return False
        score = self.desk.switch.score(self.route.task, self.asked.text(), text)
        row.quality = score
        if score >= bar:
            return False
        shadow = msgspec.structs.replace(row, id=self.desk.new_id(PREFIX[row.kind]), parent=row.id, status="ok")
        self.desk.write(shadow)  # the answer nobody saw is a row too: it is what the threshold is learned from
        row.reason += f" switch:{score:.2f}<{bar:.2f}"
        answered = await attempts.attempt(
            [original], self.path, self._body, stream=False, until=self.until, retries=0, trail=Trail()
        )
        self._credit(answered.lane)
        if answered.reply.status != 200:
            raise of_engine(answered.reply.status, answered.reply.body)
        await self._whole(answered)
        return True

    async def _stream(self, answered: Attempt) -> None:
        row, pieces = self.row, answered.reply.pieces
        assert row is not None and pieces is not None
        relay = Relay(row.id, show_usage=self.asked.usage)
        good: bool | None = None  # of the engine; None: nothing is known, its client left
        try:
            async for events in relay.events(pieces):
                if not self.ask.opened:
                    row.first_ms = self._elapsed()
                    self.ask.open_stream(self._head())
                if self.once:
                    self.once.sent(events)
                await self.ask.send(events)
            good = relay.done
            if not relay.done:
                raise Failure(502, "truncated", _("the engine's answer was cut off"))
            row.status = "ok"
        except EngineError:
            good = False
            raise
        finally:
            answered.end(good)
            await pieces.aclose()
            row.answer = relay.answer
            row.tokens_in, row.tokens_out = relay.tokens
            row.cost = answered.lane.cost(row.tokens_in, row.tokens_out)
        if self.route.task.checks:
            row.quality, _passed = checks.score(self.route.task.checks, self.asked.text(), row.answer)
        if not self.ask.opened:
            self.ask.open_stream(self._head())
        self.out = (0, b"", b"data: [DONE]\n\n")

    # --- how it ends

    def _interrupted(self) -> None:
        """The task was cancelled: the client has left, reads too slowly, or the server closes."""
        if self.desk.closing and not self.ask.gone:
            self._failed(Failure(503, "closing", _("the server is being stopped"), retry_after=5))

    def _failed(self, failure: Failure) -> None:
        row = self.row
        if row is None:
            self.desk.tally.refused[failure.code] += 1
        else:
            row.status = "truncated" if self.ask.opened else "error"
            row.error, row.code = failure.message[:2000], row.code or failure.code
        if self.ask.opened:
            self.out = (0, b"", b"data: " + encode(failure.body) + b"\n\n")
        else:
            answer = failure.response
            names = (b"retry-after", b"www-authenticate")
            head = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers if pair[0] in names)
            self.out = (failure.status, head + (self._head() if row else b""), bytes(answer.body))

    async def _close(self) -> None:
        """Write the row (and the reply, where a key asks for it), then send the end of the answer."""
        row = self.row
        if self.once:
            await self.once.close(self)
        if row is not None and row.code != "overloaded":
            row.latency_ms = self._elapsed()
            self.desk.write(row, self.ask.headers.get(b"traceparent", b""))
        if self.out is None:  # the client has left
            self.ask.abandon()
            return
        status, head, body = self.out
        if status:
            self.ask.reply(status, head, body)
        else:
            self.ask.end_stream(body)
        if row is not None and row.status == "ok" and not row.cached:
            shadows.follow(self.desk, self)

    def _head(self) -> bytes:
        """Header lines that name the call and what answered it; file names may have any letters, headers only ASCII."""
        row = self.row
        assert row is not None
        version = b"x-tuneloop-version: %b\r\n" % row.version.encode("ascii", "replace") if row.version else b""
        hit = b"x-tuneloop-cache: hit\r\n" if row.cached else b""
        return b"x-tuneloop-call: %b\r\nx-tuneloop-variant: %b\r\n%b%b" % (
            row.id.encode(), row.variant.encode("ascii", "replace"), version, hit
        )  # fmt: skip

    def _elapsed(self) -> float:
        return round((time.monotonic() - self.ask.began) * 1000, 3)


def body_for(route: Route, lane: Lane, asked: Asked, path: str, context: int, *, stream: bool) -> bytes:
    """A request with the task's texts and the variant's parameters, as the variant's engine gets it.

    context: tokens of the served model's window.
    """
    messages = None
    if route.shaped and "messages" in asked.fields:
        messages = tasks.prepared(route.task, asked.messages())
    body = reading.laid(asked, lane.model, lane.parameters, messages, stream=stream)
    return strict_body(path, body, context) if lane.station.spec.kind in STRICT else body
