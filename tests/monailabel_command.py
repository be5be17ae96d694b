"""MONAI Label's command `monailabel`, also beside a torch without CUDA: `python tests/monailabel_command.py ARGUMENTS`.

PyTorch's index for CPUs names its builds `+cpu`; torchvision on PyPI is built for CUDA. Beside each other torchvision
cannot be imported: it describes operators that its library would bring. They are declared here before the import.
With a pair that fits nothing is declared, and this is `monailabel` itself.
"""

from importlib.metadata import version

import torch


def declare_missing_operators() -> list[torch.library.Library]:
    """Operators that torchvision's Python code names; they are gone with what is returned."""
    if not version("torch").endswith("+cpu") or version("torchvision").endswith("+cpu"):
        return []
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return [library]


DECLARED = declare_missing_operators()

if __name__ == "__main__":
    from monailabel.main import Main

    Main().run()
