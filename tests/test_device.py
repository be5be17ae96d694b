"""Which device a config's name means, and when bf16 is taken."""

import logging

import pytest
import torch
from medvol_r1.device import select_bf16, select_device

CPU = torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto") == torch.device("cuda")


def test_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert select_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="'cuda:1' was asked for and this machine has 1 CUDA devices; .*`device`"):
        select_device("cuda:1")
    with pytest.raises(ValueError, match="Unknown device 'gpu'; legal are auto, cpu, cuda and cuda:N"):
        select_device("gpu")


@pytest.mark.parametrize(
    "capabilities, expected",
    [({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx512_bf16": False}, True), ({"avx512_f": True}, False)],
)
def test_auto_takes_bf16_on_a_processor_that_has_it_and_says_so(monkeypatch, caplog, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with caplog.at_level(logging.INFO):
        assert select_bf16("auto", CPU) is expected
    taken = "bfloat16" if expected else "float32: it has no bfloat16 in hardware"
    assert f"bf16 is auto: on cpu training computes in {taken}." in caplog.text


def test_a_pytorch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert select_bf16("auto", CPU) is False


@pytest.mark.parametrize("capability, expected", [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_auto_asks_the_cuda_device(monkeypatch, capability, expected):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert select_bf16("auto", torch.device("cuda:1")) is expected and asked == [torch.device("cuda:1")]


@pytest.mark.parametrize("setting", [True, False])
def test_true_and_false_are_taken_as_they_are(setting):
    assert select_bf16(setting, CPU) is setting


@pytest.mark.parametrize("setting", ["yes", None, 1])
def test_other_settings_are_refused(setting):
    with pytest.raises(ValueError, match="legal are true, false and auto .*`bf16`"):
        select_bf16(setting, CPU)
