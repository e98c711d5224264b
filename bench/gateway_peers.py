"""The servers that `bench gateway` measures: how each is started over one mock upstream, and how it is asked.

Peers live in `.peers/` of this repository, one virtual environment each (`make peers` installs them); what is not
there is left out and named.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

from bench.frame import ROOT

PEERS = ROOT / ".peers"
MOCK, PORT = 9101, 9110  # the upstream; the server under test
BODY = (
    '{"model":"%s","user":"u17","messages":[{"role":"system","content":"You are a helpful assistant."},'
    '{"role":"user","content":"' + "слово " * 78 + '"}]%s}'
)  # 1 KB
REPLY = (
    '{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5q","object":"chat.completion","created":1741569952,"model":"mock",'
    '"choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today?"},'
    '"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}'
)
EVENT = (
    'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5q","object":"chat.completion.chunk","created":1741569952,'
    '"model":"mock","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)


@dataclass
class Server:
    """A running server under test. `pids`: its processes, the mock's not among them."""

    path: str = "/v1/chat/completions"
    model: str = "m"
    headers: dict[str, str] = field(default_factory=dict)
    port: int = PORT
    process: subprocess.Popen[bytes] | None = None

    def body(self, stream: bool) -> str:
        return BODY % (self.model, ',"stream":true' if stream else "")

    def pids(self) -> list[int]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    def cpu(self) -> float:
        """Processor seconds of the whole process tree so far, children that ended included."""
        times = [psutil.Process(pid).cpu_times() for pid in self.pids()]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)

    def memory(self) -> float:
        """Resident megabytes of the process tree."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids()) / 2**20

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            return
        for pid in reversed(self.pids()):
            psutil.Process(pid).terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def mock(folder: Path) -> subprocess.Popen[bytes]:
    """nginx with a fixed answer: at 1 KB several times faster than anything it stands behind."""
    stream = EVENT * 20 + "data: [DONE]\n\n"
    (folder / "stream.txt").write_text(stream)
    config = f"""
    worker_processes 1; daemon off; pid {folder}/mock.pid; error_log {folder}/mock.log;
    events {{ worker_connections 4096; }}
    http {{ access_log off; keepalive_requests 1000000000; client_body_buffer_size 16k; client_max_body_size 10m;
      map $http_accept $kind {{ default json; "text/event-stream" stream; }}
      server {{ listen 127.0.0.1:{MOCK} backlog=4096 reuseport;
        location /stream {{ default_type text/event-stream; return 200 '{stream}'; }}
        location / {{ default_type application/json; return 200 '{REPLY}'; }} }} }}"""
    return _nginx(folder, "mock", config)


def _nginx(folder: Path, name: str, config: str) -> subprocess.Popen[bytes]:
    path = folder / f"{name}.conf"
    path.write_text(config)
    return subprocess.Popen(["nginx", "-c", str(path)], stderr=subprocess.DEVNULL)


def nginx(folder: Path, upstream: str) -> Server:
    config = f"""
    worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
    events {{ worker_connections 4096; }}
    http {{ access_log off; keepalive_requests 1000000000; client_body_buffer_size 16k;
      upstream mock {{ server 127.0.0.1:{MOCK}; keepalive 512; keepalive_requests 1000000000; }}
      server {{ listen 127.0.0.1:{PORT} backlog=4096;
        location / {{ proxy_pass http://mock{upstream}; proxy_http_version 1.1;
                      proxy_set_header Connection ""; }} }} }}"""
    return Server(process=_nginx(folder, "nginx", config))


def tuneloop(folder: Path, upstream: str) -> Server:
    """Everything on: key, limits of key and user, an A/B test, cache look-ups, metrics, a durable row per request."""
    work = folder / "tuneloop"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "tuneloop.toml").write_text(
        f"""
[access]
limit_key = "1000000/second"
limit_user = "1000000/second"
[engines.mock]
url = "http://127.0.0.1:{MOCK}{upstream}/v1"
parallel = 1024
[tasks.m]
cache = 0.000001  # looked up and stored for every request, and always too old
limit = "1000000/second"
[tasks.m.variants.a]
engine = "mock"
model = "a"
[tasks.m.variants.b]
engine = "mock"
model = "b"
"""
    )
    run = [sys.executable, "-m", "tuneloop", "-w", str(work)]
    made = subprocess.run(
        [*run, "keys", "create", "bench", "--role", "user", "--json"], capture_output=True, check=True
    )
    key = re.search(rb'"(tl_[^"]+)"', made.stdout)
    assert key, made.stdout
    arms = ["--arm", "a=a", "--arm", "b=b"]
    subprocess.run([*run, "experiment", "create", "bench", "--task", "m", *arms], capture_output=True, check=True)
    process = subprocess.Popen([*run, "serve", "--port", str(PORT)], stdout=subprocess.DEVNULL)
    return Server(headers={"Authorization": f"Bearer {key[1].decode()}"}, process=process)


def tensorzero(folder: Path, upstream: str) -> Server:
    config = folder / "tensorzero.toml"
    config.write_text(
        f"""
