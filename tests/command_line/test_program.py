import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from hostile_text import HOSTILE
from inference_stubs import NO_BOX, STUBS, stub_overlay
from medvol_r1 import command_line
from medvol_r1.command_line import program
from PIL import Image
from tiny_models import save_random_lvlm


@pytest.fixture
def ct(tmp_path):
    voxels = np.random.default_rng(0).normal(0, 200, (20, 24, 6)).astype(np.int16)
    path = tmp_path / "some ct.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command with the stubs; returns the evidence."""
    monkeypatch.setattr("sys.path", list(sys.path))
    overlay = stub_overlay(tmp_path / "overlay.json")

    def run_command(image, query, *more):
        options = ["--output_dir", str(tmp_path / "out"), "--config_file", overlay, "--device", "cpu"]
        command_line.main([*options, *more, "--", str(image), query])
        (path,) = (tmp_path / "out").glob("*/*_evidence.json")
        return json.loads(path.read_text(encoding="utf-8"))

    return run_command


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_reaches_the_evidence_verbatim(run, ct, text):
    evidence = run(ct, text)
    assert evidence["query"] == text and evidence["status"] == "ok"
    assert evidence["image"] == str(ct)


def test_the_mask_has_the_affine_and_shape_of_the_image(run, ct, tmp_path):
    run(ct, "the liver")
    mask, image = nib.load(tmp_path / "out" / "some ct" / "some ct_mask.nii.gz"), nib.load(ct)
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8 and set(np.unique(mask.dataobj)) == {0, 1}


def test_a_dicom_series_gives_the_mask_of_its_nifti_and_a_seg(run, tmp_path, monkeypatch):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    pydicom = pytest.importorskip("pydicom")
    values, affine = files.ct_values((20, 24, 6)), files.affine_of()
    files.write_series(tmp_path / "series", values, affine)
    files.write_nifti(tmp_path / "ct.nii.gz", values, affine)
    run(tmp_path / "ct.nii.gz", "the liver")
    shutil.move(tmp_path / "out", tmp_path / "of_nifti")
    monkeypatch.chdir(tmp_path / "series")
    assert run(".", "the liver", "--save_dicom_seg", "True")["image"] == str(tmp_path / "series")
    written = tmp_path / "out" / "series"
    mask, other = (nib.load(path) for path in (written / "series_mask.nii.gz", tmp_path / "of_nifti/ct/ct_mask.nii.gz"))
    assert np.array_equal(mask.dataobj, other.dataobj) and np.array_equal(mask.affine, other.affine)
    seg = pydicom.dcmread(written / "series_seg.dcm")
    assert seg.pixel_array.sum() == np.sum(mask.dataobj) > 0
    assert seg.SegmentSequence[0].SegmentLabel == "the liver"


def test_the_folder_of_an_mr_series_is_a_volume_where_the_intensity_says_so(run, tmp_path):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    affine = files.affine_of(turn_degrees=20)
    changes = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "RescaleSlope": None, "RescaleIntercept": None}
    files.write_series(tmp_path / "mr", files.ct_values((20, 24, 6)), affine, **changes)
    assert run(tmp_path / "mr", "the liver", "--intensity", "percentiles")["status"] == "ok"
    mask = nib.load(tmp_path / "out" / "mr" / "mr_mask.nii.gz")
    assert mask.shape == (20, 24, 6) and np.sum(mask.dataobj) > 0
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_relative_images_are_those_of_the_current_folder(run, ct, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("some ct.nii.gz", "the liver")["status"] == "ok"


def test_overlays_are_taken_in_order(ct, tmp_path, run):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"network_def": {"_target_": "inference_stubs.CannedNetwork", "completion": NO_BOX}}))
    options = ["--output_dir", str(tmp_path / "out"), "--config_file", str(tmp_path / "overlay.json"), str(other)]
    command_line.main([str(ct), "the liver", *options])
    evidence = json.loads((tmp_path / "out" / "some ct" / "some ct_evidence.json").read_text())
    assert evidence["status"] == "absent"


