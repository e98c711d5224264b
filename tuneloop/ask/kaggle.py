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
            _("Kaggle did not give '{name}': {problem}").format(name=name, problem=str(problem).split("\n")[0][:200]),
            fix=_("Check the network; private datasets need a key in ~/.kaggle/kaggle.json. Or download the file."),
        ) from None
    files = [path for path in folder.rglob("*") if path.is_file()]
    return files[0] if len(files) == 1 else folder
