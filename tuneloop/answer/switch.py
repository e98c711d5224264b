"""The quality switch: when an enhanced model's answer is good enough, and when the original answers instead.

An answer is scored: by the score learned from clicks once that is calibrated, by the task's checks before. The
threshold is certified on labelled answers (`threshold.calibrate`); with fewer than 100 labels it says "uncalibrated"
and the switch stays off unless it is forced.

What is in force is the newest row of the table `switches`, threshold and score together: every process of a gateway
acts alike, after a restart too, and every change is there to be read with its evidence. An automatic change is made
at most once in a window (the setting quality.window), whatever the clicks do meanwhile, so that people do not meet
another model every minute; a person's decision is taken up at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, func, insert, select

from tuneloop.answer import checks, labels
from tuneloop.answer.book import Book
from tuneloop.answer.labels import Label
from tuneloop.answer.learned import Learned, Scorer, learn
from tuneloop.answer.tasks import Shelf
from tuneloop.answer.threshold import NO_BAR, Calibration, calibrate
from tuneloop.db.tables import switches
from tuneloop.errors import BadInput, Damaged, Missing
from tuneloop.records import Task
from tuneloop.texts import _
from tuneloop.workspace import Workspace

NARROW = 0.05  # thresholds closer than this are the same: over 1,400 clicks, one by one, 4 changes are left of 30
LAG = 120.0  # seconds after a change in which other processes may not have taken it up yet
AUTOMATIC = ("calibrated", "uncalibrated", "unsafe")
MODES = {"on": "forced", "off": "off", "auto": "auto"}


@dataclass(frozen=True, slots=True)
class InForce:
    """The newest row of a task. scorer: None: the share of the checks that hold."""

    on: bool
    threshold: float | None
    state: str
    time: float
    scorer: Scorer | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def bar(self) -> float | None:
        """The score an answer must reach now; None: the switch is off."""
        return self.threshold if self.state in ("calibrated", "forced") else None


class Switch:
    """The thresholds in force, by task; read by the hot path, learned from the database now and then."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._in_force: dict[str, InForce] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._rest: dict[str, float] = {}
        self.state: dict[str, Calibration] = {}  # what the last look found, in force or not

    def threshold(self, task: Task) -> float | None:
        """The score an enhanced answer must reach; None: the switch is off."""
        if task.switch == "forced":
            return task.threshold
        found = self._in_force.get(task.name) if task.switch == "auto" else None
        return found.bar if found else None

    def score(self, task: Task, question: str, answer: str) -> float:
        """0 to 1, on the scale of `threshold`: the probability of being right, or the share of checks that hold."""
        found = self._in_force.get(task.name) if task.switch == "auto" else None
        return scored(task, found.scorer if found else None, question, answer)

    def refresh(self, book: Book, *, every: float = 60.0) -> None:
        """Take up what is in force, and learn where the switch is "auto" and there are new clicks. Blocking.

        A task is looked at once in `every` seconds, and rests twenty times as long as learning took: learning never
        takes more than a twentieth of a processor.
        """
        for task in book.tasks.values():
            began = time.monotonic()
            if began < self._rest.get(task.name, float("-inf")):
                continue
            self._take_up(task, note_mode(self._workspace, task))
            if task.switch == "auto":
                self._learn_if_new(task)
            spent = time.monotonic() - began
            self._rest[task.name] = began + max(every, 20 * spent)

    def learn(self, workspace: Workspace, task: Task, *, now: float | None = None) -> Calibration:
        """Calibrate from the labels there are; a change that is taken up becomes a row. now: Unix seconds."""
        past = history(workspace, task.name)
        gathered = labels.of_task(workspace, task, without=task.original)
        target = workspace.settings.number("quality.target_error")
        found, learned, scorer = weigh(task, gathered.labels, past, target)
        self.state[task.name] = found
        evidence = found.as_dict() | {"people": gathered.people, "most_from_one": gathered.most}
        evidence |= {"learned": learned.as_dict(), "scorer": scorer.as_dict() if scorer else None}
        self._take_up(task, propose(workspace, task.name, found, evidence, now))
        return found

    def _learn_if_new(self, task: Task) -> None:
        seen = labels.stamp(self._workspace, task.name)
        if seen == self._seen.get(task.name):
            return
        found = self.learn(self._workspace, task)
        now = self._in_force.get(task.name)
        if same(now.bar if now else None, found.threshold):  # else the window holds it back: ask again
            self._seen[task.name] = seen

    def _take_up(self, task: Task, row: InForce | None) -> None:
        if row is not None:
            self._in_force[task.name] = row


