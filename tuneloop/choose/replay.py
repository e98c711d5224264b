"""Paired blind replay: two variants answer the same stored questions, and a person says which answer is better.

Comparing within a question takes out how hard questions are and who asks them, so that 50 clicks say what an A/B test
of traffic needs thousands of votes for. Which answer stands on the left is a fair coin of its own for each question
and person: under "no difference" every decided question is then a fair coin too, whatever somebody's liking for a
side, and the sign test over them (McNemar's exact test) is right for any number. Nothing says which variant is which
before the end, so that when to stop cannot depend on who leads: one look at a number that nobody chose by the result.

A replay is a row of `experiments` whose state is never "running": no request is divided by it.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from tuneloop.db.tables import experiments
from tuneloop.errors import Conflict, Missing
from tuneloop.stats import clicks_needed
from tuneloop.texts import _
from tuneloop.workspace import Workspace

LEAST = 20  # judged questions below which nothing is said; of fewer than 6 decided ones no result is rare enough
MOST = 1000
ALPHA = 0.05
OPEN, OVER = "replaying", "replayed"
METHOD = "two-sided exact sign test over decided questions (McNemar's exact test), Clopper-Pearson interval"

Decision = Literal["winner", "no winner", "not enough data"]
Outcome = Literal["a", "b", "tie", "skip", "same", "failed a", "failed b", "gone"]


@dataclass(frozen=True, slots=True)
class Replay:
    """questions: ids of stored calls in the order in which they are shown. fingerprint: of what shapes the answers."""

    id: str
    tenant: str
    task: str
    a: str
    b: str
    questions: tuple[str, ...]
    fingerprint: str
    salt: str
    state: str  # replaying replayed
    created: float
    verdict: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """share: of b among decided questions, with its interval. left, right: how often each side was preferred."""

    decision: Decision
    variant: str
    why: str
    a: str
    b: str
    wins_a: int
    wins_b: int
    ties: int
    skipped: int
    same: int  # both variants said the same: nobody was asked
    failed_a: int
    failed_b: int
    gone: int  # the question was removed meanwhile
    open: int  # not judged when the replay was ended
    share: float | None
    low: float
    high: float
    p: float
    left: int
    right: int
    more: int  # further questions to judge until the test would decide, if the share stays; 0: none, or no end in sight
    alpha: float = ALPHA
    method: str = METHOD
    notes: tuple[str, ...] = ()


def swapped(salt: str, question: str, rater: str) -> bool:
    """Whether variant b stands on the left for this person: a fair coin, the same at every look."""
    return bool(blake2b(f"{salt}\0{question}\0{rater}".encode("utf-8", "surrogatepass"), digest_size=8).digest()[0] & 1)


def settled(said: Iterable[str]) -> Outcome | None:
    """What several people's verdicts ("a", "b", "tie", "skip") on one question come to; those who differ make a tie."""
    heard = set(said)
    decided = heard - {"skip"}
    if len(decided) == 1:
        return decided.pop()  # type: ignore[return-value]
    return "tie" if decided else "skip" if heard else None


def sampled(found: Iterable[tuple[str, str, str]], n: int, salt: str) -> list[str]:
    """n of (id, user, text), each text once, by lot; a person's second question comes after everybody's first."""
    order = sorted(found, key=lambda one: blake2b(f"{salt}\0{one[0]}".encode(), digest_size=8).digest())
    seen: set[str] = set()
    asked: dict[str, int] = defaultdict(int)
    ranked = []
    for place, (identity, user, text) in enumerate(order):
        folded = " ".join(text.split()).casefold()
        if folded and folded not in seen:
            seen.add(folded)
            ranked.append((asked[user] if user else 0, place, identity))
            asked[user] += 1
    return [identity for _turn, _place, identity in sorted(ranked)[:n]]


def judge(
    a: str, b: str, outcomes: Sequence[Outcome | None], *, sides: tuple[int, int] = (0, 0), alpha: float = ALPHA
) -> ReplayVerdict:
    """From the outcome of each question (None: open) to a verdict that states its method.

    sides: how often the left answer was preferred, and how often the right one.
    """
    count = Counter(outcomes)
    wins_a, wins_b = count["a"], count["b"]
    decided, judged = wins_a + wins_b, wins_a + wins_b + count["tie"]
    p, low, high = sign_test(wins_b, decided, alpha)
    more = 0
    decision: Decision
    if judged < LEAST:
        decision, variant, more = "not enough data", "", LEAST - judged
        why = _("{n} judged questions, {least} are needed before anything is said").format(n=judged, least=LEAST)
    elif p <= alpha:
        decision, variant = "winner", b if wins_b > wins_a else a
        why = _("{variant} gave the better answer to {n} of {decided} decided questions (p = {p:.2g})").format(
            variant=variant, n=max(wins_a, wins_b), decided=decided, p=p
        )
    else:
        decision, variant = "no winner", ""
        why = _("{n} of {decided} decided questions went to {variant}: chance alone does that (p = {p:.2g})").format(
            n=max(wins_a, wins_b), decided=decided, variant=b if wins_b > wins_a else a, p=p
        )
        needed = clicks_needed(wins_b, decided, lambda k, n: sign_test(k, n, alpha)[0] <= alpha)
        more = round(needed * judged / decided) if needed else 0
    return ReplayVerdict(
        decision, variant, why, a, b, wins_a, wins_b, ties=count["tie"], skipped=count["skip"], same=count["same"],
        failed_a=count["failed a"], failed_b=count["failed b"], gone=count["gone"], open=count[None],
        share=wins_b / decided if decided else None, low=low, high=high, p=p, left=sides[0], right=sides[1],
        more=more, alpha=alpha, notes=_notes(*sides, alpha),
    )  # fmt: skip


