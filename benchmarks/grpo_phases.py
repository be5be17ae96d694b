"""CPU seconds of a step of GRPO at the setting of the second experiment, before and after, phase by phase.

    git worktree add --detach ../before 9436bbf
    python benchmarks/grpo_phases.py --before ../before --lvlm LVLM --medsam2 MEDSAM2

Both checkouts do the same steps from the same weights and seed, in turns, each in a process of its own with one thread.
Rewards and gradient norms must agree; they are printed. `--before_bf16` gives the first its update in bfloat16, which
all training had before a processor was asked whether it has that type.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("sampling", "reward", "update")


def measure(lvlm: str, medsam2: str, steps: int, bf16: bool) -> list[dict[str, float]]:
    """CPU seconds of the phases of each step behind the first, its mean reward and gradient norm, in this process."""
    import torch
    from medvol_r1.datasets.phantom_volumes import PhantomVolumes
    from medvol_r1.losses import GRPOLoss
    from medvol_r1.lvlm.model import VolumeLVLM
    from medvol_r1.medsam2.weights import load_medsam2
    from medvol_r1.propagation import SlicePropagator
    from medvol_r1.rewards import AxialReward, CompositeReward, ConsistencyReward, FormatReward, SpatialReward
    from medvol_r1.training.grpo import GRPOTrainer
    from medvol_r1.training.rollouts import RolloutSampler

    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # the trainer's clock: other work on the machine does not count
    network = VolumeLVLM(lvlm, slice_size=64, max_new_tokens=96).unfreeze()
    terms = {"R_f": FormatReward(), "R_a": AxialReward(), "R_s": SpatialReward()}
    terms["R_c"] = ConsistencyReward(SlicePropagator(load_medsam2(medsam2)), delta=2)
    sampler = RolloutSampler(
        CompositeReward(terms, dict.fromkeys(terms, 1.0)), 8, generator=torch.Generator().manual_seed(0)
    )
    data = PhantomVolumes("train", 4 * (steps + 1), 16, 64, query_types="BCDEFGH", think=False)
    trainer = GRPOTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[[data[4 * step + number] for number in range(4)] for step in range(steps + 1)],
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.0),
        loss_function=GRPOLoss(kl_coefficient=0.0),
        sampler=sampler,
        bf16=bf16,
    )
    found = []
    for batch in trainer.data_loader:
        output = trainer._iteration(trainer, batch)
        (output,) = output if isinstance(output, list) else [output]  # a checkout of before gives it bare
        volumes = output["rollouts"]
        found.append(
            {
                "sampling": sum(one.sampling_seconds for one in volumes),
                "reward": sum(one.reward_seconds for one in volumes),
                "update": output["update_seconds"],
                "mean reward": fmean(one.rewards.mean().item() for one in volumes),
                "gradient norm": output["update"].grad_norm,
            }
        )
    return found[1:]


def of_checkout(root: Path, options: argparse.Namespace, bf16: bool) -> list[dict[str, float]]:
    """What `measure` says with the code of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "medvol_r1").symlink_to(root.absolute() / "bundle" / "scripts")
        command = [sys.executable, __file__, "--lvlm", options.lvlm, "--medsam2", options.medsam2]
        run = subprocess.run(
            [*command, "--steps", str(options.steps), *(["--before_bf16"] if bf16 else [])],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
        )
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Phases of a step of GRPO, before and after.")
    parser.add_argument("--before", type=Path, help="another checkout; without it this one is measured alone")
    parser.add_argument("--before_bf16", action="store_true", help="that one (or one alone) updates in bfloat16")
    parser.add_argument("--lvlm", required=True, help="folder of the language model, a cold start")
    parser.add_argument("--medsam2", required=True, help="folder of the propagator")
    parser.add_argument("--steps", type=int, default=2, help="steps that count, of 256 rollouts (default 2)")
    options = parser.parse_args()
    if options.before is None:
        print(json.dumps(measure(options.lvlm, options.medsam2, options.steps, options.before_bf16)))
        return
    before, after = of_checkout(options.before, options, options.before_bf16), of_checkout(ROOT, options, False)
    print("| | before | after | before / after |\n|---|---|---|---|")
    for phase in (*PHASES, "all"):
        parts = PHASES if phase == "all" else (phase,)
        one, other = (fmean(sum(step[part] for part in parts) for step in run) for run in (before, after))
        print(f"| {phase}, CPU seconds | {one:.2f} | {other:.2f} | {one / other:.2f} |")
    for name in ("mean reward", "gradient norm"):
        one, other = ([round(step[name], 5) for step in run] for run in (before, after))
        print(f"| {name} of each step | {one} | {other} | |")


if __name__ == "__main__":
    main()
