"""`tuneloop serve` as users run it: a process of its own, talking JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Served:
    process: subprocess.Popen[str]
    url: str
    said: dict[str, object]


@contextmanager
def serve(workspace: Path, *arguments: object, group: str = "") -> Iterator[Served]:
    """Start the server on a free port; it is killed at the end if it is still there. group: "photos" for its page."""
    command = [sys.executable, "-m", "tuneloop", "--json", "-w", str(workspace)]
    command += [*([group] if group else []), "serve", "--port", "0"]
    command += [str(a) for a in arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stderr
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said = json.loads(line)
            yield Served(process, said["url"], said)
        finally:
            process.kill()
