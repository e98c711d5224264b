"""What tuneloop.toml says of engines and tasks, read and checked as a whole.

    [engines.deepseek]
    url = "https://api.deepseek.com/v1"
    key_env = "DEEPSEEK_API_KEY"          # the name of a variable, never the key

    [tasks.hashtags]
    prompt = "Suggest hashtags for: {text}"
    cleaner = "hashtags"
    checks = ["hashtags:3-10"]

    [tasks.hashtags.variants.own]
    engine = "local"                      # the version this workspace serves; always there
    weight = 0.8

    [tasks.hashtags.variants.deepseek]
    engine = "deepseek"
    model = "deepseek-chat"
    weight = 0.2

Nothing is taken from a file that is wrong in one place: a gateway that drops one task of ten because of a typing error
fails a tenth of its requests and says nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints
from urllib.parse import urlsplit

from tuneloop.answer import checks, cleaners
from tuneloop.answer.table import SEALED, Table, key_fix, table, unknown
from tuneloop.errors import BadInput, Missing
from tuneloop.records import EngineSpec, Task, Variant
from tuneloop.texts import _

Stamp = tuple[int, int, int]  # inode, nanoseconds of the last change, bytes

LOCAL = "local"
RESERVED = frozenset({"active", "tuneloop"})  # a request that names these as its model means the served version
LARGEST = 1_000_000  # bytes of tuneloop.toml
LONGEST = 86_400.0  # seconds any limit may be set to
NAME = re.compile(r"[a-z0-9_.-]{1,64}")
LIMIT = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
# Upper case only: what people paste here by mistake is a key, and keys have small letters.
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# Headers that carry keys, and those that belong to the connection (RFC 9110, 7.6.1).
CARRY_KEYS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
CONNECTIONS = {"host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
FORBIDDEN = CARRY_KEYS | CONNECTIONS | {"content-length", "content-type"}
REQUESTS_OWN = frozenset({"messages", "model", "stream", "stream_options", "prompt", "input", "user"})

_KINDS = get_args(get_type_hints(EngineSpec)["kind"])
_ROUTES = get_args(get_type_hints(Task)["route"])
_SWITCHES = get_args(get_type_hints(Task)["switch"])


@dataclass(frozen=True)
class Book:
    """Engines and tasks by name. `names`: what a request may call its model: "hashtags", "hashtags/deepseek"."""

    engines: dict[str, EngineSpec]
    tasks: dict[str, Task]
    stamp: Stamp = (0, 0, 0)
    names: dict[str, tuple[Task, Variant | None]] = field(default_factory=dict)
    source: bytes = field(default=b"", compare=False, repr=False)  # the file it was read from


def read(path: Path) -> Book:
    """The book written in a tuneloop.toml. Raises BadInput with key and line, Missing when there is no file."""
    try:
        status = path.stat()
        if status.st_size > LARGEST:
            raise BadInput(
                _("{path} is larger than {n} bytes").format(path=path, n=LARGEST),
                fix=_("It should hold settings, engines and tasks only."),
            )
        source = path.read_bytes()
    except FileNotFoundError:
        raise Missing(
            _("{path} is not there").format(path=path), fix=_("Put it back, or name another workspace.")
        ) from None
    return parse(source, path.parent, stamp=stamp_of(status))


def stamp_of(status: Any) -> Stamp:
    """What changes when a file does. status: of os.stat."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def parse(source: bytes, folder: Path, *, stamp: Stamp = (0, 0, 0)) -> Book:
    """The book in the text of a tuneloop.toml. folder: where the files it names are. Raises BadInput."""
    text, tree = load(source, folder)
    return replace(of_tree(tree, folder, lines=text), stamp=stamp, source=source)