def sign_test(wins: int, decided: int, alpha: float = ALPHA) -> tuple[float, float, float]:
    """p of `wins` out of `decided` fair coins (two-sided, exact), and the Clopper-Pearson interval of the share."""
    if not decided:
        return 1.0, 0.0, 1.0
    from scipy.stats import binomtest

    test = binomtest(wins, decided)
    interval = test.proportion_ci(1 - alpha, method="exact")
    return float(test.pvalue), float(interval.low), float(interval.high)


def _notes(left: int, right: int, alpha: float) -> tuple[str, ...]:
    if sign_test(left, left + right)[0] > alpha:
        return ()
    side = _("the left answer was preferred {n} times of {clicks}: a liking for a side, which only adds noise here")
    return (side.format(n=left, clicks=left + right),)


# --- rows


def create(
    workspace: Workspace, *, task: str, a: str, b: str, questions: Sequence[str], fingerprint: str, salt: str,
    tenant: str = "", by: str = "",
) -> Replay:  # fmt: skip
    """Begin a replay, or return the one of these two variants that is open already."""
    identity = "rp-" + secrets.token_hex(8)
    design = {"mode": "replay", "a": a, "b": b, "questions": list(questions), "fingerprint": fingerprint, "by": by}
    row = {
        "id": identity, "tenant": tenant, "name": identity, "task": task, "design": design, "salt": salt,
        "state": OPEN, "created": time.time(), "ends": None, "verdict": None,
    }  # fmt: skip
    with workspace.db.write() as rows:
        if known := _open_one(rows, tenant, task, a, b):
            return known
        rows.execute(insert(experiments), [row])
    return find(workspace, identity, tenant=tenant)


def open_one(workspace: Workspace, *, task: str, a: str, b: str, tenant: str = "") -> Replay | None:
    """The open replay of these two variants, named in either order."""
    with workspace.db.read() as rows:
        return _open_one(rows, tenant, task, a, b)


def find(workspace: Workspace, identity: str, *, tenant: str | None = "") -> Replay:
    """By id. Raises Missing, also for another team's."""
    chosen = _all(tenant).where(experiments.c.id == identity)
    with workspace.db.read() as rows:
        row = rows.execute(chosen).first()
    if row is None:
        raise Missing(_("there is no replay '{name}'").format(name=identity[:100]))
    return _replay(row)


def history(workspace: Workspace, *, tenant: str | None = "", state: str | None = None) -> list[Replay]:
    """Newest first; tenant None: of all teams."""
    chosen = _all(tenant).order_by(experiments.c.created.desc(), experiments.c.id)
    if state is not None:
        chosen = chosen.where(experiments.c.state == state)
    with workspace.db.read() as rows:
        return [_replay(row) for row in rows.execute(chosen)]


def hold_open(rows: Connection, replay: Replay) -> None:
    """Keep the replay from ending until this transaction does. Raises Conflict once it is over."""
    state = select(experiments.c.state).where(experiments.c.id == replay.id).with_for_update()
    if rows.execute(state).scalar() != OPEN:
        raise Conflict(_("this replay is over"), fix=_("Begin another one."))


def close(rows: Connection, replay: Replay, said: ReplayVerdict) -> None:
    """End it with its verdict; what was said stays as it is from now on."""
    ended = {"state": OVER, "ends": time.time(), "verdict": asdict(said) | {"notes": list(said.notes)}}
    rows.execute(update(experiments).where(experiments.c.id == replay.id).values(**ended))


def _open_one(rows: Connection, tenant: str, task: str, a: str, b: str) -> Replay | None:
    chosen = _all(tenant).where(experiments.c.task == task, experiments.c.state == OPEN)
    found = (_replay(row) for row in rows.execute(chosen.order_by(experiments.c.created)))
    return next((one for one in found if {one.a, one.b} == {a, b}), None)


def _all(tenant: str | None) -> Any:
    chosen = select(experiments).where(experiments.c.id.startswith("rp-"))
    return chosen if tenant is None else chosen.where(experiments.c.tenant == tenant)


def _replay(row: Any) -> Replay:
    design: Mapping[str, Any] = row.design
    return Replay(
        row.id, row.tenant, row.task, design["a"], design["b"], tuple(design["questions"]), design["fingerprint"],
        row.salt, row.state, row.created, row.verdict,
    )  # fmt: skip
