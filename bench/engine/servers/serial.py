"""P0: the plain pipeline, one job after another, first come first served."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Response

from bench.engine.jobs import Job
from bench.engine.making import PipelineMaker, adapters_from_environment, model_from_environment


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.worker = ThreadPoolExecutor(max_workers=1)
    app.state.maker = await asyncio.get_running_loop().run_in_executor(
        app.state.worker, lambda: PipelineMaker(model_from_environment(), adapters_from_environment())
    )
    yield
    app.state.worker.shutdown(cancel_futures=True)


app = FastAPI(lifespan=lifespan)


@app.post("/make")
async def make(body: Annotated[dict[str, Any], Body()]) -> Response:
    job = Job.from_json(body)
    files = await asyncio.get_running_loop().run_in_executor(app.state.worker, app.state.maker.make, [job])
    return Response(files[0], media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="warning")
