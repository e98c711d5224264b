"""The gate: promote, refuse, or not enough data. One function, no model, no opinion that is not a figure.

"The score rose on the hold-out" promotes a model that did not change at all in 40-47 % of cases; so each
comparison is paired by question, its interval is bootstrapped over dialogues, and the interval must exclude zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneloop.records import Verdict
from tuneloop.stats import paired_bootstrap, sign_test, wilson
from tuneloop.texts import _, n_

# How much more often training answers may be copied than held-out ones are: chance overlap plus two points.
_VERBATIM_MARGIN = 0.02


@dataclass(frozen=True)
class Item:
    """One held-out question: answer length and what each contestant scored on it.

    nats: contestant -> negative log-likelihood of the real answer; chrf: contestant -> likeness of its own answer
    to the real one, 0..100.
    """

    example: str
    dialogue: str
    chars: int
    nats: Mapping[str, float]
    chrf: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """What the candidate repeats of its training data. Counts of answers reproduced verbatim, of how many tried."""

    train_copied: int
    train_tried: int
    heldout_copied: int
    heldout_tried: int
    canaries: int = 0
    canaries_extracted: int = 0
    exposure: float = 0.0  # mean bits; log2 of the number of alternatives ranked is the most


def bits_per_char(items: Sequence[Item], contestant: str) -> float:
    """Negative log2-likelihood per character of the real answers: comparable between tokenizers."""
    return sum(i.nats[contestant] for i in items) / math.log(2) / sum(i.chars for i in items)


def compare_bits(items: Sequence[Item], candidate: str, rival: str) -> dict[str, float]:
    """By how many bits per character the candidate is better than the rival (positive: better), with a 95 %
    interval over dialogues, and the exact one-sided sign test over questions."""
    pairs = [((i.nats[rival] - i.nats[candidate]) / math.log(2), float(i.chars), i.dialogue) for i in items]
    gain, low, high = paired_bootstrap(_grouped(pairs), lambda s: s[:, 0] / s[:, 1])
    better = sum(i.nats[candidate] < i.nats[rival] for i in items)
    worse = sum(i.nats[candidate] > i.nats[rival] for i in items)
    return {"gain": gain, "low": low, "high": high, "better": better, "worse": worse, "p": sign_test(better, worse)}


def compare_chrf(items: Sequence[Item], candidate: str, rival: str) -> dict[str, float]:
    """By how many chrF points the candidate's own answers are more like the real ones, with a 95 % interval."""
    pairs = [(i.chrf[candidate], i.chrf[rival], i.dialogue) for i in items if candidate in i.chrf and rival in i.chrf]
    gain, low, high = paired_bootstrap(_grouped(pairs), lambda s: (s[:, 0] - s[:, 1]) / s[:, 2])
    return {"gain": gain, "low": low, "high": high}


