"""Who gets which variant, and when a canary goes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.routing import AliasSpec, ArmCounts, Canary, Variant, alias_of, trouble_with

RULES = Canary(model="new", min_jobs=50, max_errors=0.05, max_blocks=0.05)
WEIGHTS = st.floats(0.01, 100)


def make_alias(**weights: float) -> AliasSpec:
    return AliasSpec(name="best", variants=tuple(Variant(model=m, weight=w) for m, w in weights.items()))


def arms(alias: AliasSpec, owners: int, out: frozenset[str] = frozenset()) -> list[str]:
    return [alias.arm(owner=f"owner-{number}", job="j", out=out) for number in range(owners)]


def test_variants_get_jobs_by_their_weights() -> None:
    found = Counter(arms(make_alias(old=9, new=1), 20_000))

    assert found["new"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_an_owner_stays_on_one_variant_and_a_job_on_its_own() -> None:
    by_owner = make_alias(old=1, new=1)
    by_job = by_owner.model_copy(update={"sticky": "job"})

    assert len({by_owner.arm(owner="ada", job=str(n)) for n in range(100)}) == 1
    assert len({by_job.arm(owner="ada", job=str(n)) for n in range(100)}) == 2
    assert len({by_job.arm(owner=str(n), job="one") for n in range(100)}) == 1


@given(old=WEIGHTS, before=WEIGHTS, more=WEIGHTS)
def test_a_higher_weight_takes_owners_from_others_and_gives_none_away(old: float, before: float, more: float) -> None:
    less, much = make_alias(old=old, new=before, third=1), make_alias(old=old, new=before + more, third=1)

    for was, now in zip(arms(less, 50), arms(much, 50), strict=True):
        assert now in {was, "new"}


def test_a_canary_that_is_out_gives_its_owners_away_and_moves_nobody_else() -> None:
    alias = make_alias(old=2, new=1, third=1)

    for was, now in zip(arms(alias, 500), arms(alias, 500, out=frozenset({"new"})), strict=True):
        assert now == was if was != "new" else now in {"old", "third"}


def test_the_last_variant_stays_even_where_all_are_out() -> None:
    assert set(arms(make_alias(old=2, new=1), 20, out=frozenset({"old", "new"}))) == {"old"}


def test_a_route_is_another_one_once_the_alias_says_something_else() -> None:
    alias = make_alias(old=1, new=1)

    assert alias.route != make_alias(old=1, new=2).route
    assert alias.route == alias.model_copy(update={"description": "Best."}).route
    assert alias_of(alias.route) == "best"


def test_a_shadow_repeats_its_share_of_jobs() -> None:
    alias = AliasSpec.model_validate(
        {"name": "best", "variants": [{"model": "old"}], "shadow": {"model": "new", "share": 0.2}}
    )

    assert sum(alias.shadowed(f"job-{n}") for n in range(5_000)) / 5_000 == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    "fields",
    [
        {"variants": []},
        {"variants": [{"model": "a"}, {"model": "a"}]},
        {"variants": [{"model": "a"}], "canary": {"model": "a"}},
        {"variants": [{"model": "a"}, {"model": "b"}], "canary": {"model": "c"}},
        {"variants": [{"model": "a", "weight": 0}]},
    ],
)
def test_an_alias_that_can_not_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AliasSpec.model_validate({"name": "best", **fields})


def test_a_canary_goes_for_errors_and_for_blocks_but_not_before_it_has_had_enough_jobs() -> None:
    others = ArmCounts(succeeded=980, failed=10, blocked=10)

    assert trouble_with(ArmCounts(succeeded=30, failed=30), others, RULES) == "errors"
    assert trouble_with(ArmCounts(succeeded=30, blocked=15, in_review=15), others, RULES) == "blocks"
    assert trouble_with(ArmCounts(failed=49), others, RULES) is None
    assert trouble_with(ArmCounts(succeeded=57, failed=3), others, RULES) is None


def test_a_canary_stays_where_the_others_fail_as_often() -> None:
    assert trouble_with(ArmCounts(succeeded=30, failed=30), ArmCounts(succeeded=500, failed=500), RULES) is None


@pytest.mark.parametrize(("rate", "least", "most"), [(0.02, 0, 2), (0.4, 100, 100)])
def test_a_good_canary_stays_and_a_bad_one_goes_however_often_it_is_looked_at(
    rate: float, least: int, most: int
) -> None:
    draw = random.Random(1)
    gone = 0
    for _ in range(100):
        others = ArmCounts(succeeded=9_800, failed=200)
        canary = ArmCounts()
        for _ in range(400):
            failed = draw.random() < rate
            canary = canary + (ArmCounts(failed=1) if failed else ArmCounts(succeeded=1))
            if trouble_with(canary, others, RULES):
                gone += 1
                break

    assert least <= gone <= most
