"""Writes `docs/reliability.md`: the promise in words, and a table of what the newest run of each check measured.

`python -m bench.reliability.report` does it without running a check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.reliability.checks.table import CHECKS
from bench.reliability.trial import Check

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
TEXT = Path(__file__).with_name("reliability.md.in")
Figures = Mapping[str, Any]


def write_report(results: Path) -> None:
    PAGE.write_text(render(results), encoding="utf-8")


def render(results: Path) -> str:
    """The page for these results."""
    newest = {line["check"]: line for line in map(json.loads, results.read_text(encoding="utf-8").splitlines())}
    rows = [_row(check, newest[check.name]) for check in CHECKS if check.name in newest]
    missing = [check.name for check in CHECKS if check.name not in newest]
    notes = f"\nNot measured yet: {', '.join(missing)}.\n" if missing else ""
    return TEXT.read_text(encoding="utf-8").replace("@ROWS@", "\n".join(rows)).replace("@MISSING@", notes)


def _row(check: Check, line: Mapping[str, Any]) -> str:
    number = str(check.number) if check.number else "·"
    word = "held" if line["held"] else "**did not hold**: " + "; ".join(line["broken"])
    if check.name == "plain_celery":
        word = "the baseline"
    share = f"{line['scale']:.0%}" if line["scale"] < 1 else "full"
    measured = "; ".join(filter(None, (_said(check.name, line["figures"]), word)))
    return f"| {number} | `{check.name}` | {check.fault} | {check.promise} | {measured} | {share}, {line['date']} |"


def _said(name: str, figures: Figures) -> str:
    """The figures of a check in words; a check that broke off has none."""
    return SENTENCES[name](figures) if figures else ""


def _common(figures: Figures) -> str:
    return (
        f"{figures['accepted']:,} accepted, lost {figures['lost']}, committed twice {figures['double_commits']}, "
        f"run again {figures['re_executions']}"
    )


def _workers_killed(figures: Figures) -> str:
    return f"{figures['kills']} kills: {_common(figures)}, innocent convicted {figures['innocent_convicted']}"


def _valkey_killed(figures: Figures) -> str:
    resumed = figures["resumed_seconds"]
    return (
        f"{figures['kills']} kills: {_common(figures)}; {figures['answered_503']} answers 503, the slowest "
        f"{figures['slowest_503_seconds']} s; first claim {resumed['short']} s after short outages, "
        f"{resumed['long']} s after longer ones"
    )


def _valkey_frozen(figures: Figures) -> str:
    waits = figures["seconds_until_every_worker_claims"]
    return f"{_common(figures)}; every worker claims after " + ", ".join(
        f"{seconds} s ({name.replace('_', ' ')} s)" for name, seconds in waits.items()
    )


def _zombies(figures: Figures) -> str:
    return (
        f"{figures['zombies']} thaws: {figures['refused']} of {figures['stale_commits']} stale commits refused, "
        f"stale files left {figures['stale_objects_left']}; {_common(figures)}"
    )


def _objects_fail(figures: Figures) -> str:
    return f"{figures['faults']} faults: {_common(figures)}, without their files {figures['bad_images']}"


def _api_killed(figures: Figures) -> str:
    return f"{figures['api_deaths']} kills: {figures['keys']} keys, {figures['jobs_stored']} jobs; {_common(figures)}"


def _equal_submits(figures: Figures) -> str:
    return f"{figures['rounds']} rounds of {figures['equal_calls']}: {figures['jobs_stored']} jobs"


def _cancels(figures: Figures) -> str:
    stages = ", ".join(f"{count} {stage}" for stage, count in sorted(figures["stages"].items()))
    return f"{figures['cancels_accepted']} accepted ({stages}), with a result {figures['results_after_cancel']}"


def _rolling_restart(figures: Figures) -> str:
    return (
        f"{figures['restarts']} restarts: {_common(figures)}, counted against jobs {figures['attempts_burnt']}, "
        f"slowest exit {figures['slowest_exit_seconds']} s"
    )


def _poison(figures: Figures) -> str:
    return (
        f"{figures['convicted']} of {figures['poison_jobs']} convicted, innocent {figures['innocent_convicted']}, "
        f"{figures['process_deaths']} process deaths; {_common(figures)}"
    )


def _flood(figures: Figures) -> str:
    return (
        f"{figures['flood']:,} against {figures['guest_jobs']}: {figures['others_started_before_the_guests_last']} of "
        f"the flood started before the guest's last, {figures['seconds_to_the_guests_last_start']} s"
    )


def _over_caps(figures: Figures) -> str:
    answers = ", ".join(f"{count:,} x {status}" for status, count in figures["answers"].items())
    return (
        f"{figures['calls']:,} calls: {answers}; stored {figures['jobs_stored']}, without Retry-After "
        f"{figures['without_retry_after']}, Redis {figures['redis_bytes_more'] / 1e3:.0f} kB more; {_common(figures)}"
    )


def _overload(figures: Figures) -> str:
    return (
        f"{figures['queue']:,} waiting, then {figures['submits_per_second']} submissions/s: submission p50 "
        f"{figures['submit_p50_ms']} ms, p99 {figures['submit_p99_ms']} ms, claim p99 {figures['claim_p99_ms']} ms, "
        f"5xx {figures['answers_5xx']}; {_common(figures)}"
    )


def _soak(figures: Figures) -> str:
    memory = ", ".join(f"{name} {each / 1e6:.2f} MB" for name, each in figures["bytes_per_1000_jobs"].items())
    return (
        f"{figures['jobs']:,} and {figures['image_jobs']:,}: per 1,000 jobs {memory}; {figures['redis_keys_after']} "
        f"keys in Redis afterwards; descriptors {figures['descriptors_more']}"
    )


def _webhooks(figures: Figures) -> str:
    return (
        f"{figures['kills']} kills, {figures['jobs']} jobs, {figures['deliveries_seen']} deliveries: not delivered "
        f"{figures['jobs_without_delivery']}, with two event ids {figures['jobs_with_two_event_ids']}, signatures not "
        f"valid {figures['bad_signatures']}, taken again {figures['taken_again']}"
    )


def _net_bites(figures: Figures) -> str:
    return "; ".join(f"{piece.replace('_', ' ')}: {len(broken)} fail" for piece, broken in figures["fails"].items())


def _plain_celery(figures: Figures) -> str:
    return (
        f"{figures['kills']} kills: {figures['jobs']:,} accepted, **lost {figures['lost']}**, "
        f"done twice {figures['done_twice']}"
    )


SENTENCES: Mapping[str, Callable[[Figures], str]] = {
    "workers_killed": _workers_killed,
    "valkey_killed": _valkey_killed,
    "valkey_frozen": _valkey_frozen,
    "zombies": _zombies,
    "objects_fail": _objects_fail,
    "api_killed": _api_killed,
    "equal_submits": _equal_submits,
    "cancels": _cancels,
    "rolling_restart": _rolling_restart,
    "poison": _poison,
    "flood": _flood,
    "over_caps": _over_caps,
    "overload": _overload,
    "soak": _soak,
    "webhooks": _webhooks,
    "net_bites": _net_bites,
    "plain_celery": _plain_celery,
}


if __name__ == "__main__":
    write_report(TEXT.with_name("results.jsonl"))
