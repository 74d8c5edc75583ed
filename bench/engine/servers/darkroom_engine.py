"""The engine behind the smallest HTTP server: what the peers are measured against."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import Body, FastAPI, Response
from PIL import Image

from bench.engine.jobs import Job
from bench.engine.making import adapters_from_environment, model_from_environment, png
from engine import AdapterFile, AdapterUse, Engine, ImageRequest, PipelineSpec

SIZE = 128


def make_engine() -> Engine:
    """An engine with the model of the environment and its LoRAs, started and loaded."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    adapters = {
        name: AdapterFile(name, "model", str(file), hashlib.sha256(file.read_bytes()).hexdigest())
        for name, file in adapters_from_environment().items()
    }
    engine = Engine({"model": PipelineSpec("model", str(model_from_environment()))}, dtype="float32", adapters=adapters)
    engine.start()
    engine.load("model")
    return engine


def image_request(job: Job) -> ImageRequest:
    return ImageRequest(
        prompt=job.prompt,
        negative_prompt="",
        width=SIZE,
        height=SIZE,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance,
        scheduler=job.scheduler,
        seed=job.seed,
        adapters=tuple(AdapterUse(name, scale) for name, scale in job.adapters),
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = make_engine()
    yield
    app.state.engine.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/make")
async def make(body: Annotated[dict[str, Any], Body()]) -> Response:
    handle = app.state.engine.submit("model", image_request(Job.from_json(body)))
    image = await asyncio.wrap_future(handle.future)
    file = await asyncio.to_thread(lambda: png(Image.fromarray(image.pixels)))
    return Response(file, media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="warning")
