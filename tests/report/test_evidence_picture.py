import numpy as np
import pytest
from answered_cases import AFFINE, SHAPE, geometry_meta, record_of
from medvol_r1.report.evidence_picture import draw_evidence, save_evidence
from medvol_r1.volume.geometry import SliceGeometry


def draw(record=None, mask=None, affine=AFFINE, volume=None, **options):
    meta = geometry_meta(affine)
    if volume is None:
        volume = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8) if mask is None else mask
    return draw_evidence(volume, mask, SliceGeometry.from_meta(meta), record or record_of(), **options)


def texts(figure):
    return [text for axes in figure.axes for text in axes.texts]


def test_cuts_are_shown_as_a_radiologist_sees_them():
    # One bright voxel at the patient's right (low R index: R grows along axis 0, so right is high), anterior, superior.
    volume = np.full(SHAPE, -160.0, np.float32)
    volume[10, 8, 2] = 240.0
    mask = (volume > 0).astype(np.uint8)
    key, coronal, sagittal = draw(mask=mask, volume=volume).axes[:3]
    axial = np.asarray(key.images[0].get_array())
    # 12 columns from the patient's right: 11 - 10 = 1. 10 rows from anterior: 9 - 8 = 1.
    assert np.argwhere(axial > 0).tolist() == [[1, 1]]
    # 8 slices, superior on top: row 7 - 2 = 5.
    assert np.argwhere(np.asarray(coronal.images[0].get_array()) > 0).tolist() == [[5, 1]]
    assert np.argwhere(np.asarray(sagittal.images[0].get_array()) > 0).tolist() == [[5, 1]]
    assert [text.get_text() for text in key.texts] == ["R", "L", "A", "P"]
    assert [text.get_text() for text in coronal.texts] == ["R", "L", "S", "I"]
    assert [text.get_text() for text in sagittal.texts] == ["A", "P", "S", "I"]


def test_cuts_have_the_proportions_of_the_patient():
    key, coronal, sagittal = draw().axes[:3]
    assert (key.get_aspect(), coronal.get_aspect(), sagittal.get_aspect()) == (1.0, 2.5, 2.5)


def test_boxes_are_drawn_on_the_key_slice_at_pixel_edges():
    key = draw().axes[0]
    (box,) = key.patches
    # [0, 0, 500, 500] of 12 columns and 10 rows, with pixel centres on whole numbers.
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-0.5, -0.5, 6.0, 5.0)
    assert key.get_title() == "key slice 2 of 4"


def test_points_are_drawn_on_the_key_slice():
    record = record_of(points_1000=[[[500, 300], [1000, 1000]], []])
    figure = draw(record)
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    # [500, 300] of 12 columns and 10 rows is (6, 3), with pixel centres on whole numbers.
    assert line.get_xydata().tolist() == [[5.5, 2.5], [11.5, 9.5]]
    assert any(text.get_text() == "1 box, 2 points" for text in texts(figure))


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        # Half of 6 columns from column 4 on, half of 8 rows from row 1 on, with pixel centres on whole numbers.
        ((4, 1, 10, 9), (3.5, 0.5, 3.0, 4.0)),
        # A crop that reaches beyond the slice: half of 16 and of 20 from -2 and -5 on.
        ((-2, -5, 14, 15), (-2.5, -5.5, 8.0, 10.0)),
    ],
)
def test_boxes_of_a_crop_are_drawn_where_they_lie_in_the_slice(crop, expected):
    meta = geometry_meta() | {"crop_xyxy_px": np.array(crop)}
    volume, mask = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    (box,) = draw_evidence(volume, mask, SliceGeometry.from_meta(meta), record_of()).axes[0].patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == expected


def test_a_dollar_sign_in_a_query_is_a_dollar_sign(tmp_path):
    figure = draw(record_of(query=r"$\frac{ costs $5", think="$x"))
    save_evidence(figure, tmp_path / "a.png")
    drawn = [text for text in texts(figure) if "$" in text.get_text()]
    assert [text.get_text() for text in drawn] == [r"$\frac{ costs $5", "$x"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("query", ["word " * 400, "x" * 2000, "\n\t\0 \u202e \u809d\u81d3 \U0001fac0"])
def test_long_and_strange_queries_are_drawn(tmp_path, query):
    figure = draw(record_of(query=query), scores={"DSC": 0.5, "IoU": 1 / 3})
    save_evidence(figure, tmp_path / "a.png")
    assert max(len(text.get_text()) for text in texts(figure)) <= 80
    assert "DSC 0.500    IoU 0.333" in [text.get_text() for text in texts(figure)]


def test_a_failure_is_drawn_with_its_completion():
    record = record_of(status="missing_tag", key_index=None, boxes_1000=[], boxes_px=[], think="")
    figure = draw(record)
    assert figure.axes[0].get_title() == "no key slice; the middle one, 3 of 4" and not figure.axes[0].patches
    written = [text.get_text() for text in texts(figure)]
    assert "status: missing_tag" in written and "<think>because</think>..." in written


def test_one_slice_is_drawn():
    meta = geometry_meta(shape=(6, 6, 1), source_index=(0,))
    record = record_of() | {"key_slice": 1}
    figure = draw_evidence(np.zeros((6, 6, 1)), np.ones((6, 6, 1)), SliceGeometry.from_meta(meta), record)
    assert figure.axes[0].images
