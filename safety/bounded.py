"""Runs code that can't be trusted to come back: on a thread of its own, for a bounded time.

Whatever goes wrong ends in `CheckUnavailable` with a sentence that names the code and never what it was given. Knows no
check and no policy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

from darkroom.errors import CheckUnavailable

TIMEOUT_SECONDS = 10.0
# Calls under way at once in a process. One that hangs keeps its place for ever, so a few hung ones must not use up the
# process's threads: when all places are taken, further calls time out.
MAX_RUNNING = 32


class Bounded:
    """The calls of one pipeline."""

    def __init__(self, seconds: float = TIMEOUT_SECONDS) -> None:
        """`seconds` bounds each call, and the wait for a place."""
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(MAX_RUNNING)

    def call(self, what: str, work: Callable[[], object]) -> object:
        """The answer of `work`; `what` names it in messages ("the check prompt_wordlist").

        Raises:
            CheckUnavailable: it raised, took too long or could not start.
        """
        if not self._places.acquire(timeout=self._seconds):
            raise CheckUnavailable(f"{what} could not start: too many are under way")
        outcome: Future[object] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001  whatever it is, the subject counts as unchecked
                outcome.set_exception(error)
            finally:
                self._places.release()

        try:
            threading.Thread(target=run, name=what.replace(" ", "-"), daemon=True).start()
        except RuntimeError:  # the process has no room for another thread
            self._places.release()
            raise CheckUnavailable(f"{what} could not start") from None
        return self._answer(what, outcome)

    def _answer(self, what: str, outcome: Future[object]) -> object:
        done, _ = wait([outcome], timeout=self._seconds)
        if not done:
            raise CheckUnavailable(f"{what} gave no answer within {self._seconds:g} s")
        error = outcome.exception()
        if error is not None:
            # Neither chained nor quoted: an exception's own text may hold the prompt.
            raise CheckUnavailable(f"{what} failed with {_where(error)}")
        return outcome.result()


def _where(error: BaseException) -> str:
    """The kind of an exception and the line it came from, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"
