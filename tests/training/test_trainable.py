"""What is trained; weights in half precision are not trained whole."""

import pytest
import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.training.trainable import TrainableWeights, make_trainable


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_weights_train_an_adapter_in_float32_and_never_themselves(folder, dtype):
    with pytest.raises(ValueError, match=f"`dtype` is {dtype} and `lora_rank` 0: .* Give `dtype` float32 .*lora_rank"):
        make_trainable(VolumeLVLM(folder, dtype=dtype), 0, False)
    network = make_trainable(VolumeLVLM(folder, dtype=dtype), 2, False)
    assert {weight.dtype for weight in TrainableWeights(network).state_dict().values()} == {torch.float32}


def test_a_checkpoint_of_other_weights_is_refused(folder):
    with_lora = TrainableWeights(make_trainable(VolumeLVLM(folder), 2, False))
    whole = TrainableWeights(make_trainable(VolumeLVLM(folder), 0, False))
    with pytest.raises(ValueError, match="other weights than this run trains"):
        whole.load_state_dict(with_lora.state_dict())
    wider = TrainableWeights(make_trainable(VolumeLVLM(folder), 4, False))
    with pytest.raises(ValueError, match=r"lora_A.* is \[2, 96\] in the checkpoint and \[4, 96\] in this run"):
        wider.load_state_dict(with_lora.state_dict())


def test_the_first_weight_that_is_not_finite_is_named():
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    weights = TrainableWeights(network)
    assert weights.first_not_finite() is None
    torch.nn.init.constant_(network[1].bias, torch.nan)
    assert weights.first_not_finite() == "1.bias"
