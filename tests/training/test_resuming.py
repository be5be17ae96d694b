"""A run that is stopped or killed and goes on ends with the weights of one that never was, bit for bit on a CPU."""

import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.training.resuming import RandomStates, StopAtSigterm, replaced_checkpoint
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents
from safetensors.torch import load_file
from tiny_models import save_random_lvlm

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
STEPS = 4


def train(folder, weights, signal_number=None):
    """What `monai.bundle run` does with train_grpo.json, small; a signal reaches the process in the midst of step 3."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(BUNDLE))
    workflow = ConfigWorkflow(
        str(BUNDLE / "configs" / "train_grpo.json"),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        output_dir=str(folder),
        lvlm_path=str(weights / "lvlm"),
        medsam2_path=str(weights / "medsam2"),
        **{"reward#terms#vowels": {"_target_": "toy_rewards.VowelReward"}, "reward#weights#vowels": 1.0},
        max_steps=STEPS,
        validate_every=2,
        checkpoint_every=2,
        rollouts_every=100,
        train_volumes=3,  # the third batch begins another pass
        batch_size=1,
        num_slices=4,
        slice_size=32,
        queries_per_volume=2,
        num_generations=3,
        num_iterations=2,
        max_new_tokens=8,
        validation_volumes=1,
        subsets=["organs"],
        lora_rank=2,
        learning_rate=0.01,
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    # A dropout draws from the global generator, whose state must be right as well.
    for name, module in list(workflow.parser.get_parsed_content("network").named_modules()):
        if name.endswith("lora_dropout"):
            module["default"] = torch.nn.Dropout(0.2)
    if signal_number is not None:

        def strike(engine):
            if engine.state.iteration == 3 and not struck:  # two passes a step, one signal
                struck.append(True)
                os.kill(os.getpid(), signal_number)

        struck: list[bool] = []

        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, strike)
    workflow.run()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs `train` in a process of its own; gives its exit code."""
    weights = tmp_path_factory.mktemp("weights")
    save_random_lvlm(weights / "lvlm")
    build_tiny_medsam2().save_pretrained(weights / "medsam2")
    # The imports, which take longest, are made once: processes are forks of a server that has done nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_grpo_resuming"])

    def in_a_process(folder, signal_number=None):
        process = context.Process(target=train, args=(folder, weights, signal_number))
        process.start()
        process.join(300)
        return process.exitcode

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)  # for the server
        yield in_a_process


def state_of(folder):
    return torch.load(folder / "checkpoints" / "checkpoint.pt", weights_only=True)


def tensors_of(value, path=""):
    """Every number in a checkpoint, by where it is."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {path: value}
    return {key: leaf for name, part in items for key, leaf in tensors_of(part, f"{path}/{name}").items()}


def assert_equal(one, other):
    one, other = tensors_of(one), tensors_of(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run(folder) == 0
    return folder


@pytest.mark.parametrize(
    "number, exit_code, iterations",
    [(signal.SIGTERM, 128 + signal.SIGTERM, 3), (signal.SIGKILL, -signal.SIGKILL, 2)],
    ids=["SIGTERM", "kill -9"],
)
def test_a_run_that_was_ended_goes_on_to_the_same_weights(run, uninterrupted, tmp_path, number, exit_code, iterations):
    assert run(tmp_path, number) == exit_code
    assert not (tmp_path / "lvlm").exists()  # what is not finished is not saved as a result
    stopped = state_of(tmp_path)
    assert stopped["trainer"]["iteration"] == iterations
    assert run(tmp_path) == 0
    whole, resumed = state_of(uninterrupted), state_of(tmp_path)
    assert whole["trainer"]["iteration"] == STEPS
    assert {"trainer", "network", "optimizer", "lr_scheduler", "random"} == set(whole)
    assert_equal(whole, resumed)
    before = load_file(uninterrupted / "lvlm" / "adapter_model.safetensors")
    assert_equal(before, load_file(tmp_path / "lvlm" / "adapter_model.safetensors"))
    # Equal means something: meanwhile weights were learned and random numbers drawn.
    assert not torch.equal(stopped["random"]["torch"], whole["random"]["torch"])
    assert not torch.equal(*(next(iter(state["network"].values())) for state in (stopped, whole)))


def test_a_finished_run_starts_over_with_nothing_to_do(run, uninterrupted):
    state = state_of(uninterrupted)
    assert run(uninterrupted) == 0
    assert_equal(state, state_of(uninterrupted))


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
