"""Our own judgement of GGUF headers: 48 files that lie, thousands of mutations, and the files that must pass."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.tiny import BASICS, by_hand, pair, tensor, text, u32, vocabulary, write_tiny
from tuneloop.engines import gguf_check, gguf_header
from tuneloop.engines.gguf_types import TENSOR_TYPES
from tuneloop.errors import BadInput, Damaged, Hostile, Missing

HUGE = 2**63


def replaced(key: bytes) -> tuple[bytes, ...]:
    """The basic keys with the one of the same name exchanged."""
    size = struct.unpack_from("<Q", key)[0]
    name = key[8 : 8 + size]
    return (*(k for k in BASICS if not k.startswith(struct.pack("<Q", size) + name)), key)


def listed(key: str, kind: int, count: int, values: bytes = b"") -> bytes:
    return pair(key, 9, struct.pack("<IQ", kind, count) + values)


TOKENS = listed("tokenizer.ggml.tokens", 8, 2, text("a") + text("b"))

# name -> (file, error, a word of the reason)
BAD: dict[str, tuple[bytes, type[BadInput], str]] = {
    "empty": (b"", Damaged, "ends"),
    "three bytes": (b"GGU", Damaged, "ends"),
    "magic only": (b"GGUF", Damaged, "ends"),
    "text": (b"hello, this is no model" * 9, Damaged, "not a GGUF"),
    "zip": (b"PK\x03\x04" + bytes(99), Hostile, "zip"),
    "pickle": (b"\x80\x04\x95" + bytes(99), Hostile, "pickle"),
    "old ggml": (b"tjgg" + bytes(99), Damaged, "not a GGUF"),
    "version 1": (by_hand(version=1), Damaged, "version"),
    "version 4": (by_hand(version=4), Damaged, "version"),
    "big endian": (by_hand(version=0x03000000), Damaged, "big-endian"),
    "keys 2^63": (by_hand(key_count=HUGE), Hostile, "keys"),
    "keys 5000": (by_hand(key_count=5000), Hostile, "keys"),
    "tensors 2^63": (by_hand(tensor_count=HUGE), Hostile, "tensors"),
    "more keys than there are": (by_hand(key_count=60), Hostile, "name"),
    "more tensors than there are": (by_hand(tensor_count=9), Hostile, "dimensions"),
    "key of 2^62 bytes": (by_hand(keys=(struct.pack("<Q", 2**62) + b"x",)), Hostile, "key"),
    "key of 0 bytes": (by_hand(keys=(*BASICS, u32("", 1))), Hostile, "name"),
    "key of control letters": (by_hand(keys=(*BASICS, u32("a\x00b", 1))), Hostile, "name"),
    "key not UTF-8": (by_hand(keys=(*BASICS, pair(b"\xff\xfe", 4, bytes(4)))), Damaged, "UTF-8"),
    "key twice": (by_hand(keys=(*BASICS, u32("llama.block_count", 2))), Hostile, "twice"),
    "unknown value type": (by_hand(keys=(*BASICS, pair("x", 77, bytes(8)))), Hostile, "type"),
    "bool of 7": (by_hand(keys=(*BASICS, pair("x", 7, b"\x07"))), Hostile, "true"),
    "text of 2^40": (by_hand(keys=(*BASICS, pair("x", 8, struct.pack("<Q", 2**40)))), Hostile, "bytes"),
    "list of lists": (by_hand(keys=(*BASICS, listed("x", 9, 1, listed("y", 4, 0)))), Hostile, "list"),
    "list of 2^60": (by_hand(keys=(*BASICS, listed("x", 4, 2**60))), Hostile, "entries"),
    "list beyond the end": (by_hand(keys=(*BASICS, listed("x", 10, 100_000))), Damaged, "ends"),
    "list entry of 2^50": (by_hand(keys=(*BASICS, listed("x", 8, 1, struct.pack("<Q", 2**50)))), Hostile, "entry"),
    "no architecture": (by_hand(keys=BASICS[1:]), Damaged, "architecture"),
    "architecture a number": (by_hand(keys=replaced(u32("general.architecture", 3))), Damaged, "architecture"),
    "architecture a path": (
        by_hand(keys=replaced(pair("general.architecture", 8, text("../../x")))),
        Damaged,
        "architecture",
    ),
    "no layers": (by_hand(keys=replaced(u32("llama.block_count", 0))), Hostile, "block_count"),
    "2^31-1 layers": (by_hand(keys=replaced(u32("llama.block_count", 2**31 - 1))), Hostile, "block_count"),
    "layers a text": (by_hand(keys=replaced(pair("llama.block_count", 8, text("1")))), Hostile, "whole number"),
    "layers a float": (by_hand(keys=replaced(pair("llama.block_count", 6, bytes(4)))), Hostile, "whole number"),
    "layers missing": (by_hand(keys=(BASICS[0], *BASICS[2:])), Damaged, "block_count"),
    "width 2^32-1": (by_hand(keys=replaced(u32("llama.embedding_length", 2**32 - 1))), Hostile, "embedding"),
    "heads per layer, one of them absurd": (
        by_hand(keys=(*BASICS, listed("llama.attention.head_count", 4, 2, struct.pack("<2I", 2, 2**31)))),
        Hostile,
        "head_count",
    ),
    "epsilon NaN": (by_hand(keys=(*BASICS, pair("llama.eps", 6, struct.pack("<f", float("nan"))))), Hostile, "nan"),
    "alignment 0": (by_hand(keys=(*BASICS, u32("general.alignment", 0))), Hostile, "alignment"),
    "alignment 3": (by_hand(keys=(*BASICS, u32("general.alignment", 3))), Hostile, "alignment"),
    "alignment 2^31": (by_hand(keys=(*BASICS, u32("general.alignment", 2**31))), Hostile, "alignment"),
    "alignment a text": (by_hand(keys=(*BASICS, pair("general.alignment", 8, text("32")))), Hostile, "alignment"),
    "one part of three": (by_hand(keys=(*BASICS, pair("split.count", 2, b"\x03\x00"))), Damaged, "part"),
    "no tensors": (by_hand(tensors=()), Damaged, "no tensors"),
    "tensor name of 64": (by_hand(tensors=(tensor("n" * 64, (32,), 0, 0),)), Hostile, "name"),
    "tensor twice": (by_hand(tensors=(tensor("a", (8,), 0, 0), tensor("a", (8,), 0, 32))), Hostile, "twice"),
    "5 dimensions": (by_hand(tensors=(tensor("a", (1, 1, 1, 1, 1), 0, 0),)), Hostile, "dimensions"),
    "0 dimensions": (by_hand(tensors=(tensor("a", (), 0, 0),)), Hostile, "dimensions"),
    "shape that overflows": (by_hand(tensors=(tensor("a", (2**33, 2**33), 0, 0),)), Hostile, "shape"),
    "shape of 0": (by_hand(tensors=(tensor("a", (0,), 0, 0),)), Hostile, "shape"),
    "removed tensor type": (by_hand(tensors=(tensor("a", (32,), 4, 0),)), Hostile, "type"),
    "unknown tensor type": (by_hand(tensors=(tensor("a", (32,), 999, 0),)), Hostile, "type"),
    "rows that do not fit blocks": (by_hand(tensors=(tensor("a", (31,), 8, 0),)), Hostile, "rows"),
    "tensor behind the end": (by_hand(tensors=(tensor("a", (64,), 0, 0),)), Damaged, "cut off"),
    "offset behind the end": (by_hand(tensors=(tensor("a", (32,), 0, 2**40),)), Hostile, "where"),
    "offset unaligned": (by_hand(tensors=(tensor("a", (8,), 0, 0), tensor("b", (8,), 0, 33))), Hostile, "where"),
    "tensors overlap": (by_hand(tensors=(tensor("a", (16,), 0, 0), tensor("b", (8,), 0, 32))), Hostile, "where"),
    "tensor of layer 7 of 1": (by_hand(tensors=(tensor("blk.7.x", (32,), 0, 0),)), Hostile, "layer"),
    "tokens are numbers": (
        by_hand(keys=(*BASICS, listed("tokenizer.ggml.tokens", 4, 1, bytes(4)))),
        Hostile,
        "tokens",
    ),
    "fewer scores than tokens": (
        by_hand(keys=(*BASICS, TOKENS, listed("tokenizer.ggml.scores", 6, 1, bytes(4)))),
        Hostile,
        "scores",
    ),
    "end token out of range": (
        by_hand(keys=(*BASICS, TOKENS, u32("tokenizer.ggml.eos_token_id", 2))),
        Hostile,
        "no token",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    content, kind, word = BAD[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        gguf_check.check(path)
    assert type(caught.value) is kind
    assert word in caught.value.message
    assert caught.value.fix
    assert time.process_time() - began < 10


def test_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        gguf_check.check(tmp_path / "none.gguf")


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(Damaged, match="regular"):
        gguf_check.check(tmp_path / "pipe.gguf")


def test_handmade_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(by_hand())
    header = gguf_check.check(path)
    assert header.tensors["a"].shape == (32,)
    assert header.tensors["a"].bytes == 128
    assert header.data_start % 32 == 0


def test_file_of_the_gguf_package_passes(tmp_path: Path) -> None:
    header = gguf_check.check(write_tiny(tmp_path / "tiny.gguf"))
    assert header.architecture == "llama"
    assert header.metadata["tokenizer.ggml.tokens"].length == len(vocabulary())  # type: ignore[union-attr]
    # 2 (bytes) x 100 tokens x 1 layer x 2 heads x (16 keys + 16 values)
    assert header.cache_bytes(100) == 2 * 100 * 1 * 2 * 32


def test_our_tensor_types_are_ggmls() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert theirs == TENSOR_TYPES


def test_biggest_vocabulary_takes_less_than_a_second(tmp_path: Path) -> None:
    """The most work a file can ask for: two million strings."""
    count = gguf_header.MAX_ELEMENTS
    path = tmp_path / "model.gguf"
    path.write_bytes(by_hand(keys=(*BASICS, listed("x", 8, count, text("abc") * count))))
    began = time.process_time()
    gguf_check.check(path)
    assert time.process_time() - began < 10


def test_memory_stays_below_100_mb(tmp_path: Path) -> None:
    """On a header that goes on for longer than any is read."""
    path = tmp_path / "model.gguf"
    entry = text(bytes(1 << 20))
    with path.open("wb") as file:
        file.write(by_hand(key_count=4000, tensors=(), data=b"", alignment=1))
        for n in range(gguf_header.MAX_HEADER >> 20):
            file.write(listed(f"k{n}", 8, 1, entry))
    tracemalloc.start()
    with pytest.raises(Hostile, match="64 MB"):
        gguf_check.check(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 60e6 < peak < 100e6  # it was read to the limit, once


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_behind_the_magic_are_refused(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + tail)
    with pytest.raises(BadInput):
        gguf_check.check(path)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a byte or a number, cut, insert or copy; mostly in the header, where the counts and lengths are."""
    changed = bytearray(data)
    for _n in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(max(1, min(len(changed), 9000)))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            changed[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31 - 1, 2**32, 2**63, 2**64 - 1)))
        elif kind == 2:
            changed[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 8, 9, 12, 13, 2**31, 2**32 - 1)))
        elif kind == 3:
            del changed[at : at + rng.choice((1, 8, 1000))]
        elif kind == 4:
            changed[at:at] = rng.randbytes(rng.choice((1, 8, 64)))
        else:
            other = rng.randrange(max(1, len(changed)))
            changed[at : at + 16] = changed[other : other + 16]
    return bytes(changed)


def fuzz(tmp_path: Path, count: int, seed: int) -> int:
    """Check `count` mutations; returns how many were refused. Anything but BadInput fails the test."""
    whole = write_tiny(tmp_path / "whole.gguf").read_bytes()
    seeds = [by_hand(), whole, by_hand(keys=(*BASICS, TOKENS, u32("general.alignment", 64)), alignment=64)]
    rng = random.Random(seed)
    path = tmp_path / "mutant.gguf"
    refused = 0
    for _n in range(count):
        path.write_bytes(mutate(rng.choice(seeds), rng))
        began = time.process_time()
        try:
            gguf_check.check(path)
        except BadInput as problem:
            assert problem.message
            refused += 1
        assert time.process_time() - began < 10
    return refused


def test_two_thousand_mutations_never_crash_or_hang(tmp_path: Path) -> None:
    refused = fuzz(tmp_path, 2_000, seed=1)
    assert 1_000 < refused < 2_000  # some mutations change nothing that matters


@pytest.mark.soak
def test_hundred_thousand_mutations_never_crash_or_hang(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 100_000, seed=2) > 50_000
