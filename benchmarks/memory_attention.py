"""Memory attention on a CPU: `medsam2/memory_attention.py` beside transformers' module, for the official size (t512).

    python benchmarks/memory_attention.py

Two boxes on one slice, each with its own memories; both on the same inputs and random weights in one process, in turn.
CPU seconds a box of one thread, best of some repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from medvol_r1.evaluation.tables import table
from medvol_r1.medsam2.memory_attention import memory_attention
from medvol_r1.medsam2.weights import t512_config
from torch import Tensor
from tqdm import tqdm
from transformers import Sam2VideoModel

_BOXES = 2


def seconds_a_box(compute: Callable[[], Tensor]) -> float:
    """CPU seconds of one call, for each box."""
    start = time.process_time()
    compute()
    return (time.process_time() - start) / _BOXES


@torch.no_grad()
def row(model: Sam2VideoModel, memories: int, repeats: int) -> list[str]:
    """A line of the table.

    Args:
        model: the weights.
        memories: slices that a box remembers, the key slice among them; each leaves a pointer too.
        repeats: how often each way is timed.
    """
    side, channels, depth = model.prompt_encoder.image_embedding_size[0], model.hidden_dim, model.mem_dim
    pointers = memories * channels // depth
    tokens = torch.randn(1, side * side, channels).expand(_BOXES, -1, -1).contiguous()
    position = torch.randn(side * side, channels)
    memory = torch.randn(_BOXES, memories * side * side + pointers, depth)
    places = torch.randn(memory.shape[1], depth)

    def own() -> Tensor:
        return memory_attention(model.memory_attention, tokens, position, memory, places, pointers)

    def theirs() -> Tensor:
        found = model.memory_attention(
            current_vision_features=tokens.transpose(0, 1),
            current_vision_position_embeddings=position[:, None],
            memory=memory.transpose(0, 1),
            memory_posision_embeddings=places[:, None].expand(-1, _BOXES, -1),
            num_object_pointer_tokens=pointers,
        )
        return found.reshape(tokens.shape)

    difference = (own() - theirs()).abs().max().item()  # and a warm-up
    times = [(seconds_a_box(theirs), seconds_a_box(own)) for _ in range(repeats)]
    by_transformers, by_own = (min(column) for column in zip(*times, strict=True))
    ratio = by_transformers / by_own
    return [str(memories), f"{by_transformers:.3f}", f"{by_own:.3f}", f"{ratio:.2f}", f"{difference:.0e}"]


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description="Time memory attention beside transformers' module.")
    parser.add_argument("--memories", type=int, nargs="+", default=[1, 3, 7], help="slices that are remembered")
    parser.add_argument("--repeats", type=int, default=4, help="how often each is timed (default 4)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Sam2VideoModel(t512_config()).eval()
    rows = [row(model, memories, options.repeats) for memories in tqdm(options.memories)]
    header = ["memories", "transformers' module, s", "own, s", "ratio", "largest difference"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
