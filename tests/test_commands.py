"""The commands of the README, as a user types them, from where a user stands.

The two that the README shows run in a process of their own; the others in this one, through the same entry point, which
saves ten seconds of imports each.
"""

import copy
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from traceback import format_exception

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from hostile_text import HOSTILE
from inference_stubs import STUBS, stub_overlay
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from monai.bundle import ConfigParser
from tiny_models import save_random_lvlm

ROOT = Path(__file__).resolve().parents[1]
LVLM, MEDSAM2 = ROOT / "bundle" / "models" / "lvlm", ROOT / "bundle" / "models" / "medsam2"


def run(*arguments, cwd=ROOT):
    """Exit status, stdout and stderr of `python -m monai.bundle run ...`."""
    command = [sys.executable, "-m", "monai.bundle", "run", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    path = tmp_path_factory.mktemp("volume") / "ct.nii.gz"
    voxels = np.random.default_rng(0).normal(0, 200, (20, 24, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def run_stubs(tmp_path, monkeypatch):
    """Runs `python -m monai.bundle run` from inside the bundle, with stubs in the place of both models."""
    overlay = stub_overlay(tmp_path / "overlay.json")
    fixed = ["--config_file", f"['configs/inference.json','{overlay}']", "--output_dir", str(tmp_path / "out")]
    monkeypatch.chdir(ROOT / "bundle")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *fixed, *map(str, arguments)])
        runpy.run_module("monai.bundle", run_name="__main__")

    return run_here


def test_from_the_root_with_random_weights_a_labelled_phantom_is_answered_and_scored(tmp_path):
    save_random_lvlm(tmp_path / "lvlm")
    build_tiny_medsam2().save_pretrained(tmp_path / "medsam2")
    weights = ["--lvlm_path", tmp_path / "lvlm", "--medsam2_path", tmp_path / "medsam2"]
    small = ["--lvlm_slice_size", 32, "--max_new_tokens", 8, "--output_dir", tmp_path / "out"]
    status, printed, errors = run(
        "--config_file", "bundle/configs/inference.json", "--bundle_root", "bundle", *weights, *small
    )
    assert status == 0, errors
    for case in ("phantom_liver", "phantom_kidneys"):
        for ending in ("mask.nii.gz", "evidence.json", "evidence.png"):
            assert (tmp_path / "out" / case / f"{case}_{ending}").is_file()
        evidence = json.loads((tmp_path / "out" / case / f"{case}_evidence.json").read_text())
        assert evidence["status"] == "missing_tag", "eight random tokens are no answer; the run goes on"
        assert evidence["slices_shown"] == 32
    assert printed.count("DSC") == 3 and "written to" in printed


@pytest.mark.skipif(not LVLM.is_dir() or not MEDSAM2.is_dir(), reason="the demo weights are not in this tree")
def test_from_inside_the_bundle_the_demo_weights_find_the_organs(tmp_path):
    status, printed, errors = run(
        "--config_file", "configs/inference.json", "--output_dir", tmp_path / "out", cwd=ROOT / "bundle"
    )
    assert status == 0, errors
    rows = [re.split(" {2,}", line) for line in printed.splitlines() if re.match(r"phantom_\w+ ", line)]
    assert [(row[0], row[2]) for row in rows] == [("phantom_liver", "found"), ("phantom_kidneys", "found")]
    assert min(float(row[4]) for row in rows) > 0.5, printed


def test_one_bad_case_is_reported_at_the_end_and_the_others_are_written(run_stubs, ct, tmp_path, capsys):
    (tmp_path / "not_nifti.nii.gz").write_text("text")
    cases = [{"image": "missing.nii.gz", "query": "liver"}, {"image": "not_nifti.nii.gz", "query": "liver"}]
    cases += [{"image": str(ct), "query": query, "case": f"text_{n}"} for n, query in enumerate(HOSTILE)]
    cases += [{"image": str(ct), "query": "", "case": "empty"}, {"image": str(ct), "query": "explode", "case": "boom"}]
    cases += [{"image": str(ct), "query": "x" * 10_000, "case": "long"}]
    (tmp_path / "list.json").write_text(json.dumps(cases))
    with pytest.raises(SystemExit) as caught:
        run_stubs("--datalist", tmp_path / "list.json")
    # In the order of the list; a text as the code of a SystemExit is printed and gives the exit status 1.
    assert caught.value.code == (
        f"5 of {len(cases)} cases could not be processed: missing (missing_file), not_nifti (not_nifti), "
        "empty (empty_query), boom (ValueError), long (query_too_long)"
    )
    printed = capsys.readouterr().out
    assert "missing: " in printed and "missing.nii.gz does not exist; correct the path" in printed
    for number, query in enumerate(HOSTILE):
        evidence = (tmp_path / "out" / f"text_{number}" / f"text_{number}_evidence.json").read_text(encoding="utf-8")
        assert json.loads(evidence)["query"] == query


def test_evidence_in_the_datalist_is_propagated_in_the_place_of_an_answer(run_stubs, ct, tmp_path):
    """From the evidence of an answer to its correction: the same keys, in the same frame."""
    case = {"image": str(ct), "query": "explode"}  # the language model would fail
    cases = [case | {"case": "given", "key_slice": 5, "bbox_2d_list": [[0, 0, 500, 500]]}]
    cases += [case | {"case": "wrong", "key_slice": 7, "bbox_2d_list": []}]
    (tmp_path / "list.json").write_text(json.dumps(cases))
    with pytest.raises(SystemExit, match=r"1 of 2 cases could not be processed: wrong \(key_slice_out_of_range\)"):
        run_stubs("--datalist", tmp_path / "list.json")
    evidence = json.loads((tmp_path / "out" / "given" / "given_evidence.json").read_text())
    assert (evidence["corrected"], evidence["status"], evidence["query"]) == (True, "ok", "explode")
    assert (evidence["key_slice"], evidence["boxes_1000"]) == (5, [[0, 0, 500, 500]])
    # The volume is shown whole, and the stub fills the box: a quarter of a slice of 20 x 24, the fifth from below.
    mask = np.asarray(nib.load(tmp_path / "out" / "given" / "given_mask.nii.gz").dataobj)
    assert evidence["shown_xyxy_px"] == [0, 0, 20, 24] and set(np.unique(np.nonzero(mask)[2])) == {4}
    assert mask[:10, :12, 4].all() and mask.sum() == 10 * 12


# What the command line of monai.bundle leaves alone; the rest is in the head of datasets/cases.py.
@pytest.mark.parametrize("query", [text for text in HOSTILE if not text.startswith(("%", "--", "$import"))])
def test_a_query_on_the_command_line_is_taken_verbatim(run_stubs, ct, tmp_path, query):
    run_stubs("--image", ct, "--query", query)
    assert json.loads((tmp_path / "out" / "ct" / "ct_evidence.json").read_text(encoding="utf-8"))["query"] == query
    mask, image = nib.load(tmp_path / "out" / "ct" / "ct_mask.nii.gz"), nib.load(ct)
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)


