"""Fetch a Kaggle dataset by its name, through kagglehub and its cache."""

from __future__ import annotations

import re
from pathlib import Path

from tuneloop.errors import BadInput, EngineDown, MissingExtra
from tuneloop.texts import _


def fetched(name: str) -> Path:
    """The folder (or the only file) of a dataset named OWNER/NAME; what was fetched before is not fetched again.

    Raises MissingExtra without kagglehub, BadInput for a name of another form, EngineDown when Kaggle does not answer
    or wants a key.
    """
    if not re.fullmatch(r"[\w-]{2,50}/[\w-]{2,80}(/versions/\d+)?", name):
        raise BadInput(
            _("'{name}' is no Kaggle dataset").format(name=name),
            fix=_("Write it as kaggle:OWNER/NAME, as in its address."),
        )
    try:
        import kagglehub
    except ImportError:
        raise MissingExtra(
            _("Kaggle datasets need kagglehub, which is not installed"),
            fix=_("pip install kagglehub, or download the file and name it."),
        ) from None
    try:
        folder = Path(kagglehub.dataset_download(name))
    except Exception as problem:  # noqa: BLE001  kagglehub raises errors of four libraries; all mean "not fetched"
        raise EngineDown(
            _("Kaggle did not give '{name}': {problem}").format(name=name, problem=_why(problem)),
            fix=_("Check the network; private datasets need a key in ~/.kaggle/kaggle.json. Or download the file."),
        ) from None
    files = [path for path in folder.rglob("*") if path.is_file()]
    return files[0] if len(files) == 1 else folder


def _why(problem: Exception) -> str:
    """In words instead of addresses of objects, where that is known."""
    names = {kind.__name__ for kind in type(problem).__mro__}
    status = getattr(getattr(problem, "response", None), "status_code", 0)
    if status in (401, 403):
        return _("it wants a key, or there is no such dataset")
    if status == 404:
        return _("there is no such dataset")
    if names & {"ConnectionError", "Timeout", "ProxyError", "SSLError"}:
        return _("it cannot be reached from here")
    return str(problem).split("\n")[0][:200]
