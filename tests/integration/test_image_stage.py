"""Real images of the shipped model, judged by the shipped concept checker: released, held and refused by real scores.

The policy `stand-in` forbids a harmless stand-in, red shapes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.processes import ROOT, eventually
from tests.integration.service import Caller, Service, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(
        tmp_path_factory.mktemp("image_stage"),
        DARKROOM_POLICY="stand-in",
        DARKROOM_IMAGE_EMBEDDER=str(ROOT / "models" / "darkroom-tiny-clip"),
        DARKROOM_CONCEPT_CHECKER=str(ROOT / "models" / "darkroom-tiny-checker"),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    caller = Caller(service)
    yield caller
    caller.http.close()


def stored(service: Service, job_id: str) -> list[str]:
    """The top folders that hold images of the job."""
    found = (path.relative_to(service.folder) for path in service.folder.rglob("*.png"))
    return [str(path) for path in found if job_id in str(path)]


def test_an_image_below_the_bars_is_released(caller: Caller, service: Service) -> None:
    job_id = caller.submit(prompt="a green circle on a white background", seed=5)
    ended = caller.result(job_id)

    assert (ended["status"], len(ended["images"])) == ("succeeded", 1)
    assert len(stored(service, job_id)) == 1


def test_an_image_of_what_the_policy_forbids_is_refused_and_stored_nowhere(caller: Caller, service: Service) -> None:
    job_id = caller.submit(prompt="a red square on a white background", seed=5)
    ended = caller.result(job_id)

    assert (ended["status"], ended["error"]["code"]) == ("blocked", "image_custom")
    assert stored(service, job_id) == []


def test_an_image_that_the_checker_is_unsure_of_waits_for_a_person(caller: Caller, service: Service) -> None:
    """Its score was 0.47 when this was written, between the policy's bars of 0.1 and 0.8."""
    job_id = caller.submit(prompt="small purple star, cyan background", seed=70)

    eventually(lambda: caller.read(job_id)["status"] == "in_review", seconds=180)

    (held,) = stored(service, job_id)
    assert "review/" in held
