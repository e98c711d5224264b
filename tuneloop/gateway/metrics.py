"""`/metrics` for Prometheus: the server's counters under the names that dashboards of this kind know.

Names of parts that do not exist yet are left out: a constant zero would look like a figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from tuneloop import journal
from tuneloop.access.caller import Caller
from tuneloop.errors import Refused, Unavailable
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.tally import Histogram, Line
from tuneloop.loop import optimisations
from tuneloop.texts import _

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

router = APIRouter(tags=["figures"])
LABELS = ("task", "variant", "model", "engine")  # bounded by the configuration; never a user
BREAKERS = {"closed": 0, "half open": 1, "open": 2}


@router.get("/metrics", responses=answers(), response_class=Response)
def metrics(request: Request, caller: Annotated[Caller, needs("reader")]) -> Response:
    """Counters and histograms in Prometheus' text format, of all teams together: only for keys that are of no team."""
    if caller.tenant:
        raise Refused(_("metrics are of all teams"), fix=_("GET /stats has the figures of yours."))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(request.app.state.desk))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class Collector:
    """Reads the tally whenever it is asked; nothing is done per request beyond adding to it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def collect(self) -> Iterator[Metric]:
        lines = list(self.desk.tally.lines.items())
        yield _counter("llm_requests", "Requests answered, by how they ended.", (*LABELS, "status"), (
            ((*key, status), n) for key, line in lines for status, n in line.statuses.items()
        ))  # fmt: skip
        yield _counter("llm_errors", "Failed requests, by kind.", (*LABELS, "kind"), (
            ((*key, code), n) for key, line in lines for code, n in line.errors.items()
        ))  # fmt: skip
        yield _counter(
            "llm_tokens_generated", "Tokens of answers.", LABELS, ((k, line.tokens_out) for k, line in lines)
        )
        yield _counter(
            "tuneloop_prompt_tokens", "Tokens of questions.", LABELS, ((k, line.tokens_in) for k, line in lines)
        )
        yield _counter("tuneloop_attempts", "Attempts at engines.", LABELS, ((k, line.attempts) for k, line in lines))
        yield _histograms("llm_response_time_seconds", "Time of a request, in all.", lines, "seconds")
        yield _histograms("tuneloop_first_piece_seconds", "Time to the first piece of a stream.", lines, "first")
        yield _histograms("llm_quality_score", "Score of answers by their task's checks, 0 to 1.", lines, "quality")
        yield from self._system(lines)

    def _system(self, lines: list[tuple[tuple[str, str, str, str], Line]]) -> Iterator[Metric]:
        desk = self.desk
        requests = sum(sum(line.statuses.values()) for _key, line in lines)
        hits = sum(line.cached for _key, line in lines)
        yield _gauge(
            "cache_hit_ratio", "Share of requests answered from the cache.", hits / requests if requests else 0.0
        )
        up = any(station.breaker.state != "open" for station in desk.engines.stations.values())
        yield _gauge("system_health_status", "1 while an engine takes requests.", float(up))
        yield _counter("tuneloop_refused", "Requests refused at the door, by reason.", ("reason",), (
            ((code,), n) for code, n in desk.tally.refused.items()
        ))  # fmt: skip
        yield from self._documents()
        yield _gauge(
            "tuneloop_journal_waiting_bytes", "Rows not yet in the database.", journal.waiting(desk.journal.folder)
        )
        yield _counter("tuneloop_untraced_calls", "Calls whose span did not fit.", (), (((), desk.spans.lost),))
        yield _counter(
            "tuneloop_unrecorded_calls", "Calls whose row was lost to a full disk.", (), (((), desk.journal.lost),)
        )
        yield _gauge("tuneloop_configuration_broken", "1 while tuneloop.toml is wrong and the last good one is used.",
                     float(desk.shelf.problem is not None))  # fmt: skip
        for name, what, read in (
            ("tuneloop_breaker_state", "0 closed, 1 half open, 2 open.", lambda s: BREAKERS[s.breaker.state]),
            ("tuneloop_running_requests", "Requests at the engine.", lambda s: s.running),
            ("tuneloop_waiting_requests", "Requests waiting for a place.", lambda s: s.waiting),
        ):
            family = GaugeMetricFamily(name, what, labels=("engine",))
            for engine, station in desk.engines.stations.items():
                family.add_metric((engine,), read(station))
            yield family
        results = GaugeMetricFamily(
            "ab_test_results",
            "Values of an experiment's metrics at its last look.",
            labels=("experiment", "arm", "metric"),
        )
        for labels, value in desk.test_results:
            results.add_metric(labels, value)
        yield results
        yield self._optimisations()

    def _optimisations(self) -> Metric:
        """The last ten: a row is read at every scrape, because another process writes it."""
        family = GaugeMetricFamily(
            "optimization_progress", "How far optimisations are, 0 to 1.", labels=("optimization", "version", "state")
        )
        try:
            found = optimisations.history(self.desk.workspace, tenant=None, most=10)
        except Unavailable:  # the other figures are worth having without these
            return family
        for one in found:
            family.add_metric((one.id, one.version, one.state), one.progress)
        return family

    def _documents(self) -> Iterator[Metric]:
        tally, library = self.desk.tally, self.desk.library
        for name, what, label, counted in (
            ("rag_search_requests", "Searches in documents, by what came of them.", "result", tally.searches),
            ("rag_generation_requests", "Answers from documents, by what came of them.", "result", tally.generations),
            ("vector_db_operations", "What was done to documents and their indexes.", "operation",
             {**tally.operations, "index": library.made}),
        ):  # fmt: skip
            yield _counter(name, what, (label,), (((kind,), n) for kind, n in list(counted.items())))
        yield _gauge("tuneloop_indexed_passages", "Passages whose index is in memory.", library.held)


def _counter(name: str, what: str, labels: tuple[str, ...], values: Any) -> Metric:
    family = CounterMetricFamily(name, what, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _histograms(name: str, what: str, lines: list[tuple[tuple[str, str, str, str], Line]], part: str) -> Metric:
    family = HistogramMetricFamily(name, what, labels=LABELS)
    for key, line in lines:
        histogram: Histogram = getattr(line, part)
        buckets, total = [], 0
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(key, buckets, histogram.sum)
    return family
