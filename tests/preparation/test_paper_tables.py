"""Tables 1 and 2 of the paper: the lists of systems that the page shows, on masks in the form of each system."""

import csv
import json
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.datasets.volume_cases import read_volume_cases
from medvol_r1.layouts.kits23 import find_cases
from medvol_r1.preparation.datalists import write_datalists
from medvol_r1.preparation.prepared_case import CasePreparer
from medvol_r1.targets import target_mask
from miniature_data_sets import write_kits23
from monai.bundle import run as run_bundle

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
PAGE = (BUNDLE / "docs" / "datasets.md").read_text(encoding="utf-8")
TABLES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def datalist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits")
    preparer = CasePreparer(str(folder), questions_per_target=1, negatives=0.0)
    records = [preparer(case) for case in find_cases(write_kits23(folder / "in", numbers=(1, 2))).cases]
    for record in records:
        record["questions"]["test"] = record["questions"]["test"][::6]
    write_datalists(records, dict.fromkeys((record["case"] for record in records), "test"), folder)
    return folder / "test.json"


def save_as(system, folder, entry, mask, affine):
    """The true mask of a question, as a system would have saved it."""
    names = {key: entry[key] for key in ("case", "patient")}
    path = folder / system["masks"].format(**names)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, segs=mask.transpose(2, 1, 0))
    else:
        # A grid of one's own says nothing of where it lies: the sidecar does.
        nib.save(nib.Nifti1Image(mask, np.eye(4) if "sidecar" in system else affine), path)
    if "sidecar" in system:
        sidecar = folder / system["sidecar"].format(**names)
        sidecar.write_text(json.dumps({"affine": affine.tolist()}))


@pytest.mark.parametrize("systems", TABLES, ids=["table_1", "table_2"])
def test_true_masks_score_1_in_every_row(systems, datalist, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BUNDLE), *sys.path])
    for case in read_volume_cases(datalist):
        for entry in case["queries"]:
            label = nib.load(entry["label"])
            mask = target_mask(np.asarray(label.dataobj), entry["label_values"]).astype(np.uint8)
            for system in systems:
                save_as(system, tmp_path, entry, mask, label.affine)
    (tmp_path / "table.json").write_text(json.dumps(systems))
    run_bundle(
        config_file=[str(BUNDLE / "configs" / name) for name in ("inference.json", "benchmark.json")],
        bundle_root=str(BUNDLE),
        logging_file=False,
        datalist=str(datalist),
        systems=str(tmp_path / "table.json"),
        output_dir=str(tmp_path / "out"),
        bootstrap_samples=20,
    )
    with (tmp_path / "out" / "benchmark.csv").open(newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == [system["name"] for system in systems]
    assert {(row["refused"], float(row["DSC_mean"])) for row in rows.values()} == {("0", 1.0)}
