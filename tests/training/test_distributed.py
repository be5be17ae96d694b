"""One process trains."""

import pytest
from medvol_r1.training.distributed import require_single_process


def test_one_process_trains(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    require_single_process()
    monkeypatch.setenv("WORLD_SIZE", "1")
    require_single_process()


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2: .* write one folder. .* without torchrun"):
        require_single_process()
