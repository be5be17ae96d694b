import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medvol_r1.anchor import (
    FAILURE_REASONS,
    EvidenceAnchor,
    ParseFailure,
    format_completion,
    parse_answer,
    parse_completion,
    split_think,
)


def answer(body: str, think: str = "why") -> str:
    return f"<think>{think}</think><answer>{body}</answer>"


GOOD = '{"key_slice": 3, "bbox_2d_list": [[1, 2, 30, 40]]}'
ANCHOR = EvidenceAnchor(2, ((1, 2, 30, 40),))
ACCEPTED = [
    (answer(GOOD), ANCHOR),
    (f"  <think>\n</think>\n\n<answer> {GOOD} </answer>\n", ANCHOR),
    (answer('{"bbox_2d_list": [[1,2,30,40]], "key_slice": 3}'), ANCHOR),
    (answer('[{"slice": 3, "bbox_2d_list": [[1, 2, 30, 40]]}]'), ANCHOR),  # the form of the authors' later release
    (answer('{"key_slice": 1, "bbox_2d_list": []}'), EvidenceAnchor(0, ())),  # "not present"
    (answer('{"key_slice": 10, "bbox_2d_list": [[0, 0, 1000, 1000]]}'), EvidenceAnchor(9, ((0, 0, 1000, 1000),))),
]
REFUSED = [
    (None, "not_text"),
    ("", "missing_tag"),
    (GOOD, "missing_tag"),
    (f"<answer>{GOOD}</answer>", "missing_tag"),
    (f"<think>a</think><answer>{GOOD}", "missing_tag"),  # cut at the token limit
    (answer(GOOD) + answer(GOOD), "repeated_tag"),
    (f"<think>a</think><think>b</think><answer>{GOOD}</answer>", "repeated_tag"),
    (f"<answer>{GOOD}</answer><think>a</think>", "wrong_order"),
    (f"<think>a<answer>{GOOD}</answer></think>", "wrong_order"),
    ("Sure! " + answer(GOOD), "text_outside_tags"),
    (answer(GOOD) + "<|im_end|>", "text_outside_tags"),
    (f"<think>a</think> so <answer>{GOOD}</answer>", "text_outside_tags"),
    (answer(""), "invalid_json"),
    (answer("{'key_slice': 3, 'bbox_2d_list': []}"), "invalid_json"),
    (answer('{"key_slice": NaN, "bbox_2d_list": []}'), "invalid_json"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, Infinity, 4]]}'), "invalid_json"),
    (answer('{"key_slice": 3, "key_slice": 4, "bbox_2d_list": []}'), "invalid_json"),
    (answer("[" * 100_000), "invalid_json"),
    (answer('{"key_slice": ' + "9" * 5000 + ', "bbox_2d_list": []}'), "invalid_json"),
    (answer("```json\n" + GOOD + "\n```"), "invalid_json"),
    (answer("[]"), "wrong_schema"),
    (answer('{"key_slice": 3}'), "wrong_schema"),
    (answer('{"key_slice": 3, "bbox_2d_list": [], "confidence": 1}'), "wrong_schema"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, 30, 40]], "point_2d_list": []}'), "wrong_schema"),
    (answer('{"bbox": [1, 2, 30, 40], "points_1": [5, 6], "points_2": [7, 8]}'), "wrong_schema"),
    (answer('{"key_slice": 3, "bbox_2d_list": null}'), "wrong_schema"),
    (answer('[{"slice": 3, "bbox_2d_list": []}, {"slice": 4, "bbox_2d_list": []}]'), "wrong_schema"),
    (answer('{"key_slice": true, "bbox_2d_list": []}'), "key_slice_not_integer"),
    (answer('{"key_slice": 3.0, "bbox_2d_list": []}'), "key_slice_not_integer"),
    (answer('{"key_slice": "3", "bbox_2d_list": []}'), "key_slice_not_integer"),
    (answer('{"key_slice": 0, "bbox_2d_list": []}'), "key_slice_out_of_range"),
    (answer('{"key_slice": 11, "bbox_2d_list": []}'), "key_slice_out_of_range"),
    (answer('{"key_slice": 3, "bbox_2d_list": [1, 2, 3, 4]}'), "box_not_four_integers"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, 3]]}'), "box_not_four_integers"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, 3, true]]}'), "box_not_four_integers"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, 3, 4.5]]}'), "box_not_four_integers"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[-1, 2, 3, 4]]}'), "box_out_of_range"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[1, 2, 3, 1001]]}'), "box_out_of_range"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[30, 2, 1, 40]]}'), "box_without_area"),
    (answer('{"key_slice": 3, "bbox_2d_list": [[5, 5, 5, 5]]}'), "box_without_area"),
    (answer('{"key_slice": 3, "bbox_2d_list": [' + ", ".join(["[1, 2, 3, 4]"] * 17) + "]}"), "too_many_boxes"),
]


