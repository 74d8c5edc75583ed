"""The loop: joining, leaving, giving up, and failing alone."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference
from darkroom.errors import (
    DeadlineExceeded,
    DeviceLost,
    EngineStopped,
    GenerationCancelled,
    GenerationFailed,
    InvalidParams,
    OutOfMemory,
    UnknownModel,
)
from engine import Engine, EngineHandle
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request, set_trap


def outcome(handle: EngineHandle) -> Any:
    """The image, or the error."""
    error = handle.future.exception(timeout=60)
    return error if error is not None else handle.future.result()


def test_samples_with_different_steps_share_forwards_and_leave_one_by_one(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handles = [engine.submit("tiny", make_request(num_inference_steps=steps)) for steps in (2, 4, 6)]

    engine.start()
    images = [handle.future.result(timeout=60) for handle in handles]

    assert [image.steps for image in images] == [2, 4, 6]
    assert notes.steps == [(6, 3), (6, 3), (4, 2), (4, 2), (2, 1), (2, 1)]
    assert [image.rows_mean for image in images] == [6, 5, 4]


def test_a_sample_joins_between_two_steps_of_another(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    joined: list[EngineHandle] = []

    def join(done: int, _total: int) -> None:
        if done == 2:
            joined.append(engine.submit("tiny", make_request(num_inference_steps=2, seed=9)))

    first = engine.submit("tiny", make_request(num_inference_steps=6), on_step=join)
    engine.start()
    first.future.result(timeout=60)
    joined[0].future.result(timeout=60)

    assert [samples for _, samples in notes.steps] == [1, 1, 2, 2, 1, 1]


def test_an_unguided_sample_takes_one_row(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handles = [engine.submit("tiny", make_request(guidance_scale=scale)) for scale in (1.0, 0.0, 7.5)]

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert notes.steps == [(4, 3)] * 4


def test_no_forward_takes_more_than_max_rows_and_a_guided_sample_never_splits(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=5)
    handles = [engine.submit("tiny", make_request(seed=seed)) for seed in range(4)]

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert notes.steps == [(4, 2)] * 8


def test_progress_counts_the_callers_steps_also_where_the_scheduler_calls_the_model_once_more(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    told: dict[str, list[tuple[int, int]]] = {"pndm": [], "euler": []}
    handles = [
        engine.submit("tiny", make_request(scheduler=name), on_step=lambda *step, name=name: told[name].append(step))
        for name in told
    ]

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert told == {"pndm": [(1, 4), (2, 4), (3, 4), (4, 4)], "euler": [(1, 4), (2, 4), (3, 4), (4, 4)]}


def test_cancel_frees_the_rows_within_one_step(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    taken: list[int] = []
    handles: dict[str, EngineHandle] = {}

    def give_up(done: int, _total: int) -> None:
        taken.append(done)
        if done == 2:
            handles["quitter"].cancel()

    handles["quitter"] = engine.submit("tiny", make_request(num_inference_steps=50), on_step=give_up)
    handles["other"] = engine.submit("tiny", make_request(num_inference_steps=4))
    engine.start()

    assert isinstance(outcome(handles["quitter"]), GenerationCancelled)
    assert outcome(handles["other"]).steps == 4
    assert taken == [1, 2]
    assert notes.steps == [(4, 2), (4, 2), (2, 1), (2, 1)]
    assert sorted(notes.outcomes) == ["cancelled", "succeeded"]


def test_a_handle_that_is_kept_keeps_no_tensors(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    handle = engine.submit("tiny", make_request())

    handle.future.result(timeout=60)

    assert handle._sample.denoising is None


def test_cancelling_a_finished_image_changes_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    handle = engine.submit("tiny", make_request())
    image = handle.future.result(timeout=60)

    handle.cancel()

    assert not handle.future.cancel(), "only the handle cancels"
    assert handle.future.result() is image
    assert outcome(engine.submit("tiny", make_request())).steps == 4


def test_a_deadline_that_passes_between_two_steps_ends_the_sample(make_engine: MakeEngine) -> None:
    engine = make_engine()
    deadline = time.monotonic() + 60
    steps: list[int] = []

    def dawdle(done: int, _total: int) -> None:
        steps.append(done)
        if done == 3:
            time.sleep(max(soon - time.monotonic(), 0))

    soon = time.monotonic() + 0.3
    late = engine.submit("tiny", make_request(num_inference_steps=200, deadline=soon), on_step=dawdle)
    punctual = engine.submit("tiny", make_request(deadline=deadline))
    engine.start()

    assert isinstance(outcome(late), DeadlineExceeded)
    assert max(steps) == 3
    assert outcome(punctual).steps == 4


def test_a_deadline_that_passes_while_waiting_ends_the_sample_unseen(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handle = engine.submit("tiny", make_request(deadline=time.monotonic() - 1))

    engine.start()

    assert isinstance(outcome(handle), DeadlineExceeded)
    assert notes.steps == []
    assert notes.outcomes == ["deadline_exceeded"]


def test_groups_of_two_sizes_take_turns(make_engine: MakeEngine) -> None:
    engine = make_engine()
    turns: list[int] = []
    handles = [
        engine.submit(
            "tiny",
            make_request(width=side, height=side, seed=seed, num_inference_steps=6),
            on_step=lambda *_, side=side: turns.append(side),
        )
        for side, seed in ((64, 1), (64, 2), (64, 3), (32, 4))
    ]

    engine.start()
    images = [handle.future.result(timeout=60) for handle in handles]

    assert [image.pixels.shape[0] for image in images] == [64, 64, 64, 32]
    assert turns == [64, 64, 64, 32] * 6


def test_out_of_memory_halves_the_group_and_every_image_is_still_made(make_engine: MakeEngine) -> None:
    forwards: list[int] = []

    def full(rows: torch.Tensor) -> None:
        forwards.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    engine = make_engine()
    set_trap(engine, "unet", full)
    handles = [engine.submit("tiny", make_request(seed=seed, num_inference_steps=3)) for seed in range(4)]
    plain = make_engine()
    expected = [plain.submit("tiny", make_request(seed=seed, num_inference_steps=3)) for seed in range(4)]

    engine.start()
    plain.start()

    for handle, other in zip(handles, expected, strict=True):
        assert difference(outcome(handle).latents, outcome(other).latents) < BOUND
    assert forwards[:7] == [8, 4, 2, 2, 4, 2, 2], "halved until it fits"
    assert set(forwards[7:]) == {2}, "and not tried at eight rows again"


def test_a_sample_that_is_out_of_memory_alone_fails_alone(make_engine: MakeEngine) -> None:
    def full(rows: torch.Tensor) -> None:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = make_engine()
    set_trap(engine, "unet", full)
    guided = engine.submit("tiny", make_request(guidance_scale=5.0))
    unguided = engine.submit("tiny", make_request(guidance_scale=1.0))

    engine.start()

    assert isinstance(outcome(guided), OutOfMemory)
    assert outcome(unguided).steps == 4


def test_a_forward_that_fails_is_tried_sample_by_sample_and_only_the_guilty_one_fails(make_engine: MakeEngine) -> None:
    engine = make_engine()
    guilty = engine.submit("tiny", make_request(num_inference_steps=9))
    innocent = [engine.submit("tiny", make_request(seed=seed)) for seed in (2, 3)]

    def choke(rows: torch.Tensor) -> None:
        tensors = guilty._sample.denoising
        if tensors is not None and any(torch.equal(row[None], tensors.model_input()[:1]) for row in rows):
            raise ValueError("a shape that does not fit")

    set_trap(engine, "unet", choke)
    engine.start()

    error = outcome(guilty)
    assert type(error) is GenerationFailed
    assert error.detail == "the image could not be generated: ValueError"
    assert [outcome(handle).steps for handle in innocent] == [4, 4]


def test_a_scheduler_step_that_fails_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def break_scheduler(done: int, _total: int) -> None:
        if done == 2:
            broken._sample.tensors.scheduler.sigmas = None

    broken = engine.submit("tiny", make_request(scheduler="euler"), on_step=break_scheduler)
    other = engine.submit("tiny", make_request(scheduler="euler"))
    engine.start()

    assert isinstance(outcome(broken), GenerationFailed)
    assert outcome(other).steps == 4


def test_an_error_in_on_step_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def fail(_done: int, _total: int) -> None:
        raise ConnectionError("the store is away")

    failing = engine.submit("tiny", make_request(), on_step=fail)
    other = engine.submit("tiny", make_request())
    engine.start()

    assert isinstance(outcome(failing), GenerationFailed)
    assert outcome(other).steps == 4


def test_latents_that_are_not_finite_fail_their_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def poison(done: int, _total: int) -> None:
        if done == 2:
            poisoned._sample.tensors.latents[0, 0, 0, 0] = float("nan")

    poisoned = engine.submit("tiny", make_request(), on_step=poison)
    other = engine.submit("tiny", make_request(seed=2))
    engine.start()

    assert "overflowed" in str(outcome(poisoned))
    assert outcome(other).steps == 4


def test_a_decode_that_fails_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()
    calls: list[object] = []

    def fail_the_first(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no such kernel")

    pipeline: Any = engine._family("tiny").pipeline
    pipeline.vae.decoder.up_blocks[1].resnets[0].register_forward_pre_hook(fail_the_first)
    first, second = (engine.submit("tiny", make_request(num_inference_steps=steps)) for steps in (2, 4))
    engine.start()

    assert isinstance(outcome(first), GenerationFailed)
    assert outcome(second).steps == 4


def test_a_lost_device_stops_the_engine_and_fails_everybody(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=2)

    def lose(_rows: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    set_trap(engine, "unet", lose)
    handles = [engine.submit("tiny", make_request()) for _ in range(3)]
    engine.start()

    assert all(isinstance(outcome(handle), DeviceLost) for handle in handles)
    assert isinstance(engine.fault, DeviceLost)
    assert notes.outcomes == ["device_lost"] * 3
    with pytest.raises(DeviceLost):
        engine.submit("tiny", make_request())


def test_stop_fails_what_is_left_and_takes_nothing_in_any_more(make_engine: MakeEngine) -> None:
    engine = make_engine(max_rows=2)
    stepped = threading.Event()
    running = engine.submit("tiny", make_request(num_inference_steps=900), on_step=lambda *_: stepped.set())
    waiting = engine.submit("tiny", make_request())
    engine.start()
    assert stepped.wait(60)

    engine.stop()

    assert isinstance(outcome(running), EngineStopped)
    assert isinstance(outcome(waiting), EngineStopped)
    assert engine.fault is None
    with pytest.raises(EngineStopped):
        engine.submit("tiny", make_request())


def test_an_engine_that_never_started_can_be_stopped(make_engine: MakeEngine) -> None:
    engine = make_engine()
    handle = engine.submit("tiny", make_request())

    engine.stop()

    assert isinstance(outcome(handle), EngineStopped)


def test_what_cannot_run_is_refused_at_the_door(make_engine: MakeEngine) -> None:
    engine = make_engine()

    with pytest.raises(UnknownModel):
        engine.submit("huge", make_request())
    with pytest.raises(InvalidParams, match="there is no such scheduler"):
        engine.submit("tiny", make_request(scheduler="magic"))
    with pytest.raises(InvalidParams, match="lcm takes 1 to 50 steps"):
        engine.submit("tiny", make_request(scheduler="lcm", num_inference_steps=51))


def test_a_size_that_the_vae_cannot_make_fails_alone(make_engine: MakeEngine) -> None:
    engine = make_engine()
    odd = engine.submit("tiny", make_request(width=60))
    engine.start()

    error = outcome(odd)

    assert isinstance(error, InvalidParams)
    assert error.problems[0].field == "width"
    assert error.problems[0].nearest == 64


def test_the_observer_hears_of_every_event(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handles = [engine.submit("tiny", make_request(seed=seed)) for seed in (1, 2)]

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert len(notes.waits) == 2
    assert all(wait >= 0 for wait in notes.waits)
    assert notes.outcomes == ["succeeded", "succeeded"]
    assert notes.lookups == [False, False, True, True], "both prompts are looked up for each guided sample"


def test_stats_tell_load_and_capacity(make_engine: MakeEngine) -> None:
    engine = make_engine(max_rows=4)
    seen: list[tuple[int, int, int, int, bool]] = []

    def look(_done: int, _total: int) -> None:
        stats = engine.stats()
        seen.append((stats.running, stats.rows, stats.waiting, engine.capacity(), engine.busy))

    assert engine.capacity() == 4
    first = engine.submit("tiny", make_request(num_inference_steps=1, guidance_scale=1.0), on_step=look)
    assert engine.capacity() == 2
    before = engine.last_step_at
    engine.start()
    outcome(first)
    engine.stop()

    assert seen == [(1, 1, 0, 3, True)]
    assert engine.stats().rows == 0
    assert not engine.busy
    assert engine.last_step_at > before
    assert engine.stats().models == ("tiny",)


def test_equal_requests_give_equal_images_and_other_seeds_others(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    same, again, other = (outcome(engine.submit("tiny", make_request(seed=seed))) for seed in (5, 5, 6))

    assert torch.equal(same.latents, again.latents)
    assert (same.pixels == again.pixels).all()
    assert not torch.equal(same.latents, other.latents)


def test_no_log_line_quotes_a_prompt(
    make_engine: MakeEngine,
    captured_logs: list[Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = make_engine()

    def quote(_done: int, _total: int) -> None:
        raise ValueError("unicorn")

    engine.start()
    long = engine.submit("tiny", make_request(prompt="unicorn " * 100, negative_prompt="unicorn " * 100))
    outcome(long)
    failing = engine.submit("tiny", make_request(prompt="unicorn"), on_step=quote)

    assert "unicorn" not in str(outcome(failing))
    assert "sample_failed" in str(captured_logs)
    said = (*capfd.readouterr(), caplog.text, str(captured_logs))
    assert "unicorn" not in "".join(said)


def test_an_engine_is_a_context_manager(make_engine: MakeEngine) -> None:
    with make_engine() as engine:
        handle = engine.submit("tiny", make_request())
        assert outcome(handle).pixels.dtype == "uint8"

    assert isinstance(engine, Engine)
    with pytest.raises(EngineStopped):
        engine.submit("tiny", make_request())
