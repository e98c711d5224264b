"""Write deploy/requirements.lock: every version of constraints.txt with the SHA-256 of its files on PyPI.

`python deploy/lock.py`, after constraints.txt has changed. An install from it takes no file that was not there on that
day: `pip install --require-hashes --no-deps -r deploy/requirements.lock`. torch is left out: which of its builds is
right (CPU, CUDA, which server) depends on the machine.
"""

from __future__ import annotations

import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy" / "requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9][\w.\-]*)==([\w.+!]+)$", re.MULTILINE)
# Files for the Pythons and machines that this project names; a whole list would be four times as long.
WANTED = re.compile(
    r"-(?:cp3(?:1[1-4])-(?:cp3(?:1[1-4])|none|abi3)|cp3\d+-abi3|py3-none|py2\.py3-none|cp3\d+\.cp3[\w.]*-\w+)-"
    r"(?:any|.*(?:linux|macosx).*(?:x86_64|aarch64|arm64|universal2))\.whl$|\.tar\.gz$"
)


def pins() -> list[tuple[str, str]]:
    """(name, version) of everything in constraints.txt but torch."""
    found = PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    return [(name, version) for name, version in found if name != "torch"]


def files(name: str) -> list[tuple[str, str]]:
    """(file, its SHA-256) of a project, from PyPI (PEP 503). Raises OSError without a network."""
    with urllib.request.urlopen(f"https://pypi.org/simple/{canonicalize_name(name)}/", timeout=60) as reply:
        page = reply.read().decode()
    return [(file, digest) for digest, file in re.findall(r'#sha256=([0-9a-f]{64})"[^>]*>([^<]+)</a>', page)]


def version_of(file: str) -> str:
    """Of a wheel's or an archive's name; "" when it is neither."""
    try:
        return str((parse_wheel_filename if file.endswith(".whl") else parse_sdist_filename)(file)[1])
    except ValueError:
        return ""


def block(pin: tuple[str, str]) -> str:
    """One requirement with its hashes. Raises SystemExit when no file fits."""
    name, version = pin
    wanted = str(Version(version))
    hashes = sorted(digest for file, digest in files(name) if WANTED.search(file) and version_of(file) == wanted)
    if not hashes:
        raise SystemExit(f"no file of {name} {version} fits")
    return " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{digest}" for digest in hashes)])


def main() -> None:
    head = "# Written by deploy/lock.py from constraints.txt; torch is installed before it, from its own index."
    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(block, pins()))
    LOCK.write_text("\n".join([head, *blocks]) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(blocks)} packages, {LOCK.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