@pytest.mark.parametrize(
    "name", ["20240501", "2024_05_01", "1e5", "a,b", "[run]", "None", "a#b", "$HOME", "{a:b}", "True", "@seed", "'a'"]
)
def test_the_results_lie_in_the_folder_that_was_named(ct, tmp_path, monkeypatch, name):
    """Also where python-fire and MONAI's parser take the name for a number, a list or an expression."""
    overlay = stub_overlay(tmp_path / "overlay.json")
    configs = f"['{ROOT}/bundle/configs/inference.json','{overlay}']"
    arguments = ["run", "--config_file", configs, "--bundle_root", str(ROOT / "bundle"), "--output_dir", name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = str(Path(monai.bundle.__file__).with_name("__main__.py"))
    monkeypatch.setattr(sys, "argv", [program, *arguments, "--image", str(ct), "--query", "liver"])
    runpy.run_module("monai.bundle", run_name="__main__")
    assert (tmp_path / name / "ct" / "ct_evidence.json").is_file()


def test_a_cuda_device_that_is_not_there_is_a_clear_error(run_stubs, ct):
    with pytest.raises(RuntimeError) as caught:
        run_stubs("--image", ct, "--query", "liver", "--device", "cuda:99")
    assert "Device 'cuda:99' was asked for and this machine has" in "".join(format_exception(caught.value))


@pytest.mark.real_ct
def test_a_real_ct_is_answered_on_its_own_grid(run_stubs, real_ct_path, tmp_path):
    run_stubs("--image", real_ct_path, "--query", "the organ that makes bile")
    mask, image = nib.load(tmp_path / "out" / "example_ct" / "example_ct_mask.nii.gz"), nib.load(real_ct_path)
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8 and np.asarray(mask.dataobj).any()


def test_the_parts_work_as_monai_label_calls_them(ct, monkeypatch):
    """It reads inference.json alone, merges the request into the data, and copies the network."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "bundle"), *sys.path])
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundle" / "configs" / "inference.json"))
    for key in ("network_def", "propagator"):
        parser[key] = STUBS[key]
    parser["bundle_root"], parser["device"] = str(ROOT / "bundle"), "cpu"
    before, inferer, after = (parser.get_parsed_content(key) for key in ("preprocessing", "inferer", "postprocessing"))
    network = copy.deepcopy(parser.get_parsed_content("network_def"))
    query = "$'INJ'+'ECTED'"
    data = before({"image": str(ct), "image_path": str(ct), "model": "m", "device": "cpu", "query": query})
    data["pred"] = inferer(data["image"][None].to("cpu"), network)[0]
    data = after(data)
    assert network.queries == [query] and data["result"]["query"] == query
    assert json.loads(json.dumps(data["result"]))["status"] == "ok"
    assert data["pred"].shape == (1, 20, 24, 6) and data["pred"].dtype == torch.uint8
    np.testing.assert_array_equal(data["pred"].affine, nib.load(ct).affine)
