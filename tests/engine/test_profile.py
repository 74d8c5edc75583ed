"""How many rows a forward should take, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import Engine, PipelineSpec
from engine.profile import REPEATS, Profile, Profiles, blank_request, choose_cap
from engine.row_caps import RowCaps
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request, set_trap
from tests.fixtures.processes import eventually

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("milliseconds", "cap"),
    [
        ({1: 10, 2: 11, 4: 13, 8: 17, 16: 25}, 16),  # a GPU far from full: more is always better
        ({1: 10, 2: 20, 4: 40, 8: 80, 16: 160}, 16),  # linear: more costs nothing, and more move together
        ({1: 10, 2: 16, 4: 28, 8: 56, 16: 140}, 8),  # caches overflow beyond 8
        ({1: 10, 2: 21, 4: 50, 8: 120, 16: 300}, 2),  # more is worse from the start
        ({1: 10, 2: 16, 4: 30, 8: 62, 16: 118}, 16),  # a noisy line
    ],
)
def test_the_cap_is_the_most_rows_at_which_a_row_is_still_cheap(milliseconds: dict[int, float], cap: int) -> None:
    assert choose_cap(milliseconds, bound=16) == cap


def test_counts_that_there_was_no_time_to_measure_are_not_held_against_the_bound() -> None:
    assert choose_cap({1: 10, 2: 15}, bound=16) == 16
    assert choose_cap({1: 10, 2: 15, 4: 50}, bound=16) == 2
    assert choose_cap({}, bound=16) == 16


def make_profile(engine: Engine, *, max_rows: int = 16, seconds: float = 60.0) -> Profile:
    family = engine._family("tiny")
    return Profile(family, blank_request(family, width=64, height=64), max_rows=max_rows, seconds=seconds, device=CPU)


def measured(profile: Profile) -> Profile:
    with torch.inference_mode():
        while profile.measure():
            pass
    return profile


def test_every_count_up_to_the_bound_is_measured_in_turn(make_engine: MakeEngine) -> None:
    engine = make_engine()
    seen: list[int] = []
    set_trap(engine, "unet", lambda latents: seen.append(len(latents)))

    profile = measured(make_profile(engine, max_rows=6))

    assert seen == [1, 2, 4, 6] * (1 + REPEATS)
    assert sorted(profile.times) == [1, 2, 4, 6]
    assert 2 <= profile.cap <= 6


def test_the_time_is_bounded_but_a_guided_sample_is_always_measured(make_engine: MakeEngine) -> None:
    assert sorted(measured(make_profile(make_engine(), seconds=0.0)).times) == [1, 2]


def test_rows_that_do_not_fit_the_memory_bound_the_cap(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def too_large(latents: torch.Tensor) -> None:
        if len(latents) > 4:
            raise torch.OutOfMemoryError

    set_trap(engine, "unet", too_large)

    profile = measured(make_profile(engine))

    assert max(profile.times) == 4
    assert profile.cap <= 4


def test_an_engine_measures_its_models_when_they_are_loaded(tiny: Path, captured_logs: list[Any]) -> None:
    notes = Notes()
    spec = PipelineSpec("tiny", str(tiny), sizes=((64, 64), (32, 64)))
    with Engine({"tiny": spec}, device="cpu", max_rows=4, profile_seconds=0.5, observer=notes) as engine:
        engine.load("tiny")
        eventually(lambda: len(engine.stats().row_caps) == 2, seconds=60)
        image = engine.submit("tiny", make_request()).future.result(timeout=60)
        caps = engine.stats().row_caps

    assert image.steps == 4
    assert set(caps) == {("tiny", "64x64"), ("tiny", "32x64")}
    assert all(2 <= cap <= 4 for cap in caps.values())
    assert sorted(notes.caps) == sorted((*key, cap) for key, cap in caps.items())
    logged = [line for line in captured_logs if line["event"] == "row_cap_measured"]
    assert {line["size"] for line in logged} == {"64x64", "32x64"}
    assert set(logged[0]["milliseconds"]) >= {"1", "2"}


def test_samples_run_between_the_forwards_of_a_profile(tiny: Path) -> None:
    spec = PipelineSpec("tiny", str(tiny), sizes=((64, 64),))
    with Engine({"tiny": spec}, device="cpu", profile_seconds=600.0) as engine:
        engine.load("tiny")
        done_before = []
        handle = engine.submit("tiny", make_request(), on_step=lambda *_: done_before.append(engine.stats().row_caps))

        assert handle.future.result(timeout=60).steps == 4

    assert {} in done_before, "the profile was still under way"


def test_a_network_that_cannot_be_measured_keeps_the_operators_bound(
    make_engine: MakeEngine, captured_logs: list[Any]
) -> None:
    engine = make_engine()

    def refuse(_latents: torch.Tensor) -> None:
        raise ValueError("not today")

    set_trap(engine, "unet", refuse)
    caps = RowCaps(8)
    profiles = Profiles(caps, seconds=1.0, device=CPU)
    profiles.add("tiny", engine._family("tiny"), [(64, 64)])

    with torch.inference_mode():
        profiles.measure()

    assert not profiles
    assert caps.known() == {}
    assert "profile_failed" in str(captured_logs)


def test_a_size_that_is_known_is_not_measured_again(make_engine: MakeEngine) -> None:
    family = make_engine()._family("tiny")
    caps = RowCaps(8)
    caps.limit(("tiny", family.key(make_request())), 6)
    profiles = Profiles(caps, seconds=1.0, device=CPU)

    profiles.add("tiny", family, [(64, 64), (32, 32)])

    assert len(profiles) == 1
    profiles.drop("tiny")
    assert not profiles
