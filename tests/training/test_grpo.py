"""The GRPO engine on a random tiny model: gradients against the formula, reference, groups, logs, bad input."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from grpo_runs import CPU, only, outputs_of, policy, trainer_of, volume, weights_of
from medvol_r1.anchor import FAILURE_REASONS
from medvol_r1.losses import GRPOLoss, group_advantages
from medvol_r1.lvlm.weights import WeightsError
from medvol_r1.rewards import CompositeReward, FormatReward
from medvol_r1.training.grpo import GRPOTrainer
from medvol_r1.training.grpo_logging import step_scalars
from medvol_r1.training.rollouts import RolloutSampler
from medvol_r1.training.trainable import TrainableWeights
from toy_rewards import VowelReward


class OneGroupDiffers(VowelReward):
    """The first query of a volume has groups of equal rewards, the others do not."""

    def __init__(self, generations):
        self.generations = generations

    def __call__(self, completions, masks, **columns):
        values = super().__call__(completions, masks)
        return [0.5] * self.generations + values[self.generations :]


# The update ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalisation", ["sequence", "token"])
@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_the_gradient_is_that_of_the_formula_with_skipped_groups_and_several_volumes(folder, normalisation, kl):
    network = policy(folder)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    # Plain descent with rate 1: the weights move by the gradient.
    trainer = trainer_of(
        network, kl=kl, generations=3, reward=only(OneGroupDiffers(3)), normalisation=normalisation,
        optimizer=torch.optim.SGD(trained, lr=1.0), max_grad_norm=1e9, batch=[volume(0), volume(1)],
    )  # fmt: skip
    if kl:  # the start policy has no gradient of the KL: move the policy a little
        with torch.no_grad():
            generator = torch.Generator().manual_seed(1)
            for weight in trained:
                weight += 0.02 * torch.randn(weight.shape, generator=generator) * weight.std(correction=0)
    before = weights_of(network)
    (output,) = outputs_of(trainer)
    after = weights_of(network)
    # The same, by hand: each completion alone, all groups, one loss.
    network.packing = "none"
    with torch.no_grad():
        for name, weight in TrainableWeights(network).state_dict().items():
            weight.copy_(before[name])
    rollouts = output["rollouts"]
    assert [item.equal.tolist() for item in rollouts] == [[True, False]] * 2
    per_completion = []
    for item in rollouts:
        encoded = network.encode(item.item.slices)
        ids = [[one.ids for one in group] for group in item.completions]
        found = chain.from_iterable(network.log_probs(encoded, item.item.texts, ids))
        seen = trainer.reference.encode(item.item.slices, encoded) if kl else None
        ref = chain.from_iterable(trainer.reference.log_probs(seen, item.item.texts, ids)) if kl else [None] * 6
        advantages = group_advantages(item.rewards).flatten()
        for log_probs, reference, advantage in zip(found, ref, advantages, strict=True):
            token = -(log_probs - log_probs.detach()).exp() * advantage
            if kl:
                difference = reference - log_probs
                token = token + kl * (difference.exp() - difference - 1)
            per_completion.append(token)
    if normalisation == "sequence":
        loss = torch.stack([token.mean() for token in per_completion]).mean()
    else:
        loss = torch.cat(per_completion).mean()
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    assert output["loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert output["update"].mean_ratio == pytest.approx(1.0)
    moved = torch.cat([(before[name] - after[name]).flatten() for name in before])
    expected = torch.cat([(g if g is not None else w * 0).flatten() for g, w in zip(gradients, trained, strict=True)])
    assert expected.norm() > 1e-3
    assert ((moved - expected).norm() / expected.norm()).item() < 1e-3  # float32, weights of size 1 minus a small step


def test_the_reward_rises(folder):
    trainer = trainer_of(policy(folder), steps=12, generations=16, learning_rate=1e-2, batch=[volume(0)])
    totals = [step_scalars(output)["reward/total"] for output in outputs_of(trainer)]
    assert np.mean(totals[-3:]) > 2 * np.mean(totals[:3])


def test_old_log_probabilities_are_those_of_the_first_pass(folder):
    seen = []

    class Spy(GRPOLoss):
        def forward(self, log_probs, old_log_probs, *others):
            seen.append((log_probs.detach().clone(), old_log_probs.clone()))
            return super().forward(log_probs, old_log_probs, *others)

    trainer = trainer_of(policy(folder), batch=[volume(0)], num_iterations=3)
    trainer.loss_function = Spy(kl_coefficient=0.0)
    (output,) = outputs_of(trainer)
    (first, old), *later = seen
    assert torch.equal(first, old) and len(later) == 2
    assert all(torch.equal(old, again) and not torch.equal(now, old) for now, again in later)
    assert output["update"].mean_ratio != 1.0


def test_groups_of_equal_rewards_alone_leave_the_weights_as_they_are(folder):
    network = policy(folder)
    before = weights_of(network)
    nothing = CompositeReward(terms={"R_f": FormatReward()}, weights={"R_f": 1.0})  # a random model never parses
    (output,) = outputs_of(trainer_of(network, reward=nothing))
    scalars = step_scalars(output)
    assert scalars["groups/zero_std_fraction"] == 1 and scalars["reward/total"] == 0 and scalars["loss"] == 0
    assert sum(scalars[f"failures/{reason}"] for reason in FAILURE_REASONS) == 3 * 4  # three queries, G = 4
    assert scalars["policy/grad_norm"] == 0 and math.isnan(scalars["policy/kl"])
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())


def test_a_frozen_vision_tower_reads_a_volume_once(folder):
    network = policy(folder, lora_rank=2)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    calls = []
    encode = network.encode
    network.encode = lambda slices: calls.append(len(slices)) or encode(slices)
    outputs_of(trainer_of(network, kl=0.01, num_iterations=2))
    assert len(calls) == 2  # two volumes; sampling, reference and two passes share them
    changed = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert changed and all("lora_" in name for name in changed)


# Bad input ----------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_work_are_refused(folder):
    reward = only(VowelReward())
    network = policy(folder)
    with pytest.raises(ValueError, match="num_iterations is 0"):
        trainer_of(network, num_iterations=0)
    with pytest.raises(ValueError, match="give a `reference` policy, or 0"):
        GRPOTrainer(CPU, 1, [], network, None, GRPOLoss(kl_coefficient=0.01), RolloutSampler(reward, 4))


def test_a_gradient_that_is_not_finite_leaves_the_weights(folder):
    network = policy(folder)
    trainer = trainer_of(network)
    before = weights_of(network)
    clean = trainer.loss_function

    class Broken(GRPOLoss):
        def forward(self, log_probs, *others):
            loss, statistics = clean(log_probs, *others)
            return loss + (log_probs.sum() * 0).sqrt(), statistics  # the slope of a root at 0 is infinite

    trainer.loss_function = Broken(kl_coefficient=0.0)
    with pytest.raises(FloatingPointError, match="Step 1: the gradient is non-finite in .* weights, first in "):
        trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())


def test_a_policy_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="'bert' model, need 'qwen3_vl' or .*lvlm_path"):
        policy(tmp_path)


def test_what_nothing_applies_to_leaves_the_weights(folder):
    network = policy(folder)
    before = weights_of(network)
    (output,) = outputs_of(trainer_of(network, reward=lambda completions, **columns: [None] * len(completions)))
    assert step_scalars(output)["groups/zero_std_fraction"] == 1 and math.isnan(step_scalars(output)["reward/total"])
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())
