"""Several answers to a query: what is voted on by hand-made masks, and the way through inferer, engine and config."""

import csv
import json
import runpy
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from inference_stubs import NO_BOX, ONE_BOX, BoxPropagator, CannedNetwork, SeveralAnswers
from medvol_r1.datasets.volume_cases import Target
from medvol_r1.datasets.write_phantoms import write_phantoms
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.evaluation.bounds import Bounds
from medvol_r1.evaluation.evaluator import VolumeEvaluator
from medvol_r1.inferer import EvidenceInferer, evidence_of
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.prompt_masks import PromptMask
from medvol_r1.propagation import SlicePropagator
from medvol_r1.self_consistency import SelfConsistency, fixed_chance, mean_dice_with_others
from medvol_r1.volume.cropped_mask import CroppedMask
from monai.data import MetaTensor
from tiny_models import save_random_lvlm

ROOT = Path(__file__).resolve().parents[1]
WARM = Sampling(temperature=0.8)
SHAPE = (3, 8, 16)


def box(key_slice, *boxes):
    return f'<think></think><answer>{{"key_slice": {key_slice}, "bbox_2d_list": {json.dumps(boxes)}}}</answer>'


# Masks by hand ------------------------------------------------------------------------------------------------------


def line(*columns):
    """A mask [1, 1, 8] of these columns."""
    mask = np.zeros((1, 1, 8), bool)
    mask[..., list(columns)] = True
    return mask


def answers_of(*masks, failures=()):
    """Answers with their masks, 0.5 of predicted IoU each; an empty mask says "not present"."""
    boxes = [[[0, 0, 9, 9]] if mask.any() else [] for mask in masks]
    evidence = [
        {"status": "ok" if found else "absent", "key_index": 0, "boxes_1000": found, "think": str(number)}
        for number, found in enumerate(boxes)
    ]
    evidence += [{"status": reason, "key_index": None, "boxes_1000": [], "think": reason} for reason in failures]
    return evidence, [PromptMask(mask, 0.5) for mask in [*masks, *[line()] * len(failures)]]


def test_points_alone_vote_for_something():
    evidence, masks = answers_of(line(), line(1, 2), line(1, 2))
    for answer in evidence[1:]:
        answer |= {"boxes_1000": [], "points_1000": [[[200, 500]]]}
    decision = decide(evidence, masks)
    assert decision.evidence["status"] == "ok" and np.array_equal(decision.mask, line(1, 2))


def decide(evidence, masks, **options):
    return SelfConsistency(len(evidence), WARM, **options).decide(evidence, masks)


A, B, C = line(0, 1, 2, 3), line(1, 2, 3, 4), line(2, 3, 4, 5)
# Dice of A and B: 2 * 3 / 8 = 0.75; of B and C: 0.75; of A and C: 2 * 2 / 8 = 0.5.


def test_the_agreement_is_the_mean_dice_with_the_others():
    # A: (0.75 + 0.5) / 2; B: (0.75 + 0.75) / 2; C: (0.5 + 0.75) / 2
    assert mean_dice_with_others([A, B, C]) == pytest.approx([0.625, 0.75, 0.625])
    # Two empty masks agree, one does not: 1 / 2, 1 / 2 and 0.
    assert mean_dice_with_others([line(), line(), A]) == [0.5, 0.5, 0.0]
    assert mean_dice_with_others([A]) == [0.0] and mean_dice_with_others([]) == []


def test_the_order_of_equal_masks_does_not_change_their_agreement():
    masks = [line(*range(n)) for n in (3, 5, 7, 3, 5, 7, 3)]
    found = mean_dice_with_others(masks)
    assert found[0] == found[3] == found[6] and found[1] == found[4] and found[2] == found[5]


def test_the_answer_that_agrees_most_is_given():
    decision = decide(*answers_of(A, B, C))
    assert decision.index == 1 and decision.evidence["think"] == "1"
    np.testing.assert_array_equal(decision.mask, B)
    assert decision.evidence["agreement"] == pytest.approx(0.75) and decision.evidence["answers"] == {"ok": 3}
    assert decision.agreement_map is None


def test_of_equals_the_earlier_one_is_given():
    assert decide(*answers_of(A, C)).index == 0
    assert decide(*answers_of(B, A, C, B)).index == 0


