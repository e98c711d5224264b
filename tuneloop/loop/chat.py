"""Judge a tuned chat model: every contestant answers the same held-out questions, the gate says what follows.

Contestants: the candidate, its base, the base shown five similar answered questions, the version that serves now,
and plain retrieval from the team's history. Answers and figures are kept in `runs/gate-<version>/`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuneloop import versions
from tuneloop.answer.closeness import chrf, closeness, is_verbatim
from tuneloop.answer.gate import Item, Memory, decide
from tuneloop.collect import dataset as datasets
from tuneloop.errors import Missing, NotEnoughData, Refused
from tuneloop.progress import Progress, silent
from tuneloop.records import Example, Verdict, Version
from tuneloop.search.history import History
from tuneloop.texts import _
from tuneloop.workspace import Workspace, new_folder, write_json

CANDIDATE, BASE, SHOWN, SERVING, HISTORY = "tuned", "base", "base + 5 examples", "serving now", "history"
CHANCE = "any old answer"  # the control: how much likeness the speaker's language alone gives
SHOTS = 5
# Writing answers is the slow part. The interval of the mean chrF is +-2.4 points with 74 held-out answers and +-1.2
# with 100 of a real group; 60 training ones without a copy put the share of copies under 6 % (Wilson).
MOST_ANSWERS, MOST_TRAINING = 100, 60


@dataclass(frozen=True)
class Judged:
    """The verdict and the folder with everything behind it (items.jsonl, verdict.json)."""

    verdict: Verdict
    folder: Path


def judge(workspace: Workspace, version: Version, *, watch: Progress = silent) -> Judged:
    """Let the contestants answer the version's held-out questions; store the verdict with the version.

    Raises Missing when the dataset it was tuned on is gone, NotEnoughData when that has no held-out questions.
    """
    data = _dataset(workspace, version)
    held_out, training = data.examples("test"), data.examples("train")
    if not held_out:
        raise NotEnoughData(
            _("dataset {name} has no held-out questions").format(name=data.folder.name),
            fix=_("Collect a longer export, then build the dataset and tune again."),
        )
    history = History(training)
    candidate = Loaded(workspace, version, data.system, watch)
    nats = {
        CANDIDATE: candidate.nats(held_out, _("tuned: real answers")),
        BASE: candidate.nats(held_out, _("base: real answers"), adapter=False),
        SHOWN: candidate.nats(held_out, _("base + 5: real answers"), adapter=False, shots=history),
    }
    asked = _sample(held_out, MOST_ANSWERS)
    said = {
        CANDIDATE: candidate.answers(asked, _("tuned: own answers")),
        BASE: candidate.answers(asked, _("base: own answers"), adapter=False),
        HISTORY: {e.id: history.answer(e.question) for e in asked},
        CHANCE: {e.id: training[i % len(training)].answer for i, e in enumerate(asked)},
    }
    serving = _serving(workspace, version)
    if serving:
        now = Loaded(workspace, serving, data.system, watch)
        nats[SERVING] = now.nats(held_out, _("serving now: real answers"))
        said[SERVING] = now.answers(asked, _("serving now: own answers"))
    memory = _memory(candidate, version, data.id, training, asked, said[CANDIDATE])
    items = _items(held_out, nats, said)
    own = [e.answer for e in training]
    spoken = {c: [a for a in said[c].values() if a] for c in (BASE, CANDIDATE)}
    style = closeness(spoken[BASE], spoken[CANDIDATE], own, [e.question for e in training])
    verdict = decide(
        items,
        memory,
        candidate=CANDIDATE,
        rivals=[c for c in (BASE, SHOWN, SERVING) if c in nats],
        retrieval=HISTORY,
        least=workspace.settings.integer("gate.min_questions"),
        closeness=style,
    )
    folder = _write(workspace, version, verdict, items, held_out, said)
    versions.judge(workspace, version, verdict)
    return Judged(verdict, folder)


class Loaded:
    """A loaded version with what judging asks of it; `adapter=False` is its base model."""

    def __init__(self, workspace: Workspace, version: Version, system: str, watch: Progress) -> None:
        from tuneloop.tune import heldout, model, template

        watch(_("loading the model"), 0, 1)
        self.model, self.tokenizer = model.load_version(workspace, version)
        self.template = template.check(workspace.path / version.path)
        self.system, self.watch = system, watch
        heldout.settle_threads(self.model)
        watch(_("loading the model"), 1, 1)

    def nats(
        self, examples: Sequence[Example], stage: str, *, adapter: bool = True, shots: History | None = None
    ) -> dict[str, float]:
        from tuneloop.tune import heldout

        chats = [_shown(e, self.system, shots) + e.conversation()[-1:] for e in examples]
        with _adapter(self.model, adapter):
            values = heldout.nats(self.model, self.tokenizer, self.template, chats, stage=stage, watch=self.watch)
        return {e.id: v for e, v in zip(examples, values, strict=True)}

    def answers(self, examples: Sequence[Example], stage: str, *, adapter: bool = True) -> dict[str, str]:
        prompts = [e.prompt(self.system) for e in examples]
        return dict(zip((e.id for e in examples), self.complete(prompts, stage, adapter=adapter), strict=True))

    def complete(self, prompts: Sequence[list[dict[str, str]]], stage: str, *, adapter: bool = True) -> list[str]:
        from tuneloop.tune import heldout

        with _adapter(self.model, adapter):
            return heldout.answers(self.model, self.tokenizer, self.template, prompts, stage=stage, watch=self.watch)


def _adapter(model: Any, wanted: bool) -> Any:
    from contextlib import nullcontext

    return nullcontext() if wanted else model.disable_adapter()


def _shown(example: Example, system: str, history: History | None) -> list[dict[str, str]]:
    """The prompt, with the nearest answered questions as earlier turns when a history is given."""
    prompt = example.prompt(system)
    head = prompt[:1] if system else []
    turns: list[dict[str, str]] = []
    # The nearest comes last, closest to the question; what does not fit is cut from the left.
    for near, _score in reversed(history.nearest(example.question, SHOTS) if history else []):
        turns += [{"role": "user", "content": near.question}, {"role": "assistant", "content": near.answer}]
    return [*head, *turns, *prompt[len(head) :]]


def _memory(
    candidate: Loaded,
    version: Version,
    dataset: str,
    training: Sequence[Example],
    asked: Sequence[Example],
    said: dict[str, str],
) -> Memory:
    """What the candidate repeats: training answers word for word, and planted secrets."""
    from tuneloop.tune import canaries, heldout

    tried = _sample(training, MOST_TRAINING)
    repeated = candidate.answers(tried, _("training questions again"))
    planted = canaries.planted(dataset)[: int(version.meta.get("canaries", 0))]
    given_away, bits = 0, 0.0
    if planted:
        others = canaries.alternatives(dataset)
        told = candidate.complete([c[:-1] for c in planted], _("planted secrets"))
        given_away = sum(canaries.secret(c) in answer for c, answer in zip(planted, told, strict=True))
        exposed = heldout.exposure(
            candidate.model,
            candidate.tokenizer,
            candidate.template,
            list(zip(planted, others, strict=False)),
            watch=candidate.watch,
        )
        bits = sum(exposed) / len(exposed)
    return Memory(
        train_copied=sum(is_verbatim(repeated[e.id], e.answer) for e in tried),
        train_tried=len(tried),
        heldout_copied=sum(is_verbatim(said[e.id], e.answer) for e in asked),
        heldout_tried=len(asked),
        canaries=len(planted),
        canaries_extracted=given_away,
        exposure=bits,
    )


def _items(
    held_out: Sequence[Example], nats: dict[str, dict[str, float]], said: dict[str, dict[str, str]]
) -> list[Item]:
    """One item a question that every model could take; a question too long for one of them is left out for all."""
    return [
        Item(
            example=e.id,
            dialogue=f"{e.chat}/{e.dialogue}",
            chars=len(e.answer),
            # The last digits depend on how many threads added them up.
            nats={contestant: round(values[e.id], 4) for contestant, values in nats.items()},
            chrf={c: chrf(answers[e.id], e.answer) for c, answers in said.items() if e.id in answers},
        )
        for e in held_out
        if not any(math.isnan(values[e.id]) for values in nats.values())
    ]


def _write(
    workspace: Workspace,
    version: Version,
    verdict: Verdict,
    items: Sequence[Item],
    held_out: Sequence[Example],
    said: dict[str, dict[str, str]],
) -> Path:
    by_id = {e.id: e for e in held_out}
    folder = workspace.folder("runs") / f"gate-{version.id}"
    with new_folder(folder) as staging:
        with (staging / "items.jsonl").open("w", encoding="utf-8") as lines:
            for item in items:
                answers = {c: texts[item.example] for c, texts in said.items() if item.example in texts}
                row = {
                    **asdict(item),
                    "question": by_id[item.example].question,
                    "truth": by_id[item.example].answer,
                    "answers": answers,
                }
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        write_json(staging / "verdict.json", asdict(verdict))
    return folder


def _dataset(workspace: Workspace, version: Version) -> datasets.Dataset:
    if not version.meta.get("dataset_path"):
        raise Refused(
            _("version {id} was not tuned here, so none of its questions are known to be held out").format(
                id=version.id
            ),
            fix=_("Try it with `tuneloop serve --version {id}`, or tune on your own dataset.").format(id=version.id),
        )
    data = datasets.load(workspace.path / str(version.meta["dataset_path"]))
    if data.id != version.meta["dataset"]:
        raise Missing(
            _("dataset {name} was built again since version {id} was tuned on it").format(
                name=data.folder.name, id=version.id
            ),
            fix=_("Tune again on it as it is now: its held-out questions may be what this version was trained on."),
        )
    return data


def _serving(workspace: Workspace, version: Version) -> Version | None:
    return next((v for v in versions.history(workspace) if v.active and v.id != version.id), None)


def _sample(examples: Sequence[Example], most: int) -> list[Example]:
    """At most so many, the same ones each time, in their order."""
    if len(examples) <= most:
        return list(examples)
    chosen = set(random.Random(0).sample(range(len(examples)), most))
    return [e for i, e in enumerate(examples) if i in chosen]
