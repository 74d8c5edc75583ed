"""How well the shipped model paints what a prompt asks for: shape, its colour, the background's colour.

The plainest prompt of every combination goes through the engine, and `training.judge` says what the image shows: the
shape by a network trained on painted pictures alone, colours by the nearest named one. Combinations that no training
picture ever held are counted apart. Two sweeps follow on fewer prompts: over guidance, and over every scheduler and
step count, with the time an image takes and the cosine of the tiny CLIP pair between prompt and image.

    python -m bench.adherence        # writes bench/adherence.md and .json; about 15 minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from darkroom.catalogue import ModelSpec, load_catalogue
from darkroom.schedulers import SCHEDULERS
from engine import Engine, ImageRequest, PipelineSpec
from training.captions import plain_prompt
from training.clip import clip_pixels
from training.judge import Judge, load_judge
from training.painter import paint
from training.scenes import Combination, held_out_combinations, scene_of, seen_combinations

GUIDANCE = (1.0, 3.0, 5.0, 7.5, 12.0)
STEPS = (10, 20, 30, 50)
TARGETS = {"seen": (0.95, 0.95, 0.92), "held out": (0.90, 0.90, 0.85)}  # colour, background, shape
MAX_ROWS = 64

PAGE = """\
# Adherence of {model}

Does the image show what its prompt asked for? Prompts are the plain sentence ("{example}"), judged by program: colours
by the nearest named one, the shape by a classifier trained on painted pictures alone, which tells {judge:.1%} of 400
painted held-out pictures right ({worn:.1%} of blurred, turned and noisy ones). Everything runs through the engine,
fp32, {threads} CPU threads, seeds 0, 1, 2, ... Measured {date} on {machine}, torch {torch}.

## At the default settings: {scheduler}, {steps} steps, guidance {guidance:g}

| combinations | images | colour | background | shape | all three | targets (colour, background, shape) |
|---|---|---|---|---|---|---|
{defaults}

Held-out combinations of shape, colour and background appear in no training picture.

## Over guidance, {sweep} of the seen combinations

| guidance | colour | background | shape | all three | CLIP score | seconds an image |
|---|---|---|---|---|---|---|
{guidances}

## Over schedulers and steps, {scheduler_sweep} of the seen combinations, guidance {guidance:g}

| scheduler | steps | colour | background | shape | all three | CLIP score | seconds an image |
|---|---|---|---|---|---|---|---|
{schedulers}

CLIP score: mean cosine between prompt and image in `darkroom-tiny-clip`; {painted:.3f} for painted pictures of the same
prompts. Seconds are wall time over images made {rows} rows at a time, so they compare rows of one table, not machines.
`lcm` is made for models distilled for it; this one is not.
"""


@dataclass(frozen=True)
class Score:
    """Shares of images that show what was asked, the CLIP cosine, and what an image took."""

    images: int
    colour: float
    background: float
    shape: float
    everything: float
    clip: float
    seconds: float

    @property
    def cells(self) -> str:
        return f"{self.colour:.1%} | {self.background:.1%} | {self.shape:.1%} | {self.everything:.1%}"

    @property
    def row(self) -> str:
        return f"{self.cells} | {self.clip:.3f} | {self.seconds:.3f}"


class Examiner:
    """Makes images of combinations and scores them."""

    def __init__(self, engine: Engine, model: ModelSpec, judge: Judge, clip_folder: Path) -> None:
        self._engine = engine
        self._model = model
        self._judge = judge
        self._clip = CLIPModel.from_pretrained(clip_folder).eval()
        self._tokenizer = CLIPTokenizer.from_pretrained(clip_folder)

    def examine(
        self,
        combinations: Sequence[Combination],
        *,
        guidance: float | None = None,
        scheduler: str | None = None,
        steps: int | None = None,
    ) -> Score:
        """Score one image of each combination; what is not given is the model's default."""
        started = time.monotonic()
        handles = [
            self._engine.submit(
                self._model.name,
                ImageRequest(
                    prompt=plain_prompt(*combination),
                    negative_prompt="",
                    width=self._model.width,
                    height=self._model.height,
                    num_inference_steps=steps or self._model.num_inference_steps,
                    guidance_scale=self._model.guidance_scale if guidance is None else guidance,
                    scheduler=scheduler or self._model.scheduler,
                    seed=seed,
                ),
            )
            for seed, combination in enumerate(combinations)
        ]
        images = [Image.fromarray(handle.future.result().pixels) for handle in handles]
        seconds = (time.monotonic() - started) / len(images)
        return self.score(combinations, images, seconds=seconds)

    def score(self, combinations: Sequence[Combination], images: Sequence[Image.Image], *, seconds: float) -> Score:
        """Score images that are already there."""
        sights = [self._judge.see(image) for image in images]
        pairs = list(zip(combinations, sights, strict=True))
        return Score(
            images=len(images),
            colour=_share([asked.colour == seen.colour for asked, seen in pairs]),
            background=_share([asked.background == seen.background for asked, seen in pairs]),
            shape=_share([asked.shape == seen.shape for asked, seen in pairs]),
            everything=_share(
                [asked == (seen.shape, seen.colour, seen.background) for asked, seen in pairs],
            ),
            clip=self._cosine([plain_prompt(*asked) for asked in combinations], images),
            seconds=seconds,
        )

    @torch.inference_mode()
    def _cosine(self, prompts: list[str], images: Sequence[Image.Image]) -> float:
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
        words = self._tokenizer(prompts, padding=True, return_tensors="pt")
        output = self._clip(**words, pixel_values=clip_pixels(pixels.float() / 127.5 - 1))
        return float((output.text_embeds * output.image_embeds).sum(1).mean())


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _painted(examiner: Examiner, combinations: Sequence[Combination]) -> Score:
    rng = random.Random(5)
    return examiner.score(combinations, [paint(scene_of(each, rng)) for each in combinations], seconds=0.0)


