"""P4: Ray Serve with `@serve.batch`; jobs of equal settings share a pipeline call."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from bench.engine.jobs import Job
from bench.engine.making import PipelineMaker, adapters_from_environment, model_from_environment

MAX_BATCH = 8
BATCH_TIMEOUT = 0.05  # seconds


@serve.deployment(max_ongoing_requests=1_000)
class Pipeline:
    def __init__(self) -> None:
        # One thread for good: a second one would bring an OpenMP team of its own and slow both down.
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.maker: PipelineMaker | None = None

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_TIMEOUT)
    async def make(self, jobs: list[Job]) -> list[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._make, jobs)

    def _make(self, jobs: list[Job]) -> list[bytes]:
        if self.maker is None:  # waiting for the thread in __init__ would block Ray's own loop
            self.maker = PipelineMaker(model_from_environment(), adapters_from_environment())
        return self.maker.make_all(jobs)

    async def __call__(self, request: Request) -> Response:
        file = await self.make(Job.from_json(await request.json()))
        return Response(file, media_type="image/png")


if __name__ == "__main__":
    wanted = ("OMP_NUM_THREADS", "BENCH_MODEL", "BENCH_ADAPTERS", "PYTHONPATH")
    environment = {name: os.environ[name] for name in wanted if name in os.environ}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    serve.run(Pipeline.bind(), name="make", route_prefix="/make")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    serve.shutdown()
    ray.shutdown()
