"""Training configs, small, each run in processes of its own, which a signal may reach in the midst of a step."""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents
from safetensors.torch import load_file

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
STEPS = 6
# Three volumes in batches of two: the second batch of each pass is shorter, and six steps are three passes.
VOLUMES = {
    "max_steps": STEPS,
    "validate_every": 4,
    "checkpoint_every": 2,
    "batch_size": 2,
    "num_slices": 3,
    "slice_size": 32,
    "validation_volumes": 2,
    "subsets": ["organs"],
    "train_dataset#num_volumes": 3,
}
RUNS = {
    "train.json": VOLUMES
    | {"queries_per_volume": 1, "lora_rank": 2, "learning_rate": 0.01, "network_def#max_new_tokens": 4},
    "pretrain_vision.json": VOLUMES,
    "train_grpo.json": VOLUMES
    | {
        "reward#terms#vowels": {"_target_": "toy_rewards.VowelReward"},
        "reward#weights#vowels": 1.0,
        "rollouts_every": 100,
        "queries_per_volume": 1,
        "num_generations": 3,
        "num_iterations": 2,
        "max_new_tokens": 8,
        "lora_rank": 2,
        "learning_rate": 0.01,
    },
    "train_propagator.json": {
        "image_size": 32,
        "random_volumes": 2,
        "phantom_volumes": 1,
        "validation_volumes": 1,
        "epochs": 2,
        "epoch_length": 3,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "clips": 2,
        "clip_lengths": [2],
        "val_interval": 1,
    },
}


class TrainingRuns:
    """Processes that are forks of a server which has made the imports, what takes longest, once.

    Args:
        weights: folder with the models that training starts from, `lvlm` and `medsam2`.
    """

    def __init__(self, weights):
        self.weights = weights
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["training_runs"])

    def __call__(self, name, folder, strike=None, **options):
        """What a config's run ends with, its exit code."""
        return self.join(self.start(name, folder, strike=strike, **options))

    def together(self, name, folder, processes=2, strike=None, **options):
        """The same with multi_gpu.json behind the config, as torchrun runs it; the signal reaches the last process."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = []
        for rank in range(processes):
            variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            variables = {"MASTER_ADDR": "127.0.0.1"} | {key: str(value) for key, value in variables.items()}
            own_strike = strike if rank == processes - 1 else None
            started.append(self.start(name, folder, variables=variables, strike=own_strike, **options))
        return [self.join(process) for process in started]

    def start(self, *arguments, **options):
        process = self.context.Process(target=train, args=(self.weights, *arguments), kwargs=options)
        process.start()
        return process

    @staticmethod
    def join(process):
        process.join(300)
        return process.exitcode


def train(weights, name, folder, variables=None, strike=None, dropout=0.2, **changes):
    """What `monai.bundle run` does with a config, small; a signal reaches the process in the midst of a step."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(BUNDLE))
    os.environ.update(variables or {})
    models = {"lvlm_path": str(weights / "lvlm")} if name != "train_propagator.json" else {}
    models |= {"medsam2_path": str(weights / "medsam2")} if name == "train_grpo.json" else {}
    files = [name, "multi_gpu.json"] if variables else [name]
    workflow = ConfigWorkflow(
        [str(BUNDLE / "configs" / file) for file in files],
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        output_dir=str(folder),
        device="cpu",
        **models,
        **(RUNS[name] | changes),
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    # A dropout draws from the global generator, whose state must be right as well.
    for module_name, module in list(trainer.network.named_modules()):
        if module_name.endswith("lora_dropout"):
            module["default"] = torch.nn.Dropout(dropout)
    if strike is not None:
        number, step = strike
        struck: list[bool] = []

        def send(engine):
            if engine.state.iteration == step and not struck:  # several passes a step, one signal
                struck.append(True)
                os.kill(os.getpid(), number)

        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, send)
    workflow.run()


def state_of(folder):
    return torch.load(folder / "checkpoints" / "checkpoint.pt", weights_only=True)


def result_of(folder):
    """The weights that a finished run saved; None before."""
    saved = [*folder.glob("lvlm/*.safetensors"), *folder.glob("model/*.safetensors")]
    return load_file(saved[0]) if saved else None


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
