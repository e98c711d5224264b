"""A small made-up shop for the tests of reading questions: its columns are in English, its cells in two languages."""

from __future__ import annotations

from tuneloop.ask.columns import Column, Profile, quoted

ROWS = 400


def column(
    name: str, kind: str, distinct: int, *, low: object = None, high: object = None, values: str = "", missing: int = 0
) -> Column:
    cells = tuple(v.strip() for v in values.split("|")) if values else ()
    return Column(name, quoted(name), kind, ROWS, missing, distinct or len(cells), low, high, cells)  # type: ignore[arg-type]


SHOP = Profile(
    "t",
    ROWS,
    (
        column("order_id", "number", ROWS, low=1.0, high=400.0),
        column("customer_name", "text", 380, values="Anna Berg | Иван Петров | Lee Chang"),
        column("city", "text", 0, values="Москва | Казань | Berlin | New York"),
        column("category", "text", 0, values="Books | Toys | Garden Tools | Home Decor"),
        column("payment_method", "text", 0, values="card | cash | bank transfer"),
        column("price_rub", "number", 310, low=90.0, high=25000.0),
        column("quantity", "number", 9, low=1.0, high=9.0),
        column("delivery_days", "number", 14, low=1.0, high=14.0, missing=12),
        column("customer_age", "number", 60, low=18.0, high=81.0),
        column("rating", "number", 5, low=1.0, high=5.0),
        column("returned", "text", 0, values="no | yes"),
        column("ordered_at", "date", 300, low="2021-01-03", high="2023-12-30"),
    ),
)
