"""What a step of GRPO writes to TensorBoard: scalars, sampled completions as text, and their evidence as pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.handlers import TensorBoardHandler

from ..anchor import FAILURE_REASONS, AnswerForm, ParseFailure, parse_completion
from ..inferer import evidence_of
from ..propagation import SlicePropagator
from ..report.evidence_picture import draw_evidence
from ..volume.geometry import SliceGeometry
from .rollouts import Rollouts


def step_scalars(output: Mapping[str, Any], answer_form: AnswerForm = "boxes") -> dict[str, float]:
    """The scalars of a step, by tag.

    `reward/total`, its largest possible value `reward/best` if the reward knows it, `reward/<term>` unweighted if it
    has terms, each over the completions that it applies to; `policy/...` as in `grpo.Update` and the entropy of the
    next token in nats; `completion/tokens`, and the fraction that was cut at the token limit; the fraction of groups
    with equal rewards; how many targets are on none of the shown slices; how many completions did not parse, by reason;
    seconds of each part, and completion tokens a second over all parts. What several processes did counts together,
    their seconds as a mean.

    Args:
        output: of `GRPOTrainer`.
        answer_form: of the answers.
    """
    rollouts, update = output["told"], output["update"]
    completions = [one for volume in rollouts for one in volume.flat]
    records = [volume.record for volume in rollouts]
    failures = Counter(reason for volume in rollouts for reason in _failures(volume, answer_form))
    tokens = sum(len(one.ids) for one in completions)
    processes = idist.get_world_size()
    seconds = {
        "sampling": sum(volume.sampling_seconds for volume in rollouts) / processes,
        "reward": sum(volume.reward_seconds for volume in rollouts) / processes,
        "update": output["update_seconds"],
    }
    earned = {"total": [value for record in records for value in record.totals]}
    earned |= {name: [value for record in records for value in record.terms[name]] for name in records[0].terms}
    best = records[0].best
    return {
        "loss": update.loss,
        **{f"reward/{name}": _mean(values) for name, values in earned.items()},
        **({} if best is None else {"reward/best": best}),
        "policy/kl": update.kl,
        "policy/entropy": sum(one.entropy * len(one.ids) for one in completions) / tokens,
        "policy/clip_fraction": update.clip_fraction,
        "policy/mean_ratio": update.mean_ratio,
        "policy/grad_norm": update.grad_norm,
        "completion/tokens": tokens / len(completions),
        "completion/cut_fraction": fmean(not one.finished for one in completions),
        "groups/zero_std_fraction": torch.cat([volume.equal for volume in rollouts]).float().mean().item(),
        "targets/absent": sum(not mask.any() for volume in rollouts for mask in volume.item.masks),
        **{f"failures/{reason}": failures[reason] for reason in FAILURE_REASONS},
        "speed/tokens_per_second": tokens / sum(seconds.values()),
        **{f"speed/{name}_seconds": value for name, value in seconds.items()},
    }


class RolloutWriter(TensorBoardHandler):
    """Handler: now and then one group of completions as text, with its rewards, and the best of it as a picture.

    Args:
        log_dir: of the events.
        every: steps between two; the first step is written as well.
        propagator: draws the mask of the picture, through all slices.
        answer_form: of the answers.
    """

    def __init__(
        self, log_dir: str, every: int, propagator: SlicePropagator, answer_form: AnswerForm = "boxes"
    ) -> None:
        super().__init__(log_dir=log_dir)
        self.every, self.propagator, self.answer_form = every, propagator, answer_form

    def attach(self, engine: Engine) -> None:
        """Called by the trainer."""
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(event_filter=lambda _, step: (step - 1) % self.every == 0), self.write
        )
        engine.add_event_handler(Events.COMPLETED, self.close)

    def write(self, engine: Engine) -> None:
        """Text and picture of a group of the batch's first volume; the groups take turns."""
        rollouts: Rollouts = engine.state.output[0]["rollouts"][0]
        step = engine.state.iteration
        group = (step - 1) // self.every % len(rollouts.completions)
        self._writer.add_text("rollouts", group_text(rollouts, group), step)
        picture = group_picture(rollouts, group, self.propagator, self.answer_form)
        self._writer.add_figure("rollouts", picture, step)
        self._writer.flush()