def test_the_predicted_iou_counts_beside_the_agreement():
    evidence, masks = answers_of(A, B, C)
    masks[0] = masks[0]._replace(predicted_iou=0.7)  # 0.625 * 0.7 = 0.4375 against 0.75 * 0.5 = 0.375
    decision = decide(evidence, masks, choice="agreement_and_iou")
    assert decision.index == 0 and decision.evidence["agreement"] == pytest.approx(0.625)
    masks[0] = masks[0]._replace(predicted_iou=0.59)  # 0.36875
    assert decide(evidence, masks, choice="agreement_and_iou").index == 1
    assert decide(evidence, masks, choice="agreement").index == 1


def test_a_vote_takes_what_more_than_half_mark():
    decision = decide(*answers_of(A, B, C), choice="vote")
    # Columns 0 to 5 have 1, 2, 3, 3, 2, 1 votes of 3.
    np.testing.assert_array_equal(decision.mask, line(1, 2, 3, 4))
    assert decision.index == 1 and decision.evidence["agreement"] == pytest.approx(0.75)
    # Two answers: half of them is not more than half.
    np.testing.assert_array_equal(decide(*answers_of(A, C), choice="vote").mask, line(2, 3))
    # "Not present" votes on presence, not on voxels.
    np.testing.assert_array_equal(decide(*answers_of(A, C, line()), choice="vote").mask, line(2, 3))


def test_most_votes_for_not_present_make_it_absent():
    decision = decide(*answers_of(A, line(), line()))
    assert decision.evidence["status"] == "absent" and decision.index == 1 and not decision.mask.any()
    assert decision.evidence["agreement"] == pytest.approx(0.5)  # with A 0, with the other 1
    assert decision.evidence["answers"] == {"ok": 1, "absent": 2}


def test_half_of_the_votes_is_no_majority():
    decision = decide(*answers_of(line(), A, B, line()))
    # A: 0.75 with B, 0 with two empty masks.
    assert decision.evidence["status"] == "ok" and decision.index == 1
    assert decision.evidence["agreement"] == pytest.approx(0.25)


def test_what_does_not_parse_is_counted_and_left_out():
    decision = decide(*answers_of(A, B, C, failures=["missing_tag", "missing_tag", "invalid_json"]))
    assert decision.index == 1 and decision.evidence["agreement"] == pytest.approx(0.75)
    assert decision.evidence["answers"] == {"ok": 3, "missing_tag": 2, "invalid_json": 1}
    assert decide(*answers_of(line(), failures=["missing_tag"] * 3)).evidence["status"] == "absent"


def test_if_nothing_parses_the_most_frequent_reason_is_given():
    reasons = ["invalid_json", "missing_tag", "missing_tag"]
    decision = decide(*answers_of(failures=reasons), abstain_below=0.5, keep_map=True)
    assert decision.evidence["status"] == "missing_tag" and decision.index == 1 and not decision.mask.any()
    assert decision.evidence["agreement"] == 0 and decision.evidence["answers"] == {"invalid_json": 1, "missing_tag": 2}
    assert decision.agreement_map is None
    assert decide(*answers_of(failures=["b", "a", "a", "b"])).evidence["status"] == "b", "of equals the first"


def test_a_lone_vote_has_nobody_to_agree_with():
    decision = decide(*answers_of(A, failures=["missing_tag"]))
    assert decision.evidence["status"] == "ok" and decision.evidence["agreement"] == 0
    np.testing.assert_array_equal(decision.mask, A)


@pytest.mark.parametrize("choice", ["agreement", "agreement_and_iou", "vote"])
def test_too_little_agreement_is_an_abstention(choice):
    abstained = decide(*answers_of(A, B, C), abstain_below=0.76, choice=choice, keep_map=True)
    assert abstained.evidence["status"] == "abstained" and not abstained.mask.any()
    assert abstained.mask.shape == A.shape and abstained.mask.dtype == bool
    assert abstained.evidence["boxes_1000"] and abstained.evidence["agreement"] == pytest.approx(0.75)
    assert abstained.agreement_map.any(), "what the answers were stays to be seen"
    assert decide(*answers_of(A, B, C), abstain_below=0.75, choice=choice).evidence["status"] == "ok"
    assert decide(*answers_of(A, line(), line()), abstain_below=0.6).evidence["status"] == "abstained"


