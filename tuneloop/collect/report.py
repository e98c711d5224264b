"""report.html: one self-contained page with what a person wants to see of a dataset. No script, no network.

Everything that comes from messages is escaped and scrubbed; names of the most active people are shown, because the
report stays beside the data. A content security policy forbids scripts in case the escaping ever fails.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tuneloop.collect import labels, plots
from tuneloop.collect.activity import Activity
from tuneloop.collect.plots import bars, esc, number, percent
from tuneloop.collect.score import describe as rule_texts
from tuneloop.collect.split import SPLITS
from tuneloop.records import Example
from tuneloop.texts import _, language

TEMPLATE = Path(__file__).parent / "report.html"
SAMPLES = 5
LONGEST_SHOWN = 600


def render(card: Mapping[str, Any], activity: Activity, parts: Mapping[str, Sequence[Example]]) -> str:
    """The whole page."""
    examples = [example for part in SPLITS for example in parts[part]]
    sections = [
        _section(_("From messages to examples"), funnel(card), _("Nothing is lost without a reason.")),
        _stack(
            _section(_("The three parts"), splits(card, parts), _("Test is the newest; no dialogue is in two parts.")),
            _section(_("Personal data taken out"), privacy(card), _("From questions, answers and their context.")),
        ),
        _section(_("Messages over time"), over_time(activity), _("Per month, UTC."), wide=True),
        _section(_("Who answers whom"), who_answers(activity), _("Explicit replies; a row answers a column.")),
        _stack(
            _section(_("When people write"), hours(activity), _("Messages by weekday and hour, UTC.")),
            _section(_("How answers were linked"), links(card), _("Measured on reply links hidden from the ranker.")),
        ),
        _section(_("How long questions and answers are"), lengths(examples), _("Characters."), wide=True),
        _section(_("What it is about"), topics(card), _("TF-IDF and NMF over lemmas; each example has one topic.")),
        _section(_("Rules"), rules(card), _("Share of examples that pass. A rule pass rate, not quality.")),
        _section(_("How the speaker writes"), style(card), "", wide=True),
        _section(
            _("Examples"), samples(examples), _("Picked evenly over time, as the model will see them."), wide=True
        ),
    ]
    body = header(card, activity) + f'<div class="grid2">{"".join(sections)}</div>' + footer(card)
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(lang=language(), title=esc(f"{card['name']} — tuneloop"), body=body)


def header(card: Mapping[str, Any], activity: Activity) -> str:
    chat = card["chats"][0]
    who = ", ".join(s["name"] or s["id"] for s in card["speakers"])
    said = _('How {who} answers in "{chat}": {messages} messages from {first} to {last}.').format(
        who=who, chat=chat["name"], messages=number(chat["messages"]), first=card["period"][0], last=card["period"][1]
    )
    kept = sum(card["counts"].values())
    tiles = (
        (number(kept), _("examples kept")),
        (number(card["dialogues"]), _("dialogues")),
        (percent(card["rule_pass_rate"]), _("pass every rule")),
        (number(card["answer_length"]["median"]), _("characters in the median answer")),
        (number(sum(card["scrubbed"].values())), _("pieces of personal data removed")),
        (number(len(activity.people)), _("people in the chat")),
    )
    shown = "".join(f'<div class="tile"><b>{esc(value)}</b><span>{esc(label)}</span></div>' for value, label in tiles)
    title = f'<p class="eyebrow">{esc(_("Dataset report"))}</p><h1>{esc(card["name"])}</h1>'
    return f'<header>{title}<p>{esc(said)}</p></header><div class="tiles">{shown}</div>'


def funnel(card: Mapping[str, Any]) -> str:
    kept = sum(card["counts"].values())
    total = _("{read} pairs read = {kept} kept + {out} left out").format(
        read=number(card["read"]), kept=number(kept), out=number(card["read"] - kept)
    )
    rows = [(_("kept"), float(kept), number(kept))]
    ordered = sorted(card["rejected"].items(), key=lambda item: (-item[1], item[0]))
    reasons = [(labels.reason(reason), float(n), number(n)) for reason, n in ordered]
    out = f'<p class="sum">{esc(total)}</p>' + bars(rows, most=card["read"])
    if reasons:
        out += f"<h3>{esc(_('Left out because'))}</h3>" + bars(reasons, tone="w")
    if card["left_out"]:
        ordered = sorted(card["left_out"].items(), key=lambda item: (-item[1], item[0]))
        early = [(labels.reason(reason), float(n), number(n)) for reason, n in ordered]
        out += f"<h3>{esc(_('Turns of the speaker that answer nothing'))}</h3>" + bars(early, tone="c")
    return out


def over_time(activity: Activity) -> str:
    months = activity.all_months()
    everyone = [activity.months[m] for m in months]
    chosen = [activity.speaker_months[m] for m in months]
    return plots.area(months, [(_("everybody"), everyone), (_("chosen speakers"), chosen)])


def who_answers(activity: Activity) -> str:
    people = activity.most_replying()
    if len(people) < 2:
        return _nothing(_("The export has no replies."))
    names = [activity.names.get(p) or _("deleted account") for p in people]
    values = [[activity.replies[who, whom] for whom in people] for who in people]
    return plots.heat(names, names, values)


def hours(activity: Activity) -> str:
    days = (_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun"))
    return plots.heat(days, [str(h) if h % 3 == 0 else "" for h in range(24)], activity.hours, wide=True)


def lengths(examples: Sequence[Example]) -> str:
    edges = (10, 20, 40, 80, 160, 320, 640, 1280)
    names = [f"≤ {e}" for e in edges] + [f"> {edges[-1]}"]

    def counts(values: Sequence[int]) -> list[int]:
        found = [0] * len(names)
        for value in values:
            found[sum(value > e for e in edges)] += 1
        return found

    asked, answered = counts([len(e.question) for e in examples]), counts([len(e.answer) for e in examples])
    used = max(i for i in range(len(names)) if asked[i] or answered[i]) + 1
    return plots.columns(names[:used], [(_("questions"), asked[:used]), (_("answers"), answered[:used])])


def splits(card: Mapping[str, Any], parts: Mapping[str, Sequence[Example]]) -> str:
    kept = max(1, sum(card["counts"].values()))
    rows = [(labels.part(p), float(card["counts"][p]), number(card["counts"][p])) for p in SPLITS]
    times = [e.time for part in SPLITS for e in parts[part]]
    tones = {"train": "a", "validation": "b", "test": "w"}
    shown = bars(rows, most=kept)
    shown += f"<h3>{esc(_('Where they lie in time'))}</h3>"
    strips = [(labels.part(p), tones[p], [e.time for e in parts[p]]) for p in SPLITS]
    shown += plots.strip(strips, min(times, default=0), max(times, default=0))
    copies = ", ".join(f"{labels.part(p)} {number(n)}" for p, n in card["copies"].items() if n)
    said = _("Copies left out: {copies}.").format(copies=copies) if copies else _("No copies were found.")
    return shown + f'<p class="hint"><br>{esc(said)}</p>'


def topics(card: Mapping[str, Any]) -> str:
    if not card["topics"]:
        return _nothing(_("Too few examples for topics (30 are needed)."))
    rows = [(", ".join(t["words"][:6]), t["share"], percent(t["share"], 0)) for t in card["topics"]]
    return bars(rows, tone="b", long=True)


def rules(card: Mapping[str, Any]) -> str:
    texts = rule_texts()
    ordered = sorted(card["rules"].items(), key=lambda item: (item[1], item[0]))
    rows = [(texts.get(rule, rule), rate, percent(rate)) for rule, rate in ordered]
    chance = _('"{rule}": {share} of answers pass it even when dealt to other questions.').format(
        share=percent(card["rule_by_chance"]["answers_question"], 0), rule=texts["answers_question"]
    )
    total = _("{share} pass all of them.").format(share=percent(card["rule_pass_rate"]))
    return f'<p class="sum">{esc(total)}</p>' + bars(rows, most=1, long=True) + f'<p class="hint"><br>{esc(chance)}</p>'


def links(card: Mapping[str, Any]) -> str:
    edges = sorted(card["edges"].items(), key=lambda item: -item[1])
    out = bars([(labels.edge(edge), float(n), number(n)) for edge, n in edges])
    found = card["links"]
    shown = (
        (_("hidden links it was tested on"), "hidden", number),
        (_("F on them"), "f", percent),
        (_("F of 'the message before'"), "previous_f", percent),
        (_("F of 'unless a pause lies between'"), "gap_f", percent),
        (_("precision of the guesses used"), "precision_at_threshold", percent),
        (_("of the hidden links it finds"), "recall_at_threshold", percent),
    )
    facts = [(label, form(found[key])) for label, key, form in shown if isinstance(found.get(key), int | float)]
    return out + (f"<h3>{esc(_('The ranker'))}</h3>" + _facts(facts) if facts else "")


def privacy(card: Mapping[str, Any]) -> str:
    if not card["scrubbed"]:
        return _nothing(_("Nothing was found."))
    ordered = sorted(card["scrubbed"].items(), key=lambda item: (-item[1], item[0]))
    return bars([(labels.kind(kind), float(n), number(n)) for kind, n in ordered], tone="w")


def style(card: Mapping[str, Any]) -> str:
    found = card["style"]
    if not found:
        return _nothing(_("No answers."))
    marks = found["per_100_characters"]
    facts = [
        (_("median length, characters"), number(found["length_median"])),
        (_("90 % are shorter than"), number(found["length_p90"])),
        (_("words in an answer"), number(found["words_mean"])),
        (_("sentences in an answer"), number(found["sentences_mean"])),
        (_("begin with a small letter"), percent(found["lower_start_share"], 0)),
        (_("end with a full stop"), percent(found["final_stop_share"], 0)),
        (_("end with a smile, ) or emoji"), percent(found["smile_end_share"], 0)),
        (_("contain a question"), percent(found["question_share"], 0)),
        (_("contain an emoji"), percent(found["emoji_share"], 0)),
        (_("several lines"), percent(found["several_lines_share"], 0)),
        (_("Latin letters"), percent(found["latin_share"], 0)),
        (_("commas per 100 characters"), number(marks["commas"])),
        (_("exclamations per 100 characters"), number(marks["exclamations"])),
    ]
    out = _facts(facts)
    words = [word for word, _z in found["favourite_words"]]
    if words:
        sizes = ["big"] * 5 + ["mid"] * 7 + [""] * 20
        chips = "".join(f'<span class="{size}">{esc(w)}</span>' for w, size in zip(words, sizes, strict=False))
        out += f"<h3>{esc(_('Words that set them apart from the rest of the chat'))}</h3>"
        out += f'<div class="chips">{chips}</div>'
    for title, key in ((_("Favourite emoji"), "emoji"), (_("Greetings"), "greetings")):
        if found[key]:
            chips = "".join(f"<span>{esc(text)} · {number(n)}</span>" for text, n in found[key])
            out += f'<h3>{esc(title)}</h3><div class="chips">{chips}</div>'
    return out


def samples(examples: Sequence[Example]) -> str:
    """Evenly spaced over time, the middle of each fifth."""
    ordered = sorted(examples, key=lambda e: (e.time, e.id))
    n = min(SAMPLES, len(ordered))
    chosen = [ordered[int((i + 0.5) * len(ordered) / n)] for i in range(n)]
    talks = []
    for example in chosen:
        said = [
            f'<div class="say old{" mine" if role == "assistant" else ""}">{esc(_short(text))}</div>'
            for role, text in example.context
        ]
        said.append(f'<div class="say">{esc(_short(example.question))}</div>')
        said.append(f'<div class="say mine">{esc(_short(example.answer))}</div>')
        day = time.strftime("%Y-%m-%d", time.gmtime(example.time))
        said.append(
            f'<div class="meta">{day} · {esc(labels.edge(example.edge))} · {percent(example.confidence, 0)}</div>'
        )
        talks.append(f'<div class="talk">{"".join(said)}</div>')
    return "".join(talks)


def footer(card: Mapping[str, Any]) -> str:
    warning = _("This page shows names: keep it on this machine. The examples on it are scrubbed.")
    made = _("Made by tuneloop {version}; dataset {id}.").format(version=card["tuneloop"], id=card["id"])
    ask = _("For quality, let a person look:")
    command = f"tuneloop dataset audit {card['name']}"
    return f"<footer>{esc(warning)} {esc(ask)} <code>{esc(command)}</code><br>{esc(made)}</footer>"


def _section(title: str, body: str, hint: str, *, wide: bool = False) -> str:
    note = f'<p class="hint">{esc(hint)}</p>' if hint else '<p class="hint"></p>'
    return f'<section class="{"wide" if wide else ""}"><h2>{esc(title)}</h2>{note}{body}</section>'


def _stack(*sections: str) -> str:
    return f'<div class="stack">{"".join(sections)}</div>'


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{esc(label)}</dt><dd>{esc(value)}</dd></div>" for label, value in facts)
    return f'<dl class="facts">{cells}</dl>'


def _nothing(text: str) -> str:
    return f'<p class="hint">{esc(text)}</p>'


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN].rstrip() + " …"
