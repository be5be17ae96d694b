"""What was computed is kept as long as the network is the one that computed it, and no longer."""

import pytest
import torch
from medvol_r1.lvlm.encoded_volume import prefilled
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.network_state import is_trained, what_weights_are, where_weights_are
from peft import LoraConfig, get_peft_model
from torch import nn


def network():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).requires_grad_(False)


def states(one):
    return where_weights_are(one), what_weights_are(one)


def test_a_change_in_place_is_other_weights_at_the_same_place():
    one = network()
    where, what = states(one)
    one(torch.rand(3, 4))
    assert states(one) == (where, what)
    with torch.no_grad():
        one[2].bias.add_(1)
    assert where_weights_are(one) == where and what_weights_are(one) != what


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one[0], "weight", nn.Parameter(one[0].weight.clone())),
        lambda one: one.double(),
        lambda one: one.pop(2),
    ],
    ids=["replaced", "converted", "taken away"],
)
def test_weights_that_are_elsewhere_are_another_network(change):
    one = network()
    kept = list(one.parameters())  # their memory is not taken again
    where, what = states(one)
    change(one)
    assert where_weights_are(one) != where and what_weights_are(one) != what and kept


def test_autocast_is_a_part_of_the_state():
    one = network()
    plain = where_weights_are(one)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        brain = where_weights_are(one)
    with torch.autocast("cpu", dtype=torch.float16):
        half = where_weights_are(one)
    assert len({plain, brain, half}) == 3 and where_weights_are(one) == plain


def test_adapters_come_are_switched_and_are_merged():
    plain = network()
    seen = [where_weights_are(plain)]
    adapted = get_peft_model(plain, LoraConfig(r=2, target_modules=["0"]))
    seen.append(where_weights_are(adapted))
    with adapted.disable_adapter():
        seen.append(where_weights_are(adapted))
    assert where_weights_are(adapted) == seen[1]
    adapted.merge_adapter()
    seen.append(where_weights_are(adapted))
    assert len(set(seen)) == 4


def test_one_weight_that_may_change_is_training():
    one = network()
    assert not is_trained(one)
    one[2].bias.requires_grad_(True)
    assert is_trained(one)


def test_weights_of_inference_mode_have_a_state():
    with torch.inference_mode():
        one = network()
    assert states(one) == states(one)


def test_a_switched_adapter_is_another_network(folder, slices):
    lvlm = VolumeLVLM(folder).add_lora(rank=4, alpha=8)
    with torch.no_grad():
        for name, weight in lvlm.named_parameters():
            weight.requires_grad_(False)
            if "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    volume = lvlm.encode(slices)
    adapted = prefilled(lvlm.base, volume)
    with lvlm.qwen.disable_adapter():
        plain = prefilled(lvlm.base, volume)
    assert (adapted[0][0] - plain[0][0]).abs().max() > 0.01
    torch.testing.assert_close(prefilled(lvlm.base, volume), adapted)
