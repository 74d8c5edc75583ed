"""Budgets: stages end, decay, and go on where they were cut off."""

from __future__ import annotations

import torch

from training.budget import Budget


def _rates(budget: Budget) -> list[float]:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    return [optimizer.param_groups[0]["lr"] for _ in budget.run("stage", optimizer, peak=1.0)]


def test_a_budget_of_steps_takes_that_many() -> None:
    assert len(_rates(Budget(steps=40))) == 40


def test_the_learning_rate_warms_up_and_ends_low() -> None:
    rates = _rates(Budget(steps=400))

    assert rates[0] < 0.02
    assert max(rates) > 0.8
    assert rates[-1] < 0.05


def test_a_resumed_stage_spends_what_is_left() -> None:
    budget = Budget(steps=40, done=0.75)

    assert len(_rates(budget)) == 10
    assert budget.share == 1.0


def test_a_finished_stage_takes_no_step() -> None:
    assert _rates(Budget(minutes=5, done=1.0)) == []


def test_a_budget_of_minutes_does_not_run_before_the_first_step() -> None:
    assert Budget(minutes=1e-9).share == 0.0
