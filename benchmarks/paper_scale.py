"""The paper's scale on one GPU, with random weights: decoding, inference, a step of SFT and of GRPO, TRL's step.

    python benchmarks/paper_scale.py --device cuda
    python benchmarks/paper_scale.py --device cpu

On `cuda`: the architecture of Qwen3-VL-4B (`bundle/models/qwen3vl_4b`) in bfloat16, 64 slices of 256x256, completions
of exactly 256 tokens, LoRA of rank 128. On `cpu`: a miniature of it, the demo model's architecture in float32. Times on
a GPU are those of CUDA events. The floor of a token is reading the weights of the language model once, at the bandwidth
of a copy measured in the same run. A part that fails says so and the others go on. Each row is printed when it is
known, and all rows once more at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from unittest.mock import patch

import peft
import torch
import transformers
from medvol_r1.losses import GRPOLoss, group_advantages
from medvol_r1.lvlm.decoding import Decoder, decode
from medvol_r1.lvlm.encoded_volume import prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, TrainerCallback

MODELS = Path(__file__).resolve().parents[1] / "bundle" / "models"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
VISION_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
QUERIES = [f"the organ that makes bile, number {index}" for index in range(10)]


@dataclass
class Scale:
    """What is measured: device, type of the weights, S slices of H x H, C new tokens, rank of the adapter, a folder."""

    device: torch.device
    dtype: torch.dtype
    num_slices: int
    size: int
    length: int
    rank: int
    folder: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def row(self, what: str, value: str) -> None:
        """Prints a row, and keeps it for the table at the end."""
        self.rows.append((what, value))
        print(f"| {what} | {value} |", flush=True)

    def seconds(self, compute: Callable[[], object]) -> float:
        """Time of a call, by events on a GPU."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            compute()
            return time.perf_counter() - start
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        compute()
        stop.record()
        torch.cuda.synchronize()
        return start.elapsed_time(stop) / 1000

    def peak(self) -> str:
        """Most GPU memory since the last part began."""
        if self.device.type != "cuda":
            return "not measured on a CPU"
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"

    def slices(self) -> torch.Tensor:
        """Float [S, H, H] in 0..1."""
        return torch.rand(self.num_slices, self.size, self.size, generator=torch.Generator().manual_seed(1))

    def network(self, *, adapter: bool = False, dtype: torch.dtype | None = None, layers: int | None = None):
        """Random weights of the architecture, made on the device; it never ends a completion by itself."""
        dtype = dtype or self.dtype
        config = Qwen3VLConfig.from_pretrained(self.folder)
        if layers:
            config.text_config.num_hidden_layers = layers
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        with self.device:
            qwen = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="sdpa", dtype=dtype)
        torch.set_default_dtype(before)
        qwen.generation_config.pad_token_id = 0
        lvlm = VolumeLVLM(self.folder, dtype=str(dtype).removeprefix("torch."), max_new_tokens=self.length)
        lvlm.to(self.device)
        with patch("medvol_r1.lvlm.model.load_qwen", lambda path, dtype: qwen):
            lvlm.load()
        lvlm.prompts.tokenizer.eos_token = qwen.generation_config.eos_token_id = None  # behind `load`, which sets it
        lvlm._packing_is_checked = True  # the comparison with separate sequences is not what is timed
        return lvlm.add_lora(self.rank, 2.0 * self.rank) if adapter else lvlm


# The parts ----------------------------------------------------------------------------------------------------------