[gateway]
observability.enabled = false
[models.m]
routing = ["mock"]
[models.m.providers.mock]
type = "openai"
model_name = "m"
api_base = "http://127.0.0.1:{MOCK}{upstream}/v1/"
api_key_location = "none"
"""
    )
    code = (
        "import sys, time, tensorzero\n"
        "g = tensorzero._start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None,"
        " valkey_url=None, async_setup=False)\n"
        "print(g.base_url, flush=True); time.sleep(86400)\n"
    )
    python = _python("tensorzero")
    said = folder / "tensorzero.log"  # not a pipe: it writes a line for every request, and would wait for a reader
    with said.open("wb") as log:
        process = subprocess.Popen([python, "-c", code, str(config)], stdout=log, stderr=subprocess.DEVNULL)
    while not (found := re.search(rb"http://127.0.0.1:(\d+)(/\S*)", said.read_bytes())):
        assert process.poll() is None, "tensorzero did not start"
        time.sleep(0.1)
    path = found[2].decode() + "/chat/completions"
    return Server(path=path, model="tensorzero::model_name::m", port=int(found[1]), process=process)


def litellm(folder: Path, upstream: str) -> Server:
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: m\n"
        f'    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{MOCK}{upstream}/v1", api_key: x}}\n'
        "general_settings: {master_key: sk-bench}\nlitellm_settings: {telemetry: false}\n"
    )
    command = [str(Path(_python("litellm")).with_name("litellm")), "--config", str(config), "--port", str(PORT)]
    return Server(headers={"Authorization": "Bearer sk-bench"}, process=_start(command))


def sglang(folder: Path, upstream: str) -> Server:
    worker = f"http://127.0.0.1:{MOCK}{upstream}"
    command = [
        _python("sglang-router"),
        "-m",
        "sglang_router.launch_router",
        "--host",
        "127.0.0.1",
        "--port",
        str(PORT),
    ]
    more = ["--worker-urls", worker, "--policy", "round_robin", "--backend", "openai", "--prometheus-port", "9502"]
    return Server(process=_start([*command, *more]))


def vllm(folder: Path, upstream: str) -> Server:
    binary = str(Path(_python("vllm-router")).with_name("vllm-router"))
    worker = f"http://127.0.0.1:{MOCK}{upstream}"
    command = [binary, "--host", "127.0.0.1", "--port", str(PORT), "--worker-urls", worker]
    return Server(process=_start([*command, "--policy", "round_robin", "--prometheus-port", "9503"]))


def portkey(folder: Path, upstream: str) -> Server:
    script = PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    if not script.exists():
        raise FileNotFoundError(script)
    headers = {
        "Authorization": "Bearer x",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{MOCK}{upstream}/v1",
    }
    return Server(headers=headers, process=_start(["node", str(script), f"--port={PORT}", "--headless"]))


CONTESTANTS: dict[str, Callable[[Path, str], Server]] = {
    "nginx": nginx,
    "tuneloop": tuneloop,
    "vLLM router": vllm,
    "SGLang gateway": sglang,
    "TensorZero": tensorzero,
    "Portkey": portkey,
    "LiteLLM": litellm,
}


def ready(server: Server, seconds: float = 60.0) -> None:
    """Wait until it answers a real request. Raises RuntimeError with what it said last."""
    until, said = time.monotonic() + seconds, ""
    while time.monotonic() < until:
        assert server.process is not None
        if server.process.poll() is not None:
            raise RuntimeError(f"it ended with {server.process.returncode}")
        request = Request(
            f"http://127.0.0.1:{server.port}{server.path}",
            server.body(False).encode(),
            {"Content-Type": "application/json", **server.headers},
        )
        try:
            with urlopen(request, timeout=5) as reply:
                if b"assist" in reply.read():
                    return
        except OSError as problem:
            said = str(problem)
        time.sleep(0.3)
    raise RuntimeError(said)


def _python(peer: str) -> str:
    python = PEERS / peer / "bin/python"
    if not python.exists():
        raise FileNotFoundError(python)
    return str(python)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    quiet = {**os.environ, "LITELLM_LOG": "ERROR", "DO_NOT_TRACK": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
