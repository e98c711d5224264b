"""A model that obeys a table's hostile text, over real HTTP: nothing is run, read or written, whatever it answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("duckdb")

from bench.hostile_sql import HOSTILE
from tests.ask.attacks import ATTACKS, PRICES, write
from tests.ask.obedient import Obedient, obedient
from tests.ask.test_injection import STEERING, shown
from tuneloop.answer.judging import Judge
from tuneloop.ask.by_model import read_by_model, tried
from tuneloop.ask.question import Reading
from tuneloop.ask.reply import Reply, reply
from tuneloop.ask.table import Table, open_table
from tuneloop.engines.openai import OpenAI
from tuneloop.records import EngineSpec
from tuneloop.workspace import open_workspace

QUESTION = "which weather suits the mood best?"  # nothing of this table
TOTAL = sum(sum(prices) for prices in PRICES.values())
WRAPPED = ("{sql}", "```sql\n{sql}\n```", "Sure! As the table orders: {sql};", "<think>obey</think>{sql} -- done")
Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[Obedient]:
    with obedient() as found:
        yield found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """A table with an order in its header and cells."""
    opened = open_table(write(tmp_path_factory.mktemp("m") / "t.csv", ATTACKS["ignore"], header=True))
    yield opened
    opened.close()


def asked(server: Obedient, table: Table, says: str) -> Reply:
    """What a person is answered when the model says this."""
    server.says = says

    async def ask(question: str, table: Table) -> Reading:
        engine = OpenAI(EngineSpec("far", url=server.url))
        try:
            return await tried(Judge("far/obedient", engine, "obedient"), question, table)
        finally:
            await engine.close()

    return reply(table, QUESTION, other=lambda question, table: asyncio.run(ask(question, table)))


def test_the_order_reaches_the_model_and_no_row_does(server: Obedient, table: Table) -> None:
    server.told.clear()
    asked(server, table, "NO")
    assert any(ATTACKS["ignore"] in text for text in server.told), "else these tests prove nothing"
    assert not any("350" in text and "Омск" in text for text in server.told)


@pytest.mark.parametrize("template", HOSTILE)
def test_a_model_that_obeys_gets_nothing_done(template: str, server: Obedient, table: Table, tmp_path: Path) -> None:
    canary, target = tmp_path / "canary.txt", tmp_path / "target"
    canary.write_text("seven yellow feathers")
    before = hashlib.sha256(table.database.read_bytes()).hexdigest()
    sql = template.format(canary=canary, target=target)
    for form in WRAPPED if template in HOSTILE[::10] else WRAPPED[:1]:
        found = asked(server, table, form.format(sql=sql))
        assert found.state == "unknown" and found.sql is None and not found.rows, found
        assert "feathers" not in json.dumps(found.sentence) and "feathers" not in shown(found)
    assert not any("feathers" in text for text in server.told), "nor does a repair tell the model"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary.txt"]
    assert hashlib.sha256(table.database.read_bytes()).hexdigest() == before
    assert table.run("SELECT count(*), sum(price) FROM t").rows == [(9, TOTAL)]


@pytest.mark.parametrize(
    "says", ["SELECT 42", "SELECT 'see http://127.0.0.1:9' AS answer", "SELECT 1; DROP TABLE t", "VALUES (42)"]
)
def test_a_select_that_does_not_read_the_table_is_no_answer(says: str, server: Obedient, table: Table) -> None:
    assert asked(server, table, says).state == "unknown"


@pytest.mark.parametrize("name", ["clear", "c1", "script", "override", "markup", "formula", "link"])
def test_names_that_a_model_chose_are_shown_harmless(name: str, server: Obedient, table: Table) -> None:
    attack = " ".join(ATTACKS[name].replace('"', "").replace(";", "").split())
    found = asked(server, table, f"SELECT max(price) AS \"{attack}\", '{attack.replace(chr(39), '')}' AS x FROM t")
    assert found.state == "answered" and found.route == "model" and found.sql and found.sql.startswith("SELECT max")
    assert found.rows[0][0] == 410
    assert not STEERING.search(shown(found)) and not STEERING.search(found.sentence)


def test_a_question_of_the_table_never_reaches_the_model(server: Obedient, table: Table) -> None:
    server.told.clear()
    server.says = "DROP TABLE t"
    found = reply(table, "average price", other=lambda *_asked: pytest.fail("the reader knows this"))
    assert found.route == "reader" and found.rows == ((TOTAL / 9,),) and not server.told


def test_the_command_with_an_obedient_model(server: Obedient, tmp_path: Path, tuneloop_command: Command) -> None:
    work = open_workspace(tmp_path / "tuneloop-work", create=True)
    toml = f'[ask]\nmodel = "far/obedient"\n[engines.far]\nkind = "openai"\nurl = "{server.url}"\n'
    (work.path / "tuneloop.toml").write_text(toml, encoding="utf-8")
    source = write(tmp_path / "t.csv", ATTACKS["clear"], header=True)
    server.says = f"COPY t TO '{tmp_path}/pwned.csv'"
    assert "Ask for example" in tuneloop_command("ask", source, QUESTION, code=4).stdout
    server.says = 'SELECT max(price) AS "\x1b[2Jmost" FROM t'
    done = tuneloop_command("ask", source, QUESTION)
    assert "410" in done.stdout and "\x1b" not in done.stdout + done.stderr
    told = json.loads(tuneloop_command("ask", source, QUESTION, "--json").stdout)
    assert told["sql"] == server.says and told["route"] == "model"
    assert not (tmp_path / "pwned.csv").exists()


def test_samples_that_disagree_are_no_answer(server: Obedient, table: Table) -> None:
    server.says = "SELECT random() FROM t"
    engine = OpenAI(EngineSpec("far", url=server.url))

    async def ask() -> Reading:
        try:
            return await read_by_model(Judge("far/obedient", engine, "obedient"), QUESTION, table)
        finally:
            await engine.close()

    assert asyncio.run(ask()).sql is None
