"""What was computed of the studies in use, kept within a bound: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

Value = TypeVar("Value")


class Memory:
    """Remembers values within a number of bytes, those of all devices together.

    Safe to use from several threads; of one kind, one value is made at a time. What alone is larger than the bound is
    made and not remembered.

    Args:
        most_bytes: the bound.

    Raises:
        ValueError: a bound below 0.
    """

    def __init__(self, most_bytes: int) -> None:
        if most_bytes < 0:
            raise ValueError(f"the memory's bound is {most_bytes} bytes; give 0 or more (`--memory`).")
        self.most_bytes = most_bytes
        self._values: OrderedDict[tuple[Hashable, str], tuple[Any, int]] = OrderedDict()
        self._lock = Lock()
        self._making: defaultdict[str, Lock] = defaultdict(Lock)

    @property
    def bytes(self) -> int:
        """Of all that is remembered, as last measured."""
        with self._lock:
            return sum(size for _, size in self._values.values())

    def get(self, owner: Hashable, kind: str, make: Callable[[], Value]) -> Value:
        """What is remembered, or what `make` returns.

        Args:
            owner: whose value it is, a volume.
            kind: which of its values.
            make: is called where there is none.
        """
        key = owner, kind
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            making = self._making[kind]
        with making:
            with self._lock:
                if key in self._values:  # another thread made it
                    return self._values[key][0]
            value = make()
            self._keep(key, value)
            return value

    def measure(self, owner: Hashable, kind: str) -> None:
        """Measures a value again that has grown since; it counts as used."""
        with self._lock:
            value, _ = self._values.get((owner, kind), (None, 0))
        if value is not None:
            self._keep((owner, kind), value)

    def forget(self, owner: Hashable) -> None:
        """Forgets all values of an owner."""
        with self._lock:
            for key in [key for key in self._values if key[0] == owner]:
                del self._values[key]

    def _keep(self, key: tuple[Hashable, str], value: Any) -> None:
        size = bytes_of(value)
        with self._lock:
            self._values[key] = value, size
            self._values.move_to_end(key)
            total = sum(size for _, size in self._values.values())
            while total > self.most_bytes:
                _, (_, freed) = self._values.popitem(last=False)
                total -= freed


def bytes_of(value: Any) -> int:
    """Bytes of the arrays, tensors and texts in a value, however deep; a network is not its own and counts nothing.

    >>> bytes_of({"a": np.zeros(4, np.int16), "b": [torch.zeros(2), "text"]})  # 4 * 2 + 2 * 4 + 4
    20
    """
    counted: set[int] = set()

    def count(part: Any) -> int:
        if part is None or isinstance(part, (bool, int, float, nn.Module)) or id(part) in counted:
            return 0
        counted.add(id(part))
        if isinstance(part, (np.ndarray, torch.Tensor)):
            return int(part.nbytes)
        if isinstance(part, (str, bytes)):
            return len(part)
        if isinstance(part, Mapping):
            return sum(count(inner) for inner in part.values())
        if isinstance(part, (list, tuple, set, frozenset)):
            return sum(count(inner) for inner in part)
        return sum(count(inner) for inner in getattr(part, "__dict__", {}).values())

    return count(value)
