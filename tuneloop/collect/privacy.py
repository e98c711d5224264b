"""Take personal data out of text, count what was taken, and leave a receipt bound to the file's hash.

Order: structured data by pattern (checked where a check exists: Luhn for cards), then the export's own roster in
all forms. Free names of people who are in no roster are not promised; `bench privacy` prints what is found of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tuneloop.collect.names import WORD, Forms, fold, forms
from tuneloop.errors import Refused
from tuneloop.texts import _
from tuneloop.workspace import write_json

KINDS = ("link", "secret", "email", "card", "account", "phone", "user", "name")

# Every repetition is bounded: a 100 KB line of one letter must not take quadratic time.
_URL = re.compile(r"\b(?:https?://|tg://|ftp://|www\.|t\.me/|telegram\.me/)[^\s<>\"'«»]{1,2000}", re.IGNORECASE)
# What makes a link personal: credentials in it, an invitation, a private document, or a long random segment.
_PRIVATE_LINK = re.compile(
    r"""[?&\#;][^=&\s]{0,40}(?:token|key|secret|passw|pwd|auth|sig|session|sid|code|invite|hash|jwt|access|otp|uid)
          [^=&\s]{0,40}=[^&\s]
      | //[^/\s@]{1,100}:[^/\s@]{1,100}@                           # user:password@host
      | (?:t\.me|telegram\.me)/(?:\+|joinchat/|c/)\S | tg://       # invitations, private chats
      | (?:docs|drive)\.google\.com/\S
      | (?:zoom\.us|meet\.google\.com|discord\.gg|chat\.whatsapp\.com)/\S
      | /(?=[\w-]{0,60}\d)(?=[\w-]{0,60}[a-z])[\w-]{20,}           # a random path segment
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PROFILE_LINK = re.compile(
    r"(?:t\.me|telegram\.me|vk\.com|instagram\.com|facebook\.com)/@?[\w.]{3,64}/?$", re.IGNORECASE
)
_SECRET = re.compile(
    r"""\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[\w-]{10,}|\d{8,10}:[\w-]{35})\b
      | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
      | (?<=\bpassword)\s*[:=]\s*\S+ | (?<=\bparol)\s*[:=]\s*\S+ | (?<=\bпароль)\s*[:=—-]\s*\S+
      | (?<=\btoken)\s*[:=]\s*\S{6,} | (?<=\bтокен)\s*[:=]\s*\S{6,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_EMAIL = re.compile(
    r"""(?<![\w.+-])[\w.+-]{1,64} (?: @ | \s?[\[(]\s?(?:at|собака)\s?[\])]\s? | \s{1,3}собака\s{1,3} )
        [\w-]{1,63} (?: (?:\.|\s?[\[(](?:dot|точка)[\])]\s?|\s{1,3}точка\s{1,3}) [\w-]{2,63} ){1,5}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CARD = re.compile(r"(?<![\d+])\d(?:[ \u00a0.–-]?\d){12,18}(?!\d)")
# A 20-digit account, a SNILS (XXX-XXX-XXX YY), an IBAN (ISO 13616).
_ACCOUNT = re.compile(
    r"(?<!\d)(?:\d{20}|\d{3}-\d{3}-\d{3}[ -]\d{2}"
    r"|[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])"
)
_GAP = r"[\s\u2011–.()-]{0,3}"
_PHONE = re.compile(
    rf"""(?<![\w.,:/=-])(?:
        (?:\+\s?7|8|7){_GAP}\d{{3,5}}(?:{_GAP}\d){{5,7}}           # +7 (900) 000-00-00, 8 (4872) 00-00-00
      | \+\s?\d{{1,3}}(?:{_GAP}\d){{7,12}}                         # any other country
      | \(?9\d\d\)?{_GAP}\d{{3}}{_GAP}\d\d{_GAP}\d\d               # 900 000 00 00 without a prefix
      | \(\d{{3,5}}\)\s?\d(?:[\s-]?\d){{4,6}}                      # (495) 000-00-00
    )(?![\w:/]|[.,-]\d)""",
    re.VERBOSE,
)
_USER = re.compile(r"(?<![\w.@/])@[a-z_]\w{3,31}|<@!?\d{5,20}>", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\[(?:" + "|".join(KINDS) + r")\]")
_NAMES_IN_A_ROW = re.compile(r"\[name\](?:[ .]\[name\])+")


class Scrubber:
    """Removes personal data from texts; `counts` adds up what was removed, by kind."""

    def __init__(self, roster: Mapping[str, Iterable[str]]) -> None:
        """roster: sender id -> the display names it was seen under."""
        self.counts: Counter[str] = Counter()
        self._forms: Forms = forms(name for names in roster.values() for name in names)

    def scrub(self, text: str) -> tuple[str, Counter[str]]:
        """The text with placeholders ([email] [phone] [card] [account] [link] [secret] [user] [name]), and counts."""
        cleaned, found = structured(text)
        cleaned, names = remove_names(cleaned, self._forms)
        if names:
            found["name"] += names
        self.counts += found
        return cleaned, found


def remove_names(text: str, names: Forms) -> tuple[str, int]:
    """The text with every form of these names as [name], and how many there were."""
    kept = [m.span() for m in _PLACEHOLDER.finditer(text)]
    words = [m for m in WORD.finditer(text) if not any(a <= m.start() < b for a, b in kept)]
    folded = [fold(m[0]) for m in words]
    pieces, last, hits, position = [], 0, 0, 0
    while position < len(words):
        length = _name_at(words, folded, position, names)
        if length:
            pieces += [text[last : words[position].start()], "[name]"]
            last, hits = words[position + length - 1].end(), hits + 1
        position += max(length, 1)
    if not hits:
        return text, 0
    return _NAMES_IN_A_ROW.sub("[name]", "".join(pieces) + text[last:]), hits


def _name_at(words: list[re.Match[str]], folded: list[str], position: int, names: Forms) -> int:
    """How many words from here on are one name; 0 when none."""
    word = folded[position]
    for rest in names.phrases.get(word, ()):
        if tuple(folded[position + 1 : position + 1 + len(rest)]) == rest:
            return 1 + len(rest)
    capital = word in names.capital and words[position][0][0].isupper()
    return int(capital or word in names.always)


def structured(text: str) -> tuple[str, Counter[str]]:
    """Remove what has a form of its own: links with tokens, secrets, e-mails, cards, accounts, phones, @names."""
    found: Counter[str] = Counter()

    def put(kind: str) -> str:
        found[kind] += 1
        return f"[{kind}]"

    def link(match: re.Match[str]) -> str:
        url = match[0].rstrip(".,;:!?)]}")
        tail = match[0][len(url) :]
        if _PRIVATE_LINK.search(url):
            return put("link") + tail
        if _PROFILE_LINK.search(url):
            return put("user") + tail
        return _EMAIL.sub(lambda _m: put("email"), url) + tail

    if not any(c in text for c in "@:/.+(") and not any(c.isdigit() for c in text) and "собака" not in text.lower():
        return text, found
    text = _URL.sub(link, text)
    text = _SECRET.sub(lambda m: (" " if m[0][:1].isspace() else "") + put("secret"), text)
    text = _EMAIL.sub(lambda _m: put("email"), text)
    text = _ACCOUNT.sub(lambda _m: put("account"), text)
    text = _CARD.sub(lambda m: put("card") if _is_card(m[0]) else m[0], text)
    text = _PHONE.sub(lambda m: put("phone") if _is_phone(m[0]) else m[0], text)
    text = _USER.sub(lambda _m: put("user"), text)
    return text, found


def _is_card(written: str) -> bool:
    digits = re.sub(r"\D", "", written)
    if len(digits) == 16 and re.fullmatch(r"\d{4}\D\d{4}\D\d{4}\D\d{4}", written):
        return True  # written as a card is: a mistyped digit must not let it through
    return digits[0] in "23456" and luhn(digits)


def luhn(digits: str) -> bool:
    """The check digit of cards (ISO/IEC 7812-1, annex B)."""
    doubled = (int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_phone(written: str) -> bool:
    digits = re.sub(r"\D", "", written)
    if written.lstrip().startswith("+"):
        return 8 <= len(digits) <= 15
    if re.fullmatch(r"\d{10,11}", written):
        return written[0] == "9" or written[:2] in ("89", "79", "84", "74", "83", "73")
    return len(digits) in (10, 11) or (written.startswith("(") and len(digits) >= 8)


def write_receipt(path: Path, counts: Mapping[str, int]) -> Path:
    """Say in `scrub.json` beside a file that this content, and no other, was scrubbed. Returns the receipt's path."""
    receipt = path.parent / "scrub.json"
    entries = json.loads(receipt.read_text(encoding="utf-8")) if receipt.exists() else {}
    entries[path.name] = {"sha256": _sha256(path), "removed": dict(sorted(counts.items()))}
    write_json(receipt, dict(sorted(entries.items())))
    return receipt


def check_receipt(path: Path) -> dict[str, int]:
    """What was removed from this very file. Raises Refused when it has no receipt or has changed since."""
    receipt = path.parent / "scrub.json"
    entry = json.loads(receipt.read_text(encoding="utf-8")).get(path.name) if receipt.exists() else None
    if entry is None:
        raise Refused(
            _("{path} has no scrub receipt: nobody removed personal data from it").format(path=path),
            fix=_("Use the files that `tuneloop dataset build` writes."),
        )
    if entry["sha256"] != _sha256(path):
        raise Refused(
            _("{path} was changed after personal data was removed").format(path=path),
            fix=_("Build the dataset again with `tuneloop dataset build`."),
        )
    return dict(entry["removed"])


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
