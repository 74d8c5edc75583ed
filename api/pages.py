"""Pages from templates: every value is escaped on its way in, unless it was made of escaped ones here.

Nothing on a page comes from elsewhere, no script runs, and no other page may frame it or learn where it was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib import resources
from string import Template

from starlette.responses import HTMLResponse

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Robots-Tag": "noindex",
}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def fill(name: str, **values: object) -> Html:
    """A template with these values in it."""
    shown = {key: value if isinstance(value, Html) else escape(str(value)) for key, value in values.items()}
    return Html(_template(name).substitute(shown))


def rows(lines: Iterable[Iterable[object]]) -> Html:
    """The rows of a table."""
    return Html("".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines))


def link(href: str, text: str) -> Html:
    return Html(f'<a href="{escape(href)}">{escape(text)}</a>')


def options(names: Iterable[str]) -> Html:
    """The choices of a list."""
    return Html("".join(f"<option>{escape(name)}</option>" for name in names))


def page(title: str, body: Html, *, status: int = 200) -> HTMLResponse:
    """A whole page."""
    return HTMLResponse(fill("page.html", title=title, body=body), status, headers=HEADERS)


def stylesheet() -> str:
    return _read("style.css")


def _cell(value: object) -> str:
    shown = "" if value is None else value
    return f"<td>{shown if isinstance(shown, Html) else escape(str(shown))}</td>"


@cache
def _template(name: str) -> Template:
    return Template(_read(name))


def _read(name: str) -> str:
    return (resources.files("api") / "templates" / name).read_text(encoding="utf-8")
