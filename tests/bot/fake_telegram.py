"""A Telegram that lives on this machine: the part of the Bot API that the bot uses, over real sockets.

It keeps to the specification where that can hurt: tokens, required fields, limits of lengths, one getUpdates at a time,
confirmation by offset, callback_data of 1 to 64 bytes, `file_path` behind the token, secrets of webhooks. Everything it
is asked is in `calls`, so that a test can compare it with the published specification.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web

TOKEN = "424242:test-token_of-a-bot"
BOT = {"id": 424242, "is_bot": True, "first_name": "Finder", "username": "finder_bot"}
CALLBACK_ANSWERS = 200  # characters


@dataclass
class Call:
    """One request of the bot: its fields as they came, and the files that came along."""

    method: str
    fields: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    time: float = field(default_factory=time.monotonic)

    def json(self, name: str) -> Any:
        return json.loads(self.fields[name])


class Refusal(Exception):
    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


class FakeTelegram:
    """Started with `with`; `url` is the API's. Everything else may be called from the test's thread."""

    def __init__(self, *, token: str = TOKEN) -> None:
        self.token = token
        self.calls: list[Call] = []
        self.updates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.sizes: dict[str, int | None] = {}  # what is claimed, where that is not the truth
        self.messages: dict[int, dict[str, Any]] = {}
        self.trouble: Callable[[str], Refusal | int | None] = lambda _method: None  # int: a status without JSON
        self.webhook = ""
        self.secret = ""
        self.url = ""
        self._numbers = iter(range(1000, 10**9))
        self._changed = threading.Condition()
        self._asking = 0
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._port = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FakeTelegram:
        self.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        if self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=50_000_000)
        app.router.add_route("*", "/bot{token}/{method}", self._answer)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    # --- what people do

    def says(self, user: int, text: str, **more: Any) -> int:
        return self._message(user, {"text": text, **more})

    def sends_photo(self, user: int, photo: bytes, **more: Any) -> int:
        """A photo in two sizes, as Telegram makes them; the last is what was sent."""
        sizes = [
            {"file_id": self.keep(photo), "file_unique_id": f"u{n}", "width": n, "height": n, "file_size": len(photo)}
            for n in (90, 800)
        ]
        return self._message(user, {"photo": sizes, **more})

    def sends_file(self, user: int, content: bytes, mime: str, **more: Any) -> int:
        said = {"file_id": self.keep(content), "file_unique_id": "u", "mime_type": mime, "file_size": len(content)}
        return self._message(user, {"document": said | more})

    def presses(self, user: int, message: dict[str, Any], data: str, *, language: str = "en") -> int:
        """Press a button of a message that the bot sent."""
        said = {"id": str(next(self._numbers)), "from": person(user, language), "chat_instance": "c", "data": data}
        return self.update({"callback_query": {**said, "message": message}})

    def update(self, body: dict[str, Any], number: int | None = None) -> int:
        """Queue a raw update; its number."""
        number = next(self._numbers) if number is None else number
        with self._changed:
            self.updates.append({"update_id": number, **body})
            self._changed.notify_all()
        return number

    def keep(self, content: bytes) -> str:
        """A file that Telegram has; its id."""
        name = f"file{next(self._numbers)}"
        self.files[name] = content
        return name

    def _message(self, user: int, what: dict[str, Any]) -> int:
        language = what.pop("language", "en")
        chat = what.pop("chat", {"id": user, "type": "private"})
        said = {"message_id": next(self._numbers), "date": int(time.time()), "from": person(user, language)}
        return self.update({"message": {**said, "chat": chat, **what}})

    # --- what tests look at

    def wait(self, what: Callable[[], Any], seconds: float = 30.0) -> Any:
        """What `what` returns as soon as it is true."""
        end = time.monotonic() + seconds
        with self._changed:
            while not (found := what()):
                left = end - time.monotonic()
                assert left > 0, [(c.method, c.fields) for c in self.calls[-8:]]
                self._changed.wait(min(left, 0.2))
        return found

    def sent(self, *methods: str) -> list[Call]:
        return [c for c in self.calls if c.method in methods]

    def texts(self, user: int | None = None) -> list[str]:
        """Texts and captions that were sent or written anew, oldest first."""
        return [
            str(c.fields.get("text") or c.fields.get("caption") or "")
            for c in self.sent("sendMessage", "sendPhoto", "editMessageText", "editMessageCaption")
            if user is None or str(c.fields["chat_id"]) == str(user)
        ]

    def says_back(self, part: str, user: int | None = None, seconds: float = 30.0) -> str:
        """Wait for a text of the bot that holds this."""
        found = self.wait(lambda: [t for t in self.texts(user) if part in t], seconds)
        return str(found[-1])

    def pops_up(self, part: str) -> str:
        """Wait for an answer to a button that holds this."""
        found = self.wait(lambda: [t for t in self.popped() if part in t])
        return str(found[-1])

    def popped(self) -> list[str]:
        """What the answers to buttons said, oldest first."""
        return [str(c.fields.get("text", "")) for c in self.sent("answerCallbackQuery")]

    def shown(self, user: int) -> list[dict[str, Any]]:
        """Messages in a chat as they look now, oldest first."""
        return [m for m in self.messages.values() if m["chat"]["id"] == user]

    def bring(self, body: dict[str, Any], url: str, secret: str | None = None, **headers: str) -> int:
        """Bring an update to a webhook; the status of the answer."""

        async def post() -> int:
            named = {"X-Telegram-Bot-Api-Secret-Token": self.secret if secret is None else secret, **headers}
            async with ClientSession() as session, session.post(url, json=body, headers=named) as said:
                return said.status

        return asyncio.run_coroutine_threadsafe(post(), self._loop).result(30)

    # --- the API

    async def _answer(self, request: web.Request) -> web.Response:
        if request.match_info["token"] != self.token:
            return _refused(Refusal(401, "Unauthorized"))
        call = await _read(request)
        call.method = request.match_info["method"]
        handler = getattr(self, "_" + call.method, None)
        if handler is None:
            return _refused(Refusal(404, "Not Found: method not found"))
        trouble = self.trouble(call.method)
        if isinstance(trouble, int):
            return web.Response(status=trouble, text="<html>Bad Gateway</html>", content_type="text/html")
        try:
            if trouble:
                raise trouble
            result = await handler(call)
        except Refusal as problem:
            self._note(call)
            return _refused(problem)
        self._note(call)
        return web.json_response({"ok": True, "result": result})

    def _note(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    async def _download(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            return web.Response(status=401)
        trouble = self.trouble("download")
        if isinstance(trouble, int):
            return web.Response(status=trouble)
        content = self.files.get(request.match_info["path"].removeprefix("photos/"))
        return web.Response(status=404) if content is None else web.Response(body=content)

    async def _getMe(self, _call: Call) -> Any:
        return BOT

    async def _setMyCommands(self, call: Call) -> Any:
        for command in call.json("commands"):
            _need(1 <= len(command["command"]) <= 32 and 1 <= len(command["description"]) <= 256, "BOT_COMMAND_INVALID")
        return True

    async def _deleteWebhook(self, _call: Call) -> Any:
        self.webhook = ""
        return True

    async def _setWebhook(self, call: Call) -> Any:
        _need(str(call.fields["url"]).startswith("https://"), "bad webhook: An HTTPS URL must be provided for webhook")
        self.webhook, self.secret = str(call.fields["url"]), str(call.fields.get("secret_token", ""))
        return True

    async def _getUpdates(self, call: Call) -> Any:
        if self.webhook:
            raise Refusal(409, "Conflict: can't use getUpdates method while webhook is active")
        self._asking += 1
        mine = self._asking
        offset, end = int(call.fields.get("offset", 0)), time.monotonic() + float(call.fields.get("timeout", 0))
        self.updates = [u for u in self.updates if u["update_id"] >= offset]
        while not self.updates and time.monotonic() < end and not self._stop.is_set():
            await asyncio.sleep(0.005)
            if mine != self._asking:
                raise Refusal(409, "Conflict: terminated by other getUpdates request")
        return self.updates[:100]

    async def _sendMessage(self, call: Call) -> Any:
        _need(1 <= len(str(call.fields.get("text", ""))) <= 4096, "message text is empty or too long")
        return self._posted(call, {"text": call.fields["text"]})

    async def _sendPhoto(self, call: Call) -> Any:
        _need(len(str(call.fields.get("caption", ""))) <= 1024, "message caption is too long")
        return self._posted(call, {"photo": self._picture(call, str(call.fields["photo"]))} | _caption(call))

    async def _sendDocument(self, call: Call) -> Any:
        name = str(call.fields["document"]).removeprefix("attach://")
        kept = self.keep(call.files[name])
        return self._posted(call, {"document": {"file_id": kept, "file_unique_id": "u"}})

    async def _sendMediaGroup(self, call: Call) -> Any:
        media = call.json("media")
        _need(2 <= len(media) <= 10, "wrong number of items in the album")
        return [self._posted(call, {"photo": self._picture(call, m["media"])}) for m in media]

    async def _editMessageText(self, call: Call) -> Any:
        _need(1 <= len(str(call.fields.get("text", ""))) <= 4096, "message text is empty or too long")
        return self._edited(call, {"text": call.fields["text"]})

    async def _editMessageCaption(self, call: Call) -> Any:
        return self._edited(call, {"caption": call.fields.get("caption", "")})

    async def _editMessageReplyMarkup(self, call: Call) -> Any:
        return self._edited(call, {})

    async def _answerCallbackQuery(self, call: Call) -> Any:
        _need(len(str(call.fields.get("text", ""))) <= CALLBACK_ANSWERS, "MESSAGE_TOO_LONG")
        return True

    async def _getFile(self, call: Call) -> Any:
        name = str(call.fields["file_id"])
        _need(name in self.files, "wrong file_id or the file is temporarily unavailable")
        size = self.sizes.get(name, len(self.files[name]))
        _need(len(self.files[name]) <= 20_000_000 or name in self.sizes, "file is too big")
        return {"file_id": name, "file_unique_id": "u", "file_size": size, "file_path": f"photos/{name}"}

    def _picture(self, call: Call, named: str) -> list[dict[str, Any]]:
        if named.startswith("attach://"):
            content = call.files[named.removeprefix("attach://")]
            _need(content[:3] == b"\xff\xd8\xff", "IMAGE_PROCESS_FAILED")
            named = self.keep(content)
        _need(named in self.files, "wrong file identifier/HTTP URL specified")
        return [{"file_id": named, "file_unique_id": "u", "width": 100, "height": 100}]

    def _posted(self, call: Call, what: dict[str, Any]) -> dict[str, Any]:
        chat = {"id": int(call.fields["chat_id"]), "type": "private"}
        number = next(self._numbers)
        made = {"message_id": number, "date": int(time.time()), "from": BOT, "chat": chat, **what, **_markup(call)}
        self.messages[number] = made
        return made

    def _edited(self, call: Call, what: dict[str, Any]) -> dict[str, Any]:
        known = self.messages.get(int(call.fields["message_id"]))
        if known is None:
            raise Refusal(400, "Bad Request: message to edit not found")
        fresh = {k: v for k, v in known.items() if k != "reply_markup"} | what | _markup(call)
        _need(fresh != known, "message is not modified")
        self.messages[known["message_id"]] = fresh
        return fresh


def person(user: int, language: str = "en") -> dict[str, Any]:
    return {"id": user, "is_bot": False, "first_name": "Ann", "language_code": language}


def buttons(message: dict[str, Any]) -> dict[str, str]:
    """{text: callback_data} under a message."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return {button["text"]: button["callback_data"] for row in rows for button in row}


def _markup(call: Call) -> dict[str, Any]:
    if "reply_markup" not in call.fields:
        return {}
    markup = call.json("reply_markup")
    for row in markup.get("inline_keyboard", []):
        for button in row:
            _need(1 <= len(button["callback_data"].encode()) <= 64, "BUTTON_DATA_INVALID")
            _need(bool(button["text"]), "text buttons are not allowed to be empty")
    return {"reply_markup": markup} if "inline_keyboard" in markup else {}


def _caption(call: Call) -> dict[str, Any]:
    return {"caption": call.fields["caption"]} if call.fields.get("caption") else {}


def _need(true: bool, description: str) -> None:
    if not true:
        raise Refusal(400, f"Bad Request: {description}")


async def _read(request: web.Request) -> Call:
    call = Call("", {})
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            content = await part.read()
            if part.filename:
                call.files[part.name] = bytes(content)
            else:
                call.fields[part.name] = content.decode()
    else:
        call.fields = dict(await request.post())
    return call


def _refused(problem: Refusal) -> web.Response:
    body = {"ok": False, "error_code": problem.code, "description": problem.description}
    if problem.parameters:
        body["parameters"] = problem.parameters
    return web.json_response(body, status=problem.code)
