"""Named rules that an answer passes or fails: `checks = ["min_chars:20", "hashtags:3-10"]` in a task.

The share of passed checks is the answer's score: what the quality switch, guardrails and statistics look at when
nobody has clicked. It is a rule pass rate and no measure of truth. No check raises on any text, and each takes time
linear in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from tuneloop.answer import cleaners, publishing, schema
from tuneloop.answer.table import unknown
from tuneloop.errors import BadInput
from tuneloop.texts import _

Test = Callable[[str, str], bool]  # question, answer

# Words too common to be what a text is about; with the words of up to three letters they never count as keywords.
_WORDS = """
about after also been being could does every from have here into just like make more most much need only other over
please should some such tell than that their them then there these they this those through very want what when where
which while will with would write your
более была были было быть весь вместе вопрос всех где для если есть зачем или какая какие какой какую когда которые
который кто лучше меня мне можно может надо напиши него нужно одна один очень пожалуйста подбери помоги потом потому
почему просто расскажи сделай себя сколько статью текст тема теме тему тоже только хочу хотя чего через чтобы этой
этого этот
"""
_COMMON = frozenset(_WORDS.split())
_WORD = re.compile(r"\w+")
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_NOT_WORDS = re.compile(r"https?://\S+|`[^`\n]*`")
_NAMES = re.compile(r"[@#]\w+")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
_HASHTAG = re.compile(r"(?<![\w#&])#\w*[^\W\d_]\w*")
_MARKDOWN_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S|<h[1-6]\b", re.MULTILINE | re.IGNORECASE)
_RUN = re.compile(r"(\S)\1{29,}")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry|as an ai\b|i(?:'m| am) (?:just )?an ai\b"
    r"|i (?:can(?:no|')t|am unable to|am not able to) (?:help|assist|answer|provide|do|fulfil|comply|create|write)"
    r"|как (?:языковая модель|ии\b|искусственный интеллект)"
    r"|я (?:всего лишь )?(?:языковая модель|искусственный интеллект)"
    r"|не (?:могу|имею возможности) (?:помочь|ответить|выполнить|предоставить|написать|обсуждать)"
    r"|к сожалению, (?:я )?не могу)",
    re.IGNORECASE,
)


def min_chars(argument: str) -> Test:
    """min_chars:20 - the answer has at least 20 characters."""
    n = _whole(argument)
    return lambda question, answer: len(answer.strip()) >= n


def max_chars(argument: str) -> Test:
    """max_chars:600 - the answer has at most 600 characters."""
    n = _whole(argument)
    return lambda question, answer: len(answer.strip()) <= n


def min_words(argument: str) -> Test:
    """min_words:5 - the answer has at least 5 words."""
    n = _whole(argument)
    return lambda question, answer: len(_WORD.findall(answer)) >= n


def max_words(argument: str) -> Test:
    """max_words:80 - the answer has at most 80 words."""
    n = _whole(argument)
    return lambda question, answer: len(_WORD.findall(answer)) <= n


def one_line(argument: str) -> Test:
    """one_line - the answer is one line that is not empty."""
    _none(argument)
    return lambda question, answer: bool(answer.strip()) and len(answer.strip().splitlines()) == 1


def finished(argument: str) -> Test:
    """finished - the answer ends as a sentence or a list does, not in the middle of a word or a thought."""
    _none(argument)
    return lambda question, answer: answer.rstrip(" \t\r\n\"'»”)*_`]").endswith((".", "!", "?", "…", "。", "}"))


def language(argument: str) -> Test:
    """language:same, language:ru, language:en - most letters are of the question's script, Cyrillic, or Latin.

    Links and code do not count; an answer without words ("42") passes.
    """
    if argument not in ("same", "ru", "en"):
        raise BadInput(unknown(argument, ("same", "ru", "en"))[0])
    wanted = {"ru": "cyrillic", "en": "latin"}.get(argument)

    def test(question: str, answer: str) -> bool:
        expected = wanted or script(question)
        return not expected or script(answer) in (expected, "")

    return test


def json_check(argument: str) -> Test:
    """json - the whole answer is one JSON value."""
    _none(argument)
    return lambda question, answer: _json(answer) is not None


def json_keys(argument: str) -> Test:
    """json_keys:title,text - the answer is a JSON object with these keys."""
    wanted = {key.strip() for key in argument.split(",") if key.strip()}
    if not wanted:
        raise BadInput(_("names no key"), fix=_("For example: {check}.").format(check="json_keys:title,text"))

    def test(question: str, answer: str) -> bool:
        found = _json(answer)
        return found is not None and isinstance(found[0], dict) and wanted <= found[0].keys()

    return test


def json_schema(argument: str) -> Test:
    """json_schema:schemas/article.json - the answer is JSON that fits the schema in this file of the workspace."""
    try:
        wanted = json.loads(Path(argument).read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise BadInput(
            _("the JSON schema {path} cannot be read: {problem}").format(path=argument, problem=problem),
            fix=_("Name a JSON file inside the workspace."),
        ) from None
    schema.check_schema(wanted)

    def test(question: str, answer: str) -> bool:
        found = _json(answer)
        try:
            return found is not None and schema.fits(found[0], wanted)
        except RecursionError:  # hundreds of lists in each other
            return False

    return test


def hashtags(argument: str) -> Test:
    """hashtags:3-10 - the answer has 3 to 10 different hashtags."""
    low, high = _range(argument)
    return lambda question, answer: low <= len({h.lower() for h in _HASHTAG.findall(answer)}) <= high


def contains(argument: str) -> Test:
    """contains:слово - the answer has this text, in capital or small letters."""
    wanted = _some(argument).casefold()
    return lambda question, answer: wanted in answer.casefold()


def lacks(argument: str) -> Test:
    """lacks:слово - the answer does not have this text."""
    unwanted = _some(argument).casefold()
    return lambda question, answer: unwanted not in answer.casefold()


def no_links(argument: str) -> Test:
    """no_links - no web addresses in the answer."""
    _none(argument)
    return lambda question, answer: not _LINK.search(answer)


def no_markdown(argument: str) -> Test:
    """no_markdown - the answer is plain text."""
    _none(argument)
    return lambda question, answer: cleaners.no_markdown(answer) == answer.strip()


def no_thinking(argument: str) -> Test:
    """no_thinking - no <think> marks are left in the answer."""
    _none(argument)
    return lambda question, answer: cleaners.no_thinking(answer) == answer.strip()


def no_repeat(argument: str) -> Test:
    """no_repeat - the answer does not go in circles.

    It fails when, outside of code, one character stands there thirty times in a row, a line three times in a row, or
    when of 24 words or more over half of the groups of four were there before (distinct-n: Li et al., NAACL 2016).
    Songs and plans of years repeat lines, though not at once: of 3,000 answers of six models to real questions 0.5 %
    fail, where counting repeated lines anywhere failed 3.5 %.
    """
    _none(argument)
    return lambda question, answer: not _repeats(answer)


def no_refusal(argument: str) -> Test:
    """no_refusal - the answer does not begin by declining ("As an AI ...", "к сожалению, я не могу ...")."""
    _none(argument)
    return lambda question, answer: not _REFUSAL.search(answer[:300])


def keywords(argument: str) -> Test:
    """keywords:2, keywords:60% - so many (or such a share) of the question's keywords are in the answer, in any form.

    A keyword is a word of four letters or more that is not a common one; two forms of a word are alike when their
    first five letters are. A question with fewer keywords than asked for wants all of them.
    """
    share = argument.endswith("%")
    n = _whole(argument.removesuffix("%"))
    if n == 0 or (share and n > 100):
        raise BadInput(_("'{argument}' is no count and no share").format(argument=argument))

    def test(question: str, answer: str) -> bool:
        wanted = _stems(question)
        needed = -(-len(wanted) * n // 100) if share else min(n, len(wanted))
        return len(wanted & _stems(answer)) >= needed

    return test


def headings(argument: str) -> Test:
    """headings, headings:3 - the answer has at least so many headings (Markdown or HTML)."""
    n = _whole(argument) if argument else 1
    return lambda question, answer: sum(1 for _match in _MARKDOWN_HEADING.finditer(answer)) >= n


def _plain(made: Callable[[], Test]) -> Callable[[str], Test]:
    """A rule that takes no argument, as the others are called."""

    def check(argument: str) -> Test:
        _none(argument)
        return made()

    check.__doc__ = made.__doc__
    return check


PLAIN = (publishing.title, publishing.no_stuffing, publishing.short_paragraphs, publishing.no_contacts)
CHECKS: dict[str, Callable[[str], Test]] = {
    "min_chars": min_chars,
    "max_chars": max_chars,
    "min_words": min_words,
    "max_words": max_words,
    "one_line": one_line,
    "finished": finished,
    "language": language,
    "json": json_check,
    "json_keys": json_keys,
    "json_schema": json_schema,
    "hashtags": hashtags,
    "contains": contains,
    "lacks": lacks,
    "no_links": no_links,
    "no_markdown": no_markdown,
    "no_thinking": no_thinking,
    "no_repeat": no_repeat,
    "no_refusal": no_refusal,
    "keywords": keywords,
    "headings": headings,
} | {made.__name__: _plain(made) for made in PLAIN}


def score(checks: Iterable[str], question: str, answer: str) -> tuple[float, dict[str, bool]]:
    """The share of passed checks (1.0 when there are none), and which passed.

    A check that can no longer be made ready (its schema file is gone) counts as failed: never raises.
    """
    results: dict[str, bool] = {}
    for check in checks:
        try:
            test = compiled(check)
        except BadInput:
            results[label(check)] = False
        else:
            results[label(check)] = test(question, answer)
    return (sum(results.values()) / len(results) if results else 1.0), results


@lru_cache(maxsize=1024)
def compiled(check: str) -> Test:
    """The rule behind "hashtags:3-10". Raises BadInput for an unknown name or an argument that makes no sense."""
    name, _colon, argument = check.partition(":")
    if name not in CHECKS:
        said, fix = unknown(name, CHECKS)
        raise BadInput(said, fix=fix)
    try:
        return CHECKS[name](argument.strip())
    except BadInput as problem:
        example = (CHECKS[name].__doc__ or "").partition(" - ")[0]
        fix = problem.fix or _("For example: {check}.").format(check=example)
        raise BadInput(f"'{check}': {problem.message}", fix=fix) from None


def anchored(check: str, folder: Path) -> str:
    """The check with its file, if it names one, as an absolute path. Raises BadInput for a file outside `folder`."""
    name, _colon, argument = check.partition(":")
    if name != "json_schema":
        return check
    path, root = (folder / argument.strip()).resolve(), folder.resolve()
    if root not in path.parents:
        raise BadInput(
            _("'{check}' leaves the workspace").format(check=check), fix=_("Name a JSON file inside the workspace.")
        )
    return f"{name}:{path}"


def label(check: str) -> str:
    """What people see of a check: of a schema's path the file's name."""
    name, _colon, argument = check.partition(":")
    return f"{name}:{Path(argument).name}" if name == "json_schema" else check


def script(text: str) -> str:
    """ "cyrillic", "latin" or "other": of most letters outside links and code; "" under three letters.

    Hashtags and names count only where there is nothing else: Russian posts are full of #ootd.
    """
    words = _NOT_WORDS.sub(" ", _CODE.sub(" ", text))
    letters = [c for c in _NAMES.sub(" ", words) if c.isalpha()]
    if len(letters) < 3:
        letters = [c for c in words if c.isalpha()]
    if len(letters) < 3:
        return ""
    cyrillic = sum("\u0400" <= c <= "\u052f" for c in letters)
    latin = sum(c < "\u0250" for c in letters)
    # "задеплой jar в k8s": Russian sentences quote Latin words, names and code far more than English ones Russian.
    if cyrillic * 10 >= len(letters) * 3:
        return "cyrillic"
    return "latin" if latin * 2 >= len(letters) else "other"


def _repeats(answer: str) -> bool:
    answer = _CODE.sub(" ", answer).casefold()
    if _RUN.search(answer):
        return True
    lines = [kept for line in answer.splitlines() if (kept := line.strip())]
    if any(a == b == c and len(a) >= 10 for a, b, c in zip(lines, lines[1:], lines[2:], strict=False)):
        return True
    words = _WORD.findall(answer)
    groups = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return len(words) >= 24 and len(set(groups)) * 2 < len(groups)


def _stems(text: str) -> set[str]:
    words = (word for word in _WORD.findall(text.casefold().replace("ё", "е")) if len(word) >= 4)
    return {word[:5] for word in words if word not in _COMMON and not word.isdigit()}


def _json(answer: str) -> tuple[object] | None:
    """The value in a tuple of its own, as it may be null; None when the answer is not JSON."""
    try:
        return (json.loads(answer, parse_constant=cleaners.refuse_constant),)
    except (ValueError, RecursionError):
        return None


def _whole(argument: str) -> int:
    if not (argument.isascii() and argument.isdigit() and len(argument) <= 9):
        raise BadInput(_("'{argument}' is not a whole number").format(argument=argument))
    return int(argument)


def _range(argument: str) -> tuple[int, int]:
    low, dash, high = argument.partition("-")
    first, last = _whole(low.strip()), _whole(high.strip() if dash else low.strip())
    if first > last:
        raise BadInput(_("'{argument}' ends before it begins").format(argument=argument))
    return first, last


def _some(argument: str) -> str:
    if not argument:
        raise BadInput(_("names no text"))
    return argument


def _none(argument: str) -> None:
    if argument:
        raise BadInput(_("takes nothing after a colon"))
