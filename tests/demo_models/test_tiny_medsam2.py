import pytest
import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2


def test_tiny_model_size_seed_and_random_state():
    before = torch.get_rng_state()
    first, again, other = build_tiny_medsam2(seed=1), build_tiny_medsam2(seed=1), build_tiny_medsam2(seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert sum(p.numel() for p in first.parameters()) < 2_200_000
    weights = [model.memory_attention.layers[0].linear1.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    with pytest.raises(ValueError, match="image_size is 100; give a positive multiple of 32"):
        build_tiny_medsam2(image_size=100)
