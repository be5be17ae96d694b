"""From a download to the table: every layout through prepare, SFT, GRPO, evaluation and the benchmark's table."""

import json
from pathlib import Path

import pytest
from miniature_data_sets import write_data_set
from monai.bundle import run as run_bundle
from tiny_models import save_random_models

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
LAYOUTS = {
    "kits23": "kits23",
    "kits23_flat": "kits23",
    "ct_org": "ct_org",
    "abdomenct_1k": "abdomenct_1k",
    "m3d_seg": "m3d_seg",
    "m3d_seg_older": "m3d_seg",
    "m3d_refseg": "m3d_refseg",
    "folder": "folder",
}


pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_random_models(folder)
    return folder


def run(configs, output_dir, **options):
    run_bundle(
        config_file=[str(BUNDLE / "configs" / name) for name in configs],
        bundle_root=str(BUNDLE),
        logging_file=False,
        output_dir=str(output_dir),
        **options,
    )
    return output_dir


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_download_becomes_a_table(name, weights, tmp_path):
    few = {"num_workers": 0, "questions_per_target": 1}
    prepared = run(
        ["prepare.json"], tmp_path / "p", dataset=LAYOUTS[name], dataset_dir=str(write_data_set(name, tmp_path)), **few
    )
    small = {
        "train_datalist": str(prepared / "training.json"),
        "validation_datalist": str(prepared / "validation.json"),
        "device": "cpu",
        "num_slices": 4,
        "slice_size": 32,
        "queries_per_volume": 2,
        "batch_size": 1,
        "validate_every": 20,
    }
    sft = run(
        ["train.json"], tmp_path / "sft", lvlm_path=str(weights / "lvlm"), max_steps=20,
        **small, **{"network_def#max_new_tokens": 4},
    )  # fmt: skip
    medsam2 = {"medsam2_path": str(weights / "medsam2")}
    grpo = run(
        ["train_grpo.json"], tmp_path / "grpo", lvlm_path=str(sft / "lvlm"), max_steps=2, num_generations=2,
        max_new_tokens=6, **small, **medsam2,
    )  # fmt: skip
    test = str(prepared / "test.json")
    evaluated = run(
        ["inference.json", "evaluate.json"], tmp_path / "evaluation", datalist=test, lvlm_path=str(grpo / "lvlm"),
        num_slices=4, slice_size=32, lvlm_slice_size=32, max_new_tokens=6, device="cpu", pictures=False,
        save_masks=True, bootstrap_samples=20, **medsam2,
    )  # fmt: skip
    asked = len(json.loads(Path(test).read_text()))
    rows = (evaluated / "per_query.csv").read_text().splitlines()
    assert len(rows) == asked + 1 and "DSC" in (evaluated / "summary.md").read_text()
    systems = [{"name": "MedVol-R1", "masks": str(evaluated / "cases/{case}/{case}_mask.nii.gz"), "labels": 1}]
    (tmp_path / "systems.json").write_text(json.dumps(systems))
    table = run(
        ["inference.json", "benchmark.json"], tmp_path / "table", datalist=test, bootstrap_samples=20,
        systems=str(tmp_path / "systems.json"),
    )  # fmt: skip
    assert "MedVol-R1" in (table / "benchmark.md").read_text()
