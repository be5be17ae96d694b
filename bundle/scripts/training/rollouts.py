"""The sampling half of GRPO (paper, Sec. 2.2 and 2.5): a volume's queries answered G times each, and rewarded.

The volume's prefix is encoded once and shared by all K x G completions.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import ignite.distributed as idist
import torch
from torch import Tensor

from ..datasets.volume_queries import VolumeQueries
from ..losses import group_advantages
from ..lvlm.decoding.completion import Completion
from ..lvlm.encoded_volume import EncodedVolume
from ..lvlm.model import VolumeLVLM
from ..lvlm.sampling import Sampling
from ..rewards import Reward, RewardRecord, record_of


@dataclass(frozen=True)
class Rollouts:
    """Completions of a volume's queries, K groups of G, and what they earned.

    Args:
        item: the volume and its queries.
        volume: the prefix that they were sampled behind; it holds no gradient. None in rollouts of another process.
        completions: K lists of G.
        rewards: float32 [K, G]; NaN where the reward does not apply.
        advantages: float32 [K, G]; 0 in a group of equal rewards, and where the reward does not apply.
        record: what the rewards are made of; its lists are in the order of the flattened completions.
        sampling_seconds: time to encode and sample.
        reward_seconds: time to score.
    """

    item: VolumeQueries
    volume: EncodedVolume | None
    completions: Sequence[Sequence[Completion]]
    rewards: Tensor
    advantages: Tensor
    record: RewardRecord
    sampling_seconds: float
    reward_seconds: float

    @property
    def equal(self) -> Tensor:
        """bool [K], the groups of equal rewards: nothing in them is better than the rest ("zero std")."""
        return ~self.advantages.any(dim=1)

    @property
    def flat(self) -> list[Completion]:
        """The K * G completions, group after group."""
        return list(chain.from_iterable(self.completions))


class RolloutSampler:
    """Samples completions and scores them.

    The loss takes log-probabilities at temperature 1 over all tokens. That is what completions are drawn from with the
    default `sampling`; with another one they are drawn a little off the policy that is optimised.

    Args:
        reward: of completions; see `rewards`. Any function of TRL's contract will do.
        num_generations: G, completions of a query; they are compared with each other.
        sampling: how tokens are drawn; default: temperature 1, all tokens.
        scale_advantages: divide by the group's standard deviation (paper, Eq. 2).
        generator: of the draws, on the network's device; its state belongs in checkpoints.
        draws_by_volume: the generator is set for each volume, by its own seed, the step, and the volume's place in the
            batch. So it does not matter which process samples, nor what it has sampled before.
        bf16: the language model under bfloat16 autocast, as in the update.
        volumes_per_decoding: volumes of one size whose completions are written together, as many as memory holds. What
            is drawn depends on it.

    Raises:
        ValueError: num_generations below 2, greedy sampling, or several volumes together that should have draws of
            their own; in a call, a reward that is not a finite number.
    """

    def __init__(
        self,
        reward: Reward,
        num_generations: int = 4,
        *,
        sampling: Sampling | None = None,
        scale_advantages: bool = True,
        generator: torch.Generator | None = None,
        draws_by_volume: bool = False,
        bf16: bool = False,
        volumes_per_decoding: int = 1,
    ) -> None:
        if num_generations < 2:
            raise ValueError(
                f"num_generations is {num_generations}; a completion is compared with the others of its query, so "
                "give 2 or more (config key `num_generations`)."
            )
        sampling = sampling or Sampling(temperature=1.0)
        if sampling.temperature == 0:
            raise ValueError("Greedy completions of a query are all equal; give a `temperature` above 0 (1 is usual).")
        self.reward, self.num_generations, self.sampling = reward, num_generations, sampling
        if draws_by_volume and generator is None:
            raise ValueError("draws_by_volume is true without a generator, whose seed it needs; give `generator`.")
        self.scale_advantages, self.generator, self.bf16 = scale_advantages, generator, bf16
        if volumes_per_decoding < 1 or (draws_by_volume and volumes_per_decoding > 1):
            raise ValueError(
                f"volumes_per_decoding is {volumes_per_decoding}; give 1 or more, and 1 with `draws_by_volume`: "
                "volumes that are decoded together share their draws."
            )
        self._seed = generator.initial_seed() if draws_by_volume else None
        self.volumes_per_decoding = volumes_per_decoding

    def __call__(self, network: VolumeLVLM, item: VolumeQueries, place: tuple[int, int] = (1, 0)) -> Rollouts:
        """G completions of each query of a volume, with their rewards and advantages.

        Args:
            network: the policy, in evaluation mode.
            item: the volume and its K queries.
            place: the step, and where in its batch the volume is.
        """
        return self.of_batch(network, [item], [place])[0]

    @torch.no_grad()
    def of_batch(
        self, network: VolumeLVLM, items: Sequence[VolumeQueries], places: Sequence[tuple[int, int]]
    ) -> list[Rollouts]:
        """The same of several volumes; as many of them together as `volumes_per_decoding` says."""
        rollouts = []
        for start in range(0, len(items), self.volumes_per_decoding):
            part = slice(start, start + self.volumes_per_decoding)
            started = time.perf_counter()
            volumes, completions = self._sampled(network, items[part], places[start])
            seconds = (time.perf_counter() - started) / len(volumes)
            rollouts += map(partial(self._rewarded, sampling_seconds=seconds), items[part], volumes, completions)
        return rollouts

    def _sampled(
        self, network: VolumeLVLM, items: Sequence[VolumeQueries], place: tuple[int, int]
    ) -> tuple[list[EncodedVolume], list[list[list[Completion]]]]:
        """The volumes, and for each query G completions."""
        if self._seed is not None:
            self.generator.manual_seed(zlib.crc32(f"{self._seed} {place}".encode()))
        volumes = [network.encode(item.slices) for item in items]
        with torch.autocast(volumes[0].prefix_ids.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return volumes, network.generate_many(
                volumes,
                [item.texts for item in items],
                num_samples=self.num_generations,
                sampling=self.sampling,
                generator=self.generator,
            )

    def _rewarded(
        self,
        item: VolumeQueries,
        volume: EncodedVolume,
        completions: Sequence[Sequence[Completion]],
        sampling_seconds: float,
    ) -> Rollouts:
        """What a volume's completions earn."""
        started = time.perf_counter()
        # The same objects for all completions: that is how a reward knows that they share the volume.
        masks = [mask.cpu().numpy() for mask in item.masks]
        slices = item.slices.cpu()
        flat = list(chain.from_iterable(completions))
        record = record_of(
            self.reward,
            [completion.text for completion in flat],
            prompts=[text for text in item.texts for _ in range(self.num_generations)],
            completion_ids=[completion.ids.tolist() for completion in flat],
            masks=[mask for mask in masks for _ in range(self.num_generations)],
            slices=[slices] * len(flat),
        )
        totals = [float("nan") if total is None else total for total in record.totals]
        rewards = torch.tensor(totals).reshape(len(masks), self.num_generations)
        return Rollouts(
            item=item,
            volume=volume,
            completions=completions,
            rewards=rewards,
            advantages=torch.stack([_advantages(group, self.scale_advantages) for group in rewards]),
            record=record,
            sampling_seconds=sampling_seconds,
            reward_seconds=time.perf_counter() - started,
        )


def of_all_processes(rollouts: Sequence[Rollouts]) -> Sequence[Rollouts]:
    """Those of all processes, to be told of; where there are several, without the voxels, which are too much to send.

    Of each mask one voxel is left, that says whether there is a target, and of each slice one.
    """
    if idist.get_world_size() == 1:
        return rollouts
    light = []
    for one in rollouts:
        slices, masks = one.item.slices.flatten(1)[:, :1].clone(), one.item.masks.any(-1, True).any(-2, True)
        light.append(replace(one, volume=None, item=replace(one.item, slices=slices, masks=masks)))
    return list(chain.from_iterable(idist.all_gather(light)))


def _advantages(rewards: Tensor, scale: bool) -> Tensor:
    """[G] of a group; as in TRL, what the reward does not apply to is no part of the group and is not learned from."""
    applies = ~rewards.isnan()
    advantages = torch.zeros_like(rewards)
    if applies.sum() > 1:
        advantages[applies] = group_advantages(rewards[applies], scale=scale)
    return advantages
