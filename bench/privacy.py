"""Recall of personal-data removal on the labelled lines, beside off-the-shelf recognisers where installed.

Peers: Presidio's pattern recognisers (`pip install presidio-analyzer`) for structured data, Natasha
(`pip install natasha`) for names. A secret counts as removed when its text is gone from the result.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable

from bench.privacy_lines import HARMLESS, PEOPLE, lines
from tuneloop.collect.privacy import Scrubber
from tuneloop.stats import wilson

Remover = Callable[[str], str]


def recall(remove: Remover) -> tuple[Counter[str], Counter[str], list[str]]:
    """(removed, all) secrets by stratum, and the lines where one survived."""
    removed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    missed = []
    for stratum, text, secrets in lines():
        result = remove(text)
        for secret in secrets:
            total[stratum] += 1
            if secret in result:
                missed.append(f"{stratum}: {text} -> {result}")
            else:
                removed[stratum] += 1
    return removed, total, missed


def false_alarms(remove: Remover) -> int:
    return sum(remove(text) != text for text in HARMLESS)


def ours() -> Remover:
    scrubber = Scrubber({name: {name} for name in PEOPLE})
    return lambda text: scrubber.scrub(text)[0]


def presidio() -> Remover | None:
    if importlib.util.find_spec("presidio_analyzer") is None:
        return None
    from presidio_analyzer import predefined_recognizers as kit

    recognisers = [
        kit.EmailRecognizer(),
        kit.PhoneRecognizer(),
        kit.CreditCardRecognizer(),
        kit.UrlRecognizer(),
        kit.IbanRecognizer(),
    ]

    def remove(text: str) -> str:
        spans = [s for r in recognisers for s in r.analyze(text, r.supported_entities, None)]
        for span in sorted(spans, key=lambda s: -s.start):
            text = text[: span.start] + "[x]" + text[span.end :]
        return text

    return remove


def natasha() -> Remover | None:
    if importlib.util.find_spec("natasha") is None:
        return None
    from natasha import Doc, NewsEmbedding, NewsNERTagger, Segmenter

    segmenter, tagger = Segmenter(), NewsNERTagger(NewsEmbedding())

    def remove(text: str) -> str:
        doc = Doc(text)
        doc.segment(segmenter)
        doc.tag_ner(tagger)
        for span in sorted((s for s in doc.spans if s.type == "PER"), key=lambda s: -s.start):
            text = text[: span.start] + "[x]" + text[span.stop :]
        return text

    return remove


def run() -> None:
    """Print recall by stratum with Wilson intervals, and false alarms, for each remover."""
    for name, remover in (("tuneloop", ours()), ("presidio", presidio()), ("natasha", natasha())):
        if remover is None:
            print(f"{name}: not installed")
            continue
        removed, total, _missed = recall(remover)
        structured = [k for k in total if k not in ("roster", "harmless")]
        rows = [(k, removed[k], total[k]) for k in total if total[k]]
        rows.append(("structured, all", sum(removed[k] for k in structured), sum(total[k] for k in structured)))
        print(f"{name}: false alarms on {false_alarms(remover)} of {len(HARMLESS)} harmless lines")
        for kind, good, n in rows:
            low, high = wilson(good, n)
            print(f"  {kind:16} {good:4} of {n:4}  recall {good / n:6.1%}  [{low:.1%}, {high:.1%}]")
