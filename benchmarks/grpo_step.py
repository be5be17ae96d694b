"""One step of GRPO: TRL's GRPOTrainer, transformers on each sequence, and packing behind a shared prefix.

    python benchmarks/grpo_step.py

All do the same work on the same small random Qwen3-VL in float32, with one thread: one query about one volume; G
completions of exactly C tokens, sampled at temperature 1; their log-probabilities under the reference (the adapter
switched off) and under the policy; clipped loss with KL 0.01; backward; AdamW on a LoRA adapter of the language model,
the vision tower frozen. The rewards are made up. Each variant runs in a process of its own. Seconds are CPU seconds,
the median of the steps behind the first; memory is the peak of the resident set over that in front of the first step.

The floor is what a shared prefix of P tokens can save in the language model: G (P + C) tokens become P + G C. A step
can come below it, because the vision tower sees each slice once instead of G times in each of the three passes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.demo_models.tiny_lvlm import build_tiny_lvlm
from medvol_r1.losses import GRPOLoss, group_advantages
from medvol_r1.lvlm.model import LANGUAGE_MODEL_LINEAR, VolumeLVLM
from medvol_r1.lvlm.prompts import PromptBuilder
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.lvlm.vision import slices_to_patches
from medvol_r1.lvlm.weights import load_qwen
from medvol_r1.training.trl_dataset import trl_dataset
from medvol_r1.training.trl_processor import load_slice_processor
from peft import LoraConfig
from transformers import PreTrainedModel, Trainer, TrainerCallback

VARIANTS = {
    "trl": "TRL GRPOTrainer",
    "naive": "transformers, each sequence",
    "dense": "packed, dense mask",
    "split": "packed, split attention",
}
RANK, LEARNING_RATE = 16, 1e-5


@dataclass
class Work:
    """What a step is about: G completions of C tokens for a query about slices float [S, H, W]; rank of the adapter."""

    lvlm: VolumeLVLM
    slices: torch.Tensor
    query: str
    count: int
    length: int
    rank: int = RANK


# The steps ----------------------------------------------------------------------------------------------------------


def packed_step(work: Work) -> Callable[[], int]:
    """A step with everything behind one prefix; gives P."""
    lvlm = work.lvlm
    lvlm.add_lora(work.rank, 2 * work.rank)
    lvlm.prompts.tokenizer.eos_token = lvlm.base.generation_config.eos_token_id = None  # all C tokens are written
    optimizer = torch.optim.AdamW(trainable(lvlm), lr=LEARNING_RATE)

    def step() -> int:
        with torch.no_grad():
            volume = lvlm.encode(work.slices)
            sampled = lvlm.generate(volume, [work.query], num_samples=work.count, sampling=Sampling(1.0))
            completions = [[completion.ids for completion in sampled[0]]]
            with lvlm.qwen.disable_adapter():
                reference = torch.stack(lvlm.log_probs(volume, [work.query], completions)[0])
        log_probs = torch.stack(lvlm.log_probs(volume, [work.query], completions)[0])
        update(optimizer, log_probs, reference)
        return len(volume.prefix_ids) + len(lvlm.prompts.tail_ids(work.query))

    return step


def naive_step(work: Work) -> Callable[[], int]:
    """The same with transformers' own calls, on G copies of the prompt; gives P."""
    lvlm = work.lvlm.add_lora(work.rank, 2 * work.rank)
    base = lvlm.base
    base.model.language_model.set_attn_implementation("sdpa")
    optimizer = torch.optim.AdamW(trainable(lvlm), lr=LEARNING_RATE)
    vision, rows, columns = base.config.vision_config, *work.slices.shape[1:]
    grid = torch.tensor([[1, rows // vision.patch_size, columns // vision.patch_size]]).repeat(len(work.slices), 1)
    tokens_per_slice = int(grid[0].prod()) // vision.spatial_merge_size**2
    prompt = lvlm.prompts.prefix_ids(len(work.slices), tokens_per_slice) + lvlm.prompts.tail_ids(work.query)
    prompts = torch.tensor([prompt]).expand(work.count, -1)

    def images() -> dict[str, torch.Tensor]:
        colours = work.slices[:, None].expand(-1, 3, -1, -1)
        patches = slices_to_patches(colours, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        return {"pixel_values": patches.repeat(work.count, 1), "image_grid_thw": grid.repeat(work.count, 1)}

    def score(ids: torch.Tensor) -> torch.Tensor:
        kinds = (ids == base.config.image_token_id).int()
        base.model.rope_deltas = None
        logits = lvlm.qwen(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=kinds,
            logits_to_keep=work.length + 1,
            use_cache=False,
            **images(),
        ).logits[:, :-1]
        return logits.log_softmax(dim=-1).gather(2, ids[:, -work.length :, None])[..., 0]

    def step() -> int:
        with torch.no_grad():
            ids = lvlm.qwen.generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                mm_token_type_ids=(prompts == base.config.image_token_id).int(),
                do_sample=True,
                top_k=0,
                min_new_tokens=work.length,
                max_new_tokens=work.length,
                **images(),
            )
            with lvlm.qwen.disable_adapter():
                reference = score(ids)
        update(optimizer, score(ids), reference)
        return len(prompt)

    return step


def trainable(lvlm: VolumeLVLM) -> list[torch.nn.Parameter]:
    """The weights that the optimizer gets."""
    return [weight for weight in lvlm.parameters() if weight.requires_grad]


def made_up_rewards(completions: list, **_: object) -> list[float]:
    """0, 1, 2, ..., by TRL's contract."""
    return [float(index) for index in range(len(completions))]


def update(optimizer: torch.optim.Optimizer, log_probs: torch.Tensor, reference: torch.Tensor) -> None:
    """Loss, backward and the optimizer's step; log-probabilities [G, C]."""
    advantages = group_advantages(torch.tensor(made_up_rewards(list(log_probs))))
    mask = torch.ones_like(log_probs, dtype=torch.bool)
    loss, _ = GRPOLoss(kl_coefficient=0.01)(log_probs, log_probs.detach(), reference, advantages, mask)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


# TRL ----------------------------------------------------------------------------------------------------------------


class StepClock(TrainerCallback):
    """CPU seconds of each step, resident memory in front of the first."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.memory = 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Before the rollout."""
        self.memory = self.memory or peak_mib()
        self.start = time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        """Behind the optimizer's step."""
        self.seconds.append(time.process_time() - self.start)


def trl_trainer(
    work: Work,
    model: PreTrainedModel,
    steps: int,
    folder: Path,
    clock: TrainerCallback,
    lengths: list[int],
    **arguments,
) -> Trainer:
    """TRL's trainer for the work.

    Args:
        work: what a step is about.
        model: the network, without an adapter.
        steps: that it will do.
        folder: where it may write.
        clock: told of each step.
        lengths: gets the number of tokens of each completion.
        arguments: of `GRPOConfig`, what differs between machines.
    """
    from trl import GRPOConfig, GRPOTrainer  # slow to import, and only this variant needs it

    vision = work.lvlm.base.config.vision_config
    processor = load_slice_processor(work.lvlm.path, vision, work.slices.shape[-1])
    nothing = torch.zeros(1, *work.slices.shape, dtype=torch.bool)
    item = VolumeQueries("made up", work.slices, (work.query,), ("",), nothing, ("",))

    def rewards(prompts: list, completions: list, completion_ids: list, **columns: object) -> list[float]:
        lengths.extend(len(ids) for ids in completion_ids)
        return made_up_rewards(completions)

    return GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=work.count,
            num_generations=work.count,
            max_completion_length=work.length,
            generation_kwargs={"min_new_tokens": work.length},
            loss_type="grpo",
            beta=0.01,
            learning_rate=LEARNING_RATE,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **arguments,
        ),
        train_dataset=trl_dataset([item] * 2, PromptBuilder(processor.tokenizer, work.lvlm.instruction)),
        processing_class=processor,
        peft_config=LoraConfig(r=work.rank, lora_alpha=2 * work.rank, target_modules=LANGUAGE_MODEL_LINEAR),
        callbacks=[clock],
    )


def trl_run(work: Work, steps: int, folder: Path) -> tuple[list[float], float, int]:
    """Seconds of each step, memory in front of the first, and P."""
    clock, lengths = StepClock(), []
    model = load_qwen(work.lvlm.path, torch.float32)
    on_a_cpu = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    trainer = trl_trainer(work, model, steps, folder, clock, lengths, **on_a_cpu)
    trainer.train()
    if set(lengths) != {work.length}:
        sys.exit(f"TRL wrote {sorted(set(lengths))} tokens instead of {work.length}.")
    tokens = trainer.state.num_input_tokens_seen or trainer.state.log_history[-2]["num_tokens"]
    return clock.seconds, clock.memory, round(tokens / steps / work.count) - work.length


# Measuring ----------------------------------------------------------------------------------------------------------


def peak_mib() -> float:
    """Peak of the resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Seconds of the steps behind the first, added memory and P of one variant, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    (variant,), (count,) = options.variants, options.completions
    packing = variant if variant in ("dense", "split") else "none"
    lvlm = VolumeLVLM(options.model, max_new_tokens=options.tokens, packing=packing).load()
    item = PhantomVolumes("validation", 1, options.slices, options.size, queries_per_volume=1)[0]
    slices = (item.slices * 255).round() / 255  # what an image file holds
    work = Work(lvlm, slices, item.texts[0], count, options.tokens)
    if variant == "trl":
        seconds, memory, prompt = trl_run(work, options.steps + 1, Path(options.model) / "trl")
    else:
        step = naive_step(work) if variant == "naive" else packed_step(work)
        seconds, memory, prompt = [], peak_mib(), 0
        for _ in range(options.steps + 1):
            start = time.process_time()
            prompt = step()
            seconds.append(time.process_time() - start)
    return {"seconds": seconds[1:], "memory": peak_mib() - memory, "prompt": prompt, "packing": lvlm.packing}


def in_a_process_of_its_own(options: argparse.Namespace, model: Path, variant: str, count: int) -> dict:
    """What `measure` says of one variant."""
    command = [sys.executable, __file__, "--model", str(model), "--variants", variant, "--completions", str(count)]
    for name in ("tokens", "slices", "size", "steps"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        sys.exit(f"{' '.join(command)}\n{run.stderr[-3000:]}")
    found = json.loads(run.stdout.splitlines()[-1])
    if variant in ("dense", "split") and found["packing"] != variant:
        sys.exit(f"{variant} fell back to {found['packing']}:\n{run.stderr[-3000:]}")
    return found


def print_table(options: argparse.Namespace, model: Path) -> None:
    """A row for each variant, against the first one."""
    first = VARIANTS[options.variants[0]]
    print(f"| G | variant | P | seconds a step | {first} / this | added MiB | {first} / this |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for count in options.completions:
        runs = {}
        for variant in options.variants:
            run = runs[variant] = in_a_process_of_its_own(options, model, variant, count)
            seconds, start = median(run["seconds"]), runs[options.variants[0]]
            row = [count, VARIANTS[variant], run["prompt"], f"{seconds:.2f}"]
            row += [f"{median(start['seconds']) / seconds:.2f}", f"{run['memory']:.0f}"]
            row += [f"{start['memory'] / run['memory']:.2f}"]
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
        prompt, length = run["prompt"], options.tokens
        floor = count * (prompt + length) / (prompt + count * length)
        print(f"| {count} | floor: G (P + C) / (P + G C) | {prompt} | | {floor:.2f} | | |", flush=True)


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Time and memory of one step of GRPO.")
    parser.add_argument("--completions", type=int, nargs="+", default=[4, 8], help="G: completions of the query")
    parser.add_argument("--tokens", type=int, default=96, help="C: length of a completion")
    parser.add_argument("--slices", type=int, default=32, help="S: slices of the volume")
    parser.add_argument("--size", type=int, default=128, help="side of a slice in pixels; 16 x 16 are a visual token")
    parser.add_argument("--steps", type=int, default=2, help="steps that count")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--model", help="measure one variant with this model, in this process (what the table runs)")
    options = parser.parse_args()
    if options.model:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print_table(options, build_tiny_lvlm(folder, image_size=options.size))


if __name__ == "__main__":
    main()
