"""Progress over a job's images, written now and then."""

from __future__ import annotations

from darkroom.jobs import Progress
from worker.progress import ProgressNotes


def test_progress_sums_the_steps_of_all_images() -> None:
    notes = ProgressNotes(images=2, steps_each=10)

    notes.of_image(0)(3, 10)
    notes.of_image(1)(4, 10)
    notes.of_image(1)(5, 10)

    assert notes.due() == Progress(step=8, steps=20)


def test_nothing_is_due_before_a_step_or_without_a_new_one() -> None:
    notes = ProgressNotes(images=1, steps_each=10, seconds=0)

    assert notes.due() is None
    notes.of_image(0)(1, 10)
    assert notes.due() is not None
    assert notes.due() is None


def test_a_second_write_waits_its_time() -> None:
    notes = ProgressNotes(images=1, steps_each=10, seconds=60)
    notes.of_image(0)(1, 10)
    notes.due()

    notes.of_image(0)(2, 10)

    assert notes.due() is None