def copy_bandwidth(scale: Scale) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(2**30 if scale.device.type == "cuda" else 2**26, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * 10 * source.nbytes / scale.seconds(lambda: [target.copy_(source) for _ in range(10)])


def inference(scale: Scale) -> None:
    """Encode, prefill, a token at several G, a first and a later query."""
    bandwidth = copy_bandwidth(scale)
    lvlm, slices = scale.network(), scale.slices()
    language = [*lvlm.base.model.language_model.parameters(), *lvlm.base.lm_head.parameters()]
    read = sum(weight.nbytes for weight in {id(weight): weight for weight in language}.values())
    scale.row("parameters", f"{sum(weight.numel() for weight in lvlm.parameters()) / 1e9:.3f} B")
    scale.row("bandwidth of a copy, read and written", f"{bandwidth / 1e12:.3f} TB/s")
    scale.row("floor of a token: weights of the language model read once", f"{1000 * read / bandwidth:.3f} ms")
    kept = {}

    def encode() -> None:
        kept["volume"] = lvlm.encode_many([slices])[0]  # `encode` remembers the last one

    with torch.no_grad():
        first = scale.seconds(encode)
        scale.row("encode the slices (first call)", f"{scale.seconds(encode):.4f} s ({first:.4f} s)")
        volume = kept["volume"]
        times = []
        for _ in range(3):
            volume.kept.network = None
            times.append(scale.seconds(lambda: prefilled(lvlm.base, volume)))
    scale.row(f"prefill of the prefix, P = {len(volume.prefix_ids)}", f"{min(times):.4f} s")
    tail, lvlm.max_new_tokens = lvlm._tails(QUERIES[:1], volume), scale.length

    def plainly(count: int, length: int) -> object:
        return decode(Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(1.0), length), volume, tail, count)

    plainly(4, 2)
    plain = scale.seconds(lambda: plainly(4, 24))
    scale.row("a token without graphs, G = 4", f"{1000 * plain / 24:.2f} ms")
    for count in (1, 4, 8, 64):

        def sampled(count: int = count) -> object:
            return lvlm.generate(volume, QUERIES[:1], num_samples=count, sampling=Sampling(1.0))

        first = scale.seconds(sampled)
        again, length = scale.seconds(sampled), lvlm.max_new_tokens
        scale.row(
            f"a token, G = {count}, {length} tokens (capture)",
            f"{1000 * again / length:.2f} ms ({first - again:.2f} s)",
        )
        sequences = lvlm._kept_sequences._sequences
        graphs = sequences is not None and sequences.graphs
        if not graphs:  # the rest then takes ten times as long
            lvlm.max_new_tokens = 24
    scale.row("decoded with CUDA graphs", "yes" if graphs else "no")
    lvlm.max_new_tokens = 48
    lvlm.generate(volume, QUERIES[:1])  # its graph
    first = scale.seconds(lambda: lvlm.generate(lvlm.encode_many([slices])[0], QUERIES[:1]))
    later = scale.seconds(lambda: lvlm.generate(volume, QUERIES[1:2]))
    scale.row("first and later query of a volume, 48 tokens", f"{first:.3f} s, {later:.3f} s ({first / later:.1f} x)")
    ten = scale.seconds(lambda: lvlm.generate(volume, QUERIES))
    scale.row("ten queries together, 48 tokens, with their capture", f"{ten:.3f} s")
    scale.row("memory of inference", scale.peak())


def equality(scale: Scale) -> None:
    """Greedy tokens with and without graphs, float32, four layers."""
    lvlm = scale.network(dtype=torch.float32, layers=4)
    with torch.no_grad():
        volume = lvlm.encode(scale.slices())
    tails = lvlm._tails(QUERIES[:3], volume)
    plain, graph = (
        decode(Decoder(lvlm.base, lvlm.prompts.tokenizer, Sampling(), 48, kept=kept), volume, tails, 4)
        for kept in (None, lvlm._kept_sequences)
    )
    pairs = [(a.ids, b.ids) for one, other in zip(plain, graph, strict=True) for a, b in zip(one, other, strict=True)]
    same = sum(torch.equal(*pair) for pair in pairs)
    scale.row("completions with graphs equal to those without, float32, 4 layers, greedy", f"{same} of {len(pairs)}")


def sft_step(scale: Scale) -> None:
    """Ten queries, 60 tokens each."""
    for checkpointing in (True, False):
        lvlm = _in_training(scale, checkpointing)
        ids = [[torch.randint(20, 1000, (60,))] for _ in QUERIES]
        optimizer = _optimizer(lvlm)
        for _ in range(2):
            phases: dict[str, float] = {}
            made: dict[str, object] = {}

            def encode(made: dict = made, lvlm: VolumeLVLM = lvlm) -> None:
                with torch.no_grad():
                    made["volume"] = lvlm.encode(scale.slices())

            def forward(made: dict = made, lvlm: VolumeLVLM = lvlm, ids: list = ids) -> None:
                # As train.json trains: under autocast.
                with torch.autocast(scale.device.type, torch.bfloat16, enabled=scale.device.type == "cuda"):
                    log_probs = lvlm.log_probs(made["volume"], QUERIES, ids)
                made["loss"] = -torch.cat([one[0] for one in log_probs]).mean()

            phases["encode"] = scale.seconds(encode)
            phases["forward"] = scale.seconds(forward)
            phases["backward"] = scale.seconds(lambda made=made: made["loss"].backward())
            phases["optimizer"] = scale.seconds(lambda optimizer=optimizer: _update(optimizer))
        name = f"SFT step, 10 queries x 60 tokens, checkpointing {'on' if checkpointing else 'off'}"
        scale.row(name, f"{_phases(phases)}; {scale.peak()}")
        del lvlm, optimizer, made, encode, forward
        _clean(scale)


