"""`darkroom generate`: one prompt in, image files out, with the way in between shown.

Ctrl-C cancels the job on the service too. The exit code tells the outcome, so that scripts need not read.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client, ServiceRefused, ServiceUnreachable
from cli.connection import Data, Key, Url, connect
from cli.console import say
from cli.data_folder import DEFAULT
from cli.job_watch import JobWatch
from cli.progress import JobProgress
from darkroom.errors import ConfigurationError, DarkroomError
from darkroom.jobs import JobStatus

POLL_SECONDS = 0.25  # between two looks at a job whose events can't be followed
LOOK_SECONDS = 2.0  # between two at one that is followed: its place in the queue is no event
PATIENCE_SECONDS = 30.0  # how long the service may be away while we wait for a job
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
EXIT_CODES: Mapping[str, int] = {
    JobStatus.SUCCEEDED: 0,
    JobStatus.FAILED: 1,
    JobStatus.BLOCKED: 3,
    JobStatus.CANCELLED: 4,
    JobStatus.EXPIRED: 5,
    JobStatus.IN_REVIEW: 6,
}
UNUSABLE = 2  # wrong options, or no service to speak to


@dataclass
class Outcome:
    """How it ended, and what lies where."""

    job: Mapping[str, Any]
    files: list[Path] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.job["status"]]

    def as_json(self) -> str:
        job = self.job
        images = [
            {"path": str(path), "seed": image["seed"], "sha256": image["sha256"]}
            for path, image in zip(self.files, job["images"], strict=False)
        ]
        keys = ("id", "status", "warnings", "error")
        return json.dumps({**{key: job[key] for key in keys}, "seed": job["params"]["seed"], "images": images})

    def sentence(self) -> str:
        error = self.job["error"] or {}
        reason = f": {error['message']} ({error['code']})" if error else "."
        return f"The job {STATUS_WORDS[self.job['status']]}{reason}"


STATUS_WORDS: Mapping[str, str] = {
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.BLOCKED: "was blocked",
    JobStatus.CANCELLED: "was cancelled",
    JobStatus.EXPIRED: "expired",
    JobStatus.IN_REVIEW: "waits for a person's review",
}


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: the job's id.")] = None,
    negative: Annotated[str | None, typer.Option(help="What the picture should not show.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `darkroom models`.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, such as 128x128.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Noise scheduler.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same picture.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="How many images.")] = 1,
    init_image: Annotated[Path | None, typer.Option(help="Image file to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Image file that is white where to paint anew.")] = None,
    strength: Annotated[float | None, typer.Option(help="How far from the image to go, up to 1.")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", "-a", metavar="NAME[:SCALE]", help="A LoRA to add; repeatable.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="preview, standard or quality.")] = None,
    file_format: Annotated[str | None, typer.Option("--format", help="png, jpeg or webp; default: by -o.")] = None,
    deadline: Annotated[int | None, typer.Option(help="Give up after this many seconds.")] = None,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line at the end.")] = False,
) -> None:
    """Make images from a prompt.

    Exit codes: 0 succeeded, 1 failed, 2 wrong options or no service, 3 blocked, 4 cancelled, 5 expired, 6 in review.
    """
    try:
        output_format = _format(file_format, output)
        _require_writable(output)
        files = {name: read_file(path) for name, path in (("init_image", init_image), ("mask_image", mask)) if path}
        body = {
            "prompt": prompt,
            "negative_prompt": negative,
            "model": model,
            **_size(size),
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "scheduler": scheduler,
            "seed": seed,
            "num_images": number,
            "strength": strength,
            "adapters": [_adapter(text) for text in adapter] if adapter else None,
            "tier": tier,
            "output_format": output_format,
            "deadline_seconds": deadline,
        }
        with connect(url, api_key, data) as client:
            outcome = _run(client, {key: value for key, value in body.items() if value is not None}, files, output)
    except DarkroomError as error:
        if as_json:
            print(json.dumps({"status": None, "error": {"code": error.code, "message": error.detail}}))
        say(error.detail)
        raise typer.Exit(UNUSABLE) from None
    _report(outcome, as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _run(client: Client, body: Mapping[str, Any], files: Mapping[str, bytes], output: Path | None) -> Outcome:
    """Submit, wait with a display, fetch."""
    with _interrupts() as asked, JobProgress() as progress:
        submitted = client.submit(body, files)
        for warning in submitted["warnings"]:
            progress.note(f"Note: {warning}")
        with JobWatch(client, submitted["id"]) as watch:
            job = _wait(client, submitted["id"], progress, asked, watch)
    if job["status"] != JobStatus.SUCCEEDED:
        return Outcome(job)
    return Outcome(job, [_save(client, job, image, output) for image in job["images"]])


def _wait(
    client: Client, job_id: str, progress: JobProgress, asked: threading.Event, watch: JobWatch
) -> dict[str, Any]:
    """Look whenever something happened, until the job has ended or is held; pass a Ctrl-C on to the service, once."""
    answered_at = time.monotonic()
    cancelled = False
    while True:
        try:
            if asked.is_set() and not cancelled:
                cancelled = True
                _cancel(client, job_id, progress)
            job = client.job(job_id)
            answered_at = time.monotonic()
        except ServiceUnreachable as error:
            if time.monotonic() - answered_at > PATIENCE_SECONDS:
                raise ServiceUnreachable(f"{error.detail} The job is {job_id}; it goes on there.") from None
        else:
            progress.show(job)
            if job["status"] in EXIT_CODES:
                return job
        _pause(watch, asked, cancelled=cancelled)


def _pause(watch: JobWatch, asked: threading.Event, *, cancelled: bool) -> None:
    """Until something happened, or Ctrl-C was pressed, or a look is due anyway."""
    began = time.monotonic()
    while not watch.wait(POLL_SECONDS):
        longest = LOOK_SECONDS if watch.listening else 0.0
        if time.monotonic() - began >= longest or (asked.is_set() and not cancelled):
            return


def _cancel(client: Client, job_id: str, progress: JobProgress) -> None:
    progress.note("Cancelling the job ...")
    try:
        client.cancel(job_id)
    except ServiceRefused as error:  # it ended meanwhile; the next look tells how
        progress.note(error.detail)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Note Ctrl-C and SIGTERM instead of ending at once; a second one ends at once."""
    asked = threading.Event()

    def note(number: int, _frame: object) -> None:
        if asked.is_set():
            raise SystemExit(128 + number)
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(client: Client, job: Mapping[str, Any], image: Mapping[str, Any], output: Path | None) -> Path:
    path = output or Path(f"{job['id']}{SUFFIXES[job['params']['output_format']]}")
    if job["params"]["num_images"] > 1:
        path = path.with_name(f"{path.stem}-{image['index']}{path.suffix}")
    data = client.image(image)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}. The job is {job['id']}.") from None
    return path


