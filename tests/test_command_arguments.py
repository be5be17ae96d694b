import json
import re
from pathlib import Path

import pytest
from hostile_text import HOSTILE
from medvol_r1.command_arguments import PATH_OPTIONS, argument_text, literal, restore_paths
from monai.bundle import ConfigParser

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "bundle" / "configs").rglob("*.json"))


def test_the_last_of_repeated_arguments_counts():
    assert argument_text(["--query", "a", "--query=b"], "query") == "b"
    assert argument_text(["--query"], "query") is None
    assert argument_text(["--queryx=1"], "query") is None


def test_dashes_may_stand_for_underscores():
    assert argument_text(["--output-dir", "a"], "output_dir") == "a"
    assert argument_text(["--output-dir=a-b"], "output_dir") == "a-b"


@pytest.mark.parametrize("text", [*HOSTILE, "$HOME", "%x", "@seed", "a#b", "$import os", "\udc80"])
def test_a_literal_is_the_text_to_monais_parser(text):
    parser = ConfigParser({"path": literal(text), "seed": 3, "joined": "$@path + '/demo'"})
    assert parser.get_parsed_content("path") == text
    assert parser.get_parsed_content("joined") == text + "/demo"


def test_only_paths_are_restored_and_only_those_that_were_given():
    resolved = {"output_dir": 20240501, "seed": 5}
    arguments = ["run", "--output_dir", "2024_05_01", "--seed", "0005", "--lvlm_path", "--medsam2_path=a,b"]
    restore_paths(resolved, arguments)
    assert resolved == {"output_dir": "2024_05_01", "seed": 5, "medsam2_path": "a,b"}


def test_several_adapters_stay_a_list():
    resolved = {"lvlm_adapter": ["a/lvlm", "b/lvlm"]}
    restore_paths(resolved, ["run", "--lvlm_adapter", "['a/lvlm','b/lvlm']"])
    assert resolved == {"lvlm_adapter": ["a/lvlm", "b/lvlm"]}
    restore_paths(resolved, ["run", "--lvlm_adapter", "2024_05_01"])
    assert resolved == {"lvlm_adapter": "2024_05_01"}


def test_the_arguments_of_another_program_are_not_read(monkeypatch):
    monkeypatch.setattr("sys.argv", ["my_script.py", "--output_dir", "elsewhere"])
    resolved = {}
    restore_paths(resolved)
    assert resolved == {}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_path_of_a_config_is_known(config):
    keys = {key for key in json.loads(config.read_text()) if re.search(r"(_dir|_path|datalist|_from|_adapter)$", key)}
    assert keys <= set(PATH_OPTIONS)


@pytest.mark.parametrize("config", [path for path in CONFIGS if "initialize" in json.loads(path.read_text())])
def test_paths_are_restored_before_anything_refers_to_one(config):
    content = json.loads(config.read_text())
    steps = content["setup"] if "setup" in content else content["initialize"]
    assert steps[0] == "$sys.path.insert(0, @bundle_root)"
    assert steps[1]["_target_"] == "scripts.command_arguments.restore_paths"
