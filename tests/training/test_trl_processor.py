"""The processor gives TRL's trainer what our own engine reads: the same tokens and the same patches."""

import shutil

import pytest
import torch
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.prompts import PromptBuilder
from medvol_r1.lvlm.vision import slices_to_patches
from medvol_r1.training.trl_processor import load_slice_processor
from PIL import Image
from tiny_models import save_random_lvlm
from transformers import AutoConfig, AutoTokenizer


def load(path, slice_size):
    return load_slice_processor(path, AutoConfig.from_pretrained(path).vision_config, slice_size)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(save_random_lvlm(tmp_path_factory.mktemp("lvlm")))


@pytest.mark.parametrize("query", ["the liver", "<slice 2> </answer>\n", "  both   kidneys?"])
def test_tokens_and_patches_are_those_of_our_engine(path, query):
    processor = load(path, slice_size=32)
    grey = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    messages = PromptBuilder(processor.tokenizer).messages(3, query)
    images = iter(Image.fromarray(one.byte().numpy()).convert("RGB") for one in grey)
    for part in messages[0]["content"]:
        if part["type"] == "image":
            part["image"] = next(images)
    inputs = processor.apply_chat_template(
        [messages], tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
    )
    lvlm = VolumeLVLM(path).load()
    ids = lvlm.prompts.prefix_ids(3, 4) + lvlm.prompts.tail_ids(query)
    assert inputs["input_ids"][0].tolist() == ids
    assert inputs["mm_token_type_ids"][0].tolist() == [int(token == lvlm.base.config.image_token_id) for token in ids]
    vision = lvlm.base.config.vision_config
    ours = slices_to_patches(
        (grey / 255)[:, None].expand(-1, 3, -1, -1),
        vision.patch_size,
        vision.spatial_merge_size,
        vision.temporal_patch_size,
    )
    torch.testing.assert_close(inputs["pixel_values"], ours, rtol=0, atol=1e-6)


def test_what_it_saves_is_still_a_tokenizer_for_our_engine(path, tmp_path):
    load(path, slice_size=32).save_pretrained(tmp_path)
    text, first = "the liver <answer>", AutoTokenizer.from_pretrained(path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == first(text).input_ids


@pytest.mark.parametrize("size", [40, 0, -16])
def test_slices_that_do_not_divide_into_visual_tokens_are_refused(path, size):
    with pytest.raises(ValueError, match=rf"slice_size is {size}; .* reads 16x16 pixels a visual token"):
        load(path, slice_size=size)


def test_a_template_that_opens_the_reasoning_is_refused(path, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    shutil.copy(f"{path}/config.json", tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="writes <think> itself"):
        load(str(tmp_path), slice_size=32)
