"""The page at /photos in a real Chromium: a photo in, pictures out, every button, on a phone, with a key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.gateway.live import Live, configured, running
from tests.search import shop
from tuneloop import texts
from tuneloop.access import keys
from tuneloop.db.photo_tables import new_products, photo_feedback, photo_queries
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import open_workspace

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    shop.write(tmp_path / "shop", photos=1, names=shop.NAMES[:8])
    configured(tmp_path / "work", grace=0.5)
    workspace = open_workspace(tmp_path / "work")
    found = catalogue_sources.read(tmp_path / "shop" / "catalogue.csv")
    catalogue.put(workspace, found, open_encoder("classical"), source="shop")
    with running(workspace, None) as live:
        yield live
    workspace.db.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "photos" / "red-ball-0.jpg"


@pytest.fixture
def page(browser: Any, live: Live) -> Iterator[Any]:
    """The page, opened; anything its console calls an error fails the test."""
    opened = browser.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda problem: said.append(str(problem)))
    opened.goto(live.url + "/photos")
    yield opened
    opened.close()
    assert said == []


def send(page: Any, photo: Path) -> None:
    page.set_input_files("#file", photo)
    page.wait_for_selector(".product img.picture")


def said(live: Live) -> set[tuple[str, str, bool]]:
    with live.workspace.db.read() as rows:
        found = rows.execute(select(photo_feedback)).all()
    return {(row.verdict, row.item, row.undone is not None) for row in found}


def press(page: Any, text: str, *, inside: str = "") -> None:
    page.locator(f"{inside} button", has_text=text).first.click()


def told(page: Any, text: str) -> None:
    playwright.expect(page.locator("#told")).to_contain_text(text)


def test_a_photo_shows_products_with_pictures(page: Any, photo: Path) -> None:
    playwright.expect(page.locator("#count")).to_contain_text("8")
    send(page, photo)
    assert page.locator(".product").count() == 5
    first = page.locator(".product").first
    assert first.locator("h3").inner_text() in shop.NAMES and "%" in first.inner_text() and ".50" in first.inner_text()
    playwright.expect(page.locator(".product img.picture")).to_have_count(5)
    assert min(page.evaluate("[...document.images].map(image => image.naturalWidth)")) > 100


def test_right_wrong_and_undo(page: Any, live: Live, photo: Path) -> None:
    send(page, photo)
    names = [item.replace(" ", "-") for item in page.locator(".product h3").all_inner_texts()]
    press(page, "Right", inside=".product:nth-child(2)")
    told(page, "Noted")
    press(page, "Wrong", inside=".product:nth-child(1)")
    page.wait_for_selector(".product:nth-child(1)[data-said=wrong]")
    assert said(live) == {("right", names[1], False), ("wrong", names[0], False)}
    press(page, "undo", inside=".product:nth-child(1)")
    told(page, "Taken back")
    assert said(live) == {("right", names[1], False), ("wrong", names[0], True)}
    send(page, photo)
    playwright.expect(page.locator(".product h3").first).to_have_text(names[1].replace("-", " "))


def test_point_at_the_right_product(page: Any, live: Live, photo: Path) -> None:
    send(page, photo)
    press(page, "Point")
    page.locator("#more input").press_sequentially("gre star")
    page.locator(".pick", has_text="green star").click()
    told(page, "your photo shows green star")
    assert said(live) == {("pointed", "green-star", False)}


def test_not_in_the_catalogue_comment_and_a_new_product(page: Any, live: Live, photo: Path) -> None:
    send(page, photo)
    press(page, "Not in the catalogue")
    told(page, "Noted")
    press(page, "undo", inside="#about")
    told(page, "Taken back")
    press(page, "Comment", inside="#about")
    page.locator("#more input").fill("<img src=x onerror=alert(1)>")
    press(page, "Save")
    told(page, "Saved")
    press(page, "Add product")
    for box, text in zip(page.locator("#more input").all(), ("Cup", "cups", "9.90"), strict=True):
        box.fill(text)
    press(page, "Propose")
    told(page, "admin")
    assert said(live) == {("absent", "", True), ("comment", "", False)}
    with live.workspace.db.read() as rows:
        made = rows.execute(select(new_products)).one()
    assert (made.name, made.category, made.price, made.state) == ("Cup", "cups", "9.90", "pending")
    press(page, "Approve", inside="#proposed")  # without a key whoever sits here is an administrator
    playwright.expect(page.locator("#count")).to_contain_text("9")
    assert page.locator("#proposed").is_hidden()


def test_what_is_kept_of_a_browser_is_removed(page: Any, live: Live, photo: Path) -> None:
    send(page, photo)
    press(page, "Right", inside=".product:nth-child(1)")
    told(page, "Noted")
    page.on("dialog", lambda dialog: dialog.accept())
    press(page, "Remove mine")
    playwright.expect(page.locator("#kept")).to_contain_text("Removed.")
    with live.workspace.db.read() as rows:
        assert rows.execute(select(photo_queries)).all() == rows.execute(select(photo_feedback)).all() == []


def test_pasted_and_dropped_photos_and_words(page: Any, photo: Path) -> None:
    give = """([bytes, kind]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], "x.jpg", {type: "image/jpeg"}));
        const more = kind === "paste" ? {clipboardData: files} : {dataTransfer: files};
        const made = kind === "paste" ? new ClipboardEvent(kind, more) : new DragEvent(kind, more);
        document.body.dispatchEvent(new made.constructor(kind, {...more, bubbles: true, cancelable: true}));
    }"""
    for kind in ("paste", "drop"):
        page.evaluate(give, [list(photo.read_bytes()), kind])
        page.wait_for_selector(".product img.picture")
        page.evaluate("document.getElementById('found').replaceChildren()")
    page.fill("#words", "green")
    press(page, "Find")
    page.wait_for_selector(".product")
    assert page.locator(".product h3").all_inner_texts() == ["green ball", "green bottle", "green box", "green star"]
    told(page, "names were searched")
    assert page.locator(".product button").count() == 0  # words take no clicks


def test_what_is_no_picture_is_one_sentence(browser: Any, live: Live, tmp_path: Path) -> None:
    page = browser.new_page()  # its console tells of the 400
    page.goto(live.url + "/photos")
    (tmp_path / "x.jpg").write_bytes(b"no picture at all")
    page.set_input_files("#file", tmp_path / "x.jpg")
    page.wait_for_selector("#problem:not([hidden])")
    assert "this is no picture" in page.inner_text("#problem") and page.locator(".product").count() == 0
    page.close()


def test_a_large_photo_is_made_smaller_before_it_is_sent(page: Any, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (2600, 3600, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=90)
    assert (tmp_path / "large.jpg").stat().st_size > 4_000_000
    with page.expect_request("**/catalogue/search") as sent:
        page.set_input_files("#file", tmp_path / "large.jpg")
    page.wait_for_selector(".product")
    assert int(sent.value.all_headers()["content-length"]) < 4_000_000


def test_with_a_key_in_russian_on_a_phone(browser: Any, live: Live, photo: Path) -> None:
    _key, secret = keys.create(live.workspace, name="k", role="user")
    live.server.desk.doorkeeper.forget()
    live.server.desk.doorkeeper._looked = float("-inf")
    texts.use("ru")
    phone = browser.new_context(viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    page.goto(live.url + "/photos")
    page.wait_for_selector("#problem:not([hidden])")  # no key yet
    page.fill("#key", secret)
    page.press("#key", "Tab")
    playwright.expect(page.locator("#count")).to_contain_text("8")
    assert page.locator("#camera").is_visible()
    send(page, photo)
    assert "Верно" in page.locator(".product").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    phone.close()


def slowly(browser: Any, live: Live, bytes_a_second: int) -> Any:
    page = browser.new_page()
    page.goto(live.url + "/photos")
    playwright.expect(page.locator("#count")).to_contain_text("8")
    line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
    return page


def test_a_slow_upload_shows_how_far_it_is(browser: Any, live: Live, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg", quality=90)  # 0.6 MB: 3 seconds
    page = slowly(browser, live, 200_000)
    page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => { const bar = document.getElementById("sending");
            if (!bar.hidden) window.seen.push(Number(bar.getAttribute("aria-valuenow"))); })
            .observe(document.getElementById("sending"), {attributes: true});
    }""")
    page.set_input_files("#file", tmp_path / "noise.jpg")
    playwright.expect(page.locator("#choose")).to_contain_text("sending the photo: ")
    assert page.locator("#sending").is_visible() and page.get_by_role("progressbar").is_visible()
    page.wait_for_selector(".product img.picture", timeout=60_000)
    seen = page.evaluate("window.seen")
    assert len(set(seen)) > 3 and seen == sorted(seen) and seen[0] >= 0 and seen[-1] <= 100
    assert page.locator("#sending").is_hidden() and page.inner_text("#choose") == "Choose a photo"
    page.close()


