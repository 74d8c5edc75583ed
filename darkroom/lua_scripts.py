"""Loads the Lua scripts of the job store.

Each script is its own file under `lua/`; in front of it stand the transition table, written from
`darkroom.jobs.TRANSITIONS` so that there is only one, then the functions that all share (`SHARED`), then those that
its header asks for (`-- Needs: NAME`).
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import redis
from redis.exceptions import NoScriptError

from darkroom.jobs import TRANSITIONS, Tier
from darkroom.redis_client import redis_errors

SHARED = ("events", "outbox", "fair", "arms", "usage", "record", "isolation")  # each sees those before it
_NEEDS = re.compile(r"^-- Needs: ([a-z_]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A script's text and the digest that the server knows it by."""

    name: str
    text: str

    @functools.cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@functools.cache
def load_script(name: str) -> Script:
    """The script of that file name, ready to run."""
    return make_script(name, _read(name))


def run_script(client: redis.Redis, name: str, *args: str | float) -> Any:
    """The script's answer; it is sent whole where the server does not know it yet."""
    script, texts = load_script(name), [str(arg) for arg in args]
    with redis_errors():
        try:
            return client.evalsha(script.sha, 0, *texts)
        except NoScriptError:  # a fresh or restarted server
            return client.eval(script.text, 0, *texts)


def make_script(name: str, body: str) -> Script:
    """A script with the shared parts in front of its own text."""
    parts = (*SHARED, *_NEEDS.findall(body))
    return Script(name=name, text="\n".join((_legal_table(), *map(_read, parts), body)))


def _read(name: str) -> str:
    return (resources.files("darkroom") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _legal_table() -> str:
    rows = (
        f"{start} = {{{', '.join(f'{end} = true' for end in sorted(ends))}}}" for start, ends in TRANSITIONS.items()
    )
    tiers = ", ".join(f"'{tier}'" for tier in Tier)
    return f"local LEGAL = {{{', '.join(rows)}}}\nlocal TIERS = {{{tiers}}}"
