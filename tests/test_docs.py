"""The documents say what is there: commands, configs, modules, links, keys, examples."""

import ast
import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from medvol_r1.phantom.scan import SUBSETS
from medvol_r1.queries.bank import SPLITS, query_bank

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundle"
SCRIPTS = BUNDLE / "scripts"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = {
    path.relative_to(BUNDLE / "configs").as_posix(): json.loads(path.read_text(encoding="utf-8"))
    for path in (BUNDLE / "configs").rglob("*.json")
    if path.name != "metadata.json"
}
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(BUNDLE / "docs").rglob("*.md"),
        *(BUNDLE / "docs").glob("*.txt"),
        *(ROOT / "tests" / "golden").glob("*.md"),
    ]
)
MACHINE_PATH = re.compile(r"""(?:^|[\s`"'(=:])(/(?:work|tmp|home|root|mnt|data|Users)/\S*|[A-Z]:\\\S*|\.\./shared)""")
COMMANDS = (
    "python -m pip install -c constraints.txt -e . && "
    "python -m monai.bundle run --config_file bundle/configs/inference.json --bundle_root bundle",
    'python -m pip install -c constraints.txt -e ".[test]" && python -m pytest',
)
ENGINES = (
    "evaluator",
    "evaluation.evaluator",
    "training.sft",
    "training.grpo",
    "propagator_training.evaluator",
    "propagator_training.trainer",
)


def name_of(document):
    return str(document.relative_to(ROOT))


def module_name(path):
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)


MODULES = {module_name(path): path for path in SCRIPTS.rglob("*.py") if path.name != "__init__.py"}


def module_map():
    """Names of the modules in the order of the map: lines of four blanks, a name, two blanks or more, what it is."""
    docstring = ast.get_docstring(ast.parse((SCRIPTS / "__init__.py").read_text(encoding="utf-8")), clean=False)
    return re.findall(r"^    ([\w.]+)  +\S", docstring, flags=re.MULTILINE)


def imported_modules(path):
    """The modules of the package that a file names in its import statements, wherever these stand."""
    package = module_name(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            absolute = {alias.name for alias in node.names}
        else:
            absolute = {node.module} if isinstance(node, ast.ImportFrom) and not node.level else set()
        assert not any(re.match(r"(scripts|medvol_r1)\b", name or "") for name in absolute), f"{path}: not relative"
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) + 1 - node.level]
            start = ".".join([*above, *([node.module] if node.module else [])])
            found |= {start} if start in MODULES else {f"{start}.{alias.name}".lstrip(".") for alias in node.names}
    return found


# README -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=("run", "test"))
def test_each_of_the_two_commands_is_alone_in_a_block(command):
    assert README.count(f"\n```\n{command}\n```\n") == 1


def test_the_continuous_integration_finds_the_test_command():
    assert re.findall(r"^python -m pip install .* && python -m pytest.*$", README, flags=re.MULTILINE) == [COMMANDS[1]]


def test_readme_lists_the_configs_that_there_are():
    table = re.findall(r"^\| `([\w/]+\.json)` \|", README, flags=re.MULTILINE)
    assert sorted(table) == sorted(CONFIGS)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_readme_gives_the_command_of_each_config(name):
    command = CONFIGS[name]["_command_"].split("  (")[0]
    if name.startswith("ablations/"):  # one stands for all
        command = command.replace(name, "ablations/no_rs.json")
    assert command in README


def test_readme_explains_every_key_of_the_evidence():
    tree = ast.parse((SCRIPTS / "report" / "case_writer.py").read_text(encoding="utf-8"))
    record = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_record")
    returned = next(node for node in ast.walk(record) if isinstance(node, ast.Return)).value
    written = {key.value for key in returned.keys}
    table = README.split("| key of the evidence | meaning |")[1].split("\n\n")[0]
    explained = {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.strip("| ").split(" | ")[0])}
    assert explained == written


def test_options_of_the_commands_in_readme_are_keys_of_their_configs():
    """`--name` in a `monai.bundle run` line is an argument of MONAI or a plain key of one of the line's configs."""
    monai = {"config_file", "bundle_root", "init_id", "run_id"}
    lines = [line for line in README.splitlines() if "python -m monai.bundle run" in line and "configs/" in line]
    assert len(lines) > 5
    for line in lines:
        keys = {key for name in re.findall(r"configs/([\w/]+\.json)", line) for key in CONFIGS[name]}
        assert set(re.findall(r"--(\w+)", line)) <= keys | monai, line


# The map of the modules ---------------------------------------------------------------------------------------------


def test_the_map_names_every_module_once():
    assert sorted(module_map()) == sorted(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_up_the_map(name):
    names = module_map()
    above = set(names[: names.index(name)])
    assert imported_modules(MODULES[name]) <= above


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_imports_an_engine(engine):
    assert [name for name, path in MODULES.items() if engine in imported_modules(path)] == []


@pytest.mark.parametrize("leaf", ("anchor", "metrics"))
def test_leaves_import_nothing_of_ours(leaf):
    assert imported_modules(MODULES[leaf]) == set()


# All documents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_to_files(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    broken = [target for target in targets if not (document.parent / target.split("#")[0]).exists()]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_document_names_a_path_of_one_machine(document):
    assert MACHINE_PATH.findall(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_scripts_and_tests_that_documents_run_exist(document):
    text = document.read_text(encoding="utf-8")
    for module in re.findall(r"python -m medvol_r1\.([\w.]+)", text):
        assert module in MODULES
    for path in re.findall(r"python ((?:benchmarks|tests)/[\w/]+\.py)", text):
        assert (ROOT / path).is_file()


def test_the_model_zoos_sections_are_there():
    text = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE))
    assert sections >= {
        "Model Overview", "Authors", "Tags", "Model Description", "Data", "Performance", "Additional Usage Steps",
        "System Configuration", "Limitations", "Citation", "References", "License",
    }  # fmt: skip


def test_one_version_everywhere():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    version = setup["metadata"]["version"]
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"] == version and version in metadata["changelog"]
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_map_of_the_paper_names_files_and_keys_that_exist():
    text = (BUNDLE / "docs" / "paper_map.md").read_text(encoding="utf-8")
    rows = [line[1:-1].split("|") for line in text.splitlines() if re.match(r"\| (Sec|Table)", line)]
    assert len(rows) > 20
    for _, files, keys, *_ in rows:
        named = [name.replace("/", ".") for name in re.findall(r"`([\w/]+)\.py`", files)]
        assert set(named) <= set(MODULES)
        assert named or "not built yet" in files or "not reproduced" in files
        # `name.py` (`function`, ...)
        for file, functions in re.findall(r"`([\w/]+\.py)` \(((?:`\w+`(?:, )?)+)", files):
            source = (SCRIPTS / file).read_text(encoding="utf-8")
            assert all(f"def {function}(" in source for function in re.findall(r"`(\w+)`", functions))
        for config, key in re.findall(r"`(\w+\.json): (\w+)`", keys):
            assert key in CONFIGS[config]


def test_the_examples_of_queries_are_in_the_bank():
    text = (BUNDLE / "docs" / "queries.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"^\| ([A-G]) \|.*\| `(.+)` \|$", text, flags=re.MULTILINE))
    assert set(examples) == set("ABCDEFG")
    for kind, example in examples.items():
        banks = (query_bank(subset, split, [kind]) for subset in SUBSETS for split in SPLITS)
        assert any(query.text == example for bank in banks for query in bank), example
