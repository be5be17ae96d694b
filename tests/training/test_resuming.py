"""A run that is stopped, killed and goes on ends with the weights of one that never was, bit for bit on a CPU."""

import logging
import os
import random
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from medvol_r1.training.resuming import (
    RandomStates,
    ResumableRun,
    ResumableSampler,
    StopAtSigterm,
    replaced_checkpoint,
)
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from training_runs import RUNS, STEPS, assert_equal, result_of, state_of
from transformers import get_cosine_schedule_with_warmup


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_stopped_and_killed_goes_on_to_the_same_weights(run, name, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(name, whole) == 0
    assert state_of(whole)["trainer"]["iteration"] == STEPS  # though validations do not divide it
    assert max(state_of(whole)["lr_scheduler"]["_last_lr"]) == pytest.approx(0.0, abs=1e-12)

    assert run(name, broken, (signal.SIGTERM, 3)) == 128 + signal.SIGTERM
    stopped = state_of(broken)
    assert stopped["trainer"]["iteration"] == 3
    assert run(name, broken, (signal.SIGKILL, 6)) == -signal.SIGKILL
    assert state_of(broken)["trainer"]["iteration"] == 4
    if name != "train_propagator.json":  # what is not finished is not saved as a result; that one is, epoch by epoch
        assert result_of(broken) is None
    assert run(name, broken) == 0
    assert_equal(state_of(whole), state_of(broken))
    assert_equal(result_of(whole), result_of(broken))
    # Equal means something: meanwhile weights were learned.
    before, after = (state["network"] for state in (stopped, state_of(whole)))
    assert any(not torch.equal(weight, after[key]) for key, weight in before.items())


# The run ------------------------------------------------------------------------------------------------------------


def small_run(folder, steps, rate=0.1, warmup=0, every=1, network=None, **options):
    """A line through eight points, two at a time."""
    torch.manual_seed(0)
    points = torch.linspace(-1, 1, 8)[:, None]
    batches = [{"image": points[i : i + 2], "label": 3 * points[i : i + 2] + 1} for i in range(0, 8, 2)]
    network = network or torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        epoch_length=steps,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.MSELoss(),
        decollate=False,
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    )
    rates = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: rates.append(optimizer.param_groups[0]["lr"]))
    return ResumableRun(trainer, schedule, folder, every, **options), rates


def weight_of(run):
    return run.trainer.network.weight.item()


def test_a_longer_run_goes_on_at_the_rate_of_its_own_length(tmp_path):
    small_run(tmp_path, steps=3)[0].run()
    longer, rates = small_run(tmp_path, steps=9)
    longer.run()
    assert longer.trainer.state.iteration == 9
    # steps 4 to 9 of a cosine over nine: 0.1 * (1 + cos(pi * k / 9)) / 2 for k = 3 .. 8
    assert rates == pytest.approx([0.1 * (1 + np.cos(np.pi * k / 9)) / 2 for k in range(3, 9)])


@pytest.mark.parametrize("steps", [3, 2])
def test_a_run_that_is_long_enough_has_nothing_to_do(tmp_path, caplog, steps):
    first, _ = small_run(tmp_path, steps=3)
    first.run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again, rates = small_run(tmp_path, steps=steps)
    with caplog.at_level(logging.INFO):
        again.run()
    assert rates == [] and weight_of(again) == weight_of(first)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert f"Nothing to do: 3 steps are made, and the run has {steps}." in caplog.text


def test_other_rates_hold_from_the_next_step_on(tmp_path):
    small_run(tmp_path, steps=3)[0].run()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]["weight"].item()
    still, rates = small_run(tmp_path, steps=6, rate=0.0)
    still.run()
    assert rates == [0.0] * 3 and weight_of(still) == saved


def test_weights_that_do_not_fit_are_named_with_both_shapes(tmp_path):
    small_run(tmp_path, steps=1)[0].run()
    wide = torch.nn.Linear(1, 2)
    with pytest.raises(ValueError, match=r"weight is \[1, 1\] in the checkpoint and \[2, 1\] in this run; "):
        small_run(tmp_path, steps=2, network=wide)[0].run()
    deep = torch.nn.Sequential(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="other weights than this run trains: 0.bias and 3 more"):
        small_run(tmp_path, steps=2, network=deep)[0].run()
    with pytest.raises(ValueError, match="needs .*'average'.*: it is of another kind of run"):
        small_run(tmp_path, steps=2, parts={"average": torch.nn.Linear(1, 1)})[0].run()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run, _ = small_run(tmp_path, steps=4)
    spoil = Events.ITERATION_COMPLETED(once=3)
    run.trainer.add_event_handler(spoil, lambda: torch.nn.init.constant_(run.trainer.network.weight, torch.inf))
    with pytest.raises(FloatingPointError, match="After step 3 weight is not finite, so no checkpoint was written"):
        run.run()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["trainer"]["iteration"] == 2 and saved["network"]["weight"].isfinite()


