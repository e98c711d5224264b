"""What the conversations are about: TF-IDF over lemmas, factorised by NMF; topics named by their strongest words.

NMF (Lee & Seung 1999) on TF-IDF beats LDA on short texts and is deterministic with NNDSVD initialisation. The number
of topics is the candidate with the best mean NPMI coherence of its top words (Bouma 2009; Röder et al. 2015).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tuneloop.collect.words import STOP, lemma, tokens
from tuneloop.progress import Progress, silent
from tuneloop.records import Example
from tuneloop.texts import _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FITTED = 20_000  # documents the factorisation is fitted on; the rest is only assigned
CHOSEN_ON = 4_000  # documents on which the candidate numbers of topics are compared
TOP = 8  # words that describe a topic


@dataclass(frozen=True)
class Topic:
    """`share` of examples whose strongest topic this is; `examples` holds the ids of its three clearest."""

    name: str
    words: tuple[str, ...]
    share: float
    examples: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "words": list(self.words), "examples": list(self.examples)}


def find_topics(examples: Sequence[Example], watch: Progress = silent) -> list[Topic]:
    """Topics of the examples, largest first; empty when there are fewer than 30 examples with content words."""
    documents, surface = _documents(examples, watch)
    known = [i for i, words in enumerate(documents) if words]
    if len(known) < 30:
        return []
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    # A word of one or two dialogues is no topic; a word of 40 % of them is none either.
    rare = 2 if len(known) < 500 else max(3, len(known) // 2000)
    vectors = TfidfVectorizer(
        analyzer=_as_is, min_df=rare, max_df=0.4, sublinear_tf=True, max_features=5000, dtype=np.float32
    )
    step = max(1, len(known) // FITTED)
    fitted = [documents[i] for i in known[::step]]
    try:
        matrix = vectors.fit_transform(fitted)
    except ValueError:  # sklearn's answer when pruning leaves no word
        return []
    if matrix.shape[1] < 12:
        return []
    words = list(vectors.get_feature_names_out())
    with threadpool_limits(1):  # the same sums in the same order on every machine with the same BLAS
        watch(_("topics"), 0.5, 1)
        model = _fit(matrix, _best_number(matrix, words))
        weights = model.transform(vectors.transform(documents[i] for i in known))
    watch(_("topics"), 1, 1)
    return _named(model.components_, weights, words, surface, [examples[i].id for i in known])


def _as_is(words: list[str]) -> list[str]:
    return words


def _documents(examples: Sequence[Example], watch: Progress) -> tuple[list[list[str]], dict[str, Counter[str]]]:
    # surface: lemma -> how people really write it, so that a topic is named "тесты", not "тест"
    surface: dict[str, Counter[str]] = defaultdict(Counter)
    documents = []
    for number, example in enumerate(examples):
        found = []
        for word in tokens(f"{example.question}\n{example.answer}"):
            if len(word) < 3 or word in STOP:
                continue
            base = lemma(word)
            if base not in STOP and len(base) > 2:
                found.append(base)
                surface[base][word] += 1
        documents.append(found)
        if number % 500 == 0:
            watch(_("topics"), number / len(examples) / 2, 1)
    return documents, surface


def _fit(matrix: Any, n: int) -> Any:
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(n_components=n, init="nndsvd", random_state=0, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # 200 sweeps name the topics as well as 2,000 do: only the last digits of the weights still move.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(matrix)


def _best_number(matrix: Any, words: list[str]) -> int:
    documents = matrix.shape[0]
    most = min(matrix.shape[1] // 4, documents // 10)
    candidates = [n for n in (3, 5, 8, 12) if n <= most] or [2]
    if len(candidates) == 1:
        return candidates[0]
    sample = matrix[:: max(1, documents // CHOSEN_ON)]
    scored = [(round(_coherence(_fit(sample, n).components_, sample), 3), n) for n in candidates]
    best = max(value for value, _n in scored)
    # Within 0.02 of the best coherence the finer division tells a person more.
    return max(n for value, n in scored if value >= best - 0.02)


def _coherence(components: NDArray[np.float32], matrix: Any) -> float:
    """Mean NPMI of the pairs among each topic's top words, from document co-occurrence."""
    import numpy as np

    present = (matrix > 0).astype(np.float64)
    n = matrix.shape[0]
    values = []
    for row in components:
        top = np.argsort(-row, kind="stable")[:TOP]
        block = present[:, top]
        together = np.asarray((block.T @ block).todense()) / n
        alone = np.diag(together)
        for i in range(len(top)):
            for j in range(i):
                both = together[i, j]
                values.append(-1.0 if both == 0 else _npmi(both, alone[i], alone[j]))
    return float(np.mean(values))


def _npmi(both: float, one: float, other: float) -> float:
    import math

    return 1.0 if both >= 1 else math.log(both / (one * other)) / -math.log(both)


def _named(
    components: NDArray[np.float32],
    weights: NDArray[np.float32],
    words: list[str],
    surface: dict[str, Counter[str]],
    ids: list[str],
) -> list[Topic]:
    import numpy as np

    strongest = np.where(weights.max(axis=1) > 1e-6, weights.argmax(axis=1), -1)
    topics = []
    for index, row in enumerate(components):
        members = np.flatnonzero(strongest == index)
        if len(members) == 0:
            continue
        top = [words[i] for i in np.argsort(-row, kind="stable")[:TOP] if row[i] > 0]
        # The most frequent form; of equals the alphabetically first, so that builds agree.
        shown = tuple(min(surface[w].items(), key=lambda item: (-item[1], item[0]))[0] for w in top)
        clearest = members[np.argsort(-weights[members, index], kind="stable")[:3]]
        share = round(len(members) / len(ids), 4)
        topics.append(Topic(", ".join(shown[:3]), shown, share, tuple(ids[i] for i in clearest)))
    return sorted(topics, key=lambda topic: (-topic.share, topic.name))
