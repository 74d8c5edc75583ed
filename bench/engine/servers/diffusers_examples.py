"""P1 and P2: the two servers among diffusers' own examples, run as they are but for the pipeline that they load.

Both hard-code Stable Diffusion 3 on a GPU and take only a prompt (the second one a step count too). This is the patch:
the pipeline is a StableDiffusionPipeline on the CPU, and the prompt carries the job's settings as JSON, which that
pipeline unpacks. They have no LoRA of their own and share one UNet between threads, so LoRAs are left out for them.

    python -m bench.engine.servers.diffusers_examples P1 DIFFUSERS/examples      # P2 for the second
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
import uvicorn
from diffusers.pipelines import stable_diffusion_3

from bench.engine.jobs import Job
from bench.engine.making import model_from_environment
from engine.schedulers import make_scheduler


class PromptCarriesSettings(diffusers.StableDiffusionPipeline):
    """A pipeline whose prompt is a job in JSON."""

    def __call__(self, prompt: str, **_: Any) -> Any:
        job = Job.from_json(json.loads(prompt))
        self.scheduler = make_scheduler(job.scheduler, self.scheduler.config, num_inference_steps=job.steps)
        return super().__call__(
            job.prompt,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance,
            generator=torch.Generator("cpu").manual_seed(job.seed),
        )


def load() -> PromptCarriesSettings:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    pipeline: Any = PromptCarriesSettings.from_pretrained(
        model_from_environment(), dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline  # type: ignore[no-any-return]


def first_app(examples: Path) -> Any:
    """`server/server.py`: a copy of the pipeline with its own scheduler for each request, on a pool of threads."""
    stable_diffusion_3.StableDiffusion3Pipeline = PromptCarriesSettings
    os.environ["SERVICE_URL"] = f"http://127.0.0.1:{os.environ['BENCH_PORT']}"
    server = _imported("server", examples / "server" / "server.py")
    shared = server.shared_pipeline

    def start() -> None:
        shared.device, shared.pipeline = "cpu", load()
        # Its requests call `from_pipe`, which prints a bar for each copy.
        diffusers.utils.logging.disable_progress_bar()

    shared.start = start
    return server.app


def second_app(examples: Path) -> Any:
    """`server-async/serverasync.py`: a shallow copy of the pipeline for each request, on a pool of threads."""
    folder = examples / "server-async"
    sys.path.insert(0, str(folder))
    pipelines = _imported("Pipelines", folder / "Pipelines.py")
    wrapper = SimpleNamespace(pipeline=None, start=lambda: setattr(wrapper, "pipeline", load()))
    pipelines.ModelPipelineInitializer = lambda **_: SimpleNamespace(  # type: ignore[attr-defined]
        device="cpu", initialize_pipeline=lambda: wrapper
    )
    return _imported("serverasync", folder / "serverasync.py").app


def _imported(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    app = {"P1": first_app, "P2": second_app}[sys.argv[1]](Path(sys.argv[2]))
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="warning")
