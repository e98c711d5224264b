"""Every knob of the product, with its default and one line of help; the only reader of the environment.

A value comes from (first wins) the environment (`TUNELOOP_SERVE_PORT`), the workspace's `tuneloop.toml`
(`[serve] port = 8090`), the default. Command-line flags are laid over these by the commands themselves.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tuneloop.errors import BadInput
from tuneloop.texts import _

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Setting:
    """`name` is "section.key"; the type of `default` is the type of the value."""

    name: str
    default: Value
    help: str

    @property
    def variable(self) -> str:
        """The environment variable: "serve.port" is TUNELOOP_SERVE_PORT."""
        return "TUNELOOP_" + self.name.replace(".", "_").upper()


SETTINGS = (
    Setting(
        "workspace",
        "",
        "folder of the workspace; empty: this folder if it has a tuneloop.toml, else ./tuneloop-work",
    ),
    Setting("lang", "", "language of texts: en or ru; empty: from LANG"),
    Setting("db.url", "", "database URL; empty: tuneloop.db in the workspace"),
    Setting("collect.link_precision", 0.85, "guessed reply links are used only above this precision"),
    Setting("collect.max_gap_hours", 24.0, "an answer later than this is not paired with its question by a guess"),
    Setting("dataset.context_turns", 4, "turns of context kept before the question"),
    Setting("dataset.min_chars", 3, "answers shorter than this are too short to learn from"),
    Setting("dataset.max_chars", 2000, "longer questions or answers are left out"),
    Setting(
        "dataset.near_duplicate",
        0.8,
        "MinHash Jaccard similarity from which two examples are near duplicates",
    ),
    Setting("dataset.validation_share", 0.1, "share of examples for validation"),
    Setting("dataset.test_share", 0.2, "share of examples for the held-out test, the latest in time"),
    Setting("tune.rank", 16, "LoRA rank"),
    Setting("tune.alpha", 32, "LoRA alpha"),
    Setting("tune.rate", 0.0, "learning rate; 0: 2e-4, or 4e-3 for models under 50 M parameters"),
    Setting("tune.epochs", 3, "passes over the training part"),
    Setting("tune.batch_tokens", 2048, "tokens of one optimiser step"),
    Setting("tune.max_length", 1024, "longer examples are cut from the left of their context"),
    Setting(
        "tune.canaries",
        -1,
        "made-up secrets planted among the examples, for the gate to look for; -1: 1 % of them, 3 to 10; 0: none",
    ),
    Setting("tune.max_hours", 4.0, "refuse to start when the estimate is longer"),
    Setting("tune.warm_up", 0.05, "share of the steps in which the learning rate rises"),
    Setting("tune.clip", 1.0, "gradients with a larger norm are scaled down to it"),
    Setting("tune.patience", 4, "stop after so many checks without a better validation loss; 0: never"),
    Setting("tune.seed", 0, "seed of the adapter's start and of the order of examples"),
    Setting("tune.dtype", "auto", "precision: bf16, fp32, or auto: the faster one here, measured"),
    Setting("tune.threads", 0, "CPU threads; 0: as many as are idle"),
    Setting("tune.checkpoint_minutes", 5.0, "minutes between checkpoints"),
    Setting("tune.mlflow_url", "", "MLflow tracking server to log runs to; empty: none"),
    Setting("gate.min_questions", 30, "fewer held-out questions than this is 'not enough data'"),
    Setting("pack.quants", "f16,q8_0,q4_K_M", "quantisations to export"),
    Setting("pack.ollama_url", "http://127.0.0.1:11434", "Ollama to create the model in, when it answers"),
    Setting("serve.host", "127.0.0.1", "address to listen on"),
    Setting("serve.port", 8090, "port to listen on; 0 picks a free one"),
    Setting("serve.context", 2048, "context window of the served model, tokens"),
    Setting("serve.parallel", 2, "requests the model answers at once"),
    Setting("serve.queue", 16, "requests that may wait; beyond it 503 with Retry-After"),
    Setting("serve.timeout", 120.0, "seconds one request may take in all"),
    Setting("serve.grace", 10.0, "seconds that requests in flight get to end when the server is stopped"),
    Setting("serve.quant", "q8_0", "quantisation to serve when the version was packed in several"),
    Setting("serve.body_limit", 1_000_000, "bytes of the largest request taken"),
    Setting("access.jwt_key_env", "", "environment variable with the key that signs tokens (JWT); empty: no tokens"),
    Setting("access.limit_key", "", "requests of one API key, like 600/minute; empty: no limit"),
    Setting("access.limit_user", "", "requests of one user, like 60/minute; empty: no limit"),
    Setting("access.redis_url", "", "Redis that several servers share their limits in; empty: each has its own"),
    Setting(
        "access.proxies", "", "addresses of proxies whose X-Forwarded-For is believed, like 10.0.0.0/8; empty: none"
    ),
    Setting("serve.key", "", "key clients must send as 'Authorization: Bearer KEY'; empty: none, this machine only"),
    Setting("models.allowed_hosts", "", "hosts that model files may be fetched from although their address is private"),
    Setting("calls.keep_days", 0.0, "days that calls and their feedback are kept; 0: for ever"),
    Setting("quality.judge", "", "model that judges answers, as ENGINE/MODEL of tuneloop.toml; empty: none"),
    Setting("quality.judge_share", 0.0, "share of answers that the judge is asked about by itself, 0 to 1"),
    Setting("quality.encoder", "", "model whose vectors tell relevance, as ENGINE/MODEL; empty: words do"),
    Setting("quality.target_error", 0.15, "share of wrong answers the quality switch lets through at most"),
    Setting("quality.window", 600.0, "seconds in which the quality switch of a task changes by itself at most once"),
    Setting("quality.labels_per_person", 100, "labels of one named person that count at most; 0: no limit"),
    Setting("documents.passages", 200_000, "passages of one collection at most; as many are held in memory in all"),
    Setting("ask.model", "", "model asked what the reader of questions does not know, as ENGINE/MODEL; empty: none"),
    Setting("tables.bytes", 100_000_000, "bytes of the largest table that is taken over HTTP"),
    Setting("tables.most", 100, "uploaded tables that one team may keep"),
    Setting("traces.url", "", "OpenTelemetry collector, as http://HOST:4318/v1/traces; empty: no traces"),
    Setting("traces.share", 1.0, "share of the calls that are traced, 0 to 1"),
    Setting(
        "photos.encoder", "classical", "what makes pictures searchable: classical, a CLIP or SigLIP folder, or a+b"
    ),
    Setting("photos.qdrant_url", "", "Qdrant server that chooses what is compared exactly; empty: everything is"),
    Setting("photos.qdrant_key_env", "", "environment variable with the key of that server; empty: it wants none"),
    Setting("photos.results", 5, "products that a photo search answers"),
    Setting("photos.min_examples", 20, "photos with a known product below which nothing is trained"),
    Setting("photos.tower", "never", "tune the CLIP model itself too from 300 photos on: never, full or lora"),
    Setting("photos.train_every", 0, "new clicks after which a running bot or server trains by itself; 0: never"),
    Setting("photos.votes_per_user", 100, "newest clicks of one named person that count at most; 0: no limit"),
    Setting("bot.token_env", "TELEGRAM_BOT_TOKEN", "environment variable that holds the Telegram bot's token"),
    Setting("bot.admins", "", "Telegram ids of those who may use the bot's admin commands, 1234,5678; empty: nobody"),
    Setting("bot.button_days", 30.0, "days that the buttons under a search's results can be pressed"),
    Setting("bot.searches_per_hour", 60, "photo searches of one person in an hour; 0: no limit"),
    Setting("bot.api_url", "https://api.telegram.org", "Telegram Bot API server, where you run your own"),
    Setting("bot.webhook_url", "", "https address under which Telegram reaches this machine; empty: the bot polls"),
    Setting("bot.webhook_host", "127.0.0.1", "address that the bot listens on for its webhook"),
    Setting("bot.webhook_port", 8443, "port that the bot listens on for its webhook; 0 picks a free one"),
    Setting("cache.bytes", 64_000_000, "memory that kept answers may take; tasks say for how long with `cache`"),
    Setting("cache.redis_url", "", "Redis that several servers share kept answers in; empty: each keeps its own"),
)

# Sections of tuneloop.toml that are read by answer/book.py.
NOT_SETTINGS = ("engines", "tasks")

# A renamed or removed key answers with the sentence that says what to use instead.
OBSOLETE: dict[str, str] = {}

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_BY_NAME = {s.name: s for s in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """Resolved values. `origin` tells where each came from, so that commands can print it."""

    values: Mapping[str, Value] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return str(self.values[name])

    def integer(self, name: str) -> int:
        return int(self.values[name])

    def number(self, name: str) -> float:
        return float(self.values[name])

    def origin(self, name: str) -> str:
        """ "default", "tuneloop.toml" or the environment variable's name."""
        return self.origins[name]


