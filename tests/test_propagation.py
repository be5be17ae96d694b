"""The driver against the official code's golden logits, against transformers' session, and on bad input."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_medsam2 import GOLDEN
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.slice_features import preprocess
from medvol_r1.medsam2.steps import attend, decode
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.propagation import SlicePropagator
from medvol_r1.slice_prompt import SlicePrompt
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam2_video.processing_sam2_video import Sam2VideoProcessor

SIZE = (40, 56)  # H, W of the small volumes
BOXES = [[5, 6, 30, 28], [20.5, 10, 50, 39], [0, 0, 56, 40]]
POINTS = [[[12, 11], [20.5, 20]], [], [[40, 30]]]


@pytest.fixture(scope="module")
def tiny():
    return build_tiny_medsam2(image_size=64, seed=3).eval()


@pytest.fixture(scope="module")
def slices():
    return np.random.default_rng(0).random((7, *SIZE), dtype=np.float32)


def test_golden_logits_of_the_official_code(official_checkpoint):
    golden = np.load(GOLDEN / "propagation_case_a.npz")
    propagator = SlicePropagator(load_medsam2(official_checkpoint))
    logits = propagator.logits(golden["clip"] / np.float32(255), int(golden["key"]), golden["boxes"])
    expected = torch.from_numpy(golden["logits_every4"])
    assert logits.shape == (1, 9, 101, 122) and logits.dtype == torch.float32
    sampled = logits[:, :, ::4, ::4]
    assert expected.std() > 4  # the logits are far from constant
    torch.testing.assert_close(sampled, expected, rtol=0, atol=1e-3)
    assert ((sampled > 0) == (expected > 0)).double().mean() >= 0.9999


def prompt_processor(model):
    """transformers' processor as far as prompts go; its image part needs torchvision."""
    processor = Sam2VideoProcessor.__new__(Sam2VideoProcessor)
    processor.target_size, processor.point_pad_value = model.image_size, -10
    return processor


def session_logits(model, slices, key_index, boxes, points=None):
    """[N,S,H,W] from transformers' own session and prompts: one object after another, forward, reset, reverse.

    A box may be None; points are a list for each object.
    """
    pixels = preprocess(slices, model.image_size)
    height, width = slices.shape[-2:]
    out = torch.full((len(boxes), len(slices), height, width), torch.nan)
    for number, (box, own) in enumerate(zip(boxes, points or [[]] * len(boxes), strict=True)):
        for reverse in (False, True):
            session = Sam2VideoInferenceSession(
                video=pixels, video_height=height, video_width=width, dtype=torch.float32
            )
            prompt_processor(model).add_inputs_to_inference_session(
                session,
                frame_idx=key_index,
                obj_ids=1,
                input_boxes=None if box is None else [[box]],
                input_points=[[own]] if own else None,
                input_labels=[[[1] * len(own)]] if own else None,
            )
            for step in model.propagate_in_video_iterator(session, start_frame_idx=key_index, reverse=reverse):
                resized = F.interpolate(step.pred_masks, size=(height, width), mode="bilinear", align_corners=False)
                out[number, step.frame_idx] = resized[0, 0]
    return out


@pytest.mark.parametrize("key_index", [0, 2, 6])
def test_equals_transformers_session(tiny, slices, key_index):
    expected = session_logits(tiny, slices, key_index, BOXES)
    logits = SlicePropagator(tiny).logits(slices, key_index, BOXES)
    assert expected.isfinite().all() and expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_boxes_with_points_equal_transformers_session(tiny, slices):
    expected = session_logits(tiny, slices, 2, BOXES, POINTS)
    logits = SlicePropagator(tiny).logits(slices, 2, BOXES, points_xy_px=POINTS)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    boxes_alone = SlicePropagator(tiny).logits(slices, 2, BOXES)
    assert (logits - boxes_alone).abs().amax((1, 2, 3))[[0, 2]].min() > 1e-2  # the points say something


