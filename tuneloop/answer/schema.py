"""JSON Schema, the part of it that answers are described with: draft 2020-12 without references and patterns.

What a schema says and this does not know is refused when the configuration is read: a check that silently looks at
half of a schema would call wrong answers right. Patterns are left out because Python's expressions may take hours on
a text made for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from tuneloop.errors import BadInput
from tuneloop.texts import _

DEEPEST = 32
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: not isinstance(v, bool) and (isinstance(v, int) or (isinstance(v, float) and v.is_integer())),
}
NOTES = {"$schema", "$id", "$comment", "title", "description", "default", "examples", "format", "deprecated"}
NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
PARTS = {"properties", "additionalProperties", "required", "items", "uniqueItems"}
KNOWN = NOTES | NUMBERS | COUNTS | PARTS | {"type", "enum", "const", "anyOf", "oneOf", "allOf", "not"}


def check_schema(schema: object, depth: int = 0) -> None:
    """Raises BadInput for a schema that `fits` would not understand in full."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        raise BadInput(_("a JSON schema is an object of at most {n} levels").format(n=DEEPEST))
    for key in schema:
        if key not in KNOWN:
            raise BadInput(
                _("'{key}' in a JSON schema is not supported").format(key=key),
                fix=_("Use: {keys}.").format(keys=", ".join(sorted(KNOWN - NOTES))),
            )
    for key, right in _shapes(schema):
        if not right:
            raise BadInput(_("'{key}' in the JSON schema has the wrong form").format(key=key))
    for inner in _inner(schema):
        check_schema(inner, depth + 1)


def _shapes(schema: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Every keyword that is there and whether its value has the form that JSON Schema asks for."""
    named = schema.get("type", "null")
    texts = schema.get("required", [])
    kinds = [named] if isinstance(named, str) else _list(named)
    found = [
        ("type", bool(kinds) and all(isinstance(t, str) and t in TYPES for t in kinds)),
        ("required", isinstance(texts, list) and all(isinstance(t, str) for t in texts)),
        ("properties", isinstance(schema.get("properties", {}), Mapping)),
        ("enum", isinstance(schema.get("enum", []), list)),
    ]
    found += [(key, TYPES["number"](schema[key])) for key in NUMBERS if key in schema]
    found += [(key, TYPES["integer"](schema[key]) and schema[key] >= 0) for key in COUNTS if key in schema]
    found += [(key, bool(_list(schema[key]))) for key in ("anyOf", "oneOf", "allOf") if key in schema]
    return found


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _inner(schema: Mapping[str, Any]) -> list[Any]:
    found = list(schema.get("properties", {}).values())
    found += [schema[key] for key in ("items", "additionalProperties", "not") if key in schema]
    for key in ("anyOf", "oneOf", "allOf"):
        found += schema.get(key, [])
    return found


def fits(value: object, schema: Any) -> bool:
    """Whether a value that json.loads gave satisfies a schema that `check_schema` let through."""
    if isinstance(schema, bool):
        return schema
    named = schema.get("type", [])
    if named and not any(TYPES[t](value) for t in ([named] if isinstance(named, str) else named)):
        return False
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    return _within(value, schema) and _parts_fit(value, schema) and _together(value, schema)


def _within(value: Any, schema: Mapping[str, Any]) -> bool:
    if TYPES["number"](value):
        return bool(
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        )
    if not isinstance(value, str | list | dict):
        return True
    kind = "Length" if isinstance(value, str) else "Items" if isinstance(value, list) else "Properties"
    n = len(value)
    return bool(schema.get("min" + kind, n) <= n <= schema.get("max" + kind, n))


def _parts_fit(value: object, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, list):
        if schema.get("uniqueItems") and len({_identity(item) for item in value}) < len(value):
            return False
        return all(fits(item, schema.get("items", True)) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        return all(key in value for key in schema.get("required", ())) and all(
            fits(inner, properties.get(key, rest)) for key, inner in value.items()
        )
    return True


def _together(value: object, schema: Mapping[str, Any]) -> bool:
    return (
        all(fits(value, inner) for inner in schema.get("allOf", ()))
        and ("anyOf" not in schema or any(fits(value, inner) for inner in schema["anyOf"]))
        and ("oneOf" not in schema or sum(fits(value, inner) for inner in schema["oneOf"]) == 1)
        and ("not" not in schema or not fits(value, schema["not"]))
    )


def _same(a: object, b: object) -> bool:
    return _identity(a) == _identity(b)


def _identity(value: object) -> Hashable:
    """Equal for values that JSON calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, list):
        return "list", tuple(_identity(item) for item in value)
    if isinstance(value, dict):
        return "dict", frozenset((key, _identity(inner)) for key, inner in value.items())
    return "one", value  # a text, a number or null
