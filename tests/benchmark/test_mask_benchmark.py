"""The benchmark command: systems side by side, what is refused and why, equal numbers for equal masks."""

import csv
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.evaluation.bootstrap import ClusterBootstrap
from medvol_r1.evaluation.compare import compare, read_rows
from medvol_r1.metrics import dice
from medvol_r1.phantom.scan import make_phantom
from monai.bundle import ConfigWorkflow
from other_bundle import write_spleen_bundle

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
STACK = [str(BUNDLE / "configs" / name) for name in ("inference.json", "benchmark.json")]
IDS = {"liver": 1, "spleen": 4, "left kidney": 3, "right kidney": 2, "pancreas": 5}
VISTA = {"liver": 1, "spleen": 3, "left kidney": 14, "right kidney": 5}
TARGETS = ("liver", "spleen", "left kidney")


def save(path, voxels, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    nib.save(image, path)


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(1_000_000 + number, "organs", shape=(48, 40, 16)) for number in range(3)]


@pytest.fixture
def folder(tmp_path, phantoms):
    """Three patients, three queries each, one of them about something that is not there; true masks as label maps."""
    entries = []
    for number, phantom in enumerate(phantoms):
        save(tmp_path / f"ct_{number}.nii.gz", phantom.image.astype(np.int16), phantom.affine)
        save(tmp_path / f"label_{number}.nii.gz", phantom.label, phantom.affine)
        common = {"image": f"ct_{number}.nii.gz", "label": f"label_{number}.nii.gz", "patient": f"p{number}"}
        entries += [
            {"query": f"the {target}", "target": target, "label_values": [IDS[target]], "case": f"{number}_{target}"}
            | common
            for target in TARGETS
        ]
        absent = {"query": "a tumor", "target": "tumor", "type": "H", "label_values": [11], "case": f"{number}_h"}
        entries.append(common | absent)
    (tmp_path / "cases.json").write_text(json.dumps(entries))
    return tmp_path


def as_vista(phantom, shift=0):
    """Label ids of VISTA3D, 255 where the label is none of its own; the masks moved by `shift` voxels along axis 0."""
    voxels = np.full(phantom.label.shape, 255, np.float32)
    voxels[np.isin(phantom.label, list(IDS.values()), invert=True)] = 0
    for target, value in VISTA.items():
        voxels[phantom.label == IDS[target]] = value
    return np.roll(voxels, shift, axis=0)


def run(folder, entries, /, **overrides):
    (folder / "systems.json").write_text(json.dumps(entries))
    workflow = ConfigWorkflow(
        STACK,
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(BUNDLE),
        output_dir=str(folder / "out"),
        **({"datalist": str(folder / "cases.json"), "systems": str(folder / "systems.json")} | overrides),
    )
    workflow.initialize()
    workflow.run()
    return json.loads((folder / "out" / "benchmark.json").read_text())["systems"]


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def vista(name="VISTA3D", masks="vista/ct_{image}.nii.gz", **changes):
    return {"name": name, "masks": masks, "labels": VISTA | {"tumor": 23}, "void_values": [255]} | changes


