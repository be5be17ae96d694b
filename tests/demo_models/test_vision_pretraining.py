"""The segmenter puts each cell where its pixels are; the loss leaves out what nobody marked; the config runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from medvol_r1.demo_models.vision_pretraining import UNKNOWN, PartialLabelLoss, SliceSegmenter
from medvol_r1.lvlm.model import VolumeLVLM
from tiny_models import save_random_lvlm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lvlm_folder(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("lvlm"))  # 16x16 pixels a visual token


def test_cells_stand_where_their_token_is(lvlm_folder, monkeypatch):
    """A head that writes the cell's own number shows the order of cells in a token, and of tokens in a slice."""
    segmenter = SliceSegmenter(VolumeLVLM(str(lvlm_folder)), num_labels=2, cell_size=8)  # 2x2 cells a token
    with torch.no_grad():
        segmenter.head.weight.zero_()
        segmenter.head.bias.copy_(torch.arange(8.0))  # label 0: 0 1 / 2 3; label 1: 4 5 / 6 7
        logits = segmenter(torch.rand(2, 3, 32, 48))
    assert logits.shape == (2, 2, 3, 4, 6)  # B, L, S, rows of 8 pixels, columns of 8 pixels
    row = torch.tensor([[0.0, 1, 0, 1, 0, 1], [2, 3, 2, 3, 2, 3]])
    assert torch.equal(logits[1, 0, 2, :2], row)
    assert torch.equal(logits[0, 1, 0, 2:], row + 4)


def test_a_slice_is_seen_alone_and_in_its_place(lvlm_folder):
    segmenter = SliceSegmenter(VolumeLVLM(str(lvlm_folder)), num_labels=3)
    slices = torch.rand(1, 4, 32, 32)
    changed = slices.clone()
    changed[0, 2] = 0.0
    with torch.no_grad():
        differs = (segmenter(slices) - segmenter(changed)).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert differs.tolist() == [False, False, True, False]


@pytest.mark.parametrize("cell_size", [0, 3, 32])
def test_cells_that_do_not_fit(lvlm_folder, cell_size):
    with pytest.raises(ValueError, match=f"must divide a visual token's 16 pixels, got {cell_size}"):
        SliceSegmenter(VolumeLVLM(str(lvlm_folder)), num_labels=3, cell_size=cell_size)


def test_loss_by_hand():
    """One label, 16 cells, 1 of them holds it, logits 0: focal 16 * 0.5^2 * ln 2, over 20 at least; Dice 1 - 2/10."""
    label = torch.zeros(1, 1, 1, 4, 4)
    label[..., 2, 1] = 1.0
    loss = PartialLabelLoss()(torch.zeros(1, 1, 1, 4, 4), label)
    assert loss.item() == pytest.approx(16 * 0.25 * np.log(2) / 20 + 1 - (2 * 0.5 + 1) / (8 + 1 + 1), abs=1e-6)


def test_a_lesion_weighs_as_much_as_an_organ():
    """The focal part is a mean over the cells that hold the label: of 30 or of 3000, missed alike, it is the same."""
    logits = torch.full((1, 2, 1, 100, 100), -20.0)
    label = torch.zeros(1, 2, 1, 100, 100)
    label[0, 0, 0, 0, :30] = 1.0
    label[0, 1, 0, :30] = 1.0
    loss = PartialLabelLoss()
    alone = [loss(logits[:, [i]], label[:, [i]]).item() for i in (0, 1)]
    assert alone[0] == pytest.approx(20 + 1 - 1 / 31, abs=1e-3)  # -ln sigmoid(-20) = 20, and the Dice of nothing
    assert alone[1] == pytest.approx(20 + 1 - 1 / 3001, abs=1e-3)
    assert loss(logits, label).item() == pytest.approx(sum(alone) / 2, abs=1e-3)  # each by its own cells


def test_what_is_unknown_has_no_say():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 4, 4, requires_grad=True)
    label = torch.rand(2, 3, 2, 4, 4).round()
    label[0, 1] = UNKNOWN
    PartialLabelLoss()(logits, label).backward()
    assert (logits.grad[0, 1] == 0).all()
    assert (logits.grad[1, 1] != 0).any()


def test_an_absent_structure_rewards_silence():
    loss, nothing = PartialLabelLoss(), torch.zeros(1, 1, 2, 4, 4)
    assert loss(nothing - 20, nothing) < 1e-6
    assert loss(nothing + 20, nothing) > 1.0


def test_config_trains_and_its_model_goes_on_into_sft(tmp_path):
    """Two steps of pretraining change the vision tower; what they write is a language model that train.json takes."""

    def run(config, *options):
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"bundle/configs/{config}"]
        done = subprocess.run(
            [*command, "--bundle_root", "bundle", *options], cwd=ROOT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    small = ["--max_steps", "2", "--validation_volumes", "1", "--batch_size", "1"]
    run("pretrain_vision.json", *small, "--num_slices", "3", "--output_dir", str(tmp_path / "vision"))
    assert list((tmp_path / "vision" / "tensorboard").glob("events*"))
    said = run("pretrain_vision.json", *small, "--num_slices", "3", "--output_dir", str(tmp_path / "vision"))
    assert "Going on from step 2 of" in said and "Nothing to do: 2 steps are made, and the run has 2." in said
    before = VolumeLVLM(str(tmp_path / "vision" / "tiny_lvlm")).load().base.model.visual.state_dict()
    after = VolumeLVLM(str(tmp_path / "vision" / "lvlm")).load().base.model.visual.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    run("train.json", *small, "--lvlm_path", str(tmp_path / "vision" / "lvlm"), "--output_dir", str(tmp_path / "sft"))
    assert (tmp_path / "sft" / "lvlm" / "config.json").is_file()
