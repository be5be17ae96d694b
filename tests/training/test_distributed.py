"""Several processes train as one does; a process that ends, ends them all."""

import signal

import pytest
import torch
from medvol_r1.training.distributed import Process, join_processes, require_single_process, share_of
from medvol_r1.training.resuming import ResumableSampler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import STEPS, assert_equal, result_of, state_of, tensors_of

# Batches of three and then two of five volumes for two processes: shares of 2 and 1, 1 and 1.
UNEVEN = {"train_dataset#num_volumes": 5, "batch_size": 3, "max_steps": 4, "learning_rate": 0.001, "dropout": 0.0}
# Adam and clipping would hide a gradient that is too large by a factor; stage 2 has its norm among the curves.
SGD = {"_target_": "torch.optim.SGD", "params": "$[w for w in @network.parameters() if w.requires_grad]", "lr": 0.1}
PLAIN = {"train.json": {"optimizer": SGD, "max_grad_norm": 1000.0}, "train_grpo.json": {}}


def scalars_of(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("name", ["train.json", "train_grpo.json"])
def test_two_processes_train_to_the_weights_of_one(run, name, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, processes in ((one, 1), (two, 2)):
        assert run.together(name, folder, processes, **UNEVEN, **PLAIN[name]) == [0] * processes
    weights, expected = result_of(two), result_of(one)
    assert weights.keys() == expected.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, expected[key], rtol=0, atol=1e-5)
    learned = [weight.abs().max() for key, weight in expected.items() if "lora_B" in key]  # an adapter begins at 0
    assert max(learned) > 1e-3
    # What is told is of both, and by one: rewards and losses, validation, in a single file of events.
    assert len(list((two / "tensorboard").iterdir())) == len(list((one / "tensorboard").iterdir()))
    told, expected = scalars_of(two), scalars_of(one)
    assert told.keys() == expected.keys() and any("box_iou" in tag for tag in told)
    for tag, values in told.items():
        if not tag.startswith("speed/"):
            assert values == pytest.approx(expected[tag], abs=1e-4, nan_ok=True), tag


def test_two_processes_are_stopped_and_killed_and_go_on_to_the_same_weights(run, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run.together("train.json", whole) == [0, 0]
    assert state_of(whole)["trainer"]["iteration"] == STEPS
    states = state_of(whole)["random"]["processes"]
    assert len(states) == 2

    sigterm = 128 + signal.SIGTERM
    assert run.together("train.json", broken, strike=(signal.SIGTERM, 3)) == [sigterm, sigterm]
    assert state_of(broken)["trainer"]["iteration"] == 3
    first, last = run.together("train.json", broken, strike=(signal.SIGKILL, 6))
    assert last == -signal.SIGKILL and first > 0  # without torchrun, which would end it as well
    assert state_of(broken)["trainer"]["iteration"] == 4 and result_of(broken) is None
    assert run.together("train.json", broken) == [0, 0]
    assert_equal(state_of(whole), state_of(broken))
    assert_equal(result_of(whole), result_of(broken))


def test_a_propagator_is_trained_by_two_processes(run, tmp_path):
    options = {"validation_volumes": 2, "epochs": 1, "clips": 3, "clip_lengths": [1], "optimizer": SGD}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        assert run.together("train_propagator.json", folder, processes=processes, **options) == [0] * processes
    one, two = (tensors_of(state_of(tmp_path / str(processes))["network"]) for processes in (1, 2))
    for key, weight in two.items():
        torch.testing.assert_close(weight, one[key], rtol=0, atol=1e-6)


# Parts --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_process(monkeypatch):
    """Lets the code under test believe to be one of several processes."""

    def become(rank, size):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
        monkeypatch.setattr("ignite.distributed.get_world_size", lambda: size)

    return become


@pytest.mark.parametrize(("items", "batch_size", "size"), [(12, 4, 2), (7, 3, 2), (10, 4, 3), (5, 4, 4)])
def test_shares_of_the_batches_are_the_batches(as_process, items, batch_size, size):
    whole = list(ResumableSampler(items, batch_size, seed=3))
    shares = []
    for rank in range(size):
        as_process(rank, size)
        shares.append(list(ResumableSampler(items, batch_size, seed=3)))
    together = [[index for share in batch for index in share] for batch in zip(*shares, strict=True)]
    assert [sorted(batch) for batch in together] == [sorted(batch) for batch in whole]
    assert sorted(sum(together, [])) == list(range(items))
    for batch in zip(*shares, strict=True):
        lengths = [len(share) for share in batch]
        assert max(lengths) - min(lengths) <= 1 and lengths[0] == max(lengths)


def test_shares_of_cases_hold_each_once(as_process):
    cases, found = [f"case {number}" for number in range(7)], []
    for rank in range(3):
        as_process(rank, 3)
        found += [list(share_of(cases))]
    assert sorted(sum(found, [])) == cases and [len(share) for share in found] == [3, 2, 2]
    as_process(0, 1)
    assert share_of(cases) is cases


def test_less_than_an_item_for_each_process_is_refused(as_process):
    as_process(0, 4)
    with pytest.raises(ValueError, match="batch_size is 3 for 4 processes, which share a batch; give 1 item or more"):
        ResumableSampler(12, 3)
    with pytest.raises(ValueError, match="There are 2 items for 4 processes"):
        share_of([1, 2])


def test_one_process_trains(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert require_single_process("cpu") == join_processes("cpu") == Process(0, 1, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert require_single_process() == Process(0, 1, "auto")


def test_several_processes_are_refused_without_the_overlay(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2: .* write one folder. Put bundle/configs/multi_gpu.json"):
        require_single_process()


def test_bad_settings_of_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="`device` is 'cuda:1'; 2 processes take one each: give auto, cuda or cpu"):
        join_processes("cuda:1")
    with pytest.raises(ValueError, match="`timeout_minutes` is 0; give more than 0"):
        join_processes("cpu", timeout_minutes=0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="Process 1 of this machine has no GPU: there are 1. .*--nproc_per_node 1"):
        join_processes("cuda")