@pytest.fixture
def runs(monkeypatch):
    """Notes what would be run, in place of running it: the configs' names, the settings, the cases asked."""
    noted = []

    def run_instead(configs, settings):
        with open(eval(settings["datalist"].removeprefix("$"))) as file:
            asked = json.load(file)
        noted.append(([Path(config).name for config in configs], [Path(c).parent.name for c in configs], settings))
        rows = [{"case": case["case"], "image": case["image"]} for case in asked if "bad" not in case["case"]]
        failures = [{"case": case["case"], "reason": "x"} for case in asked if "bad" in case["case"]]
        return SimpleNamespace(rows=rows, failures=failures)

    monkeypatch.setattr(program, "_run", run_instead)
    return noted


def write_picture(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("name", ["scan.png", "scan.jpg", "scan.tiff"])
def test_a_picture_takes_the_configs_of_single_images(tmp_path, runs, name):
    picture = write_picture(tmp_path / name)
    (tmp_path / "mine.json").write_text("{}")
    given = ["--intensity", "percentiles", "--answer_form", "boxes", "--lvlm_path", "$HOME"]
    command_line.main([picture, "the kidney"])
    command_line.main([picture, "the kidney", *given, "--config_file", str(tmp_path / "mine.json")])
    (configs, folders, settings), (more, _, other) = runs
    assert configs == ["inference.json", "inference.json"] and folders == ["configs", "umrg"]
    assert not {"intensity", "answer_form", "lvlm_path"} & set(settings), "the configs say it"
    assert more == [*configs, "mine.json"], "what the user names lies on top"
    assert (other["intensity"], other["answer_form"]) == ("percentiles", "boxes")
    assert eval(other["lvlm_path"].removeprefix("$")) == "$HOME"


def test_pictures_and_volumes_are_mixed_each_kind_run_once_the_result_in_the_order_given(ct, tmp_path, runs, capsys):
    (tmp_path / "pictures").mkdir()
    pictures = [write_picture(tmp_path / "pictures" / name) for name in ("bad.png", "fine.png")]
    nib.save(nib.load(ct), tmp_path / "z.nii.gz")
    (tmp_path / "queries.txt").write_text("the liver\nboth kidneys\n", encoding="utf-8")
    arguments = [str(tmp_path / "pictures"), str(ct), write_picture(tmp_path / "a.png"), str(tmp_path / "z.nii.gz")]
    with pytest.raises(SystemExit) as ended:
        command_line.main([*arguments, "--queries", str(tmp_path / "queries.txt"), "--json"])
    assert ended.value.code == 3 and [folders[-1] for _, folders, _ in runs] == ["umrg", "configs"]
    printed = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in printed["cases"]] == (
        ["fine", "fine_2", "some ct", "some ct_2", "a", "a_2", "z", "z_2"]
    )
    assert [row["case"] for row in printed["failures"]] == ["bad", "bad_2"]
    assert [row["image"] for row in printed["cases"]][::2] == [pictures[1], *arguments[1:]]


def test_a_picture_gets_a_mask_and_a_picture_of_its_evidence(run, tmp_path):
    write_picture(tmp_path / "scan.png")
    answer = {"bbox": [250, 250, 750, 750], "points_1": [300, 300], "points_2": [500, 600]}
    completion = f"<think>Here.</think><answer>{json.dumps(answer)}</answer>"
    network = {"_target_": "inference_stubs.CannedNetwork", "completion": completion}
    (tmp_path / "one.json").write_text(json.dumps({"network_def": network}))
    options = ["--config_file", str(tmp_path / "overlay.json"), str(tmp_path / "one.json")]
    evidence = run(tmp_path / "scan.png", "the kidney", *options)
    assert evidence["status"] == "ok" and evidence["volume_ml"] is None and evidence["slices_shown"] == 1
    assert evidence["points_1000"] == [[[300, 300], [500, 600]]]
    mask = np.asarray(Image.open(tmp_path / "out" / "scan" / "scan_mask.png"))
    assert mask.shape == (40, 60) and set(np.unique(mask)) <= {0, 255}
    assert (mask > 0).sum() == evidence["voxels"]


@pytest.mark.parametrize(
    "query, message",
    [
        ("", r"1 of 1 cases could not be processed: some ct \(empty_query\)"),
        ("x" * 10_000, r"some ct \(query_too_long\)"),
        ("explode", r"some ct \(ValueError\)"),
    ],
)
def test_a_case_that_fails_ends_with_its_reason(run, ct, capsys, query, message):
    with pytest.raises(SystemExit) as ended:
        run(ct, query)
    assert ended.value.code == 3
    assert re.search(f"medvol-r1: .*{message}", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["$HOME", "2024_05_01", "a,b", "a#b", "%x", "@seed", "$import os", "None", "it's"])
