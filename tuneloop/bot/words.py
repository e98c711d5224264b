"""Words that rows keep in English, in the language of whoever reads them."""

from __future__ import annotations

from tuneloop.texts import _


def word(kept: str) -> str:
    """A verdict, a state or a decision as people read it; anything else as it is."""
    known = {
        "right": _("correct"),
        "wrong": _("wrong"),
        "pointed": _("pointed"),
        "absent": _("absent"),
        "running": _("running"),
        "done": _("done"),
        "failed": _("failed"),
        "promote": _("promote"),
        "refuse": _("refuse"),
        "not enough data": _("not enough data"),
        "not judged": _("not judged"),
    }
    return known.get(kept, kept)
