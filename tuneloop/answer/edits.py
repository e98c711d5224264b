"""Changes to the tree of a tuneloop.toml, made twice: to plain values, which say what is meant, and to tomlkit's
document, which keeps comments and order. Both must say the same afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from tuneloop.answer.book import LOCAL
from tuneloop.answer.layout import grouped, spaced
from tuneloop.errors import BadInput, Missing
from tuneloop.records import Variant
from tuneloop.settings import NOT_SETTINGS
from tuneloop.texts import _

Tree = MutableMapping[str, Any]


def rewritten(text: str, change: Callable[[Tree], None]) -> bytes:
    """The text with a change made to it, comments kept. Raises BadInput for what TOML cannot say."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    tidy = grouped(text)
    try:
        document = tomlkit.parse(tidy if tomllib.loads(tidy) == tomllib.loads(text) else text)
        change(document)
        return spaced(tomlkit.dumps(document)).encode("utf-8")
    except (TOMLKitError, UnicodeEncodeError) as problem:
        raise BadInput(_("this cannot be written as TOML: {problem}").format(problem=problem)) from None


def settings_in(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is not ours, for comparing."""
    return {section: repr(values) for section, values in tree.items() if section not in NOT_SETTINGS}


def put(tree: Tree, path: Sequence[str], fields: Mapping[str, Any], keep: bool) -> None:
    """Lay fields over the table at a path, or make it.

    A new table is put in whole: tomlkit gives a copy of one that was put in empty where a section's tables do not
    stand together in the file.
    """
    for depth, name in enumerate(path):
        if not isinstance(tree.get(name), MutableMapping):
            new: Any = plain(fields)
            for inner in reversed(path[depth + 1 :]):
                new = {inner: new}
            tree[name] = new
            return
        tree = tree[name]
    lay(tree, fields, keep)


def at(tree: Tree, path: Sequence[str]) -> Tree:
    """The table at a path. Raises Missing where there is none."""
    for depth, name in enumerate(path):
        if not isinstance(tree.get(name), MutableMapping):
            raise Missing(
                _("there is no '{name}' in tuneloop.toml").format(name=".".join(path[: depth + 1])),
                fix=_("`tuneloop tasks list` shows what there is."),
            )
        tree = tree[name]
    return tree


def remove(tree: Tree, path: Sequence[str]) -> None:
    at(tree, path)
    del at(tree, path[:-1])[path[-1]]


def lay(target: Tree, fields: Mapping[str, Any], keep: bool) -> None:
    """Make a table say `fields`, touching only what differs, so that comments stay."""
    if not keep:
        for name in [name for name in target if fields.get(name) is None]:
            del target[name]
    for name, value in fields.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(target.get(name), MutableMapping):
            kept = [inner for inner in target[name] if inner in value]
            if name == "variants" and not keep and [*kept, *(v for v in value if v not in kept)] != list(value):
                target[name] = plain(value)  # their order means something, more than comments do
            else:
                lay(target[name], value, keep)
        elif name not in target or json.dumps(target[name], default=str) != json.dumps(value):  # 1 is not true
            target[name] = plain(value)


def lean(fields: Mapping[str, Any], record: type) -> dict[str, Any]:
    """Without what a record would say by itself, the variants of a task likewise."""
    usual = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(record)
    }
    kept = {name: v for name, v in fields.items() if v is None or name not in usual or not _same(v, usual[name])}
    if isinstance(kept.get("variants"), Mapping):
        kept["variants"] = {
            name: lean_variant(inner) if isinstance(inner, Mapping) else inner
            for name, inner in kept["variants"].items()
        }
    return kept


def lean_variant(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Its engine is always written: tomlkit may drop a table with nothing in it."""
    return {"engine": LOCAL, **lean(fields, Variant)}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):  # 1 is not true
        return a is b
    return bool(a == (list(b) if isinstance(b, tuple) else b))


def plain(value: Any) -> Any:
    """Plain values, without None, which TOML has no word for."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.unwrap() if hasattr(value, "unwrap") else value  # tomlkit's own values remember how they were spelled
