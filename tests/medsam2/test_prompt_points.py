"""The sequences that SAM 2 reads, as transformers' video processor and prompt encoder make them."""

import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.prompt_points import PromptPoints
from medvol_r1.slice_prompt import SlicePrompt

BOX, POINTS = [4.0, 6.0, 30.0, 28.0], [[12.0, 11.0], [20.0, 18.0]]


def sequence(boxes, points):
    return PromptPoints.of_object(SlicePrompt.of(0, boxes, points))


def test_the_corners_of_the_box_come_before_the_points():
    both = sequence([BOX], [POINTS])
    assert both.labels == (2, 3, 1, 1) and both.has_box
    assert both.xy.tolist() == [[[4, 6], [30, 28], [12, 11], [20, 18]]]
    box, points = sequence([BOX], []), sequence([], [POINTS])
    assert (box.labels, box.xy.tolist()) == ((2, 3), [[[4, 6], [30, 28]]])
    assert (points.labels, points.xy.tolist(), points.has_box) == ((1, 1), [POINTS], False)
    of_boxes = PromptPoints.of_boxes(torch.tensor([BOX, BOX]))
    assert (of_boxes.labels, of_boxes.xy.tolist()) == ((2, 3), [[[4, 6], [30, 28]]] * 2)


def test_each_label_gets_its_own_embedding():
    """Position of the pixel's centre plus the vector of the label, then a "not a point"."""
    model = build_tiny_medsam2(image_size=64, seed=3).eval()
    encoder, both = model.prompt_encoder, sequence([BOX], [POINTS])
    with torch.no_grad():
        sparse, _ = encoder(
            input_points=both.xy.float()[:, None],
            input_labels=torch.tensor(both.labels)[None, None],
            input_boxes=None,
            input_masks=None,
        )
        position = encoder.shared_embedding(both.xy.float()[:, None] + 0.5, (64, 64))[0, 0]
        expected = position + encoder.point_embed.weight[[2, 3, 1, 1]]
        torch.testing.assert_close(sparse[0, 0, :4], expected)
        torch.testing.assert_close(sparse[0, 0, 4], encoder.not_a_point_embed.weight[0])
