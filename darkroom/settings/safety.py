"""How safety judges: its policy, what becomes of keys it keeps refusing, and the people who decide in doubt.

What the checks are made of stands beside, for prompts and for images.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from darkroom.settings.environment import Settings


class SafetySettings(Settings):
    """Which policy judges, and what becomes of keys whose prompts it keeps refusing."""

    policy: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Name of the safety policy, for owners without one of their own.",
    )
    policy_dir: Path | None = Field(
        None, description="Folder of your own policies, one `NAME.toml` each; changed files are read again."
    )
    policy_approval: bool = Field(
        default=False, description="Let a file of that folder count only after a second person has approved it."
    )
    near_miss_slow: float = Field(
        5.0, ge=0, description="Refused prompts from which on a key waits between jobs (429); 0: never."
    )
    near_miss_hold: float = Field(
        20.0,
        ge=0,
        description="Refused prompts from which on a key makes no jobs until it is released (403); 0: never.",
    )
    near_miss_half_life_seconds: float = Field(3_600, gt=0, description="Time in which the count falls by half.")


class ReviewSettings(Settings):
    """The review queue and appeals."""

    review_ttl_seconds: int = Field(
        7 * 86_400,
        ge=60,
        description="How long an image waits for a person; then its job is `expired`, never released.",
    )
    review_lease_seconds: int = Field(
        900, ge=10, description="How long a reviewer has an item in hand; then it goes back to the queue."
    )
    review_session_seconds: int = Field(
        8 * 3600, ge=60, description="How long a reviewer stays signed in on the page `/review`."
    )
