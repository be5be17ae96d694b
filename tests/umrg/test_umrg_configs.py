"""The configs of single images, run end to end with random models: lists in, weights, masks and tables out."""

import csv
import json
from pathlib import Path

import pytest
from config_runs import training_workflow
from medvol_r1.datasets.write_umrg import write_images
from monai.bundle import run as run_bundle
from tiny_models import save_random_models

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
SMALL = {"device": "cpu", "slice_size": 32}

pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_random_models(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return {split: write_images(folder, split, count, size=32) for split, count in (("train", 10), ("test", 2))}


def stack(*names):
    return [BUNDLE / "configs" / name for name in names]


def run(names, folder, **options):
    run_bundle(
        config_file=[str(file) for file in stack(*names)],
        bundle_root=str(BUNDLE),
        logging_file=False,
        output_dir=str(folder),
        **SMALL,
        **options,
    )


@pytest.mark.parametrize("stage", ["train", "train_grpo"])
def test_both_stages_train_on_coloured_and_grey_images(stage, weights, images, tmp_path):
    lists = {"train_datalist": images["train"], "validation_datalist": images["test"]}
    of_stage = {"train_grpo": weights | {"num_generations": 2, "max_new_tokens": 8, "batch_size": 2}}
    settings = {"lvlm_path": weights["lvlm_path"], "batch_size": 10, "network_def#max_new_tokens": 4}
    settings = of_stage.get(stage, settings) | lists | {"max_steps": 1, "validate_every": 1}
    workflow = training_workflow(stack(f"{stage}.json", f"umrg/{stage}.json"), tmp_path, **SMALL, **settings)
    workflow.run()
    assert (tmp_path / "lvlm" / "model.safetensors").is_file()


def test_an_image_becomes_a_record_a_mask_and_a_picture(weights, images, tmp_path):
    image = Path(images["test"]).with_name("test_0.png")
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([{"image": str(image), "query": "the liver"}]))
    options = weights | {"datalist": str(cases), "lvlm_slice_size": 32, "max_new_tokens": 4}
    run(["inference.json", "umrg/inference.json"], tmp_path, **options)
    written = {path.name for path in (tmp_path / "test_0").iterdir()}
    assert written == {f"test_0_{ending}" for ending in ("mask.nii.gz", "mask.png", "evidence.json", "evidence.png")}
    record = json.loads((tmp_path / "test_0" / "test_0_evidence.json").read_text())
    assert record["slices_shown"] == 1 and record["volume_ml"] is None


def test_the_evaluation_has_boxes_points_and_masks(weights, images, tmp_path):
    names = ["inference.json", "evaluate.json", "umrg/inference.json", "umrg/evaluate.json"]
    options = weights | {"datalist": images["test"], "lvlm_slice_size": 32, "max_new_tokens": 4, "bootstrap_samples": 5}
    run(names, tmp_path, **options, pictures=False)
    with (tmp_path / "per_query.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # The random model's answers do not parse, and count 0; the true box finds something.
    assert [(row["marks_iou"], row["point_dice"], row["answer_box_DSC"]) for row in rows] == [("0.0",) * 3] * 2
    assert all(row["true_box_DSC"] and row["true_points_DSC"] and row["true_marks_DSC"] for row in rows)
    assert "### Box, points and mask" in (tmp_path / "summary.md").read_text()
