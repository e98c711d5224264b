"""Everything tuneloop raises on purpose.

    TuneloopError                 exit 1   something we did not foresee (a bug: please report it)
    ├── BadInput                  exit 3   a file or a value the user gave cannot be used
    │   ├── NotAnExport           exit 3   readable, but not a chat export we know
    │   ├── Damaged               exit 3   truncated, wrong encoding, wrong checksum
    │   └── Hostile               exit 3   bombs, path traversal, code inside a model file
    ├── NotEnoughData             exit 4   the honest answer: more examples, clicks or messages are needed
    ├── Refused                   exit 5   a gate, a parity check or a validator said no
    │   └── Unauthorised          exit 5   no key, or one that is wrong, expired or revoked
    ├── OutOfResources            exit 6   memory, disk or time would not suffice
    │   ├── TooMany               exit 6   more requests than the limit allows, or than can wait
    │   └── Unavailable           exit 6   the database does not answer
    ├── Missing                   exit 7   a thing that has to be there first
    │   └── MissingExtra          exit 7   an optional part of tuneloop is not installed
    ├── Conflict                  exit 8   another process holds it, or a newer tuneloop wrote it
    └── EngineError               exit 9   a model server failed
        ├── EngineDown            exit 9   nobody answers
        ├── EngineTimeout         exit 9   it answers too slowly
        └── ModelRejected         exit 9   the model file could not be loaded

Each error says what happened (the message) and what to do about it (`fix`). Both are already in the
user's language when raised. `tests/test_errors.py` compares this drawing with the classes.
"""

from __future__ import annotations


class TuneloopError(Exception):
    """Root of the tree. `fix` is one sentence with the next step; `exit_code` is the process's answer."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (tuneloop.child); the default reduce would lose `fix`.
        return (_rebuild, (type(self), self.message, self.fix))


def _rebuild(kind: type[TuneloopError], message: str, fix: str) -> TuneloopError:
    return kind(message, fix=fix)


class BadInput(TuneloopError):
    """A file or a value the user gave cannot be used."""

    exit_code = 3


class NotAnExport(BadInput):
    """Readable, but not a chat export we know."""


class Damaged(BadInput):
    """Truncated, in a wrong encoding, or with a wrong checksum."""


class Hostile(BadInput):
    """A bomb, a path that leaves its folder, or code inside a file that should hold data."""


class NotEnoughData(TuneloopError):
    """More examples, clicks or messages are needed before an answer would be honest."""

    exit_code = 4


class Refused(TuneloopError):
    """A gate, a parity check or a validator said no."""

    exit_code = 5


class Unauthorised(Refused):
    """No key, or one that is wrong, expired or revoked."""


class OutOfResources(TuneloopError):
    """Memory, disk or time would not suffice; said before the work starts."""

    exit_code = 6


class TooMany(OutOfResources):
    """More requests than the limit allows, or than can wait. `retry_after`: seconds until the next may come."""

    def __init__(self, message: str, *, fix: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class Unavailable(OutOfResources):
    """The database does not answer; what was acknowledged is safe, and later the same may be asked again."""


class Missing(TuneloopError):
    """A thing that has to be there first."""

    exit_code = 7


class MissingExtra(Missing):
    """An optional part of tuneloop is not installed."""


class Conflict(TuneloopError):
    """Another process holds it, or a newer tuneloop wrote it. `retry_after`: seconds; 0 where waiting is no help."""

    exit_code = 8

    def __init__(self, message: str, *, fix: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class EngineError(TuneloopError):
    """A model server failed."""

    exit_code = 9


class EngineDown(EngineError):
    """Nobody answers."""


class EngineTimeout(EngineError):
    """It answers too slowly."""


class ModelRejected(EngineError):
    """The model file could not be loaded."""
