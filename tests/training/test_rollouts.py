"""What completions earn, what a reward is given, and what is no part of a group."""

import pytest
import torch
from grpo_runs import Nothing, answered, only, outputs_of, policy, trainer_of, volume
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.training.grpo_logging import group_picture, group_text, step_scalars
from medvol_r1.training.rollouts import RolloutSampler
from toy_rewards import VowelReward


def test_a_reward_that_is_not_a_number_names_itself(folder):
    trainer = trainer_of(policy(folder), reward=only(lambda completions, **columns: [float("nan")] * len(completions)))
    with pytest.raises(ValueError, match="The reward 'term' of completion 0 is nan"):
        trainer.run()


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


def test_rollouts_of_several_volumes_are_those_of_the_seed(folder):
    network, items, places = policy(folder), [volume(0), volume(1, num_queries=1), volume(2)], [(1, 0), (1, 1), (1, 2)]

    def made(together):
        generator = torch.Generator().manual_seed(0)
        sampler = RolloutSampler(only(VowelReward()), 3, generator=generator, volumes_per_decoding=together)
        return sampler.of_batch(network.eval(), items, places)

    rollouts = made(2)
    ids = [[one.ids.tolist() for one in rollout.flat] for rollout in rollouts]
    assert ids == [[one.ids.tolist() for one in rollout.flat] for rollout in made(2)]
    assert ids != [[one.ids.tolist() for one in rollout.flat] for rollout in made(1)]  # other draws
    assert [rollout.item.case for rollout in rollouts] == ["case0", "case1", "case2"]
    assert [list(rollout.rewards.shape) for rollout in rollouts] == [[2, 3], [1, 3], [2, 3]]
    masks = [mask.numpy() for mask in items[2].masks for _ in range(3)]
    vowels = VowelReward()(completions=[one.text for one in rollouts[2].flat], masks=masks)
    assert rollouts[2].rewards.flatten().tolist() == pytest.approx(vowels)


def test_settings_that_leave_nothing_to_compare_are_refused():
    reward = only(VowelReward())
    with pytest.raises(ValueError, match="volumes_per_decoding is 0; give 1 or more"):
        RolloutSampler(reward, 4, volumes_per_decoding=0)
    with pytest.raises(ValueError, match="volumes_per_decoding is 2; .* 1 with `draws_by_volume`"):
        RolloutSampler(reward, 4, generator=torch.Generator(), draws_by_volume=True, volumes_per_decoding=2)
    with pytest.raises(ValueError, match="num_generations is 1; .* give 2 or more"):
        RolloutSampler(reward, 1)
    with pytest.raises(ValueError, match="all equal; give a `temperature` above 0"):
        RolloutSampler(reward, 4, sampling=Sampling())
