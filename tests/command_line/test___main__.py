import runpy
import sys

import pytest


def test_the_package_runs_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command_line", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("medvol_r1.command_line", run_name="__main__")
    assert ended.value.code == 0 and "usage: medvol-r1 IMAGE" in capsys.readouterr().out
