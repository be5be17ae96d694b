"""What `constrained` changes: answers of a model with and without it, on validation phantoms.

    python benchmarks/constrained_decoding.py

For each volume all queries are asked together, greedily and at a temperature. Printed are the share of completions that
parse, R_a and box IoU of them as in the validation of training (0 for what does not parse), those whose tokens are the
same with and without, tokens and forwards of the language model (the volume's prefix not counted), and CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from statistics import fmean
from types import ModuleType
from unittest import mock

import torch
from medvol_r1.datasets.phantom_volumes import PhantomVolumes
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.lvlm.decoding import static_sequences, writing
from medvol_r1.lvlm.encoded_volume import hidden_states, prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.training.validation import score_anchor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lvlm_path", default="bundle/models/lvlm")
    parser.add_argument("--volumes", type=int, default=4, help="phantoms")
    parser.add_argument("--num_slices", type=int, default=32, help="shown slices")
    parser.add_argument("--slice_size", type=int, default=128, help="pixels")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the sampled answers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    phantoms = PhantomVolumes("validation", options.volumes, options.num_slices, options.slice_size)
    items = [phantoms[number] for number in range(len(phantoms))]
    models = {flag: VolumeLVLM(options.lvlm_path, constrained=flag).load() for flag in (False, True)}
    print("| temperature | constrained | parse | R_a | box IoU | same tokens | tokens | forwards | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for temperature in (0.0, options.temperature):
        without: list[list[int]] = []
        for flag, model in models.items():
            ids, scores, forwards, seconds = answered(model, items, Sampling(temperature))
            without = without or ids
            same = sum(one == other for one, other in zip(ids, without, strict=True))
            print(
                f"| {temperature} | {flag} | {' | '.join(f'{value:.3f}' for value in scores)} | {same} of {len(ids)} "
                f"| {sum(map(len, ids))} | {forwards} | {seconds:.1f} |",
                flush=True,
            )


def answered(
    model: VolumeLVLM, items: Sequence[VolumeQueries], sampling: Sampling
) -> tuple[list[list[int]], list[float], int, float]:
    """Tokens of all answers, their mean scores, forwards and CPU seconds."""
    ids: list[list[int]] = []
    scores: dict[str, list[float]] = {"format_rate": [], "R_a": [], "box_iou": [], "absent_accuracy": []}
    seconds, counted = 0.0, mock.Mock(side_effect=hidden_states)
    for number, item in enumerate(items):
        volume = model.encode(item.slices)
        prefilled(model.base, volume)
        generator = torch.Generator().manual_seed(number)
        start = time.process_time()
        with patched(writing, counted), patched(static_sequences, counted):
            answers = model.generate(volume, item.texts, sampling=sampling, generator=generator)
        seconds += time.process_time() - start
        for (answer,), target in zip(answers, item.masks, strict=True):
            ids.append(answer.ids.tolist())
            for score, value in score_anchor(answer.text, target.numpy()).items():
                scores[score].append(value)
    means = [fmean(scores[name]) for name in ("format_rate", "R_a", "box_iou")]
    return ids, means, counted.call_count, seconds


def patched(module: ModuleType, counted: mock.Mock) -> AbstractContextManager[object]:
    return mock.patch.object(module, "hidden_states", counted)


if __name__ == "__main__":
    main()