def test_systems_side_by_side(folder, phantoms):
    for number, phantom in enumerate(phantoms):
        stem = f"ct_{number}"
        save(folder / "vista" / f"{stem}.nii.gz", as_vista(phantom), phantom.affine)
        save(folder / "moved" / f"{stem}.nii.gz", as_vista(phantom, 2), phantom.affine)
        save(folder / "lost" / f"{stem}.nii.gz", as_vista(phantom), np.eye(4))
        for target in (*TARGETS, "tumor"):
            path = folder / "npz" / f"{stem}_{target}.npz"
            path.parent.mkdir(exist_ok=True)
            mask = phantom.label == IDS.get(target, 11)
            np.savez(path, segs=mask.transpose(2, 1, 0).astype(np.uint8))
    systems = [
        vista(masks="vista/{image}.nii.gz"),
        vista("moved by two voxels", "moved/{image}.nii.gz"),
        {"name": "BiomedParse", "masks": "npz/{image}_{target}.npz", "grid": "same_shape", "axes": "zyx"},
        vista("identity affine", "lost/{image}.nii.gz"),
    ]
    results = run(folder, systems)
    exact, moved, npz, lost = (results[system["name"]] for system in systems)
    for perfect in (exact, npz):
        assert perfect["counts"]["errors"] == 0 and perfect["present"]["n"] == 9 and perfect["absent"]["n"] == 3
        assert perfect["present"]["DSC_mean"]["value"] == perfect["present"]["NSD_mean"]["value"] == 1
        assert perfect["absent"]["false_positive_rate"]["value"] == 0
    expected = [
        dice(np.roll(phantom.label == IDS[target], 2, axis=0), phantom.label == IDS[target])
        for phantom in phantoms
        for target in TARGETS
    ]
    assert moved["present"]["DSC_mean"]["value"] == pytest.approx(np.mean(expected), abs=1e-6)
    # every query of the last one is refused, with the reason, and the others are scored
    assert lost["refused"] == {"identity_affine": {"n": 12, "first": lost["refused"]["identity_affine"]["first"]}}
    assert "the identity and its image's is not" in lost["refused"]["identity_affine"]["first"]
    assert lost["present"]["DSC_mean"]["value"] == 0 and lost["answered"]["n"] == lost["common"]["n"] == 0
    # the queries in common are those of the systems that answered anything
    assert exact["common"]["n"] == 9 and moved["common"]["DSC_mean"] == moved["present"]["DSC_mean"]
    report = (folder / "out" / "benchmark.md").read_text()
    assert "| identity affine | identity_affine | 12 | the mask's affine is the identity" in report
    assert "| VISTA3D | 9 | 9 | 0 | 1.000" in report and "| identity affine | 9 | 0 | 0 | 0.000" in report
    with (folder / "out" / "benchmark.csv").open(newline="") as file:
        lines = {line["system"]: line for line in csv.DictReader(file)}
    assert list(lines) == [system["name"] for system in systems]
    assert float(lines["moved by two voxels"]["DSC_mean"]) == moved["present"]["DSC_mean"]["value"]
    assert lines["identity affine"]["refused"] == "12" and lines["identity affine"]["answered_DSC_mean"] == ""
    # the rows are those of an evaluation: two systems compare as two evaluations do
    pair = [read_rows(folder / "out" / name) for name in ("VISTA3D", "moved by two voxels")]
    difference = compare(*pair, ClusterBootstrap(10))["groups"]["all"]["DSC"]["difference"]["value"]
    assert difference == pytest.approx(np.mean(expected) - 1, abs=1e-6)


def test_what_is_refused_costs_that_query_alone(folder, phantoms):
    """Patient 0: fine in another orientation; patient 1: missing, and elsewhere; patient 2: NaN, and wrong labels."""
    first, second, third = phantoms
    image = nib.Nifti1Image(as_vista(first), first.affine).as_reoriented(np.array([[1, -1], [2, 1], [0, 1]]))
    save(folder / "a" / "ct_0.nii.gz", np.asarray(image.dataobj), image.affine)
    save(folder / "a" / "ct_2.nii.gz", np.full(third.label.shape, np.nan, np.float32), third.affine)
    elsewhere = second.affine.copy()
    elsewhere[:3, 3] += 40
    save(folder / "b" / "ct_0.nii.gz", as_vista(first)[1:], first.affine)  # a crop whose origin was not moved
    save(folder / "b" / "ct_1.nii.gz", as_vista(second), elsewhere)
    save(folder / "b" / "ct_2.nii.gz", third.label + np.uint8(100), third.affine)
    systems = [vista("a", "a/{image}.nii.gz", labels=VISTA), vista("b", "b/{image}.nii.gz")]
    results = run(folder, systems)
    reasons = {name: {reason: found["n"] for reason, found in results[name]["refused"].items()} for name in "ab"}
    # the absent target of patient 0 has no label value in the map of a; of patient 1 and 2 that is found first as well
    assert reasons["a"] == {"no_label_value": 3, "missing_mask": 3, "not_labels": 3}
    assert reasons["b"] == {"other_space": 4, "label_value_absent": 4}
    targets = {row["case"]: row for row in read_rows(folder / "out" / "a")}
    assert all(float(targets[f"0_{target}"]["DSC"]) == 1 for target in TARGETS)
    assert targets["1_liver"]["status"] == "missing_mask" and float(targets["1_liver"]["DSC"]) == 0
    with (folder / "out" / "refused.csv").open(newline="") as file:
        told = {(row["system"], row["case"]): row for row in csv.DictReader(file)}
    assert "100, 101" in told["b", "2_spleen"]["message"] and len(told) == 17
    # both answered the three organs of patient 0; b lies one voxel off there
    assert results["a"]["common"]["n"] == 3 and results["a"]["common"]["DSC_mean"]["value"] == 1
    assert results["b"]["common"]["DSC_minus_first"]["value"] < -0.05
    assert results["a"]["answered"]["n"] == 3 and results["a"]["present"]["DSC_mean"]["value"] == pytest.approx(1 / 3)
    assert "The 3 of them that every system answered" in (folder / "out" / "benchmark.md").read_text()