def test_the_map_is_the_share_of_the_votes():
    decision = decide(*answers_of(A, B, C, line(), failures=["missing_tag"]), keep_map=True)
    # Columns 0 to 5 have 1, 2, 3, 3, 2, 1 votes of 4: "not present" votes too, what does not parse has no vote.
    np.testing.assert_allclose(decision.agreement_map[0, 0], [0.25, 0.5, 0.75, 0.75, 0.5, 0.25, 0, 0])
    assert decision.agreement_map.dtype == np.float32


def test_a_decision_leaves_the_answers_as_they_are():
    evidence, masks = answers_of(A, C)
    before = json.dumps(evidence)
    decide(evidence, masks, abstain_below=0.9)
    assert json.dumps(evidence) == before and masks[0].mask.any()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"num_anchors": 0}, "num_anchors is 0; give a whole number of at least 1"),
        ({"num_anchors": 2.0}, "num_anchors is 2.0; give a whole number"),
        ({"num_anchors": True}, "num_anchors is True; give a whole number"),
        ({"num_anchors": 4}, "num_anchors is 4 and anchor_temperature is None; give a temperature above 0"),
        ({"num_anchors": 4, "sampling": Sampling()}, "anchor_temperature is 0.0; give a temperature above 0"),
        ({"choice": "best"}, "anchor_choice is 'best'; legal are agreement, agreement_and_iou, vote"),
        ({"num_anchors": 2, "sampling": WARM, "abstain_below": 1.5}, "abstain_below is 1.5; give an agreement in 0..1"),
        ({"abstain_below": 0.5}, "abstain_below is 0.5, but one answer has none to agree with; give num_anchors 2"),
        ({"keep_map": True}, "save_agreement is True, but one answer has none to agree with; give num_anchors 2"),
    ],
)
def test_settings_that_make_no_sense(options, told):
    with pytest.raises(ValueError) as caught:
        SelfConsistency(**options)
    assert told in str(caught.value)


# Drawing answers ----------------------------------------------------------------------------------------------------


def test_the_first_answer_is_not_sampled_and_the_others_are():
    network = SeveralAnswers(["a", "b", "c"])
    (texts,) = SelfConsistency(3, WARM).completions(network, None, ["liver"])
    assert [completion.text for completion in texts] == ["a", "b", "c"] and network.asked == [(1, None), (2, WARM)]


def test_one_answer_asks_as_before():
    class Plain(CannedNetwork):
        def generate(self, volume, queries):
            return super().generate(volume, queries)

    ((completion,),) = SelfConsistency().completions(Plain(), None, ["liver"])
    assert completion.text == ONE_BOX


def test_chance_is_fixed_by_seed_and_name_and_leaves_no_trace():
    def draw(seed, name):
        with fixed_chance(seed, name, torch.device("cpu")):
            return torch.rand(()).item()

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(())
    assert draw(0, "a") == draw(0, "a") != draw(0, "b") != draw(1, "a")
    assert torch.equal(torch.stack([first, torch.rand(())]), expected)


def test_a_real_network_writes_the_greedy_answer_and_reproducible_samples(tmp_path):
    network = VolumeLVLM(str(save_random_lvlm(tmp_path, sharpen=2.0)), slice_size=32, max_new_tokens=6)
    image = MetaTensor(torch.rand(1, 2, 32, 32), meta={"query": "the liver"})

    def texts(seed, **options):
        inferer = EvidenceInferer(BoxPropagator(), consistency=SelfConsistency(5, Sampling(2.0)), seed=seed, **options)
        with fixed_chance(seed, "the liver", image.device):
            return [answer["completion"] for answer in inferer.ask(image, ["the liver"], network)[0]]

    alone = EvidenceInferer(BoxPropagator()).ask(image, ["the liver"], network)
    first = texts(0)
    assert [answer["completion"] for answer in alone[0]] == first[:1]
    assert len(first) == 5 and len(set(first)) > 1 and texts(0) == first and texts(1) != first
    inferer = EvidenceInferer(BoxPropagator(), consistency=SelfConsistency(5, Sampling(2.0)), seed=0)
    evidence = inferer(image[None], network).meta["evidence"]
    # The words of a random network do not parse.
    assert sum(evidence["answers"].values()) == 5 and evidence["agreement"] == 0 and evidence["completion"] in first


# The inferer --------------------------------------------------------------------------------------------------------


def volume(query="the liver"):
    return MetaTensor(torch.rand(1, 1, *SHAPE), meta={"query": query})


