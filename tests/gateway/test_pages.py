"""The pages: self-contained, in the user's language, and safe whatever is put into them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from fastapi.responses import HTMLResponse

from tuneloop import texts
from tuneloop.gateway import pages

Page = Callable[..., HTMLResponse]


def test_pages_load_nothing_from_elsewhere() -> None:
    for page in (
        pages.chat(locked=False),
        pages.ask(locked=True),
        pages.photos(locked=True),
        pages.reference({"paths": {}}),
    ):
        html = page.body.decode()
        assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
        assert "@import" not in html
        assert "{{" not in html.replace("{{'", "")
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy


@pytest.mark.parametrize("page", [pages.chat, pages.ask, pages.photos])
def test_every_script_and_style_carries_this_answers_nonce(page: Page) -> None:
    first, second = page(locked=False), page(locked=False)
    nonces = [re.search(r"script-src 'nonce-([^']+)'", p.headers["content-security-policy"]) for p in (first, second)]
    assert nonces[0] and nonces[1]
    assert nonces[0][1] != nonces[1][1]
    tags = re.findall(r"<(?:script|style)[^>]*>", first.body.decode())
    assert len(tags) == 3
    assert all(f'nonce="{nonces[0][1]}"' in tag for tag in tags)
    assert not re.search(r"\son\w+=", first.body.decode())
    assert "innerHTML =" not in first.body.decode()


@pytest.mark.parametrize(
    ("page", "indirect"),
    [
        (pages.chat, {"up", "down"}),
        (pages.ask, {"number", "text", "date", "bool", "right", "wrong"}),
        (pages.photos, {"right", "wrong", "pointed"}),
    ],
)
def test_words_are_those_of_the_language(page: Page, indirect: set[str]) -> None:
    html = page(locked=True).body.decode()
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert data["locked"] is True
    used = set(re.findall(r"say\.(\w+)", html)) | indirect
    assert used <= set(data["words"])
    texts.use("ru")
    assert '<html lang="ru">' in page(locked=False).body.decode()


def test_api_page_escapes_what_it_lists() -> None:
    document = {"paths": {"/<script>": {"get": {"description": "<b>x</b>\nmore & more", "responses": {"200": {}}}}}}
    html = pages.reference(document).body.decode()
    assert "<script>" not in html.split("<body>")[1]
    assert "&lt;b&gt;x" in html
    assert "more &amp; more" in html


def test_the_bar_is_the_same_on_every_page_but_for_the_mark() -> None:
    bars = []
    for page, path in ((pages.chat, "/"), (pages.ask, "/ask"), (pages.photos, "/photos")):
        (bar,) = re.findall(r'<nav class="pages".*?</nav>', page(locked=False).body.decode())
        assert f'href="{path}" aria-current=page' in bar and bar.count("aria-current") == 1
        bars.append(bar.replace(" aria-current=page", ""))
    assert len(set(bars)) == 1 and bars[0].count("<a ") == 3


def test_the_bar_names_only_what_is_served() -> None:
    html = pages.ask(locked=False, served={"/photos"}).body.decode()
    assert re.findall(r'<a href="([^"]+)"', html.split("</nav>")[0]) == ["/ask", "/photos"]
    assert "<nav class" not in pages.photos(locked=False, served=set()).body.decode()