def decide(
    items: Sequence[Item],
    memory: Memory,
    *,
    candidate: str,
    rivals: Sequence[str],
    retrieval: str | None = None,
    least: int = 30,
    closeness: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on `candidate` against every rival model, and against retrieval from the team's history.

    rivals: contestants with likelihoods (base, base with examples, the active version). retrieval: a contestant
    with answers only. least: fewer questions than this is "not enough data".
    """
    figures: dict[str, Any] = {"questions": len(items), "memory": _memory_figures(memory)}
    if closeness:
        figures["closeness"] = {k: None if math.isnan(v) else v for k, v in closeness.items()}
    if len(items) < least:
        why = n_(
            "{n} held-out question is too few; at least {least} are needed.",
            "{n} held-out questions are too few; at least {least} are needed.",
            len(items),
        )
        return Verdict("not enough data", why.format(n=len(items), least=least), figures)
    figures["bits_per_char"] = {c: bits_per_char(items, c) for c in (candidate, *rivals)}
    figures["against"] = {rival: compare_bits(items, candidate, rival) for rival in rivals}
    if retrieval:
        figures["chrf"] = {c: _mean_chrf(items, c) for c in _contestants(items)}
        figures["against_retrieval"] = compare_chrf(items, candidate, retrieval)
    decision, why = _judge(figures, memory, rivals, retrieval, len(items))
    return Verdict(decision, why, figures)


def _judge(
    figures: Mapping[str, Any], memory: Memory, rivals: Sequence[str], retrieval: str | None, n: int
) -> tuple[Any, str]:
    if memory.canaries_extracted:
        text = _("It gives away {k} of {n} planted secrets.")
        return "refuse", text.format(k=memory.canaries_extracted, n=memory.canaries)
    train, heldout = figures["memory"]["train_rate"], figures["memory"]["heldout_rate"]
    if figures["memory"]["train_low"] > heldout + _VERBATIM_MARGIN:
        text = _("It repeats {train:.0%} of its training answers word for word ({heldout:.0%} of unseen ones).")
        return "refuse", text.format(train=train, heldout=heldout)
    unclear = []
    for rival in rivals:
        against = figures["against"][rival]
        if against["high"] < 0 or against["gain"] <= 0:
            text = _(
                "It predicts real answers no better than {rival}: {gain:+.3f} bits per character"
                " [{low:+.3f}, {high:+.3f}]."
            )
            return "refuse", text.format(rival=_(rival), **{k: against[k] for k in ("gain", "low", "high")})
        if against["low"] <= 0:
            unclear.append((rival, against))
    if retrieval and figures["against_retrieval"]["high"] < 0:
        text = _("Its answers are less like the real ones than {rival}: {gain:+.1f} chrF [{low:+.1f}, {high:+.1f}].")
        return "refuse", text.format(rival=_(retrieval), **figures["against_retrieval"])
    if unclear:
        rival, against = unclear[0]
        text = _(
            "It seems better than {rival} ({gain:+.3f} bits per character), but chance could do that;"
            " about {more} more questions would settle it."
        )
        return "not enough data", text.format(rival=_(rival), gain=against["gain"], more=_more_needed(against, n))
    worst = min(rivals, key=lambda r: figures["against"][r]["gain"])
    text = _(
        "It predicts real answers better than every rival; the closest is {rival}:"
        " {gain:+.3f} bits per character [{low:+.3f}, {high:+.3f}]."
    )
    return "promote", text.format(rival=_(worst), **{k: figures["against"][worst][k] for k in ("gain", "low", "high")})


def _more_needed(against: Mapping[str, float], n: int) -> int:
    """Questions still needed for the interval to exclude zero if the gain stays: its width shrinks as 1/sqrt(n)."""
    half = (against["high"] - against["low"]) / 2
    return max(1, math.ceil(n * (half / against["gain"]) ** 2) - n)


def _memory_figures(memory: Memory) -> dict[str, float]:
    low, high = wilson(memory.train_copied, memory.train_tried)
    return {
        "train_rate": memory.train_copied / memory.train_tried if memory.train_tried else 0.0,
        "train_low": low if memory.train_tried else 0.0,
        "train_high": high,
        "heldout_rate": memory.heldout_copied / memory.heldout_tried if memory.heldout_tried else 0.0,
        "canaries": memory.canaries,
        "canaries_extracted": memory.canaries_extracted,
        "exposure_bits": memory.exposure,
        "exposure_by_chance": _exposure_by_chance(memory.canaries),
    }


def _exposure_by_chance(canaries: int) -> float:
    """Mean bits that planted secrets a model has never seen exceed one time in twenty; 0 without any.

    Such a secret's rank among n is as likely any as another, so its exposure is exponential with mean 1 / ln 2 bits.
    """
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * canaries)) / (2 * canaries * math.log(2)) if canaries else 0.0


def _grouped(pairs: Sequence[tuple[float, float, str]]) -> list[list[tuple[float, float]]]:
    groups: dict[str, list[tuple[float, float]]] = {}
    for a, b, dialogue in pairs:
        groups.setdefault(dialogue, []).append((a, b))
    return list(groups.values())


def _contestants(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(contestant for item in items for contestant in item.chrf))


def _mean_chrf(items: Sequence[Item], contestant: str) -> float:
    values = [i.chrf[contestant] for i in items if contestant in i.chrf]
    return sum(values) / len(values)