def weigh(
    task: Task, found: Sequence[Label], past: Sequence[InForce], target: float
) -> tuple[Calibration, Learned, Scorer | None]:
    """The calibration of the labels, what was learned from those given without a bar, and the scorer it holds for.

    past: the task's changes, newest first. While the switch is on its scorer stays: answers under the bar are not
    marked any more, so only those from before tell what another score would let through.
    """
    rows = [(label, next((row for row in past if row.time <= label.time), None)) for label in found]
    settled = [(label, row) for label, row in rows if row is None or label.time - row.time > LAG]
    free = [label for label, row in settled if row is None or row.threshold is None]
    learned = learn(free, task.checks)
    scorer = past[0].scorer if past and past[0].state == "calibrated" else trusted(learned)
    # A bar on another scale hid answers that this scale cannot name: such labels are left out.
    under = [(label, row) for label, row in settled if row and row.state == "calibrated" and row.scorer == scorer]
    barred = [(label, row.threshold) for label, row in under if row.threshold is not None]
    if scorer is not None and len(learned.out_of_fold) == len(free):
        scores = list(learned.out_of_fold)
    else:
        scores = [scored(task, scorer, label.question, label.answer) for label in free]
    scores += [scored(task, scorer, label.question, label.answer) for label, _bar in barred]
    bars = [NO_BAR] * len(free) + [bar for _label, bar in barred]
    right = [label.right for label in free] + [label.right for label, _bar in barred]
    return calibrate(scores, right, bars, target=target), learned, scorer


def trusted(learned: Learned) -> Scorer | None:
    """The learned score when it is calibrated and surely better than a coin; None: the checks score."""
    better = learned.agreement.low is not None and learned.agreement.low > 0.5
    return learned.scorer if learned.state == "calibrated" and better else None


def scored(task: Task, scorer: Scorer | None, question: str, answer: str) -> float:
    if scorer is not None:
        return scorer.probability(question, answer, task.checks)
    return checks.score(task.checks, question, answer)[0] if task.checks else float(bool(answer.strip()))


def propose(
    workspace: Workspace, name: str, found: Calibration, evidence: dict[str, Any], now: float | None = None
) -> InForce | None:
    """Make a row of a calibration and return it, unless it is much the same as what is in force, or the last
    automatic change is less than a window ago: then None. now: Unix seconds."""
    now = time.time() if now is None else now
    window = workspace.settings.number("quality.window")
    with workspace.db.write() as rows:
        one_at_a_time(rows, name)
        past = _past(rows, name)
        last = next((row for row in past if row.state in AUTOMATIC), None)
        if last is not None and now - last.time < window:
            return None
        if same(past[0].bar if past else None, found.threshold):
            return None
        return _insert(rows, name, now, found.threshold, evidence | {"by": "labels"})


def same(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) < NARROW


