"""The review page: a session of its own, forms that only it sends, nothing that runs or comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from darkroom.keys import KeyStore, Scope
from tests.api.service import Caller, Worker


class Browser:
    """A reviewer with a browser of their own: cookies, forms."""

    def __init__(self, client: TestClient, keys: KeyStore, *scopes: Scope) -> None:
        self.client = client
        self.key = keys.create("reviews", "browser", scopes or {Scope.REVIEW}, person="ann")

    def sign_in(self, **headers: str) -> httpx2.Response:
        form = {"key": self.key.token}
        return self.client.post("/review/login", data=form, headers=headers, follow_redirects=False)

    def csrf(self) -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.client.get("/review").text)
        assert match
        return match[1]

    def post(self, path: str, **fields: str) -> httpx2.Response:
        return self.client.post(path, data={"csrf": self.csrf(), **fields}, follow_redirects=False)


@pytest.fixture
def browser(keys: KeyStore, client: TestClient) -> Iterator[Browser]:
    client.cookies.clear()
    yield Browser(client, keys)
    client.cookies.clear()


@pytest.fixture
def held(caller: Caller, worker: Worker) -> str:
    job_id = caller.submit(prompt='a "<b>circle</b>" & more')
    worker.hold(job_id, decisions=("review",))
    return job_id


def test_a_stranger_sees_a_form_for_a_key_and_nothing_else(browser: Browser, held: str) -> None:
    for path in ("/review", f"/review/page/items/{held}", f"/review/page/items/{held}/images/0"):
        answer = browser.client.get(path)
        assert answer.status_code == 401
        assert "circle" not in answer.text
        assert 'name="key"' in answer.text
    assert browser.client.post("/review/page/next").status_code == 401


def test_the_cookie_is_for_our_own_pages_alone(browser: Browser) -> None:
    cookie = browser.sign_in().headers["set-cookie"].lower()

    assert all(part in cookie for part in ("samesite=strict", "httponly", "path=/review"))
    assert browser.key.token.lower() not in cookie


def test_a_key_without_the_scope_opens_nothing(client: TestClient, keys: KeyStore, browser: Browser) -> None:
    answer = Browser(client, keys, Scope.GENERATE, Scope.READ).sign_in()

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_an_item_is_taken_seen_and_approved_by_clicks(browser: Browser, held: str, caller: Caller) -> None:
    browser.sign_in()
    taken = browser.post(f"/review/page/items/{held}/lease")
    assert (taken.status_code, taken.headers["location"]) == (303, f"/review/page/items/{held}")

    shown = browser.client.get(f"/review/page/items/{held}")
    fence = re.search(r'name="fence" value="(\d+)"', shown.text)
    assert fence
    assert browser.client.get(f"/review/page/items/{held}/images/0").content == b"a picture"
    decided = browser.post(
        f"/review/page/items/{held}/decide", fence=fence[1], image_0="approve", act="decide", code="", note=""
    )

    assert decided.status_code == 303
    assert caller.get(f"/jobs/{held}").json()["status"] == "succeeded"


def test_what_callers_wrote_is_text_on_the_page(browser: Browser, held: str) -> None:
    browser.sign_in()

    shown = browser.client.get(f"/review/page/items/{held}").text

    assert "&lt;b&gt;circle&lt;/b&gt;" in shown
    assert "<b>circle" not in shown


def test_pages_run_nothing_and_load_nothing_from_elsewhere(browser: Browser, held: str) -> None:
    browser.sign_in()
    browser.post(f"/review/page/items/{held}/lease")

    for path in ("/review", f"/review/page/items/{held}"):
        answer = browser.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script|https?://|style=|\son\w+=", answer.text)
    assert "blur" in browser.client.get("/review/page/style.css").text


@pytest.mark.parametrize("fields", [{}, {"csrf": ""}, {"csrf": "x" * 43}, {"csrf": "é"}])
def test_a_form_without_the_sessions_token_does_nothing(
    browser: Browser, held: str, caller: Caller, fields: dict[str, str]
) -> None:
    browser.sign_in()
    path = f"/review/page/items/{held}"

    for action in ("lease", "decide"):
        sent = {"fence": "1", "image_0": "approve", "act": "decide", **fields}
        assert browser.client.post(f"{path}/{action}", data=sent).status_code == 403
    assert browser.client.post("/review/page/next", data=fields).status_code == 403
    assert caller.get(f"/jobs/{held}").json()["status"] == "in_review"


def test_a_form_that_another_site_sends_signs_nobody_in(browser: Browser) -> None:
    assert browser.sign_in(**{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_session_ends_with_its_key_and_at_the_reviewers_wish(browser: Browser, keys: KeyStore) -> None:
    browser.sign_in()
    assert browser.client.get("/review").status_code == 200
    browser.post("/review/logout")
    assert browser.client.get("/review").status_code == 401

    browser.sign_in()
    keys.revoke(browser.key.key.id)
    assert browser.client.get("/review").status_code == 401


def test_an_appeal_is_decided_on_the_page(browser: Browser, caller: Caller) -> None:
    job_id = caller.submit(prompt="zzblockedterm on a hill")
    caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "<i>why</i>"}, headers=caller.headers())
    browser.sign_in()

    assert "&lt;i&gt;why&lt;/i&gt;" in browser.client.get(f"/review/page/appeals/{job_id}").text
    answer = browser.post(f"/review/page/appeals/{job_id}/decide", decision="denied", answer="It stands.")

    assert answer.status_code == 303
    assert caller.get(f"/jobs/{job_id}/appeal").json()["state"] == "denied"


def test_an_error_is_a_page_with_a_sentence(browser: Browser, held: str) -> None:
    browser.sign_in()

    answer = browser.post(f"/review/page/items/{held}/decide", fence="9", image_0="approve", act="decide")

    assert (answer.status_code, answer.headers["content-type"]) == (409, "text/html; charset=utf-8")
    assert "take it again" in answer.text


def test_over_https_the_cookie_is_secure(browser: Browser) -> None:
    form = {"key": browser.key.token}
    answer = browser.client.post("https://testserver/review/login", data=form, follow_redirects=False)

    assert "secure" in answer.headers["set-cookie"].lower()
