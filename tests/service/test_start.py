import json
import sys

import pytest
from service_runs import BUNDLE, SETTINGS, small_service


@pytest.fixture(autouse=True)
def path_as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_overlays_count(service_folder, service, tmp_path):
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"windows": [[-1000, 400]], "num_slices": 4}))
    from medvol_r1.service.start import started_service

    paths = {f"{name}_path": str(service_folder / "weights" / name) for name in ("lvlm", "medsam2")}
    settings = {key: value for key, value in SETTINGS.items() if key != "num_slices"} | paths
    configs = [BUNDLE / "configs" / "inference.json", overlay]
    started = started_service(configs, BUNDLE, service_folder / "studies", 1000, settings)
    assert started.models.window_hu == (-1000, 400) and started.memory.most_bytes == 1000
    assert len(started.open("a", "ct.nii.gz").geometry.source_index) == 4
    started.shut_down()


@pytest.mark.parametrize("folder", ["$import os", "%x", "@bundle_root", "$__import__('os').getcwd()"])
def test_paths_are_text(service_folder, service, folder):
    with pytest.raises(ValueError, match="is no folder"):
        small_service(service_folder, folder)
    with pytest.raises(ValueError) as caught:
        small_service(service_folder, lvlm_path=folder)
    assert folder in str(caught.value)