@pytest.mark.parametrize("several", [False, True])
def test_points_alone_equal_transformers_session(slices, several):
    """A lone point may get several masks, as in the official configuration: the one with the best predicted IoU."""
    model = build_tiny_medsam2(image_size=64, seed=3).eval()
    model.config.multimask_output_in_sam = several
    model.config.multimask_output_for_tracking = several
    points = [[[12, 11]], [[40, 30], [44, 20]]]
    expected = session_logits(model, slices, 4, [None, None], points)
    logits = SlicePropagator(model).logits(slices, 4, [], points_xy_px=points)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    model.config.multimask_output_in_sam = not several
    other = SlicePropagator(model).logits(slices, 4, [], points_xy_px=points)
    assert (other - logits).abs().amax((1, 2, 3))[0] > 1e-2


def test_equals_transformers_session_where_objects_vanish(slices):
    model = build_tiny_medsam2(image_size=64, seed=3).eval()
    with torch.no_grad():  # about half of the slices are judged empty
        model.mask_decoder.pred_obj_score_head.proj_out.weight.mul_(20)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(0)
    expected = session_logits(model, slices, 3, BOXES)
    absent = (expected == -1024).flatten(2).all(2)
    logits = SlicePropagator(model).logits(slices, 3, BOXES)
    assert torch.equal((logits == -1024).flatten(2).all(2), absent)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_batches_do_not_change_the_result(tiny, slices):
    whole = SlicePropagator(tiny).logits(slices, 2, BOXES)
    torch.testing.assert_close(SlicePropagator(tiny, max_batch=2).logits(slices, 2, BOXES), whole, rtol=0, atol=1e-4)
    for number, box in enumerate(BOXES):
        alone = SlicePropagator(tiny).logits(slices, 2, [box])
        torch.testing.assert_close(alone[0], whole[number], rtol=0, atol=1e-4)


def test_objects_that_are_marked_differently_are_as_each_alone(tiny, slices):
    propagator = SlicePropagator(tiny, max_batch=4)
    anchors = [(3, BOXES, POINTS), (3, BOXES[:1]), (1, [], [[[12, 11]], [[30, 20]]]), (5, BOXES[1:], [[], []])]
    together = propagator.masks(slices, anchors)
    for anchor, mask in zip(anchors, together, strict=True):
        objects = SlicePrompt.of(*anchor).objects
        alone = torch.stack([propagator.masks(slices, [one.arguments])[0] for one in objects]).any(0)
        assert (mask == alone).double().mean() >= 0.9999  # a logit may lie at 0
    assert torch.equal(propagator.mask(slices, 3, BOXES, points_xy_px=POINTS), together[0])


def test_points_that_say_nothing_change_no_digit(tiny, slices):
    propagator = SlicePropagator(tiny)
    logits = propagator.logits(slices, 2, BOXES)
    for nothing in ((), [[], [], []], [np.zeros((0, 2))] * 3):
        assert torch.equal(propagator.logits(slices, 2, BOXES, points_xy_px=nothing), logits)


def test_reversed_volume_gives_reversed_masks(tiny, slices):
    forward = SlicePropagator(tiny).logits(slices, 2, BOXES)
    backward = SlicePropagator(tiny).logits(slices[::-1], len(slices) - 1 - 2, BOXES)
    torch.testing.assert_close(backward.flip(1), forward, rtol=0, atol=1e-4)


def test_mask_is_the_union_of_the_boxes(tiny, slices):
    propagator = SlicePropagator(tiny)
    logits = propagator.logits(slices, 2, BOXES)
    mask = propagator.mask(slices, 2, BOXES)
    assert mask.dtype == torch.bool and mask.any() and torch.equal(mask, (logits > 0).any(0))


@pytest.mark.parametrize("window", [None, 2, 0])
def test_anchors_on_different_slices_in_one_batch_are_as_each_alone(tiny, slices, window):
    propagator = SlicePropagator(tiny, max_batch=6)  # so that batches begin within an anchor
    anchors = [(0, BOXES[:2]), (6, BOXES[1:]), (3, []), (3, BOXES[:1]), (5, BOXES)]
    together = propagator.masks(slices, anchors, window)
    assert len(together) == len(anchors) and not together[2].any() and together[0].any()
    for anchor, mask in zip(anchors, together, strict=True):
        alone = propagator.mask(slices, *anchor, window)
        assert mask.shape == alone.shape and (mask == alone).double().mean() >= 0.9999  # a logit may lie at 0
    assert propagator.masks(slices, []) == []
    with pytest.raises(ValueError, match="key_index is 7"):
        propagator.masks(slices, [(0, BOXES), (7, BOXES)])


