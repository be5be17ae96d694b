import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from answered_cases import SHAPE, geometry_meta, nine_voxels, record_of, write_volume
from medvol_r1.report.case_writer import CaseWriter
from monai.data import MetaTensor
from PIL import Image


def engine(output=(), failures=()):
    return SimpleNamespace(state=SimpleNamespace(output=list(output), failures=list(failures)))


def case(folder, name="a", label=None):
    record = record_of(query="\u809d $x", image=str(write_volume(folder)))
    item = {"case": name, "result": record, "pred": torch.from_numpy(nine_voxels())[None]}
    item["image"] = MetaTensor(torch.zeros(1, 4, 8, 8), meta=geometry_meta())
    return item if label is None else item | {"label": torch.from_numpy(label)}


def test_a_case_is_written_and_scored(tmp_path, capsys):
    label = np.zeros((1, *SHAPE), np.float32)
    label[0, 1:4, 2:5, 3:5] = 7  # the nine predicted voxels and nine more: DSC = 18 / 27, IoU = 9 / 18
    writer = CaseWriter(tmp_path / "out")
    writer.write(engine([case(tmp_path, label=label)]))
    writer.print_table(engine())
    writer.exit_if_failed()
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == [
        "a_evidence.json",
        "a_evidence.png",
        "a_mask.nii.gz",
    ]
    written = json.loads((tmp_path / "out" / "a" / "a_evidence.json").read_text(encoding="utf-8"))
    assert written["query"] == "\u809d $x"
    printed = capsys.readouterr().out
    assert "a: ok, key slice 2 of 4, 1 box, 0.2 ml, DSC 0.667, IoU 0.500 -> " in printed
    assert "a     \u809d $x   found         0.2  0.667  0.500" in printed
    (row,) = writer.rows
    assert row["status_text"] == "found" and row["query"] == "\u809d $x" and row["scores"]["IoU"] == 0.5
    assert list(row["files"]) == ["mask.nii.gz", "evidence.json", "evidence.png"]
    assert row["files"]["mask.nii.gz"] == str(tmp_path / "out" / "a" / "a_mask.nii.gz")


def test_failed_cases_are_named_at_the_end_and_the_status_is_not_zero(tmp_path, capsys):
    writer = CaseWriter(tmp_path / "out", picture=False)
    failure = {"case": "b", "reason": "not_3d", "message": "b.nii has shape (3, 4)"}
    writer.write(engine([case(tmp_path)], [failure]))
    writer.print_table(engine())
    assert (tmp_path / "out" / "a" / "a_mask.nii.gz").is_file() and not (tmp_path / "out" / "b").exists()
    printed = capsys.readouterr().out
    assert "FAILED: not_3d" in printed and "\n  b: b.nii has shape (3, 4)\nwritten to " in printed
    with pytest.raises(SystemExit, match=r"^1 of 2 cases could not be processed: b \(not_3d\)$"):
        writer.exit_if_failed()


def test_a_case_that_cannot_be_written_does_not_stop_the_others(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where the folder should be")
    writer = CaseWriter(tmp_path / "out", picture=False)
    writer.write(engine([case(tmp_path, "a"), case(tmp_path, "b")]))
    assert (tmp_path / "out" / "b" / "b_mask.nii.gz").is_file()
    with pytest.raises(SystemExit, match=r"a \(FileExistsError\)"):
        writer.exit_if_failed()


def test_a_second_query_without_a_picture_leaves_none(tmp_path):
    CaseWriter(tmp_path / "out").write(engine([case(tmp_path)]))
    CaseWriter(tmp_path / "out", picture=False).write(engine([case(tmp_path)]))
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == ["a_evidence.json", "a_mask.nii.gz"]


def test_a_case_that_fails_now_leaves_no_answer_of_before(tmp_path):
    CaseWriter(tmp_path / "out").write(engine([case(tmp_path)]))
    CaseWriter(tmp_path / "out").write(engine([], [{"case": "a", "reason": "empty_query", "message": "no text"}]))
    assert list((tmp_path / "out" / "a").iterdir()) == []


def test_reports_are_written_without_phantoms_training_or_evaluation():
    program = "import sys, medvol_r1.report.case_writer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    modules = [name for name in done.stdout.split() if name.startswith("medvol_r1.")]
    assert "medvol_r1.report.case_files" in modules
    rooms = {name.split(".")[1] for name in modules}
    assert rooms.isdisjoint({"phantom", "queries", "training", "evaluation", "lvlm", "medsam2"})


def test_a_picture_is_told_in_pixels_and_has_a_mask_png(tmp_path, capsys):
    Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12)).save(tmp_path / "a.png")
    meta = geometry_meta(np.diag([-1.0, -1, 1, 1]), (12, 10, 1), (0,)) | {"window_limits": np.array([0.0, 255.0])}
    mask = torch.zeros(1, 12, 10, 1, dtype=torch.uint8)
    mask[0, 2:5, 1] = 1
    record = record_of(image=str(tmp_path / "a.png")) | {"key_slice": 1, "slices_shown": 1}
    record |= {"volume_ml": None, "voxels": 3}
    item = {"case": "a", "result": record, "pred": mask, "image": MetaTensor(torch.zeros(1, 1, 8, 8), meta=meta)}
    writer = CaseWriter(tmp_path / "out")
    writer.write(engine([item]))
    writer.print_table(engine())
    assert (tmp_path / "out" / "a" / "a_mask.png").is_file()
    assert "a: ok, key slice 1 of 1, 1 box, 3 pixels -> " in capsys.readouterr().out
