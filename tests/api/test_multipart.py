"""Forms: what comes out of one is what went in, whatever bytes that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.multipart import parse_multipart
from darkroom.errors import MalformedBody, UnsupportedMediaType
from tests.api.test_bad_requests import form

TYPE = "multipart/form-data; boundary=a-boundary"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_come_through(first: bytes, second: bytes) -> None:
    body = form("a-boundary", "request", first, "init_image", second)

    assert parse_multipart(body, TYPE) == {"request": first, "init_image": second}


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--", b"\r\n--", b"\r\n--other", b"\n--a-boundary\n", b"\0\xff"])
def test_bytes_that_look_like_the_form_itself_come_through(content: bytes) -> None:
    assert parse_multipart(form("a-boundary", "request", content), TYPE) == {"request": content}


@pytest.mark.parametrize(
    "header",
    [
        'multipart/form-data; boundary="a-boundary"',
        "multipart/form-data;boundary=a-boundary",
        "Multipart/Form-Data; charset=utf-8; Boundary=a-boundary",
    ],
)
def test_the_boundary_is_found_however_it_is_written(header: str) -> None:
    assert parse_multipart(form("a-boundary", "request", b"{}"), header) == {"request": b"{}"}


def test_a_file_name_is_never_the_parts_name() -> None:
    body = form("a-boundary", "init_image", b"x").replace(b"; name=", b'; filename="request"; name=')

    assert list(parse_multipart(body, TYPE)) == ["init_image"]


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_multipart(body, TYPE)


def test_a_header_without_a_boundary_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        parse_multipart(b"", "multipart/form-data")
