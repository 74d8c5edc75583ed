"""Each piece of the safety net can still be taken out, so that the proof can be tried against its absence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.reliability import sabotage
from darkroom import lua_scripts
from darkroom.job_store import JobStore
from darkroom.lua_scripts import load_script

CASES = [
    (sabotage.without_fence, "commit"),
    (sabotage.without_lease, "claim"),
    (sabotage.without_commit_check, "commit"),
]


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    read, renew = lua_scripts._read, JobStore.renew
    yield
    lua_scripts._read, JobStore.renew = read, renew
    load_script.cache_clear()


@pytest.mark.parametrize(("remove", "script"), CASES)
def test_a_piece_of_the_net_can_be_removed(remove: Callable[[], None], script: str) -> None:
    whole = load_script(script).text

    remove()

    assert load_script(script).text != whole
