"""The files of a dataset folder, in the order that makes a half-written one recognisable: card.json is the last."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.collect import formats, labels
from tuneloop.collect.activity import Activity
from tuneloop.collect.privacy import Scrubber, write_receipt
from tuneloop.collect.report import render
from tuneloop.collect.split import SPLITS
from tuneloop.progress import Progress, silent
from tuneloop.records import Dialogue, Example
from tuneloop.texts import _
from tuneloop.workspace import write_atomically, write_json

FILES = 5 * len(SPLITS) + 4  # for the progress bar


@dataclass(frozen=True)
class Prepared:
    """Everything that goes into a folder. `rejected`: reason -> n; `removed`: kind of personal data -> n."""

    read: int
    parts: dict[str, list[Example]]
    dialogues: list[Dialogue]
    rejected: Counter[str]
    copies: dict[str, int]
    removed: Counter[str]

    @property
    def examples(self) -> list[Example]:
        return [example for part in SPLITS for example in self.parts[part]]


def write_folder(
    folder: Path,
    prepared: Prepared,
    card: dict[str, Any],
    failed: Mapping[str, list[str]],
    activity: Activity,
    scrubber: Scrubber,
    watch: Progress = silent,
) -> None:
    """Write every file; `card` gets its `files` (relative path -> sha256) and is written last.

    Each file that could leave the machine gets a scrub receipt bound to its hash.
    """
    removed = card["scrubbed"]
    speakers = [s["id"] for s in card["speakers"]]
    for number, (name, content) in enumerate(data_files(prepared, card["system"], speakers, scrubber)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        write_receipt(path, removed)
        watch(_("writing files"), number + 1, FILES)
    ordered = [e.id for e in prepared.examples if e.id in failed]
    write_atomically(folder / "rules.jsonl", formats.jsonl({"id": i, "failed": failed[i]} for i in ordered))
    write_atomically(folder / "report.html", render(card, activity, prepared.parts))
    write_atomically(folder / "README.md", readme(card))
    written = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    card["files"] = {name: _sha256(folder / name) for name in written}
    write_json(folder / "card.json", card)
    watch(_("writing files"), FILES, FILES)


def data_files(
    prepared: Prepared, system: str, speakers: Sequence[str], scrubber: Scrubber
) -> Iterator[tuple[str, bytes]]:
    """(path in the folder, content) of every data file, one at a time: together they are several times the data."""
    for part in SPLITS:
        examples = prepared.parts[part]
        yield f"{part}.examples.jsonl", formats.jsonl(map(formats.canonical, examples)).encode()
        yield f"{part}.jsonl", formats.render("openai", [(part, examples)], system)
        for name in ("gemini", "sharegpt", "alpaca"):
            content = formats.render(name, [(part, examples)], system)
            yield f"formats/{name}/{part}{formats.FORMATS[name]}", content
    parts = [(part, prepared.parts[part]) for part in SPLITS]
    yield "dialogues.json", formats.json_bytes(whole(d, speakers, scrubber) for d in prepared.dialogues)
    yield "examples.csv", formats.render("csv", parts)
    if formats.has_parquet():
        yield "examples.parquet", formats.render("parquet", parts)


def whole(dialogue: Dialogue, speakers: Sequence[str], scrubber: Scrubber) -> dict[str, Any]:
    """A full dialogue without personal data: people are "speaker" and "person 1", "person 2", ... in order."""
    names: dict[str, str] = {s: "speaker" if len(speakers) == 1 else f"speaker {i}" for i, s in enumerate(speakers, 1)}
    turns = []
    strangers = 0
    for turn in dialogue.turns:
        if turn.sender not in names:
            strangers += 1
            names[turn.sender] = f"person {strangers}"
        text = scrubber.scrub(turn.text)[0]
        turns.append({"who": names[turn.sender], "time": turn.time, "text": text, "messages": list(turn.messages)})
    return {"id": dialogue.id, "chat": dialogue.chat, "turns": turns}


def readme(card: Mapping[str, Any]) -> str:
    """The folder's README: what it is, how it was made, limits, what may be done with it, what next."""
    name = card["name"]
    passing = _("{share:.1%} of the examples pass all {n} rules (report.html). That is a rule pass rate, not quality:")
    audit = _("for quality, let a person look: `tuneloop dataset audit {name}`.").format(name=name)
    sections = {
        "# " + name: [_made(card)],
        "## " + _("What is inside"): [*_inside(card), "", *_files()],
        "## " + _("How good it is"): [
            passing.format(share=card["rule_pass_rate"], n=len(card["rules"])) + " " + audit,
        ],
        "## " + _("Limits"): _limits(card),
        "## " + _("Next"): [
            "```",
            f"tuneloop dataset audit {name}",
            f"tuneloop dataset validate {name}/train.jsonl --for openai",
            f"tuneloop tune {name}",
            "```",
        ],
    }
    return "\n".join("\n".join([title, "", *lines, ""]) for title, lines in sections.items())


