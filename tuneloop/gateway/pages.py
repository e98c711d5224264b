"""Pages without a single external asset: to talk to the model and click thumbs, to ask tables, to read the API.

All carry a Content-Security-Policy that runs only their own script (by nonce) and connects only to this server;
whatever a model or a person wrote is put on the page as text, never as HTML.
"""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse

from tuneloop import texts
from tuneloop.texts import _

HERE = Path(__file__).parent
PAGES = frozenset({"/", "/ask", "/photos"})


def chat(*, locked: bool, served: Collection[str] = PAGES) -> HTMLResponse:
    """The page at "/". locked: the server wants an API key, so the page asks for one. served: pages to link to."""
    words = {
        "title": _("tuneloop: talk to your model"),
        "hello": _("Ask something. A thumb up or down is kept beside the answer."),
        "placeholder": _("Write a message"),
        "send": _("Send"),
        "stop": _("Stop"),
        "clear": _("New conversation"),
        "up": _("Good answer"),
        "down": _("Bad answer"),
        "better": _("What should it have said?"),
        "save": _("Save"),
        "thanks": _("Saved"),
        "serving": _("serving"),
        "down_now": _("no model answers"),
        "degraded": _("the newest version could not be loaded"),
        "cut": _("The answer was cut off."),
        "failed": _("That did not work:"),
        "key": _("API key"),
        "you": _("you"),
        "model": _("model"),
        "docs": _("API"),
    }
    data = {"words": words, "locked": locked, "language": texts.language()}
    return _page("page.html", data, words["title"], bar=_bar("/", served))


def ask(*, locked: bool, served: Collection[str] = PAGES, largest: int = 0) -> HTMLResponse:
    """The page at "/ask": upload a table, see what it holds, ask it, see plot and SQL, click. largest: bytes taken."""
    words = {
        "title": _("tuneloop: ask a table"),
        "hello": _("Upload a table (CSV, Excel, Parquet, JSON lines, SQLite) and ask it in plain words."),
        "rule": _("Its rows go to no model: a question becomes one query, and the answer shows it."),
        "upload": _("Upload a table"),
        "receiving": _("sending"),
        "waiting": _("waiting for other tables to be loaded"),
        "counting lines": _("counting lines"),
        "reading": _("reading"),
        "storing": _("storing"),
        "counting values": _("counting values"),
        "megabytes": _("{n} MB"),
        "stop": _("Cancel"),
        "stopped": _("Stopped; nothing of {name} was kept."),
        "large": _("{name} has {n} MB; this server takes at most {most} MB."),
        "unreachable": _("The server cannot be reached, or hung up."),
        "tables": _("Tables"),
        "remove": _("Remove"),
        "sure_remove": _("Remove this table?"),
        "placeholder": _("Ask something"),
        "ask": _("Ask"),
        "rows": _("rows"),
        "columns": _("columns"),
        "column": _("column"),
        "kind": _("kind"),
        "missing": _("missing"),
        "different": _("different"),
        "range": _("range or values"),
        "number": _("number"),
        "text": _("text"),
        "date": _("date"),
        "bool": _("yes or no"),
        "beware": _("Beware"),
        "examples": _("Ask for example"),
        "holds": _("What it holds"),
        "sure": _("sure"),
        "more": _("there are more rows"),
        "right": _("Right"),
        "wrong": _("Wrong"),
        "teach": _("Say what was meant"),
        "meant": _("What was meant: one SELECT, or the question in other words"),
        "save": _("Save"),
        "thanks": _("Saved"),
        "failed": _("That did not work:"),
        "key": _("API key"),
        "docs": _("API"),
        "tried": _("Models that were tried here"),
        "model": _("model"),
        "right_of": _("right"),
        "each": _("s per question"),
        "speed": _("tokens/s"),
        "memory": _("memory, MB"),
        "verdict": _("verdict"),
    }
    data = {"words": words, "locked": locked, "largest": largest, "language": texts.language()}
    return _page("ask.html", data, words["title"], bar=_bar("/ask", served))


