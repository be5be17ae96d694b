import numpy as np
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.umrg.marks import listed_marks, predicted_marks, true_anchor, true_marks


def test_the_marks_of_an_answer_are_its_numbers():
    marks = predicted_marks(EvidenceAnchor(0, ((1, 2, 30, 40),), (((5, 6), (7, 8)),)))
    assert marks.box.tolist() == [1, 2, 30, 40] and marks.points.tolist() == [[5, 6], [7, 8]]


def test_true_marks_do_not_depend_on_the_size_of_the_image():
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:8, 6:24] = True
    larger = np.kron(mask, np.ones((5, 5), dtype=bool))
    # x1 = 6 / 30, y1 = 4 / 20, x2 = 24 / 30, y2 = 8 / 20
    assert true_marks(mask).box.tolist() == true_marks(larger).box.tolist() == [200, 200, 800, 400]
    assert np.abs(true_marks(mask).points - true_marks(larger).points).max() <= 60  # a pixel of the smaller has 33 x 50


def test_several_parts_have_one_box_around_them():
    mask = np.zeros((10, 10), dtype=bool)
    mask[1, 1] = mask[8, 5] = True
    marks = true_marks(mask)
    assert marks.box.tolist() == [100, 100, 600, 900] and sorted(marks.points.tolist()) == [[150, 150], [550, 850]]


MARKS = {"bbox": [10, 20, 300, 400], "points_1": [50, 60], "points_2": [70, 80]}


def test_listed_marks_are_those_of_the_entry():
    marks = listed_marks(MARKS)
    assert marks.box.tolist() == [10, 20, 300, 400] and marks.points.tolist() == [[50, 60], [70, 80]]


def test_the_true_anchor_states_the_marks():
    mask = np.zeros((3, 10, 10), dtype=bool)
    mask[1, 2:4, 2:6] = True
    anchor = true_anchor({}, mask)
    assert anchor.key_index == 1 and anchor.boxes_xyxy_1000 == ((200, 200, 600, 400),)
    assert predicted_marks(anchor).points.tolist() == true_marks(mask[1]).points.tolist()
    listed = true_anchor({"marks": MARKS}, mask[1:2])
    assert listed == EvidenceAnchor(0, ((10, 20, 300, 400),), (((50, 60), (70, 80)),))
    assert true_anchor({"marks": MARKS}, mask).key_index == 1, "marks are those of a single image"
    assert true_anchor({}, np.zeros((2, 4, 4), dtype=bool)) is None
