"""Every network of every training config lies on the one device that the config names."""

import json
import re
import sys
from pathlib import Path

import pytest
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from monai.bundle import ConfigWorkflow
from tiny_models import save_random_lvlm
from torch import nn

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def stacks():
    """For each training config the files that its command names; an overlay's begin with what it lies on."""
    for path in sorted((BUNDLE / "configs").rglob("*.json")):
        command = json.loads(path.read_text()).get("_command_", "")
        names = list(dict.fromkeys(re.findall(r"configs/([\w/]+\.json)", command)))
        # A config without a network hands its model to TRL's trainer, which places it.
        if names and "train" in names[0] and "network" in json.loads((BUNDLE / "configs" / names[0]).read_text()):
            yield pytest.param([str(BUNDLE / "configs" / name) for name in names], id=path.stem)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    build_tiny_medsam2(image_size=32).save_pretrained(folder / "medsam2")
    return {"lvlm_path": str(save_random_lvlm(folder / "lvlm")), "medsam2_path": str(folder / "medsam2")}


@pytest.mark.parametrize("stack", stacks())
def test_all_parameters_share_the_device_of_the_config(stack, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BUNDLE), *sys.path])
    changes = weights | {"init_path": weights["medsam2_path"]}
    parser = ConfigWorkflow(
        stack, workflow_type="train", logging_file=False, bundle_root=str(BUNDLE), output_dir=str(tmp_path)
    ).parser
    parser.update({key: value for key, value in changes.items() if key in parser.config} | {"device": "meta"})
    networks = [parser.get_parsed_content("network")]
    # What computes beside it: the policy that the KL term compares with, the propagator of the reward, the average.
    if "propagator" in parser.config:
        networks.append(parser.get_parsed_content("propagator").model)
    if "reference" in parser.config and not parser.get_parsed_content("lora_rank"):  # below an adapter it is the policy
        networks.append(parser.get_parsed_content("reference")._network)
    if "average" in parser.config:
        networks.append(parser.get_parsed_content("average").ema_model)
    for network in networks:
        assert isinstance(network, nn.Module)
        tensors = [*network.named_parameters(), *network.named_buffers()]
        assert [name for name, tensor in tensors if tensor.device.type != "meta"] == []