def test_the_predicted_iou_is_the_mean_over_slices_with_the_object_and_over_boxes(tiny, slices, monkeypatch):
    decoded = []

    def noting(*arguments, **options):
        decoded.append(decode(*arguments, **options))
        return decoded[-1]

    monkeypatch.setattr("medvol_r1.propagation.decode", noting)
    both = SlicePropagator(tiny).scored_masks(slices, [(2, BOXES[:2])])[0]
    presence = torch.cat([step.presence.reshape(-1, 2) for step in decoded])  # key slice, then [directions, boxes]
    ious = torch.cat([step.iou.reshape(-1, 2) for step in decoded])
    assert presence.shape == (len(slices), 2) and (presence > 0).any(0).all()
    of_boxes = [ious[presence[:, box] > 0, box].mean().item() for box in (0, 1)]
    assert both.predicted_iou == pytest.approx(sum(of_boxes) / 2, abs=1e-6) and 0 < both.predicted_iou < 1
    monkeypatch.setattr("medvol_r1.propagation.decode", decode)
    torch.testing.assert_close(both.mask, SlicePropagator(tiny).mask(slices, 2, BOXES[:2]))
    assert SlicePropagator(tiny).scored_masks(slices, [(2, [])])[0].predicted_iou == 0
    monkeypatch.setattr(
        "medvol_r1.propagation.decode", lambda *a, **o: decode(*a, **o)._replace(presence=torch.full((1,), -1.0))
    )
    assert SlicePropagator(tiny).scored_masks(slices, [(2, BOXES[:1])], window=0)[0].predicted_iou == 0


def test_window_keeps_the_time_scale_of_the_whole_volume(tiny, slices):
    propagator = SlicePropagator(tiny)
    full, near = propagator.logits(slices, 4, BOXES), propagator.logits(slices, 4, BOXES, window=2)
    torch.testing.assert_close(near[:, 2:7], full[:, 2:7], rtol=0, atol=1e-4)
    assert (near[:, :2] == -1024).all()
    only_key = propagator.logits(slices, 4, BOXES, window=0)
    assert (only_key[:, [0, 1, 2, 3, 5, 6]] == -1024).all() and (only_key[:, 4] > -1024).any()


@pytest.mark.parametrize(("total", "with_features", "pointers"), [(7, 2, 6), (20, 2, 15)])
def test_only_the_memories_that_are_read_are_kept(tiny, monkeypatch, total, with_features, pointers):
    """Of 3 spatial memories one is the key slice's, as of 16 pointers; the masks are those of all memories."""
    slices = np.random.default_rng(1).random((total, 24, 24), dtype=np.float32)
    kept = []

    def noted(*arguments):
        tracked = arguments[4]
        kept.append((sum(memory.features is not None for memory in tracked), len(tracked)))
        return attend(*arguments)

    monkeypatch.setattr("medvol_r1.propagation.attend", noted)
    found = SlicePropagator(tiny).logits(slices, 2, [[3, 4, 20, 18]])
    assert len(kept) == total - 3  # up to the farther end
    assert max(features for features, _ in kept) == with_features
    assert max(memories for _, memories in kept) == min(pointers, total - 4)
    monkeypatch.setattr("medvol_r1.propagation.followed_by", lambda model, tracked, newest, total: [*tracked, newest])
    assert torch.equal(SlicePropagator(tiny).logits(slices, 2, [[3, 4, 20, 18]]), found)
    assert kept[-1] == (total - 4, total - 4)


