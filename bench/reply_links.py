"""Hidden reply links found again: the link ranker beside "the message before" and "the message before, unless a pause".

A fifth of a chat's reply links is hidden at random; features never see them. Message for message, over the hidden
links: P = right / guessed, R = right / hidden, F of both at the probability that was best on the other links. "turn":
a guess counts when it hits any message of the right turn. Then the guesses that would be used (collect.link_precision)
and the whole of pairing: seconds and peak memory, in its own process.
Floor: F 0.70. Chats: the shipped community's (made up, easier than life) and a real group where one is at hand.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.frame import ROOT, Spent, child

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


def collect(export: Path, work: Path) -> None:
    from tuneloop.collect import store
    from tuneloop.workspace import open_workspace

    store.import_export(open_workspace(work, create=True), export)


def report(done: dict[str, object], spent: Spent) -> None:
    links = done["links"]
    assert isinstance(links, dict)
    print(f"\n{done['chat']}: {done['messages']:,} messages, {links['reply_links']:,} reply links")
    print(f"  paired in {spent.seconds:.1f} s ({spent.cpu:.1f} s of processor time), {spent.peak:.0f} MB")
    print(f"  {done['examples']:,} examples in {done['dialogues']:,} dialogues")
    print(f"  linked by {links['edges']}; no example from {done['left_out']}")
    if "f" not in links:
        print(f"  {links['method']}: {links.get('why', '')}")
        return
    print(f"  {links['hidden']:,} links hidden, {links['trained_on']:,} learnt")
    print("                         P      R      F   turn F")
    found = "".join(f"{links[key]:7.3f}" for key in ("precision", "recall", "f", "turn_f"))
    print(f"  link ranker       {found}")
    for name, key in (("message before", "previous_f"), ("... unless a pause", "gap_f")):
        print(f"  {name:32} {links[key]:6.3f}")
    if links["threshold"] is None:
        print(f"  no probability reached precision {links['wanted_precision']}: no guess is used")
        return
    low, high = links["precision_interval"]
    print(
        f"  used guesses (asked {links['wanted_precision']}): precision {links['precision_at_threshold']:.3f} "
        f"({low:.3f}-{high:.3f}), by turns {links['turn_precision_at_threshold']:.3f}, "
        f"for {links['recall_at_threshold']:.0%} of the hidden links right"
    )
