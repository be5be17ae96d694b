"""The vision tower's own attention and patch embedding, against transformers'."""

import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.slice_attention import LinearPatchEmbed
from medvol_r1.lvlm.vision import slices_to_patches
from tiny_models import save_random_lvlm
from transformers import Qwen3VLForConditionalGeneration


def test_features_are_those_of_transformers(tmp_path):
    folder = str(save_random_lvlm(tmp_path / "lvlm"))
    lvlm = VolumeLVLM(folder)
    slices = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    theirs = Qwen3VLForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval().model
    pixels = slices_to_patches(slices, 8, 2, 2)
    grid = torch.tensor([[1, 4, 6]]).repeat(5, 1)
    with torch.no_grad():
        expected = torch.cat(list(theirs.get_image_features(pixels, grid, return_dict=True).pooler_output))
        found = lvlm.encode(slices).visual_embeds
        tower = lvlm.base.model.visual
        tower.patch_embed = LinearPatchEmbed(tower.patch_embed.proj)
        linear = lvlm.encode(slices).visual_embeds
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(linear, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(lvlm.encode(slices.flip(0)).visual_embeds, expected, atol=1e-3)


def test_weights_keep_their_names(tmp_path):
    lvlm = VolumeLVLM(str(save_random_lvlm(tmp_path / "lvlm")))
    tower = lvlm.base.model.visual
    names = set(tower.state_dict())
    tower.patch_embed = LinearPatchEmbed(tower.patch_embed.proj)
    assert set(tower.state_dict()) == names
