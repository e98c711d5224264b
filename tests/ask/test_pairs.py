"""One column against another, in the query and in the sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ask.shop import SHOP, column
from tests.ask.test_question_answer import Rows
from tuneloop import texts
from tuneloop.ask.answer import tell
from tuneloop.ask.question import read

PAIRS = replace(
    SHOP,
    columns=(
        *SHOP.columns[:8],
        column("buyer_age", "number", 60, low=18.0, high=81.0),
        column("seller_age", "number", 60, low=18.0, high=81.0),
    ),
)


@pytest.mark.parametrize(
    ("question", "test"),
    [
        ("In how many orders was the buyer younger than the seller?", '"buyer_age" < "seller_age"'),
        ("In how many orders was the buyer older than the seller?", '"buyer_age" > "seller_age"'),
        ("How many orders have a quantity greater than delivery days?", '"quantity" > "delivery_days"'),
    ],
)
def test_one_column_against_another(question: str, test: str) -> None:
    sql = read(question, PAIRS).sql
    assert sql is not None and test in sql, sql


def test_the_sentence_names_both_columns() -> None:
    texts.use("en")
    reading = read("In how many orders was the buyer younger than the seller?", PAIRS)
    assert "buyer_age < seller_age" in tell(reading, Rows([(3,)], ["count"]), "en")  # type: ignore[arg-type]
