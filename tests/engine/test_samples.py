"""A sample's states."""

from __future__ import annotations

import itertools

import pytest

from engine.samples import TRANSITIONS, Sample, SampleState
from tests.engine.factories import make_request


def make_sample(state: SampleState) -> Sample:
    return Sample("tiny", make_request(), state=state)


@pytest.mark.parametrize(("start", "end"), list(itertools.product(SampleState, SampleState)))
def test_only_the_tables_transitions_are_made(start: SampleState, end: SampleState) -> None:
    sample = make_sample(start)

    if end in TRANSITIONS[start]:
        sample.transition(end)
        assert sample.state is end
    else:
        with pytest.raises(AssertionError, match="can't become"):
            sample.transition(end)


def test_a_retired_sample_stays_retired() -> None:
    assert TRANSITIONS[SampleState.RETIRED] == frozenset()


def test_a_future_cannot_be_cancelled_behind_the_engines_back() -> None:
    assert not make_sample(SampleState.WAITING).future.cancel()
