"""`python -m worker` as a real process: how it starts, how it refuses to, and how it leaves."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.settings import RedisSettings
from darkroom.tickets import TicketOffice, queue_name
from tests.darkroom.factories import make_job, make_params
from tests.fixtures.ports import free_port
from tests.fixtures.processes import eventually, running
from tests.fixtures.secret_file import write_secret_file
from tests.worker.trapped import DEADLY, ENDLESS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

START_SECONDS = 240  # imports alone take a minute and more on a machine that is busy otherwise
CATALOGUE = """
[models.tiny]
source = {{ folder = "{folder}" }}
licence = "Apache-2.0"
native_sizes = [[64, 64]]
"""


@pytest.fixture
def environment(redis_settings: RedisSettings, tiny_model: Path, tmp_path: Path) -> dict[str, str]:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE.format(folder=tiny_model), encoding="utf-8")
    return {
        "DARKROOM_REDIS_URL": redis_settings.redis_url,
        "DARKROOM_CATALOGUE": str(catalogue),
        "DARKROOM_OBJECT_STORE_FOLDER": str(tmp_path / "objects"),
        "DARKROOM_LINK_SECRET": "a secret of the tests",
        "DARKROOM_SECRET_FILE": str(write_secret_file(tmp_path)),
        "DARKROOM_DEVICE": "cpu",
        "DARKROOM_WORKER_CONCURRENCY": "4",
        "DARKROOM_REAPER_SECONDS": "1",
        "DARKROOM_GRACE_SECONDS": "1",
    }


def submit(jobs: JobStore, *, steps: int, prompt: str = "a red circle") -> Job:
    params = make_params(prompt=prompt, width=64, height=64, num_inference_steps=steps)
    return jobs.submit(make_job(params=params)).job


def status(jobs: JobStore, job: Job) -> JobStatus:
    return jobs.get(job.id, owner=job.owner).status


def refusal(environment: dict[str, str], folder: Path) -> str:
    """What a worker writes that ends at once with code 2."""
    with running("worker", environment=environment, log=folder / "worker.log") as process:
        assert process.wait(START_SECONDS) == 2
        return process.output


def test_a_job_without_a_ticket_is_found_made_counted_and_never_quoted(
    environment: dict[str, str], jobs: JobStore, tmp_path: Path
) -> None:
    port = free_port()
    environment |= {"DARKROOM_METRICS_PORT": str(port), "DARKROOM_LOG_LEVEL": "debug"}
    job = submit(jobs, steps=4, prompt="a kanarienvogel in a cage")

    with running("worker", environment=environment, log=tmp_path / "worker.log") as worker:
        eventually(lambda: status(jobs, job) is JobStatus.SUCCEEDED, seconds=START_SECONDS, alive=worker)
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
        worker.terminate()

        assert worker.wait(60) == 0
    assert 'darkroom_jobs_ended_total{model="tiny",status="succeeded",tier="standard"} 1.0' in metrics
    assert job.id in worker.output
    assert "kanarienvogel" not in worker.output
    assert "kanarienvogel" not in metrics


def test_sigterm_gives_running_jobs_and_their_tickets_back_within_the_grace_time(
    environment: dict[str, str], jobs: JobStore, office: TicketOffice, redis_client: redis.Redis, tmp_path: Path
) -> None:
    submitted = [submit(jobs, steps=999) for _ in range(6)]
    for _ in submitted:
        office.issue(Tier.STANDARD)
    with running("worker", environment=environment, log=tmp_path / "worker.log") as worker:
        started = [JobStatus.RUNNING] * 4 + [JobStatus.QUEUED] * 2
        eventually(lambda: _in_line(jobs, submitted) == started, seconds=START_SECONDS, alive=worker)

        worker.terminate()
        asked = time.monotonic()
        code = worker.wait(60)

    assert (code, time.monotonic() - asked < 15) == (0, True), worker.output[-4000:]
    assert _in_line(jobs, submitted) == [JobStatus.QUEUED] * 6
    assert jobs.claimable(Tier.STANDARD) == 6
    assert redis_client.llen(queue_name(Tier.STANDARD)) >= 4
    assert redis_client.hlen("unacked") == 0


def test_a_job_that_ends_its_process_is_convicted_by_a_single_worker_and_no_innocent_is(
    environment: dict[str, str], jobs: JobStore, tmp_path: Path
) -> None:
    environment |= {
        "DARKROOM_LEASE_SECONDS": "2",
        "DARKROOM_HEARTBEAT_SECONDS": "0.5",
        "DARKROOM_REDIS_TIMEOUT_SECONDS": "1",
    }
    environment |= {"DARKROOM_WORKER_CONCURRENCY": "16"}
    innocent = [submit(jobs, steps=200) for _ in range(3)]
    guilty = submit(jobs, steps=4, prompt=DEADLY)
    innocent += [submit(jobs, steps=200) for _ in range(3)]
    all_jobs, deaths = [guilty, *innocent], 0

    while not all(one.is_terminal for one in _in_line(jobs, all_jobs)):
        assert deaths < 8, "the guilty job goes on killing"
        with running("tests.worker.trapped", environment=environment, log=tmp_path / "worker.log") as worker:
            eventually(
                lambda: worker.popen.poll() is not None or all(one.is_terminal for one in _in_line(jobs, all_jobs)),
                seconds=START_SECONDS,
            )
            deaths += worker.popen.poll() is not None

    convicted = jobs.get(guilty.id, owner=guilty.owner)
    assert (convicted.status, convicted.error and convicted.error.code) == (JobStatus.FAILED, "poison")
    assert set(_in_line(jobs, innocent)) == {JobStatus.SUCCEEDED}
    assert deaths <= 5


def test_a_process_whose_job_hangs_after_the_grace_time_ends_all_the_same_and_gives_it_back(
    environment: dict[str, str], jobs: JobStore, tmp_path: Path
) -> None:
    job = submit(jobs, steps=4, prompt=ENDLESS)
    with running("tests.worker.trapped", environment=environment, log=tmp_path / "worker.log") as worker:
        eventually(lambda: jobs.get(job.id, owner=job.owner).progress.step, seconds=START_SECONDS, alive=worker)

        worker.terminate()
        code = worker.wait(30)

    assert code == 0, worker.output[-4000:]
    assert "worker_abandons" in worker.output
    assert jobs.get(job.id, owner=job.owner).status is JobStatus.QUEUED


def test_a_bad_catalogue_ends_the_start_with_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    output = refusal({**environment, "DARKROOM_CATALOGUE": "/nowhere/catalogue.toml"}, tmp_path)

    assert output == "darkroom worker: catalogue /nowhere/catalogue.toml can't be read: No such file or directory\n"


def test_a_model_that_can_not_be_loaded_ends_the_start_with_one_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text("{}", encoding="utf-8")
    Path(environment["DARKROOM_CATALOGUE"]).write_text(CATALOGUE.format(folder=broken), encoding="utf-8")

    output = refusal(environment, tmp_path)

    assert "darkroom worker: model tiny could not be loaded" in output
    assert "Traceback" not in output


def _in_line(jobs: JobStore, submitted: list[Job]) -> list[JobStatus]:
    return [status(jobs, job) for job in submitted]
