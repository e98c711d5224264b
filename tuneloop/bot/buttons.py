"""What a button carries: an action, ids, and a signature that makes it this person's button of this bot.

Telegram sends back whatever a client claims was on a button, at most 64 bytes of it, so nothing in there is believed
without the signature: 80 bits of HMAC-SHA256 over bot, person and content. The longest of ours has 52 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from tuneloop.errors import BadInput
from tuneloop.texts import _

LONGEST = 64  # bytes, as the Bot API limits callback_data
SIGNED = 14  # base64 letters: 84 bits, of which 80 are the signature's


def key_of(token: str) -> bytes:
    """The key that signs buttons: a new token makes every older button worthless."""
    return hmac.digest(token.encode(), b"tuneloop buttons", "sha256")


def product_key(item: str) -> str:
    """A product's id, which may be any text, in 11 letters (66 bits of its hash)."""
    return base64.urlsafe_b64encode(hashlib.sha256(item.encode()).digest())[:11].decode()


def sign(key: bytes, user: int, action: str, *parts: str) -> str:
    """Callback data for this person: "r.0123456789abcdef0123.AbCdEfGhIjK.SIGNATURE"."""
    said = ".".join((action, *parts))
    data = f"{said}.{_signature(key, user, said)}"
    assert len(data.encode()) <= LONGEST, data
    return data


def read(key: bytes, user: int, data: str) -> tuple[str, list[str]]:
    """(action, parts) of what was pressed. Raises BadInput when this person was not given that button."""
    said, _dot, signature = data.rpartition(".")
    if not hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), _signature(key, user, said).encode()):
        raise BadInput(_("this button is not yours, or too old"), fix=_("Send the photo again."))
    action, *parts = said.split(".")
    return action, parts


def keyboard(*rows: list[tuple[str, str]]) -> InlineKeyboardMarkup:
    """Rows of (text, callback data)."""
    return InlineKeyboardMarkup(
        inline_keyboard=[[InlineKeyboardButton(text=t, callback_data=d) for t, d in row] for row in rows if row]
    )


def _signature(key: bytes, user: int, said: str) -> str:
    whole = hmac.digest(key, f"{user}|{said}".encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(whole[:10])[:SIGNED].decode()