def with_points(boxes: str, points: str) -> str:
    return answer(f'{{"key_slice": 3, "bbox_2d_list": {boxes}, "point_2d_list": {points}}}')


def image(bbox: str = "[1, 2, 30, 40]", first: str = "[5, 6]", second: str = "[7, 8]") -> str:
    return answer(f'{{"bbox": {bbox}, "points_1": {first}, "points_2": {second}}}')


BOX = (1, 2, 30, 40)
WITH_POINTS = [
    (answer(GOOD), ANCHOR),
    (with_points("[[1, 2, 30, 40]]", "[]"), ANCHOR),
    (with_points("[[1, 2, 30, 40]]", "[[]]"), ANCHOR),
    (with_points("[[1, 2, 30, 40]]", "[[[0, 1000], [5, 6]]]"), EvidenceAnchor(2, (BOX,), (((0, 1000), (5, 6)),))),
    (with_points("[[1, 2, 30, 40], [1, 2, 30, 40]]", "[[], [[5, 6]]]"), EvidenceAnchor(2, (BOX, BOX), ((), ((5, 6),)))),
    (with_points("[]", "[[[5, 6]], [[7, 8]]]"), EvidenceAnchor(2, (), (((5, 6),), ((7, 8),)))),
    (with_points("[]", "[]"), EvidenceAnchor(2, ())),
    (answer('[{"slice": 3, "bbox_2d_list": [], "point_2d_list": [[[5, 6]]]}]'), EvidenceAnchor(2, (), (((5, 6),),))),
]
POINTS_REFUSED = [
    ("boxes_and_points", with_points("[]", "null"), "wrong_schema"),
    ("boxes_and_points", with_points("[[1, 2, 30, 40]]", "[[5, 6]]"), "point_not_two_integers"),
    ("boxes_and_points", with_points("[[1, 2, 30, 40]]", "[7]"), "point_not_two_integers"),
    ("boxes_and_points", with_points("[]", "[[[5, 6, 7]]]"), "point_not_two_integers"),
    ("boxes_and_points", with_points("[]", "[[[5, true]]]"), "point_not_two_integers"),
    ("boxes_and_points", with_points("[]", "[[[5.0, 6]]]"), "point_not_two_integers"),
    ("boxes_and_points", with_points("[]", "[[[5, 1001]]]"), "point_out_of_range"),
    ("boxes_and_points", with_points("[]", "[[[5, -1]]]"), "point_out_of_range"),
    ("boxes_and_points", with_points("[[1, 2, 30, 40]]", "[[[5, 6]], [[5, 6]]]"), "points_without_object"),
    ("boxes_and_points", with_points("[]", "[[[5, 6]], []]"), "points_without_object"),
    ("boxes_and_points", with_points("[]", str([[[5, 6]]] * 17)), "too_many_points"),
    ("boxes_and_points", with_points("[]", str([[[5, 6]] * 17])), "too_many_points"),
    ("boxes_and_points", with_points("[[3, 2, 1, 4]]", "[[[5, 6]]]"), "box_without_area"),
    ("boxes_and_points", with_points("[]", "[[[5, NaN]]]"), "invalid_json"),
    ("image", answer(GOOD), "wrong_schema"),
    ("image", answer('{"bbox": [1, 2, 30, 40]}'), "wrong_schema"),
    ("image", image(bbox="null"), "box_not_four_integers"),
    ("image", image(bbox="[30, 2, 1, 40]"), "box_without_area"),
    ("image", image(bbox="[1, 2, NaN, 40]"), "invalid_json"),
    ("image", image(second="[]"), "point_not_two_integers"),
    ("image", image(second="[7, 1001]"), "point_out_of_range"),
    ("image", "no tags", "missing_tag"),
]


@pytest.mark.parametrize("text, expected", ACCEPTED)
def test_accepted(text, expected):
    assert parse_completion(text, num_slices=10) == expected


@pytest.mark.parametrize("text, expected", WITH_POINTS)
def test_accepted_with_points(text, expected):
    assert parse_completion(text, 10, form="boxes_and_points") == expected


def test_an_image_has_one_object_with_a_box_and_two_points():
    assert parse_completion(image(), 1, form="image") == EvidenceAnchor(0, (BOX,), (((5, 6), (7, 8)),))


@pytest.mark.parametrize("form, text, reason", POINTS_REFUSED)
def test_refused_in_the_other_forms(form, text, reason):
    parsed = parse_completion(text, 1 if form == "image" else 10, form=form)
    assert isinstance(parsed, ParseFailure) and parsed.reason == reason


