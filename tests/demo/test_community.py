"""The bundled sample chat: rebuilt byte for byte, big enough, full of noise, and nobody's real data."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "examples" / "community" / "build.py"
SHIPPED = ROOT / "tuneloop" / "demo" / "community" / "result.json"
EXPERT, SECOND = "мар", "гл"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("community_build", BUILD)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lines(build: ModuleType) -> list[Any]:
    found: list[Any] = build.read_sources(BUILD.parent / "chat")
    build.resolve(found)
    return found


@pytest.fixture(scope="module")
def export() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return loaded


def flat(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["text_entities"])


def entity_kinds(messages: list[dict[str, Any]]) -> Counter[str]:
    return Counter(part["type"] for message in messages for part in message["text_entities"])


def test_rebuild_equals_the_shipped_file(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = subprocess.run([sys.executable, str(BUILD), "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == SHIPPED.read_bytes()


def test_the_header_is_an_export_of_a_private_supergroup(export: dict[str, Any]) -> None:
    assert list(export) == ["name", "type", "id", "messages"]
    assert (export["type"], export["id"]) == ("private_supergroup", 1900000001)
    assert len(export["messages"]) >= 1100


def test_ids_and_dates_ascend(export: dict[str, Any]) -> None:
    ids = [message["id"] for message in export["messages"]]
    times = [int(message["date_unixtime"]) for message in export["messages"]]
    assert ids == sorted(set(ids))
    assert times == sorted(set(times))
    assert ids[-1] > len(ids)  # gaps, as after deletions
    assert export["messages"][0]["date"].startswith("2024-09")
    assert export["messages"][-1]["date"].startswith("2025-11")


def test_one_reply_points_to_a_missing_message_and_some_to_another_chat(export: dict[str, Any]) -> None:
    ids = {message["id"] for message in export["messages"]}
    replies = [message for message in export["messages"] if "reply_to_message_id" in message]
    abroad = [message for message in replies if "reply_to_peer_id" in message]
    here = [message for message in replies if "reply_to_peer_id" not in message]
    assert len(abroad) >= 2
    assert sum(message["reply_to_message_id"] not in ids for message in here) == 1
    assert all(message["reply_to_message_id"] < message["id"] for message in here)


def test_the_expert_answers_most_and_links_about_three_in_five(lines: list[Any]) -> None:
    for who, least in ((EXPERT, 330), (SECOND, 120)):
        answers = [line for line in lines if line.who == who and line.answers and line.answers.who != who]
        assert len(answers) >= least
        share = sum(line.link == ">" for line in answers) / len(answers)
        assert 0.55 <= share <= 0.72


def test_the_expert_keeps_her_voice(lines: list[Any]) -> None:
    said = [line.text for line in lines if line.who == EXPERT]
    assert all(text.endswith(")") and not text[0].isupper() for text in said)
    for word, least in (("смотрите", 60), ("по опыту", 30), ("без фанатизма", 20)):
        assert sum(word in text for text in said) >= least
    assert sum(bool(re.search(r"\d", text)) for text in said) >= 0.8 * len(said)
    assert len(set(said)) == len(said)


def test_many_people_and_busy_hours(export: dict[str, Any]) -> None:
    people = Counter(message["from_id"] for message in export["messages"] if "from_id" in message)
    assert len(people) >= 18
    hours = Counter(message["date"][:13] for message in export["messages"])
    assert sum(count >= 8 for count in hours.values()) >= 10


@pytest.mark.parametrize(
    "action",
    [
        "migrate_from_group",
        "edit_group_title",
        "pin_message",
        "invite_members",
        "join_group_by_link",
        "remove_members",
        "group_call",
        "topic_created",
    ],
)
def test_service_messages(export: dict[str, Any], action: str) -> None:
    assert any(message.get("action") == action for message in export["messages"])


@pytest.mark.parametrize(
    "key",
    [
        "photo",
        "poll",
        "forwarded_from",
        "edited_unixtime",
        "reactions",
        "via_bot",
        "contact_information",
        "location_information",
        "sticker_emoji",
        "file_name",
    ],
)
def test_attachments_and_marks(export: dict[str, Any], key: str) -> None:
    assert any(key in message for message in export["messages"])


def test_other_planted_noise(export: dict[str, Any]) -> None:
    messages = [message for message in export["messages"] if message["type"] == "message"]
    assert {"sticker", "voice_message", "video_message", "animation", "video_file"} <= {
        message.get("media_type") for message in messages
    }
    photos = [bool(flat(message)) for message in messages if "photo" in message]
    assert True in photos and False in photos
    assert any(message["from"] is None and message["from_id"].startswith("user") for message in messages)
    assert any("\ud83d" in flat(message) for message in messages)
    assert b"\\ud83d" in SHIPPED.read_bytes()
    texts = Counter(flat(message) for message in messages)
    assert texts["+1"] >= 5 and texts["спасибо"] >= 3
    assert any(count > 1 for text, count in texts.items() if len(text) > 100)  # a reposted announcement
    assert any(re.fullmatch(r"https?://\S+", text) for text in texts)
    assert sum(bool(re.fullmatch(r"[\x00-\x7f‘’–—😅😂]{30,}", text)) for text in texts) >= 20  # English


def test_every_kind_of_entity(export: dict[str, Any]) -> None:
    kinds = entity_kinds(export["messages"])
    wanted = {
        "plain",
        "bold",
        "italic",
        "strikethrough",
        "spoiler",
        "code",
        "link",
        "text_link",
        "mention",
        "mention_name",
        "hashtag",
        "bot_command",
        "phone",
        "email",
        "bank_card",
        "custom_emoji",
    }
    assert wanted <= set(kinds)
    assert {type(message["text"]) for message in export["messages"]} == {str, list}


def test_planted_personal_data_is_there_and_invented(export: dict[str, Any]) -> None:
    raw = SHIPPED.read_text(encoding="utf-8")
    phones = re.findall(r"(?:\+7|\b8)[ (]*\d{3}[ )]*\d{3}[ -]?\d\d[ -]?\d\d\b", raw)
    assert len(phones) >= 8
    assert all(re.sub(r"\D", "", phone)[1:7] == "900000" for phone in phones)
    domains = re.findall(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)", raw)
    assert len(domains) >= 5
    assert all(re.search(r"(^|\.)(example\.(org|com)|пример\.рф)$", domain) for domain in domains)
    cards = set(re.findall(r"\b\d{4} \d{4} \d{4} \d{4}\b", raw))
    assert cards == {"4111 1111 1111 1111", "5555 5555 5555 4444", "2200 0000 0000 0053"}
    hosts = set(re.findall(r"https?://([\w.-]+)", raw))
    assert all(re.search(r"(^|\.)example\.(org|com)$", host) for host in hosts - {"t.me"})
    assert raw.count("?token=") >= 8 and len(re.findall(r"t\.me/\+\w+", raw)) >= 2
    for form in ("Марине", "у глеба", "marina vetrova", "Марины Ветровой"):
        assert form in raw


def test_the_readme_counts_what_is_shipped(export: dict[str, Any], lines: list[Any]) -> None:
    readme = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    messages = export["messages"]
    said = Counter(message["from"] for message in messages if message["type"] == "message")
    services = sum(message["type"] == "service" for message in messages)
    assert f"{len(messages):,} messages, {services} of them service messages" in readme
    for name in ("Марина Ветрова", "Глеб Санников", "Лена Зуева", "Антон Рябинин"):
        assert f"| {name} | {said[name]} |" in readme
    for who in (EXPERT, SECOND):
        answered = sum(bool(line.who == who and line.answers and line.answers.who != who) for line in lines)
        assert f"{answered} times" in readme
    assert f"{sum('photo' in message for message in messages)} photos" in readme