def group_text(rollouts: Rollouts, group: int) -> str:
    """Query and completions of a group, best first, as indented text: what a model wrote is not markdown."""
    names = list(rollouts.record.terms)
    lines = [f"{rollouts.item.case}: {rollouts.item.texts[group]}", "  ".join(["total", *names, "advantage"])]
    for index in rollouts.rewards[group].nan_to_num(-math.inf).argsort(descending=True, stable=True).tolist():
        terms = ["-" if value is None else f"{value:.2f}" for value in _terms(rollouts, group, index).values()]
        completion = rollouts.completions[group][index]
        cut = "" if completion.finished else " [cut at the token limit]"
        total, advantage = rollouts.rewards[group, index], rollouts.advantages[group, index]
        lines.append("  ".join([f"{total:.3f}", *terms, f"{advantage:+.2f}"]))
        lines.append(f"    {completion.text}{cut}")
    return "\n".join(f"    {line}" for text in lines for line in text.splitlines())


def group_picture(
    rollouts: Rollouts, group: int, propagator: SlicePropagator, answer_form: AnswerForm = "boxes"
) -> Figure:
    """The evidence of a group's best completion beside the target, drawn as a cube: slices know no spacing."""
    item, mask = rollouts.item, rollouts.item.masks[group].numpy()
    best = int(rollouts.rewards[group].nan_to_num(-math.inf).argmax())
    evidence = evidence_of(rollouts.completions[group][best].text, *mask.shape, answer_form)
    key_index, predicted = evidence["key_index"], np.zeros_like(mask)
    if evidence["boxes_px"] or evidence["points_px"]:
        pointed = {"points_xy_px": evidence["points_px"]} if evidence["points_px"] else {}
        predicted = propagator.mask(item.slices, key_index, evidence["boxes_px"], **pointed).cpu().numpy()
    record = evidence | {
        "query": item.texts[group],
        "key_slice": None if key_index is None else key_index + 1,
        "source_slice": key_index,
        "slices_shown": len(mask),
        "voxels": int(predicted.sum()),
        "volume_ml": None,
    }
    slices = item.slices.cpu().numpy()
    return draw_evidence(
        _columns_first(slices if slices.ndim == 3 else slices[:, 0]),
        _columns_first(predicted),
        _cube(mask.shape),
        record,
        window=(0.0, 1.0),
        truth=_columns_first(mask),
        scores={name: value for name, value in _terms(rollouts, group, best).items() if value is not None},
    )


def _mean(values: Sequence[float | None]) -> float:
    """Over those that are there; NaN without any."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else math.nan


def _failures(rollouts: Rollouts, answer_form: AnswerForm) -> Iterator[str]:
    """Why each completion that does not parse does not."""
    for completion in rollouts.flat:
        answer = parse_completion(completion.text, len(rollouts.item.slices), answer_form)
        if isinstance(answer, ParseFailure):
            yield answer.reason


def _terms(rollouts: Rollouts, group: int, index: int) -> dict[str, float | None]:
    """What one completion earned on each term; None where it does not apply."""
    flat = group * len(rollouts.completions[group]) + index
    return {name: values[flat] for name, values in rollouts.record.terms.items()}


def _columns_first(slices: np.ndarray) -> np.ndarray:
    """[S, H, W] to the voxel order of `_cube`: columns, rows, slices."""
    return slices.transpose(2, 1, 0)


def _cube(shape: tuple[int, ...]) -> SliceGeometry:
    """Geometry of slices [S, H, W] that are a volume by themselves: LPS, as high as it has rows."""
    num_slices, height, width = shape
    return SliceGeometry(
        source_shape=(width, height, num_slices),
        source_affine=np.diag([-1.0, -1.0, height / num_slices, 1.0]),
        orientation=np.array([[0, 1], [1, 1], [2, 1]]),
        source_index=np.arange(num_slices),
    )
