import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from medvol_r1.anchor import boxes_1000_to_px, boxes_px_to_1000, points_1000_to_px, points_px_to_1000


def test_codec_of_points_golden():
    # 96 columns, 48 rows: the centre of column 24 is 24.5 * 1000 / 96 = 255.2, of row 12 12.5 * 1000 / 48 = 260.4
    assert points_px_to_1000([[24.5, 12.5], [0, 0], [96, 48]], height=48, width=96) == (
        (255, 260),
        (0, 0),
        (1000, 1000),
    )
    np.testing.assert_allclose(points_1000_to_px([(250, 750)], height=48, width=96), [[24, 36]])
    assert points_px_to_1000([], 48, 96) == () and points_1000_to_px([], 48, 96).shape == (0, 2)


def test_codec_golden():
    # 96 columns, 48 rows: x * 1000 / 96, y * 1000 / 48, rounded. 24/96 = .25, 36/48 = .75, 95/96 = .98958
    assert boxes_px_to_1000([[24, 12, 95, 36]], height=48, width=96) == ((250, 250, 990, 750),)
    np.testing.assert_allclose(boxes_1000_to_px([(250, 250, 1000, 750)], height=48, width=96), [[24, 12, 96, 36]])
    assert boxes_px_to_1000([], 48, 96) == ()
    assert boxes_1000_to_px([], 48, 96).shape == (0, 4)
    # a box thinner than half a unit keeps one unit, also at the far edge
    thin = [[10, 10, 10.1, 10.1], [4096, 0, 4096, 4096]]
    assert boxes_px_to_1000(thin, 4096, 4096) == ((2, 2, 3, 3), (999, 0, 1000, 1000))


@given(st.integers(8, 1000), st.integers(8, 1000), st.data())
def test_codec_round_trip_on_pixel_edges(height, width, data):
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    back = boxes_1000_to_px(boxes_px_to_1000([[x1, y1, x2, y2]], height, width), height, width)
    # half a unit of rounding, in pixels
    tolerance = np.array([width, height, width, height]) / 2000 + 1e-9
    assert np.all(np.abs(back[0] - [x1, y1, x2, y2]) <= tolerance)
