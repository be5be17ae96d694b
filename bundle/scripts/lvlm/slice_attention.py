"""The vision tower on many slices of one size: one batch, where transformers takes one slice after another."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

# transformers hands all images of a call to an attention whose name holds "flash", and one at a time to any other.
NAME = "medvol_r1_slices_like_flash"


def use_slice_attention(visual: PreTrainedModel) -> None:
    """Gives a vision tower an attention that takes slices of one size in one call.

    Only for towers whose every call holds images of one size. Not by `set_attn_implementation`, which would look for
    the package flash-attn.
    """
    AttentionInterface.register(NAME, slice_attention)
    visual.config._attn_implementation = NAME


def slice_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    max_length_q: int,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function, as transformers calls it in each block.

    Args:
        module: the block's attention.
        query: [1, heads, N * n, size], the n patches of each of N slices.
        key: the same shape.
        value: the same shape.
        attention_mask: none; a patch attends to all of its own slice.
        scaling: of the products.
        max_length_q: n.
        dropout: on the weights.

    Returns:
        [1, N * n, heads, size], and no weights.
    """
    _, heads, total, size = query.shape
    by_slice = (one.reshape(heads, -1, max_length_q, size).transpose(0, 1) for one in (query, key, value))
    out = F.scaled_dot_product_attention(*by_slice, scale=scaling, dropout_p=dropout)
    return out.transpose(1, 2).reshape(1, total, heads, size), None


class LinearPatchEmbed(nn.Module):
    """The tower's patch embedding as the matrix product that it is: same weights, same names, same numbers.

    transformers runs it as a convolution over as many images as there are patches, which cuDNN is slow at.

    Args:
        proj: the convolution, whose weights are used.
    """

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """[N * n, hidden] of patch rows [N * n, channels * frames * height * width]."""
        return F.linear(patches.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)
