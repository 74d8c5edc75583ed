from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from safety.narrowing import is_at_least_as_strict
from safety.policy import ImagePolicy, Policy, PromptPolicy, SafeGuidancePolicy, load_policy

BARS = {"review": 0.3, "block": 0.6}


def make_policy(**parts: Any) -> Policy:
    return Policy.model_validate({"schema": 1, "name": "some", "version": 1, **parts})


# For each field of a policy: a stricter value and a laxer one.
FIELDS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "prompt.required_checks": ({"prompt": {"required_checks": ["a", "b"]}}, {"prompt": {"required_checks": ["a"]}}),
    "prompt.required_slow_checks": (
        {"prompt": {"required_slow_checks": ["a"]}},
        {"prompt": {"required_slow_checks": []}},
    ),
    "prompt.default": ({"prompt": {"default": BARS}}, {"prompt": {"default": {**BARS, "block": 0.7}}}),
    "prompt.thresholds": ({"prompt": {"thresholds": {"hate": BARS}}}, {"prompt": {}}),
    "prompt.actions": ({"prompt": {"actions": {"hate": "block"}}}, {"prompt": {"actions": {"hate": "rewrite"}}}),
    "prompt.harden_negative_prompt": (
        {"prompt": {"actions": {"hate": "rewrite"}}},
        {"prompt": {"actions": {"hate": "rewrite"}, "harden_negative_prompt": False}},
    ),
    "prompt.negative_prompt_exempt": ({"prompt": {}}, {"prompt": {"negative_prompt_exempt": ["hate"]}}),
    "image.required_checks": ({"image": {"required_checks": ["a"]}}, {"image": {}}),
    "image.default": ({"image": {}}, {"image": {"default": {"review": 0.02, "block": 0.05}}}),
    "image.thresholds": (
        {"image": {}},
        {"image": {"thresholds": {"custom": {"review": 0.5, "block": 0.5}}}},
    ),
    "image.previews": ({"image": {}}, {"image": {"previews": True}}),
    "safe_guidance.level": ({"safe_guidance": {"level": "max"}}, {"safe_guidance": {"level": "strong"}}),
    "safe_guidance.concept": (
        {"safe_guidance": {"level": "max"}},
        {"safe_guidance": {"level": "weak", "concept": "other words"}},
    ),
    "shadow": ({}, {"shadow": ["a"]}),
}
UNJUDGED = {"schema_version", "name", "version", "description"}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_can_narrow_and_never_widen(field: str) -> None:
    strict, lax = (make_policy(**part) for part in FIELDS[field])

    assert not is_at_least_as_strict(lax, strict)
    assert is_at_least_as_strict(strict, lax) or field == "safe_guidance.concept"  # other words are another matter
    assert is_at_least_as_strict(strict, strict)


def test_every_field_of_a_policy_is_compared() -> None:
    parts = {"prompt": PromptPolicy, "image": ImagePolicy, "safe_guidance": SafeGuidancePolicy}
    names = {f"{part}.{field}" for part, model in parts.items() for field in model.model_fields}
    names |= set(Policy.model_fields) - set(parts) - UNJUDGED

    assert names == set(FIELDS)


def test_shipped_policies_are_ordered_by_strictness() -> None:
    strict, default, research = (load_policy(name) for name in ("strict", "default", "research"))

    assert is_at_least_as_strict(strict, default)
    assert is_at_least_as_strict(default, research)
    assert not is_at_least_as_strict(research, default)
    assert not is_at_least_as_strict(default, strict)
