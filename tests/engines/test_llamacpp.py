"""llama.cpp in its child process: it answers, it refuses with a reason, it never outlives or endangers its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import psutil
import pytest

from tests.engines.tiny import TEMPLATE, write_tiny
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import Damaged, EngineDown, EngineError, EngineTimeout, ModelRejected

QUESTION = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "temperature": 0}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.gguf")


def test_answers_templates_and_tokenises(tiny: Path) -> None:
    with LlamaCpp(tiny, context=128) as engine:
        answered = engine.post("/v1/chat/completions", QUESTION)
        assert answered["usage"]["completion_tokens"] == 3
        assert engine.post("/tokenize", {"content": "he"}) == {"tokens": [259]}
        rendered = engine.post("/apply-template", {"messages": QUESTION["messages"]})["prompt"]
        assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert not engine.alive


def test_same_question_same_answer_at_temperature_zero(tiny: Path) -> None:
    with LlamaCpp(tiny, context=128) as engine:
        said = {engine.post("/v1/chat/completions", QUESTION)["choices"][0]["message"]["content"] for _n in range(3)}
    assert len(said) == 1


def test_every_slot_has_the_whole_context(tiny: Path) -> None:
    with LlamaCpp(tiny, context=256, parallel=3) as engine:
        request = urllib.request.Request(engine.url + "/props", headers=engine.headers)
        with urllib.request.urlopen(request) as reply:
            props = json.load(reply)
    assert props["total_slots"] == 3
    assert props["default_generation_settings"]["n_ctx"] == 256


def test_only_who_has_the_key_may_ask(tiny: Path) -> None:
    with LlamaCpp(tiny, context=128) as engine:
        assert engine.url.startswith("http://127.0.0.1:")
        stranger = urllib.request.Request(engine.url + "/v1/chat/completions", json.dumps(QUESTION).encode())
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(stranger)
        caught.value.close()
        assert caught.value.code == 401
        shown = Path(f"/proc/{engine.pid}/cmdline").read_bytes() + Path(f"/proc/{engine.pid}/environ").read_bytes()
        assert engine.headers["Authorization"].removeprefix("Bearer ").encode() not in shown


def changed(key: str, value: Any, kind: str) -> Callable[[gguf.GGUFWriter], None]:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(key, None)
        getattr(writer, "add_" + kind)(key, value)

    return change


# They pass our check of the header; what they do to the process is in the comment.
POISON: dict[str, tuple[Callable[[gguf.GGUFWriter], None], str]] = {
    "layers": (changed("llama.block_count", 600, "uint32"), "GGML_ASSERT"),  # SIGABRT
    "experts": (changed("llama.expert_count", 4, "uint32"), "GGML_ASSERT"),  # SIGABRT
    "epsilon": (changed("llama.attention.layer_norm_rms_epsilon", -1.0, "float32"), "GGML_ASSERT"),  # in the warm-up
    "recursion": (  # SIGSEGV: the stack of the template engine
        changed("tokenizer.chat_template", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "string"),
        "signal",
    ),
    "brackets": (
        changed("tokenizer.chat_template", "{{" + "(" * 100_000 + "1" + ")" * 100_000 + "}}", "string"),
        "signal",
    ),
    "template": (changed("tokenizer.chat_template", "{% for %}{{", "string"), "Unexpected token"),
    "tokenizer": (changed("tokenizer.ggml.pre", "nonsense", "string"), "unknown pre-tokenizer"),
    "shape": (changed("llama.attention.head_count_kv", 3, "uint32"), "wrong shape"),
}


@pytest.mark.parametrize("name", POISON)
def test_poisoned_model_is_rejected_within_seconds(name: str, tmp_path: Path) -> None:
    change, word = POISON[name]
    engine = LlamaCpp(write_tiny(tmp_path / "poison.gguf", change=change), context=64)
    began = time.monotonic()
    with pytest.raises(ModelRejected) as caught:
        engine.start()
    assert time.monotonic() - began < 20
    assert word in caught.value.message
    assert "poison.gguf" in caught.value.message
    assert caught.value.fix
    assert not engine.alive


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'a' * 9000000000 }}",
    ],
)
def test_template_bomb_ends_at_the_deadline(bomb: str, tmp_path: Path) -> None:
    engine = LlamaCpp(write_tiny(tmp_path / "bomb.gguf", template=bomb), context=64)
    began = time.monotonic()
    with pytest.raises(ModelRejected):
        engine.start(seconds=2)
    assert time.monotonic() - began < 15
    assert engine.pid is None


def test_lying_header_never_reaches_the_loader(tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-100])
    engine = LlamaCpp(tiny)
    with pytest.raises(Damaged, match="cut off"):
        engine.start()
    assert engine.pid is None


def test_killed_child_is_an_error_here_and_can_start_again(tiny: Path) -> None:
    engine = LlamaCpp(tiny, context=64)
    engine.start()
    assert engine.pid
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineDown):
        engine.post("/v1/chat/completions", QUESTION)
    psutil.wait_procs([psutil.Process(engine.pid)], timeout=5)
    assert not engine.alive
    engine.stop()
    engine.start()
    assert engine.post("/v1/chat/completions", QUESTION)["choices"]
    engine.stop()
    engine.stop()


def test_refused_request_carries_the_servers_words(tiny: Path) -> None:
    with LlamaCpp(tiny, context=64) as engine:
        with pytest.raises(EngineError, match="context size"):
            engine.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 500}]})
        assert engine.alive


def test_slow_answer_is_a_timeout(tiny: Path) -> None:
    with LlamaCpp(tiny, context=64) as engine:
        assert engine.pid
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(EngineTimeout):
            engine.post("/v1/chat/completions", QUESTION, seconds=0.3)


def test_child_has_limits(tiny: Path) -> None:
    with LlamaCpp(tiny, context=64) as engine:
        child = psutil.Process(engine.pid)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert 4 << 30 < child.rlimit(psutil.RLIMIT_AS)[0] < 16 << 30
        assert os.getsid(child.pid) == child.pid


def test_child_dies_with_its_killed_parent(tiny: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tuneloop.engines.llamacpp import LlamaCpp\n"
        "engine = LlamaCpp(Path(sys.argv[1]), context=64)\n"
        "engine.start()\n"
        "print(engine.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tiny)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=3)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_child_reports_templates_it_uses(tmp_path: Path) -> None:
    shouting = TEMPLATE.replace("m['content']", "m['content'] | upper")
    with LlamaCpp(write_tiny(tmp_path / "loud.gguf", template=shouting), context=64) as engine:
        assert "HI" in engine.post("/apply-template", {"messages": QUESTION["messages"]})["prompt"]
