"""Which device to compute on, and whether in bfloat16, from what a config says."""

from __future__ import annotations

import logging
from typing import Literal

import torch


def select_device(name: str) -> torch.device:
    """A device that exists on this machine.

    Args:
        name: `auto` (the first CUDA device if there is one, else the CPU), `cpu`, `cuda`, or `cuda:1`.

    Raises:
        ValueError: not a device's name, or a CUDA device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {name!r}; legal are auto, cpu, cuda and cuda:N (key `device`).") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"Device {name!r} was asked for and this machine has {torch.cuda.device_count()} CUDA devices; "
            "use cpu or auto (config key `device`)."
        )
    return device


def select_bf16(setting: bool | Literal["auto"], device: torch.device) -> bool:
    """Whether to compute under bfloat16 autocast; what `auto` takes is logged.

    Without it in hardware bfloat16 is emulated, and several times slower than float32.

    Args:
        setting: True, False, or `auto`: where the device has bfloat16 in hardware.
        device: to compute on.

    Raises:
        ValueError: another setting.
    """
    if setting != "auto":
        if not isinstance(setting, bool):
            raise ValueError(f"bf16 is {setting!r}; legal are true, false and auto (config key `bf16`).")
        return setting
    if device.type == "cuda":
        there = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        there = device.type == "cpu" and _cpu_has_bf16()
    taken = "bfloat16" if there else "float32: it has no bfloat16 in hardware"
    logging.getLogger(__name__).info("bf16 is auto: on %s training computes in %s.", device, taken)
    return there


def _cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX, as PyTorch sees the processor; False where it does not say (before 2.12, and not x86)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