def test_the_results_lie_in_the_folder_that_was_named(ct, tmp_path, monkeypatch, name):
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    overlay = stub_overlay(tmp_path / "overlay.json")
    command_line.main([str(ct), "the liver", "--output_dir", name, "--config_file", overlay])
    assert (tmp_path / name / "some ct" / "some ct_evidence.json").is_file()


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (["--help"], 0, "Segment what a query asks for"),
        ([], 2, "give an image and a query"),
        ([__file__, "--queries", "nowhere.txt"], 1, "medvol-r1: nowhere.txt does not exist; correct the path."),
        (["nowhere.nii.gz", "liver"], 1, "medvol-r1: nowhere.nii.gz does not exist; correct the path."),
        ([__file__, "liver", "--config_file", "nowhere.json"], 1, "medvol-r1: nowhere.json does not exist"),
    ],
)
def test_help_and_a_wrong_path_import_no_model(arguments, status, told):
    """That takes ten seconds; without it the answer comes at once."""
    program = (
        "import sys; from medvol_r1.command_line import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('imported:', sorted({'torch', 'monai', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status and told in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_a_device_that_is_not_there_is_named_without_a_traceback(ct, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    overlay = stub_overlay(tmp_path / "overlay.json")
    with pytest.raises(SystemExit, match="medvol-r1: Device 'cuda' was asked for and this machine has 0 CUDA devices"):
        command_line.main([str(ct), "liver", "--config_file", overlay, "--device", "cuda"])


def test_missing_weights_name_the_key_and_the_command_that_gets_them(ct, tmp_path):
    overlay = tmp_path / "weights.json"
    overlay.write_text(json.dumps({"lvlm_path": str(tmp_path / "nowhere" / "lvlm")}))
    with pytest.raises(SystemExit, match="medvol-r1: No language model at '.*nowhere/lvlm'.*hf download") as caught:
        command_line.main([str(ct), "liver", "--config_file", str(overlay), "--output_dir", str(tmp_path / "out")])
    assert "config key `lvlm_path`" in str(caught.value)


def test_missing_medsam2_weights_name_the_key(ct, tmp_path):
    overlay = tmp_path / "weights.json"
    stub = {"_target_": "inference_stubs.CannedNetwork"}
    overlay.write_text(json.dumps({"network_def": stub, "medsam2_path": "nowhere/medsam2"}))
    with pytest.raises(SystemExit, match="no MedSAM2 weights at nowhere/medsam2.*`medsam2_path`"):
        command_line.main([str(ct), "liver", "--config_file", str(overlay), "--output_dir", str(tmp_path / "out")])


def test_a_package_without_its_bundle_says_how_to_install(monkeypatch, tmp_path):
    installed = tmp_path / "site-packages" / "medvol_r1" / "command_line" / "program.py"
    monkeypatch.setattr(program, "__file__", str(installed))
    with pytest.raises(SystemExit, match=r"no configs/inference.json in .*pip install -c constraints.txt -e \."):
        program.find_bundle()


@pytest.fixture
def result(tmp_path, monkeypatch, capsys):
    """Runs the command with `--json` and stubs; returns the exit status and what the JSON on stdout holds."""
    monkeypatch.setattr("sys.path", list(sys.path))
    overlay = stub_overlay(tmp_path / "overlay.json")

    def run_command(*arguments):
        options = ["--json", "--output_dir", str(tmp_path / "out"), "--config_file", overlay]
        status = 0
        try:
            command_line.main([*map(str, arguments), *options])
        except SystemExit as ended:
            status = ended.code
        return status, json.loads(capsys.readouterr().out)

    return run_command


def test_every_query_is_asked_about_every_image_and_the_result_is_json(result, ct, tmp_path):
    nib.save(nib.load(ct), tmp_path / "b.nii.gz")
    (tmp_path / "queries.txt").write_text("the liver\n\n  $HOME, 'it'\n", encoding="utf-8")
    status, printed = result(tmp_path / "b.nii.gz", ct, "--queries", tmp_path / "queries.txt")
    assert status == 0 and printed["failures"] == []
    asked = [(row["case"], row["image"], row["query"]) for row in printed["cases"]]
    b = str(tmp_path / "b.nii.gz")
    assert asked == [
        ("b", b, "the liver"),
        ("b_2", b, "  $HOME, 'it'"),
        ("some ct", str(ct), "the liver"),
        ("some ct_2", str(ct), "  $HOME, 'it'"),
    ]
    row = printed["cases"][3]
    assert row["status"] == "ok" and row["status_text"] == "found" and row["scores"] == {} and row["key_slice"] == 2
    mask = nib.load(row["files"]["mask.nii.gz"])
    # Voxels of 3 mm3, 20 x 24 x 6 of them; the box is half the width and half the height of one slice.
    assert row["volume_ml"] == pytest.approx(np.sum(mask.dataobj) * 3 / 1000, abs=5e-4)
    assert row["volume_ml"] > 0 and sorted(row["files"]) == ["evidence.json", "mask.nii.gz"]


def test_a_bad_image_does_not_stop_the_others_and_the_exit_status_says_so(result, ct, tmp_path):
    (tmp_path / "a.nii.gz").write_text("text")
    status, printed = result(tmp_path / "a.nii.gz", ct, "the liver")
    assert status == 3
    assert [failure["reason"] for failure in printed["failures"]] == ["not_nifti"]
    assert [row["case"] for row in printed["cases"]] == ["some ct"]


def test_a_label_of_the_list_gives_scores(result, ct, tmp_path):
    label = np.zeros((20, 24, 6), np.uint8)
    label[:10] = 1
    nib.save(nib.Nifti1Image(label, nib.load(ct).affine), tmp_path / "label.nii.gz")
    entry = {"image": ct.name, "query": "the liver", "label": "label.nii.gz", "case": "mine"}
    (tmp_path / "cases.json").write_text(json.dumps([entry]))
    status, printed = result("--datalist", tmp_path / "cases.json")
    (row,) = printed["cases"]
    assert status == 0 and row["case"] == "mine"
    predicted = np.asarray(nib.load(row["files"]["mask.nii.gz"]).dataobj)
    expected = 2 * np.sum(predicted[:10]) / (np.sum(predicted) + 10 * 24 * 6)
    assert row["scores"]["DSC"] == pytest.approx(expected, abs=1e-6) and expected > 0


def test_the_table_names_the_queries(run, ct, capsys):
    run(ct, "the organ\nthat makes bile")
    table = capsys.readouterr().out.splitlines()
    (head,) = (number for number, line in enumerate(table) if line.startswith("case "))
    assert table[head + 1].startswith("some ct  the organ that makes bile  found ")
    assert table[head + 2].endswith("<case>: mask.nii.gz, evidence.json")


def test_a_volume_is_encoded_once_for_all_its_queries(ct, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setenv("ENCODED", str(tmp_path / "encoded"))
    nib.save(nib.Nifti1Image(nib.load(ct).get_fdata()[::-1], nib.load(ct).affine), tmp_path / "b.nii.gz")
    network = {"_target_": "inference_stubs.CountingLVLM", "path": str(save_random_lvlm(tmp_path / "lvlm"))}
    overlay = tmp_path / "overlay.json"
    network |= {"slice_size": 32, "max_new_tokens": 2}
    overlay.write_text(json.dumps({**STUBS, "network_def": network, "picture": False}))
    (tmp_path / "queries.json").write_text(json.dumps(["the liver", "both kidneys", "the spleen"]))
    images = [str(ct), str(tmp_path / "b.nii.gz"), "--queries", str(tmp_path / "queries.json")]
    command_line.main([*images, "--output_dir", str(tmp_path / "out"), "--config_file", str(overlay)])
    assert len(list((tmp_path / "out").glob("*/*_mask.nii.gz"))) == 6
    assert (tmp_path / "encoded").read_text() == "volume\n" * 2


def test_serve_hands_its_arguments_to_the_server(monkeypatch):
    given = []
    server = ModuleType("medvol_r1.web.serve")
    server.main = given.extend
    monkeypatch.setitem(sys.modules, "medvol_r1.web", ModuleType("medvol_r1.web"))
    monkeypatch.setitem(sys.modules, "medvol_r1.web.serve", server)
    command_line.main(["serve", "--port", "8765", "--studies", "."])
    assert given == ["--port", "8765", "--studies", "."]


def test_serve_without_its_extra_says_what_to_install(monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(SystemExit, match=r'fastapi is not installed.*pip install "medvol-r1\[serve\]"'):
        command_line.main(["serve"])
