"""`tuneloop doctor`: is this machine fit for the work, and is this workspace whole."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from rich.markup import escape

from tuneloop import machine as memory
from tuneloop import settings
from tuneloop.cli.show import Door
from tuneloop.errors import TuneloopError
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace, clear_leftover, leftovers, locate, open_workspace

# what it is for -> what it needs; the same lists as the extras in pyproject.toml
EXTRAS = {
    "tune": ("torch", "transformers", "peft", "safetensors", "gguf", "xllamacpp"),
    "serve": ("fastapi", "uvicorn", "httpx", "pydantic", "xllamacpp"),
    "parquet": ("pyarrow",),
}
MARKS = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "bad": "[red]✗[/red]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. "bad" makes the command fail, "warn" does not; `fix` is the next step."""

    what: str
    state: Literal["ok", "warn", "bad"]
    said: str
    fix: str = ""


@click.command("doctor", help=_("Check this machine and this workspace; --fix clears what crashes left behind."))
@click.option("--fix", is_flag=True, help=_("Remove leftovers older than an hour that no row names."))
@click.pass_obj
def doctor(door: Door, fix: bool) -> None:
    findings = list(machine())
    path = locate(door.flag)
    if (path / "tuneloop.toml").exists():
        findings += _workspace(open_workspace(path), fix=fix)
    else:
        findings.append(Finding(_("workspace"), "warn", _("none in {path}").format(path=path)))
    rows = [(MARKS[f.state], f.what, escape(f.said), escape(f.fix)) for f in findings]
    door.table(_("Check-up"), ("", _("what"), _("found"), _("next step")), rows)
    door.result([{"what": f.what, "state": f.state, "said": f.said, "fix": f.fix} for f in findings])
    if any(f.state == "bad" for f in findings):
        raise SystemExit(5)


def machine() -> Iterator[Finding]:
    """Everything that does not need a workspace."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if good else "bad", version, "" if good else _("Install Python 3.11 or newer."))
    yield _processor()
    yield _memory()
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        said = _("missing: {names}").format(names=", ".join(missing)) if missing else _("installed")
        fix = f"pip install 'tuneloop[{extra}]'" if missing else ""
        yield Finding(_("extra '{name}'").format(name=extra), "warn" if missing else "ok", said, fix)
    if importlib.util.find_spec("torchvision") is not None:
        yield Finding(
            "torchvision",
            "bad",
            _("installed; its usual build breaks transformers and peft on a machine without a GPU"),
            "pip uninstall torchvision",
        )
    yield _ollama(settings.load(None).text("pack.ollama_url"))


def _processor() -> Finding:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return Finding(_("processor"), "ok", platform.machine())
    flags = set(next((line.split(":")[1].split() for line in text.splitlines() if line.startswith("flags")), []))
    shown = [name for name in ("avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    said = " ".join([platform.machine(), *shown])
    if platform.machine() == "x86_64" and "avx2" not in flags:
        return Finding(_("processor"), "bad", said, _("llama.cpp's package needs AVX2: use Ollama or another machine."))
    return Finding(_("processor"), "ok", said)


def _memory() -> Finding:
    free, whole = memory.memory_free(), memory.memory()
    said = _("{free:.1f} of {all:.1f} GB free").format(free=free / 1e9, all=whole / 1e9)
    # 2 GB: torch with transformers and the demo model take 0.7 GB, the rest is for data
    if free < 2e9:
        return Finding(_("memory"), "warn", said, _("Close something, or choose a smaller model."))
    return Finding(_("memory"), "ok", said)


def _ollama(url: str) -> Finding:
    try:
        with urllib.request.urlopen(url.rstrip("/") + "/api/version", timeout=1) as reply:
            said = reply.read(200).decode("utf-8", "replace")
    except (OSError, ValueError):
        return Finding("Ollama", "ok", _("not reachable at {url}; it is optional").format(url=url))
    return Finding("Ollama", "ok", f"{url} {said}")


def _workspace(workspace: Workspace, *, fix: bool) -> Iterator[Finding]:
    free = shutil.disk_usage(workspace.path).free
    state: Literal["ok", "warn"] = "ok" if free > 2e9 else "warn"
    yield Finding(_("disk"), state, _("{n:.1f} GB free").format(n=free / 1e9), "" if free > 2e9 else _("Free some."))
    try:
        problems = workspace.db.problems()
    except TuneloopError as problem:
        yield Finding(_("database"), "bad", problem.message, problem.fix)
        return
    if problems:
        said = "; ".join(problems[:3])
        yield Finding(_("database"), "bad", said, _("Restore {name} from a copy.").format(name="tuneloop.db"))
        return
    yield Finding(_("database"), "ok", _("whole"))
    yield from _versions(workspace)
    yield _left_behind(workspace, fix=fix)


def _versions(workspace: Workspace) -> Iterator[Finding]:
    from tuneloop import versions
    from tuneloop.answer.packed import missing_files

    broken = []
    for version in versions.history(workspace):
        try:
            versions.check_files(workspace, version)
        except TuneloopError as problem:
            broken.append(problem)
    for damage in broken:
        yield Finding(_("versions"), "bad", damage.message, damage.fix)
    for path in missing_files(workspace):
        yield Finding(_("packs"), "bad", _("missing: {path}").format(path=path), _("Make it again: tuneloop pack"))
    if not broken:
        count = len(versions.history(workspace))
        said = n_("{n} version, files unchanged", "{n} versions, files unchanged", count).format(n=count)
        yield Finding(_("versions"), "ok", said)


def _left_behind(workspace: Workspace, *, fix: bool) -> Finding:
    from tuneloop.versions import strays

    found = leftovers(workspace.path) + strays(workspace)
    if not found:
        return Finding(_("leftovers"), "ok", _("none"))
    names = ", ".join(str(path.relative_to(workspace.path)) for path in found)
    if not fix:
        return Finding(_("leftovers"), "warn", names, _("Remove them: tuneloop doctor --fix"))
    kept = [str(back.relative_to(workspace.path)) for path in found if (back := clear_leftover(path))]
    said = _("cleared: {names}").format(names=names)
    return Finding(
        _("leftovers"), "ok", said + ("; " + _("put back: {names}").format(names=", ".join(kept)) if kept else "")
    )