def _report(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(outcome.as_json())
        return
    if outcome.exit_code == 0:
        for path in outcome.files:
            print(path)
        say(f"Seed {outcome.job['params']['seed']}, job {outcome.job['id']}.")
        return
    say(outcome.sentence())


def _format(named: str | None, output: Path | None) -> str | None:
    """The output format that the options ask for, the file's name included."""
    by_name = FORMATS.get(output.suffix.lower()) if output else None
    if named is not None and by_name is not None and named != by_name:
        raise ConfigurationError(f"--format {named} and the file name {output} disagree.")
    return named or by_name


def _size(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigurationError(f"--size must be WIDTHxHEIGHT, such as 128x128, not {text!r}.")
    return {"width": int(width), "height": int(height)}


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}.") from None


def _adapter(text: str) -> dict[str, Any]:
    name, colon, scale = text.partition(":")
    if not colon:
        return {"name": name}
    try:
        return {"name": name, "scale": float(scale)}
    except ValueError:
        raise ConfigurationError(f"--adapter must be NAME or NAME:SCALE, such as ink:0.8, not {text!r}.") from None


def _require_writable(output: Path | None) -> None:
    """Find out before the job is made whether its picture can be kept."""
    if output and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise ConfigurationError(f"{output} can't be written: it is a folder, or its folder does not exist.")
