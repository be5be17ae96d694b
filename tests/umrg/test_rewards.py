"""Rewards of a box and two points: golden values with their arithmetic, and what holds for any answer."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medvol_r1.rewards import CompositeReward, ConsistencyReward, SpatialReward
from medvol_r1.umrg.marks import true_marks
from medvol_r1.umrg.measures import box_iou, point_dice
from medvol_r1.umrg.rewards import AccuracyReward, GradedFormatReward, reward_set

# One slice of 100 x 100 pixels, so a pixel is 10 units; the target is 40 wide and 20 high.
MASK = np.zeros((1, 100, 100), dtype=bool)
MASK[0, 20:40, 10:50] = True
BOX, POINTS = [100, 200, 500, 400], [[195, 295], [305, 295]]
MOST = {"soft": 4.0, "hard": 8.0, "binary": 4.0}
SETS = sorted(MOST)


def text(box=BOX, points=POINTS, think="It is wide."):
    answer = json.dumps({"bbox": box, "points_1": points[0], "points_2": points[1]})
    return f"<think>{think}</think><answer>{answer}</answer>"


def totals(name, *texts, mask=MASK, **options):
    return reward_set(name, **options)(completions=list(texts), masks=[mask] * len(texts))


def test_the_true_marks_are_the_bounding_box_and_two_points_inside():
    marks = true_marks(MASK[0])
    # Rows 20..39 are deepest at row 29, centre 29.5; columns 10..29 first at 19, columns 30..49 first at 30.
    assert marks.box.tolist() == BOX and marks.points.tolist() == POINTS
    assert true_marks(np.zeros((5, 5), dtype=bool)) is None


@pytest.mark.parametrize("name", SETS)
def test_a_perfect_answer_earns_the_most_there_is(name):
    reward = reward_set(name)
    record = reward.record(completions=[text(), text(points=POINTS[::-1])], masks=[MASK, MASK])
    assert record.totals == pytest.approx([MOST[name]] * 2) and record.best == MOST[name]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (40, 1), (100, 100)])
def test_a_perfect_answer_about_any_target_earns_the_most_there_is(name, size):
    mask = np.zeros((1, 100, 100), dtype=bool)
    mask[0, : size[0], : size[1]] = True
    marks = true_marks(mask[0])
    perfect = text(marks.box.astype(int).tolist(), marks.points.astype(int).tolist())
    assert totals(name, perfect, mask=mask) == pytest.approx([MOST[name]])


# Values by hand. The diagonal of the box is sqrt(400**2 + 200**2) = 447.214; concave(v) = ln(3 v + 1) / ln 4.
HALF_BOX = [100, 200, 300, 400]  # IoU 0.5: concave 0.660964; one true point is left out: 0.7 + 0.3 * (0.5 + 1) / 2
WIDE_BOX = [0, 200, 1000, 400]  # IoU 0.4: concave 0.568757; area ratio 2.5: the same factor 0.925
FAR_BOX, FAR_POINTS = [800, 800, 900, 900], [[820, 850], [880, 850]]
SHIFTED = [[250, 295], [360, 295]]  # discs of radius 55, centres 55 apart: pDice 0.391002, concave 0.559846


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("soft", text(HALF_BOX), 1 + 1.5 * 0.925 * (0.660964 + 1)),
        ("soft", text(WIDE_BOX), 1 + 1.5 * 0.925 * (0.568757 + 1)),
        ("soft", text(points=SHIFTED), 1 + 1.5 * (1 + 0.559846)),
        # A point below the true box: discs of radius sqrt(110**2 + 115**2) / 2 = 79.57 and 55, centres 57.5 apart.
        ("binary", text(points=[[195, 295], [305, 410]]), 3.0),
        ("binary", text(HALF_BOX), 2.0),  # IoU is not above 0.5, edges are 50 off on average
        ("binary", text([100, 200, 500, 440]), 3.0),  # IoU 0.83; edges 10 off on average: not below 10
        ("binary", text([100, 200, 500, 438]), 4.0),  # 9.5
        ("binary", text(points=[[105, 205], [495, 395]]), 3.0),  # inside, but (90 + 190 + 90 + 100) / 4 = 117.5 off
        ("soft", text(think=""), 0.6 + 3.0),  # format (0.2 + 1) / 2
        ("binary", text(think=""), 4.0),
    ],
)
def test_golden_values(name, answer, expected):
    assert totals(name, answer) == pytest.approx([expected], abs=2e-5)


def test_the_terms_of_the_hard_set_by_hand():
    record = reward_set("hard").record(completions=[text(HALF_BOX, SHIFTED)], masks=[MASK])
    terms = {name: values[0] for name, values in record.terms.items()}
    # A predicted point is inside the true box, so the factor is that of the half box, 0.925.
    assert terms["box_iou"] == pytest.approx(0.925 * 0.660964, abs=1e-5)
    assert terms["point_dice"] == pytest.approx(0.925 * 0.559846, abs=1e-5)
    # Edges: 200 / 4 = 50, / 447.214 = 0.111803. The curve 1 / (1 + exp(6 (v - 0.5))) is 0.911265 there, 0.952574 at 0
    # and 0.047426 at 1: (0.911265 - 0.047426) / 0.905148 = 0.954362.
    assert terms["box_alignment"] == pytest.approx(0.925 * 0.954362, abs=1e-5)
    # ln(area) and ln(aspect) are both ln 0.5: hypot 0.980258; the curve is 0.053073 there: 0.006239. Times alignment.
    assert terms["box_scale"] == pytest.approx(0.925 * 0.006239 * 0.954362, abs=1e-5)
    # Points: 55 along x, 0 along y: 27.5 / 447.214 = 0.061492; the curve is 0.932833 there: 0.978190.
    assert terms["point_alignment"] == pytest.approx(0.925 * 0.978190, abs=1e-5)
    assert terms["point_angle"] == pytest.approx(0.925 * 1 * 0.978190, abs=1e-5)  # parallel
    weights = {"format": 1, "box_iou": 1.5, "point_dice": 1.5}
    assert record.totals[0] == pytest.approx(sum(weights.get(name, 1) * value for name, value in terms.items()))


# The defects that are known of the original, one each ---------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_far_off_but_valid_answer_earns_at_most_a_quarter(name):
    """2.16 of 4 in the original."""
    assert totals(name, text(FAR_BOX, FAR_POINTS)) == [1.0]


def test_a_near_miss_of_the_right_size_and_angle_earns_less_than_a_quarter():
    """Size, proportions and angle are paid wherever they are in the original."""
    near = text([100, 400, 500, 600], [[195, 495], [305, 495]])
    # Edges and points are 100 off on average: 100 / 447.214 = 0.223607, where the curve is 0.840018, and fades to
    # (0.840018 - 0.047426) / 0.905148 = 0.875649, half of it without overlap. Both true points are left out, both
    # predicted ones lie outside: 0.7 + 0.3 * 0.25 = 0.775. So 1 + 2 * 0.5 * 0.875649 * 0.775.
    assert totals("hard", near) == pytest.approx([1.678628], abs=1e-5)
    assert totals("soft", near) == totals("binary", near) == [1.0]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("answer", "answer_grade"),
    [
        (text([500, 400, 100, 200]), 0.6),  # inverted: 6.51 of 8 in the original
        (text([100, 200, 500, 200]), 0.6),  # empty
        (text([100, 200, 1001, 400]), 0.6),
        (text(points=[[195, -1], [305, 295]]), 0.6),
        (text(points=[[195, 295], [305, 1200]]), 0.6),  # a point outside of the image
        (text(points=[[195.5, 295], [305, 295]]), 0.6),
        (text().replace("100, 200", "NaN, 200"), 0.2),  # makes the original's reward NaN
        (text().replace("100, 200", "Infinity, 200"), 0.2),
        (text().replace('"bbox"', '"box"'), 0.4),
        (text().replace("}", ', "more": 1}'), 0.4),
        (text().replace("<answer>", "<answer>```json"), 0.2),
        (text().replace("</answer>", ""), 0.0),
        (text() + " That is all.", 0.0),
        (text() + text(), 0.0),
    ],
)
def test_what_is_not_legal_earns_nothing_on_accuracy(name, answer, answer_grade):
    record = reward_set(name).record(completions=[answer], masks=[MASK])
    assert all(values == [0.0] for term, values in record.terms.items() if term != "format")
    graded = (answer_grade + (answer.count("<think>") == 1)) / 2
    assert record.terms["format"] == [pytest.approx(0.0 if name == "binary" else graded)]


def test_iou_and_points_of_the_binary_set_are_counted():
    """In the original a `.strip()` on a dictionary, inside of a try, always loses them."""
    terms = reward_set("binary").record(completions=[text()], masks=[MASK]).terms
    assert {name: values[0] for name, values in terms.items()} == dict.fromkeys(
        ("format", "box_iou", "box_edges", "points"), 1.0
    )


def test_the_dice_of_points_ends_at_one():
    """Its range is 0 to 2 in the original."""
    assert AccuracyReward(point_dice)(completions=[text()], masks=[MASK]) == [1.0]


# What holds for any answer ------------------------------------------------------------------------------------------


def answers():
    """Answers in all states of repair, most of them legal."""
    number = st.integers(0, 1000)
    odd = st.one_of(st.integers(-5, 2000), st.floats(), st.none(), st.text(max_size=3))
    box = st.tuples(number, number, number, number)
    ordered = box.map(lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])])
    point = st.tuples(number, number).map(list)
    wrong = st.lists(odd, max_size=5)
    return st.builds(
        text,
        st.one_of(ordered, ordered, box.map(list), wrong),
        st.tuples(st.one_of(point, point, point, wrong), point),
        st.sampled_from(["", "It is wide.", "<think>"]),
    )


@pytest.mark.parametrize("name", SETS)
def test_ten_thousand_random_answers_stay_within_bounds(name):
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(10_000):
        box, points = rng.integers(-20, 1021, 4), rng.integers(-10, 1011, (2, 2))
        if rng.random() < 0.8:  # most are in order
            box = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
        texts.append(text(box.tolist(), points.tolist(), think=["", "It is wide."][int(rng.integers(2))]))
    values = np.array(totals(name, *texts))
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= MOST[name]
    assert (values > 1).mean() > 0.005, "some of them meet the target"


@settings(max_examples=60, deadline=None)
@given(answers())
def test_ugly_answers_stay_within_bounds(answer):
    for name in SETS:
        (value,) = totals(name, answer)
        assert 0 <= value <= MOST[name]


@settings(max_examples=60, deadline=None)
@given(answers(), st.tuples(*[st.integers(0, 90)] * 2), st.tuples(*[st.integers(1, 60)] * 2))
def test_what_touches_neither_box_nor_points_earns_at_most_a_quarter(answer, corner, size):
    mask = np.zeros((1, 100, 100), dtype=bool)
    mask[0, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = True
    touched = [AccuracyReward(measure)(completions=[answer], masks=[mask])[0] for measure in (box_iou, point_dice)]
    if not any(touched):
        for name in ("soft", "hard"):
            assert totals(name, answer, mask=mask)[0] <= MOST[name] / 4 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400))
def test_a_box_that_moves_away_never_earns_more(shift):
    near, far = (text([100 + s, 200, 500 + s, 400]) for s in (shift, shift + 40))
    for name in SETS:
        values = totals(name, near, far)
        assert values[1] <= values[0] + 1e-9


def test_without_a_target_only_the_format_counts():
    assert totals("soft", text(), mask=np.zeros_like(MASK)) == [1.0]


# Joining the others -------------------------------------------------------------------------------------------------


class Repeat:
    """A propagator that marks the box."""

    def encode(self, slices):
        return slices

    def mask(self, slices, key_index, boxes_xyxy_px, window=None, points_xy_px=()):
        out = np.zeros(np.shape(slices)[-3:], dtype=bool)
        for x1, y1, x2, y2 in np.asarray(boxes_xyxy_px).astype(int):
            out[key_index, y1:y2, x1:x2] = True
        return out


def test_the_box_reward_and_the_dice_of_the_mask_join_a_set():
    terms = {
        "R_s": SpatialReward(answer_form="image"),
        "mask_dice": ConsistencyReward(propagator=Repeat(), delta=0, answer_form="image"),
    }
    reward = reward_set("soft", terms, {"R_s": 1.0, "mask_dice": 2.0})
    assert isinstance(reward, CompositeReward)
    slices = np.zeros((1, 100, 100), np.float32)
    columns = {"masks": [MASK] * 2, "slices": [slices] * 2, "prompts": ["x"] * 2}
    record = reward.record(completions=[text(), text(HALF_BOX)], **columns)
    assert record.best == 7.0 and record.totals[0] == pytest.approx(7.0)
    assert record.terms["R_s"] == pytest.approx([1.0, 0.5]) and record.terms["mask_dice"] == pytest.approx([1.0, 2 / 3])


def test_completions_may_be_messages_as_in_trl():
    message = [{"role": "assistant", "content": text()}]
    assert totals("hard", message) == pytest.approx([8.0])
    assert GradedFormatReward()(completions=[message], masks=[MASK]) == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reward_set("base"), r"reward_set is 'base'; soft, hard, binary are legal \(config key `reward_set`\)"),
        (lambda: reward_set("soft", {"format": GradedFormatReward()}, {"format": 1.0}), "has terms of the names"),
        (lambda: reward_set("soft", {"R_s": GradedFormatReward()}), "give one weight a term"),
    ],
)
def test_bad_sets(call, message):
    with pytest.raises(ValueError, match=message):
        call()
