"""From a chat's messages to a dataset folder: pair, clean, scrub, split, drop copies, score, write.

Nothing is lost silently: examples read = examples kept + rejected(reason), in the card and on the screen. The same
messages give the same bytes; card.json is written last, into a folder that takes its name only when complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, or_

from tuneloop import __version__
from tuneloop.collect import formats
from tuneloop.collect.activity import Activity, look
from tuneloop.collect.privacy import KINDS, Scrubber, structured
from tuneloop.collect.split import SPLITS, split, without_copies
from tuneloop.collect.writing import Prepared, write_folder
from tuneloop.db.tables import datasets as datasets_table
from tuneloop.errors import BadInput, Damaged, Missing, NotEnoughData
from tuneloop.progress import Progress, silent
from tuneloop.records import Chat, Example
from tuneloop.texts import _
from tuneloop.workspace import Workspace, new_folder

if TYPE_CHECKING:
    from tuneloop.collect.examples import Built
    from tuneloop.settings import Settings

# What OpenAI's tuning asks as a minimum; below it a split into three is no split.
FEWEST = 10
# Folder names go into shells, archives and model names, where only Latin letters are safe.
LATIN = str.maketrans(
    dict(zip("абвгдезийклмнопрстуфхъыьэё", [*"abvgdeziyklmnoprstufh", "", "y", "", "e", "e"], strict=True))
    | {"ж": "zh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sch", "ю": "yu", "я": "ya", "і": "i", "ї": "yi", "є": "ye"}
)


@dataclass(frozen=True)
class Dataset:
    """A built dataset folder. `card` is what card.json says."""

    folder: Path
    card: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.card["id"])

    @property
    def system(self) -> str:
        return str(self.card["system"])

    def examples(self, part: str) -> list[Example]:
        """The examples of "train", "validation" or "test", oldest first."""
        lines = formats.read_jsonl(self.folder / f"{part}.examples.jsonl")
        return [formats.from_canonical(line) for line in lines]

    @cached_property
    def failed(self) -> dict[str, list[str]]:
        """Example id -> names of the rules it fails; ids that pass all are absent."""
        return {line["id"]: line["failed"] for line in formats.read_jsonl(self.folder / "rules.jsonl")}


def load(folder: Path) -> Dataset:
    """Open a dataset folder. Raises Missing when it is none, Damaged when its card cannot be read."""
    path = folder / "card.json"
    if not path.exists():
        raise Missing(
            _("there is no dataset in {folder}").format(folder=folder),
            fix=_("`tuneloop dataset list` shows them; `tuneloop dataset build` makes one."),
        )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return Dataset(folder, {**card, "id": str(card["id"])})
    except (ValueError, KeyError, TypeError) as problem:
        raise Damaged(
            _("{path} cannot be read: {problem}").format(path=path, problem=problem),
            fix=_("Build the dataset again: tuneloop dataset build."),
        ) from problem


def listed(workspace: Workspace) -> list[Dataset]:
    """Every dataset of the workspace, by name."""
    return [load(path.parent) for path in sorted(workspace.folder("datasets").glob("[!.]*/card.json"))]


def find(workspace: Workspace, name: str | None) -> Dataset:
    """The dataset called `name` (or its id's beginning); with None the only one there is.

    Raises Missing when there is none, BadInput when the choice is not clear.
    """
    known = listed(workspace)
    names = ", ".join(d.folder.name for d in known)
    if name is None and len(known) > 1:
        raise BadInput(
            _("there are several datasets: {names}").format(names=names), fix=_("Say which one: give its name.")
        )
    fitting = [d for d in known if name is None or d.folder.name == name]
    fitting = fitting or [d for d in known if name and len(name) >= 4 and d.id.startswith(name)]
    if not fitting:
        said = _("there is no dataset '{name}'").format(name=name) if name else _("there is no dataset yet")
        there = _("There is: {names}.").format(names=names)
        raise Missing(said, fix=there if names else _("Make one: tuneloop dataset build."))
    return fitting[0]


def build(
    workspace: Workspace,
    *,
    chat: str | None = None,
    speakers: Sequence[str] = (),
    name: str | None = None,
    system: str = "",
    watch: Progress = silent,
) -> Path:
    """Build a dataset of one chat (None: the largest) and speakers (none: the suggested one); returns its folder.

    A dataset of that name is replaced. Raises Missing without messages, NotEnoughData below 10 kept examples.
    """
    from tuneloop.collect import examples, store

    known = {c.id: (c, n) for c, n in store.chats(workspace)}
    if not known:
        raise Missing(_("no messages are in this workspace"), fix=_("Read an export first: tuneloop collect EXPORT."))
    chosen, messages = known[chat] if chat in known else next(iter(known.values()))
    if chat is not None and chosen.id != chat:
        raise Missing(
            _("there is no chat '{chat}'").format(chat=chat),
            fix=_("There are: {chats}.").format(chats=", ".join(f"{c.id} ({c.name})" for c, _n in known.values())),
        )
    built = examples.build(workspace, chosen.id, speakers, watch)
    activity = look(store.messages(workspace, chosen.id), built.speakers, messages)
    return assemble(
        workspace,
        built,
        chosen,
        activity,
        store.roster(workspace, chosen.id),
        name=name or slug(chosen.name),
        system=system,
        watch=watch,
    )


def assemble(
    workspace: Workspace,
    built: Built,
    chat: Chat,
    activity: Activity,
    roster: Mapping[str, set[str]],
    *,
    name: str,
    system: str = "",
    watch: Progress = silent,
) -> Path:
    """Make the folder of what `examples.build` found. Raises NotEnoughData; then nothing is written."""
    if not re.fullmatch(r"[\w][\w.-]{0,79}", name):
        raise BadInput(
            _("'{name}' cannot be a dataset's name").format(name=name),
            fix=_("Use letters, digits, dots, - and _; at most 80."),
        )
    scrubber = Scrubber(roster)
    prepared = prepare(built, scrubber, workspace.settings, watch)
    kept = len(prepared.examples)
    if kept < FEWEST:
        raise not_enough(prepared.read, prepared.rejected, kept)
    card, failed = describe(prepared, built, chat, activity, scrubber, name=name, system=system, watch=watch)
    final = workspace.folder("datasets") / name
    with workspace.lock("dataset"), new_folder(final) as staging:
        write_folder(staging, prepared, card, failed, activity, scrubber, watch)
    row = {"id": card["id"], "path": str(final.relative_to(workspace.path)), "created": int(time.time()), "card": card}
    with workspace.db.write() as rows:
        same = or_(datasets_table.c.id == row["id"], datasets_table.c.path == row["path"])
        rows.execute(delete(datasets_table).where(same))
        rows.execute(insert(datasets_table), [row])
    return final


def prepare(built: Built, scrubber: Scrubber, settings: Settings, watch: Progress = silent) -> Prepared:
    """Clean, scrub, split, drop copies."""
    from tuneloop.collect import clean, duplicates

    rejected: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    kept = []
    for number, example in enumerate(built.examples):
        if reason := clean.check(example, settings):
            rejected[reason] += 1
            continue
        kept.append(scrubbed(example, scrubber, removed))
        watch(_("cleaning and removing personal data"), number + 1, len(built.examples))
    parts = split(
        kept,
        validation_share=settings.number("dataset.validation_share"),
        test_share=settings.number("dataset.test_share"),
    )
    watch(_("looking for copies"), 0, 1)
    like = settings.number("dataset.near_duplicate")
    cut = without_copies(parts, like, duplicates.exact_and_near, duplicates.shared_questions)
    watch(_("looking for copies"), 1, 1)
    for reasons in cut.dropped.values():
        rejected.update(reasons.values())
    used = {(e.chat, e.dialogue) for examples in cut.parts.values() for e in examples}
    dialogues = [d for d in built.dialogues if (d.chat, d.id) in used]
    copies = {part: len(reasons) for part, reasons in cut.dropped.items()}
    result = Prepared(len(built.examples), cut.parts, dialogues, rejected, copies, removed)
    assert result.read == len(result.examples) + rejected.total(), "an example was lost without a reason"
    return result


def scrubbed(example: Example, scrubber: Scrubber, removed: Counter[str]) -> Example:
    """The example without personal data; what was taken out is added to `removed`."""

    def clean(text: str) -> str:
        text, found = scrubber.scrub(text)
        removed.update(found)
        return text

    return dataclasses.replace(
        example,
        question=clean(example.question),
        answer=clean(example.answer),
        context=tuple((role, clean(text)) for role, text in example.context),
    )


def describe(
    prepared: Prepared,
    built: Built,
    chat: Chat,
    activity: Activity,
    scrubber: Scrubber,
    *,
    name: str,
    system: str,
    watch: Progress = silent,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """(card without `files`, example id -> failed rules)."""
    from tuneloop.collect import language
    from tuneloop.collect.score import score
    from tuneloop.collect.style import profile
    from tuneloop.collect.topics import find_topics

    examples = prepared.examples
    watch(_("scoring"), 0, 1)
    scored = score(examples, identify=language.identify, find_personal=lambda text: structured(text)[1])
    own = Counter({w: n for w, n in activity.own_words.items() if not scrubber.scrub(w)[1]})
    languages = Counter(e.language or language.UNKNOWN for e in examples)
    edges = Counter(e.edge for e in examples)
    lengths = sorted(len(e.answer) for e in examples)
    canonical = "".join(formats.jsonl(map(formats.canonical, prepared.parts[part])) for part in SPLITS)
    shown = {*activity.most_replying(), *built.speakers}
    card = {
        "name": name,
        "id": hashlib.sha256(f"{system}\n{canonical}".encode()).hexdigest()[:16],
        "tuneloop": __version__,
        "chats": [{"id": chat.id, "name": chat.name, "source": chat.source, "messages": activity.messages}],
        "period": [_day(activity.first), _day(activity.last)],
        "speakers": [{"id": s, "name": activity.names.get(s, "")} for s in built.speakers],
        # Whose names report.html shows: `forget` looks here.
        "people": sorted({activity.names.get(s, "") for s in shown} - {""}),
        "system": system,
        "read": prepared.read,
        "counts": {part: len(prepared.parts[part]) for part in SPLITS},
        "rejected": dict(sorted(prepared.rejected.items())),
        "copies": prepared.copies,
        "dialogues": len({(e.chat, e.dialogue) for e in examples}),
        "edges": dict(sorted(edges.items())),
        "links": built.links,
        "left_out": built.left_out,
        "scrubbed": {kind: prepared.removed[kind] for kind in KINDS if prepared.removed[kind]},
        "rules": scored.rates,
        "rule_pass_rate": scored.all_pass,
        "rule_by_chance": {"answers_question": scored.by_chance},
        "languages": dict(sorted(languages.items())),
        "answer_length": {"median": lengths[len(lengths) // 2], "p90": lengths[len(lengths) * 9 // 10]},
        "topics": [topic.as_dict() for topic in find_topics(examples, watch)],
        "style": profile([e.answer for e in examples], own, activity.other_words),
    }
    return card, scored.failed


def trained_on(workspace: Workspace, dataset: Dataset) -> list[str]:
    """Ids of versions trained on this dataset."""
    from tuneloop import versions

    path = str(dataset.folder.relative_to(workspace.path))
    return [v.id for v in versions.history(workspace) if v.meta.get("dataset_path") == path]


def remove(workspace: Workspace, dataset: Dataset) -> None:
    """Delete the folder and its row."""
    import shutil

    with workspace.lock("dataset"):
        (dataset.folder / "card.json").unlink()  # from here on it is no dataset, whatever happens to the rest
        shutil.rmtree(dataset.folder)
        with workspace.db.write() as rows:
            path = str(dataset.folder.relative_to(workspace.path))
            rows.execute(delete(datasets_table).where(datasets_table.c.path == path))


def command(dataset: Dataset) -> str:
    """The command line that builds this dataset again."""
    import shlex

    card = dataset.card
    words = ["tuneloop", "dataset", "build", "--chat", card["chats"][0]["id"], "--name", dataset.folder.name]
    for speaker in card["speakers"]:
        words += ["--speaker", speaker["id"]]
    return shlex.join([*words, *(["--system", card["system"]] if card["system"] else [])])


def not_enough(read: int, rejected: Counter[str], kept: int) -> NotEnoughData:
    """The honest answer when there is too little, with what took the rest and what to do."""
    reasons = ", ".join(f"{reason} {n}" for reason, n in rejected.most_common(4))
    return NotEnoughData(
        _("only {kept} of {read} examples are left, a dataset needs at least {fewest}").format(
            kept=kept, read=read, fewest=FEWEST
        )
        + (f" ({reasons})" if reasons else ""),
        fix=_("Choose another or several speakers (`tuneloop speakers`), or collect a longer export of the chat."),
    )


def slug(text: str) -> str:
    """A folder name of a chat's name: Latin lower case, words joined by "-"; "dataset" when nothing is left."""
    latin = text.lower().translate(LATIN)
    words = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode())
    return "-".join(words)[:60].strip("-") or "dataset"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else ""
