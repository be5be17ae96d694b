"""The documents say what is there: commands, configs, modules, links, keys, examples."""

import ast
import json
import re
from configparser import ConfigParser
from itertools import groupby
from pathlib import Path

import pytest
from medvol_r1.phantom.scan import SUBSETS
from medvol_r1.queries.bank import query_bank
from medvol_r1.queries.wording import SPLITS

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundle"
DOCS = BUNDLE / "docs"
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
        *DOCS.rglob("*.md"),
        *DOCS.glob("*.txt"),
        *(ROOT / "tests" / "golden").glob("*.md"),
    ]
)
MACHINE_PATH = re.compile(r"""(?:^|[\s`"'(=:])(/(?:work|tmp|home|root|mnt|data|Users)/\S*|[A-Z]:\\\S*|\.\./shared)""")
COMMANDS = (
    "python -m pip install -c constraints.txt -e . && "
    "python -m monai.bundle run --config_file bundle/configs/inference.json --bundle_root bundle",
    'python -m pip install -c constraints.txt -e ".[test]" && python -m pytest -n auto',
)
ENGINES = (
    "evaluator",
    "evaluation.evaluator",
    "training.sft",
    "training.grpo",
    "training.trl_engine",
    "propagator_training.evaluator",
    "propagator_training.trainer",
)


def name_of(document):
    return str(document.relative_to(ROOT))


def page(name):
    """The text of a page of bundle/docs."""
    return (DOCS / name).read_text(encoding="utf-8")


def command_of(config):
    """The command in a config's first key, without what is said about it."""
    return config["_command_"].split("  (")[0]


def module_name(path):
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)


