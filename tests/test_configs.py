"""Every JSON under bundle/configs: what it names exists, fits its signature, and makes a complete workflow."""

import configparser
import inspect
import json
import re
from pathlib import Path

import pytest
import torch
from medvol_r1.datasets.demo_cases import write_demo_cases
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out, workflows
from monai.bundle.config_item import ComponentLocator
from monai.utils import optional_import
from tiny_models import save_random_models

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
CONFIGS = sorted(path for path in (BUNDLE / "configs").rglob("*.json") if path.name != "metadata.json")
# A config without a bundle_root is an overlay: its command says on top of what it runs.
WHOLE = [path for path in CONFIGS if "bundle_root" in json.loads(path.read_text())]
# MONAI's workflows have a network; preparing data has none.
WITHOUT_NETWORK = ["prepare.json"]


def name_of(path):
    return str(path.relative_to(BUNDLE / "configs"))


def command_of(config):
    """The command that a config's first key holds."""
    key = next(iter(config))
    assert key.startswith("_command"), f"the first key is {key!r}; begin with `_command_`, the command that runs it"
    return config[key] if isinstance(config[key], str) else " ".join(config[key])


def stack_of(path):
    """The config files that its command names, in order."""
    named = re.findall(r"configs/([\w/]+\.json)", command_of(json.loads(path.read_text())))
    files = [BUNDLE / "configs" / name for name in dict.fromkeys(named)]
    return [file for file in files if file in CONFIGS]


def components(config, path="config"):
    """(where, dictionary) of all components in a config."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield path, config
        for key, value in config.items():
            yield from components(value, f"{path}#{key}")
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from components(value, f"{path}#{index}")


pytestmark = pytest.mark.usefixtures("bundle_on_path")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of both models, in their real format."""
    folder = tmp_path_factory.mktemp("weights")
    save_random_models(folder)
    return folder


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_components_exist_and_fit_their_signatures(path):
    locator = ComponentLocator()
    for where, component in components(json.loads(path.read_text())):
        target = component["_target_"]
        if target.startswith(("$", "@")):
            continue
        found = locator.get_component_module_name(target)
        found = found[0] if isinstance(found, list) else found
        module, _, name = target.rpartition(".") if found is None else (found, ".", target)
        called, exists = optional_import(module, name=name)
        assert exists, f"{where}: there is no {target}"
        arguments = {key: value for key, value in component.items() if not (key.startswith("_") and key.endswith("_"))}
        try:
            signature = inspect.signature(called)
        except ValueError:
            continue
        if component.get("_mode_") in ("callable", "partial"):
            signature.bind_partial(**arguments)
        else:
            signature.bind(**arguments)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_the_command_of_a_config_runs_that_config(path):
    assert path in stack_of(path), f"the command of {path.name} does not name it"
    assert stack_of(path)[0] in WHOLE, f"the command of {path.name} must begin with a whole config"


@pytest.mark.parametrize("path", WHOLE, ids=name_of)
def test_configs_start_from_any_folder(path):
    # MONAI puts the bundle on the path only after `initialize`; imports of scripts come before that.
    for statement in json.loads(path.read_text()).get("imports", []):
        assert "scripts" not in statement, f"{path.name} imports {statement!r} before `initialize` makes it importable"


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_references_lead_somewhere(path):
    parser = ConfigParser()
    parser.read_config([str(file) for file in stack_of(path)])
    parser.read_meta(str(BUNDLE / "configs" / "metadata.json"))
    text = json.dumps([parser.config])
    for reference in set(re.findall(r"@([\w#]+)", re.sub(r'"_command_?": "[^"]*"', "", text))):
        assert reference.split("#")[0] in parser.config, f"{path.name} refers to @{reference}, which is not there"


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if path.parent == BUNDLE / "configs" and path.name not in WITHOUT_NETWORK],
    ids=name_of,
)
def test_check_properties_finds_nothing_missing(path, weights, tmp_path):
    assert missing_properties(stack_of(path), weights, tmp_path) == []


@pytest.mark.parametrize("on_top", [[], ["evaluate.json"]])
def test_the_overlay_of_the_papers_scale_fits_inference_too(on_top, weights, tmp_path):
    stack = [BUNDLE / "configs" / name for name in ("inference.json", "qwen3vl_4b.json", *on_top)]
    assert missing_properties(stack, weights, tmp_path) == []


def missing_properties(stack, weights, tmp_path):
    """`check_properties` of a stack of configs, made small; only keys that the configs have are overridden."""
    config = ConfigParser.load_config_files([str(file) for file in stack])
    kind = "train" if "train" in stack[0].stem else "infer"
    demo = write_demo_cases(tmp_path / "cases")
    small = {
        "output_dir": str(tmp_path),
        "device": "cpu",
        "lvlm_path": str(weights / "lvlm"),
        "medsam2_path": str(weights / "medsam2"),
        "init_path": str(weights / "medsam2"),
        "train_datalist": str(demo),
        "validation_datalist": str(demo),
        "max_steps": 2,
        "validation_volumes": 3,
        "random_volumes": 2,
        "phantom_volumes": 3,
    }
    workflow = ConfigWorkflow(
        [str(file) for file in stack],
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(BUNDLE),
        **{key: value for key, value in small.items() if key in config},
    )
    workflow.initialize()
    return workflow.check_properties()


def test_the_metadata_is_complete():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    required = (
        "schema version changelog monai_version pytorch_version numpy_version required_packages_version task "
        "description authors copyright network_data_format"
    ).split()
    assert set(required) <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    data_format = metadata["network_data_format"]
    assert next(iter(data_format["inputs"])) == "image" and next(iter(data_format["outputs"])) == "pred"
    tensor = "type format num_channels spatial_shape dtype value_range is_patch_data channel_def".split()
    assert set(tensor) <= set(data_format["inputs"]["image"]) and set(tensor) <= set(data_format["outputs"]["pred"])


def test_the_versions_of_the_metadata_are_the_tested_ones():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    lines = (BUNDLE.parent / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    for package, key in named.items():
        assert metadata[key] == tested[package]
    required = metadata["required_packages_version"]
    for package, version in required.items():
        assert version == tested[package], package
    setup = configparser.ConfigParser()
    setup.read(BUNDLE.parent / "setup.cfg", encoding="utf-8")
    installed = {re.match(r"[\w-]+", line)[0] for line in setup["options"]["install_requires"].split()}
    assert set(required) == installed - set(named)


def test_the_network_fits_the_metadata(weights):
    verify_net_in_out(
        "network_def",
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        config_file=str(BUNDLE / "configs" / "inference.json"),
        device="cpu",
        lvlm_path=str(weights / "lvlm"),
        lvlm_slice_size=32,
        max_new_tokens=4,
    )


def test_the_checkpoint_is_that_of_the_network():
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    state = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert set(state) == set(network.state_dict())
    network.load_state_dict(state)


def test_the_inference_config_stands_alone():
    # MONAI Label reads this file without overlays and takes these keys.
    config = json.loads((BUNDLE / "configs" / "inference.json").read_text())
    assert {"network_def", "preprocessing", "inferer", "postprocessing", "device", "bundle_root"} <= set(config)
    assert "displayable_configs" not in config, "a query there is evaluated, whoever sends it"
    assert "@query" not in json.dumps(config), "a query must never be referenced: the parser evaluates it"


def test_logging_is_accepted_by_monai():
    reject = getattr(workflows, "_reject_executable_logging_config", None)
    if reject is None:
        pytest.skip("this MONAI, before 1.6.1, takes any logging configuration")
    reject(str(BUNDLE / "configs" / "logging.conf"))
