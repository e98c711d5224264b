"""The model that answers now, and the one thread that may change it.

A new version is loaded beside the old one, asked for a token, and only then takes its place; the old process goes
when its last request has ended. A version that cannot be loaded changes nothing but `status()["failure"]`. A
process that dies is started again, after 0.5 s, 1 s, 2 s ... 30 s.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop import versions
from tuneloop.answer.packed import Packed, check_unchanged, choose
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import BadInput, Conflict, EngineDown, EngineError, Missing, ModelRejected, TuneloopError
from tuneloop.records import Version, composed, folded
from tuneloop.texts import _
from tuneloop.workspace import Workspace

LOOK_EVERY = 0.2  # seconds between looks at the child: a poll of one pid
FOLLOW_EVERY = 1.0  # seconds between looks at the active row
LONGEST_PAUSE = 30.0
STEADY = 60.0  # a child that lived this long starts its next pause from the shortest again

log = logging.getLogger("tuneloop.serving")


@dataclass(eq=False)
class Model:
    """One loaded model. `leases` requests are using it; it is not stopped before they end."""

    packed: Packed
    engine: LlamaCpp
    since: float = field(default_factory=time.time)
    leases: int = 0
    retired: float = 0.0


class Serving:
    """Holds the child that answers. `start` it, `lease` a model for each request, `stop` it.

    file or version pin what is served; without them the workspace's active version is, and is followed.
    """

    def __init__(self, workspace: Workspace, *, file: Path | None = None, version: Version | None = None) -> None:
        self.workspace = workspace
        self.pinned = file is not None or version is not None
        self._file, self._version = file, version
        self._current: Model | None = None
        self._retired: list[Model] = []
        self._loading: LlamaCpp | None = None
        self._lock = threading.Lock()  # the fields above; never held while something is loaded
        self._switching = threading.Lock()  # one load at a time
        self._failure: dict[str, Any] | None = None
        self._restarts = 0
        self._pause = 0.5
        self._not_before = 0.0
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="serving", daemon=True)

    def start(self) -> None:
        """Load what is to be served. A version that cannot be loaded gives way to the one that served before it.

        Raises Missing when nothing is active or packed, ModelRejected, Damaged or Hostile when nothing can be loaded.
        """
        wanted = self._version
        if self._file is None and wanted is None:
            wanted = _active(self.workspace)
        try:
            self._current = self._load(self._packed(wanted))
        except TuneloopError as problem:
            before = versions.previous(self.workspace, wanted) if wanted and not self.pinned else None
            if wanted is None or before is None:
                raise
            self._note_failure(wanted, problem)
            self._current = self._load(self._packed(versions.find(self.workspace, before)))
        self._watcher.start()

    def stop(self) -> None:
        """Stop every child and the watcher."""
        self._stopping.set()
        if loading := self._loading:
            loading.stop()
        if self._watcher.is_alive():
            self._watcher.join(LONGEST_PAUSE)
        with self._lock:
            left, self._current, self._retired = [self._current, *self._retired], None, []
        for model in left:
            if model:
                model.engine.stop()

    @contextmanager
    def lease(self) -> Iterator[Model]:
        """The model for one request. Raises EngineDown while none is alive."""
        with self._lock:
            model = self._current
            if model is None or not model.engine.alive:
                raise EngineDown(
                    _("the model is being started again"), fix=_("Try again in {n} s.").format(n=self.retry_after)
                )
            model.leases += 1
        try:
            yield model
        finally:
            with self._lock:
                model.leases -= 1

    @property
    def retry_after(self) -> int:
        """Whole seconds after which a client may try again."""
        return max(1, round(self._not_before - time.monotonic()))

    @property
    def names(self) -> set[str]:
        """What a request may call the served model."""
        with self._lock:
            packed = self._current.packed if self._current else None
        return {"active", "tuneloop", ""} | ({packed.version, packed.name} if packed else set())

    def activate(self, reference: str, *, note: str = "", force: bool = False) -> Version:
        """Load a version, try it, make it the active one, and switch to it. On any error everything stays as it is.

        Raises what `versions.find` and `versions.activate` raise, ModelRejected, and Conflict while another switch
        is under way or when the server was started with a fixed model.
        """
        if self.pinned:
            raise Conflict(
                _("this server was started with a fixed model"), fix=_("Start it without --model and --version.")
            )
        if not self._switching.acquire(blocking=False):
            raise Conflict(_("another version is being loaded"), fix=_("Wait for it, then try again."))
        try:
            version = versions.find(self.workspace, reference)
            versions.check_verdict(version, force=force)
            fresh = self._try_to_load(version) if self._serves() != version.id else None
            try:
                versions.activate(self.workspace, version, note=note, force=force)
            except BaseException:
                if fresh:
                    fresh.engine.stop()
                raise
            self._put(fresh)
            return versions.find(self.workspace, version.id)
        finally:
            self._switching.release()

    def status(self) -> dict[str, Any]:
        """What serves, whether it is what should, and what went wrong last; for /health."""
        with self._lock:
            model, failure = self._current, self._failure
        alive = model is not None and model.engine.alive
        serving = model and {
            "version": model.packed.version,
            "name": model.packed.name,
            "quant": model.packed.quant,
            "file": model.packed.path.name,
            "since": int(model.since),
            "restarts": self._restarts,
        }
        state = ("degraded" if failure else "ok") if alive else "down"
        return {"status": state, "serving": serving, "failure": failure}

    def _serves(self) -> str:
        with self._lock:
            return self._current.packed.version if self._current else ""

    def _packed(self, version: Version | None) -> Packed:
        if version is not None:
            return choose(self.workspace, version)
        assert self._file is not None
        return Packed(self._file, "file:" + self._file.name, self._file.stem, "")

    def _load(self, packed: Packed, *, verify: bool = True) -> Model:
        """A model that has proved that it answers."""
        settings = self.workspace.settings
        if verify:
            check_unchanged(packed)
        engine = LlamaCpp(
            packed.path, context=settings.integer("serve.context"), parallel=settings.integer("serve.parallel")
        )
        self._loading = engine
        try:
            engine.start()
            try_out(engine)
        except BaseException:
            engine.stop()
            raise
        finally:
            self._loading = None
        return Model(packed, engine)

    def _try_to_load(self, version: Version) -> Model:
        try:
            return self._load(self._packed(version))
        except (EngineError, BadInput) as problem:
            self._note_failure(version, problem)
            raise

    def _put(self, fresh: Model | None) -> None:
        with self._lock:
            self._failure = None
            if fresh is None:
                return
            if self._current:
                self._current.retired = time.time()
                self._retired.append(self._current)
            self._current, self._restarts, self._pause = fresh, 0, 0.5

    def _watch(self) -> None:
        followed = time.monotonic()
        while not self._stopping.wait(LOOK_EVERY):
            try:
                self._bury()
                self._revive()
                if not self.pinned and time.monotonic() - followed >= FOLLOW_EVERY:
                    followed = time.monotonic()
                    self._follow()
            except Exception:  # the watcher outlives every single problem, a full disk included
                log.exception("the watcher goes on after an error")

    def _bury(self) -> None:
        """Stop replaced models whose requests have ended or had all the time a request may take."""
        limit = self.workspace.settings.number("serve.timeout") + 5
        with self._lock:
            done = [m for m in self._retired if m.leases == 0 or time.time() - m.retired > limit]
            self._retired = [m for m in self._retired if m not in done]
        for model in done:
            model.engine.stop()

    def _revive(self) -> None:
        """Start a dead child again, with growing pauses."""
        model = self._current
        if model is None or model.engine.alive or time.monotonic() < self._not_before:
            return
        if not self._switching.acquire(blocking=False):
            return
        try:
            if time.time() - model.since > STEADY:
                self._pause = 0.5
            log.warning("the model's process died: %s", model.engine.reason())
            self._not_before = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            fresh = self._load(model.packed, verify=False)
            model.engine.stop()
            with self._lock:
                self._current = fresh
                self._restarts += 1
        except TuneloopError as problem:
            with self._lock:
                self._failure = {"version": model.packed.version, "reason": problem.message, "time": int(time.time())}
        finally:
            self._switching.release()

    def _follow(self) -> None:
        """Switch when another process has activated a version."""
        try:
            wanted = _active(self.workspace)
        except Missing:
            return
        if not self._switching.acquire(blocking=False):
            return
        try:
            failed = (self._failure or {}).get("version")
            if wanted.id not in (self._serves(), failed):
                self._put(self._load(self._packed(wanted)))
        except TuneloopError as problem:
            self._note_failure(wanted, problem)
        finally:
            self._switching.release()

    def _note_failure(self, version: Version, problem: TuneloopError) -> None:
        log.error("version %s cannot be served: %s", version.id, problem.message)
        with self._lock:
            self._failure = {"version": version.id, "reason": problem.message, "time": int(time.time())}
        versions.record_failure(self.workspace, version, problem.message)


def shaped(model: Model, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a request in the form the model was trained on: without a system role where its template has
    none, in the normal form of its tokenizer. Nothing to do, for most models: the same list."""
    packed = model.packed
    if not packed.system_role:
        messages = folded(messages)
    return composed(messages, packed.normalise) if packed.normalise else messages


