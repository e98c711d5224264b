"""Why an item of an export is no message, and what was mended in those that are: every word a report may say."""

from __future__ import annotations

from tuneloop.texts import _


def reasons() -> dict[str, str]:
    """Reason as the readers give it -> the same in the user's language."""
    return {
        "service: people came or left": _("service: people came or left"),
        "service: message pinned": _("service: message pinned"),
        "service: calls": _("service: calls"),
        "service: chat created or changed": _("service: chat created or changed"),
        "service: group upgraded": _("service: group upgraded"),
        "service: topics": _("service: topics"),
        "service: notice of WhatsApp": _("service: notice of WhatsApp"),
        "service: other": _("service: other"),
        "not supported by the exporter": _("not supported by the exporter"),
        "not a message": _("not a message"),
        "no message id": _("no message id"),
        "no date": _("no date"),
        "deleted by its author": _("deleted by its author"),
        "text before the first message": _("text before the first message"),
        "the same message twice": _("the same message twice"),
        "written by a forgotten person": _("written by a forgotten person"),
    }


def notes() -> dict[str, str]:
    """Note as the readers give it -> the same in the user's language."""
    return {
        "broken characters replaced": _("broken characters replaced"),
        "replies to another chat, not linked": _("replies to another chat, not linked"),
        "replies to a message that is not here": _("replies to a message that is not here"),
        "messages taken over from an earlier export without ids": _(
            "messages taken over from an earlier export without ids"
        ),
        "names of forgotten people masked": _("names of forgotten people masked"),
        "times without an offset, read as UTC": _("times without an offset, read as UTC"),
        "times are the phone's clock, read as UTC": _("times are the phone's clock, read as UTC"),
        "dates read as day/month": _("dates read as day/month"),
        "dates read as month/day": _("dates read as month/day"),
        "dates read as year/month/day": _("dates read as year/month/day"),
        "dates that fit only the other order": _("dates that fit only the other order"),
        "dates fit both orders, read as day/month": _("dates fit both orders, read as day/month"),
        "dates fit both orders, read as month/day": _("dates fit both orders, read as month/day"),
    }
