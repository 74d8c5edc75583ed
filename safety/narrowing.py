"""Which of two policies is at least as strict in everything, so that a request may ask for it and never for less.

"In everything" is one list of comparisons: a field of a policy that is not compared here could be used to loosen one,
and a test holds the list to the fields. Knows no owner and no request.
"""

from __future__ import annotations

from collections.abc import Callable

from safety.policy import SAFETY_LEVELS, Policy
from safety.verdict import Category, Stage

_Compare = Callable[[Policy, Policy], bool]


def _bars(narrow: Policy, wide: Policy) -> bool:
    pairs = [(narrow.bars(stage, category), wide.bars(stage, category)) for stage in Stage for category in Category]
    return all(mine.review <= theirs.review and mine.block <= theirs.block for mine, theirs in pairs)


def _required_checks(narrow: Policy, wide: Policy) -> bool:
    return (
        {*narrow.prompt.required_checks} >= {*wide.prompt.required_checks}
        and {*narrow.prompt.required_slow_checks} >= {*wide.prompt.required_slow_checks}
        and {*narrow.image.required_checks} >= {*wide.image.required_checks}
    )


def _exemptions(narrow: Policy, wide: Policy) -> bool:
    return narrow.prompt.negative_prompt_exempt <= wide.prompt.negative_prompt_exempt


def _rewriting(narrow: Policy, wide: Policy) -> bool:
    """Refusing is stricter than rewriting, and a rewrite that hardens is stricter than one that does not."""
    changed = [category for category in Category if narrow.rewrites(category)]
    hardens = narrow.prompt.harden_negative_prompt or not wide.prompt.harden_negative_prompt
    return all(wide.rewrites(category) for category in changed) and (hardens or not changed)


def _safe_guidance(narrow: Policy, wide: Policy) -> bool:
    mine, theirs = narrow.safe_guidance, wide.safe_guidance
    if theirs.level == "off":
        return True
    return SAFETY_LEVELS.index(mine.level) >= SAFETY_LEVELS.index(theirs.level) and mine.concept == theirs.concept


def _previews(narrow: Policy, wide: Policy) -> bool:
    return wide.image.previews or not narrow.image.previews


def _shadow(narrow: Policy, wide: Policy) -> bool:
    return {*narrow.shadow} <= {*wide.shadow}


COMPARISONS: tuple[_Compare, ...] = (
    _bars,
    _required_checks,
    _exemptions,
    _rewriting,
    _safe_guidance,
    _previews,
    _shadow,
)


def is_at_least_as_strict(narrow: Policy, wide: Policy) -> bool:
    """Whether nothing that `wide` would hold, change or refuse gets further under `narrow`."""
    return all(compare(narrow, wide) for compare in COMPARISONS)