def _made(card: Mapping[str, Any]) -> str:
    chat = card["chats"][0]
    made = _(
        'Made by tuneloop {version} from the chat "{chat}" ({messages} messages, {first} to {last}): questions others '
        "asked, and how {speakers} answered."
    )
    return made.format(
        version=card["tuneloop"],
        chat=chat["name"],
        messages=chat["messages"],
        first=card["period"][0],
        last=card["period"][1],
        speakers=", ".join(s["name"] or s["id"] for s in card["speakers"]),
    )


def _inside(card: Mapping[str, Any]) -> list[str]:
    counts = card["counts"]
    kept = sum(counts.values())
    rejected = sorted(card["rejected"].items(), key=lambda item: (-item[1], item[0]))
    lines = [
        _("{read} examples were found = {kept} kept + {rejected} left out.").format(
            read=card["read"], kept=kept, rejected=card["read"] - kept
        ),
        "",
        f"| {_('part')} | {_('examples')} |",
        "|---|---:|",
        *(f"| {labels.part(part)} | {counts[part]} |" for part in SPLITS),
        "",
        _("Test holds the newest dialogues, validation a random sample of the older; no dialogue is in two parts."),
    ]
    if rejected:
        lines += ["", f"| {_('left out because')} | {_('examples')} |", "|---|---:|"]
        lines += [f"| {labels.reason(reason)} | {n} |" for reason, n in rejected]
    return lines


def _limits(card: Mapping[str, Any]) -> list[str]:
    found = ", ".join(f"{labels.kind(kind)} {n}" for kind, n in card["scrubbed"].items()) or _("nothing was found")
    removed = _("Personal data taken out: {found}. Names of people who are not in the chat may remain.")
    return [
        "- " + removed.format(found=found),
        "- " + _("report.html and card.json show the names of the most active people: keep them on this machine."),
        "- " + _("The words belong to the people who wrote them. Ask them before you publish the data or a model."),
        "- " + _("The same messages give the same files, byte for byte (id {id}).").format(id=card["id"]),
    ]


def _files() -> list[str]:
    rows = {
        "train.jsonl, validation.jsonl, test.jsonl": _("OpenAI chat messages: OpenAI, Mistral, Together, TRL, Axolotl"),
        "formats/gemini/": _("`contents` for Vertex AI"),
        "formats/sharegpt/, formats/alpaca/": _("LLaMA-Factory and others"),
        "examples.csv, examples.parquet": _("for a spreadsheet, pandas, DuckDB"),
        "dialogues.json": _("the full dialogues the examples were cut from"),
        "*.examples.jsonl": _("every field with message ids; what `tuneloop tune` reads"),
        "rules.jsonl": _("which rules an example fails"),
        "scrub.json": _("receipts: which file had what personal data removed, bound to its hash"),
        "report.html": _("the report, one page, no network needed"),
        "card.json": _("all figures, and the hash of every file; written last"),
    }
    return [
        f"| {_('file')} | {_('what it is')} |",
        "|---|---|",
        *(f"| {file} | {what} |" for file, what in rows.items()),
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
