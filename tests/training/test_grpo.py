"""The GRPO engine on a random tiny model: gradients against the formula, reference, groups, logs, bad input."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from ignite.engine import Events
from medvol_r1.anchor import FAILURE_REASONS, EvidenceAnchor, format_completion
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.losses import GRPOLoss, group_advantages
from medvol_r1.lvlm.decoding import Completion
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.lvlm.weights import WeightsError
from medvol_r1.rewards import AxialReward, CompositeReward, FormatReward, SpatialReward
from medvol_r1.training.grpo import GRPOTrainer
from medvol_r1.training.grpo_logging import RolloutWriter, group_picture, group_text, step_scalars
from medvol_r1.training.reference_policy import ReferencePolicy
from medvol_r1.training.rollouts import RolloutSampler
from medvol_r1.training.trainable import TrainableWeights, make_trainable
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_models import save_random_lvlm
from toy_rewards import VowelReward

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("lvlm"))


def volume(seed=0, num_queries=2, empty=False):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(num_queries, 3, 32, 32, dtype=torch.bool)
    if not empty:
        masks[:, 1, 8:16, 4:20] = True
    return VolumeQueries(
        case=f"case{seed}",
        slices=torch.rand(3, 32, 32, generator=generator),
        texts=("the liver", "show both kidneys")[:num_queries],
        targets=("liver", "kidneys")[:num_queries],
        masks=masks,
        completions=("",) * num_queries,
    )


def policy(folder, lora_rank=0, max_new_tokens=8):
    return make_trainable(VolumeLVLM(str(folder), max_new_tokens=max_new_tokens), lora_rank, False)


def trainer_of(
    network, steps=1, batch=None, reward=None, kl=0.0, generations=4, learning_rate=1e-3, normalisation="sequence",
    seed=0, optimizer=None, **options,
):  # fmt: skip
    sampler = RolloutSampler(
        reward or CompositeReward(terms={"vowels": VowelReward()}, weights={"vowels": 1.0}),
        generations,
        generator=torch.Generator().manual_seed(seed),
    )
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    return GRPOTrainer(
        device=CPU,
        max_epochs=1,
        train_data_loader=[batch or [volume(0), volume(1, num_queries=1)]] * steps,
        network=network,
        optimizer=optimizer or torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0),
        loss_function=GRPOLoss(kl_coefficient=kl, normalisation=normalisation),
        sampler=sampler,
        reference=options.pop("reference", None) or (ReferencePolicy(network) if kl else None),
        bf16=False,
        **options,
    )


def outputs_of(trainer):
    outputs = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    trainer.run()
    return outputs


def weights_of(network):
    return {name: weight.clone() for name, weight in TrainableWeights(network).state_dict().items()}


class OneGroupDiffers(VowelReward):
    """The first query of a volume has groups of equal rewards, the others do not."""

    def __init__(self, generations):
        self.generations = generations

    def __call__(self, completions, masks, **columns):
        values = super().__call__(completions, masks)
        return [0.5] * self.generations + values[self.generations :]


def only(term):
    return CompositeReward(terms={"term": term}, weights={"term": 1.0})


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


# The reference ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_reference_is_the_start_policy_and_the_kl_begins_at_zero(folder, lora_rank):
    network = policy(folder, lora_rank)
    trainer = trainer_of(network, steps=3, kl=0.01, learning_rate=1e-2)
    first, *_, last = [step_scalars(output) for output in outputs_of(trainer)]
    assert first["policy/kl"] == pytest.approx(0.0, abs=1e-9) and last["policy/kl"] > 1e-5
    item, ids = volume(0), [[torch.tensor([205, 306, 407])]]
    start = VolumeLVLM(str(folder))
    with torch.no_grad():
        expected = start.log_probs(start.encode(item.slices), ["the liver"], ids)[0][0]
        moved = network.log_probs(network.encode(item.slices), ["the liver"], ids)[0][0]
    seen = trainer.reference.encode(item.slices, network.encode(item.slices))
    found = trainer.reference.log_probs(seen, ["the liver"], ids)[0][0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (moved - expected).abs().max() > 1e-3


def test_the_kl_term_draws_back_to_the_reference_without_any_advantage(folder):
    nothing = CompositeReward(terms={"R_f": FormatReward()}, weights={"R_f": 1.0})
    divergences = []
    for passes in (1, 6):
        network = policy(folder)
        reference = ReferencePolicy(network)
        with torch.no_grad():
            network.base.lm_head.weight.mul_(1.5)
        options = {"reward": nothing, "kl": 1.0, "reference": reference, "learning_rate": 1e-3}
        (output,) = outputs_of(trainer_of(network, num_iterations=passes, **options))
        assert step_scalars(output)["groups/zero_std_fraction"] == 1
        divergences.append(output["update"].kl)  # in the last pass, on the same rollouts
    assert divergences[1] < divergences[0] / 2


def test_the_reference_below_an_adapter_is_the_adapter_of_sft_merged(folder, tmp_path):
    stage_1 = policy(folder, lora_rank=2)
    with torch.no_grad():
        for name, weight in stage_1.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    with pytest.raises(ValueError, match="not new .*lvlm_adapter"):
        ReferencePolicy(stage_1)
    stage_1.save(tmp_path / "sft")
    network = make_trainable(VolumeLVLM(str(folder), adapter=str(tmp_path / "sft")), 2, False)
    item, ids = volume(0), [[torch.tensor([205, 306, 407])]]
    with torch.no_grad():
        encoded = network.encode(item.slices)
        after_sft = stage_1.log_probs(encoded, ["the liver"], ids)[0][0]
        base = VolumeLVLM(str(folder)).log_probs(encoded, ["the liver"], ids)[0][0]
    found = ReferencePolicy(network).log_probs(encoded, ["the liver"], ids)[0][0]
    torch.testing.assert_close(found, after_sft, rtol=1e-4, atol=1e-4)
    assert (after_sft - base).abs().max() > 1e-2
    # and both adapters together are the policy of stage 2
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.fill_(-0.02)
    network.save(tmp_path / "grpo")
    both = VolumeLVLM(str(folder), adapter=[str(tmp_path / "sft"), str(tmp_path / "grpo")])
    with torch.no_grad():
        trained = network.log_probs(encoded, ["the liver"], ids)[0][0]
        merged = both.log_probs(encoded, ["the liver"], ids)[0][0]
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=1e-4)


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
    with pytest.raises(ValueError, match="num_generations is 1; .* give 2 or more"):
        RolloutSampler(reward, 1)
    with pytest.raises(ValueError, match="all equal; give a `temperature` above 0"):
        RolloutSampler(reward, 4, sampling=Sampling())
    network = policy(folder)
    with pytest.raises(ValueError, match="num_iterations is 0"):
        trainer_of(network, num_iterations=0)
    with pytest.raises(ValueError, match="give a `reference` policy, or 0"):
        GRPOTrainer(CPU, 1, [], network, None, GRPOLoss(kl_coefficient=0.01), RolloutSampler(reward, 4))


def test_a_reward_that_is_not_a_number_names_itself(folder):
    trainer = trainer_of(policy(folder), reward=only(lambda completions, **columns: [float("nan")] * len(completions)))
    with pytest.raises(ValueError, match="The reward 'term' of completion 0 is nan"):
        trainer.run()


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


def test_completions_that_are_cut_are_counted_and_parsed_strictly(folder):
    (output,) = outputs_of(trainer_of(policy(folder, max_new_tokens=3)))
    completions = [one for rollouts in output["rollouts"] for one in rollouts.flat]
    cut = [one for one in completions if not one.finished]
    scalars = step_scalars(output)
    assert cut and all(len(one.ids) == 3 for one in cut)
    assert scalars["completion/cut_fraction"] == len(cut) / len(completions)
    assert scalars["completion/tokens"] <= 3


class Answers(VolumeLVLM):
    """Writes the completions that it is given, in turns."""

    def __init__(self, folder, texts):
        super().__init__(str(folder))
        self.texts = texts

    def generate(self, volume, queries, *, num_samples=1, sampling=None, generator=None):
        made = [Completion(text, torch.tensor(self.prompts.completion_ids(text)), True, 0.5) for text in self.texts]
        return [made[:num_samples] for _ in queries]


GOOD = format_completion(EvidenceAnchor(1, ((125, 250, 625, 500),)), "The liver.")
HALF = format_completion(EvidenceAnchor(1, ((125, 250, 375, 500),)), "The liver.")
NOT_THERE = format_completion(EvidenceAnchor(0, ()), "It is not there.")


def three_terms():
    terms = {"R_f": FormatReward(), "R_a": AxialReward(), "R_s": SpatialReward()}
    return CompositeReward(terms=terms, weights=dict.fromkeys(terms, 1.0))


def answered(folder, item, texts=(GOOD, HALF, NOT_THERE, "no idea")):
    network = make_trainable(Answers(folder, texts), 0, False)
    return outputs_of(trainer_of(network, batch=[item], reward=three_terms()))[0]


def test_a_present_target_is_rewarded_by_what_is_found(folder):
    output = answered(folder, volume(0, num_queries=1))
    # R_f + R_a + R_s: all of the box; half of it; "not present" has the form; nothing
    assert output["rollouts"][0].rewards.tolist() == [[3.0, 2.5, 1.0, 0.0]]
    scalars = step_scalars(output)
    assert scalars["reward/R_s"] == pytest.approx(1.5 / 4) and scalars["reward/best"] == 3
    assert scalars["failures/missing_tag"] == 1 and scalars["targets/absent"] == 0
    assert scalars["policy/entropy"] == 0.5 and scalars["groups/zero_std_fraction"] == 0


def test_an_empty_target_rewards_not_present_and_is_counted(folder):
    # An empty mask is also what a target outside the shown slices looks like.
    output = answered(folder, volume(0, num_queries=2, empty=True))
    assert output["rollouts"][0].rewards.tolist() == [[1.0, 1.0, 3.0, 0.0]] * 2
    assert step_scalars(output)["targets/absent"] == 2  # queries, not completions


def test_a_policy_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="'bert' model, need 'qwen3_vl'.*lvlm_path"):
        policy(tmp_path)


def test_what_a_reward_does_not_apply_to_is_not_learned_from(folder):
    def three_of_four(completions, **columns):
        return [None, 1.0, 2.0, 3.0]

    (output,) = outputs_of(trainer_of(policy(folder), batch=[volume(0, num_queries=1)], reward=three_of_four))
    rollouts = output["rollouts"][0]
    # mean 2, standard deviation 1, of the three
    assert rollouts.advantages[0].tolist() == pytest.approx([0.0, -1 / 1.0001, 0.0, 1 / 1.0001])
    scalars = step_scalars(output)
    assert scalars["reward/total"] == 2.0 and "reward/best" not in scalars
    assert [line.split()[:2] for line in group_text(rollouts, 0).splitlines()[1::1] if "  nan  " in line] == [
        ["nan", "+0.00"]
    ]
    group_picture(rollouts, 0, Nothing())


def test_what_nothing_applies_to_leaves_the_weights(folder):
    network = policy(folder)
    before = weights_of(network)
    (output,) = outputs_of(trainer_of(network, reward=lambda completions, **columns: [None] * len(completions)))
    assert step_scalars(output)["groups/zero_std_fraction"] == 1 and math.isnan(step_scalars(output)["reward/total"])
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(network).items())


def test_a_reward_gets_the_columns_of_trl_s_contract(folder):
    seen = {}

    def reward(prompts, completions, completion_ids, masks, slices, **columns):
        seen.update(prompts=prompts, ids=completion_ids, masks=masks, slices=slices, columns=columns)
        return [float(len(text)) for text in completions]

    item = volume(0)
    (output,) = outputs_of(trainer_of(policy(folder), batch=[item], generations=2, reward=reward))
    completions = output["rollouts"][0].flat
    assert seen["prompts"] == [text for text in item.texts for _ in range(2)]
    assert seen["ids"] == [completion.ids.tolist() for completion in completions]
    assert len(seen["masks"]) == len(seen["slices"]) == 4 and seen["columns"] == {}
    assert output["rollouts"][0].rewards.flatten().tolist() == [float(len(one.text)) for one in completions]


# Logs ---------------------------------------------------------------------------------------------------------------


class Nothing:
    """A propagator that finds nothing."""

    def mask(self, slices, key_index, boxes_xyxy_px):
        return torch.zeros(slices.shape, dtype=torch.bool)


def test_a_group_as_text_is_best_first_and_not_markdown(folder):
    rollouts = answered(folder, volume(0), texts=("no idea", HALF, GOOD, "# no"))["rollouts"][0]
    lines = group_text(rollouts, 1).splitlines()
    assert all(line.startswith("    ") for line in lines)
    assert "case0: show both kidneys" in lines[0]
    assert [float(line.split()[0]) for line in lines[2::2]] == [3.0, 2.5, 0.0, 0.0]
    assert GOOD in lines[3]


@pytest.mark.parametrize("texts", [(GOOD, HALF), (NOT_THERE, "no idea"), ("no", "no idea")])
def test_a_group_as_a_picture(folder, texts, tmp_path):
    rollouts = answered(folder, volume(0), texts=texts * 2)["rollouts"][0]
    group_picture(rollouts, 0, Nothing()).savefig(tmp_path / "picture.png")
    assert np.asarray(Image.open(tmp_path / "picture.png").convert("L")).std() > 5


def test_tensorboard_gets_scalars_texts_and_pictures(folder, tmp_path):
    trainer = trainer_of(policy(folder), steps=3, reward=three_terms(), kl=0.01)
    RolloutWriter(str(tmp_path), every=2, propagator=Nothing()).attach(trainer)
    trainer.run()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Images("rollouts")] == [1, 3]
    assert [event.step for event in events.Tensors("rollouts/text_summary")] == [1, 3]
    scalars = step_scalars(trainer.state.output)
    wanted = {
        "loss", "reward/total", "reward/best", "reward/R_f", "reward/R_a", "reward/R_s", "policy/kl", "policy/entropy",
        "policy/clip_fraction", "completion/tokens", "completion/cut_fraction", "groups/zero_std_fraction",
        "speed/tokens_per_second", "speed/sampling_seconds", "speed/reward_seconds", "speed/update_seconds",
        "failures/missing_tag", "targets/absent",
    }  # fmt: skip
    assert wanted <= set(scalars) and all(isinstance(value, int | float) for value in scalars.values())


def test_the_entropy_is_that_of_the_next_token(folder):
    network = VolumeLVLM(str(folder), max_new_tokens=1)
    encoded = network.encode(volume(0).slices)
    ((completion,),) = network.generate(encoded, ["the liver"], sampling=Sampling(temperature=1.0))
    config = network.base.config
    vision = [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]
    # every token of the vocabulary but those as a completion of its own
    tokens = [torch.tensor([token]) for token in range(config.text_config.vocab_size) if token not in vision]
    with torch.no_grad():
        log_probs = torch.cat(network.log_probs(encoded, ["the liver"], [tokens[:600]])[0])
        rest = [
            network.log_probs(encoded, ["the liver"], [tokens[i : i + 600]])[0] for i in range(600, len(tokens), 600)
        ]
    log_probs = torch.cat([log_probs, *chain.from_iterable(rest)]).log_softmax(0)
    assert completion.entropy == pytest.approx(-(log_probs.exp() * log_probs).sum().item(), rel=1e-4)
