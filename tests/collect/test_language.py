"""Short chat texts: letters and little words decide, code does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.collect.language import UNKNOWN, identify


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Подскажите, как настроить тестовый стенд?", "ru"),
        ("всё, спасибо", "ru"),
        ("задеплой jar в k8s namespace prod", "ru"),
        ("запусти через java -jar build/libs/service-all.jar --server.port=8090", "ru"),
        ("привіт, як справи?", "uk"),
        ("так само не працює, але це вже завтра", "uk"),
        ("Дзякуй, усё працуе ў мяне", "be"),
        ("Сәлем, қалайсыз?", "kk"),
        ("Здраво, хвала на помоћи", "sr"),
        ("Това е много добре, благодаря", "bg"),
        ("ok thanks", "en"),
        ("How do I restart the queue without losing jobs?", "en"),
        ("java.lang.NullPointerException at com.example.Main", "en"),
        ("Und das ist doch schön, oder nicht?", "de"),
        ("merci beaucoup pour votre aide", "fr"),
        ("¿cómo está la cola de los pedidos?", "es"),
        ("grazie, il server è di nuovo su", "it"),
        ("obrigado, não sei como fazer isso", "pt"),
        ("dzięki, już działa i nie ma błędu", "pl"),
        ("teşekkürler, çok iyi ve hızlı", "tr"),
        ("dank je, het is een goed idee", "nl"),
        ("こんにちは世界", "ja"),
        ("你好世界", "zh"),
        ("안녕하세요", "ko"),
        ("שלום לכולם", "he"),
        ("გამარჯობა", "ka"),
        ("ок", UNKNOWN),
        ("👍 12:30", UNKNOWN),
        ("https://example.org/very/long/path", UNKNOWN),
        ("@somebody #tag `code`", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_language_of(text: str, language: str) -> None:
    assert identify(text) == language


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    found = identify(text)
    assert found == UNKNOWN or (len(found) == 2 and found.isascii())


@given(st.text(alphabet="абвгдеж ", max_size=60))
def test_plain_cyrillic_is_russian_or_unknown(text: str) -> None:
    assert identify(text) in {"ru", UNKNOWN}
