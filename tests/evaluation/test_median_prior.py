import numpy as np
import pytest
from medvol_r1.anchor import EvidenceAnchor
from medvol_r1.evaluation.median_prior import MedianPrior
from medvol_r1.phantom.scan import ALL_SUBSETS
from medvol_r1.queries.concepts import CONCEPTS


def mask(key, *boxes):
    """[5, 10, 10], one slice with boxes."""
    out = np.zeros((5, 10, 10), bool)
    for x1, y1, x2, y2 in boxes:
        out[key, y1:y2, x1:x2] = True
    return out


def test_medians_of_the_most_frequent_number_of_boxes():
    examples = [("liver", mask(1, (0, 0, 2, 2))), ("liver", mask(2, (2, 2, 6, 4))), ("liver", mask(4, (4, 4, 9, 9)))]
    examples += [("liver", mask(3, (0, 0, 1, 9), (5, 0, 6, 9))), ("spleen", np.zeros((5, 10, 10), bool))]
    prior = MedianPrior.fit(examples)
    # Key slices 1, 2, 4, 3 of 0..4: median 0.625. Single boxes: medians of 0, 2, 4 / 0, 2, 4 / 2, 6, 9 / 2, 4, 9.
    assert prior.positions == {"liver": 0.625}
    assert prior.anchor("liver", 9) == EvidenceAnchor(5, ((200, 200, 600, 400),))
    assert prior.anchor("spleen", 9).is_absent


def test_it_comes_back_from_its_file(tmp_path):
    prior = MedianPrior.fit([("a b", mask(2, (0, 0, 5, 5))), ("c", mask(4, (1, 1, 2, 2), (5, 5, 9, 9)))])
    prior.save(tmp_path / "prior.json")
    back = MedianPrior.load(tmp_path / "prior.json")
    assert back.positions == prior.positions and back.boxes_xyxy_1000 == prior.boxes_xyxy_1000


def test_the_shipped_prior_knows_all_targets_without_a_comparison(request):
    path = request.config.rootpath / "bundle" / "models" / "median_prior.json"
    prior = MedianPrior.load(path)
    assert {f"{s}/{c.target}" for s in ALL_SUBSETS for c in CONCEPTS[s] if c.types != "G"} <= set(prior.positions)
    assert prior.boxes_xyxy_1000["organs/spleen"][0][0] == pytest.approx(677, abs=200)
