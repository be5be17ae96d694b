import math

import pytest
import torch
from ignite.engine import Engine
from medvol_r1.training.wall_clock import WallClockSchedule


def run_of(times, **options):
    """Rates in each iteration of a run of one minute in which the clock shows `times` (seconds), one a look."""
    shown = iter(times)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    rates = []
    engine = Engine(lambda engine, batch: rates.append(optimizer.param_groups[0]["lr"]))
    schedule = WallClockSchedule(optimizer, minutes=1.0, clock=lambda: next(shown), **options)
    schedule.attach(engine)
    engine.run(range(1000), max_epochs=1)
    return rates


def test_rates_follow_the_clock_and_the_run_ends_with_the_time():
    # Looks at the clock: when made, at the start, then before and after each iteration.
    times = [0, 100, 106, 110, 112, 120, 136, 150, 160, 161]
    rates = run_of(times, warmup_ratio=0.2)
    cosine = [0.5 + 0.5 * math.cos(math.pi * (progress - 0.2) / 0.8) for progress in (0.2, 0.6, 1.0)]
    assert rates == pytest.approx([2.0 * 0.1 / 0.2, *(2.0 * factor for factor in cosine)])


def test_half_the_time_is_told_once():
    told = []
    run_of([0, 0, 1, 31, 32, 40, 50, 61], halfway=lambda engine: told.append(engine.state.iteration))
    assert told == [1]


@pytest.mark.parametrize(("minutes", "warmup"), [(0, 0.1), (-1, 0.1), (1, 1.0), (1, -0.1)])
def test_a_schedule_without_time_is_refused(minutes, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match=f"got {minutes} and {warmup}"):
        WallClockSchedule(optimizer, minutes, warmup)