def grpo_step(scale: Scale) -> None:
    """One query, G = 4, all of C tokens."""
    lvlm = _in_training(scale, checkpointing=True)
    optimizer, slices = _optimizer(lvlm), scale.slices()
    for _ in range(3):  # the last one counts: the first captures the graph
        phases: dict[str, float] = {}
        made: dict[str, object] = {}

        def encode(made: dict = made) -> None:
            made["volume"] = lvlm.encode(slices)

        def sample(made: dict = made) -> None:
            groups = lvlm.generate(made["volume"], QUERIES[:1], num_samples=4, sampling=Sampling(1.0))
            made["ids"] = [[one.ids for one in group] for group in groups]

        def score(made: dict = made) -> torch.Tensor:
            return torch.stack(lvlm.log_probs(made["volume"], QUERIES[:1], made["ids"])[0])

        def reference(made: dict = made) -> None:
            with lvlm.qwen.disable_adapter():
                made["reference"] = score()

        def forward(made: dict = made) -> None:
            log_probs = score()
            advantages = group_advantages(torch.arange(4.0)).to(scale.device)
            there = torch.ones_like(log_probs, dtype=torch.bool)
            loss = GRPOLoss(kl_coefficient=0.01)(log_probs, log_probs.detach(), made["reference"], advantages, there)
            made["loss"] = loss[0]

        with torch.no_grad():
            phases |= {"encode": scale.seconds(encode), "sample": scale.seconds(sample)}
            phases["reference"] = scale.seconds(reference)
        phases["forward"] = scale.seconds(forward)
        phases["backward"] = scale.seconds(lambda made=made: made["loss"].backward())
        phases["optimizer"] = scale.seconds(lambda: _update(optimizer))
    name = f"GRPO step, one query, G = 4, C = {scale.length}, checkpointing on"
    scale.row(name, f"{sum(phases.values()):.2f} s: {_phases(phases)}; {scale.peak()}")
    scale.row("a token of its sampling, with the adapter", f"{1000 * phases['sample'] / scale.length:.2f} ms")


class Clock(TrainerCallback):
    """Seconds of each of TRL's steps."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self.device = device

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Before the rollout."""
        self.start = self._now()

    def on_step_end(self, *_: object, **__: object) -> None:
        """Behind the optimizer's step."""
        self.seconds.append(self._now() - self.start)


def trl_step(scale: Scale) -> None:
    """TRL's trainer on the work of `grpo_step`."""
    from grpo_step import Work, trl_trainer  # needs trl and datasets, which the other parts do without

    lvlm, clock, lengths = scale.network(), Clock(scale.device), []
    on_gpu = scale.device.type == "cuda"
    work = Work(lvlm, scale.slices(), QUERIES[0], 4, scale.length, scale.rank)
    arguments = {"use_cpu": not on_gpu, "bf16": on_gpu, "gradient_checkpointing": True}
    trainer = trl_trainer(work, lvlm.base, 2, Path(scale.folder) / "trl", clock, lengths, **arguments)
    trainer.train()
    if set(lengths) != {scale.length}:
        raise RuntimeError(f"TRL wrote {sorted(set(lengths))} tokens instead of {scale.length}.")
    first, last = clock.seconds
    name = f"TRL GRPOTrainer, the same step (first), trl {__import__('trl').__version__}"
    scale.row(name, f"{last:.2f} s ({first:.2f} s); {scale.peak()}")


def _in_training(scale: Scale, checkpointing: bool) -> VolumeLVLM:
    lvlm = scale.network(adapter=True)
    if checkpointing:
        lvlm.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return lvlm.train()


def _optimizer(lvlm: VolumeLVLM) -> torch.optim.Optimizer:
    return torch.optim.AdamW([weight for weight in lvlm.parameters() if weight.requires_grad], lr=2e-6)


def _update(optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _phases(phases: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.3f}" for name, seconds in phases.items())


def _clean(scale: Scale) -> None:
    gc.collect()
    if scale.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


PARTS = {"inference": inference, "equality": equality, "sft": sft_step, "grpo": grpo_step, "trl": trl_step}


def write_model_folder(folder: Path, source: Path) -> None:
    """A folder with the architecture of `source` and the demo model's tokenizer and marks of vision tokens."""
    demo = json.loads((MODELS / "lvlm" / "config.json").read_text())
    config = json.loads((source / "config.json").read_text()) | {name: demo[name] for name in VISION_IDS}
    config.pop("_comment_", None)
    (folder / "config.json").write_text(json.dumps(config))
    for name in TOKENIZER_FILES:
        shutil.copy(MODELS / "lvlm" / name, folder)


def main() -> None:
    """The commands of the module's head."""
    parser = argparse.ArgumentParser(description="The paper's scale on one GPU, with random weights.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.device == "cuda":
            scale = Scale(torch.device("cuda"), torch.bfloat16, 64, 256, 256, 128, folder)
            write_model_folder(Path(folder), MODELS / "qwen3vl_4b")
            name = torch.cuda.get_device_name()
        else:
            scale = Scale(torch.device("cpu"), torch.float32, 8, 96, 24, 8, folder)
            write_model_folder(Path(folder), MODELS / "lvlm")
            name = "CPU, a miniature"
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
        scale.row("device, versions, date", f"{name}; {versions}; {date.today()}")
        for part in options.parts:
            _clean(scale)
            start = time.perf_counter()
            try:
                PARTS[part](scale)
            except Exception as error:  # one part must not cost the others
                traceback.print_exc()
                scale.row(f"part {part} failed", f"{type(error).__name__}: {str(error)[:200]}")
            scale.row(f"part {part}, all of it", f"{time.perf_counter() - start:.0f} s")
    print("\n| what | measured |\n|---|---|")
    print("\n".join(f"| {what} | {value} |" for what, value in scale.rows), flush=True)


if __name__ == "__main__":
    main()
