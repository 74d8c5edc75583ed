"""The scripts obey `TRANSITIONS`: every pair of statuses is tried on the server."""

from __future__ import annotations

import itertools
import re
from importlib import resources

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.jobs import TRANSITIONS, JobStatus
from darkroom.lua_scripts import load_script, make_script
from tests.darkroom.factories import make_job

MOVE = make_script(
    "move",
    "local job = load(ARGV[1])\n"
    "transition(ARGV[1], job, ARGV[2], {lease_until = stamp(clock() + 30), worker = 'w1'}, clock())\n"
    "return job.status",
)
SHARED_PARTS = {
    "events",
    "outbox",
    "fair",
    "arms",
    "usage",
    "record",
    "isolation",
    "audit_chain",
    "review_items",
    "caps",
}
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in (resources.files("darkroom") / "lua").iterdir())


@pytest.mark.parametrize(("start", "end"), list(itertools.product(JobStatus, repeat=2)))
def test_script_makes_the_legal_changes_and_no_other(
    redis_client: redis.Redis, start: JobStatus, end: JobStatus
) -> None:
    job = JobStore(redis_client).submit(make_job()).job
    redis_client.hset(f"darkroom:job:{job.id}", mapping={"status": start, "worker": "w1"})

    if end in TRANSITIONS[start]:
        assert redis_client.eval(MOVE.text, 0, job.id, end) == end
    else:
        with pytest.raises(redis.ResponseError, match=f"illegal transition {start} -> {end}"):
            redis_client.eval(MOVE.text, 0, job.id, end)

    kept = redis_client.hget(f"darkroom:job:{job.id}", "status")
    assert kept == (end if end in TRANSITIONS[start] else start)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "record"])
def test_script_changes_a_status_only_by_transition(name: str) -> None:
    body = (resources.files("darkroom") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    code = "\n".join(line for line in body.splitlines() if not line.startswith("--"))

    assert not re.search(r"\bstatus\s*=[^=]", code.replace("local status =", ""))
    assert not re.search(r"HSET[^\n]*'status'", code)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in SHARED_PARTS])
def test_header_documents_arguments_and_what_is_written(name: str) -> None:
    body = (resources.files("darkroom") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    header = "\n".join(itertools.takewhile(lambda line: line.startswith("--"), body.splitlines()))

    assert "-- ARGV: " in header
    if "transition(" in body or "HSET" in body or "ZADD" in body:
        assert "-- Writes: " in header


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_valid_lua(redis_client: redis.Redis, name: str) -> None:
    script = load_script(name)

    assert redis_client.script_load(script.text) == script.sha
