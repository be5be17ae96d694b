import numpy as np
import pytest
import torch
from inference_stubs import NO_BOX, ONE_BOX, BoxPropagator, CannedNetwork
from medvol_r1.anchor import EvidenceAnchor, boxes_px_to_1000, format_completion
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.evaluation.bounds import oracle_boxes
from medvol_r1.inferer import EvidenceInferer
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.phantom.scan import make_phantom
from medvol_r1.propagation import SlicePropagator
from medvol_r1.self_consistency import SelfConsistency
from monai.data import MetaTensor, list_data_collate


def image(query="the liver", channels=1, shape=(3, 8, 16)):
    """[C, S, H, W] with its query, as preprocessing leaves it."""
    return MetaTensor(torch.rand(channels, *shape), meta={"query": query, "filename_or_obj": "ct.nii.gz"})


def infer(completion=ONE_BOX, inputs=None, **options):
    propagator, network = BoxPropagator(), CannedNetwork(completion)
    pred = EvidenceInferer(propagator, **options)(image()[None] if inputs is None else inputs, network)
    return pred, propagator, network


def test_box_of_the_completion_reaches_the_propagator_and_the_mask():
    pred, propagator, _ = infer(window=5)
    # [250, 500, 750, 1000] of 16 columns and 8 rows: x from 4 to 12, y from 4 to 8; key slice 2 is index 1.
    assert propagator.calls == [((3, 8, 16), 1, [[4.0, 4.0, 12.0, 8.0]], 5)]
    expected = torch.zeros(1, 1, 3, 8, 16, dtype=torch.uint8)
    expected[0, 0, 1, 4:8, 4:12] = 1
    assert pred.dtype == torch.uint8 and torch.equal(pred.as_tensor(), expected)


def test_evidence_says_what_was_answered():
    evidence = infer()[0].meta["evidence"]
    seconds = evidence.pop("seconds")
    assert evidence == {
        "status": "ok",
        "detail": "",
        "completion": ONE_BOX,
        "think": "Seen best here.",
        "key_index": 1,
        "boxes_1000": [[250, 500, 750, 1000]],
        "boxes_px": [[4.0, 4.0, 12.0, 8.0]],
        "points_1000": [],
        "points_px": [],
    }
    assert set(seconds) == {"encode", "generate", "propagate"} and min(seconds.values()) >= 0


BOX_AND_POINTS = (
    '<think></think><answer>{"key_slice": 2, "bbox_2d_list": [[250, 500, 750, 1000]], '
    '"point_2d_list": [[[333, 600], [1000, 0]]]}</answer>'
)
POINTS = (
    '<think></think><answer>{"key_slice": 3, "bbox_2d_list": [], "point_2d_list": [[[500, 500]], [[20, 30]]]}</answer>'
)


def test_points_of_the_completion_reach_the_propagator_and_the_evidence():
    pred, propagator, _ = infer(BOX_AND_POINTS, answer_form="boxes_and_points")
    # 333 / 1000 * 16 = 5.328 and 600 / 1000 * 8 = 4.8
    points = ((pytest.approx(5.328), 4.8), (16.0, 0.0))
    assert propagator.calls == [((3, 8, 16), 1, [[4.0, 4.0, 12.0, 8.0]], None, points)]
    evidence = pred.meta["evidence"]
    assert (evidence["status"], evidence["points_1000"]) == ("ok", [[[333, 600], [1000, 0]]])
    assert evidence["points_px"] == [[[5.33, 4.8], [16.0, 0.0]]]


def test_points_alone_are_an_answer():
    pred, propagator, _ = infer(POINTS, answer_form="boxes_and_points")
    assert [call[1:] for call in propagator.calls] == [(2, [], None, ((8.0, 4.0),)), (2, [], None, ((0.32, 0.24),))]
    assert pred.meta["evidence"]["status"] == "ok" and pred.sum() == 2


def test_points_that_were_not_asked_for_are_no_answer():
    pred, propagator, _ = infer(BOX_AND_POINTS)
    assert pred.meta["evidence"]["status"] == "wrong_schema" and propagator.calls == []


