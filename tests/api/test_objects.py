"""Signed links to the local store's files."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from api.services import Services

KEY = "outputs/job_00000000000000000000000001/1/0.png"


@pytest.fixture
def link(services: Services) -> str:
    services.objects.put(KEY, b"a picture", "image/png")
    return services.objects.url(KEY, expires_in=60, filename="x.png").removeprefix("http://testserver")


def test_link_gives_the_file_and_tells_browsers_to_save_it(client: TestClient, link: str) -> None:
    response = client.get(link)

    assert (response.status_code, response.content) == (200, b"a picture")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"] == 'attachment; filename="job_00000000000000000000000001-0.png"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"].startswith("private, max-age=")
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_link_stops_working(client: TestClient, services: Services, link: str) -> None:
    expired = services.objects.url(KEY, expires_in=-1, filename="x.png").removeprefix("http://testserver")

    _assert_not_found(client, expired)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/0.png", "/1.png"),
        ("outputs/", "review/"),
        ("outputs/", "outputs/%2e%2e/outputs/"),
        ("outputs/", "/etc/passwd%00/"),
        ("signature=", "signature=0"),
        ("signature=", "other="),
        ("expires=", "other="),
        ("expires=", "expires=9"),
        ("expires=", "expires=-"),
        ("expires=", "expires=%D9%A1"),
        ("expires=", "expires=" + "9" * 30),
    ],
)
def test_changed_link_leads_nowhere(client: TestClient, link: str, old: str, new: str) -> None:
    assert old in link

    _assert_not_found(client, link.replace(old, new, 1))


def test_signature_of_one_file_does_not_open_another(client: TestClient, services: Services, link: str) -> None:
    other = KEY.replace("0.png", "1.png")
    services.objects.put(other, b"another", "image/png")

    _assert_not_found(client, link.replace(KEY, other))


def test_missing_file_is_not_found(client: TestClient, services: Services) -> None:
    link = services.objects.url("outputs/nothing/1/0.png", expires_in=60, filename="x.png")

    _assert_not_found(client, link)


def test_link_without_its_query_leads_nowhere(client: TestClient, link: str) -> None:
    _assert_not_found(client, urlsplit(link).path)


def test_expiry_is_in_the_link(link: str) -> None:
    expires = int(parse_qs(urlsplit(link).query)["expires"][0])

    assert 50 < expires - time.time() <= 60


def test_signature_is_in_no_log_and_no_metric(
    client: TestClient, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.get(link)

    signature = parse_qs(urlsplit(link).query)["signature"][0]
    assert signature not in "".join(capsys.readouterr())
    assert signature not in client.get("/metrics").text


def _assert_not_found(client: TestClient, link: str) -> None:
    response = client.get(link)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