def test_a_form_that_is_not_there_or_does_not_fit():
    for call in (lambda: parse_completion("", 1, form="points"), lambda: format_completion(ANCHOR, form="points")):
        with pytest.raises(ValueError, match="answer_form is 'points'; legal are boxes, boxes_and_points, image"):
            call()
    with pytest.raises(ValueError, match='num_slices is 2; an answer of the form "image" is about 1'):
        parse_completion("", 2, form="image")
    pointed = EvidenceAnchor(0, (BOX,), (((5, 6),),))
    with pytest.raises(ValueError, match='The form "boxes" has no points; "boxes_and_points" has'):
        format_completion(pointed)
    for anchor in (pointed, ANCHOR, EvidenceAnchor(0, ()), EvidenceAnchor(1, (BOX,), (((5, 6), (7, 8)),))):
        with pytest.raises(ValueError, match="one box and two points on slice 0 can be said"):
            format_completion(anchor, form="image")


@pytest.mark.parametrize("text, reason", REFUSED)
def test_refused(text, reason):
    parsed = parse_completion(text, num_slices=10)
    assert isinstance(parsed, ParseFailure) and parsed.reason == reason


def test_every_reason_is_shown_by_an_example():
    assert {case[-1] for case in [*REFUSED, *POINTS_REFUSED]} == set(FAILURE_REASONS)


@given(
    st.text(alphabet=st.sampled_from('<>/{}[]":,0123456789 thinkaswerkey_slicebbox2dNaNpointsl'), max_size=200),
    st.sampled_from([(10, "boxes"), (10, "boxes_and_points"), (1, "image")]),
)
def test_any_text_is_read_without_raising(text, asked):
    assert isinstance(parse_completion(text, *asked), ParseFailure | EvidenceAnchor)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2000) | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    )
)
def test_any_json_is_read_without_raising(value):
    written = json.dumps(value)
    assert isinstance(
        parse_completion(with_points("[]", written), 10, "boxes_and_points"), ParseFailure | EvidenceAnchor
    )
    assert isinstance(parse_completion(image(second=written), 1, "image"), ParseFailure | EvidenceAnchor)


boxes = st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(1, 1000), st.integers(1, 1000)).filter(
    lambda box: box[0] < box[2] and box[1] < box[3]
)
anchors = st.builds(EvidenceAnchor, st.integers(0, 63), st.lists(boxes, max_size=16).map(tuple))
point_lists = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=16).map(tuple)


@st.composite
def pointed_anchors(draw):
    anchor = draw(anchors)
    count = len(anchor.boxes_xyxy_1000)
    if count:
        points = draw(st.lists(point_lists, min_size=count, max_size=count))
    else:
        points = draw(st.lists(point_lists.filter(len), max_size=16))
    return EvidenceAnchor(anchor.key_index, anchor.boxes_xyxy_1000, tuple(points))


@given(anchors, st.sampled_from(["", "The liver, best seen on slice 7."]))
def test_format_and_parse_are_inverse(anchor, think):
    text = format_completion(anchor, think)
    assert parse_completion(text, num_slices=64) == anchor
    assert split_think(text) == think


@given(anchors)
def test_an_answer_without_text_around_it_is_read_alike(anchor):
    stated = {"key_slice": anchor.key_index + 1, "bbox_2d_list": [list(box) for box in anchor.boxes_xyxy_1000]}
    assert parse_answer(stated, num_slices=64) == anchor


@pytest.mark.parametrize("keys", [(), ("key_slice",), ("key_slice", "bbox_2d_list", "confidence")])
def test_an_answer_states_a_key_slice_and_boxes_and_nothing_else(keys):
    failure = parse_answer(dict.fromkeys(keys, 1), num_slices=10)
    assert failure == ParseFailure("wrong_schema", f"{', '.join(keys)}, wanted are key_slice and bbox_2d_list")


@given(pointed_anchors())
def test_format_and_parse_are_inverse_with_points(anchor):
    text = format_completion(anchor, "why", form="boxes_and_points")
    assert parse_completion(text, num_slices=64, form="boxes_and_points") == anchor


@given(boxes, st.tuples(*[st.tuples(st.integers(0, 1000), st.integers(0, 1000))] * 2))
def test_format_and_parse_are_inverse_for_an_image(box, points):
    anchor = EvidenceAnchor(0, (box,), (points,))
    assert parse_completion(format_completion(anchor, form="image"), 1, form="image") == anchor


def test_format_refuses_a_tag_in_the_reasoning():
    with pytest.raises(ValueError, match="must not hold"):
        format_completion(ANCHOR, think="so </think><answer>")
