"""The parts a question is read by: words, numbers, dates, phrases, links, and the query's SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ask.shop import SHOP
from tuneloop.ask import dates, lexicon, linking, numbers
from tuneloop.ask.query import Condition, Group, Query, literal, negated
from tuneloop.ask.scene import flag_value, is_flag, is_identifier, label_column, open_scene
from tuneloop.ask.words import distance, forms, name_tokens, skeleton, tokens


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("женщин", "женщина"),
        ("выживших", "выжить"),
        ("самой", "самый"),
        ("categories", "category"),
        ("women", "woman"),
        ("paid", "pay"),
        ("bigger", "big"),
        ("studies", "study"),
    ],
)
def test_forms_hold_the_dictionary_word(word: str, form: str) -> None:
    assert form in forms(word)


def test_short_and_hissing_words_keep_their_end() -> None:
    assert forms("class") == {"class"} and forms("bus") == {"bus"}


@pytest.mark.parametrize(
    ("russian", "english"),
    [
        ("бруклин", "brooklyn"),
        ("куинстаун", "queenstown"),
        ("тойота", "toyota"),
        ("квинс", "queens"),
        ("бронкс", "bronx"),
    ],
)
def test_the_same_sound_has_one_skeleton(russian: str, english: str) -> None:
    assert distance(skeleton(russian), skeleton(english), 1) <= 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("Client_Region", ["client", "region"]), ("pickupZone", ["pickup", "zone"]), ("2010 rank", ["2010", "rank"])],
)
def test_column_names_are_cut_into_words(name: str, words: list[str]) -> None:
    assert [t.text for t in name_tokens(name)] == words


@pytest.mark.parametrize(
    ("a", "b", "edits"), [("цена", "цена", 0), ("цена", "цнеа", 1), ("price", "prise", 1), ("ab", "xyz", 2)]
)
def test_distance_counts_edits_up_to_its_bound(a: str, b: str, edits: int) -> None:
    assert distance(a, b, 1) == min(edits, 2)


@given(st.text("абв", max_size=6), st.text("абв", max_size=6))
def test_distance_is_symmetric(a: str, b: str) -> None:
    assert distance(a, b, 9) == distance(b, a, 9)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("12,467 people", [12467]),
        ("75,000,000", [75_000_000]),
        ("2,5 кг", [2.5]),
        ("1.5 million", [1_500_000]),
        ("5k", [5000]),
        ("двадцать пять", [25]),
        ("two thousand five hundred", [2500]),
        ("сто двадцать тысяч", [120_000]),
        ("полтора миллиона", [1_500_000]),
        ("-3 degrees", [-3]),
        ("топ-5", [5]),
        ("третий", [3]),
        ("from 10 to 20", [10, 20]),
        ("no number", []),
    ],
)
def test_numbers_are_read(text: str, values: list[float]) -> None:
    assert [n.value for n in numbers.numbers(tokens(text))] == values


def test_ordinals_and_percents_are_told_apart() -> None:
    found = numbers.numbers(tokens("3rd, 90-й, 50 %, десять процентов, 7"))
    assert [(n.ordinal, n.sign) for n in found] == [(True, ""), (True, ""), (False, "%"), (False, "%"), (False, "")]


@given(st.integers(0, 10**12))
def test_any_grouped_integer_is_read_back(value: int) -> None:
    assert [n.value for n in numbers.numbers(tokens(f"{value:,}"))] == [value]


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("5 марта 2019 года", date(2019, 3, 5), date(2019, 3, 6)),
        ("March 5, 2019", date(2019, 3, 5), date(2019, 3, 6)),
        ("в декабре 2020", date(2020, 12, 1), date(2021, 1, 1)),
        ("2019-03-05", date(2019, 3, 5), date(2019, 3, 6)),
        ("05.03.2019", date(2019, 3, 5), date(2019, 3, 6)),
    ],
)
def test_dates_become_spans(text: str, first: date, after: date) -> None:
    (span,) = dates.spans(tokens(text))
    assert (span.first, span.after) == (first, after)


@pytest.mark.parametrize("text", ["45.13.2019", "may I ask", "in 2019", "1.5", "march on"])
def test_what_is_no_date(text: str) -> None:
    assert dates.spans(tokens(text)) == []


def test_the_longest_cue_hides_the_shorter_ones() -> None:
    names = {c.name for c in lexicon.cues(tokens("не менее пяти"))}
    assert "ge" in names and "lt" not in names and "no" not in names


def test_lists_know_both_languages() -> None:
    assert lexicon.concepts(tokens("зарплата"))[0] & lexicon.concepts(tokens("salary"))[0]
    assert lexicon.cell_concepts(tokens("США"))[0] & lexicon.cell_concepts(tokens("United States"))[0]


def test_every_small_set_of_words_is_there() -> None:
    for name in ("timely", "copulas", "units", "little", "turns", "heads", "totals", "to", "what", "money", "persons"):
        assert lexicon.words(name)


def mentioned(question: str) -> list[tuple[str, str | None]]:
    return sorted((m.column.name, m.cell) for m in open_scene(question, SHOP).mentions)


@pytest.mark.parametrize(
    ("question", "links"),
    [
        ("цена в Москве", [("city", "Москва"), ("price_rub", None)]),
        ("срок доставки", [("delivery_days", None)]),
        ("bank transfer", [("payment_method", "bank transfer")]),
        ("банковский перевод", [("payment_method", "bank transfer")]),
        ("возраст покупателя", [("customer_age", None)]),
        ("nothing at all", []),
    ],
)
def test_links_find_columns_and_cells(question: str, links: list[tuple[str, str | None]]) -> None:
    assert mentioned(question) == links


def test_general_nouns_yield_to_the_measure_they_belong_to() -> None:
    assert ("quantity", None) not in mentioned("количество цены price")


def test_index_is_made_once_per_table() -> None:
    assert linking.index(SHOP) is linking.index(SHOP)


def test_flags_identifiers_and_labels() -> None:
    by_name = {c.name: c for c in SHOP.columns}
    assert is_flag(by_name["returned"]) and not is_flag(by_name["rating"])
    assert flag_value(by_name["returned"], True) == "yes" and flag_value(by_name["returned"], False) == "no"
    assert is_identifier(by_name["order_id"], SHOP) and not is_identifier(by_name["quantity"], SHOP)
    label = label_column(SHOP)
    assert label is not None and label.name == "customer_name"


PRICE, CITY, PAID = (next(c for c in SHOP.columns if c.name == n) for n in ("price_rub", "city", "payment_method"))


@pytest.mark.parametrize(
    ("condition", "sql"),
    [
        (Condition(PRICE, ">", (5.5,)), '"price_rub" > 5.5'),
        (Condition(CITY, "in", ("a", "b'c")), "\"city\" IN ('a', 'b''c')"),
        (Condition(PRICE, "missing"), '"price_rub" IS NULL'),
        (Condition(CITY, "like", ("New",)), "contains(lower(\"city\"), 'new')"),
        (Condition(CITY, "is not", ("Total",)), "\"city\" IS DISTINCT FROM 'Total'"),
        (Condition(PRICE, "between", (1.0, 2.0)), '"price_rub" BETWEEN 1 AND 2'),
        (Condition(PRICE, "> average"), '"price_rub" > (SELECT avg("price_rub") FROM t)'),
    ],
)
def test_conditions_as_sql(condition: Condition, sql: str) -> None:
    assert condition.sql == sql


@pytest.mark.parametrize("op", ["=", ">", ">=", "in", "missing", "like", "> average"])
def test_negating_twice_is_the_condition(op: str) -> None:
    condition = Condition(PRICE, op, (1.0,))
    turned = negated(condition)
    assert turned.sql != condition.sql
    if op != "like":
        assert negated(turned) == condition


def test_literals_are_safe_sql() -> None:
    assert literal("x'; DROP TABLE t; --") == "'x''; DROP TABLE t; --'"
    assert (literal(True), literal(3.0), literal(date(2020, 1, 2))) == ("true", "3", "DATE '2020-01-02'")


def test_total_rows_are_left_out_of_figures() -> None:
    from tuneloop.ask.question import read

    names = replace(SHOP.columns[1], values=("Anna Berg", "Total"))
    profile = replace(SHOP, columns=(SHOP.columns[0], names, *SHOP.columns[2:]))
    reading = read("Средняя цена", profile)
    assert reading.sql is not None and "\"customer_name\" IS DISTINCT FROM 'Total'" in reading.sql


def test_shares_of_groups_as_sql() -> None:
    sql = Query("share", groups=(Group(PAID),)).sql
    assert sql.startswith('SELECT "payment_method", 100.0 * count(*) / sum(count(*)) OVER ()')
