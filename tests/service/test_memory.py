from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import NamedTuple

import numpy as np
import pytest
import torch
from medvol_r1.service.memory import Memory, bytes_of
from torch import nn


def block(size):
    return np.zeros(size, np.uint8)


def test_a_value_is_made_once():
    memory, made = Memory(100), []
    for _ in range(3):
        assert memory.get("a", "x", lambda: made.append(1) or block(10)) is memory.get("a", "x", lambda: None)
    assert made == [1] and memory.bytes == 10


def test_what_was_used_longest_ago_goes_first():
    memory = Memory(30)
    for owner in "abc":
        memory.get(owner, "x", lambda: block(10))
    memory.get("a", "x", lambda: None)  # used: b is the oldest now
    memory.get("d", "x", lambda: block(10))
    assert memory.bytes == 30
    made = [memory.get(owner, "x", lambda: "made anew") is not None for owner in "acd"]
    assert made == [True] * 3 and memory.get("b", "x", lambda: "made anew") == "made anew"


def test_what_is_larger_than_the_bound_is_made_and_not_kept():
    memory = Memory(30)
    memory.get("a", "x", lambda: block(10))
    assert memory.get("b", "x", lambda: block(31)).size == 31
    assert memory.bytes <= 30
    assert memory.get("b", "x", lambda: "again") == "again"


def test_what_has_grown_is_measured_again():
    memory, grows = Memory(30), {"first": block(5)}
    memory.get("a", "x", lambda: block(10))
    memory.get("b", "x", lambda: grows)
    grows["more"] = block(20)
    assert memory.bytes == 15
    memory.measure("b", "x")
    assert memory.bytes == 25, "that of a went"
    memory.measure("nobody", "x")
    assert memory.bytes == 25


def test_all_of_an_owner_is_forgotten():
    memory = Memory(100)
    for owner, kind in (("a", "x"), ("a", "y"), ("b", "x")):
        memory.get(owner, kind, lambda: block(10))
    memory.forget("a")
    assert memory.bytes == 10


def test_threads_that_want_the_same_make_it_once():
    memory, made, start = Memory(100), [], Barrier(4)

    def get(_):
        start.wait()
        return memory.get("a", "x", lambda: made.append(1) or block(10))

    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(get, range(4)))
    assert made == [1] and all(value is values[0] for value in values)


def test_a_failure_is_not_remembered():
    memory = Memory(100)
    with pytest.raises(ZeroDivisionError):
        memory.get("a", "x", lambda: 1 / 0)
    assert memory.get("a", "x", lambda: 5) == 5


def test_a_bound_below_zero_is_refused():
    with pytest.raises(ValueError, match="-1 bytes"):
        Memory(-1)


class Pair(NamedTuple):
    first: torch.Tensor
    second: list


@dataclass
class Held:
    pair: Pair
    network: nn.Module
    text: str = "abc"


def test_bytes_are_counted_however_deep():
    tensor = torch.zeros(4, dtype=torch.float16)  # 8 bytes
    held = Held(Pair(tensor, [np.zeros(3), tensor, None, 7]), nn.Linear(100, 100))  # 24; the tensor counts once
    assert bytes_of(held) == 8 + 24 + 3
    assert bytes_of({"loop": held, "again": held}) == 35
