"""What the paper's trainings and an answer cost at 4B on other GPUs: time, memory, hours for its data sets.

    python benchmarks/cost_model.py
    python benchmarks/cost_model.py --check

The first prints tables that follow from the architecture of `bundle/models/qwen3vl_4b` and five measured constants.
The second counts operations with torch's counter (language model on the meta device, vision tower on one slice), and
sets the model beside what was measured on an H200 (bundle/docs/performance.md).

The model. A forward takes 2 operations a weight and token, and 4 a channel of the attention for each pair of tokens.
Frozen weights need no gradient of their own, so a backward costs one more forward, and checkpointing another one. What
is computed at once reaches a fixed share of a GPU's peak, one for a prefill and one for training. A token of decoding
reads the weights once, and waits for its kernels: a fixed time a layer, whatever the GPU. Several GPUs share the
volumes; what they send one another, an adapter's gradient, is not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean

import torch
from medvol_r1.lvlm.memory_plan import plan_training
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

FOLDER = Path(__file__).resolve().parents[1] / "bundle" / "models" / "qwen3vl_4b"

# Training volumes of the paper's data sets: CT-ORG 21-139, four fifths of AbdomenCT-1K and of KiTS23.
DATASETS = {"CT-ORG": 119, "AbdomenCT-1K": 800, "KiTS23": 391}
SLICES, SIZE, QUERIES, GENERATIONS, COMPLETION, ANSWER, RANK = 64, 256, 10, 4, 256, 60, 128
SFT_EPOCHS, GRPO_EPOCHS = 1, 3

# Seconds on an H200, from bundle/docs/performance.md.
PREFILL, TOKEN, ENCODE = 0.106, 0.00947, 0.053
CONSISTENCY = 0.34  # R_c of 4 boxes in a window of 11 slices of 512x512
# What, forwards that it amounts to, sequences, length of each, seconds. Training's share of the peak is their mean.
TRAINING_RUNS = (
    ("SFT forward", 1, QUERIES, ANSWER, 0.19),
    ("SFT backward, checkpointing on", 2, QUERIES, ANSWER, 0.47),
    ("SFT backward, checkpointing off", 1, QUERIES, ANSWER, 0.29),
    ("GRPO forward", 1, GENERATIONS, COMPLETION, 0.29),
    ("GRPO backward, checkpointing on", 2, GENERATIONS, COMPLETION, 0.72),
)
# What, checkpointing, queries, generations, length, GiB at the most.
MEMORY_RUNS = (
    ("SFT", True, QUERIES, 1, ANSWER, 17.5),
    ("SFT", False, QUERIES, 1, ANSWER, 50.5),
    ("GRPO", True, 1, GENERATIONS, COMPLETION, 18.5),
)


@dataclass(frozen=True)
class GPU:
    """Operations a second in bfloat16 without sparsity, bytes a second, bytes: the maker's data sheet."""

    name: str
    peak: float
    bandwidth: float
    memory: float


GPUS = (
    GPU("A6000", 155e12, 0.768e12, 48e9),
    GPU("A100", 312e12, 2.039e12, 80e9),
    GPU("H100", 989e12, 3.35e12, 80e9),
    GPU("H200", 989e12, 4.8e12, 141e9),
)


