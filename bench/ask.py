"""Questions in plain words against tables: how many are read, how many right, how many wrong but sure, and how fast.

Three sets: the freelancer questions with known figures, the project's own questions with gold SQL
(tests/ask/questions.toml), and the development part of WikiTableQuestions. Data: the archives beside the checkout.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.frame import ROOT
from tuneloop.ask.columns import Profile
from tuneloop.ask.question import read

SHARED = ROOT.parent / "shared" / "data"
QUESTIONS = ROOT / "tests" / "ask" / "questions.toml"
SURE = 0.8  # a wrong answer at least this sure is wrong but confident

Rows = list[tuple[Any, ...]]