def test_an_upload_of_a_moment_shows_no_bar(page: Any, photo: Path) -> None:
    page.evaluate("""() => { window.shown = 0;
        new MutationObserver(() => { window.shown += !document.getElementById("sending").hidden; })
            .observe(document.getElementById("sending"), {attributes: true}); }""")
    send(page, photo)
    assert page.evaluate("window.shown") == 0


def test_a_lost_server_is_one_sentence(browser: Any, live: Live, photo: Path) -> None:
    page = browser.new_page()  # its console tells of the connection
    page.goto(live.url + "/photos")
    playwright.expect(page.locator("#count")).to_contain_text("8")
    page.context.set_offline(True)
    for ask in (lambda: page.set_input_files("#file", photo), lambda: press(page, "Find")):
        page.fill("#words", "red")
        ask()
        playwright.expect(page.locator("#problem")).to_contain_text("the connection broke off; try again")
        playwright.expect(page.locator("#choose")).to_have_text("Choose a photo")
    assert page.locator("#sending").is_hidden()
    page.close()


def test_the_bar_leads_to_the_pages_that_have_something_to_show(page: Any, live: Live) -> None:
    links = page.locator("nav.pages a")
    assert links.all_inner_texts() == ["Tables", "Photos"], "no model answers here"
    assert links.last.get_attribute("aria-current") == "page"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Tables"
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask")
    assert page.locator("nav.pages [aria-current=page]").all_inner_texts() == ["Tables"]
