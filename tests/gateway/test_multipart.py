"""Forms as clients write them, in pieces of every size, and what is no form."""

from __future__ import annotations

import io

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.errors import BadInput
from tuneloop.gateway.multipart import LONGEST_FIELD, MOST_PARTS, Form, boundary_of


def written(photo: bytes, fields: dict[str, str]) -> tuple[bytes, bytes]:
    """(boundary, body) as httpx sends it."""
    request = httpx.Request("POST", "http://x", files={"photo": ("a.jpg", photo)}, data=fields)
    return boundary_of(request.headers["content-type"]), request.read()


def read(boundary: bytes, body: bytes, size: int = 1000) -> tuple[dict[str, str], bytes]:
    file = io.BytesIO()
    form = Form(boundary, {"photo": file})
    for start in range(0, len(body), size):
        form.feed(body[start : start + size])
    return form.close(), file.getvalue()


@given(
    st.one_of(st.binary(max_size=200), st.lists(st.sampled_from([b"\r\n", b"--", b"-", b"B", b"\r"])).map(b"".join)),
    st.dictionaries(st.sampled_from(["k", "user", "category"]), st.text(max_size=20)),
    st.integers(1, 400),
)
def test_what_was_sent_is_what_is_read(photo: bytes, fields: dict[str, str], size: int) -> None:
    boundary, body = written(photo, fields)
    assert read(boundary, body, size) == (fields, photo)


@given(
    st.lists(st.sampled_from([b"\r\n", b"--", b"B", b"\r", b"\n", b"-", b"x"]), max_size=12).map(b"".join),
    st.integers(1, 9),
)
def test_content_that_looks_like_a_boundary_is_content(photo: bytes, size: int) -> None:
    if b"\r\n--BB" in b"\r\n" + photo + b"\r\n":
        return  # a client chooses another boundary then
    body = b'preamble\r\n--BB  \r\nContent-Disposition: form-data; name="photo"\r\n\r\n' + photo + b"\r\n--BB--\r\nend"
    assert read(b"BB", body, size) == ({}, photo)


def part(head: str, content: str = "x") -> str:
    return f"--B\r\n{head}\r\n\r\n{content}\r\n"


NAMED = 'Content-Disposition: form-data; name="{}"'


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no form at all",
        "--B\r\n",
        part(NAMED.format("k")),
        part(NAMED.format("k")) + "--B--"[:-1],
        "--B\r\n\r\nno head\r\n--B--",
        part("Content-Disposition: attachment; name=k") + "--B--",
        part("Content-Disposition: form-data") + "--B--",
        part(NAMED.format("")) + "--B--",
        part(NAMED.format("k")) * 2 + "--B--",
        part(NAMED.format("photo")) * 2 + "--B--",
        part(NAMED.format("k"), "x" * (LONGEST_FIELD + 1)) + "--B--",
        part("X: " + "x" * 9000) + "--B--",
        "--Bother\r\n" + part(NAMED.format("k")),
        "".join(part(NAMED.format(f"k{n}")) for n in range(MOST_PARTS + 1)) + "--B--",
        part(NAMED.format("k"), "\udcff") + "--B--",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_no_form_is_one_error(body: str, size: int) -> None:
    with pytest.raises(BadInput):
        read(b"B", body.encode("utf-8", "surrogateescape"), size)


@given(st.binary(max_size=300), st.integers(1, 300))
def test_any_bytes_are_a_form_or_an_error(body: bytes, size: int) -> None:
    for whole in (body, b"--B\r\n" + body, (part(NAMED.format("photo"))).encode() + body):
        try:
            read(b"B", whole, size)
        except BadInput:
            continue


@pytest.mark.parametrize(
    "kind", ["", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 71,
             "multipart/form-data; boundary=тест"],
)  # fmt: skip
def test_a_form_names_its_boundary(kind: str) -> None:
    with pytest.raises(BadInput):
        boundary_of(kind)
