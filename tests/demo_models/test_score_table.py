import json
from types import SimpleNamespace

import torch
from medvol_r1.datasets.volume_queries import VolumeQueries, collate_volumes
from medvol_r1.demo_models.score_table import ScoreTable
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.training.validation import score_anchor


def test_scores_by_set_and_target(folder, archive, tmp_path):
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[0, 1, 8:16, 8:16] = True
    item = VolumeQueries("case", torch.rand(3, 32, 32), ("a", "b"), ("liver", "brain"), masks, ("", ""))
    sets = {"one": [item], "none": []}
    table = ScoreTable(
        VolumeLVLM(folder, max_new_tokens=4), score_anchor, sets, collate_volumes, 0, tmp_path / "s" / "a.json"
    )
    table(SimpleNamespace(state=SimpleNamespace(iteration=7)))
    (written,) = json.loads((tmp_path / "s" / "a.json").read_text())
    assert written["step"] == 7
    assert written["scores"]["one"] == {"format_rate": 0.0, "R_a": 0.0, "box_iou": 0.0, "absent_accuracy": 0.0, "n": 2}
    assert set(written["scores"]) == {"one", "one/liver", "one/brain"}
