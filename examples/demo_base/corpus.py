"""Reads the training text and packs it into token streams.

Why the shares below: the demo chat is Russian with some English and IT slang, so about 70 % of the tokens are
Russian (0.50 books + 0.20 chat) and 30 % English; 30 % of all tokens are in chat format, which is enough for
a 3.4 M parameter model to close every answer with <|im_end|>, and the books keep it from learning nothing but
the generator's templates. Streams are sampled by share, so the sizes of the sources do not matter.

Paragraphs that occur twice (collections repeat single stories) are dropped after their first use, and the
held-out text is cut from what remains: otherwise up to a tenth of it would have been seen in training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import chat
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

Tokens = npt.NDArray[np.int32]

PAD, END_OF_TEXT, IM_START, IM_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = [PAD, END_OF_TEXT, IM_START, IM_END]  # ids 0 to 3

SHARES = {"books_ru": 0.50, "books_en": 0.20, "chat_ru": 0.20, "chat_en": 0.10}
HELD_OUT_SHARE = 0.02  # of every book long enough to give whole paragraphs
HELD_OUT_FROM_CHARS = 40_000
HELD_OUT_MAX_CHARS = 120_000  # per stream: enough for two digits, a few seconds to measure


@dataclass
class Book:
    """One text file, with paragraphs one per line."""

    title: str
    lang: str
    text: str


@dataclass
class Stream:
    """The tokens of one source; starts are the places where a window may begin (empty: anywhere)."""

    tokens: Tokens
    starts: Tokens = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    def window(self, length: int, rng: np.random.Generator) -> Tokens:
        """Take length tokens from a random place; a stream shorter than that is repeated."""
        if len(self.tokens) < length:
            return np.resize(self.tokens, length)
        last = len(self.tokens) - length
        at = int(rng.choice(self.starts)) if len(self.starts) else int(rng.integers(0, last + 1))
        at = min(at, last)
        return self.tokens[at : at + length]


@dataclass
class Corpus:
    """Training text and held-out text by source (books_ru, books_en, chat_ru, chat_en)."""

    titles: list[str]
    books: dict[str, list[str]]
    dialogues: dict[str, list[str]]
    held_out: dict[str, str]

    def training_chars(self) -> dict[str, int]:
        """Characters of training text per source."""
        return {name: sum(map(len, texts)) for name, texts in (self.books | self.dialogues).items()}


def read_text(path: Path) -> str:
    """Read a text file in UTF-8 or, failing that, in cp1251."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1251", errors="replace")


def unwrap(text: str) -> str:
    """Join hard-wrapped prose (all lines but the last 50 to 85 long); verse has shorter lines and stays."""
    paragraphs = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        lines = [re.sub(r"\s+", " ", line).strip() for line in block.split("\n") if line.strip()]
        wrapped = len(lines) > 1 and all(50 <= len(line) <= 85 for line in lines[:-1])
        paragraphs.append((" " if wrapped else "\n").join(lines))
    return "\n".join(p for p in paragraphs if p)


def language(text: str) -> str:
    """Russian if at least 30 % of the letters are Cyrillic, else English."""
    sample = text[:20_000]
    letters = sum(c.isalpha() for c in sample)
    cyrillic = sum("\u0400" <= c <= "\u04ff" for c in sample)
    return "ru" if cyrillic > 0.3 * max(letters, 1) else "en"


def read_books(folder: Path) -> list[Book]:
    """Read all *.txt files below the folder, in a fixed order, without repeated paragraphs."""
    seen: set[str] = set()
    books = []
    for path in sorted(folder.rglob("*.txt")):
        kept = []
        for paragraph in unwrap(read_text(path)).split("\n"):
            if len(paragraph) >= 60:
                if paragraph in seen:
                    continue
                seen.add(paragraph)
            kept.append(paragraph)
        text = "\n".join(kept)
        if len(text) > 200:
            books.append(Book(f"{path.parent.name}: {path.stem}", language(text), text))
    if not books:
        raise SystemExit(f"No *.txt books found below {folder}")
    return books


