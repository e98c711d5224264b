"""Which SQL is run at all: exactly one SELECT over the table, read by DuckDB's own parser, functions from a list.

Three fences, each enough for most attacks alone: this check of the parsed statement, DuckDB's locked configuration
(no file, no extension, no setting), and the child process it runs in (ask/sandbox.py). `read_only` alone lets 46 of
91 hostile statements through, among them COPY ... TO and reading /etc/passwd; the locked configuration lets none out
of its own database but still shows paths and settings, which the list of functions and tables ends.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from tuneloop.ask.functions import ALLOWED, ROW_MAKERS
from tuneloop.errors import BadInput, Refused
from tuneloop.texts import _

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST = 20_000  # characters; a written-out question has 40 to 400, a 20,000-way UNION ALL has 240,000
DEEPEST = 200  # brackets inside brackets; the parser stays under 20 ms to there, and takes 240 ms at 900

# Connection settings of every query; `lock_configuration` comes last, after it nothing can be set. No temporary files:
# a query that does not fit into memory ends.
LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0KB",
    "memory_limit": "256MB",
    "threads": "2",
    "lock_configuration": "true",
}


def checked(sql: str, tables: Collection[str] = ("t",)) -> str:
    """The statement without its final semicolon, if it is one SELECT over `tables` that only computes.

    Parsed in the shared child, not here. Raises BadInput when it cannot be read as SQL, Refused when it is something
    other than one SELECT, names another table or file, or uses a function that is not in the list.
    """
    from tuneloop.ask.sandbox import parser

    return parser().check(sql, tables)


def examined(connection: DuckDBPyConnection, sql: str, tables: Collection[str]) -> str:
    """What `checked` promises; for the child, which has a connection."""
    import duckdb

    sql = _shape(sql)
    try:
        statements = connection.extract_statements(sql)
        kinds = [statement.type.name for statement in statements]
    except duckdb.Error as problem:
        raise unreadable(problem) from None
    if len(kinds) != 1:
        raise _refusal(_("it has {n} statements").format(n=len(kinds)))
    if kinds != ["SELECT"]:
        raise _refusal(_("it is {kind}").format(kind=kinds[0]))
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(row[0]) if row else {}
    if len(tree.get("statements", ())) != 1:  # what the parser cannot write down has {"error": true}
        raise _refusal(_("it is no plain SELECT"))
    _walk(tree["statements"][0]["node"], frozenset(name.lower() for name in tables))
    return sql


def unreadable(problem: Exception) -> BadInput:
    """The error for SQL that DuckDB cannot read or bind, with its first line as the reason."""
    said = str(problem).strip().splitlines() or [""]
    return BadInput(
        _("the query cannot be read: {problem}").format(problem=said[0][:300]),
        fix=_("Correct the query; `tuneloop ask FILE` lists the columns."),
    )


def _shape(sql: str) -> str:
    """Refuse what a parser should not even see."""
    sql = sql.strip().rstrip(";").rstrip()
    if not sql:
        raise BadInput(_("the query is empty"), fix=_("Write one SELECT over the table t."))
    if len(sql) > LONGEST:
        raise _refusal(_("it has {n} characters, the limit is {limit}").format(n=len(sql), limit=LONGEST))
    if "\x00" in sql:
        raise _refusal(_("it holds a zero byte"))
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise _refusal(_("it holds half a character")) from None
    depth = deepest = 0
    for character in sql:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise _refusal(_("brackets are nested {n} deep, the limit is {limit}").format(n=deepest, limit=DEEPEST))
    return sql


def _walk(node: Any, tables: frozenset[str]) -> None:
    """Visit the parsed tree; the names a WITH defines are tables inside its own query only."""
    if isinstance(node, list):
        for inner in node:
            _walk(inner, tables)
        return
    if not isinstance(node, dict):
        return
    if isinstance(node.get("cte_map"), dict):
        tables |= {entry["key"].lower() for entry in node["cte_map"].get("map", ())}
    kind = node.get("type")
    if kind == "BASE_TABLE":
        _table(node, tables)
    elif kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in ROW_MAKERS:
            raise _refusal(_("'{name}' may not be read from").format(name=name))
    elif kind in ("SHOW_REF", "PIVOT", "COLUMN_DATA", "DELIM_GET", "BOUND_TABLE_REF"):
        raise _refusal(_("it is no plain SELECT"))
    if "function_name" in node:
        _function(node)
    for inner in node.values():
        if isinstance(inner, dict | list):
            _walk(inner, tables)


def _table(node: dict[str, Any], tables: frozenset[str]) -> None:
    name, schema = str(node.get("table_name", "")), str(node.get("schema_name", "")).lower()
    if node.get("catalog_name") or schema not in ("", "main") or name.lower() not in tables:
        raise _refusal(_("it reads '{name}', which is not the table").format(name=name or "?"))


def _function(node: dict[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    if node.get("catalog") or str(node.get("schema", "")).lower() not in ("", "main") or name not in ALLOWED:
        raise _refusal(_("it uses the function '{name}'").format(name=name))


def _refusal(why: str) -> Refused:
    return Refused(
        _("only one SELECT that computes from the table is run; this is refused: {why}").format(why=why),
        fix=_("Ask for figures of the table; it is never changed, and nothing else is read."),
    )
