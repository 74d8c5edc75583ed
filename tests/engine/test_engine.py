"""The loop: joining, leaving, giving up."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from darkroom.errors import DeadlineExceeded, EngineStopped, GenerationCancelled, InvalidParams, UnknownModel
from engine import Engine, EngineHandle
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request, outcome


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


def test_an_engine_is_a_context_manager(make_engine: MakeEngine) -> None:
    with make_engine() as engine:
        handle = engine.submit("tiny", make_request())
        assert outcome(handle).pixels.dtype == "uint8"

    assert isinstance(engine, Engine)
    with pytest.raises(EngineStopped):
        engine.submit("tiny", make_request())