def split_held_out(text: str) -> tuple[list[str], str]:
    """Cut a slice of whole paragraphs out of the middle; the parts before and after stay for training."""
    if len(text) < HELD_OUT_FROM_CHARS:
        return [text], ""
    begin = text.find("\n", len(text) // 2) + 1
    end = text.find("\n", begin + int(len(text) * HELD_OUT_SHARE)) + 1
    if begin == 0 or end == 0:
        return [text], ""
    return [text[:begin], text[end:]], text[begin:end]


def build_corpus(folder: Path, dialogues: int, seed: int) -> Corpus:
    """Read the books, make the dialogues, and set held-out text aside."""
    corpus = Corpus([], {"books_ru": [], "books_en": []}, {}, {"books_ru": "", "books_en": ""})
    for book in read_books(folder):
        name = f"books_{book.lang}"
        parts, held_out = split_held_out(book.text)
        corpus.titles.append(book.title)
        corpus.books[name] += parts
        if len(corpus.held_out[name]) < HELD_OUT_MAX_CHARS:
            corpus.held_out[name] += held_out
    for lang, made in chat.make_dialogues(dialogues, seed).items():
        texts = [chat.to_chatml(messages) for messages in made]
        cut = max(1, min(len(texts) // 50, 400))
        corpus.dialogues[f"chat_{lang}"] = texts[cut:]
        corpus.held_out[f"chat_{lang}"] = "".join(texts[:cut])
        own = (chat.TEXT / f"heldout_{lang}.txt").read_text(encoding="utf-8")
        corpus.held_out[f"own_{lang}"] = own
    return corpus


def train_tokenizer(corpus: Corpus, vocab: int) -> Tokenizer:
    """Train a byte-level BPE with the plain GPT-2 pre-tokenizer (the GGUF export names it ``gpt-2``)."""

    def texts() -> Iterator[str]:
        for parts in corpus.books.values():
            yield from parts
        for name, made in corpus.dialogues.items():
            share = 12_000 if name == "chat_ru" else 6_000  # about 30 % of the characters, as in training
            yield from (re.sub(r"<\|im_\w+\|>", "", text) for text in made[:share])

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def encode_streams(corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Stream]:
    """Encode every source; books are cut into paragraphs first (ten times faster than whole books)."""
    end = SPECIAL_TOKENS.index(END_OF_TEXT)
    streams = {}
    for name, parts in corpus.books.items():
        ids: list[int] = []
        for part in parts:
            for encoding in tokenizer.encode_batch(part.splitlines(keepends=True)):
                ids += encoding.ids
            ids.append(end)
        if ids:
            streams[name] = Stream(np.array(ids, dtype=np.int32))
    for name, texts in corpus.dialogues.items():
        ids, starts = [], []
        for encoding in tokenizer.encode_batch(texts):
            starts.append(len(ids))
            ids += [*encoding.ids, end]
        streams[name] = Stream(np.array(ids, dtype=np.int32), np.array(starts, dtype=np.int32))
    return streams


class Sampler:
    """Makes batches; batch number n of a seed is always the same, so a resumed run sees the same text."""

    def __init__(self, streams: dict[str, Stream], seed: int) -> None:
        """Keep the streams and the shares of those that exist."""
        self.streams = streams
        self.names = [name for name in SHARES if name in streams]
        shares = np.array([SHARES[name] for name in self.names])
        self.shares = shares / shares.sum()
        self.seed = seed

    def batch(self, step: int, size: int, length: int) -> Tokens:
        """Return size windows of length + 1 tokens; the sources are spread evenly over steps."""
        rng = np.random.default_rng((self.seed, step))
        points = (np.arange(size) + rng.random()) / size
        which = np.searchsorted(np.cumsum(self.shares)[:-1], points, side="right")
        windows = [self.streams[self.names[w]].window(length + 1, rng) for w in which]
        return np.stack(windows)
