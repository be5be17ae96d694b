"""Which configs answer a case: those of volumes, with those of single images on top where it is one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.datalist import PATHS
from ..volume.io import is_single_image

OF_VOLUMES = ("inference.json",)
OF_IMAGES = (*OF_VOLUMES, "umrg/inference.json")


def lists_by_configs(cases: Sequence[Mapping[str, Any]], folder: str | Path) -> dict[tuple[str, ...], str]:
    """Lists of the cases that the same configs answer, each in their order.

    Args:
        cases: entries of a datalist.
        folder: where the lists are written; their paths do not depend on it.

    Returns:
        Names of configs, in the order in which they are laid on top of each other, and the path of their list; none
        without a case.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for case in cases:
        configs = OF_IMAGES if is_single_image(case["image"]) else OF_VOLUMES
        absolute = {key: os.path.abspath(case[key]) for key in PATHS if key in case}
        groups.setdefault(configs, []).append({**case, **absolute})
    lists = {}
    for number, (configs, group) in enumerate(groups.items()):
        path = Path(folder) / f"{number}.json"
        path.write_text(json.dumps(group), encoding="utf-8")
        lists[configs] = str(path)
    return lists
