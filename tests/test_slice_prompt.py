import numpy as np
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.slice_prompt import SlicePrompt, checked_prompt, prompt_of

LEFT, RIGHT = (0.0, 0.0, 2.0, 4.0), (6.0, 0.0, 8.0, 4.0)


def test_a_prompt_holds_plain_numbers_that_compare_equal():
    prompt = SlicePrompt.of(3, np.array([[1, 2, 3.5, 4]], dtype=np.float32))
    assert prompt == SlicePrompt(3, ((1.0, 2.0, 3.5, 4.0),)) and hash(prompt) == hash(
        SlicePrompt.of(3, [[1, 2, 3.5, 4]])
    )


def test_without_boxes_there_is_nothing_to_start_from():
    assert SlicePrompt.of(3, np.zeros((0, 4))) is None
    assert SlicePrompt.of(3, [], [[]]) is None


def test_each_object_alone():
    assert SlicePrompt(1, (LEFT, RIGHT)).objects == [SlicePrompt(1, (LEFT,)), SlicePrompt(1, (RIGHT,))]
    both = SlicePrompt.of(1, [LEFT, RIGHT], [[], [[7, 2], [7, 3]]])
    assert both.objects == [SlicePrompt(1, (LEFT,)), SlicePrompt(1, (RIGHT,), (((7.0, 2.0), (7.0, 3.0)),))]
    points = SlicePrompt.of(2, [], [[[7, 2]], [[1, 1]]])
    assert points.objects == [SlicePrompt(2, (), (((7.0, 2.0),),)), SlicePrompt(2, (), (((1.0, 1.0),),))]


def test_points_are_given_on_only_where_there_are_some():
    key_index, boxes = SlicePrompt.of(1, [LEFT], [[]]).arguments
    assert key_index == 1 and boxes.tolist() == [list(LEFT)]
    _, boxes, points = SlicePrompt.of(1, [], [[[7, 2]]]).arguments
    assert boxes.shape == (0, 4) and points == (((7.0, 2.0),),)


def test_what_an_answer_marks():
    # 16 columns, 8 rows: x * 16 / 1000, y * 8 / 1000
    anchor = EvidenceAnchor(2, ((250, 500, 750, 1000),), (((500, 750), (1000, 0)),))
    assert prompt_of(anchor, 8, 16) == SlicePrompt(2, ((4.0, 4.0, 12.0, 8.0),), (((8.0, 6.0), (16.0, 0.0)),))
    assert prompt_of(EvidenceAnchor(2, (), (((500, 750),),)), 8, 16) == SlicePrompt(2, (), (((8.0, 6.0),),))
    assert prompt_of(EvidenceAnchor(2, ()), 8, 16) is None


def test_checking_clips_boxes_and_keeps_points():
    prompt = checked_prompt(np.int64(1), [[-5, 0, 2, 9]], [np.array([[1, 8]])], num_slices=2, height=8, width=16)
    assert prompt == SlicePrompt(1, ((0.0, 0.0, 2.0, 8.0),), (((1.0, 8.0),),))
    assert checked_prompt(1, [], [], 2, 8, 16).objects == []