def try_out(engine: LlamaCpp) -> None:
    """Ask for one token. Raises ModelRejected unless it comes: a file may load and die of its first request."""
    question = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 1}
    try:
        answered = engine.post("/v1/chat/completions", question, seconds=60)
    except EngineError as problem:
        raise ModelRejected(
            _("{model} was loaded but does not answer: {problem}").format(
                model=engine.model.name, problem=problem.message
            ),
            fix=_("Make the file again with `tuneloop pack`, or choose another one."),
        ) from problem
    if not answered.get("choices"):
        raise ModelRejected(_("{model} was loaded but answers nothing").format(model=engine.model.name))


def rehearse(workspace: Workspace, version: Version) -> Packed:
    """Load a version, ask it for one token, let it go. Raises Missing when it is not packed, else what `_load` raises.

    For who activates without a server: what cannot be loaded should never become active. The failure is noted.
    """
    serving = Serving(workspace, version=version)
    packed = choose(workspace, version)
    serving._try_to_load(version).engine.stop()
    return packed


def _active(workspace: Workspace) -> Version:
    try:
        return versions.find(workspace, "active")
    except Missing:
        raise Missing(
            _("no version is active yet"),
            fix=_(
                "Judge and activate one (`tuneloop gate`, `tuneloop versions activate`), or name a file with --model."
            ),
        ) from None
