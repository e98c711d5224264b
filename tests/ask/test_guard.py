"""Which statements pass the check: every honest question, nothing else."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import pytest

from bench.gold_queries import gate, gates
from tests.conftest import shared_data
from tuneloop.ask.functions import ALLOWED, ROW_MAKERS
from tuneloop.ask.guard import checked
from tuneloop.errors import BadInput, Refused

HONEST = (
    "SELECT count(*) FROM t",
    "SELECT avg(price) FILTER (WHERE region = 'UK') - avg(price) FROM t;",
    "SELECT region, quantile_cont(price, 0.9) AS p FROM t GROUP BY region HAVING count(*) > 10 ORDER BY p DESC LIMIT 5",
    "WITH a AS (SELECT * FROM t WHERE x BETWEEN 1 AND 2) SELECT max(x) FROM a",
    "SELECT * FROM t WHERE s ILIKE '%a%' AND s NOT LIKE 'b_' AND s IN ('x', 'y') AND d IS NOT NULL",
    "SELECT CASE WHEN x > 1 THEN 'big' ELSE 'small' END AS size, count(*) FROM t GROUP BY ALL",
    "SELECT date_trunc('month', d) AS m, sum(x) OVER (ORDER BY d) FROM t",
    "SELECT corr(x, y), x::INTEGER, try_cast(s AS DOUBLE), coalesce(x, 0), -x % 2, x ** 2 FROM t",
    "SELECT a.s FROM t a JOIN t b USING (s) UNION ALL SELECT s FROM main.t",
    "SELECT 100.0 * count_if(x > 1) / count(*), extract(year FROM d), d + INTERVAL 1 MONTH FROM t",
    "SELECT s FROM t QUALIFY row_number() OVER (PARTITION BY r ORDER BY x DESC) = 1",
    "FROM t",
    "SELECT unnest([1, 2]), (SELECT max(x) FROM t)",
    "SELECT * FROM range(3) r(n) -- a comment",
)


@pytest.mark.parametrize("sql", HONEST)
def test_an_honest_question_passes(sql: str) -> None:
    assert checked(sql) == sql.rstrip(";")


@pytest.mark.parametrize("sql", ["", "  ;", "selec 1", "SELECT FROM WHERE", "hello", "SELECT (1", "SELECT 'open"])
def test_what_is_no_sql_is_bad_input(sql: str) -> None:
    with pytest.raises(BadInput):
        checked(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "DELETE FROM t",
        "SELECT * FROM other",
        "SELECT * FROM temp.t",
        "SELECT * FROM elsewhere.main.t",
        "SELECT 1 FROM (WITH hidden AS (SELECT 1) SELECT * FROM hidden), hidden",
        "SELECT getenv('HOME')",
        "SELECT main.read_text('x')",
        "SELECT t.* FROM t, duckdb_settings()",
        "SELECT 1\x00",
        "SELECT " + "(" * 300 + "1" + ")" * 300,
        "SELECT " + "1 + " * 20_000 + "1",
        "SELECT '\ud800'",
    ],
)
def test_everything_else_is_refused(sql: str) -> None:
    with pytest.raises(Refused):
        checked(sql)


def test_more_tables_can_be_named() -> None:
    sql = "SELECT * FROM city JOIN state USING (state_name)"
    assert checked(sql, ("city", "STATE")) == sql
    with pytest.raises(Refused):
        checked(sql, ("city",))


def test_the_list_holds_nothing_that_reaches_out() -> None:
    words = (
        "read_",
        "getenv",
        "setting",
        "duckdb_",
        "pragma",
        "query",
        "glob",
        "sleep",
        "write",
        "version",
        "user",
        "load",
    )
    assert not [name for name in ALLOWED | ROW_MAKERS if any(word in name for word in words)]


def test_gold_queries_of_other_people_pass(tmp_path: Path) -> None:
    """Every gold query of GeoQuery and department_store that is one SELECT passes the check, and DuckDB runs most."""
    with zipfile.ZipFile(shared_data("tableqa_dev.zip")) as archive:
        archive.extractall(tmp_path)
    for name, found in gates(tmp_path, tmp_path / "cache").items():
        counts = found.counts
        assert counts["single"] >= 40 and counts["let"] == counts["single"] and not found.refused, (name, found.refused)
        assert counts["kept out"] == counts["others"], name
        assert counts["run"] >= 0.85 * counts["let"], (name, found.not_run)


def test_a_gate_tells_what_it_refuses(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.executescript("CREATE TABLE s (x INTEGER, y TEXT); INSERT INTO s VALUES (1, 'a'), (2, 'b')")
    queries = ["SELECT x FROM s;", "SELECT 1; SELECT 2", "DELETE FROM s", "SELECT x, max(y) FROM s", "SELECT * FROM z"]
    found = gate(tmp_path / "a.sqlite", queries, tmp_path / "cache")
    counts = found.counts
    assert (counts["all"], counts["single"], counts["let"], counts["run"]) == (5, 3, 2, 1)
    assert (counts["others"], counts["kept out"]) == (2, 2)
    assert "2 statements" in found.others[0] and "DELETE" in found.others[1] and "'z'" in found.refused[0]
    assert "GROUP BY" in found.not_run[0] and "5 gold queries, 3 single SELECTs" in next(found.lines("own"))