@pytest.mark.parametrize("completion", [ONE_BOX, box(1, [0, 0, 500, 500], [200, 300, 900, 1000]), NO_BOX, "nonsense"])
def test_one_answer_is_the_mask_of_its_boxes_bit_for_bit(completion):
    torch.manual_seed(0)
    propagator, image = SlicePropagator(build_tiny_medsam2(image_size=64, seed=3).eval()), volume()
    evidence = evidence_of(completion, *SHAPE)
    pred = EvidenceInferer(propagator, seed=0)(image, CannedNetwork(completion))
    said = pred.meta["evidence"]
    assert said.keys() == evidence.keys() | {"seconds"} and said | {"seconds": 0} == evidence | {"seconds": 0}
    assert "agreement_map" not in pred.meta
    expected = torch.zeros(SHAPE, dtype=torch.uint8)
    if evidence["boxes_px"]:
        boxes = np.array(evidence["boxes_1000"]) * [16, 8, 16, 8] / 1000
        expected = propagator.mask(image.as_tensor()[0, 0], evidence["key_index"], boxes).to(torch.uint8)
        assert expected.any()
    assert pred.dtype == torch.uint8 and torch.equal(pred.as_tensor()[0, 0], expected)


def test_equal_anchors_are_propagated_once():
    other = box(1, [0, 0, 500, 500])
    texts = [ONE_BOX, other, ONE_BOX.replace("Seen best here.", "Otherwise."), NO_BOX, "nonsense", other, ONE_BOX]
    propagator, network = BoxPropagator(), SeveralAnswers(texts)
    pred = EvidenceInferer(propagator, consistency=SelfConsistency(7, WARM, keep_map=True))(volume(), network)
    assert len(propagator.calls) == 2 and len(network.shapes) == 1, "two different anchors, one volume"
    evidence = pred.meta["evidence"]
    assert evidence["answers"] == {"ok": 5, "absent": 1, "missing_tag": 1} and evidence["think"] == "Seen best here."
    # Six votes: ONE_BOX has 1 with two of its kind, 0 with two others and with the absent one.
    assert evidence["agreement"] == pytest.approx(2 / 5)
    assert pred.meta["agreement_map"].max() == pytest.approx(3 / 6) and pred.meta["agreement_map"].shape == SHAPE
    assert torch.equal(pred.as_tensor()[0, 0] > 0, torch.from_numpy(pred.meta["agreement_map"] > 0.4))


def test_an_abstention_is_an_empty_mask_with_its_evidence():
    inferer = EvidenceInferer(BoxPropagator(), consistency=SelfConsistency(2, WARM, abstain_below=0.5))
    pred = inferer(volume(), SeveralAnswers([ONE_BOX, box(1, [0, 0, 100, 200])]))
    evidence = pred.meta["evidence"]
    assert not pred.any() and (evidence["status"], evidence["key_index"], evidence["agreement"]) == ("abstained", 1, 0)


# The engine of evaluation -------------------------------------------------------------------------------------------


def test_the_engine_decides_for_each_query_and_compares_with_the_bounds_of_the_answer():
    truth = np.zeros(SHAPE, bool)
    truth[0, :4, :8] = truth[1, 4:, 4:12] = True
    item = {
        "case": "a",
        "queries": [{"case": "a0", "query": "liver"}, {"case": "a1", "query": "spleen"}],
        "failures": [None, None],
        "targets": [Target(CroppedMask.of(truth), truth, np.eye(4), None), None],
        "image": MetaTensor(torch.rand(1, *SHAPE)),
    }
    other, seen = box(1, [0, 0, 500, 500]), []
    propagator = BoxPropagator()
    inferer = EvidenceInferer(propagator, consistency=SelfConsistency(3, WARM, keep_map=True))
    network = SeveralAnswers([ONE_BOX, other, other])
    evaluator = VolumeEvaluator(torch.device("cpu"), [[item]], network, inferer, Bounds(["oracle_boxes"]))
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.extend(engine.state.output))
    evaluator.run()
    ((first, second),) = seen
    assert [answer.evidence["key_index"] for answer in (first, second)] == [0, 0]
    assert first.evidence["agreement"] == 0.5 and first.mask[0, :4, :8].all() and first.mask.sum() == 32
    np.testing.assert_allclose(first.agreement_map.max(axis=(1, 2)), [2 / 3, 1 / 3, 0], rtol=1e-6)
    # The true boxes of the slice that the given answer names, not of that of the greedy one.
    assert first.bounds["oracle_boxes"][0].sum() == 32 and not first.bounds["oracle_boxes"][1:].any()
    assert second.bounds == {} and len(propagator.calls) == 2, "both queries share their two boxes, the bounds too"