def test_a_volume_that_cannot_be_read_is_refused_for_all(folder, phantoms):
    for number, phantom in enumerate(phantoms):
        save(folder / "vista" / f"ct_{number}.nii.gz", as_vista(phantom), phantom.affine)
    (folder / "ct_1.nii.gz").unlink()
    (folder / "label_2.nii.gz").write_bytes(b"nothing")
    results = run(folder, [vista(masks="vista/{image}.nii.gz")])["VISTA3D"]
    assert {reason: found["n"] for reason, found in results["refused"].items()} == {"missing_file": 4, "not_nifti": 4}
    assert results["present"]["by"]["target"]["liver"]["DSC_mean"]["value"] == pytest.approx(1 / 3)


def test_a_bundle_with_random_weights_is_run_and_scored(folder):
    write_spleen_bundle(folder / "spleen_ct")
    results = run(folder, [{"name": "spleen bundle", "bundle": "spleen_ct", "labels": {"spleen": 1}}])["spleen bundle"]
    assert {reason: found["n"] for reason, found in results["refused"].items()} == {"no_label_value": 9}
    masks = sorted((folder / "out" / "spleen bundle" / "masks").rglob("*_trans.nii.gz"))
    assert [path.name for path in masks] == [f"ct_{number}_trans.nii.gz" for number in range(3)]
    rows = {row["case"]: row for row in read_rows(folder / "out" / "spleen bundle")}
    for number, path in enumerate(masks):
        truth = np.asarray(nib.load(folder / f"label_{number}.nii.gz").dataobj) == IDS["spleen"]
        mask = np.asarray(nib.load(path).dataobj) == 1
        row = rows[f"{number}_spleen"]
        assert row["status"] == "ok" and float(row["DSC"]) == pytest.approx(dice(mask, truth), abs=1e-6)
        assert float(row["pred_ml"]) > 0


def first_error(folder, **overrides):
    """Name and message of the error below MONAI's wrapping; its class is that of `scripts`, not of the package."""
    with pytest.raises(RuntimeError) as caught:
        run(folder, [vista()], **overrides)
    error = caught.value
    while isinstance(error, RuntimeError):
        error = error.__cause__
    return type(error).__name__, str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "an empty list"),
        (None, "cannot be read"),
        ('[{"image": "a"}]', 'has no "query"'),
        (json.dumps([{"image": "a", "query": "b", "case": "c"}] * 2), "'c' stands twice in the datalist"),
    ],
)
def test_bad_datalists(folder, content, message):
    path = folder / "bad.json"
    if content is not None:
        path.write_text(content)
    kind, told = first_error(folder, datalist=str(path))
    assert kind == "DatalistError" and message in told


def test_no_systems(folder):
    kind, told = first_error(folder, systems=None)
    assert kind == "SystemListError" and "add `--systems FILE.json`" in told


def test_a_benchmark_without_a_single_mask_ends_with_its_reason_after_the_tables(folder):
    with pytest.raises(SystemExit, match=r"none of 24 masks could be scored; the first: .*nowhere/ct_0.nii.gz"):
        run(folder, [vista(masks="nowhere/{image}.nii.gz"), vista("other", "neither/{image}.nii.gz")])
    assert (folder / "out" / "benchmark.md").is_file() and (folder / "out" / "refused.csv").is_file()