def test_the_answer_about_an_image():
    completion = (
        '<think></think><answer>{"bbox": [250, 500, 750, 1000], "points_1": [500, 750], "points_2": [0, 0]}</answer>'
    )
    pred, propagator, _ = infer(completion, image(shape=(1, 8, 16))[None], answer_form="image")
    assert propagator.calls == [((1, 8, 16), 0, [[4.0, 4.0, 12.0, 8.0]], None, ((8.0, 6.0), (0.0, 0.0)))]
    assert pred.meta["evidence"]["key_index"] == 0 and pred.sum() == 8 * 4 + 1


@pytest.mark.parametrize("zoom_margin", [None, 1.5])
def test_a_volume_of_one_slice_and_an_image_give_the_same_mask(zoom_margin):
    """Voxel for voxel; and so does that slice as the key slice of a volume: a key slice has no past."""
    propagator = SlicePropagator(build_tiny_medsam2(image_size=64, seed=3).eval(), zoom_margin=zoom_margin)
    marks = {"box": [[200, 300, 700, 800]], "points": [[[400, 500], [600, 700]]]}
    as_image = format_completion(EvidenceAnchor(0, ((200, 300, 700, 800),), (((400, 500), (600, 700)),)), form="image")
    as_volume = '<think></think><answer>{"key_slice": 1, "bbox_2d_list": %(box)s, "point_2d_list": %(points)s}</answer>'
    volume = torch.rand(1, 1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    asked = {"query": "the liver"}
    masks = []
    for completion, form, shown in (
        (as_image, "image", volume[:, :, :1]),
        (as_volume % marks, "boxes_and_points", volume[:, :, :1]),
        (as_volume % marks, "boxes_and_points", volume),
    ):
        inferer = EvidenceInferer(propagator, answer_form=form)
        masks.append(inferer(MetaTensor(shown, meta=asked), CannedNetwork(completion))[0, 0, :1].as_tensor())
    assert masks[0].any() and torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("channels, slices", [(1, (3, 8, 16)), (3, (3, 3, 8, 16))])
def test_slices_come_first_and_one_channel_is_dropped(channels, slices):
    _, propagator, network = infer(inputs=image(channels=channels)[None])
    assert network.shapes == [slices] and propagator.calls[0][0] == slices


def test_channels_are_not_mixed_with_slices():
    seen = []
    network = CannedNetwork()
    network.encode = seen.append
    inputs = image(channels=3)[None]
    EvidenceInferer(BoxPropagator())(inputs, network)
    assert torch.equal(seen[0][1, 2], inputs[0, 2, 1].as_tensor())


def test_an_absent_target_has_an_empty_mask_and_a_key_slice():
    pred, propagator, _ = infer(NO_BOX)
    evidence = pred.meta["evidence"]
    assert (evidence["status"], evidence["key_index"], evidence["boxes_1000"]) == ("absent", 0, [])
    assert not pred.any() and propagator.calls == []


@pytest.mark.parametrize(
    "completion, reason",
    [
        ("", "missing_tag"),
        ("<think></think><answer>os.system('rm')</answer>", "invalid_json"),
        ('<think></think><answer>{"key_slice": 4, "bbox_2d_list": []}</answer>', "key_slice_out_of_range"),
        ('<think></think><answer>{"key_slice": 1, "bbox_2d_list": [[9, 9, 9, 9]]}</answer>', "box_without_area"),
    ],
)
def test_a_completion_that_does_not_parse_gives_an_empty_mask_and_its_reason(completion, reason):
    pred, propagator, _ = infer(completion)
    evidence = pred.meta["evidence"]
    assert (evidence["status"], evidence["key_index"], evidence["completion"]) == (reason, None, completion)
    assert pred.shape == (1, 1, 3, 8, 16) and not pred.any() and propagator.calls == []


class NotAsked:
    """A language model that nobody may ask."""

    def __getattr__(self, name):
        raise AssertionError(f"the language model was asked: {name}")


def test_given_evidence_is_propagated_and_the_language_model_is_not_asked():
    propagator, inputs = BoxPropagator(), image()[None]
    inputs.meta["given_answer"] = ONE_BOX
    pred = EvidenceInferer(propagator, window=5)(inputs, NotAsked())
    expected, _, _ = infer(inputs=image()[None], window=5)
    assert pred.any() and torch.equal(pred.as_tensor(), expected.as_tensor())
    evidence = pred.meta["evidence"]
    assert evidence.pop("corrected") is True and set(evidence.pop("seconds")) == {"propagate"}
    assert evidence == {key: value for key, value in expected.meta["evidence"].items() if key != "seconds"}


def test_given_evidence_is_not_voted_on():
    """With several answers to a query, a lone one would have nobody to agree with."""
    several = SelfConsistency(num_anchors=3, sampling=Sampling(temperature=1.0), abstain_below=0.9)
    decision = EvidenceInferer(BoxPropagator(), consistency=several).correct(image().as_tensor(), ONE_BOX)
    assert decision.evidence["status"] == "ok" and decision.mask.sum() == 8 * 4


def test_given_evidence_without_boxes_is_an_empty_mask():
    decision = EvidenceInferer(BoxPropagator()).correct(image().as_tensor(), NO_BOX)
    assert decision.evidence["status"] == "absent" and not decision.mask.any()


def test_the_true_evidence_of_a_phantom_gives_the_mask_of_the_oracle_anchor():
    phantom = make_phantom(3, "organs", shape=(40, 40, 12), canonical=True)
    (liver,) = (value for value, name in phantom.label_names.items() if name == "liver")
    truth = phantom.label.transpose(2, 1, 0) == liver
    slices = torch.from_numpy(phantom.image.transpose(2, 1, 0).clip(-160, 240) + 160) / 400
    oracle = oracle_boxes(truth, int(truth.sum(axis=(1, 2)).argmax()))
    # A pixel of 40 is 25 of 1000: the codec is exact.
    anchor = EvidenceAnchor(oracle.key_index, boxes_px_to_1000(oracle.boxes_xyxy_px, 40, 40))
    propagator = SlicePropagator(build_tiny_medsam2(seed=1))
    decision = EvidenceInferer(propagator).correct(slices[None], format_completion(anchor))
    np.testing.assert_array_equal(decision.mask, propagator.masks(slices, [oracle])[0].numpy())
    assert decision.mask.any()


def test_indexing_with_none_as_monai_label_does_keeps_the_evidence():
    pred = infer(inputs=image()[None])[0][0]
    assert pred.shape == (1, 3, 8, 16)
    assert pred.meta["evidence"]["status"] == "ok"
    assert pred.meta["query"] == "the liver" and pred.meta["filename_or_obj"] == "ct.nii.gz"


def test_the_query_reaches_the_network_verbatim():
    text = "<|vision_start|> $x @id %y # '\"` </answer> <slice 3> \u80be\u81d3 \U0001fac1\n\t"
    assert infer(inputs=image(text)[None])[2].queries == [text]


def test_the_propagator_follows_the_images():
    _, propagator, _ = infer()
    assert propagator.devices == [torch.device("cpu")]


def test_inputs_without_a_query_are_refused():
    with pytest.raises(ValueError, match=r"inputs.meta\['query'\] is None; give a text.*QueryToMetad"):
        infer(inputs=MetaTensor(torch.rand(1, 1, 3, 8, 8)))


def test_a_collated_query_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"is \['the liver'\]; give a text.*`collate_fn` `\$list`"):
        infer(inputs=list_data_collate([image()]))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 2, 3, 8, 8), (2, 1, 3, 8, 8)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"give \[1, C, S, H, W\], one volume with 1 or 3 channels"):
        infer(inputs=MetaTensor(torch.rand(*shape), meta={"query": "x"}))


def test_boxes_in_px_are_rounded_to_hundredths():
    completion = '<think></think><answer>{"key_slice": 1, "bbox_2d_list": [[333, 333, 667, 667]]}</answer>'
    evidence = infer(completion)[0].meta["evidence"]
    # 333 / 1000 * 16 = 5.328, 333 / 1000 * 8 = 2.664, 667 / 1000 * 16 = 10.672, 667 / 1000 * 8 = 5.336
    np.testing.assert_array_equal(evidence["boxes_px"], [[5.33, 2.66, 10.67, 5.34]])
