"""What is no SAM, or does not fit."""

import json
import shutil

import pytest
import torch
from medvol_r1.experts import load_sam
from medvol_r1.medsam2.weights import WeightFileError
from safetensors.torch import load_file, save_file


def test_weights_that_do_not_fit(folders, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no SAM at .*nowhere: there is no config.json \(config key `sam_path`\)"
    ):
        load_sam(tmp_path / "nowhere")
    folder = tmp_path / "sam"
    shutil.copytree(folders["sam"], folder)
    weights = load_file(folder / "model.safetensors")
    removed = next(name for name in weights if "mask_decoder" in name)
    kept = {name: tensor for name, tensor in weights.items() if name != removed}
    save_file(kept | {"vision_encoder.layers.0.adapter.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(
        WeightFileError, match=r"1 missing \(e.g. mask_decoder.*1 left over \(e.g. vision_encoder.*adapter"
    ):
        load_sam(folder)
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightFileError, match="the weights of .* cannot be read"):
        load_sam(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "sam2_video"}))
    with pytest.raises(WeightFileError, match="the architecture 'sam2_video'; legal are sam, sam2"):
        load_sam(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(WeightFileError, match="is not a configuration"):
        load_sam(folder)
