"""Search in documents: questions about encyclopaedia pages, beside plain substrings and TF-IDF; time of a search.

836 Russian pages with 613 questions and, in Russian and English, 120 paragraphs with 632 questions: third-party data
that is not part of the project (rag_dev.zip, looked for in ../shared/data). Right: the first passage, or one of the
first five, comes from the page that holds the answer. Every contestant searches the same passages.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from bench.frame import ROOT
from tuneloop.search import documents
from tuneloop.search.documents import Document
from tuneloop.search.library import BAR, Library
from tuneloop.search.passages import cut
from tuneloop.stats import wilson
from tuneloop.workspace import Workspace, open_workspace

DATA = ROOT.parent / "shared" / "data" / "rag_dev.zip"
TIMED = 10_000  # passages at which a search is timed
Search = Callable[[str], Sequence[str]]  # question -> pages of the first five passages
# Of a workshop, not of an encyclopaedia: nothing there answers them.
ELSEWHERE = (
    "Сколько стоит доставка в Томск?", "Можно ли вернуть шлем, если он мал?", "Когда придёт мой заказ?",
    "Есть ли скидка для постоянных покупателей?", "Как часто смазывать цепь?", "Вы открыты в воскресенье?",
    "Почему не проходит оплата картой?", "Подойдёт ли камера к колесу 28 дюймов?",
    "Где посмотреть гарантийный талон?",
    "Как отменить подписку на рассылку?", "Сколько ждать мастера?", "Почему приложение не видит датчик?",
    "Можно забрать заказ завтра утром?", "Какая у вас минимальная сумма заказа?", "Как сменить пароль?",
    "Делаете ли вы развал колёс?", "Кому писать насчёт брака?", "Чем отличается базовый тариф от полного?",
    "Сколько держит аккумулятор зимой?", "Как добавить второго пользователя?",
)  # fmt: skip


def run() -> None:
    if not DATA.exists():
        print(f"{DATA} is not there; this bench needs it")
        return
    with ZipFile(DATA) as archive, tempfile.TemporaryDirectory() as folder:
        workspace = open_workspace(Path(folder) / "work", create=True)
        encyclopaedia(workspace, archive)
        for language in ("ru", "en"):
            paragraphs(workspace, archive, language)
        workspace.db.close()


def encyclopaedia(workspace: Workspace, archive: ZipFile) -> None:
    names = sorted(name for name in archive.namelist() if "/files/" in name and name.endswith(".txt"))
    pages = {name.rsplit("/", 1)[1]: archive.read(name).decode() for name in names}
    (listed,) = (name for name in archive.namelist() if name.endswith("questions.jsonl"))
    lines = [json.loads(line) for line in archive.read(listed).decode().splitlines()]
    questions = [(line["question"], line["file"]) for line in lines if line["file"] in pages]
    sizes = {name: len(cut(text)) for name, text in pages.items()}
    first, count = [], 0
    for name in pages:
        if count < TIMED:
            first.append(name)
            count += sizes[name]
    began = time.perf_counter()
    fill(workspace, "pages", {name: pages[name] for name in first})
    print(f"stored {len(first)} pages, {count:,} passages in {time.perf_counter() - began:.1f} s")
    timed(workspace, [question for question, _page in questions])
    bar(workspace, questions, set(first))
    fill(workspace, "pages", pages)
    print(f"\n{len(pages)} pages, {sum(sizes.values()):,} passages, {len(questions)} questions")
    contest(workspace, "pages", pages, questions)
    timed(workspace, [question for question, _page in questions])


def paragraphs(workspace: Workspace, archive: ZipFile, language: str) -> None:
    (name,) = (name for name in archive.namelist() if f"xquad.{language}." in name)
    texts, questions = {}, []
    for article in json.loads(archive.read(name))["data"]:
        for paragraph in article["paragraphs"]:
            key = f"{len(texts):04}"
            texts[key] = paragraph["context"]
            questions += [(one["question"], key) for one in paragraph["qas"]]
    fill(workspace, language, texts)
    print(f"\n{len(texts)} paragraphs ({language}), {len(questions)} questions")
    contest(workspace, language, texts, questions)


def fill(workspace: Workspace, name: str, texts: dict[str, str]) -> None:
    if name not in {one["name"] for one in documents.history(workspace)}:
        documents.create(workspace, name)
    sent = [Document(key, text) for key, text in texts.items() if text.strip()]
    for start in range(0, len(sent), 20):
        documents.add(workspace, name, sent[start : start + 20])


def contest(workspace: Workspace, name: str, texts: dict[str, str], questions: Sequence[tuple[str, str]]) -> None:
    passages = [(key, passage) for key, text in texts.items() for passage in cut(text)]
    library = Library(workspace)
    contestants: dict[str, Search] = {
        "tuneloop": lambda question: [one.document for one in library.search(name, question)],
        "TF-IDF": tf_idf(passages),
        "substrings": substrings(passages),
    }
    print(f"{'':12} {'first passage right':>28} {'one of five':>28}")
    for who, search in contestants.items():
        found = [(page, search(question)) for question, page in questions]
        cells = []
        for k in (1, 5):
            hits = sum(page in pages[:k] for page, pages in found)
            low, high = wilson(hits, len(found))
            cells.append(f"{hits / len(found):7.1%} [{low:.1%}, {high:.1%}]")
        print(f"{who:12} {cells[0]:>28} {cells[1]:>28}")


def tf_idf(passages: Sequence[tuple[str, str]]) -> Search:
    """scikit-learn's, as it comes: whole lower-case words, cosine."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer()
    matrix = vectoriser.fit_transform([text for _key, text in passages]).T.tocsr()

    def search(question: str) -> list[str]:
        scores: Any = (vectoriser.transform([question]) @ matrix).toarray()[0]
        return [passages[int(at)][0] for at in (-scores).argsort(kind="stable")[:5]]

    return search