def of_tree(tree: Mapping[str, Any], folder: Path, *, lines: str = "") -> Book:
    """The book in a tree of TOML values. lines: its text, to name lines in errors; "" for none. Raises BadInput."""
    checks.compiled.cache_clear()  # schema files may have changed with it
    engines = {LOCAL: EngineSpec(LOCAL, "local")}
    for name, values in table(tree.get("engines", {}), ("engines",), lines).values.items():
        engines[name] = _engine(name, table(values, ("engines", name), lines), folder)
    tasks: dict[str, Task] = {}
    for name, values in table(tree.get("tasks", {}), ("tasks",), lines).values.items():
        tasks[name] = _task(name, table(values, ("tasks", name), lines), engines, folder)
    if not tasks:
        tasks["chat"] = Task("chat", (Variant("active", LOCAL, "active"),))
    names: dict[str, tuple[Task, Variant | None]] = {}
    for task in tasks.values():
        names[task.name] = (task, None)
        names |= {f"{task.name}/{variant.name}": (task, variant) for variant in task.variants}
    return Book(engines, tasks, names=names)


def load(source: bytes, folder: Path) -> tuple[str, dict[str, Any]]:
    """The text and the tree of a tuneloop.toml. Raises BadInput with the line."""
    try:
        text = source.decode("utf-8")
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadInput(
            _("{path} cannot be read: {problem}").format(path=folder / "tuneloop.toml", problem=problem),
            fix=_("Correct that line; `tuneloop tasks check` looks at it again."),
        ) from None


def _name(where: Table, name: str) -> None:
    if not NAME.fullmatch(name):
        said = _("a name has 1 to 64 of the characters a-z 0-9 _ . -")
        raise where.wrong("", said, _("Choose another name."))


def _engine(name: str, where: Table, folder: Path) -> EngineSpec:
    _name(where, name)
    kind = where.choice("kind", "local" if name == LOCAL else "openai", _KINDS)
    if (kind == "local") != (name == LOCAL):
        raise where.wrong(
            "kind",
            _("the engine 'local' is the version this workspace serves, and no other engine is"),
            _("Give the engine another name, or another kind."),
        )
    file = where.text("file", longest=4096)
    if (kind == "llamacpp") != bool(file):
        raise where.wrong("file", _("an engine of kind 'llamacpp' names its GGUF file, and no other kind does"))
    adapters = where.names("adapters")
    if adapters and kind != "llamacpp":
        raise where.wrong("adapters", _("only an engine of kind 'llamacpp' has adapters"))
    spec = EngineSpec(
        name=name,
        kind=cast(Any, kind),
        url=_url(where, kind),
        key_env=_variable(where),
        headers=_headers(where),
        file=str(folder / file) if file else "",
        adapters={model: str(folder / adapter) for model, adapter in adapters.items()},
        parallel=where.whole("parallel", 8, 1, 10_000),
        queue=where.whole("queue", 64, 0, 100_000),
        connect=where.number("connect", 5.0, 0.01, LONGEST),
        first=where.number("first", 30.0, 0.01, LONGEST),
        gap=where.number("gap", 30.0, 0.01, LONGEST),
        total=where.number("total", 120.0, 0.01, LONGEST),
    )
    where.done()
    return spec


def _url(where: Table, kind: str) -> str:
    written = where.text("url", longest=2048).strip()
    if kind not in ("openai", "ollama"):
        if written:
            raise where.wrong("url", _("an engine of kind '{kind}' has no url").format(kind=kind))
        return ""
    try:
        parts = urlsplit(written)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in written):
        raise where.wrong("url", _("must be an address that begins with http:// or https://"))
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # The address itself is not repeated: this is where keys are.
        raise where.wrong("url", _("an address has no user, password, query or fragment"), key_fix())
    return written.rstrip("/")


def _variable(where: Table) -> str:
    written = where.text("key_env")
    if written and not VARIABLE.fullmatch(written):
        said = _("must be the name of an environment variable, in capital letters, and not the key itself")
        raise where.wrong("key_env", said, key_fix())
    return written


def _headers(where: Table) -> dict[str, str]:
    headers = where.names("headers")
    for name, value in headers.items():
        if name.lower() in FORBIDDEN:
            said = _("the header '{name}' cannot be set here").format(name=name)
            raise where.wrong("headers", said, key_fix())
        if not HEADER.fullmatch(name) or not (value.isascii() and value.isprintable() and len(value) <= 4096):
            raise where.wrong("headers", _("a header is a name and one line of ASCII text"))
    return headers