def main() -> None:
    """Measure and write the page."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    catalogue = load_catalogue(arguments.catalogue)
    model = catalogue.models[arguments.model or catalogue.default]
    seen, held_out = seen_combinations()[: arguments.seen], held_out_combinations()[: arguments.held_out]
    sweep = seen[: arguments.sweep]
    judge = load_judge(Path("bench"))
    spec = PipelineSpec(name=model.name, source=str(model.source.folder), family=model.family)
    with Engine({model.name: spec}, device="cpu", max_rows=MAX_ROWS) as engine:
        engine.load(model.name)
        examiner = Examiner(engine, model, judge, Path(arguments.clip))
        defaults = {"seen": examiner.examine(seen), "held out": examiner.examine(held_out)}
        for name, score in defaults.items():
            print(f"{name}: {score.cells}", flush=True)
        guidances = {each: _told(each, examiner.examine(sweep, guidance=each)) for each in GUIDANCE}
        schedulers = {
            (name, steps): _told(
                (name, steps), examiner.examine(seen[: arguments.scheduler_sweep], scheduler=name, steps=steps)
            )
            for name in SCHEDULERS
            for steps in STEPS
            if steps <= arguments.most_steps
        }
        painted = _painted(examiner, sweep)
    page = PAGE.format(
        model=model.name,
        example=plain_prompt(*seen[0]),
        judge=judge.accuracy(worn=False),
        worn=judge.accuracy(worn=True),
        threads=arguments.threads,
        date=datetime.now(UTC).date(),
        machine=f"{platform.machine()}, {platform.system()}",
        torch=torch.__version__,
        scheduler=SCHEDULERS[model.scheduler].title,
        steps=model.num_inference_steps,
        guidance=model.guidance_scale,
        defaults="\n".join(_default_row(name, score) for name, score in defaults.items()),
        sweep=len(sweep),
        scheduler_sweep=min(arguments.scheduler_sweep, len(seen)),
        guidances="\n".join(f"| {each:g} | {score.row} |" for each, score in guidances.items()),
        schedulers="\n".join(f"| {name} | {steps} | {score.row} |" for (name, steps), score in schedulers.items()),
        painted=painted.clip,
        rows=MAX_ROWS,
    )
    arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
    figures = {
        "defaults": {name: asdict(score) for name, score in defaults.items()},
        "guidance": {f"{each:g}": asdict(score) for each, score in guidances.items()},
        "schedulers": {f"{name} {steps}": asdict(score) for (name, steps), score in schedulers.items()},
        "painted": asdict(painted),
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _told(what: object, score: Score) -> Score:
    print(what, score.row, flush=True)
    return score


def _default_row(name: str, score: Score) -> str:
    targets = ", ".join(f"{target:.0%}" for target in TARGETS[name])
    return f"| {name} | {score.images} | {score.cells} | {targets} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how well the model paints what prompts ask for.")
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue.toml"))
    parser.add_argument("--model", help="a catalogue entry; the default one if left out")
    parser.add_argument("--clip", default="models/darkroom-tiny-clip")
    parser.add_argument("--seen", type=int, default=400, help="seen combinations at the default settings")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--sweep", type=int, default=100, help="combinations for each row of the guidance sweep")
    parser.add_argument("--scheduler-sweep", type=int, default=100, help="combinations for each scheduler row")
    parser.add_argument("--most-steps", type=int, default=50, help="leave out scheduler rows with more steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench/adherence"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
