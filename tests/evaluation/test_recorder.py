import numpy as np
import pytest
import torch
from ignite.engine import Engine
from medvol_r1.datasets.volume_cases import Target
from medvol_r1.evaluation.bounds import Bounds
from medvol_r1.evaluation.journal import ScoreJournal
from medvol_r1.evaluation.query_scores import Outcome
from medvol_r1.evaluation.recorder import ScoreRecorder
from medvol_r1.volume.cropped_mask import CroppedMask
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps, shown_mask
from monai.data import MetaTensor

AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])
GEOMETRY = {
    "source_shape": np.array([8, 8, 4]),
    "source_affine": AFFINE,
    "orientation": orientation_to_lps(AFFINE),
    "source_index": np.arange(4),
}
TRUTH = np.zeros((8, 8, 4), bool)
TRUTH[2:5, 2:6, 1:3] = True


def volume(case, queries=2):
    """An item and its answers, all of them right."""
    image = MetaTensor(torch.zeros(1, 4, 8, 8), affine=torch.eye(4), meta=dict(GEOMETRY))
    shown = TRUTH.transpose(2, 1, 0)
    item = {
        "case": case,
        "image_path": f"{case}.nii",
        "image": image,
        "queries": [{"case": f"{case}{n}", "query": "q", "patient": case} for n in range(queries)],
        "targets": [Target(CroppedMask.of(TRUTH), shown, AFFINE, None)] * queries,
    }
    evidence = {"status": "ok", "key_index": 1, "boxes_1000": [[250, 250, 625, 750]]}
    return item, [Outcome(evidence, None, shown)] * queries


def record(tmp_path, volumes, **options):
    """Runs an engine that yields the volumes, one an iteration; returns the journal."""
    journal = ScoreJournal(tmp_path, {})

    def step(engine, batch):
        engine.state.batch, engine.state.output = [batch[0]], [batch[1]]
        return engine.state.output

    engine = Engine(step)
    ScoreRecorder(journal, Bounds(), **options).attach(engine)
    engine.run(volumes)
    return journal


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_volumes_are_kept_in_the_order_in_which_they_come(tmp_path, threads):
    journal = record(tmp_path, [volume(case) for case in "cabd"], threads=threads)
    lines = (tmp_path / "finished.jsonl").read_text().splitlines()
    assert [line[:12] for line in lines] == [f'{{"case": "{case}"' for case in "cabd"]
    rows = journal.rows([{"case": case} for case in "abcd"])
    assert [row["case"] for row in rows] == ["a0", "a1", "b0", "b1", "c0", "c1", "d0", "d1"]
    assert {row["DSC"] for row in rows} == {1.0} and {row["box_iou"] for row in rows} == {1.0}


def test_a_case_that_cannot_be_scored_is_a_failure_and_the_others_are_scored(tmp_path):
    item, answers = volume("a", 3)
    answers[1] = Outcome({**answers[1].evidence, "key_index": 9}, None, answers[1].mask)
    rows = record(tmp_path, [(item, answers), volume("b")]).rows([{"case": "a"}, {"case": "b"}])
    assert [row["DSC"] for row in rows] == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert rows[1]["error"] and rows[1]["status"] == "IndexError" and rows[1]["true_ml"] == rows[0]["true_ml"]


def test_the_shown_grid_of_the_golden_volume_is_the_source_grid():
    # The volume above is LPS already and all slices are shown: what the tests take for the shown mask is it.
    np.testing.assert_array_equal(shown_mask(TRUTH, SliceGeometry.from_meta(GEOMETRY), 8, 8), TRUTH.transpose(2, 1, 0))


@pytest.mark.parametrize(
    "options, message",
    [({"grid": "voxels"}, "metric_grid is 'voxels'; legal are source, shown"), ({"threads": -1}, "threads is -1")],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ScoreRecorder(ScoreJournal(tmp_path, {}), Bounds(), **options)
