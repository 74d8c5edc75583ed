"""Loading models: from where, when, and what a broken one does."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from darkroom.errors import ModelUnavailable, UnknownModel
from engine import Engine, PipelineSpec
from engine.loader import Loader
from engine.pipelines import read_pipeline
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request
from tests.engine.original import save_original_checkpoint


def make_loader(*specs: PipelineSpec, dtype: str = "auto", changed: threading.Event | None = None) -> Loader:
    return Loader(
        {spec.name: spec for spec in specs},
        device=torch.device("cpu"),
        dtype=dtype,
        on_change=(changed or threading.Event()).set,
    )


def test_a_model_is_loaded_once_however_often_it_is_asked_for(tiny: Path) -> None:
    changed = threading.Event()
    loader = make_loader(PipelineSpec("tiny", str(tiny)), changed=changed)

    first, second = loader.request("tiny"), loader.request("tiny")

    assert first.result(timeout=60) is second.result(timeout=60)
    assert changed.wait(10)
    assert loader.ready("tiny") is first.result()
    assert loader.loaded() == ("tiny",)


def test_the_thread_of_a_load_ends_with_it_and_takes_its_openmp_team_along(tiny: Path) -> None:
    loader = make_loader(PipelineSpec("tiny", str(tiny)))

    loader.request("tiny").result(timeout=60)
    loader.close()
    for thread in threading.enumerate():
        if thread.name.startswith("engine-loader"):
            thread.join(timeout=10)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine-loader")]


def test_closing_cancels_the_loads_that_have_not_begun(tiny: Path) -> None:
    loader = make_loader(*(PipelineSpec(name, str(tiny)) for name in ("first", "second", "third")))
    loads = [loader.request(name) for name in ("first", "second", "third")]

    loader.close()

    with pytest.raises(CancelledError):
        loads[2].result(timeout=60)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModel):
        make_loader().request("tiny")


@pytest.mark.parametrize(
    ("engine_dtype", "own_dtype", "expected"),
    [
        ("auto", "auto", torch.float32),
        ("bfloat16", "auto", torch.bfloat16),
        ("float32", "bfloat16", torch.bfloat16),
    ],
)
def test_a_models_own_dtype_goes_before_the_engines(
    engine_dtype: str, own_dtype: str, expected: torch.dtype, tiny: Path
) -> None:
    loader = make_loader(PipelineSpec("tiny", str(tiny), dtype=own_dtype), dtype=engine_dtype)

    family: Any = loader.request("tiny").result(timeout=60)

    assert family.pipeline.unet.dtype is expected
    assert family.pipeline.text_encoder.dtype is expected


def test_halves_on_disk_become_floats_on_a_cpu(tiny: Path, tmp_path: Path) -> None:
    read = read_pipeline(diffusers.StableDiffusionPipeline, PipelineSpec("tiny", str(tiny)), dtype=torch.float16)
    read.save_pretrained(tmp_path)

    family: Any = make_loader(PipelineSpec("half", str(tmp_path))).request("half").result(timeout=60)

    parts = (family.pipeline.unet, family.pipeline.vae, family.pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.float32}


def test_a_single_file_makes_the_same_image_as_the_folder(tiny: Path, tmp_path: Path, make_engine: MakeEngine) -> None:
    file = save_original_checkpoint(tiny, tmp_path / "tiny.safetensors")
    spec = PipelineSpec("file", str(file), config=str(tiny))

    with make_engine() as whole, Engine({"file": spec}, device="cpu", keep_latents=True) as single:
        expected = whole.submit("tiny", make_request()).future.result(timeout=60)
        image = single.submit("file", make_request()).future.result(timeout=60)

    assert (image.pixels == expected.pixels).all()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (PipelineSpec("m", "someone/some-model"), "needs a pinned revision"),
        (PipelineSpec("m", "model.safetensors"), "needs `config`"),
    ],
    ids=["hub id", "single file"],
)
def test_a_spec_that_lacks_a_part_is_refused_before_anything_is_read(spec: PipelineSpec, reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=reason):
        make_loader(spec).request("m").result(timeout=60)


def test_a_broken_model_fails_its_samples_and_the_others_run_on(tiny: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    specs = {"tiny": PipelineSpec("tiny", str(tiny)), "broken": PipelineSpec("broken", str(broken))}

    with Engine(specs, device="cpu") as engine:
        failing = engine.submit("broken", make_request())
        running = engine.submit("tiny", make_request())

        assert isinstance(failing.future.exception(timeout=60), ModelUnavailable)
        assert running.future.result(timeout=60).steps == 4


def test_a_model_that_failed_to_load_is_tried_again(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "late"
    with Engine({"late": PipelineSpec("late", str(folder), revision="0" * 40)}, device="cpu") as engine:
        (folder / "unet").mkdir(parents=True)
        assert isinstance(engine.submit("late", make_request()).future.exception(timeout=60), ModelUnavailable)
        shutil.copytree(tiny, folder, dirs_exist_ok=True)

        assert engine.submit("late", make_request()).future.result(timeout=60).steps == 4


def test_pickles_are_never_opened(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "pickled")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()

    with pytest.raises(ModelUnavailable):
        make_loader(PipelineSpec("m", str(folder))).request("m").result(timeout=60)
