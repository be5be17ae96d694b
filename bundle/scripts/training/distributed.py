"""How many processes train together: one, with the bundle's own engines."""

from __future__ import annotations

import os


def require_single_process() -> None:
    """Refuses to train in one of several processes, as torchrun and accelerate start them.

    Without gradients in common each would train alike by itself, and all would write the same files.

    Raises:
        ValueError: WORLD_SIZE is above 1.
    """
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        raise ValueError(
            f"WORLD_SIZE is {processes}: each process would train the same by itself, and all would write one folder. "
            "This engine trains in one process; start it without torchrun or accelerate. "
            "train_grpo_trl.json trains stage 2 in several."
        )
