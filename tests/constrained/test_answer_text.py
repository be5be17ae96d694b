"""What may come next in the text of an answer."""

import random

import pytest
from medvol_r1.anchor import MAX_BOXES, EvidenceAnchor, format_completion, parse_completion
from medvol_r1.constrained.answer_text import NOTHING, AnswerText, Written

BEHIND_REASONING = '</think><answer>{"key_slice": '


def is_allowed(text, num_slices=32):
    return AnswerText(num_slices).after(NOTHING, text) is not None


@pytest.mark.parametrize("num_slices", [1, 9, 10, 32, 120])
def test_whatever_is_chosen_parses(num_slices):
    """Character by character at random; from wherever it has come to, the early end makes it an answer."""
    answer = AnswerText(num_slices)
    for seed in range(30):
        chance, written, text = random.Random(seed), NOTHING, ""
        while (choices := answer.choices(written)) != "":
            behind = chance.choice(choices or 'ab <<//tx1{"é')
            then = answer.after(written, behind)
            assert then is not None or choices is None
            if then is not None:
                written, text = then, text + behind
                assert isinstance(parse_completion(text + answer.early_end(written), num_slices), EvidenceAnchor), text
        assert isinstance(parse_completion(text, num_slices), EvidenceAnchor), text


def test_every_anchor_can_be_written():
    for seed in range(300):
        chance = random.Random(seed)
        corners = [(chance.choice([0, 7, 99, 998, 999]), chance.randint(0, 999)) for _ in range(seed % 17)]
        boxes = tuple((x, y, chance.randint(x + 1, 1000), chance.randint(y + 1, 1000)) for x, y in corners)
        anchor = EvidenceAnchor(chance.randint(0, 31), boxes)
        text = format_completion(anchor, chance.choice(["", "Fat < 3 cm, << 4\n", "a <slice 3> b"]))
        assert AnswerText(32).after(NOTHING, text) == Written("", "end")


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
