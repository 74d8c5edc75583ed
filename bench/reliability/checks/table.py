"""Every check, in the order of its worth: a run that is cut has shown the weightiest ones."""

from __future__ import annotations

from bench.reliability.checks import (
    api_killed,
    cancels,
    equal_submits,
    flood,
    net_bites,
    objects_fail,
    over_caps,
    overload,
    plain_baseline,
    poison,
    rolling_restart,
    soak,
    valkey_frozen,
    valkey_killed,
    webhooks,
    workers_killed,
    zombies,
)
from bench.reliability.trial import Check

CHECKS: tuple[Check, ...] = (
    workers_killed.CHECK,
    valkey_killed.CHECK,
    api_killed.CHECK,
    equal_submits.CHECK,
    zombies.CHECK,
    cancels.CHECK,
    rolling_restart.CHECK,
    objects_fail.CHECK,
    valkey_frozen.CHECK,
    poison.CHECK,
    flood.CHECK,
    webhooks.CHECK,
    over_caps.CHECK,
    overload.CHECK,
    soak.CHECK,
    net_bites.CHECK,
    plain_baseline.CHECK,
)
