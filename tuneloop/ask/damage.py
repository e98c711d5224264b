"""What half a file makes of its readers, as one sentence; and what a full disk does."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneloop.errors import Damaged, OutOfResources, TuneloopError
from tuneloop.texts import _

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def damage(source: Path) -> Iterator[None]:
    """What the readers of a dozen libraries raise on half a file, as one sentence; a full disk as another."""
    import duckdb

    try:
        yield
    except (TuneloopError, MemoryError, duckdb.OutOfMemoryException, AssertionError):
        raise
    except OSError as problem:
        if problem.errno in FULL:
            raise disk_full(source) from None
        raise _damaged(source, problem) from None
    except duckdb.IOException as problem:
        if any(word in str(problem) for word in ("No space left", "could not write", "Could not write")):
            raise disk_full(source) from None
        raise _damaged(source, problem) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, SyntaxError, ValueError, duckdb.Error) as problem:
        raise _damaged(source, problem) from None
    except Exception as problem:
        if type(problem).__module__.partition(".")[0] not in ("openpyxl", "sqlite3"):
            raise
        raise _damaged(source, problem) from None


def disk_full(source: Path) -> OutOfResources:
    """The error when the loaded form of a table does not fit."""
    return OutOfResources(
        _("the disk is full: the loaded form of {name} does not fit; nothing of it was kept").format(name=source.name),
        fix=_("Free about as much space as the file takes, or name another folder with --cache."),
    )


def _damaged(source: Path, problem: Exception) -> Damaged:
    said = " ".join(str(problem).split("\n")[0].replace(str(source), source.name).split())[:160]
    return Damaged(
        _("{name} is damaged or incomplete ({problem})").format(
            name=source.name, problem=said or type(problem).__name__
        ),
        fix=_("Save or download it again."),
    )
