"""The last good configuration of a workspace, and changes to it.

The file is the truth: people edit it, the API and the command line edit it, comments and order stay. Whoever reads
`Shelf.book` gets a whole book that was whole in the file; a file that is wrong, half-written or gone changes nothing
and is said loudly (`Shelf.problem`, the log, a counter).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from tuneloop.answer import edits, holds
from tuneloop.answer.book import LOCAL, Book, Stamp, load, of_tree, parse, read, stamp_of
from tuneloop.answer.edits import Tree
from tuneloop.errors import BadInput, Conflict, Missing, TuneloopError
from tuneloop.records import EngineSpec, Task, Variant
from tuneloop.texts import _
from tuneloop.workspace import Workspace, write_atomically

# Seconds a changed file must have been still before it is read: one that is being overwritten may at any moment be
# valid TOML that lacks half of the tasks.
SETTLE = 0.25
PATIENCE = 5.0  # seconds an edit waits for another process's edit

log = logging.getLogger("tuneloop.tasks")


class Shelf:
    """Holds the last good book of a workspace. `book` may be read from any thread.

    problem: None, or what is wrong with the file now: {"message", "fix", "since" (Unix seconds)}.
    failures: how often a changed file could not be taken up; for metrics.
    Raises BadInput when there is no good book to begin with.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.path = workspace.path / "tuneloop.toml"
        self.previous = workspace.path / "tuneloop.toml.previous"
        self.book: Book = read(self.path)
        self.problem: dict[str, Any] | None = None
        self.failures = 0
        self._seen: Stamp = self.book.stamp
        self._edited = False  # since the last refresh
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Look whether the file has changed (one stat); whether there is a new book since the last look.

        An edit made through this shelf counts as well, so that whoever derives tables from the book hears of it.
        Raises nothing.
        """
        edited, self._edited = self._edited, False
        try:
            status = self.path.stat()
        except OSError:
            stamp: Stamp = (0, 0, 0)
        else:
            stamp = stamp_of(status)
            if abs(time.time() - status.st_mtime) < SETTLE:
                return edited
        if stamp == self._seen or not self._lock.acquire(blocking=False):
            return edited  # while an edit is under way it is the edit that brings the new book
        try:
            return self._look() or edited
        finally:
            self._lock.release()

    def _look(self) -> bool:
        try:
            book = read(self.path)
            if self.book.source and not book.source:  # emptied, as by a full disk or an editor that died
                raise BadInput(_("{path} is empty").format(path=self.path), fix=_("Write it again, or undo."))
        except (TuneloopError, OSError) as problem:
            self._keep(problem)
            return False
        if self.problem:
            log.warning("%s is good again and was taken up", self.path)
        self.book, self._seen, self.problem = book, book.stamp, None
        return True

    def _keep(self, problem: TuneloopError | OSError) -> None:
        """Go on with the last good book, and say so: once for every state of the file."""
        try:
            self._seen = stamp_of(self.path.stat())
        except OSError:
            self._seen = (0, 0, 0)
        message = problem.message if isinstance(problem, TuneloopError) else str(problem)
        fix = problem.fix if isinstance(problem, TuneloopError) else ""
        since = self.problem["since"] if self.problem else time.time()
        self.problem = {"message": message, "fix": fix, "since": since}
        self.failures += 1
        log.error("the configuration was not taken up, the last good one goes on: %s %s", message, fix)

    # --- edits: each is checked as a whole, written atomically and in force when it returns; none takes away a task or
    # variant that a running experiment uses (Conflict)

    def put_task(self, name: str, fields: Mapping[str, Any], *, keep: bool = False) -> Task:
        """Write a task. keep: leave the fields that are not named as they are; else they go.

        Without "variants" those that are there stay. A field that is None is taken out; one that says what would
        hold without it is not written.
        """
        fields = dict(fields) if keep else edits.lean(fields, Task)

        def change(tree: Tree) -> None:
            there = tree.get("tasks", {}).get(name, {}).get("variants")
            usual = {"variants": edits.plain(there) if there else {"active": {"engine": LOCAL}}}
            edits.put(tree, ("tasks", name), {**usual, **fields}, keep)

        return self._edit(change).tasks[name]

    def remove_task(self, name: str) -> None:
        """Raises Missing when it is not written, Conflict while a running experiment uses it."""
        self._edit(lambda tree: edits.remove(tree, ("tasks", name)))

    def put_variant(self, task: str, name: str, fields: Mapping[str, Any], *, keep: bool = False) -> Variant:
        """Write a variant of a task that is there; a new one is the last. Raises Missing for an unknown task."""
        fields = fields if keep else edits.lean_variant(fields)

        def change(tree: Tree) -> None:
            edits.at(tree, ("tasks", task))
            edits.put(tree, ("tasks", task, "variants", name), fields, keep)

        book = self._edit(change)
        return next(v for v in book.tasks[task].variants if v.name == name)

    def remove_variant(self, task: str, name: str) -> None:
        """Raises Missing when it is not written, Conflict when it is the last one or a running experiment uses it."""

        def change(tree: Tree) -> None:
            if list(edits.at(tree, ("tasks", task)).get("variants", ())) == [name]:
                raise Conflict(
                    _("'{name}' is the only variant of '{task}'").format(name=name, task=task),
                    fix=_("Add another variant first, or remove the task."),
                )
            edits.remove(tree, ("tasks", task, "variants", name))

        self._edit(change)

    def put_engine(self, name: str, fields: Mapping[str, Any], *, keep: bool = False) -> EngineSpec:
        """Write an engine."""
        fields = fields if keep else edits.lean(fields, EngineSpec)
        return self._edit(lambda tree: edits.put(tree, ("engines", name), fields, keep)).engines[name]

    def remove_engine(self, name: str) -> None:
        """Raises Missing when it is not written, Conflict while a variant uses it."""

        def change(tree: Tree) -> None:
            edits.at(tree, ("engines", name))
            variants = (
                f"{task}/{variant}"
                for task, fields in tree.get("tasks", {}).items()
                for variant, inner in fields.get("variants", {}).items()
                if inner.get("engine") == name
            )
            if name != LOCAL and (used := ", ".join(variants)):
                raise Conflict(
                    _("the engine '{name}' is used by {variants}").format(name=name, variants=used),
                    fix=_("Give these another engine first."),
                )
            edits.remove(tree, ("engines", name))

        self._edit(change)

    def set_weights(self, task: str, weights: Mapping[str, float]) -> Task:
        """Give these variants of a task other weights; the others keep theirs. Raises Missing for unknown names."""

        def change(tree: Tree) -> None:
            for variant, weight in weights.items():
                edits.lay(edits.at(tree, ("tasks", task, "variants", variant)), {"weight": weight}, True)

        return self._edit(change).tasks[task]

    def undo(self) -> Book:
        """Take back the last edit that was made here or through the API; undone twice, it is made again.

        A file that is broken or gone is brought back as it was last good, and no edit is taken back.
        Raises Missing when there was none, BadInput when the previous file is not good (any more).
        """
        with self._editing():
            if self._is_broken():
                return self._write(b"", self.book.source, keep=False)
            try:
                before = self.previous.read_bytes()
            except FileNotFoundError:
                raise Missing(_("nothing was changed here yet"), fix=_("Edit tuneloop.toml by hand.")) from None
            book = parse(before, self.path.parent)
            holds.check_free(self.workspace, set(self.book.names) - set(book.names))
            return self._write(self.path.read_bytes(), before)

    def _is_broken(self) -> bool:
        try:
            return not read(self.path).source and bool(self.book.source)
        except (TuneloopError, OSError):
            return True

    def _edit(self, change: Callable[[Tree], None]) -> Book:
        """Make one change to the file as it is now."""
        with self._editing():
            try:
                old = self.path.read_bytes()
            except FileNotFoundError:
                raise Missing(_("{path} is not there").format(path=self.path), fix=_("Put it back, or undo.")) from None
            text, wanted = load(old, self.path.parent)
            change(wanted)
            book = of_tree(wanted, self.path.parent)
            holds.check_free(self.workspace, set(self.book.names) - set(book.names))
            new = edits.rewritten(text, change)
            _text, written = load(new, self.path.parent)
            same = of_tree(written, self.path.parent)
            if same != book or edits.settings_in(written) != edits.settings_in(
                wanted
            ):  # should tomlkit ever lose anything
                raise TuneloopError(_("{path} cannot be edited here").format(path=self.path), fix=_("Edit it by hand."))
            return self._write(old, new)

    def _write(self, old: bytes, new: bytes, *, keep: bool = True) -> Book:
        """Write a text that is good. keep: put the old one beside it, to be undone to. The caller holds the lock."""
        if new != old:
            # The owner's only, unless the file says otherwise: it may hold serve.key.
            mode = self.path.stat().st_mode & 0o777 if self.path.is_file() else 0o600
            for path, content in ((self.previous, old), (self.path, new))[not keep :]:
                write_atomically(path, content)
                path.chmod(mode)
        book = read(self.path)
        self.book, self._seen, self.problem, self._edited = book, book.stamp, None, True
        return book

    @contextmanager
    def _editing(self) -> Iterator[None]:
        """One edit at a time, of all threads and processes. Raises Conflict after PATIENCE seconds."""
        until = time.monotonic() + PATIENCE
        with self._lock, ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self.workspace.lock("config"))
                    break
                except Conflict:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)
            yield
