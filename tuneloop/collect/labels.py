"""What the codes in card.json are called for people, in the language in use."""

from __future__ import annotations

from tuneloop.texts import _


def reason(code: str) -> str:
    """Why an example was left out, or why a turn of the speaker gave none."""
    known = {
        "question without words": _("question without words"),
        "question too long": _("question too long"),
        "question is a link only": _("question is a link only"),
        "question only greets or thanks": _("question only greets or thanks"),
        "answer is a link only": _("answer is a link only"),
        "answer without words": _("answer without words"),
        "answer too short": _("answer too short"),
        "answer too long": _("answer too long"),
        "answer repeats the question": _("answer repeats the question"),
        "answer only greets or thanks": _("answer only greets or thanks"),
        "answer is code or a log only": _("answer is code or a log only"),
        "bot command": _("bot command"),
        "spam": _("spam"),
        "exact duplicate": _("exact duplicate"),
        "near duplicate": _("near duplicate"),
        "question is in training too": _("question is in training too"),
        "forwarded": _("forwarded"),
        "no words": _("no words"),
        "answers nobody": _("answers nobody"),
        "continues their own message": _("continues their own message"),
        "more than fits in memory": _("more than fits in memory"),
    }
    return known.get(code, code)


def kind(code: str) -> str:
    """A kind of personal data."""
    known = {
        "link": _("links with tokens or invitations"),
        "secret": _("keys and passwords"),
        "email": _("e-mail addresses"),
        "card": _("bank cards"),
        "account": _("accounts and documents"),
        "phone": _("phone numbers"),
        "user": _("@names and profiles"),
        "name": _("names of people in the chat"),
    }
    return known.get(code, code)


def edge(code: str) -> str:
    """How an answer was linked to its question."""
    known = {
        "reply": _("explicit reply"),
        "ranked": _("link guessed by the ranker"),
        "turn": _("turn taking between two people"),
    }
    return known.get(code, code)


def part(code: str) -> str:
    """A split of a dataset."""
    return {"train": _("training"), "validation": _("validation"), "test": _("test")}.get(code, code)
