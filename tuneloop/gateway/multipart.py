"""A form with a file (multipart/form-data, RFC 7578), read as it arrives: files to the disk, fields to memory.

Only what a page or curl sends for a photo is understood: named parts, no nesting, no transfer encodings.
"""

from __future__ import annotations

from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from typing import BinaryIO

from tuneloop.errors import BadInput
from tuneloop.texts import _

LONGEST_HEAD = 8_000  # bytes of a part's headers
LONGEST_FIELD = 20_000  # bytes of a part that is no file
MOST_PARTS = 32
BEFORE, LINE, HEAD, CONTENT, DONE = range(5)


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts. Raises BadInput for a header without it."""
    head = Message()
    head["content-type"] = content_type
    try:
        found = (head.get_boundary() or "").encode("ascii")
    except UnicodeEncodeError:
        found = b""
    if not 1 <= len(found) <= 70:
        raise BadInput(_("the form does not say what its parts are divided by"))
    return found


class Form:
    """Feed it pieces of any size, then `close` it. files: {name of a part: where its content goes}.

    Raises BadInput, from either, for what is no form.
    """

    def __init__(self, boundary: bytes, files: Mapping[str, BinaryIO]) -> None:
        self.fields: dict[str, str] = {}
        self.sizes: dict[str, int] = {}  # bytes of each file that came
        self._files = files
        self._between = b"\r\n--" + boundary
        self._held = bytearray(b"\r\n")  # the first boundary needs no line before it
        self._state = BEFORE
        self._name = ""
        self._field = bytearray()
        self._parts = 0

    def feed(self, piece: bytes) -> None:
        self._held += piece
        while self._step():
            pass

    def close(self) -> dict[str, str]:
        """{field: text} of a form that has come to its end."""
        if self._state != DONE:
            raise BadInput(_("the form is not whole"), fix=_("Send it again."))
        return self.fields

    def _step(self) -> bool:
        """Take one thing from what is held; whether there may be another."""
        held = self._held
        if self._state in (BEFORE, CONTENT):
            at = held.find(self._between)
            ready = at if at >= 0 else max(0, len(held) - len(self._between) + 1)
            if self._state == CONTENT:
                self._take(bytes(held[:ready]))
            del held[:ready]
            if at < 0:
                return False
            if self._state == CONTENT:
                self._finish()
            del held[: len(self._between)]
            self._state = LINE
        elif self._state == LINE:
            if len(held) < 2:
                return False
            if held.startswith(b"--"):
                self._state = DONE
            else:
                end = self._until(b"\r\n")
                if end is None:
                    return False
                if end.strip():
                    raise BadInput(_("the form is damaged"))
                self._state = HEAD
        elif self._state == HEAD:
            if held.startswith(b"\r\n"):
                raise BadInput(_("a part of the form has no name"))
            head = self._until(b"\r\n\r\n")
            if head is None:
                return False
            self._begin(head)
            self._state = CONTENT
        else:
            held.clear()
            return False
        return True

    def _until(self, mark: bytes) -> bytes | None:
        at = self._held.find(mark)
        if at > LONGEST_HEAD or (at < 0 and len(self._held) > LONGEST_HEAD):
            raise BadInput(_("the form is damaged"))
        if at < 0:
            return None
        found = bytes(self._held[:at])
        del self._held[: at + len(mark)]
        return found

    def _begin(self, head: bytes) -> None:
        self._parts += 1
        told = message_from_bytes(head + b"\r\n\r\n")
        name = told.get_param("name", header="content-disposition")
        if told.get_content_disposition() != "form-data" or not isinstance(name, str) or not name:
            raise BadInput(_("a part of the form has no name"))
        if self._parts > MOST_PARTS or name in self.fields or name in self.sizes:
            raise BadInput(_("the form has too many parts, or one of them twice"))
        self._name = name
        self._field.clear()
        if name in self._files:
            self.sizes[name] = 0

    def _take(self, content: bytes) -> None:
        if self._name in self._files:
            self._files[self._name].write(content)
            self.sizes[self._name] += len(content)
            return
        self._field += content
        if len(self._field) > LONGEST_FIELD:
            raise BadInput(_("'{name}' has more than {n} bytes").format(name=self._name[:80], n=LONGEST_FIELD))

    def _finish(self) -> None:
        if self._name in self._files:
            return
        try:
            self.fields[self._name] = self._field.decode()
        except UnicodeDecodeError as problem:
            raise BadInput(_("'{name}' is no text").format(name=self._name[:80])) from problem
