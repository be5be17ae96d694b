"""Which device to compute on, from the name in a config."""

from __future__ import annotations

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
