"""evaluate.json from end to end, with stubs in the place of both models: files, failures, interruption, bounds."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from inference_stubs import STUBS
from medvol_r1.datasets.write_phantoms import write_phantoms
from medvol_r1.evaluation.columns import COLUMNS
from medvol_r1.evaluation.compare import main as compare_results

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ["configs/inference.json", "configs/evaluate.json"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantoms(folder, ["organs", "renal"], "validation", 2, queries_per_phantom=5, shape=(48, 40, 16))


@pytest.fixture
def evaluate(tmp_path, monkeypatch, phantoms):
    """Runs the config from inside the bundle, as in README; returns the folder of the results."""
    overlay = tmp_path / "stubs.json"
    overlay.write_text(json.dumps(STUBS | {"bootstrap_samples": 20, "pictures": False, "slice_size": 32}))
    monkeypatch.chdir(ROOT / "bundle")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("ENCODED", str(tmp_path / "encoded"))

    def run(*arguments, out="out", datalist=phantoms, changes=None):
        configs = [*CONFIGS, str(overlay)]
        if changes is not None:
            (tmp_path / "changes.json").write_text(json.dumps(changes))
            configs.append(str(tmp_path / "changes.json"))
        fixed = ["--config_file", str(configs), "--output_dir", str(tmp_path / out), "--datalist", str(datalist)]
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *fixed, *map(str, arguments)])
        runpy.run_module("monai.bundle", run_name="__main__")
        return tmp_path / out

    return run


def rows_of(folder):
    with (folder / "per_query.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def dying():
    return {"network_def": {"_target_": "inference_stubs.DyingNetwork"}}


def test_all_files_are_written_and_agree(evaluate, phantoms):
    folder = evaluate("--pictures", True, "--bounds", "['oracle_anchor','oracle_boxes','prior']", "--save_masks", True)
    entries, rows = json.loads(phantoms.read_text()), rows_of(folder)
    assert [row["case"] for row in rows] == [entry["case"] for entry in entries] and tuple(rows[0]) == COLUMNS
    for entry, row in zip(entries, rows, strict=True):
        assert {key: row[key] for key in ("query", "target", "patient")} == {
            key: entry[key] for key in ("query", "target", "patient")
        }
        assert (row["present"] == "True") == (entry["type"] != "H")
        truth = np.asarray(nib.load(phantoms.parent / entry["label"]).dataobj) > 0
        saved = nib.load(folder / "cases" / entry["case"] / f"{entry['case']}_mask.nii.gz")
        pred = np.asarray(saved.dataobj) > 0
        np.testing.assert_allclose(saved.affine, nib.load(phantoms.parent / entry["image"]).affine)
        evidence = json.loads((folder / "cases" / entry["case"] / f"{entry['case']}_evidence.json").read_text())
        assert evidence["query"] == entry["query"] and evidence["voxels"] == pred.sum()
        if row["present"] == "True":
            assert float(row["DSC"]) == pytest.approx(2 * (pred & truth).sum() / (pred.sum() + truth.sum()), abs=1e-6)
    metrics = json.loads((folder / "metrics.json").read_text())
    known = [float(row["DSC"]) for row in rows if row["DSC"]]
    assert metrics["present"]["DSC_mean"]["value"] == pytest.approx(np.mean(known))
    assert metrics["counts"]["queries"] == 20 and metrics["counts"]["volumes"] == 4
    # The stub fills the boxes on the key slice: a target's own boxes there are better than the same box for all.
    present = metrics["present"]
    assert present["oracle_anchor_DSC_mean"]["value"] > present["DSC_mean"]["value"]
    assert present["oracle_anchor_DSC_mean"]["n"] == present["n"] == len(known)
    assert {"oracle_boxes_DSC_macro", "prior_DSC_macro"} <= set(present)
    summary = (folder / "summary.md").read_text()
    pictures = [line.split("](")[1].rstrip(")") for line in summary.splitlines() if line.startswith("![")]
    assert len(pictures) == 1 + 2 * 3 and all((folder / picture).is_file() for picture in pictures)
    assert "| `renal` |" in summary and "## Targets that are not there" in summary


def test_masks_and_evidence_are_those_of_inference(evaluate, tmp_path, phantoms, monkeypatch):
    folder = evaluate("--save_masks", True)
    fixed = ["--config_file", str([CONFIGS[0], str(tmp_path / "stubs.json")]), "--datalist", str(phantoms)]
    arguments = ["monai.bundle", "run", *fixed, "--output_dir", str(tmp_path / "inference"), "--picture", "False"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_module("monai.bundle", run_name="__main__")
    for entry in json.loads(phantoms.read_text()):
        one, other = folder / "cases" / entry["case"], tmp_path / "inference" / entry["case"]
        first, second = (nib.load(path / f"{entry['case']}_mask.nii.gz") for path in (one, other))
        np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
        np.testing.assert_array_equal(first.affine, second.affine)
        records = [json.loads((path / f"{entry['case']}_evidence.json").read_text()) for path in (one, other)]
        assert records[0] | {"seconds": 0} == records[1] | {"seconds": 0}


def test_each_volume_is_encoded_once_and_asked_all_its_queries(evaluate, tmp_path):
    evaluate(changes=dying())
    assert (tmp_path / "encoded").read_text().count("volume") == 4


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_interrupted_run_goes_on_and_gives_the_same_numbers(evaluate, tmp_path, monkeypatch, threads):
    whole = evaluate("--scoring_threads", threads, out="whole", changes=dying())
    (tmp_path / "encoded").unlink()
    monkeypatch.setenv("DIE_AFTER", "2")
    with pytest.raises(KeyboardInterrupt):
        evaluate("--scoring_threads", threads, out="cut", changes=dying())
    cut = tmp_path / "cut"
    assert not (cut / "metrics.json").exists()
    finished = len((cut / "finished.jsonl").read_text().splitlines())
    assert (tmp_path / "encoded").read_text().count("volume") == 2
    assert finished == 2, "what was answered is scored before the process ends"
    monkeypatch.setenv("DIE_AFTER", "1000")
    evaluate("--scoring_threads", threads, out="cut", changes=dying())
    assert (tmp_path / "encoded").read_text().count("volume") == 4, "the finished volumes are not done again"
    for name in ("metrics.json", "summary.md"):
        assert (cut / name).read_text() == (whole / name).read_text()
    one, other = ([{**row, "seconds": ""} for row in rows_of(folder)] for folder in (whole, cut))
    assert one == other
    before = (cut / "metrics.json").read_bytes()
    evaluate("--scoring_threads", threads, out="cut", changes=dying())
    assert (tmp_path / "encoded").read_text().count("volume") == 4, "nothing is left to do"
    assert (cut / "metrics.json").read_bytes() == before


def started(module, configs, folder, datalist, **variables):
    """A run of the config as a program of its own, when it has ended."""
    command = [sys.executable, *module, "run", "--config_file", str(configs), "--device", "cpu"]
    command += ["--output_dir", str(folder), "--datalist", str(datalist)]
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(command, cwd=ROOT / "bundle", env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_killed_process_goes_on_and_gives_the_same_numbers(evaluate, tmp_path, phantoms):
    whole = evaluate(out="whole", changes=dying())
    (tmp_path / "encoded").unlink()
    configs = [*CONFIGS, str(tmp_path / "stubs.json"), str(tmp_path / "changes.json")]
    killed = started(["-m", "monai.bundle"], configs, tmp_path / "cut", phantoms, DIE_AFTER="3", DIE_HARD="1")
    assert killed.returncode == -signal.SIGKILL
    done = len((tmp_path / "cut" / "finished.jsonl").read_text().splitlines())
    assert 2 <= done <= 3
    evaluate(out="cut", changes=dying())
    assert (tmp_path / "encoded").read_text().count("volume") == 3 + (4 - done)
    assert (tmp_path / "cut" / "metrics.json").read_text() == (whole / "metrics.json").read_text()


@pytest.mark.slow
def test_two_processes_of_torchrun_share_the_volumes_and_give_the_numbers_of_one(evaluate, tmp_path, phantoms):
    one, two = evaluate("--device", "cpu", out="one"), tmp_path / "two"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "monai.bundle"]
    ended = started(torchrun, [*CONFIGS, str(tmp_path / "stubs.json"), "configs/multi_gpu.json"], two, phantoms)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("written to") == 1
    assert [len((two / name).read_text().splitlines()) for name in ("finished.jsonl", "finished.1.jsonl")] == [2, 2]
    assert (two / "metrics.json").read_text() == (one / "metrics.json").read_text()
    assert [row["case"] for row in rows_of(two)] == [row["case"] for row in rows_of(one)]


def test_another_setting_in_the_same_folder_is_refused(evaluate, tmp_path):
    evaluate()
    for arguments, name in ((("--num_slices", 5), "num_slices"), (("--metric_grid", "shown"), "metric_grid")):
        with pytest.raises(Exception) as caught:
            evaluate(*arguments)
        told = str(caught.value) + str(caught.value.__cause__)
        assert f"`{name}` is " in told and "Give another `output_dir`" in told
    other = tmp_path / "other_weights"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(Exception) as caught:
        evaluate("--medsam2_path", other)
    assert "`medsam2` is " in str(caught.value) + str(caught.value.__cause__)


def test_bad_cases_are_counted_and_the_others_scored(evaluate, tmp_path, phantoms):
    entries = json.loads(phantoms.read_text())
    for entry in entries:
        entry |= {key: str(phantoms.parent / entry[key]) for key in ("image", "label")}
        entry.pop("opposite_label", None)
    entries = [entry for entry in entries if entry["type"] != "H"]
    good = dict(entries[0])
    (tmp_path / "text.nii.gz").write_text("text")
    bad = [
        {**good, "case": "explodes", "query": "explode"},
        {**good, "case": "empty", "query": " "},
        {**good, "case": "no_file", "image": "gone.nii.gz"},
        {**good, "case": "no_nifti", "image": str(tmp_path / "text.nii.gz")},
        {**good, "case": "no_label", "label": "gone.nii.gz"},
        {**good, "case": "other_grid", "label": next(e["label"] for e in entries if e["image"] != good["image"])},
        {**good, "case": "unparsed", "query": "say nothing"},
    ]
    (tmp_path / "list.json").write_text(json.dumps([*entries, *bad]))
    changes = {"network_def": {"_target_": "inference_stubs.CannedNetwork", "by_query": {"say nothing": "nothing"}}}
    folder = evaluate(out="bad", datalist=tmp_path / "list.json", changes=changes)
    rows = {row["case"]: row for row in rows_of(folder)}
    status = {case: rows[case]["status"] for case in (entry["case"] for entry in bad)}
    assert status == {
        "explodes": "ValueError",
        "empty": "empty_query",
        "no_file": "missing_file",
        "no_nifti": "not_nifti",
        "no_label": "missing_file",
        "other_grid": "label_mismatch",
        "unparsed": "missing_tag",
    }
    assert {rows[case]["DSC"] for case in status} == {"0.0"}
    counts = json.loads((folder / "metrics.json").read_text())["counts"]
    assert (counts["errors"], counts["not_parsed"], counts["present"]) == (6, 1, len(entries) + 7)
    clean = evaluate(out="clean", datalist=_list(tmp_path, entries))
    for row in rows_of(clean):
        assert {**row, "seconds": ""} == {**rows[row["case"]], "seconds": ""}, "a bad case changes no other"


def test_if_every_query_fails_the_tables_are_written_and_the_status_says_so(evaluate, tmp_path):
    entries = [{"image": "gone.nii.gz", "query": "liver", "case": name} for name in "ab"]
    with pytest.raises(SystemExit, match="none of 2 queries could be answered: missing_file"):
        evaluate(datalist=_list(tmp_path, entries))
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["missing_file"] * 2
    assert (tmp_path / "out" / "summary.md").is_file()


def _list(folder, entries):
    (folder / "good.json").write_text(json.dumps(entries))
    return folder / "good.json"


def test_several_volumes_at_a_time_give_the_same(evaluate):
    one, other = evaluate(out="one"), evaluate("--volumes_at_a_time", 3, "--loading_workers", 2, out="other")
    assert (one / "metrics.json").read_text() == (other / "metrics.json").read_text()


def test_the_shown_slices_as_the_metrics_grid(evaluate):
    source, shown = evaluate(out="source"), evaluate("--metric_grid", "shown", out="shown")
    for one, other in zip(rows_of(source), rows_of(shown), strict=True):
        assert one["R_a"] == other["R_a"] and one["box_iou"] == other["box_iou"]
    assert json.loads((shown / "metrics.json").read_text())["settings"]["metric_grid"] == "shown"


def test_two_results_side_by_side(evaluate, capsys, tmp_path):
    first = evaluate(out="first")
    better = {"network_def": {"_target_": "inference_stubs.CannedNetwork", "completion": "no answer at all"}}
    second = evaluate(out="second", changes=better)
    capsys.readouterr()
    compare_results([str(first), str(second), "--output", str(tmp_path / "compared.json")])
    assert "20 cases in both." in capsys.readouterr().out
    compared = json.loads((tmp_path / "compared.json").read_text())["groups"]["all"]
    mean = json.loads((first / "metrics.json").read_text())["present"]["DSC_mean"]["value"]
    assert compared["DSC"]["first"]["value"] == pytest.approx(mean) and compared["DSC"]["second"]["value"] == 0
    assert compared["DSC"]["difference"]["value"] == pytest.approx(-mean)
    assert compared["format_ok"]["difference"]["value"] == -1
