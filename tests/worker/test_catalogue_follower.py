"""A worker follows its catalogue's file, and looks after routes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from darkroom.catalogue import Catalogue, ModelSpec
from darkroom.catalogue_watch import CatalogueWatch
from darkroom.job_store import JobStore
from darkroom.jobs import JobError, JobStatus, Tier
from darkroom.route_board import RouteBoard
from engine import Engine, PipelineSpec
from tests.darkroom.factories import make_image, make_job, make_params, run_one
from tests.worker.test_tasks import make_work
from tests.worker.workshop import ScoreEach, Workshop
from worker.catalogue_follower import CatalogueFollower
from worker.route_watch import RouteWatch
from worker.tasks import Work

ENTRY = """
[models.{name}]
source = {{ folder = "{folder}" }}
licence = "MIT"
native_sizes = [[64, 64]]
"""
ALIAS = """
[aliases.best]
variants = [{ model = "tiny", weight = 3 }, { model = "newer" }]
canary = { model = "newer", min_jobs = 10 }
shadow = { model = "newer", share = 1.0 }
"""


def pipeline(spec: ModelSpec, _catalogue: Catalogue) -> PipelineSpec:
    return PipelineSpec(spec.name, str(spec.source.folder))


@pytest.fixture
def path(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "catalogue.toml"
    path.write_text(ENTRY.format(name="tiny", folder=tiny_model))
    return path


@pytest.fixture
def add(path: Path, tiny_model: Path) -> Callable[..., None]:
    def add(name: str, *, text: str = "", folder: Path = tiny_model, head: str = 'default = "tiny"\n') -> None:
        path.write_text(head + path.read_text() + ENTRY.format(name=name, folder=folder) + text)

    return add


def follow(shop: Workshop, path: Path, client: redis.Redis, work: Work) -> tuple[CatalogueFollower, CatalogueWatch]:
    watch = CatalogueWatch.read(path)
    follower = CatalogueFollower(
        watch,
        engine=shop.engine,
        work=work,
        drain=shop.drain,
        client=client,
        pipeline=pipeline,
        metrics=shop.metrics,
    )
    return follower, watch


def test_a_model_more_is_loaded_and_its_waiting_jobs_run(
    shop: Workshop, own_engine: Engine, path: Path, add: Callable[..., None], redis_client: redis.Redis
) -> None:
    shop.engine = own_engine
    work = make_work(shop)
    follower, _watch = follow(shop, path, redis_client, work)
    job = shop.submit(model="newer")
    work.work(Tier.STANDARD)
    assert shop.get(job).status is JobStatus.QUEUED

    add("newer")
    follower.round()
    work.work(Tier.STANDARD)

    assert shop.get(job).status is JobStatus.SUCCEEDED
    assert not shop.drain.begun
    assert shop.count("darkroom_catalogue_reloads_total") == 1


def test_a_model_less_is_claimed_for_no_longer_and_its_jobs_wait(
    shop: Workshop, own_engine: Engine, path: Path, add: Callable[..., None], redis_client: redis.Redis
) -> None:
    shop.engine = own_engine
    before = path.read_text()
    add("newer")
    work = make_work(shop, models=("tiny", "newer"))
    follower, _watch = follow(shop, path, redis_client, work)
    path.write_text(before)
    follower.round()
    job, other = shop.submit(model="newer"), shop.submit()

    work.work(Tier.STANDARD)

    assert (shop.get(job).status, shop.get(other).status) == (JobStatus.QUEUED, JobStatus.SUCCEEDED)


@pytest.mark.parametrize("text", ["[models.tiny", 'default = "nobody"\n'])
def test_a_broken_file_changes_nothing(shop: Workshop, path: Path, redis_client: redis.Redis, text: str) -> None:
    work = make_work(shop)
    follower, watch = follow(shop, path, redis_client, work)
    before = watch.now
    path.write_text(text + path.read_text())

    follower.round()

    assert watch.now is before
    job = shop.submit()
    work.work(Tier.STANDARD)
    assert shop.get(job).status is JobStatus.SUCCEEDED


def test_a_model_that_can_not_be_loaded_changes_nothing(
    shop: Workshop, own_engine: Engine, path: Path, add: Callable[..., None], redis_client: redis.Redis, tmp_path: Path
) -> None:
    shop.engine = own_engine
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{}")
    follower, watch = follow(shop, path, redis_client, make_work(shop))
    add("broken", folder=tmp_path / "broken")

    follower.round()

    assert set(watch.now.models) == {"tiny"}
    assert not shop.drain.begun


def test_what_a_running_engine_can_not_change_replaces_one_process_at_a_time(
    shop: Workshop, jobs: JobStore, path: Path, redis_client: redis.Redis
) -> None:
    first, _ = follow(shop, path, redis_client, make_work(shop))
    other_shop = Workshop(jobs, shop.objects, shop.engine)
    second, _ = follow(other_shop, path, redis_client, make_work(other_shop))
    path.write_text(path.read_text() + 'dtype = "float32"\n')

    first.round()
    second.round()

    assert (shop.drain.begun, other_shop.drain.begun) == (True, False)
    redis_client.delete("darkroom:reloading")
    second.round()
    assert other_shop.drain.begun


def test_the_watch_takes_a_failing_canary_out_and_fails_jobs_of_withdrawn_models(
    shop: Workshop, path: Path, add: Callable[..., None], redis_client: redis.Redis
) -> None:
    add("newer", text=ALIAS, head='default = "tiny"\nwithdrawn = ["gone"]\n')
    catalogue = CatalogueWatch.read(path).now
    alias, board = catalogue.aliases["best"], RouteBoard(redis_client, look_seconds=0)
    for model, status in (("tiny", JobStatus.SUCCEEDED), ("newer", JobStatus.FAILED)):
        for _ in range(12):
            shop.jobs.submit(make_job(params=make_params(model=model), route=alias.route))
            error = JobError("generation_failed", "") if status is JobStatus.FAILED else None
            images = [] if error else [make_image()]
            shop.jobs.commit(run_one(shop.jobs), status=status, images=images, error=error)
    gone = shop.submit(model="gone")

    RouteWatch(board, shop.jobs, catalogue=lambda: catalogue, metrics=shop.metrics).look()
    shop.metrics.tell(True)

    assert board.out_of(alias) == {"newer"}
    ended = shop.get(gone)
    assert (ended.status, ended.error and ended.error.code) == (JobStatus.FAILED, "model_withdrawn")
    assert shop.count("darkroom_canary_taken_out", alias="best", model="newer") == 1


@pytest.mark.parametrize(("score", "status"), [(0.0, JobStatus.SUCCEEDED), (0.9, JobStatus.BLOCKED)])
def test_a_shadow_run_stores_nothing_and_is_counted_apart(
    shop: Workshop, redis_client: redis.Redis, score: float, status: JobStatus
) -> None:
    shop.image_checks = [ScoreEach([score])]
    params = make_params(width=64, height=64, num_inference_steps=4)
    job = shop.jobs.submit(make_job(owner="@shadow", shadow=True, route="best@0", params=params)).job

    shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.images) == (status, ())
    assert [shop.objects.list_files(place, after="", limit=9) for place in ("outputs/", "review/")] == [[], []]
    assert RouteBoard(redis_client).counts("best@0")["tiny+shadow"].ended == 1
    live = {"alias": "best", "model": "tiny", "part": "shadow", "status": str(status)}
    assert shop.count("darkroom_route_jobs_ended_total", **live) == 1
    assert shop.count("darkroom_jobs_ended_total", status=str(status), tier="standard", model="tiny") == 0