def _task(name: str, where: Table, engines: Mapping[str, EngineSpec], folder: Path) -> Task:
    _name(where, name)
    if name in RESERVED:
        raise where.wrong("", _("this name means the version that serves"), _("Choose another name."))
    written = where.inner("variants")
    variants = tuple(
        _variant(key, table(values, (*written.path, key), where.source), engines)
        for key, values in written.values.items()
    ) or (Variant("active", LOCAL, "active"),)
    if sum(v.weight for v in variants) <= 0:
        raise where.wrong("variants", _("at least one variant must have a weight above 0"))
    task = Task(
        name=name,
        variants=variants,
        system=where.text("system"),
        prompt=_prompt(where),
        cleaner=_cleaner(where),
        checks=_checks(where, folder),
        route=cast(Any, where.choice("route", "weighted", _ROUTES)),
        fallback=where.flag("fallback", True),
        retries=where.whole("retries", 1, 0, 10),
        total=where.number("total", 0.0, 0.0, LONGEST),
        cache=where.number("cache", 0.0, 0.0, 365 * 86_400),
        limit=_limit(where),
        original=where.text("original"),
        switch=cast(Any, where.choice("switch", "off", _SWITCHES)),
        threshold=where.number("threshold", 0.5, 0.0, 1.0),
    )
    where.done()
    _switch(where, task)
    return task


def _switch(where: Table, task: Task) -> None:
    names = [variant.name for variant in task.variants]
    if task.original and task.original not in names:
        raise where.wrong("original", *unknown(task.original, names))
    if task.switch == "off":
        return
    if not task.original or task.original == names[0]:
        said = _("the quality switch needs an 'original': a variant that is not the first, '{first}'")
        raise where.wrong("switch", said.format(first=names[0]), _("Name the variant that answers when it fails."))
    if not task.checks:
        said = _("the quality switch needs checks: they are what an answer is scored by")
        raise where.wrong("switch", said, _('For example: checks = ["min_chars:20", "no_refusal"].'))


def _variant(name: str, where: Table, engines: Mapping[str, EngineSpec]) -> Variant:
    _name(where, name)
    engine = where.text("engine", LOCAL)
    if engine not in engines:
        raise where.wrong("engine", *unknown(engine, engines))
    # The other engines serve many models; these know one by themselves.
    usual = {"local": "active", "echo": "echo", "llamacpp": engine}.get(engines[engine].kind, "")
    model = where.text("model", usual, longest=256)
    if not model:
        raise where.wrong("model", _("is missing: which model of '{engine}'?").format(engine=engine))
    parameters = where.free("parameters")
    for key in parameters:
        if key in REQUESTS_OWN or key.lower() in SEALED:
            said = _("'{key}' is not a parameter of a model").format(key=key)
            raise where.wrong("parameters", said, _("Write what models take: temperature, top_p, max_tokens, ..."))
    variant = Variant(
        name=name,
        engine=engine,
        model=model,
        weight=where.number("weight", 1.0, 0.0, 1e9),
        parameters=parameters,
        price_in=where.number("price_in", 0.0, 0.0, 1e9),
        price_out=where.number("price_out", 0.0, 0.0, 1e9),
        when=where.names("when"),
    )
    where.done()
    return variant


def _prompt(where: Table) -> str:
    prompt = where.text("prompt")
    if prompt and "{text}" not in prompt:
        said = _("has no {text}: the place where the question goes")
        raise where.wrong("prompt", said, _('For example: prompt = "Suggest hashtags for: {text}".'))
    return prompt


def _cleaner(where: Table) -> str:
    written = where.text("cleaner")
    for name in cleaners.names(written):
        if name not in cleaners.CLEANERS:
            raise where.wrong("cleaner", *unknown(name, cleaners.CLEANERS))
    return written


def _checks(where: Table, folder: Path) -> tuple[str, ...]:
    written = where.texts("checks")
    try:
        found = tuple(checks.anchored(check, folder) for check in written)
        for check in found:
            checks.compiled(check)
    except BadInput as problem:
        raise where.wrong("checks", problem.message, problem.fix) from None
    if len(set(found)) != len(found):
        raise where.wrong("checks", _("the same check stands there twice"))
    return found


def _limit(where: Table) -> str:
    limit = where.text("limit").strip().lower()
    if limit and not LIMIT.fullmatch(limit):
        said = _("must be a number and second, minute, hour or day, such as 60/minute")
        raise where.wrong("limit", said)
    return limit