def test_what_ended_a_process_is_left_for_torchrun(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    run, _ = small_run(tmp_path, steps=2)

    def fail():
        raise ValueError("case_7.nii.gz is damaged")

    run.trainer.add_event_handler(Events.ITERATION_STARTED, fail)
    with pytest.raises(ValueError, match="case_7"):
        run.run()
    assert "ValueError: case_7.nii.gz is damaged" in (tmp_path / "error.json").read_text()


def test_inside_an_update_of_several_batches_nothing_is_saved(tmp_path):
    run, _ = small_run(tmp_path, steps=7, every=1, update_every=3)
    saved = []
    run.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: saved.append((tmp_path / "checkpoint.pt").is_file() and run_step(tmp_path))
    )
    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=4), lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run.run()
    assert saved == [False, False, False, 3, 3, 3] and run_step(tmp_path) == 6


def run_step(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["trainer"]["iteration"]


def test_a_checkpoint_every_zero_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every 0 steps; give 1 or more .*checkpoint_every"):
        small_run(tmp_path, steps=2, every=0)


# The parts ----------------------------------------------------------------------------------------------------------


def test_random_states_come_back_through_a_file(tmp_path):
    generator = torch.Generator().manual_seed(3)
    states = RandomStates(generator)
    random.random(), np.random.rand(), np.random.randn(), torch.rand(1), torch.rand(1, generator=generator)
    torch.save(states.state_dict(), tmp_path / "states.pt")

    def draw():
        return random.random(), np.random.randn(), torch.rand(1).item(), torch.rand(1, generator=generator).item()

    first = draw()
    states.load_state_dict(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draw() == first and draw() != first


def engine_of(steps=5):
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch_length, engine.state.max_epochs = steps, 1
    return engine


def test_the_checkpoint_is_one_file_that_is_replaced_as_a_whole(tmp_path):
    counter = torch.nn.Linear(1, 1)
    engine = engine_of()
    saver = replaced_checkpoint(tmp_path / "new", {"counter": counter})
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2) | Events.COMPLETED, saver)
    seen = []

    @engine.on(Events.ITERATION_COMPLETED)
    def look(engine):
        torch.nn.init.constant_(counter.weight, engine.state.iteration + 1)
        seen.append([file.name for file in (tmp_path / "new").iterdir()])

    engine.run(range(5))
    assert seen == [[], *[["checkpoint.pt"]] * 4]
    weight = torch.load(tmp_path / "new" / "checkpoint.pt", weights_only=True)["weight"]
    assert weight.item() == 6  # after the last step

    def torn(*arguments):
        raise KeyboardInterrupt  # as if killed while writing

    before = (tmp_path / "new" / "checkpoint.pt").read_bytes()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", torn)
        engine.state.iteration = 99
        saver(engine)
    assert (tmp_path / "new" / "checkpoint.pt").read_bytes() == before


def test_sigterm_lets_the_step_finish_and_saves_between_two(capsys):
    before = signal.getsignal(signal.SIGTERM)
    saved, done = [], []
    engine = engine_of()
    handler = StopAtSigterm(save=lambda engine: saved.append(engine.state.iteration))
    handler.attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED(once=2), lambda: os.kill(os.getpid(), signal.SIGTERM))
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: done.append(engine.state.iteration))
    engine.run(range(5))
    assert done == [1, 2] and saved == [2] and handler.stopped
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit) as ended:
        handler.exit_if_stopped()
    assert ended.value.code == 143


def test_without_a_signal_or_in_the_last_step_a_run_is_finished():
    before = signal.getsignal(signal.SIGTERM)
    for strike_at in (None, 5):
        saved = []
        engine = engine_of()
        handler = StopAtSigterm(save=saved.append)
        handler.attach(engine)
        if strike_at:
            engine.add_event_handler(
                Events.ITERATION_STARTED(once=strike_at), lambda: os.kill(os.getpid(), signal.SIGTERM)
            )
        engine.run(range(5))
        handler.exit_if_stopped()
        assert engine.state.iteration == 5 and saved == [] and signal.getsignal(signal.SIGTERM) is before


def test_sampler_goes_on_behind_what_was_seen():
    whole = ResumableSampler(5, batch_size=2, seed=1)
    passes = [*whole, *whole, *whole]
    assert [len(batch) for batch in passes] == [2, 2, 1] * 3
    assert sorted(sum(passes[:3], [])) == list(range(5)) and passes[:3] != passes[3:6]
    engine = Engine(lambda engine, batch: None)
    resumed = ResumableSampler(5, batch_size=2, seed=1)
    resumed.attach(engine)
    for seen in range(7):
        engine.state.iteration = seen
        engine.fire_event(Events.STARTED)
        assert len(resumed) == 3 - seen % 3
        assert [*resumed, *resumed][:3] == passes[seen : seen + 3]


def test_a_sampler_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 items"):
        ResumableSampler(0, 1)
    with pytest.raises(ValueError, match="batch_size is 0"):
        ResumableSampler(3, 0)
