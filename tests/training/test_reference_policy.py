"""The reference is the policy that training starts from, below an adapter too."""

import pytest
import torch
from grpo_runs import outputs_of, policy, trainer_of, volume
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.rewards import CompositeReward, FormatReward
from medvol_r1.training.grpo_logging import step_scalars
from medvol_r1.training.reference_policy import ReferencePolicy
from medvol_r1.training.trainable import make_trainable


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