def photos(*, locked: bool, served: Collection[str] = PAGES) -> HTMLResponse:
    """The page at "/photos": a photo in, products out, and the buttons that teach the search."""
    words = {
        "title": _("tuneloop: photo search"),
        "drop": _("Drop a photo of a product here, paste it, or choose one: it is looked up in the catalogue."),
        "choose": _("Choose a photo"),
        "camera": _("Take a photo"),
        "searching": _("searching"),
        "sending": _("sending the photo"),
        "lost": _("the server was not reached, or the connection broke off; try again"),
        "products": _("Products in the catalogue"),
        "by_words": _("Or search by words"),
        "find": _("Find"),
        "mine": _("your photo"),
        "none": _("no picture"),
        "found": _("Nearest first. Say what is right: the next search knows it."),
        "unknown": _("This does not seem to be in the catalogue; nearest to it are:"),
        "nothing": _("Nothing was found."),
        "names": _("The encoder of this catalogue knows no text: names were searched instead."),
        "similarity": _("similarity"),
        "right": _("Right"),
        "wrong": _("Wrong"),
        "pointed": _("That one"),
        "absent": _("Not in the catalogue"),
        "point": _("Point at the right product"),
        "which": _("A word or two of the product's name"),
        "shows": _("Noted: your photo shows {name}."),
        "comment": _("Comment"),
        "add": _("Add product"),
        "name": _("Name"),
        "category": _("Category"),
        "price": _("Price"),
        "propose": _("Propose"),
        "proposed": _("Proposed: it is searched once an admin agrees."),
        "waiting": _("Proposed products"),
        "approve": _("Approve"),
        "reject": _("Reject"),
        "kept": _("Photos and clicks are kept so that the search can learn from them."),
        "forget": _("Remove mine"),
        "sure": _("Your searches, photos, clicks, comments and proposals will be removed for good. Sure?"),
        "forgotten": _("Removed."),
        "undo": _("undo"),
        "undone": _("Taken back."),
        "noted": _("Noted; the next search knows it."),
        "save": _("Save"),
        "cancel": _("Never mind"),
        "thanks": _("Saved"),
        "failed": _("That did not work:"),
        "key": _("API key"),
        "docs": _("API"),
    }
    data = {"words": words, "locked": locked, "language": texts.language()}
    return _page("photos.html", data, words["title"], images="blob:", bar=_bar("/photos", served))


def reference(document: dict[str, Any]) -> HTMLResponse:
    """The page at "/docs": every route of the OpenAPI document, its words and its answers."""
    routes = []
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            name, _line, rest = str(told.get("description", "")).partition("\n")
            more = html.escape(" ".join(rest.split()))
            codes = " ".join(sorted(told.get("responses", {})))
            routes.append(
                f"<section><h2><b>{method.upper()}</b> <code>{html.escape(path)}</code></h2>"
                f"<p>{html.escape(name)}</p><p>{more}</p><p class=codes>{html.escape(codes)}</p></section>"
            )
    return _page("docs.html", {}, _("tuneloop: the API"), body="".join(routes))


def _bar(here: str, served: Collection[str]) -> str:
    """Links to the pages there are, this one marked; nothing where it is the only one."""
    names = {"/": _("Chat"), "/ask": _("Tables"), "/photos": _("Photos")}
    shown = [path for path in names if path == here or path in served]
    if len(shown) == 1:
        return ""
    marked = {path: " aria-current=page" if path == here else "" for path in shown}
    links = "".join(f'<a href="{path}"{marked[path]}>{html.escape(names[path])}</a>' for path in shown)
    label = html.escape(_("Pages"))
    return f'<nav class="pages" aria-label="{label}">{links}</nav>'


def _page(
    name: str, data: dict[str, Any], title: str, body: str = "", images: str = "data:", bar: str = ""
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    # "<" inside the JSON could otherwise close the script element it stands in
    safe = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    filled = _template(name)
    for slot, value in {
        "{{nonce}}": nonce,
        "{{language}}": texts.language(),
        "{{title}}": html.escape(title),
        "{{bar style}}": _template("bar.css"),
        "{{bar}}": bar,
        "{{data}}": safe,
        "{{body}}": body,
    }.items():
        filled = filled.replace(slot, value)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        f"img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(filled, headers=headers)


@cache
def _template(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
