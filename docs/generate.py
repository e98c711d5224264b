"""`make docs`: write the parts of the documents that are facts of the code.

A document holds `<!-- generated: NAME -->` ... `<!-- end -->`; what stands between is replaced by what the function
of that name returns. `tests/test_docs.py` fails when a run would change anything, so a document cannot lag behind.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from tuneloop import errors, texts
from tuneloop.cli import COMMANDS, main_group
from tuneloop.settings import SETTINGS
from tuneloop.texts import _

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGE = ROOT / "tuneloop"
DOCUMENTS = (
    *sorted(ROOT.glob("*.md")),
    *sorted(HERE.glob("*.md")),
)
BLOCK = re.compile(r"(?P<open><!-- generated: (?P<name>[a-z ]+) -->\n).*?(?P<close><!-- end -->)", re.DOTALL)
# What Python, click and the shell answer with on their own; the rest are classes of errors.py.
OTHER_EXITS = {
    0: "it worked",
    2: "the command line was not understood",
    130: "stopped with Ctrl-C; the same command goes on",
    141: "whoever read the output went away",
}

Row = tuple[str, ...]


def table(head: Row, rows: list[Row]) -> str:
    """A Markdown table; a `|` inside a cell is escaped."""
    lines = [head, tuple("---" for _column in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and everything below it, as "tuneloop dataset build"."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found, f"{name} {inner}"
            yield from walk(f"{name} {inner}", found)


def commands() -> str:
    """Every command with its usage and options; --json and --help, which all have, are said once by the document."""
    parts = []
    for name, command in walk("tuneloop", main_group):
        context = click.Context(command, info_name=name)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        parts.append(f"## {name}\n\n{(command.help or '').strip()}\n\n```text\n{usage}\n```\n\n")
        rows = [row for parameter in command.params if (row := _option(parameter, context))]
        if rows:
            parts.append(table(("option", "what it does"), rows) + "\n")
    return "\n" + "".join(parts)


def _option(parameter: click.Parameter, context: click.Context) -> Row | None:
    everywhere = parameter.name in ("as_json", "help") and context.info_name != "tuneloop"
    record = None if everywhere else parameter.get_help_record(context)
    if record is None or not isinstance(parameter, click.Option):
        return None
    return f"`{record[0]}`", " ".join(record[1].split())


def command_list() -> str:
    """Command and one line, in the language in use."""
    return table(
        (_("Commands"), _("what it does")),
        [(f"`tuneloop {name}`", _(line)) for name, (_module, _attribute, line) in COMMANDS.items()],
    )


def settings() -> str:
    """Name, variable, default, help."""
    rows = [(f"`{s.name}`", f"`{s.variable}`", f"`{s.default}`" if s.default != "" else "", s.help) for s in SETTINGS]
    return table(("setting", "environment variable", "default", "what it does"), rows)


def error_classes(kind: type[errors.TuneloopError] = errors.TuneloopError) -> Iterator[type[errors.TuneloopError]]:
    """The tree of errors, parents first."""
    yield kind
    for child in kind.__subclasses__():
        yield from error_classes(child)


def exit_codes() -> str:
    """Every exit code, with the errors that end so."""
    rows: list[tuple[int, Row]] = [(code, (str(code), "", said)) for code, said in OTHER_EXITS.items()]
    for kind in error_classes():
        told = "something we did not foresee: a bug" if kind is errors.TuneloopError else str(kind.__doc__)
        rows.append((kind.exit_code, (str(kind.exit_code), f"`{kind.__name__}`", told.rstrip("."))))
    return table(("exit code", "error", "what it means"), [row for _code, row in sorted(rows, key=lambda r: r[0])])


def layer_rows() -> list[tuple[str, ...]]:
    """The rooms of each layer, lowest first, as tests/test_layers.py keeps them; only those that exist."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    rows = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS"
    )
    return [tuple(room for room in row if room_files(room)) for row in rows]


def room_files(room: str) -> list[Path]:
    """The modules of a room: a folder with at least one module that says something, or a single module."""
    if (PACKAGE / f"{room}.py").exists():
        return [PACKAGE / f"{room}.py"]
    return sorted(p for p in (PACKAGE / room).rglob("*.py") if p.read_text(encoding="utf-8").strip())


