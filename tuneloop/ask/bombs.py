"""How much an archive may unpack into, and what is said of one that unpacks into more."""

from __future__ import annotations

from pathlib import Path

from tuneloop.errors import Hostile
from tuneloop.texts import _

MOST_RATIO = 200  # unpacked to packed; tables in text pack 3 to 30 times


def bomb(archive: Path) -> Hostile:
    """The error for an archive that unpacks into more than it may."""
    return Hostile(
        _("{name} unpacks into more than {ratio} times its size").format(name=archive.name, ratio=MOST_RATIO),
        fix=_("Unpack it yourself if you trust it, and name the file."),
    )
