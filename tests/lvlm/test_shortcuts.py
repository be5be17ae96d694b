import logging

import pytest
from medvol_r1.lvlm import slice_attention, split_attention
from medvol_r1.lvlm.shortcuts import use_shortcuts
from tiny_models import save_random_lvlm, save_random_qwen2_5
from transformers import AutoModelForImageTextToText

WINDOWS = "here: its vision tower looks through windows; they are computed one by one"
NOT_SHARED = (
    "here has layers with sliding_attention: the prompt of a volume is not shared, and completions come one by one, "
    "several times slower."
)
SLIDING = {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2}


@pytest.mark.parametrize(
    ("save", "text_config", "whole_slices", "shared", "told"),
    [
        (save_random_lvlm, {}, True, True, []),
        (save_random_qwen2_5, {}, False, True, [WINDOWS]),
        (save_random_qwen2_5, SLIDING, False, False, [WINDOWS, NOT_SHARED]),
    ],
)
def test_a_network_gets_the_attentions_that_it_can_take(
    save, text_config, whole_slices, shared, told, tmp_path, caplog
):
    qwen = AutoModelForImageTextToText.from_pretrained(save(tmp_path, **text_config))
    caplog.clear()  # transformers warns of its own as it reads
    caplog.set_level(logging.INFO, "medvol_r1")
    reason = use_shortcuts(qwen, "here")
    assert reason == (None if shared else "layers with sliding_attention")
    assert (qwen.model.visual.config._attn_implementation == slice_attention.NAME) == whole_slices
    assert (qwen.model.language_model.config._attn_implementation == split_attention.NAME) == shared
    assert [record.message for record in caplog.records] == told