def substrings(passages: Sequence[tuple[str, str]]) -> Search:
    """How many of the question's words of four letters or more stand in a passage, anywhere."""
    lower = [(key, text.lower()) for key, text in passages]

    def search(question: str) -> list[str]:
        words = [word for word in (w.strip("?!.,:;«»\"'()") for w in question.lower().split()) if len(word) > 3]
        scores = [sum(word in text for word in words) for _key, text in lower]
        return [lower[at][0] for at in sorted(range(len(lower)), key=lambda at: -scores[at])[:5]]

    return search


def timed(workspace: Workspace, questions: Sequence[str]) -> None:
    """One search after another, with its look at the database and the texts of five passages."""
    library = Library(workspace)
    began = time.perf_counter()
    library.search("pages", questions[0])
    made = time.perf_counter() - began
    seconds = []
    for question in questions:
        began = time.perf_counter()
        library.search("pages", question)
        seconds.append(time.perf_counter() - began)
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"{library.held:,} passages: index made from rows in {made:.1f} s; a search takes "
        f"{cuts[49] * 1000:.1f} ms (p50), {cuts[94] * 1000:.1f} ms (p95)"
    )


def bar(workspace: Workspace, questions: Sequence[tuple[str, str]], there: set[str]) -> None:
    """Who passes the default threshold: questions whose page is there, whose page is not, and of something else."""
    library = Library(workspace)

    def passed(asked: Sequence[str]) -> str:
        hits = sum(bool(library.search("pages", one, similarity_threshold=BAR)) for one in asked)
        return f"{hits / len(asked):.0%} of {len(asked)}"

    print(
        f"threshold {BAR}, questions let through: whose page is there {passed([q for q, p in questions if p in there])}, "
        f"whose page is not {passed([q for q, p in questions if p not in there])}, "
        f"about something else {passed(ELSEWHERE)}"
    )
