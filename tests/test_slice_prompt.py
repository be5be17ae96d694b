import numpy as np
from medvol_r1.slice_prompt import SlicePrompt


def test_a_prompt_holds_plain_numbers_that_compare_equal():
    prompt = SlicePrompt.of(3, np.array([[1, 2, 3.5, 4]], dtype=np.float32))
    assert prompt == SlicePrompt(3, ((1.0, 2.0, 3.5, 4.0),)) and hash(prompt) == hash(
        SlicePrompt.of(3, [[1, 2, 3.5, 4]])
    )


def test_without_boxes_there_is_nothing_to_start_from():
    assert SlicePrompt.of(3, np.zeros((0, 4))) is None
