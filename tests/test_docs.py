"""Documents say what the code says: generated parts are up to date, everything is named, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import bench
import tuneloop
from tuneloop.cli import main_group
from tuneloop.settings import SETTINGS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """What GitHub makes of a document's headings."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    assert generate.generated(path) == path.read_text(encoding="utf-8"), "run `make docs`"


def test_every_block_stands_in_a_document() -> None:
    used = {
        name for path in DOCUMENTS for name in re.findall(r"<!-- generated: ([a-z ]+) -->", path.read_text("utf-8"))
    }
    assert used == set(generate.BLOCKS)


def test_a_document_that_lags_behind_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "lagging.md"
    path.write_text("before\n<!-- generated: settings -->\nOUTDATED\n<!-- end -->\nafter\n", encoding="utf-8")
    new = generate.generated(path)
    assert "OUTDATED" not in new
    assert "`TUNELOOP_SERVE_PORT`" in new
    assert new.startswith("before\n<!-- generated: settings -->\n")
    assert new.endswith("<!-- end -->\nafter\n")


def test_every_command_has_its_heading() -> None:
    text = read("commands.md")
    for name, command in generate.walk("tuneloop", main_group):
        assert f"\n## {name}\n" in text
        assert command.help, f"{name} has no help"


def test_every_option_is_explained() -> None:
    """An option without help is a riddle; a choice among named values may speak for itself."""
    riddles = [
        f"{name} {parameter.opts[0]}"
        for name, command in generate.walk("tuneloop", main_group)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help and not isinstance(parameter.type, click.Choice)
    ]
    assert riddles == []


def test_every_setting_has_its_row() -> None:
    text = read("settings.md")
    assert [s.name for s in SETTINGS if f"| `{s.name}` | `{s.variable}` |" not in text] == []


def test_every_error_has_its_row() -> None:
    text = read("errors.md")
    classes = list(generate.error_classes())
    assert len(classes) > 10
    assert [k.__name__ for k in classes if f"| {k.exit_code} | `{k.__name__}` |" not in text] == []


def test_every_route_has_its_row() -> None:
    pytest.importorskip("fastapi")
    from fastapi import FastAPI

    from tuneloop.gateway.app import ROUTERS, router

    app = FastAPI()
    for one in (router, *ROUTERS):
        app.include_router(one)
    routes = [f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods]
    assert "POST /v1/chat/completions" in routes
    assert [route for route in routes if f"| `{route}` |" not in read("serving.md")] == []


def test_every_room_is_described() -> None:
    text = read("architecture.md")
    rooms = {room for row in generate.layer_rows() for room in row} - {"__main__"}
    described = set(re.findall(r"`(\w+)`", text.partition("| room | what it is for |")[2].partition("\n\n")[0]))
    assert rooms <= described


def test_every_file_of_a_dataset_is_described(tmp_path: Path) -> None:
    from tuneloop.collect.formats import FORMATS

    text = read("datasets.md")
    kinds = {"openai": "train.jsonl", "json": "dialogues.json", "csv": "examples.csv", "parquet": "examples.parquet"}
    assert [name for name in FORMATS if kinds.get(name, f"formats/{name}/") not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        file, _hash, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = path.parent / file if file else path
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_document_can_be_reached(path: Path) -> None:
    """From the README, along links."""
    seen, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        here = todo.pop()
        if here in seen or here.suffix != ".md" or not here.exists():
            continue
        seen.add(here)
        targets = (t.partition("#")[0] for t in LINK.findall(here.read_text(encoding="utf-8")))
        todo += [(here.parent / t).resolve() for t in targets if t and ":" not in t]
    assert path in seen


def test_newest_change_is_this_version() -> None:
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert versions[0] == tuneloop.__version__
    assert versions == sorted(versions, key=lambda v: tuple(map(int, v.split("."))), reverse=True)


def test_every_figure_names_a_bench_that_exists() -> None:
    known = {path.stem for path in Path(bench.__file__).parent.glob("*.py")}
    asked = re.findall(r"`python -m bench (\w+)`", read("figures.md"))
    assert asked
    assert set(asked) <= known


def test_both_readmes_have_the_same_parts() -> None:
    """Same number of headings, tables' rows and code lines: neither language gets less."""

    def shape(name: str) -> tuple[int, int, int]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return text.count("\n## "), text.count("\n- **"), len(re.findall(r"^\|", text, re.M))

    assert shape("README.md") == shape("README.ru.md")


PRINTED = """\
Workspace: /home/me/tuneloop-demo (delete the folder to start over)

chat          id             read  kept  new  changed  rejected
Пасека        tg:1900000001   100    98   98        0         2
Next: tuneloop speakers, then tuneloop dataset build.
╭──────────────────── refuse ────────────────────╮
│ Said by the gate.                              │
╰────────────────────────────────────────────────╯
step                    seconds
tuneloop dataset build      9.5
╭──────────────────── refuse ────────────────────╮
│ Said at the end.                               │
╰────────────────────────────────────────────────╯
Serving demo
"""


def test_picture_of_the_demo_is_an_excerpt() -> None:
    picture = generate.excerpt(PRINTED).splitlines()
    assert picture[:2] == ["$ make demo", "..."]
    assert "/home/me" not in "".join(picture)
    assert "Пасека        tg:1900000001   100    98   98        0         2" in picture
    assert "tuneloop dataset build      9.5" in picture
    assert picture[-2].startswith("│ Said at the end.")
    assert not any("Said by the gate" in line for line in picture)


def test_picture_of_the_demo_is_real_and_short() -> None:
    picture = (DOCS / "demo.txt").read_text(encoding="utf-8").splitlines()
    assert picture[0] == "$ make demo"
    assert 15 <= len(picture) <= 50, "make demo ARGS=--once | .venv/bin/python docs/generate.py capture"
    assert any(generate.VERDICT.match(line) for line in picture)