def test_no_boxes_one_slice_two_hundred_boxes(tiny, slices):
    propagator = SlicePropagator(tiny)
    for none in ([], np.zeros((0, 4))):
        assert propagator.logits(slices, 2, none).shape == (0, 7, *SIZE)
        assert not propagator.mask(slices, 2, none).any()
    assert propagator.logits(slices[:1], 0, BOXES).shape == (3, 1, *SIZE)
    many = np.tile(np.array(BOXES), (67, 1))[:200]
    mask = propagator.mask(slices[:2], 0, many)
    assert torch.equal(mask, propagator.mask(slices[:2], 0, BOXES))


def test_a_box_reaching_outside_is_clipped(tiny, slices):
    propagator = SlicePropagator(tiny)
    outside, clipped = [[-20, 5, 30, 400]], [[0, 5, 30, 40]]
    assert torch.equal(propagator.logits(slices, 1, outside), propagator.logits(slices, 1, clipped))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\); give \[N,4\]"),
        ([1, 2, 3, 4], r"shape \(4,\); give \[N,4\]"),
        ([[1, 2, 30, 20], [9, 2, 3, 20]], "box 1 is .* it needs x1 < x2 and y1 < y2"),
        ([[5, 5, 5, 20]], "it needs x1 < x2"),
        ([[float("nan"), 2, 3, 4]], "its corners must be finite"),
        ([[0, 0, float("inf"), 4]], "its corners must be finite"),
        ([[56, 5, 60, 9]], "outside the slice of 56 columns and 40 rows"),
        ([[-9, 5, 0, 9]], "outside the slice"),
    ],
)
def test_bad_boxes(tiny, slices, boxes, message):
    for call in (SlicePropagator(tiny).logits, SlicePropagator(tiny).mask):
        with pytest.raises(ValueError, match=message):
            call(slices, 2, boxes)


@pytest.mark.parametrize(
    ("boxes", "points", "message"),
    [
        (BOXES, [[[1, 2]]], "1 lists of points for 3 boxes; give one a box"),
        ([], [[[1, 2]], []], "object 1 has neither a box nor points"),
        (BOXES[:1], [[1, 2]], r"points of object 0 have the shape \(2,\); give \[M,2\]"),
        ([], [[[1, 2, 3]]], r"shape \(1, 3\); give \[M,2\]"),
        (BOXES[:2], [[], [[57, 4]]], "a point of object 1 is .*, outside the slice of 56 columns and 40 rows"),
        ([], [[[3, 4], [3, -0.5]]], "a point of object 0 is .*, outside"),
        ([], [[[float("nan"), 4]]], "a point of object 0 is .*, outside"),
    ],
)
def test_bad_points(tiny, slices, boxes, points, message):
    for call in (SlicePropagator(tiny).logits, SlicePropagator(tiny).mask):
        with pytest.raises(ValueError, match=message):
            call(slices, 2, boxes, points_xy_px=points)


@pytest.mark.parametrize("boxes", [BOXES, []])
def test_bad_key_slice_and_window(tiny, slices, boxes):
    propagator = SlicePropagator(tiny)
    for key_index in (-1, 7):
        with pytest.raises(ValueError, match=rf"key_index is {key_index}, outside 0..6 of the 7 slices"):
            propagator.logits(slices, key_index, boxes)
    with pytest.raises(ValueError, match="key_index is 1.5; give a whole number"):
        propagator.mask(slices, 1.5, boxes)
    with pytest.raises(ValueError, match="window is -1"):
        propagator.mask(slices, 1, boxes, window=-1)
    with pytest.raises(ValueError, match="max_batch is 1"):
        SlicePropagator(tiny, max_batch=1)


def test_copies_and_other_dtypes(tiny, slices):
    propagator = SlicePropagator(tiny).to("cpu")
    logits = propagator.logits(torch.from_numpy(slices), 2, BOXES)
    assert torch.equal(copy.deepcopy(propagator).logits(slices, 2, BOXES), logits)
    half = SlicePropagator(copy.deepcopy(tiny).to(torch.bfloat16)).logits(slices, 2, BOXES)
    assert half.dtype == torch.float32 and ((half > 0) == (logits > 0)).float().mean() > 0.9
