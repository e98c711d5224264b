from __future__ import annotations

import calendar

from tests.collect import made
from tuneloop.collect import activity
from tuneloop.collect.activity import look
from tuneloop.records import Message


def at(text: str) -> int:
    import time

    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M"))


def message(number: int, when: str, sender: str = "user2", **more: object) -> Message:
    return Message("tg:1", number, at(when), sender, sender.upper(), f"слово{number} общее", **more)  # type: ignore[arg-type]


def test_counts() -> None:
    found = look(
        [
            message(1, "2023-11-06 09:30"),  # a Monday
            message(2, "2023-11-06 09:40", "user1", reply_to=1),
            message(3, "2024-01-07 23:59", "user1", reply_to=2),  # to themselves
            message(4, "2024-01-07 23:59", "user3", reply_to=999),
            message(5, "2024-01-07 23:59", "user3", reply_to=2, kind="photo"),
        ],
        ["user1"],
    )
    assert found.messages == 5
    assert (found.first, found.last) == (at("2023-11-06 09:30"), at("2024-01-07 23:59"))
    assert found.all_months() == ["2023-11", "2023-12", "2024-01"]
    assert found.months == {"2023-11": 2, "2024-01": 3}
    assert found.speaker_months == {"2023-11": 1, "2024-01": 1}
    assert found.hours[0][9] == 2
    assert found.hours[6][23] == 3
    assert found.replies == {("user1", "user2"): 1, ("user3", "user1"): 1}
    assert found.most_replying() == ["user1", "user2", "user3"]
    assert found.names["user3"] == "USER3"
    assert found.kinds["photo"] == 1
    assert found.own_words["слово"] == 2
    assert found.other_words["общее"] == 3


def test_nothing() -> None:
    found = look([], [])
    assert found.all_months() == []
    assert found.most_replying() == []


def test_replies_reach_back_at_least_half_of_what_is_remembered(monkeypatch: object) -> None:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activity, "REMEMBERED", 100)
        many = [message(i, "2023-11-06 09:30") for i in range(1, 200)]
        near = [
            message(500, "2023-11-06 10:00", "user1", reply_to=199),
            message(501, "2023-11-06 10:00", "user1", reply_to=160),
        ]
        assert look([*many, *near], []).replies["user1", "user2"] == 2


def test_words_of_a_large_chat_are_sampled() -> None:
    many = made.messages(made.examples(100))
    whole, sampled = look(many, []), look(many, [], expected=activity.WORDS_FROM * 5)
    assert 0 < sampled.other_words.total() < whole.other_words.total() / 3
    assert sampled.messages == whole.messages == 200