class Operations:
    """Operations of the network's parts, from its configuration; `rank` of the adapter."""

    def __init__(self, config: Qwen3VLConfig, rank: int) -> None:
        text, self.vision = config.text_config, config.vision_config
        self.layers = text.num_hidden_layers
        width = text.num_attention_heads * text.head_dim
        qkv = width + 2 * text.num_key_value_heads * text.head_dim
        shapes = [(text.hidden_size, qkv), (width, text.hidden_size), (text.hidden_size, 3 * text.intermediate_size)]
        self.weights = self.layers * sum(inputs * outputs for inputs, outputs in shapes)
        # q, k, v, gate and up read the hidden state, each with its own factors; o and down write it.
        inputs = 5 * text.hidden_size + width + text.intermediate_size
        outputs = qkv + 2 * text.intermediate_size + 2 * text.hidden_size
        self.adapter = self.layers * rank * (inputs + outputs)
        self.head = text.hidden_size * text.vocab_size
        self._pair = 4 * self.layers * width

    def forward(self, tokens: int, pairs: float, predicted: int = 0, adapter: bool = False) -> float:
        """Of the language model: tokens, pairs of tokens that see one another, tokens that go through the head."""
        weights = self.weights + adapter * self.adapter
        return 2 * weights * tokens + self._pair * pairs + 2 * self.head * predicted

    def prefill(self, prefix: int) -> float:
        """Of a prefix, each token behind all before it."""
        return self.forward(prefix, prefix * (prefix + 1) / 2)

    def training(self, prefix: int, sequences: int, length: int) -> float:
        """A forward of a packed volume: one prefix, and sequences behind it that do not see one another."""
        written = sequences * length
        pairs = prefix * (prefix + 1) / 2 + written * prefix + sequences * length * (length + 1) / 2
        return self.forward(prefix + written, pairs, written, adapter=True)

    def encode(self, size: int) -> float:
        """The vision tower on one slice of size x size."""
        vision = self.vision
        patches = (size // vision.patch_size) ** 2
        merged, tokens = vision.hidden_size * vision.spatial_merge_size**2, patches // vision.spatial_merge_size**2
        embedding = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * vision.hidden_size
        blocks = vision.depth * vision.hidden_size * (4 * vision.hidden_size + 2 * vision.intermediate_size)
        mergers = (1 + len(vision.deepstack_visual_indexes)) * merged * (merged + vision.out_hidden_size)
        attention = 4 * vision.depth * vision.hidden_size * patches**2
        return 2 * (patches * (embedding + blocks) + tokens * mergers) + attention


class CostModel:
    """Seconds of the parts of a run on a GPU."""

    def __init__(self, config: Qwen3VLConfig) -> None:
        self.operations = Operations(config, RANK)
        vision = config.vision_config
        self.prefix = 120 + SLICES * ((SIZE // vision.patch_size // vision.spatial_merge_size) ** 2 + 8)
        measured = next(gpu for gpu in GPUS if gpu.name == "H200")
        self._measured = measured
        self._prefill_share = self.operations.prefill(self.prefix) / PREFILL / measured.peak
        self._training_share = geometric_mean(
            forwards * self.operations.training(self.prefix, sequences, length) / seconds / measured.peak
            for _, forwards, sequences, length, seconds in TRAINING_RUNS
        )
        self._encode_share = SLICES * self.operations.encode(SIZE) / ENCODE / measured.peak
        self._layer_seconds = (TOKEN - self.token_floor(measured)) / self.operations.layers

    def token_floor(self, gpu: GPU) -> float:
        """The weights of the language model read once, in bfloat16, at nine tenths of the data sheet's bandwidth."""
        return 2 * (self.operations.weights + self.operations.head) / (0.9 * gpu.bandwidth)

    def token(self, gpu: GPU) -> float:
        """One token of a few sequences."""
        return self.token_floor(gpu) + self.operations.layers * self._layer_seconds

    def prompt(self, gpu: GPU) -> float:
        """A volume read: encoded, its prefix prefilled."""
        encoding = SLICES * self.operations.encode(SIZE) / (self._encode_share * gpu.peak)
        return encoding + self.operations.prefill(self.prefix) / (self._prefill_share * gpu.peak)

    def forward(self, gpu: GPU, sequences: int, length: int) -> float:
        """A forward in training."""
        return self.operations.training(self.prefix, sequences, length) / (self._training_share * gpu.peak)

    def sft_step(self, gpu: GPU) -> float:
        """A volume with its queries, checkpointing on."""
        return self.prompt(gpu) + 3 * self.forward(gpu, QUERIES, ANSWER)

    def grpo_step(self, gpu: GPU, queries: int) -> float:
        """Some queries of a volume, checkpointing on: rollouts, rewards, reference, forward, backward."""
        sequences = queries * GENERATIONS
        rewards = queries * CONSISTENCY * self._measured.peak / gpu.peak
        return self.prompt(gpu) + COMPLETION * self.token(gpu) + rewards + 4 * self.forward(gpu, sequences, COMPLETION)

    def answer(self, gpu: GPU) -> tuple[float, float]:
        """A first and a later query of a volume, before propagation."""
        writing = ANSWER * self.token(gpu)
        return self.prompt(gpu) + writing, writing


def gpu_table(model: CostModel) -> str:
    """A row a GPU."""
    rows = [
        "| GPU | first answer | later answer | a token | its floor | SFT step | GRPO step: one query | ten |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for gpu in GPUS:
        first, later = model.answer(gpu)
        token, floor = 1000 * model.token(gpu), 1000 * model.token_floor(gpu)
        steps = f"{model.sft_step(gpu):.1f} s | {model.grpo_step(gpu, 1):.1f} s | {model.grpo_step(gpu, QUERIES):.1f} s"
        rows.append(f"| {gpu.name} | {first:.2f} s | {later:.2f} s | {token:.1f} ms | {floor:.1f} ms | {steps} |")
    return "\n".join(rows)


def hours_table(model: CostModel) -> str:
    """Hours of the paper's trainings, ten queries a volume, on 1, 4 and 8 GPUs."""
    rows = ["| data set, stage | " + " | ".join(f"{gpu.name}: 1, 4, 8 GPUs" for gpu in GPUS) + " |"]
    rows.append("|---|" + "---|" * len(GPUS))
    for name, volumes in DATASETS.items():
        stages = {
            f"SFT, {SFT_EPOCHS} epoch": lambda gpu: SFT_EPOCHS * model.sft_step(gpu),
            f"GRPO, {GRPO_EPOCHS} epochs, one query a step": lambda gpu: (
                GRPO_EPOCHS * QUERIES * model.grpo_step(gpu, 1)
            ),
            f"GRPO, {GRPO_EPOCHS} epochs, ten queries a step": lambda gpu: GRPO_EPOCHS * model.grpo_step(gpu, QUERIES),
        }
        for stage, seconds in stages.items():
            cells = [", ".join(f"{volumes * seconds(gpu) / 3600 / count:.2f}" for count in (1, 4, 8)) for gpu in GPUS]
            rows.append(f"| {name} ({volumes}): {stage} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def memory_table() -> str:
    """Memory of a training step, as `memory_plan` estimates it, and on which GPUs it fits."""
    head = "| stage | queries x completions | checkpointing | memory, estimated | fits, with a margin |"
    rows = [head, "|---|---|---|---|---|"]
    # The plan's estimate falls short of what was measured (allocator, kernels): fitting allows for the worst of it.
    margin = max(most * 2**30 / _memory(*run) for _, *run, most in MEMORY_RUNS)
    one, ten = (1, GENERATIONS, COMPLETION), (QUERIES, GENERATIONS, COMPLETION)
    for stage, sizes in (("SFT", (QUERIES, 1, ANSWER)), ("GRPO", one), ("GRPO", ten)):
        for checkpointing in (True, False):
            need = _memory(checkpointing, *sizes)
            fits = ", ".join(gpu.name for gpu in GPUS if margin * need < gpu.memory) or "none"
            state = "on" if checkpointing else "off"
            rows.append(f"| {stage} | {sizes[0]} x {sizes[1]} | {state} | {need / 2**30:.0f} GiB | {fits} |")
    return "\n".join(rows)


def _memory(checkpointing: bool, queries: int, generations: int, length: int) -> int:
    plan = plan_training(
        FOLDER,
        lora_rank=RANK,
        dtype="bfloat16",
        num_slices=SLICES,
        slice_size=SIZE,
        queries_per_volume=queries,
        max_new_tokens=length,
        gradient_checkpointing=checkpointing,
        num_generations=generations,
    )
    return plan.weights + plan.optimizer + plan.activations


def check_table(config: Qwen3VLConfig, model: CostModel) -> str:
    """The model beside torch's counter and the measured runs."""
    gpu = next(gpu for gpu in GPUS if gpu.name == "H200")
    compared = [(name, own, counted, "TFLOP") for name, own, counted in _counted(config, model.operations)]
    for name, forwards, sequences, length, seconds in TRAINING_RUNS:
        compared.append((name, forwards * model.forward(gpu, sequences, length), seconds, "s"))
    for name, checkpointing, queries, generations, length, most in MEMORY_RUNS:
        own = _memory(checkpointing, queries, generations, length) / 2**30
        compared.append((f"{name} memory, checkpointing {'on' if checkpointing else 'off'}", own, most, "GiB"))
    rows = [f"| {name} | {a:.4g} {unit} | {b:.4g} {unit} | {a / b:.2f} |" for name, a, b, unit in compared]
    return "\n".join(["| what | model | counted or measured | ratio |", "|---|---|---|---|", *rows])


def _counted(config: Qwen3VLConfig, operations: Operations) -> list[tuple[str, float, float]]:
    """Name, the model's and torch's count, in 10^12 operations. The counter takes every pair of tokens, seen or not."""
    tokens = 512
    with torch.device("meta"):
        network = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
        embeddings = torch.empty(1, tokens, config.text_config.hidden_size)
    with FlopCounterMode(display=False) as language, torch.no_grad():
        network.model.language_model(inputs_embeds=embeddings)
    vision = config.vision_config
    side = SIZE // vision.patch_size
    tower = network.model.visual.to_empty(device="cpu").float()
    pixels = torch.zeros(side * side, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    # The counter does not see the CPU's fused attention.
    with FlopCounterMode(display=False) as seeing, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        tower(pixels, grid_thw=torch.tensor([[1, side, side]]))
    return [
        (
            f"language model, {tokens} tokens",
            operations.forward(tokens, tokens * tokens) / 1e12,
            language.get_total_flops() / 1e12,
        ),
        (f"vision tower, a slice of {SIZE} x {SIZE}", operations.encode(SIZE) / 1e12, seeing.get_total_flops() / 1e12),
    ]


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="What training and answering cost at 4B.")
    parser.add_argument("--check", action="store_true", help="compare with torch's counter and the measured runs")
    options = parser.parse_args()
    config = Qwen3VLConfig.from_pretrained(FOLDER)
    model = CostModel(config)
    if options.check:
        print(check_table(config, model))
    else:
        print("\n\n".join((gpu_table(model), hours_table(model), memory_table())))


if __name__ == "__main__":
    main()
