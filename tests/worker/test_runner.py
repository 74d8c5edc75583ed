"""One job's way through the worker, and every way it can end."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image

from darkroom.errors import ObjectNotFound
from darkroom.job_store import JobStore
from darkroom.jobs import ImageRecord, JobStatus
from darkroom.object_store import LocalObjectStore, S3ObjectStore, output_key
from darkroom.params import MAX_SEED
from darkroom.redis_client import make_redis
from darkroom.schedulers import SCHEDULERS
from darkroom.settings import JobSettings, ObjectStoreSettings, RedisSettings
from engine import Engine
from safety.provenance.recipe import Recipe, parse_recipe
from safety.verdict import Category
from tests.engine.factories import set_trap
from tests.fixtures.ports import free_port
from tests.fixtures.processes import eventually
from tests.worker.workshop import LONG, Meanwhile, Running, ScoreEach, Workshop
from worker.runner import Outcome, pause_before


def stored(folder: Path) -> list[str]:
    """The keys of all files below the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pixels(shop: Workshop, image: ImageRecord) -> np.ndarray:
    with Image.open(io.BytesIO(shop.objects.get(image.key))) as picture:
        return np.asarray(picture, dtype=np.int16)


def nobody_there() -> S3ObjectStore:
    """An S3 service that refuses connections."""
    return S3ObjectStore(
        ObjectStoreSettings(
            object_store="s3",
            s3_endpoint_url=f"http://127.0.0.1:{free_port()}",
            s3_access_key_id="test",
            s3_secret_access_key="test",
        )
    )


