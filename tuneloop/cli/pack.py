"""`tuneloop pack` and `tuneloop unpack`: a version becomes files for others, somebody's archive becomes a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.errors import EngineError, MissingExtra, Refused
from tuneloop.progress import Progress
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace

if TYPE_CHECKING:
    from tuneloop.tune.bundle import Recipe
    from tuneloop.tune.pack import Export

# What is handed over when several were made: q8_0 is indistinguishable from f16 and half its size.
PREFERRED = ("q8_0", "q6_K", "q5_K_M", "q4_K_M", "f16")


@click.command("pack", help=_("Merge, convert to GGUF, quantise, check parity, archive, hand to Ollama."))
@click.argument("version", default="latest")
@click.option("--quant", help=_("Quantisations, separated by commas; default: the setting pack.quants."))
@click.option("--out", type=click.Path(path_type=Path), help=_("Folder for the files; default: packs/VERSION."))
@click.option("--archive/--no-archive", default=True, help=_("Write a zip with everything to hand over."))
@click.option("--ollama/--no-ollama", default=None, help=_("Create the model in Ollama; default: if it answers."))
@click.pass_obj
def pack(door: Door, version: str, quant: str | None, out: Path | None, archive: bool, ollama: bool | None) -> None:
    from tuneloop import versions
    from tuneloop.tune import bundle
    from tuneloop.tune import pack as packing

    workspace = door.workspace()
    found = versions.find(workspace, version)
    asked = [q.strip() for q in (quant or workspace.settings.text("pack.quants")).split(",") if q.strip()]
    with door.progress() as watch:
        exports = packing.pack(workspace, found, asked, out=out, watch=watch)
        _show(door, found, exports)
        chosen = min(exports, key=lambda e: PREFERRED.index(e.quant) if e.quant in PREFERRED else len(PREFERRED))
        how = bundle.recipe(workspace, found, chosen.path)
        written = None
        if archive:
            target = chosen.path.with_name(f"{bundle.tag(found).replace(':', '-')}-{chosen.quant}.zip")
            written = bundle.write(workspace, found, chosen, target, how=how, watch=watch)
            door.say(_("Archive: {path}").format(path=escape(str(written))))
        handed = _hand_over(door, workspace, found, chosen, how, ollama, watch)
    door.result(
        {
            "version": found.id,
            "exports": [
                {"quant": e.quant, "path": e.path, "bytes": e.bytes, "sha256": e.sha256, "kept": e.kept} | e.figures
                for e in exports
            ],
            "archive": written,
            "ollama": handed,
        }
    )


def _show(door: Door, version: Version, exports: list[Export]) -> None:
    rows = [
        (
            e.quant,
            _("{n:.1f} MB").format(n=e.bytes / 1e6),
            f"{e.figures['tokens_equal']:.0%}",
            f"{e.figures['greedy']:.1%}",
            f"{e.figures['kl']:.2g}",
            _("passed before") if e.kept else _("passed"),
        )
        for e in exports
        if "kl" in e.figures
    ]
    columns = (
        _("quant"),
        _("size"),
        _("same prompt tokens"),
        _("same next token"),
        _("KL, nats/token"),
        _("parity"),
    )
    door.table(_("Exports of version {id}").format(id=version.id), columns, rows, right=(1, 2, 3, 4))
    for note in dict.fromkeys(n for e in exports for n in e.notes):
        door.say(_("Note: {note}.").format(note=escape(note)))


def _hand_over(
    door: Door,
    workspace: Workspace,
    version: Version,
    export: Export,
    how: Recipe,
    wanted: bool | None,
    watch: Progress,
) -> dict[str, Any] | None:
    """Create the model in Ollama. wanted: True insists, None only if it answers, False does not ask."""
    if wanted is False:
        return None
    try:
        handed = asyncio.run(_create(workspace, version, export, how, watch))
    except (EngineError, MissingExtra, Refused) as problem:
        if wanted:
            raise
        door.say(_("Ollama: not used ({why}).").format(why=escape(problem.message)))
        return None
    door.say(_("Ollama: created {name}; try: ollama run {name}").format(name=handed["model"]))
    door.say(_("It answered: {text}").format(text=escape(handed["answer"])))
    return handed


async def _create(
    workspace: Workspace, version: Version, export: Export, how: Recipe, watch: Progress
) -> dict[str, Any]:
    """Create and try with one question. Raises Refused when the training template cannot be told to Ollama."""
    try:
        from tuneloop.engines.ollama import Ollama
    except ImportError as problem:
        raise MissingExtra(
            _("talking to Ollama needs httpx"), fix=_("Install it with: pip install 'tuneloop[serve]'")
        ) from problem
    from tuneloop.tune import bundle

    async with Ollama(workspace.settings.text("pack.ollama_url")) as server:
        await server.version()
        if how.template is None:
            raise Refused(
                _("the chat template of this model cannot be written in Ollama's language"),
                fix=_("Serve it with `tuneloop serve`; Ollama would feed it prompts it was not trained on."),
            )
        model = bundle.tag(version)
        await server.create(
            model,
            {export.path.name: export.path},
            template=how.template,
            system=how.system,
            parameters=how.parameters,
            watch=watch,
        )
        question = [{"role": "user", "content": _("Hello! What can you do?")}]
        reply = await server.chat(model, question, options={"num_predict": 48, "temperature": 0})
        answer = str((reply.get("message") or {}).get("content") or "")
        if not reply.get("done"):
            raise EngineError(_("Ollama did not finish its answer"), fix=_("Look into Ollama's log."))
        return {"model": model, "quant": export.quant, "answer": answer}


@click.command("unpack", help=_("Open somebody's archive safely: what is not plain model data is refused."))
@click.argument("archive", type=click.Path(path_type=Path))
@click.option(
    "--into", type=click.Path(path_type=Path), help=_("New folder for the files; default: the archive's name.")
)
@click.option("--register", is_flag=True, help=_("Also make it a version; the gate must judge it before it serves."))
@click.pass_obj
def unpack(door: Door, archive: Path, into: Path | None, register: bool) -> None:
    from tuneloop.tune import pack as packing
    from tuneloop.tune.archive import open_archive

    stem = archive.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar").removesuffix(".zip")
    folder = into or Path.cwd() / (stem or "unpacked")
    workspace = door.workspace(create=True) if register else None
    opened = open_archive(archive, folder)
    rows = [(escape(name), digest[:16]) for name, digest in sorted(opened["files"].items())]
    door.table(_("Unpacked into {folder}").format(folder=folder), (_("file"), "sha256"), rows)
    door.say(
        _("Every checksum of SHA256SUMS fits.") if opened["checksums"] else _("It carries no checksums of its own.")
    )
    version = None
    if workspace:
        version = packing.import_version(workspace, folder, name=stem or "imported", origin=archive.name)
        said = _("Registered as version {id}. Nothing of yours has judged it; try it: tuneloop serve --version {id}")
        door.say(said.format(id=version.id))
    door.result({"folder": folder, "version": version.id if version else None} | opened)
