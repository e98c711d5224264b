"""The door. Commands are named here and imported only when called: `tuneloop --help` loads nothing heavy."""

from __future__ import annotations

import gettext
import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from tuneloop import __version__, settings, texts
from tuneloop.errors import TuneloopError
from tuneloop.texts import _

# command -> (module, attribute, one line of help); the order is the order of the loop
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo", "demo", "The whole loop on a sample chat (or yours), to a running server"),
    "collect": ("collect", "collect", "Read a chat export into the workspace"),
    "speakers": ("collect", "speakers", "Who answers most: choose whose answers to learn"),
    "forget": ("forget", "forget", "Remove a person from messages, datasets and rows"),
    "dataset": ("dataset", "dataset", "Build, audit, validate and export datasets"),
    "tune": ("tune", "tune", "LoRA-tune a local model on a dataset"),
    "gate": ("gate", "gate", "Judge a version on held-out questions: promote, refuse, or not enough data"),
    "duel": ("gate", "duel", "Blind comparison of two contestants, judged by you"),
    "pack": ("pack", "pack", "Merge, convert to GGUF, quantise, check parity, archive, hand to Ollama"),
    "optimise": (
        "optimise",
        "optimise",
        "Measure what a version can be served as here; choose by size, speed, quality",
    ),
    "unpack": ("pack", "unpack", "Open somebody's archive safely"),
    "serve": ("serve", "serve", "Serve the active version behind an OpenAI-compatible API"),
    "ask": ("ask", "ask", "Ask a table: what a CSV, Excel, Parquet or SQLite file holds, and figures from it"),
    "tasks": ("tasks", "tasks", "Tasks and their variants: what applications ask for by name"),
    "models": ("models", "models", "Models: which fits this machine, which is good; list, fetch, pull, remove"),
    "experiment": ("experiment", "experiment", "A/B tests: create, look, stop, promote, roll back"),
    "quality": ("quality", "quality", "How good answers are, whether scores agree with people, the quality switch"),
    "photos": ("photos", "photos", "Photo search that learns from every click"),
    "bot": ("bot", "bot", "A Telegram bot: photo in, products out, buttons that teach it"),
    "documents": ("documents", "documents", "Documents that a model answers from: add, search, list, remove"),
    "keys": ("keys", "keys", "API keys and tokens: who may ask"),
    "versions": ("versions", "versions", "List, activate, roll back, lineage"),
    "backup": ("backup", "backup", "Copy the database, also while the server writes"),
    "restore": ("backup", "restore", "Put a backup in the database's place"),
    "settings": ("settings", "settings_", "Every setting, its value and where it came from"),
    "doctor": ("doctor", "doctor", "Check this machine and this workspace"),
}


class LazyGroup(click.Group):
    """A click group that knows its commands' names and help before importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"tuneloop.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        _accept_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, _(help_)) for name, (_m, _a, help_) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            from difflib import get_close_matches

            if close := get_close_matches(args[0], COMMANDS, n=1):
                raise click.UsageError(
                    _("no such command '{name}'; did you mean '{close}'?").format(name=args[0], close=close[0])
                ) from problem
            raise


def _accept_json(command: click.Command) -> None:
    """Let `tuneloop gate --json` mean what `tuneloop --json gate` means, for every command and subcommand."""
    if not any(p.name == "as_json" for p in command.params):
        command.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                expose_value=False,
                callback=_switch_to_json,
                help=_("Print results as JSON, for machines."),
            )
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _accept_json(inner)


def _switch_to_json(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    ctx.obj.as_json = ctx.obj.as_json or asked


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-w", "--workspace", type=click.Path(path_type=Path), help=_("Folder of the workspace."))
@click.option("--json", "as_json", is_flag=True, help=_("Print results as JSON, for machines."))
@click.option("--lang", type=click.Choice(["en", "ru"]), help=_("Language of texts."))
@click.version_option(__version__, prog_name="tuneloop")
@click.pass_context
def main_group(ctx: click.Context, workspace: Path | None, as_json: bool, lang: str | None) -> None:
    from tuneloop.cli.show import Door

    ctx.obj = Door(workspace, as_json)


main_group.help = _("Turn your team's own chats into a measurably better local model.")


def main() -> NoReturn:
    """Entry point: language first, then the command, then one clear line for whatever went wrong."""
    texts.use(_wanted_language(sys.argv[1:]))
    # click's own words ("Usage:", its errors) come through the standard gettext domain.
    os.environ["LANGUAGE"] = texts.language()
    gettext.bindtextdomain("tuneloop", str(texts.LOCALE))
    gettext.textdomain("tuneloop")
    main_group.help = _("Turn your team's own chats into a measurably better local model.")
    for parameter in main_group.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = _(parameter.help)
    as_json = "--json" in sys.argv[1:]
    try:
        code = main_group.main(standalone_mode=False)
    except TuneloopError as problem:
        _explain(problem, as_json)
        sys.exit(problem.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as problem:
        problem.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo(_("Stopped. The same command again goes on from what was finished."), err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)  # ctx.exit(n) comes back as n


def _wanted_language(arguments: list[str]) -> str:
    for position, argument in enumerate(arguments):
        if argument == "--lang" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--lang="):
            return argument.removeprefix("--lang=")
    return settings.language_of_environment()


def _explain(problem: TuneloopError, as_json: bool) -> None:
    if as_json:
        import json

        body = {"error": type(problem).__name__, "message": problem.message, "fix": problem.fix}
        click.echo(texts.visible_json(json.dumps(body, ensure_ascii=False)))
        return
    click.secho(texts.visible(_("error: ") + problem.message), fg="red", err=True)
    if problem.fix:
        click.secho(texts.visible(_("next:  ") + problem.fix), err=True)