# The configs --------------------------------------------------------------------------------------------------------

ANSWERS = [box(8, [250, 250, 700, 700]), box(8, [250, 250, 700, 700]), box(6, [300, 300, 800, 700]), NO_BOX]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantoms(folder, ["organs"], "validation", 1, queries_per_phantom=2, shape=(40, 36, 16))


@pytest.fixture
def run_config(tmp_path, monkeypatch, phantoms):
    """Runs inference.json, or evaluate.json on top, from inside the bundle, with canned answers and a real MedSAM2."""
    build_tiny_medsam2(image_size=64, seed=3).save_pretrained(tmp_path / "medsam2")
    network = {"_target_": "inference_stubs.SeveralAnswers", "answers": ANSWERS}
    (tmp_path / "stubs.json").write_text(
        json.dumps({"network_def": network, "slice_size": 32, "medsam2_path": str(tmp_path / "medsam2")})
    )
    monkeypatch.chdir(ROOT / "bundle")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(out, *arguments, configs=("inference",)):
        files = [*(f"configs/{name}.json" for name in configs), str(tmp_path / "stubs.json")]
        fixed = ["--config_file", str(files), "--output_dir", str(tmp_path / out), "--datalist", str(phantoms)]
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *fixed, *map(str, arguments)])
        runpy.run_module("monai.bundle", run_name="__main__")
        return tmp_path / out

    return run


def test_inference_writes_the_answer_and_the_map_on_the_grid_of_the_volume(run_config, phantoms):
    one = run_config("one", "--picture", False)
    four = run_config("four", "--num_anchors", 4, "--save_agreement", True)
    for entry in json.loads(phantoms.read_text()):
        case, image = entry["case"], nib.load(phantoms.parent / entry["image"])
        alone = json.loads((one / case / f"{case}_evidence.json").read_text())
        assert alone["agreement"] is None and alone["answers"] is None
        assert not (one / case / f"{case}_agreement.nii.gz").exists()
        evidence = json.loads((four / case / f"{case}_evidence.json").read_text())
        assert evidence["answers"] == {"ok": 3, "absent": 1} and evidence["completion"] == ANSWERS[0]
        shares = nib.load(four / case / f"{case}_agreement.nii.gz")
        values, mask = shares.get_fdata(), np.asarray(nib.load(four / case / f"{case}_mask.nii.gz").dataobj)
        assert shares.shape == image.shape == mask.shape and shares.get_data_dtype() == np.float32
        np.testing.assert_array_equal(shares.affine, image.affine)
        # Of the votes two of four mark the mask, three where the third does too, one where it alone does.
        assert 0 < values.max() <= 0.75 + 1e-6 and values.min() == 0  # float32, interpolated
        assert (values[mask > 0] > 0.25 - 1e-6).all() and mask.any()
        alone_mask = np.asarray(nib.load(one / case / f"{case}_mask.nii.gz").dataobj)
        # The greedy answer is given, another one is its equal.
        # In a larger batch a voxel on the edge may round otherwise.
        assert (mask != alone_mask).mean() < 1e-3


def test_evaluation_gives_the_agreement_and_counts_abstentions(run_config):
    options = ("--pictures", False, "--bootstrap_samples", 20, "--num_anchors", 4)
    folder = run_config("given", *options, "--save_agreement", True, configs=("inference", "evaluate"))
    with (folder / "per_query.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    agreements = {float(row["agreement"]) for row in rows}
    assert len(agreements) == 1 and 0 < min(agreements) < 1, "the stub answers all alike"
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert (folder / "cases" / row["case"] / f"{row['case']}_agreement.nii.gz").is_file()
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["num_anchors"], settings["anchor_choice"], settings["abstain_below"]) == (4, "agreement", None)
    held = run_config("held", *options, "--abstain_below", 0.99, configs=("inference", "evaluate"))
    metrics = json.loads((held / "metrics.json").read_text())
    assert metrics["counts"]["status"] == {"abstained": len(rows)}
    assert metrics["present"]["abstained"]["value"] == 1 and metrics["present"]["DSC_mean"]["value"] == 0