def test_a_job_ends_with_its_image_stored_under_its_attempt(shop: Workshop) -> None:
    job = shop.submit(seed=11)

    assert shop.run() is Outcome.ENDED

    done = shop.get(job)
    assert done.status is JobStatus.SUCCEEDED
    image = done.images[0]
    assert (image.key, image.seed, image.decision) == (output_key(job.id, 1, 0, ending="png"), 11, "allow")
    data = shop.objects.get(image.key)
    assert (image.bytes, image.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_file_holds_the_whole_recipe(shop: Workshop) -> None:
    job = shop.submit(seed=3, negative_prompt="noise", scheduler="euler_a", guidance_scale=3.5)

    shop.run()

    record = shop.get(job).images[0]
    with Image.open(io.BytesIO(shop.objects.get(record.key))) as image:
        recipe = parse_recipe(image.info["parameters"])
    params = job.params
    assert recipe == Recipe(
        prompt=params.prompt,
        negative_prompt="noise",
        steps=params.num_inference_steps,
        scheduler=SCHEDULERS["euler_a"].title,
        guidance_scale=3.5,
        seed=3,
        width=64,
        height=64,
        model="tiny",
        pixels=record.pixels_sha256,
    )


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_file_has_the_wanted_format(shop: Workshop, output_format: str, kind: str) -> None:
    job = shop.submit(output_format=output_format)

    shop.run()

    image = shop.get(job).images[0]
    with Image.open(io.BytesIO(shop.objects.get(image.key))) as picture:
        assert (picture.format, picture.size) == (kind, (64, 64))
    assert image.content_type == f"image/{output_format}"


def test_image_i_is_the_image_of_seed_plus_i(shop: Workshop) -> None:
    several, third = shop.submit(seed=5, num_images=3), shop.submit(seed=7)

    shop.run()
    shop.run()

    images = shop.get(several).images
    assert [image.seed for image in images] == [5, 6, 7]
    first, last, alone = (pixels(shop, image) for image in (images[0], images[2], shop.get(third).images[0]))
    assert np.abs(last - alone).max() <= 1  # a batch rounds differently, by less than a level of 255
    assert np.abs(first - alone).max() > 1


def test_the_largest_seed_works_for_every_image(shop: Workshop) -> None:
    job = shop.submit(seed=MAX_SEED, num_images=8, num_inference_steps=1)

    shop.run()

    assert shop.get(job).images[-1].seed == MAX_SEED + 7


def test_jobs_of_all_kinds_run_at_once(shop: Workshop) -> None:
    schedulers = ("dpmpp_2m", "euler", "ddim", "unipc")
    submitted = [shop.submit(scheduler=name, num_inference_steps=4 + 2 * i) for i, name in enumerate(schedulers)]
    runner = shop.runner()

    runs = [Running(runner, shop.claim()) for _ in submitted]

    assert [run.result() for run in runs] == [Outcome.ENDED] * 4
    assert all(shop.get(job).status is JobStatus.SUCCEEDED for job in submitted)
    assert shop.count("darkroom_jobs_ended_total", status="succeeded", tier="standard", model="tiny") == 4


def test_progress_counts_the_steps_of_all_images(shop: Workshop) -> None:
    job = shop.submit(num_images=2, num_inference_steps=LONG)
    run = Running(shop.runner(), shop.claim())

    eventually(lambda: shop.get(job).progress.step > 0)
    shop.drain.begin()
    run.result()

    assert shop.get(job).progress.steps == 2 * LONG


def test_a_cancelled_job_stops_within_a_heartbeat_and_leaves_nothing(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit(num_inference_steps=LONG)
    shop.heartbeat.start()
    run = Running(shop.runner(), shop.claim())
    eventually(lambda: shop.engine.stats().running)

    shop.jobs.cancel(job.id, owner=job.owner)
    asked = time.monotonic()
    run.result()

    assert time.monotonic() - asked < 1.0
    assert shop.get(job).status is JobStatus.CANCELLED
    assert stored(tmp_path) == []
    eventually(lambda: not shop.engine.stats().rows, seconds=1)
    shop.heartbeat.stop()


def test_a_lost_claim_stops_the_run_and_spares_the_new_attempt(shop: Workshop) -> None:
    job = shop.submit(num_inference_steps=LONG)
    run = Running(shop.runner(), shop.claim(lease_seconds=0.2))
    eventually(lambda: shop.jobs.reap().requeued)
    newer = shop.claim()
    shop.objects.put(output_key(job.id, newer.attempt, 0, ending="png"), b"theirs", "image/png")

    shop.heartbeat.beat()

    assert run.result() is Outcome.ENDED
    assert shop.get(job).status is JobStatus.RUNNING
    assert shop.objects.get(output_key(job.id, 2, 0, ending="png")) == b"theirs"
    assert shop.count("darkroom_attempts_total", outcome="lost", tier="standard") == 1


def test_a_cancel_after_the_last_step_wins_and_the_objects_go(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit()
    shop.image_checks = [Meanwhile(lambda: shop.jobs.cancel(job.id, owner=job.owner))]

    shop.run()

    assert shop.get(job).status is JobStatus.CANCELLED
    assert stored(tmp_path) == []


def test_a_commit_that_comes_too_late_is_refused_and_its_objects_go(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit()
    claim = shop.claim(lease_seconds=0.1)

    def lose_the_lease() -> None:
        eventually(lambda: shop.jobs.reap().requeued)

    shop.image_checks = [Meanwhile(lose_the_lease)]
    assert shop.runner().run(claim) is Outcome.ENDED

    assert shop.get(job).status is JobStatus.QUEUED
    assert stored(tmp_path) == []


def test_a_job_past_its_deadline_expires(shop: Workshop) -> None:
    job = shop.submit(num_inference_steps=LONG, deadline_seconds=1)

    assert shop.run() is Outcome.ENDED

    ended = shop.get(job)
    assert ended.status is JobStatus.EXPIRED
    assert ended.error is not None
    assert ended.error.code == "deadline_exceeded"


def test_a_store_that_is_away_releases_the_job_for_a_later_attempt(shop: Workshop, objects: LocalObjectStore) -> None:
    job = shop.submit()
    shop.objects = nobody_there()

    assert shop.run() is Outcome.RELEASED
    assert shop.get(job).status is JobStatus.QUEUED
    shop.objects = objects
    shop.run()

    done = shop.get(job)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)


def test_too_many_transient_faults_fail_the_job_with_their_code(shop: Workshop, redis_client: redis.Redis) -> None:
    shop.jobs = JobStore(redis_client, JobSettings(max_transient=1))
    job = shop.submit()
    shop.objects = nobody_there()

    shop.run()
    shop.run()

    failed = shop.get(job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code == "object_store_unavailable"


def test_the_pause_after_a_transient_fault_grows_to_a_limit() -> None:
    assert 1 <= pause_before(1) <= 2
    assert 4 <= pause_before(3) <= 8
    assert 30 <= pause_before(20) <= 60


def test_a_check_that_crashes_lets_nothing_leave_and_blames_nobody(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit()

    def crash() -> None:
        raise RuntimeError("broken")

    shop.image_checks = [Meanwhile(crash)]

    assert shop.run() is Outcome.RELEASED
    assert shop.get(job).status is JobStatus.QUEUED
    assert stored(tmp_path) == []
    assert shop.count("darkroom_check_errors_total", stage="image") == 1


def test_a_job_whose_images_are_all_blocked_is_blocked(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit(num_images=2)
    shop.image_checks = [ScoreEach([1.0, 1.0])]

    shop.run()

    blocked = shop.get(job)
    assert (blocked.status, blocked.images) == (JobStatus.BLOCKED, ())
    assert blocked.error is not None
    assert blocked.error.code == "image_sexual"
    assert stored(tmp_path) == []


def test_the_rule_on_minors_refuses_the_whole_job(shop: Workshop, tmp_path: Path) -> None:
    shop.image_checks = [ScoreEach([0.0, 0.02, 1.0, 0.0], [Category.custom] * 2 + [Category.minors, Category.custom])]
    job = shop.submit(num_images=4)

    shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.images, ended.error and ended.error.code) == (JobStatus.BLOCKED, (), "image_minors")
    assert [finding.reason for finding in ended.findings] == [None, "image_custom", "image_minors", None]
    assert stored(tmp_path) == []


def test_images_that_pass_are_released_without_the_blocked_one(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit(num_images=3)
    shop.image_checks = [ScoreEach([0.0, 1.0, 0.0])]

    shop.run()

    done = shop.get(job)
    assert done.status is JobStatus.SUCCEEDED
    assert [image.index for image in done.images] == [0, 2]
    assert len(stored(tmp_path)) == 2
    assert shop.count("darkroom_verdicts_total", stage="image", decision="block") == 1


def test_a_doubtful_image_is_held_away_from_the_outputs(shop: Workshop) -> None:
    job = shop.submit(num_images=2)
    shop.image_checks = [ScoreEach([0.0, 0.02])]

    shop.run()

    held = shop.get(job)
    assert held.status is JobStatus.IN_REVIEW
    assert [image.decision for image in held.images] == ["allow", "review"]
    assert held.images[1].key == f"review/{job.id}/1/1.png"
    with pytest.raises(ObjectNotFound):
        shop.objects.get(output_key(job.id, 1, 1, ending="png"))


def test_a_prompt_that_was_held_holds_every_image(shop: Workshop) -> None:
    job = shop.submit(num_images=2, held="prompt_violence")

    shop.run()

    held = shop.get(job)
    assert held.status is JobStatus.IN_REVIEW
    assert {image.decision for image in held.images} == {"review"}


def test_an_image_that_can_not_be_made_fails_its_job_with_a_code(shop: Workshop, own_engine: Engine) -> None:
    def overflow(_latents: object) -> None:
        raise RuntimeError("a red circle on a blue background")

    shop.engine = own_engine
    set_trap(own_engine, "unet", overflow)
    job = shop.submit()

    assert shop.run() is Outcome.ENDED

    failed = shop.get(job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code == "generation_failed"
    assert "circle" not in failed.error.message


def test_a_stopped_engine_gives_the_job_back_and_ends_the_process(shop: Workshop, own_engine: Engine) -> None:
    own_engine.stop()
    shop.engine = own_engine
    job = shop.submit()

    assert shop.run() is Outcome.HANDED_BACK

    assert shop.get(job).status is JobStatus.QUEUED
    assert shop.drain.reason is not None
    assert shop.terminated == [True]


def test_a_drain_releases_what_does_not_fit_the_grace_time(shop: Workshop) -> None:
    job = shop.submit(num_inference_steps=LONG)
    run = Running(shop.runner(), shop.claim())
    eventually(lambda: shop.engine.stats().running)

    shop.drain.begin()

    assert run.result(2) is Outcome.HANDED_BACK
    assert shop.get(job).status is JobStatus.QUEUED
    assert shop.claim().job.id == job.id


def test_a_drain_lets_a_job_finish_that_fits_the_grace_time(
    jobs: JobStore, objects: LocalObjectStore, shared_engine: Engine
) -> None:
    shop = Workshop(jobs, objects, shared_engine, grace_seconds=30)
    job = shop.submit(num_inference_steps=50)
    shop.drain.begin()

    assert shop.run() is Outcome.ENDED
    assert shop.get(job).status is JobStatus.SUCCEEDED


def test_a_commit_waits_for_a_job_store_that_is_away(
    redis_settings: RedisSettings, objects: LocalObjectStore, shared_engine: Engine
) -> None:
    impatient = redis_settings.model_copy(update={"redis_timeout_seconds": 0.2})
    with make_redis(impatient) as client, make_redis(redis_settings) as operator:
        shop = Workshop(JobStore(client, JobSettings()), objects, shared_engine)
        shop.image_checks = [Meanwhile(lambda: operator.execute_command("CLIENT", "PAUSE", "1500", "ALL"))]
        job = shop.submit()

        assert shop.run() is Outcome.ENDED
        assert shop.get(job).status is JobStatus.SUCCEEDED
        client.connection_pool.disconnect()
        operator.connection_pool.disconnect()


def test_no_log_of_a_run_holds_its_prompt(shop: Workshop, captured_logs: list[dict[str, object]]) -> None:
    shop.submit(prompt="a canary in a cage", negative_prompt="a second canary")

    shop.run()

    assert [event["event"] for event in captured_logs] == ["job_claimed", "attempt_ended"]
    assert "canary" not in str(captured_logs)


def test_queue_wait_and_run_time_are_measured(shop: Workshop) -> None:
    shop.submit()
    time.sleep(0.2)

    shop.run()

    assert 0.2 <= shop.count("darkroom_queue_wait_seconds_sum", tier="standard") < 5
    assert 0 < shop.count("darkroom_run_time_seconds_sum", tier="standard", model="tiny") < 5
    assert shop.count("darkroom_images_total", model="tiny", format="png") == 1
