"""Memory attention for a CPU: what transformers' module computes, with less work, one object at a time.

Most of the time of following a box goes into the attention of a slice's 1,024 tokens to up to 7,232 memory tokens,
four times over. Three things differ from `Sam2VideoMemoryAttention`, none of which changes more than rounding:

- Values are weighted before they are projected. The weights of a row sum to one, so sum_j a_j (W m_j + b) is
  W (sum_j a_j m_j) + b: the large product has the 64 channels of a memory and not the 256 of a value.
- Queries and keys are rotated as complex numbers, in place, and the places of the memories added once for all layers.
- The self-attention of the first layer sees the slice alone: neighbouring objects on the same slice share it.

Going through the objects one after another keeps each of them in the cache, and the working memory that of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoMemoryAttention,
    Sam2VideoMemoryAttentionLayer,
    Sam2VideoRoPEAttention,
)

# Queries whose weights are held at a time: 7 MB with all memories of t512.
_QUERIES_AT_A_TIME = 256


def is_for(module: Sam2VideoMemoryAttention, tokens: Tensor) -> bool:
    """Whether `memory_attention` does for this: float32 on a CPU, no gradient, one head (all of MedSAM2's have one)."""
    one_head = module.config.memory_attention_num_attention_heads == 1
    plain = tokens.device.type == "cpu" and tokens.dtype == torch.float32
    return plain and one_head and not torch.is_grad_enabled()


def memory_attention(
    module: Sam2VideoMemoryAttention,
    tokens: Tensor,
    position: Tensor,
    memories: Tensor,
    places: Tensor,
    num_pointer_tokens: int,
) -> Tensor:
    """The tokens of N slices, each conditioned on its own memories.

    Args:
        module: the weights.
        tokens: [N,hw,C]; slices that are equal may repeat, each beside another object.
        position: [hw,C] of the tokens.
        memories: [N,M,D], those of slices (hw tokens each), then those of pointers.
        places: [M,D] of the memories.
        num_pointer_tokens: how many of the M are of pointers, which are not rotated.

    Returns:
        [N,hw,C].
    """
    cos, sin = module.rotary_emb(tokens, module.position_ids)
    turn = torch.complex(cos[0, :, ::2].contiguous(), sin[0, :, ::2].contiguous())
    num_spatial = memories.shape[1] - num_pointer_tokens
    out = torch.empty_like(tokens)
    first = tokens
    for number, memory in enumerate(memories):
        if number == 0 or not torch.equal(tokens[number], tokens[number - 1]):
            first = _with_itself(module.layers[0], tokens[number] + 0.1 * position, turn)
        x, keys = first, memory + places
        for depth, layer in enumerate(module.layers):
            x = _with_itself(layer, x, turn) if depth > 0 else x
            x = _with_memories(layer, x, keys, memory, turn, num_spatial)
            x = x + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(x))))
        out[number] = module.layer_norm(x)
    return out


def _with_itself(layer: Sam2VideoMemoryAttentionLayer, x: Tensor, turn: Tensor) -> Tensor:
    attention: Sam2VideoRoPEAttention = layer.self_attn
    normed = layer.layer_norm1(x)
    query, key = (_turned(project(normed), turn) for project in (attention.q_proj, attention.k_proj))
    heads = [part[None, None] for part in (query, key, attention.v_proj(normed))]
    found = F.scaled_dot_product_attention(*heads, scale=attention.scaling)
    return x + attention.o_proj(found[0, 0])


def _with_memories(
    layer: Sam2VideoMemoryAttentionLayer, x: Tensor, keys: Tensor, memory: Tensor, turn: Tensor, num_spatial: int
) -> Tensor:
    attention: Sam2VideoRoPEAttention = layer.cross_attn_image
    query = _turned(attention.q_proj(layer.layer_norm2(x)), turn).mul_(attention.scaling)
    key = attention.k_proj(keys)
    _turned(key[:num_spatial], turn)  # in place; pointers have no place in the image
    weighted = [(part @ key.T).softmax(-1) @ memory for part in query.split(_QUERIES_AT_A_TIME)]
    return x + attention.o_proj(attention.v_proj(torch.cat(weighted)))


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """x [R*hw,C], turned in place by the rotary angles of its place in the image, `turn` complex [hw,C/2]."""
    torch.view_as_complex(x.view(-1, *turn.shape, 2)).mul_(turn)
    return x
