"""TensorBoard's pages of a training's events become pictures for the docs, without network."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[browser]")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import tensorboard_pictures  # noqa: E402
from page_pictures import CHROMIUM  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

GREEN = (0, 200, 0)


def test_curves_answers_and_evidence_are_pictures(tmp_path, monkeypatch, capsys):
    with SummaryWriter(tmp_path / "events") as writer:
        for step in range(20):
            writer.add_scalar("reward/total", step / 20, step)
            writer.add_scalar("loss", step, step)  # not of the chosen curves
        writer.add_text("rollouts", "    the liver\n    2.916  0.61", 1)
        writer.add_image("rollouts", np.full((300, 400, 3), GREEN, np.uint8), 1, dataformats="HWC")
    command = ["tensorboard_pictures.py", str(tmp_path / "events"), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    tensorboard_pictures.main()
    assert capsys.readouterr().out == f"Wrote the pictures to {tmp_path}\n"
    pictures = {path.stem: Image.open(path).convert("RGB") for path in tmp_path.glob("*.png")}
    assert set(pictures) == {"tensorboard_curves", "tensorboard_answers", "tensorboard_evidence"}
    assert all(path.stat().st_size < 150_000 for path in tmp_path.glob("*.png"))
    colors = {name: dict(map(reversed, picture.getcolors(2**24))) for name, picture in pictures.items()}
    assert colors["tensorboard_evidence"][GREEN] == 300 * 400, "at its actual size"
    assert all(len(found) > 8 for name, found in colors.items() if name != "tensorboard_evidence"), "text or a curve"
