"""What may come next in the text of an answer."""

import random

import pytest
from medvol_r1.anchor import MAX_BOXES, MAX_POINTS, EvidenceAnchor, format_completion, parse_completion
from medvol_r1.constrained.answer_text import NOTHING, AnswerText, Written

BEHIND_REASONING = '</think><answer>{"key_slice": '


def is_allowed(text, num_slices=32):
    return AnswerText(num_slices).after(NOTHING, text) is not None


# "image" is for a single slice.
SLICES_AND_FORMS = [*((count, "boxes") for count in (1, 9, 10, 32, 120)), (32, "boxes_and_points"), (1, "image")]


@pytest.mark.parametrize("num_slices, form", SLICES_AND_FORMS)
def test_whatever_is_chosen_parses(num_slices, form):
    """Character by character at random; from wherever it has come to, the early end makes it an answer."""
    answer = AnswerText(num_slices, form)
    longest, marks = len(answer.longest_early_end()), set()
    for seed in range(30):
        chance, written, text = random.Random(seed), NOTHING, ""
        while (choices := answer.choices(written)) != "":
            behind = chance.choice(choices or 'ab <<//tx1{"é')
            then = answer.after(written, behind)
            assert then is not None or choices is None
            if then is not None:
                written, text = then, text + behind
                end = answer.early_end(written)
                assert isinstance(parse_completion(text + end, num_slices, form), EvidenceAnchor), text
                assert len(end) <= longest
        anchor = parse_completion(text, num_slices, form)
        assert isinstance(anchor, EvidenceAnchor), text
        marks |= {len(of_object) for of_object in anchor.points_xy_1000}
    assert marks == set() if form == "boxes" else marks == {2} if form == "image" else len(marks) > 2


def test_every_anchor_can_be_written():
    for seed in range(300):
        chance = random.Random(seed)
        corners = [(chance.choice([0, 7, 99, 998, 999]), chance.randint(0, 999)) for _ in range(seed % 17)]
        boxes = tuple((x, y, chance.randint(x + 1, 1000), chance.randint(y + 1, 1000)) for x, y in corners)
        points = tuple(
            tuple((chance.randint(0, 1000), 1000) for _ in range(chance.choice([0, 1, 2, 16]))) for _ in boxes
        )
        think = chance.choice(["", "Fat < 3 cm, << 4\n", "a <slice 3> b"])
        for form, anchor in (
            ("boxes", EvidenceAnchor(chance.randint(0, 31), boxes)),
            ("boxes_and_points", EvidenceAnchor(chance.randint(0, 31), boxes, points)),
            ("image", EvidenceAnchor(0, ((0, 5, 1000, 6),), (((0, 1000), (chance.randint(0, 1000), 7)),))),
        ):
            text = format_completion(anchor, think, form)
            assert AnswerText(1 if form == "image" else 32, form).after(NOTHING, text) == Written("", "end")


@pytest.mark.parametrize(
    "text, allowed",
    [
        ("<think>" + BEHIND_REASONING, True),
        (" <think>", False),
        ("<think><answer>", False),
        ("<think><think>", False),
        ("<think>a</b", False),
        (f"<think>{BEHIND_REASONING}0", False),
        (f"<think>{BEHIND_REASONING}32,", True),
        (f"<think>{BEHIND_REASONING}33", False),
        (f"<think>{BEHIND_REASONING}5,\n", False),
    ],
)
def test_reasoning_and_key_slice(text, allowed):
    assert is_allowed(text) == allowed


@pytest.mark.parametrize(
    "boxes, allowed",
    [
        ("]}</answer>", True),
        ("[0, 0, 1, 1]]}</answer>", True),
        ("[0, 0, 1, 1]]}</answer>.", False),
        ("[00", False),
        ("[1000", False),  # nothing is right of it
        ("[999, 999, 1000, 1000]", True),
        ("[500, 2, 500", False),  # 5000 is too much
        ("[500, 2, 50", True),  # 501
        ("[500, 2, 50,", False),
        ("[500, 2, 1,", False),
        ("[500, 2, 1", True),  # 1000
        ("[500, 2, 1001", False),
        ("[1, 99, 2, 99", True),  # 990
        ("[1, 99, 2, 99]", False),
        ("[1,2", False),
        ("[-1", False),
        ("[1.", False),
        ("[]", False),
        ("[1, 2, 3]", False),
        (", ".join(["[1, 2, 3, 4]"] * MAX_BOXES) + "]", True),
        (", ".join(["[1, 2, 3, 4]"] * MAX_BOXES) + ",", False),
    ],
)
def test_boxes(boxes, allowed):
    assert is_allowed(f'<think>{BEHIND_REASONING}3, "bbox_2d_list": [{boxes}') == allowed


BOX = f'<think>{BEHIND_REASONING}3, "bbox_2d_list": [[1, 2, 3, 4]'


@pytest.mark.parametrize(
    "behind, allowed",
    [
        ("]}</answer>", True),
        ('], "point_2d_list": [[[5, 6], [1000, 0]]]}</answer>', True),
        ('], "point_2d_list": [[]]}</answer>', True),
        ('], "point_2d_list": []', False),  # a list for each box
        ('], "point_2d_list": [[], []', False),
        ('], "point_2d_list": [[[5, 6, 7', False),
        ('], "point_2d_list": [[[1001', False),
        ('], "point_2d_list": [[[5]', False),
        ('], "point_2d_list": [[' + ", ".join(["[5, 6]"] * MAX_POINTS) + "]]}", True),
        ('], "point_2d_list": [[' + ", ".join(["[5, 6]"] * MAX_POINTS) + ",", False),
        (', [5, 6, 7, 8]], "point_2d_list": [[[5, 6]], [', True),
        (', [5, 6, 7, 8]], "point_2d_list": [[[5, 6]]]', False),
    ],
)
def test_points(behind, allowed):
    assert (AnswerText(32, "boxes_and_points").after(NOTHING, BOX + behind) is not None) == allowed
    assert AnswerText(32).after(NOTHING, BOX + behind) is None or "point" not in behind


@pytest.mark.parametrize(
    "behind, allowed",
    [
        ('"bbox": [1, 2, 3, 4], "points_1": [5, 6], "points_2": [7, 8]}</answer>', True),
        ('"key_slice"', False),
        ('"bbox": []', False),
        ('"bbox": [1, 2, 3, 4], "points_2"', False),
        ('"bbox": [1, 2, 1,', False),
        ('"bbox": [1, 2, 3, 4], "points_1": [5]', False),
        ('"bbox": [1, 2, 3, 4], "points_1": [5, 6]}', False),
    ],
)
def test_a_single_image(behind, allowed):
    text = f"<think></think><answer>{{{behind}"
    assert (AnswerText(1, "image").after(NOTHING, text) is not None) == allowed


def test_text_without_a_choice():
    answer = AnswerText(32)
    assert answer.without_choice(NOTHING) == "<think>"
    assert answer.without_choice(answer.after(NOTHING, "<think>a</")) == "think>" + BEHIND_REASONING[8:]
    for key_slice, text in (("4", ', "bbox_2d_list": ['), ("3", "")):  # 32 is there, 40 is not
        written = answer.after(NOTHING, f"<think>{BEHIND_REASONING}{key_slice}")
        assert answer.without_choice(written) == text
    assert AnswerText(1).without_choice(answer.after(NOTHING, "<think>" + BEHIND_REASONING)) == '1, "bbox_2d_list": ['
    assert answer.without_choice(Written("", "number", "1000", (999, 5))) == ", "
    assert answer.without_choice(Written("", "number", "", (999, 5))) == "1000, "
