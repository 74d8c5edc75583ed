"""docker-compose.yml run as plain processes: every command, environment and health check, and one image out of it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from PIL import Image

from scripts.compose_as_processes import compose_run, make_an_image
from scripts.compose_file import read_compose
from tests.fixtures import debian
from tests.fixtures.processes import ROOT, eventually

pytestmark = pytest.mark.integration


def test_every_service_becomes_healthy_and_a_job_gets_its_image(tmp_path: Path) -> None:
    programs = {"prometheus": str(debian.prometheus())}

    with compose_run(tmp_path, programs=programs, DARKROOM_TORCH_THREADS="1") as run:
        image = make_an_image(run)
        here = {service.container.name for service in run.running}
        with urlopen(f"{run.url('api', 9100)}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{run.url('api', 8000)}/metrics", timeout=10)
        scraped = eventually(lambda: _up(run.url("prometheus", 9090)), seconds=60)
        grace = {name: container.stop_seconds for name, container in _containers().items()}
        took = run.stop()

    assert Image.open(BytesIO(image)).size == (128, 128)
    assert run.left_out == ["grafana"]
    assert here | {"grafana"} == {name for name, container in _containers().items() if not container.ends}
    assert "darkroom_http_requests_total" in metrics
    assert scraped
    assert {name: seconds for name, seconds in took.items() if seconds > grace[name]} == {}


def _containers() -> dict[str, object]:
    return read_compose(ROOT / "docker-compose.yml", {})


def _up(url: str) -> bool:
    """Whether the API, a worker and the delivery have been scraped."""
    with urlopen(
        f"{url}/api/v1/query?query=count(up%7Bjob%3D~%22.*(api|worker|delivery).*%22%7D%3D%3D1)", timeout=10
    ) as answer:
        return b'"3"' in answer.read()
