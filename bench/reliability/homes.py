"""Where fleets come from: the nurseries of workers and of torch-free processes, and the model; shared by many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.reliability import tiny_model
from bench.reliability.members import NurseryClient
from bench.reliability.waiting import await_true

#: What a worker imports before its first job, much of it late and through lazy packages.
WORKER_MODULES = (
    "worker.app", "worker.watchdog", "safety.defaults", "tests.engine.tiny", "accelerate", "peft", "scipy.stats",
    "scipy.integrate", "celery.apps.worker", "celery.worker.worker", "celery.worker.components",
    "celery.worker.consumer", "celery.worker.autoscale", "celery.concurrency.thread", "celery.events.state",
    "celery.fixups.django", "celery.loaders.app", "celery.app.amqp", "celery.app.control", "celery.app.events",
    "celery.app.log", "kombu.transport.redis", "boto3", "torch.utils.data", "diffusers.guiders",
    "celery.worker.strategy",
)  # fmt: skip
API_MODULES = ("api.main", "worker.delivery.app", "celery.app.amqp", "kombu.transport.redis", "boto3")


@dataclass(frozen=True)
class Homes:
    """What a fleet is started from."""

    workers: NurseryClient
    apis: NurseryClient  # and the delivery process: whatever runs without torch
    model: Path


@contextmanager
def open_homes(folder: Path) -> Iterator[Homes]:
    """Nurseries and a model, in a folder that may hold other things too."""
    workers = NurseryClient(WORKER_MODULES, log=folder / "nursery-workers.log")
    apis = NurseryClient(API_MODULES, log=folder / "nursery-apis.log")
    try:
        yield Homes(workers, apis, _make_model(workers, folder))
    finally:
        workers.close()
        apis.close()


def _make_model(nursery: NurseryClient, folder: Path) -> Path:
    model = folder / "model"
    pid = nursery.start(
        "bench.reliability.tiny_model",
        environment={tiny_model.VARIABLE: str(model)},
        log=folder / "model.log",
        hooks=(),
    )
    await_true(lambda: pid in nursery.codes, seconds=120, what="the model is not made")
    assert nursery.codes[pid] == 0, (folder / "model.log").read_text(encoding="utf-8")
    return model