def room_imports(room: str) -> set[str]:
    """The other rooms of the package that this one imports anywhere, also inside functions."""
    found = set()
    for path in room_files(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "tuneloop":
                names = [f"tuneloop.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            found |= {name.split(".")[1] for name in names if name.startswith("tuneloop.")}
    return {name for name in found if name != room and room_files(name)}


def layers() -> str:
    """The picture: one line a layer, highest first."""
    rows = [row for row in layer_rows() if row and row != ("__main__",)]
    lines = [f"L{number}  {'   '.join(row)}" for number, row in reversed(list(enumerate(rows)))]
    width = max(map(len, lines))
    return "```text\n" + f"\n{'-' * width}\n".join(lines) + "\n```\n"


def rooms() -> str:
    """Which room imports which, from the source."""
    every = [room for row in layer_rows() for room in row if room != "__main__"]
    rows = [(f"`{room}`", ", ".join(sorted(room_imports(room))) or "nothing") for room in reversed(every)]
    return table(("room", "imports"), rows)


def dependencies() -> str:
    """Declared range and tested version of everything tuneloop asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==(\S+)", line):
            pinned[_plain(match[1])] = match[2]
    rows = []
    for part, asked in [("core", project["dependencies"]), *project["optional-dependencies"].items()]:
        for requirement in asked:
            match = re.match(r"([\w.-]+)(\[[\w,]+\])?(.*)", requirement)
            assert match, requirement
            if match[1] != "tuneloop":
                rows.append((part, f"`{match[1]}`", match[3] or "any", pinned.get(_plain(match[1]), "not pinned")))
    return table(("part", "library", "declared", "tested with"), rows)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def routes() -> str:
    """Every route of the API, from its OpenAPI document."""
    from fastapi import FastAPI

    from tuneloop.gateway.app import ROUTERS, router

    app = FastAPI()
    for one in (*ROUTERS[:1], router, *ROUTERS[1:]):
        app.include_router(one)
    rows = [
        (f"`{method.upper()} {path}`", str(told.get("description", "")).partition("\n")[0])
        for path, methods in app.openapi()["paths"].items()
        for method, told in methods.items()
    ]
    return table(("route", "what it does"), rows)


def reasons() -> str:
    """Why an item of an export is no message."""
    from tuneloop.collect.reasons import notes
    from tuneloop.collect.reasons import reasons as known

    rejected = [(f"`{reason}`", "left out") for reason in known()]
    return table(
        ("what the report says", "what was done"), rejected + [(f"`{note}`", "kept, and noted") for note in notes()]
    )


def checks() -> str:
    """Why an example is left out of a dataset."""
    from tuneloop.collect import clean, duplicates

    return table(("left out because", "that is"), list((clean.describe() | duplicates.describe()).items()))


def rules() -> str:
    """The named rules behind the rule pass rate."""
    from tuneloop.collect.score import describe

    return table(("rule", "an example passes when it"), [(f"`{name}`", told) for name, told in describe().items()])


def personal_data() -> str:
    """Kinds of personal data with the placeholder each leaves."""
    from tuneloop.collect import labels
    from tuneloop.collect.privacy import KINDS

    return table(("placeholder", "stands for"), [(f"`[{kind}]`", labels.kind(kind)) for kind in KINDS])


def limits() -> str:
    """What providers published about tuning files, with dates and sources."""
    from tuneloop.collect.providers import providers

    rows = []
    for name, told in providers().items():
        for limit in told["limits"]:
            size = f"{limit['file_bytes'] >> 20} MB" if "file_bytes" in limit else ""
            models = ", ".join(limit["models"])
            numbers = (str(limit.get("tokens", "")), str(limit["minimum"]), size)
            rows.append((f"`{name}`", models, limit["since"], *numbers, limit["source"]))
    return table(("--for", "models", "since", "tokens", "least examples", "file", "source"), rows)


# The lines of `make demo` that carry the result; the picture in the README is made of them.
SHOWN = re.compile(
    r"chat  +id|.+  tg:\d+  |demo: \d+ examples|train / validation / test|\d+ held-out questions|contestant  "
    r"|(?:tuned|base|base \+ 5 examples|history|any old answer)  +\d|Repeats word|Planted secrets"
    r"|(?:quant|f16|q8_0|q4_K_M)  |step  +seconds|tuneloop [a-z ]+  +[\d.]+$|all  +[\d.]+$"
)
VERDICT = re.compile(r"╭─+ (?:promote|refuse|not enough data) ─+╮")


def excerpt(printed: str) -> str:
    """What `make demo` printed, shortened to what it shows: left-out lines become one "..."."""
    lines = [line.rstrip() for line in printed.splitlines()]
    last = max((number for number, line in enumerate(lines) if VERDICT.match(line)), default=len(lines))
    end = next((number for number in range(last, len(lines)) if lines[number].startswith("╰")), last)
    kept = ["$ make demo"]
    for number, line in enumerate(lines[: end + 1]):
        if number >= last or SHOWN.match(line):
            kept.append(line)
        elif kept[-1] != "...":
            kept.append("...")
    return "\n".join(kept) + "\n"


def demo() -> str:
    """What `make demo` printed when it was last captured."""
    return "```text\n" + (HERE / "demo.txt").read_text(encoding="utf-8").rstrip() + "\n```\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "command list": command_list,
    "settings": settings,
    "exit codes": exit_codes,
    "layers": layers,
    "rooms": rooms,
    "dependencies": dependencies,
    "routes": routes,
    "reasons": reasons,
    "checks": checks,
    "rules": rules,
    "personal data": personal_data,
    "limits": limits,
    "demo": demo,
}


def language(path: Path) -> str:
    """README.ru.md is Russian, everything else English."""
    return "ru" if path.name.endswith(".ru.md") else "en"


def generated(path: Path) -> str:
    """The document as it should be."""
    texts.use(language(path))
    try:
        return BLOCK.sub(
            lambda m: m["open"] + BLOCKS[m["name"]]() + m["close"],
            path.read_text(encoding="utf-8"),
        )
    finally:
        texts.use("en")


def main(asked: list[str]) -> int:
    """Rewrite every document that lags behind; say which. "capture": first take stdin as what `make demo` printed."""
    if asked == ["capture"]:
        (HERE / "demo.txt").write_text(excerpt(sys.stdin.read()), encoding="utf-8")
    for path in DOCUMENTS:
        new = generated(path)
        if new != path.read_text(encoding="utf-8"):
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
