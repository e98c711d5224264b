"""Memory that was freed between what is still in use goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from tuneloop.gateway import heap

# 40 MB in pieces that malloc takes from its heap (under 128 KB), of which every fiftieth stays.
HOLES = """
import ctypes, psutil, sys
from tuneloop.gateway import heap
heap.share()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
pieces = [libc.malloc(20_000) for _ in range(2_000)]
for piece in pieces:
    libc.memset(piece, 1, 20_000)
for number, piece in enumerate(pieces):
    if number % 50:
        libc.free(piece)
rss = lambda: psutil.Process().memory_info().rss
before = rss()
heap.give_back()
print(before - rss())
"""


@pytest.mark.skipif(not psutil.LINUX, reason="malloc_trim is glibc's")
def test_holes_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 30e6


def test_another_c_library_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_library", lambda: None)
    heap.share()
    heap.give_back()
