"""Hidden reply links found again: the link ranker beside "the message before" and "the message before, unless a pause".

A fifth of a chat's reply links is hidden at random, five times (seeds 0 to 4); features never see them. Message for
message, over the hidden links: P = right / guessed, R = right / hidden, F of both at the probability that was best on
the other links. "turn": a guess counts when it hits any message of the right turn. Then the guesses that would be used
(collect.link_precision). Means of the five splits and their standard deviation: of one chat, so it says how much a
split may be lucky, not how other chats would do. And the whole of pairing: seconds and peak memory, its own process.
Floor: F 0.70. Chats: the shipped community's (made up, easier than life) and a real group where one is at hand.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bench.frame import ROOT, Spent, child

SEEDS = range(5)
PAIR = """
import json, sys
from pathlib import Path
from tuneloop.collect import examples, store
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
((chat, messages), *_others) = store.chats(workspace)
built = examples.build(workspace, chat.id)
counts = {"messages": messages, "examples": len(built.examples), "dialogues": len(built.dialogues)}
print(json.dumps({"chat": chat.name, **counts, "links": built.links, "left_out": built.left_out}))
"""
CHATS = (
    ROOT / "tuneloop" / "demo" / "community" / "result.json",
    ROOT.parent / "shared" / "data" / "tg_html_qaload_2018-11_2020-12.zip",
)
FOUND = (
    ("link ranker: P", "precision"),
    ("R", "recall"),
    ("F", "f"),
    ("F by turn", "turn_f"),
    ("the message before: F", "previous_f"),
    ("... unless a pause: F", "gap_f"),
    ("used guesses: precision", "precision_at_threshold"),
    ("... by turn", "turn_precision_at_threshold"),
    ("... hidden links found", "recall_at_threshold"),
)


def run() -> None:
    for path in CHATS:
        if not path.exists():
            print(f"{path.name} is not beside this checkout: skipped")
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder, "work")
            collect(path, work)
            spent = child(PAIR, str(work))
            report(json.loads(spent.said), spent)
            print_splits(splits(work))


def collect(export: Path, work: Path) -> None:
    from tuneloop.collect import store
    from tuneloop.workspace import open_workspace

    store.import_export(open_workspace(work, create=True), export)


def splits(work: Path) -> list[dict[str, Any]]:
    """The figures of every split, of the largest chat."""
    from tuneloop.collect import columns, likeness, links, store
    from tuneloop.workspace import open_workspace

    workspace = open_workspace(work)
    chat = store.chats(workspace)[0][0].id
    recent, _places = columns.read(store.messages(workspace, chat)).newest(links.NEWEST)
    recent = likeness.compared(recent, store.messages(workspace, chat))
    wanted = workspace.settings.number("collect.link_precision")
    return [found.figures for seed in SEEDS if (found := links.guess(recent, wanted, seed=seed)) is not None]


def report(done: dict[str, Any], spent: Spent) -> None:
    links = done["links"]
    print(f"\n{done['chat']}: {done['messages']:,} messages, {links['reply_links']:,} reply links")
    print(f"  paired in {spent.seconds:.1f} s ({spent.cpu:.1f} s of processor time), {spent.peak:.0f} MB")
    print(f"  {done['examples']:,} examples in {done['dialogues']:,} dialogues")
    print(f"  linked by {links['edges']}; no example from {done['left_out']}")
    if "f" not in links:
        print(f"  {links['method']}: {links.get('why', '')}")


def print_splits(figures: list[dict[str, Any]]) -> None:
    """A line for each figure: its mean, its deviation, and every split's own."""
    if not figures:
        return
    first = figures[0]
    print(
        f"  {first['hidden']:,} links hidden, {first['trained_on']:,} learnt; precision asked of used guesses:", end=""
    )
    print(f" {first['wanted_precision']}")
    print(f"  {'':26}  mean    sd   each split")
    for name, key in FOUND:
        values = [found[key] for found in figures if found[key] is not None]
        if len(values) < len(figures):
            print(f"  {name:26} no probability reached it in {len(figures) - len(values)} of {len(figures)} splits")
        if len(values) > 1:
            each = " ".join(f"{value:.3f}" for value in values)
            print(f"  {name:26} {fmean(values):.3f} {stdev(values):.3f}   {each}")
