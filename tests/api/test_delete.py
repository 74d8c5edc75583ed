"""`DELETE /jobs/{id}`, and jobs that moved beside their images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import redis

from api.services import Services
from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.job_archive import JobArchive
from darkroom.job_store import JobStore
from darkroom.keys import KeyStore, Scope
from darkroom.object_store import ObjectStore
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.api.service import Caller, Places, Worker, make_services, serving
from tests.fixtures.secret_file import SEALER


def delete(caller: Caller, job_id: str) -> tuple[int, str | None]:
    response = caller.client.delete(f"/jobs/{job_id}", headers=caller.headers())
    return response.status_code, response.json()["code"] if response.content else None


def test_deleted_job_is_gone_with_its_images(
    caller: Caller, make_caller: Callable[..., Caller], worker: Worker, services: Services
) -> None:
    job_id = caller.submit()
    worker.succeed(job_id)
    assert delete(make_caller(), job_id) == (404, "job_not_found")

    assert delete(caller, job_id) == (204, None)

    with pytest.raises(ObjectNotFound):
        services.objects.get(f"outputs/{job_id}/1/0.png")
    read, cancelled = caller.get(f"/jobs/{job_id}"), caller.post(f"/jobs/{job_id}/cancel")
    assert [(answer.status_code, answer.json()["code"]) for answer in (read, cancelled)] == [(410, "job_gone")] * 2
    assert delete(caller, job_id) == (410, "job_gone")
    assert make_caller().get(f"/jobs/{job_id}").status_code == 404
    assert caller.get("/jobs").json()["jobs"] == []


def test_living_job_is_not_deleted_and_the_answer_names_cancel(caller: Caller) -> None:
    job_id = caller.submit()

    assert delete(caller, job_id) == (409, "job_not_ended")

    detail = caller.client.delete(f"/jobs/{job_id}", headers=caller.headers()).json()["detail"]
    assert "POST /jobs/{id}/cancel" in detail
    caller.post(f"/jobs/{job_id}/cancel")
    assert delete(caller, job_id) == (204, None)


def test_deleting_needs_the_scope_cancel(make_caller: Callable[..., Caller], keys: KeyStore) -> None:
    reader = make_caller(scopes={Scope.READ, Scope.GENERATE})

    assert delete(reader, "job_0") == (403, "not_permitted")


class Away:
    """An object store that is not answering."""

    def delete_prefix(self, _prefix: str) -> None:
        raise ObjectStoreUnavailable


def test_job_is_gone_although_the_object_store_is_away(keys: KeyStore, worker: Worker, places: Places) -> None:
    with serving(replace(make_services(places), objects=Away())) as client:
        caller = Caller(client, keys)
        job_id = caller.submit()
        worker.succeed(job_id)

        assert delete(caller, job_id) == (204, None)
        assert delete(caller, job_id) == (410, "job_gone")

    with make_redis(RedisSettings(redis_url=places.redis_url)) as connection:
        assert connection.zscore("darkroom:unswept", job_id)


def test_archived_job_is_read_with_working_links(
    caller: Caller, worker: Worker, services: Services, places: Places
) -> None:
    job_id = caller.submit(prompt="a red circle", metadata={"ref": "1"})
    worker.succeed(job_id)
    before = caller.get(f"/jobs/{job_id}").json()

    _archive(places, services.objects, job_id)

    after = caller.get(f"/jobs/{job_id}").json()
    assert _without_links(after) == _without_links(before)
    path = after["images"][0]["url"].removeprefix("http://testserver")
    assert caller.client.get(path).status_code == 200
    assert delete(caller, job_id) == (204, None)
    assert caller.client.get(path).status_code == 404


def _archive(places: Places, objects: ObjectStore, job_id: str) -> None:
    with make_redis(RedisSettings(redis_url=places.redis_url)) as connection:
        _age(connection, job_id)
        assert JobStore(connection, JobSettings(), SEALER, JobArchive(objects, SEALER)).tidy([].append).archived == 1
        assert not connection.exists(f"darkroom:job:{job_id}")


def _age(connection: redis.Redis, job_id: str) -> None:
    connection.zadd("darkroom:ended", {job_id: 1}, xx=True)


def _without_links(job: dict) -> dict:
    images = [
        {name: value for name, value in image.items() if name not in {"url", "expires_at"}} for image in job["images"]
    ]
    return job | {"images": images}
