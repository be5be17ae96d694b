"""Memory attention of a CPU against transformers' module, on random weights."""

import pytest
import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2 import steps
from medvol_r1.medsam2.memory_attention import is_for, memory_attention

OBJECTS = 4


@pytest.fixture(scope="module")
def model():
    """With biases and norms that matter: they start at 0 and 1."""
    torch.manual_seed(0)
    built = build_tiny_medsam2().eval()
    for parameter in built.memory_attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


def inputs(model, num_memories, num_pointers):
    """Tokens of objects 0 and 1 on one slice, 2 and 3 on others; position, memories, places."""
    torch.manual_seed(num_memories)
    side, channels = model.prompt_encoder.image_embedding_size[0], model.hidden_dim
    tokens = torch.randn(OBJECTS, side * side, channels)
    tokens[1] = tokens[0]
    count = num_memories * side * side + num_pointers
    memories, places = torch.randn(OBJECTS, count, model.mem_dim), torch.randn(count, model.mem_dim)
    return tokens, torch.randn(side * side, channels), memories, places


def by_transformers(model, tokens, position, memories, places, num_pointers):
    found = model.memory_attention(
        current_vision_features=tokens.transpose(0, 1),
        current_vision_position_embeddings=position[:, None],
        memory=memories.transpose(0, 1),
        memory_posision_embeddings=places[:, None].expand(-1, OBJECTS, -1),
        num_object_pointer_tokens=num_pointers,
    )
    return found.reshape(tokens.shape)


@torch.no_grad()
@pytest.mark.parametrize(("num_memories", "num_pointers"), [(1, 2), (3, 6), (3, 0)])
def test_it_is_what_transformers_computes(model, num_memories, num_pointers):
    tokens, *others = inputs(model, num_memories, num_pointers)
    before = tokens.clone()
    found = memory_attention(model.memory_attention, tokens, *others, num_pointers)
    expected = by_transformers(model, tokens, *others, num_pointers)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(tokens, before)
    assert not torch.allclose(found[0], found[1], atol=1e-2), "one slice, two objects with memories of their own"


def test_it_is_for_inference_in_float32_on_a_cpu(model, monkeypatch):
    module, tokens = model.memory_attention, torch.zeros(1, 4, model.hidden_dim)
    assert not is_for(module, tokens), "training needs gradients"
    with torch.no_grad():
        assert is_for(module, tokens)
        assert not is_for(module, tokens.bfloat16())
        assert not is_for(module, tokens.to("meta"))
        monkeypatch.setattr(module.config, "memory_attention_num_attention_heads", 2)
        assert not is_for(module, tokens)


def test_attend_is_the_same_with_and_without_gradients(model):
    torch.manual_seed(0)
    side = model.prompt_encoder.image_embedding_size[0]
    tokens = torch.randn(2, model.hidden_dim, side, side)
    key, *tracked = [
        steps.Memory(torch.randn(side * side, 2, model.mem_dim), torch.randn(2, model.hidden_dim)) for _ in range(3)
    ]
    arguments = (model, tokens, steps.position_encodings(model), key, tracked, 9)
    with torch.no_grad():
        found = steps.attend(*arguments)
    expected = steps.attend(*arguments)
    assert expected.requires_grad and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
