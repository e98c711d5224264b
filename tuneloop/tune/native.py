"""llama.cpp's own C functions inside the xllamacpp wheel: quantise rows, and read the logits of every position.

The wheel exports llama.cpp's whole C interface although its Python classes do not. Parameter structs are passed as
opaque 1 KiB blocks that the library itself filled with its defaults, so no layout is assumed beyond `n_ctx`, the
first field of the context's. C code may abort, so all of this runs in child processes (`python -m` of this module
and of `quantise`), never in ours.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from tuneloop.errors import MissingExtra, ModelRejected
from tuneloop.texts import _

MAX_TOKENS = 512  # llama.cpp's own default batch; longer sequences are refused here


class _Opaque(ctypes.Structure):
    _fields_ = (("raw", ctypes.c_uint8 * 1024),)


class _Batch(ctypes.Structure):
    """llama_batch of llama.h."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


def library() -> ctypes.CDLL:
    """The shared library of the xllamacpp wheel. Raises MissingExtra when it is not installed or has no C interface."""
    spec = importlib.util.find_spec("xllamacpp")
    files = [] if spec is None or not spec.origin else sorted(Path(spec.origin).parent.glob("xllamacpp*.[sdp][oy]*"))
    loaded = ctypes.CDLL(str(files[0])) if files else None
    if loaded is None or not hasattr(loaded, "ggml_quantize_chunk") or not hasattr(loaded, "llama_decode"):
        raise MissingExtra(
            _("llama.cpp's library is not there"), fix=_("Install it with: pip install 'tuneloop[tune]'")
        )
    return loaded


def quantise_rows(lib: ctypes.CDLL, kind: int, values: npt.NDArray[np.float32], out: npt.NDArray[np.uint8]) -> None:
    """Quantise a block of rows (float32, contiguous) into `out`; the library releases the interpreter lock."""
    call = lib.ggml_quantize_chunk
    call.restype = ctypes.c_size_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    rows, width = values.shape
    written = call(kind, values.ctypes.data, out.ctypes.data, 0, rows, width, None)
    assert written == out.nbytes, (written, out.nbytes)


class Logits:
    """A GGUF model in a child process that answers token ids with the logits after each of them.

    with Logits(path) as export: export(ids) -> float32 array (len(ids), vocabulary)
    """

    def __init__(self, model: Path, *, threads: int = 2) -> None:
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuneloop.tune.native", str(model), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._noise):
            assert stream
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what a dead child never read

    def __call__(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Raises ModelRejected when the model could not be loaded or the child died."""
        assert self._process.stdin and self._process.stdout
        assert 0 < len(ids) <= MAX_TOKENS, len(ids)
        try:
            self._process.stdin.write(json.dumps(list(map(int, ids))).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._rejection() from None
        head = self._process.stdout.read(4)
        if len(head) < 4:
            raise self._rejection()
        width = struct.unpack("<I", head)[0]
        data = self._process.stdout.read(4 * width * len(ids))
        if len(data) < 4 * width * len(ids):
            raise self._rejection()
        return np.frombuffer(data, dtype="<f4").reshape(len(ids), width)

    def _rejection(self) -> ModelRejected:
        code = self._process.wait(30)
        self._noise.seek(0)
        said = [line for line in self._noise.read().decode("utf-8", "replace").splitlines() if "rror" in line]
        reason = said[-1].strip()[-300:] if said else _("it gave no reason (exit {code})").format(code=code)
        return ModelRejected(
            _("llama.cpp cannot compute with this model: {reason}").format(reason=reason),
            fix=_("Make the file again with `tuneloop pack`; if it stays, report this sentence as a bug."),
        )


def _serve(model: str, threads: int) -> None:
    """In the child: one line of token ids in, width and logits out."""
    lib = library()
    context = _context(lib, model, threads)
    width = lib.llama_vocab_n_tokens(ctypes.c_void_p(lib.llama_model_get_vocab(ctypes.c_void_p(context[0]))))
    for line in sys.stdin:
        for block in _decode(lib, context[1], json.loads(line), width):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _context(lib: ctypes.CDLL, model: str, threads: int) -> tuple[int, int]:
    lib.llama_backend_init()
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(lib, name).restype = _Opaque
    lib.llama_model_load_from_file.restype = lib.llama_init_from_model.restype = ctypes.c_void_p
    lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Opaque]
    lib.llama_init_from_model.argtypes = [ctypes.c_void_p, _Opaque]
    lib.llama_model_get_vocab.restype = lib.llama_get_memory.restype = ctypes.c_void_p
    loaded = lib.llama_model_load_from_file(model.encode(), lib.llama_model_default_params())
    if not loaded:
        sys.exit("Error: the model could not be loaded")
    params = lib.llama_context_default_params()
    ctypes.cast(ctypes.byref(params), ctypes.POINTER(ctypes.c_uint32))[0] = MAX_TOKENS  # n_ctx
    context = lib.llama_init_from_model(loaded, params)
    if not context:
        sys.exit("Error: no context could be made for the model")
    lib.llama_set_n_threads(ctypes.c_void_p(context), threads, threads)
    return loaded, context


def _decode(lib: ctypes.CDLL, context: int, ids: list[int], width: int) -> Iterator[bytes]:
    lib.llama_batch_init.restype = _Batch
    lib.llama_decode.argtypes = [ctypes.c_void_p, _Batch]
    lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
    lib.llama_memory_clear(ctypes.c_void_p(lib.llama_get_memory(ctypes.c_void_p(context))), ctypes.c_bool(True))
    batch: Any = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if (code := lib.llama_decode(context, batch)) != 0:
        sys.exit(f"Error: llama_decode answered {code}")
    yield struct.pack("<I", width)
    for i in range(len(ids)):
        row = lib.llama_get_logits_ith(ctypes.c_void_p(context), i)
        yield ctypes.string_at(row, 4 * width)
    lib.llama_batch_free(batch)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
