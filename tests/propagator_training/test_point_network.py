"""What a point means is learned, and nothing else changes: a box alone gives the same mask to the last bit."""

import sys
from pathlib import Path

import pytest
import torch
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.medsam2.weights import load_medsam2
from medvol_r1.propagation import SlicePropagator
from medvol_r1.propagator_training.point_network import PointNetwork
from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
BOX, POINTS = (4.0, 6.0, 20.0, 22.0), ((9.0, 10.0), (15.0, 18.0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of a model before and after some steps of the config."""
    folder = tmp_path_factory.mktemp("points")
    build_tiny_medsam2(image_size=32).save_pretrained(folder / "before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        workflow = ConfigWorkflow(
            [str(BUNDLE / "configs" / name) for name in ("train_propagator.json", "propagator_points.json")],
            meta_file=str(BUNDLE / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            bundle_root=str(BUNDLE),
            output_dir=str(folder / "run"),
            init_path=str(folder / "before"),
            device="cpu",
            image_size=32,
            random_volumes=2,
            phantom_volumes=1,
            validation_volumes=1,
            epoch_length=2,
            clips=2,
        )
        workflow.initialize()
        workflow.run()
    return folder / "before", folder / "run" / "model"


def test_one_row_is_trained(trained):
    before, after = (load_medsam2(folder).state_dict() for folder in trained)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prompt_encoder.point_embed.weight"}
    tables = (state["prompt_encoder.point_embed.weight"] for state in (before, after))
    assert torch.ne(*tables).any(dim=1).tolist() == [False, True, False, False]


def test_a_box_gives_the_same_mask_and_points_another(trained):
    slices = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    (box, both), (box_after, both_after) = (
        [
            SlicePropagator(load_medsam2(folder)).logits(slices, 0, [BOX], points_xy_px=points)
            for points in ((), (POINTS,))
        ]
        for folder in trained
    )
    assert torch.equal(box, box_after) and not torch.equal(both, both_after)


def test_points_lie_in_the_object_in_pixels_of_the_input():
    network = PointNetwork(build_tiny_medsam2(image_size=32))
    truth = torch.zeros(2, 16, 16)
    truth[0, 4:8, 2:10] = 1.0  # [16, 16] of 32 pixels: rows 8 to 16, columns 4 to 20
    points = network._points(truth)
    assert ((points[0] > torch.tensor([4.0, 8.0])) & (points[0] < torch.tensor([20.0, 16.0]))).all()
    assert not points[1].any()