def load(folder: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Resolve every setting for the workspace in `folder` (None: outside any workspace).

    Raises BadInput for an unknown key or a value of the wrong type, naming both the key and its place.
    """
    environment = os.environ if environment is None else environment
    written = _read_toml(folder / "tuneloop.toml") if folder else {}
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        if setting.variable in environment:
            raw: object = environment[setting.variable]
            origin = setting.variable
        elif setting.name in written:
            raw, origin = written[setting.name], "tuneloop.toml"
        else:
            raw, origin = setting.default, "default"
        values[setting.name] = _typed(setting, raw, origin)
        origins[setting.name] = origin
    return Settings(values, origins)


def secret(settings: Settings, name: str) -> str:
    """What the environment variable holds that the setting `name` names; "" when the setting is empty.

    Raises BadInput when the variable is not set: a server that silently worked without its secret would be open.
    """
    variable = settings.text(name)
    if not variable:
        return ""
    if not (value := os.environ.get(variable, "")):
        raise BadInput(
            _("the setting {name} names the variable {variable}, which is not set").format(
                name=name, variable=variable
            ),
            fix=_("Set it, or empty the setting."),
        )
    return value


def language_of_environment() -> str:
    """The language asked for by TUNELOOP_LANG, else by LC_ALL, LC_MESSAGES, LANG."""
    for variable in ("TUNELOOP_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            return value
    return "en"


def _read_toml(path: Path) -> dict[str, Value]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadInput(
            _("{path} cannot be read: {problem}").format(path=path, problem=problem),
            fix=_("Correct that line; `tuneloop settings` lists every key."),
        ) from problem
    flat: dict[str, Value] = {}
    for key, value in tree.items():
        if key in NOT_SETTINGS:
            continue
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": deep for inner, deep in value.items()}
        else:
            flat[key] = value
    for key in flat:
        if key in OBSOLETE:
            raise BadInput(_("'{key}' in {path} is no longer used").format(key=key, path=path), fix=OBSOLETE[key])
        if key not in _BY_NAME:
            raise BadInput(
                _("'{key}' in {path} is not a known setting").format(key=key, path=path),
                fix=_("`tuneloop settings` lists every key."),
            )
    return flat


def _typed(setting: Setting, raw: object, origin: str) -> Value:
    kind = type(setting.default)
    try:
        if kind is bool:
            return _BOOLEANS[str(raw).lower()]
        value = kind(str(raw))
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(raw)
        return value
    except (KeyError, TypeError, ValueError):
        raise BadInput(
            _("'{name}' from {origin} must be a {kind}, not '{raw}'").format(
                name=setting.name, origin=origin, kind=kind.__name__, raw=raw
            ),
            fix=setting.help,
        ) from None
