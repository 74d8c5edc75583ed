"""When certificates end: read from the signing file and off handshakes, without trust; silent where there is none."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest

from darkroom.metrics import Metrics
from tests.fixtures.certificates import make_authority
from tests.fixtures.ports import free_port
from worker.certificates import CertificateDates, watched


def _told(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value("darkroom_certificate_end_timestamp_seconds", {"certificate": name})


def _is_tomorrow(told: float | None) -> bool:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    return told is not None and abs(told - tomorrow.timestamp()) < 120


def test_server_tells_its_certificates_end(tmp_path: Path) -> None:
    metrics, context = Metrics(), make_authority(tmp_path).context("localhost")

    asyncio.run(_look_at_a_server(metrics, context))

    assert _is_tomorrow(_told(metrics, "redis"))


async def _look_at_a_server(metrics: Metrics, context: ssl.SSLContext) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        dates = CertificateDates(watched(signing=None, urls={"redis": f"rediss://127.0.0.1:{port}/0"}), metrics=metrics)
        await asyncio.to_thread(dates.round)


def test_signing_certificate_tells_its_end(tmp_path: Path) -> None:
    metrics, file = Metrics(), make_authority(tmp_path).file

    CertificateDates(watched(signing=file, urls={}), metrics=metrics).round()

    assert _is_tomorrow(_told(metrics, "c2pa"))


def test_what_can_not_be_read_has_no_figure_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    metrics = Metrics()
    urls = {"public": f"https://127.0.0.1:{free_port()}"}

    CertificateDates(watched(signing=tmp_path / "none.pem", urls=urls), metrics=metrics).round()

    assert (_told(metrics, "c2pa"), _told(metrics, "public")) == (None, None)


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8000", "redis://127.0.0.1:6379/0", "unix:///run/redis.sock"])
def test_places_without_tls_are_not_asked(url: str | None) -> None:
    assert watched(signing=None, urls={"public": url}) == {}