MODULES = {module_name(path): path for path in SCRIPTS.rglob("*.py") if path.name != "__init__.py"}
PACKAGES = sorted(module_name(path.parent) for path in SCRIPTS.rglob("*/__init__.py"))
RE_EXPORTED = {  # of a name that a package gives, as `anchor.EvidenceAnchor`, the module that it comes from
    f"{package}.{alias.name}": f"{package}.{node.module}"
    for package in PACKAGES
    for node in ast.walk(ast.parse((SCRIPTS / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
INFERENCE = {
    "command_line", "datasets.cases", "datasets.datalist", "datasets.volume_cases", "evaluator", "images", "inferer",
    "lvlm", "medsam2", "prompt_masks", "propagation", "report", "self_consistency", "service", "volume", "web",
}  # fmt: skip
NOT_FOR_INFERENCE = {"benchmark", "demo_models", "evaluation", "phantom", "propagator_training", "queries", "training"}


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
            names = {f"{start}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {start} if start in MODULES else {RE_EXPORTED.get(name, name) for name in names}
    return found


# README -------------------------------------------------------------------------------------------------------------


def test_readme_is_a_page_not_a_manual():
    assert len(README.encode()) <= 8000, "what is more than a start belongs in bundle/docs"


@pytest.mark.parametrize("command", COMMANDS, ids=("run", "test"))
def test_each_of_the_two_commands_is_alone_in_a_block(command):
    assert README.count(f"\n```\n{command}\n```\n") == 1


def test_the_continuous_integration_finds_the_test_command():
    assert re.findall(r"^python -m pip install .* && python -m pytest.*$", README, flags=re.MULTILINE) == [COMMANDS[1]]


# Pages of bundle/docs -----------------------------------------------------------------------------------------------


def test_the_index_links_every_page():
    index = page("README.md")
    assert [
        name.name for name in DOCS.glob("*.md") if name.name != "README.md" and f"]({name.name})" not in index
    ] == []


def test_the_table_of_configs_says_what_each_runs_on_top_of():
    rows = [row[2:-2].split(" | ") for row in page("configs.md").splitlines() if row.startswith("| `")]
    told = {config.strip("`"): re.findall(r"`([\w/]+\.json)`", below) for config, below, *_ in rows if "json" in config}
    stacks = {name: re.findall(r"configs/([\w/]+\.json)", command_of(config)) for name, config in CONFIGS.items()}
    assert told == {name: stack[: stack.index(name)] for name, stack in stacks.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_the_command_of_each_config_stands_in_a_page(name):
    command = command_of(CONFIGS[name])
    if name.startswith("ablations/"):  # one stands for all
        command = command.replace(name, "ablations/no_rs.json")
    assert any(command in document.read_text(encoding="utf-8") for document in DOCUMENTS)


def test_every_key_of_the_evidence_is_explained():
    tree = ast.parse((SCRIPTS / "report" / "evidence_record.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    record = functions["evidence_record"]
    returned = next(node for node in ast.walk(record) if isinstance(node, ast.Return)).value
    written = {key.value for key in returned.keys}
    table = page("ask_your_ct.md").split("| key of the evidence | meaning |")[1].split("\n\n")[0]
    explained = {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.strip("| ").split(" | ")[0])}
    assert explained == written


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_options_of_commands_are_keys_of_their_configs(document):
    """`--name` in a `monai.bundle run` line is an argument of MONAI or a plain key of one of the line's configs."""
    monai = {"config_file", "bundle_root", "init_id", "run_id"}
    for line in document.read_text(encoding="utf-8").splitlines():
        if "python -m monai.bundle run" in line and "configs/" in line:
            named = [name for name in re.findall(r"configs/([\w/]+\.json)", line) if name in CONFIGS]
            keys = {key for name in named for key in CONFIGS[name]}
            assert set(re.findall(r"--(\w+)", line)) <= keys | monai, line


def test_the_commands_that_options_are_looked_up_for_are_found():
    found = [line for line in page("train.md").splitlines() if "python -m monai.bundle run" in line]
    assert len(found) > 10 and sum("--" in line for line in found) == len(found)


# The map of the modules ---------------------------------------------------------------------------------------------


def test_the_map_names_every_module_once():
    assert sorted(module_map()) == sorted(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_up_the_map(name):
    names = module_map()
    above = set(names[: names.index(name)])
    assert imported_modules(MODULES[name]) <= above


def room_of(name):
    """The package of a module; a module outside all packages is a room of its own."""
    return name.split(".")[0]


def test_a_package_imports_only_rooms_above_it():
    """The map holds each package in one piece, so "above" has a meaning, and no import closes a circle of packages."""
    rooms = [room_of(name) for name in module_map()]
    order = list(dict.fromkeys(rooms))
    assert [room for room, _ in groupby(rooms)] == order, "a package's lines stand together in the map"
    for name, path in MODULES.items():
        room = room_of(name)
        others = {room_of(imported) for imported in imported_modules(path)} - {room}
        assert others <= set(order[: order.index(room)]), name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_re_exports_only_its_own(package):
    imported = imported_modules(SCRIPTS / package.replace(".", "/") / "__init__.py")
    assert {name.rpartition(".")[0] for name in imported} <= {package}


@pytest.mark.parametrize("folder", ["", *PACKAGES])
def test_no_folder_of_code_is_crowded(folder):
    assert len(list((SCRIPTS / folder.replace(".", "/")).glob("*.py"))) <= 17, "make a room (CONTRIBUTING.md)"


def reached_from(name):
    """The modules that an import of one runs, itself included, and those of the packages on the way."""
    reached, todo = set(), [name]
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += imported_modules(MODULES[module])
            parents = (MODULES[module].parents[up] / "__init__.py" for up in range(module.count(".")))
            todo += [imported for parent in parents for imported in imported_modules(parent)]
    return reached


@pytest.mark.parametrize("name", [name for name in MODULES if name in INFERENCE or room_of(name) in INFERENCE])
def test_the_way_of_inference_knows_no_phantoms_training_or_evaluation(name):
    assert [module for module in sorted(reached_from(name)) if room_of(module) in NOT_FOR_INFERENCE] == []


def test_each_module_has_its_test_file():
    tests = {name: path.relative_to(SCRIPTS).with_name(f"test_{path.name}") for name, path in MODULES.items()}
    assert [name for name, test in tests.items() if not (ROOT / "tests" / test).is_file()] == []


def test_setup_installs_every_package():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options"]["packages"].split()
    assert sorted(listed) == ["medvol_r1", *(f"medvol_r1.{package}" for package in PACKAGES)]


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_imports_an_engine(engine):
    assert [name for name, path in MODULES.items() if engine in imported_modules(path)] == []


@pytest.mark.parametrize("leaf", ("anchor", "metrics"))
def test_leaves_import_nothing_of_ours(leaf):
    own = {name: path for name, path in MODULES.items() if room_of(name) == leaf}
    assert own and all(imported_modules(path) <= set(own) for path in own.values())


# All documents ------------------------------------------------------------------------------------------------------


def link_is_good(document, target):
    """Whether a relative link leads to a file, and its `#anchor` to a heading there, as GitHub names headings."""
    path, _, anchor = target.partition("#")
    file = document.parent / path if path else document
    if not anchor or not file.is_file():
        return file.exists() and not anchor
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_to_files_and_headings(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if not link_is_good(document, target)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_document_names_a_path_of_one_machine(document):
    assert MACHINE_PATH.findall(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_programs_that_documents_run_exist_and_have_the_options(document):
    """`python -m medvol_r1.<module> --option` and `python benchmarks/<name>.py --option`."""
    for line in document.read_text(encoding="utf-8").splitlines():
        for module, options in re.findall(r"python -m medvol_r1\.([\w.]+)([^`|;]*)", line):
            source = MODULES[module].read_text(encoding="utf-8")
            assert all(f'"{option}"' in source for option in re.findall(r"--\w+", options)), line
        for path, options in re.findall(r"python ((?:benchmarks|tests)/[\w/]+\.py)([^`|;]*)", line):
            source = (ROOT / path).read_text(encoding="utf-8")
            assert all(f'"{option}"' in source for option in re.findall(r"--\w+", options)), line


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=name_of)
def test_code_that_documents_name_by_its_path_exists(document):
    named = re.findall(
        r"\b((?:scripts|configs|benchmarks|tests)/[a-z0-9_/]+\.(?:py|json))\b", document.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).is_file() and not (BUNDLE / name).is_file()] == []


def test_code_that_contributing_names_exists():
    """`package.module`, `package.module.Name` and `module.Name`."""
    for name in re.findall(r"`([a-z]\w*\.[\w.]+\w)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        parts = name.split(".")
        if room_of(name) in PACKAGES or room_of(name) in MODULES:
            module = next((head for n in (3, 2, 1) if (head := ".".join(parts[:n])) in MODULES), None)
            assert module, f"{name} is no module"
            for defined in parts[module.count(".") + 1 :]:
                source = MODULES[module].read_text(encoding="utf-8")
                assert re.search(rf"^(class|def) {defined}\b", source, flags=re.MULTILINE), name


def test_the_model_zoos_sections_are_there():
    text = page("README.md")
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
    text = page("paper_map.md")
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
    text = page("queries.md")
    examples = dict(re.findall(r"^\| ([A-G]) \|.*\| `(.+)` \|$", text, flags=re.MULTILINE))
    assert set(examples) == set("ABCDEFG")
    for kind, example in examples.items():
        banks = (query_bank(subset, split, [kind]) for subset in SUBSETS for split in SPLITS)
        assert any(query.text == example for bank in banks for query in bank), example