def set_mode(shelf: Shelf, name: str, mode: str, threshold: float | None = None, *, by: str = "") -> Task:
    """Force a task's switch on (at `threshold`, a share of checks that hold) or off, or let the labels decide.

    mode: "on", "off", "auto". Written into tuneloop.toml; the change is a row. Raises Missing for an unknown task,
    BadInput for a task that has nothing to switch to.
    """
    if name not in shelf.book.tasks:
        raise Missing(_("there is no task '{name}'").format(name=name), fix=_("`tuneloop tasks list` shows them."))
    if mode not in MODES:
        raise BadInput(_("'{mode}' is no mode").format(mode=mode), fix=_("Use on, off or auto."))
    fields: dict[str, Any] = {"switch": MODES[mode]}
    if threshold is not None:
        fields["threshold"] = threshold
    task = shelf.put_task(name, fields, keep=True)
    note_mode(shelf.workspace, task, by=by)
    return task


def note_mode(workspace: Workspace, task: Task, *, by: str = "") -> InForce | None:
    """What is in force for a task, after a row was written of a decision in tuneloop.toml that has none yet."""
    with workspace.db.read() as rows:
        past = _past(rows, task.name, 1)
    if _noted(past, task):
        return past[0] if past else None
    with workspace.db.write() as rows:
        one_at_a_time(rows, task.name)
        past = _past(rows, task.name, 1)
        if _noted(past, task):
            return past[0] if past else None
        evidence = {"state": task.switch, "by": by or "tuneloop.toml"}
        bar = task.threshold if task.switch == "forced" else None
        return _insert(rows, task.name, time.time(), bar, evidence)


def history(workspace: Workspace, name: str) -> list[InForce]:
    """Every change of a task's switch, newest first."""
    with workspace.db.read() as rows:
        return _past(rows, name)


def standing(workspace: Workspace, task: Task) -> dict[str, Any]:
    """How a task's switch stands, for people: its mode, what is in force since when, on what evidence."""
    mode = next(mode for mode, written in MODES.items() if written == task.switch)
    past = history(workspace, task.name)
    shown = {"task": task.name, "mode": mode, "original": task.original, "changes": len(past)}
    if not past:
        state = "uncalibrated" if mode == "auto" else mode
        return shown | {"on": mode == "on", "state": state, "threshold": None, "since": None, "evidence": {}}
    now = past[0]
    evidence = {key: value for key, value in now.evidence.items() if key != "scorer"}
    return shown | {
        "on": now.on, "state": now.state, "threshold": now.threshold, "since": now.time, "evidence": evidence,
    }  # fmt: skip


def one_at_a_time(rows: Connection, name: str) -> None:
    """Until this transaction ends no other process changes the switch of this task (SQLite has one writer anyway)."""
    if rows.dialect.name == "postgresql":
        rows.execute(select(func.pg_advisory_xact_lock(crc32(f"switch:{name}".encode()))))


def _noted(past: Sequence[InForce], task: Task) -> bool:
    if not past:
        return task.switch != "forced"
    now = past[0]
    if task.switch == "forced":
        return now.state == "forced" and now.threshold == task.threshold
    return now.state == "off" if task.switch == "off" else now.state not in ("forced", "off")


def _past(rows: Connection, name: str, most: int = 1000) -> list[InForce]:
    chosen = select(switches).where(switches.c.task == name).order_by(switches.c.id.desc()).limit(most)
    return [_read(row) for row in rows.execute(chosen)]


def _read(row: Any) -> InForce:
    evidence = dict(row.evidence)
    state, written = str(evidence.get("state", "off")), evidence.get("scorer")
    try:
        scorer = Scorer.of(written) if written else None
    except Damaged:  # written by another version of the features: its threshold means nothing here
        return InForce(False, row.threshold, "outdated", row.time, None, evidence)
    return InForce(row.on, row.threshold, state, row.time, scorer, evidence)


def _insert(rows: Connection, name: str, now: float, threshold: float | None, evidence: dict[str, Any]) -> InForce:
    row = {"task": name, "time": now, "on": threshold is not None, "threshold": threshold, "evidence": evidence}
    rows.execute(insert(switches), [row])
    return _read(SimpleNamespace(**row))
