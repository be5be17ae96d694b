"""prepare.json on every layout, in miniature: lists, report, picture; stopping, going on, bad cases, bad input."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.datasets.volume_cases import read_volume_cases
from medvol_r1.layouts.found_cases import Found, FoundCase
from medvol_r1.preparation.prepare import Preparation
from medvol_r1.targets import target_mask
from medvol_r1.volume.io import read_volume
from miniature_data_sets import save_pair, volume, write_abdomenct_1k, write_ct_org, write_data_set, write_kits23
from monai.bundle import run as run_bundle

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
FRACTIONS = {"training": 0.6, "validation": 0.2, "test": 0.2}
# Name of the miniature: reader, cases prepared, how many are left out why.
LAYOUTS = {
    "ct_org": ("ct_org", 4, {"wrong_spacing": 1}),
    "abdomenct_1k": ("abdomenct_1k", 7, {"wrong_spacing": 1, "label_mismatch": 1, "no_label": 1}),
    "kits23": ("kits23", 4, {}),
    "kits23_flat": ("kits23", 4, {}),
    "m3d_seg": ("m3d_seg", 4, {}),
    "m3d_seg_older": ("m3d_seg", 4, {}),
    "m3d_refseg": ("m3d_refseg", 3, {}),
    "umrg": ("umrg", 13, {}),
    "folder": ("folder", 4, {}),
}


pytestmark = pytest.mark.usefixtures("bundle_on_path")


def prepare(dataset, folder, output_dir, **options):
    options = {"num_workers": 0, "questions_per_target": 1, **options}
    run_bundle(
        config_file=str(BUNDLE / "configs" / "prepare.json"),
        bundle_root=str(BUNDLE),
        logging_file=False,
        dataset=dataset,
        dataset_dir=str(folder),
        output_dir=str(output_dir),
        **options,
    )
    return output_dir


def cause_of(failed):
    """What the errors of a chain say: MONAI names the component, its cause the reason."""
    told, error = [], failed.value
    while error is not None:
        told.append(str(error))
        error = error.__cause__
    return "\n".join(told)


def lists_in(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json") if path.stem != "patients"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_becomes_lists_that_evaluation_reads(name, tmp_path):
    dataset, prepared, left_out = LAYOUTS[name]
    out = prepare(dataset, write_data_set(name, tmp_path / "in"), tmp_path / "out")
    report = (out / "report.md").read_text()
    assert f"{prepared} prepared, {sum(left_out.values())} left out" in report
    assert all(f"{reason} {count}" in report for reason, count in left_out.items())
    assert (out / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    lists = lists_in(out)
    assert set(lists) == {"training", "validation", "test"}
    patients = [{entry["patient"] for entry in entries} for entries in lists.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == prepared
    groups = [{entry.get("paraphrase_group") for entry in lists[split]} for split in ("training", "test")]
    assert not (groups[0] & groups[1]) - {None}
    for split in lists:
        for case in read_volume_cases(out / f"{split}.json"):
            image, affine = read_volume(case["image"], intensity="full_range" if name == "umrg" else "ct")
            for entry in case["queries"]:
                label = nib.load(entry["label"])
                assert label.shape == image.shape[-3:] and np.allclose(label.affine, affine, atol=1e-3)
                mask = target_mask(np.asarray(label.dataobj), entry["label_values"])
                assert mask.any() != (entry["type"] == "H")


def test_the_official_test_part_is_the_test_list(tmp_path):
    out = prepare("ct_org", write_ct_org(tmp_path / "in"), tmp_path / "out")
    lists = lists_in(out)
    assert {entry["patient"] for entry in lists["test"]} == {"ct_org_0", "ct_org_1"}


def test_the_same_command_again_does_what_is_left(tmp_path, monkeypatch):
    write_kits23(tmp_path / "in", numbers=(0, 1, 2))
    out = prepare("kits23", tmp_path / "in", tmp_path / "out")
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    times = {path.stem: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    label = tmp_path / "in" / "dataset" / "case_00001" / "segmentation.nii.gz"
    os.utime(label, (1, 1))
    write_kits23(tmp_path / "in", numbers=(3,))
    prepare("kits23", tmp_path / "in", out)
    again = {path.stem: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    assert {case for case in again if again[case] != times.get(case)} == {"kits23_00001", "kits23_00003"}
    prepare("kits23", tmp_path / "in", tmp_path / "at_once")
    fresh, gone_on = (lists_in(folder) for folder in (tmp_path / "at_once", out))
    assert fresh == gone_on and first.keys() < {path for path in out.rglob("*") if path.is_file()}


def test_a_bad_case_stops_nothing_and_is_tried_again(tmp_path, capsys):
    write_kits23(tmp_path / "in", numbers=(0, 1, 2))
    image = tmp_path / "in" / "dataset" / "case_00001" / "imaging.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    out = prepare("kits23", tmp_path / "in", tmp_path / "out")
    assert "kits23: 3 cases found, 2 prepared, 1 left out; questions: " in capsys.readouterr().out
    report = (out / "report.md").read_text()
    assert "| kits23_00001 | truncated_file |" in report and "copy or download it again" in report
    image.write_bytes(whole)
    prepare("kits23", tmp_path / "in", out)
    assert "3 prepared, 0 left out" in (out / "report.md").read_text()


def test_status_1_if_nothing_could_be_prepared(tmp_path):
    write_kits23(tmp_path / "in", numbers=(0,))
    (tmp_path / "in" / "dataset" / "case_00000" / "imaging.nii.gz").write_bytes(b"version https://git-lfs")
    with pytest.raises(SystemExit) as ended:
        prepare("kits23", tmp_path / "in", tmp_path / "out")
    assert ended.value.code == 1 and "not_nifti 1." in (tmp_path / "out" / "report.md").read_text()


def test_overrides_reach_the_cases(tmp_path):
    write_ct_org(tmp_path / "in", numbers=(30, 40, 50))
    out = prepare("ct_org", tmp_path / "in", tmp_path / "out", spacing={"ct_org_30": [10, 10, 27]})
    assert "3 prepared, 0 left out" in (out / "report.md").read_text()


def test_patients_that_data_sets_share_stay_on_one_side(tmp_path):
    """The first scan of CT-ORG is a case of AbdomenCT-1K as well, flipped, cropped and with another header."""
    write_ct_org(tmp_path / "first", numbers=(0, 1, 40, 41, 42))
    write_abdomenct_1k(tmp_path / "second")
    # Three quarters of a CT-ORG volume, in the other data set's form.
    image, label, affine = volume(0, "whole_body", {1: 1})
    save_pair(
        tmp_path / "second" / "Images" / "Case_00500_0000.nii.gz",
        tmp_path / "second" / "Mask" / "Case_00500.nii.gz",
        *(np.flip(v, 0)[:, :, 2:].copy() for v in (image, label)),
        np.diag([3.0, 3.0, 5.0, 1.0]),
    )
    prepare("ct_org", tmp_path / "first", tmp_path / "a")
    out = prepare("abdomenct_1k", tmp_path / "second", tmp_path / "b", beside=[str(tmp_path / "a")])
    sides = {entry["patient"]: split for split, entries in lists_in(out).items() for entry in entries}
    assert sides["abdomenct_1k_00500"] == "test"  # as ct_org_0, of the official test part
    assert "| ct_org_0 | abdomenct_1k_00500 | test |" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dataset": "lits"}, "there are readers of ct_org, abdomenct_1k, kits23, m3d_seg, m3d_refseg, umrg, folder"),
        ({"dataset": None}, "`dataset` is None"),
        ({"fractions": {"training": 1.0}}, "config key `fractions`"),
        ({"beside": ["nowhere"]}, "`beside` names nowhere"),
        ({"queries_file": "none.json"}, "the file of own targets none.json cannot be read"),
        ({"questions_per_target": 0}, "`questions_per_target` is 0"),
        ({"negatives": 1.0}, "`negatives` 1.0"),
    ],
)
def test_settings_that_cannot_be(options, told, tmp_path):
    write_kits23(tmp_path / "in", numbers=(0,))
    with pytest.raises(RuntimeError) as failed:
        prepare(options.pop("dataset", "kits23"), tmp_path / "in", tmp_path / "out", **options)
    assert told in cause_of(failed)


def test_a_wrong_folder_writes_nothing(tmp_path):
    write_kits23(tmp_path / "in", numbers=(0,))
    with pytest.raises(RuntimeError) as failed:
        prepare("ct_org", tmp_path / "in", tmp_path / "out")
    told = cause_of(failed)
    assert "Expected: volume-N.nii.gz and labels-N.nii.gz of CT-ORG" in told and "imaging.nii.gz" in told
    assert not (tmp_path / "out").exists()


class Dies:
    """Sent to a worker, ends it at the second case."""

    output_dir = "out"

    def settings(self):
        return {}

    def __call__(self, case):
        os._exit(9)


@pytest.mark.slow
def test_workers(tmp_path):
    write_kits23(tmp_path / "in", numbers=(0, 1, 2))
    alone = prepare("kits23", tmp_path / "in", tmp_path / "alone")
    together = prepare("kits23", tmp_path / "in", tmp_path / "together", num_workers=2)
    assert lists_in(alone) == lists_in(together)


@pytest.mark.slow
def test_a_worker_that_is_killed_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nii").touch()
    case = FoundCase("a", "a", tmp_path / "a.nii", tmp_path / "a.nii", {})
    preparation = Preparation("x", {"x": lambda _: Found([case], [])}, "in", Dies(), FRACTIONS, num_workers=1)
    with pytest.raises(RuntimeError, match="a smaller `num_workers` than 1"):
        preparation.run()
