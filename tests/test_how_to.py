"""The commands of the pages, verbatim, in a folder like the root of a clone, with small models and small sizes.

A block of commands that cannot run so says in the paragraph before it what it needs, or which test runs it.
"""

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from medvol_r1 import command_line
from medvol_r1.datasets.datalist import read_datalist
from medvol_r1.queries.own_targets import read_own_targets
from miniature_data_sets import save, save_pair, volume, write_abdomenct_1k, write_ct_org, write_kits23
from other_bundle import write_spleen_bundle
from PIL import Image
from tiny_models import save_random_models

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "bundle" / "docs"
# Their commands printed the numbers beside them, in minutes or days.
MEASUREMENTS = {"demo_models", "performance", "reproduction"}
# Their commands start servers: `pytest -m monailabel`, `pytest -m browser`, tests/web.
SERVERS = {"monai_label", "browser", "http_api"}
MARK = re.compile(r"\*\*(Needs|Tested by)\b")
# What a run costs; a setting on a command line stays as it is written there.
SMALL = {
    **{"num_slices": 16, "slice_size": 32, "lvlm_slice_size": 32, "max_new_tokens": 8, "picture": False},
    **{"max_steps": 2, "validate_every": 2, "checkpoint_every": 2, "rollouts_every": 100, "validation_volumes": 1},
    **{"batch_size": 1, "queries_per_volume": 2, "num_generations": 2, "epochs": 1, "epoch_length": 2},
    **{"bootstrap_samples": 20, "pictures": False, "questions_per_target": 1, "num_workers": 0, "loading_workers": 0},
}
OWN_LABELS = {1: 1, 2: 3, 3: 3, 4: 2}  # of phantoms: liver, kidneys; the spleen stands in for a gallbladder


def blocks(page):
    """The fenced blocks of a page: the paragraph before, the language, the lines."""
    pattern = r"((?:^.+\n)*)\n?^```(\w*)\n((?:(?!```).*\n)*)```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def commands(page):
    """The lines of a page that run without anything else."""
    for before, language, text in blocks(page):
        if not language and not MARK.search(before):
            yield from text.splitlines()


def json_lists(page):
    return [json.loads(text) for _, language, text in blocks(page) if language == "json"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_random_models(folder)
    return folder


@pytest.fixture
def root(tmp_path, models, monkeypatch):
    """What the commands find where they are typed."""
    bundle = tmp_path / "bundle"
    for path in (ROOT / "bundle" / "configs").rglob("*"):
        if path.suffix == ".json":
            config = json.loads(path.read_text(encoding="utf-8"))
            small = {key: value for key, value in SMALL.items() if key in config}
            written = bundle / path.relative_to(ROOT / "bundle")
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(config | small), encoding="utf-8")
    (bundle / "models").mkdir()
    there = [f"models/{name}" for name in ("qwen3vl_4b", "lingshu_7b", "median_prior.json")]
    for path in ("configs/logging.conf", "scripts", *there):
        (bundle / path).symlink_to(ROOT / "bundle" / path)
    for name, stand_in in {"lvlm": "lvlm", "lvlm_image": "lvlm", "medsam2": "medsam2"}.items():
        (bundle / "models" / name).symlink_to(models / stand_in)
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(command_line.program, "find_bundle", lambda: bundle)
    return tmp_path


def write_images(root):
    for number, name in enumerate(("ct", "ct_1", "ct_2", "folder/ct_3", "folder/ct_4")):
        image, label, affine = volume(number, "organs", OWN_LABELS)
        save_pair(root / f"{name}.nii.gz", root / f"{name}_labels.nii.gz", image, label, affine)
        if name == "ct_2":
            save(root / "ct_2_target.nii.gz", (label == 2).astype(np.uint8), affine)
        if name.startswith("folder"):
            (root / f"{name}_labels.nii.gz").unlink()
    (root / "questions.txt").write_text("the organ that makes bile\nthe spleen\n")
    (root / "my_settings.json").write_text(json.dumps({"num_anchors": 2}))
    entry = {"image": "ct_1.nii.gz", "label": "ct_1_labels.nii.gz", "label_values": [2], "query": "the spleen"}
    (root / "cases.json").write_text(json.dumps([entry | {"target": "spleen"}]))


def run(line, monkeypatch):
    """Runs a line as a shell would, in this process, which has made the slow imports; what installs is left out."""
    for command in line.split(" && "):
        program, *arguments = shlex.split(command)
        module = arguments[1] if arguments[:1] == ["-m"] else None
        if program == "cd":
            monkeypatch.chdir(arguments[0])
        elif program == "medvol-r1":
            command_line.main(arguments)
        elif program == "python" and module in ("pip", "pytest"):
            continue
        elif program == "python" and module and module.startswith(("monai.", "medvol_r1.")):
            monkeypatch.setattr(sys, "argv", [module, *arguments[2:]])
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            pytest.fail(f"{command!r} cannot run here; say what it **Needs** in the paragraph before")


def run_all(page, monkeypatch):
    for line in commands(page):
        with monkeypatch.context() as here:
            run(line, here)


def test_every_page_with_commands_is_run_here():
    pages = {page.stem.lower() for page in DOCS.glob("*.md") if any(commands(page))} - MEASUREMENTS - SERVERS
    assert pages == {name.removeprefix("test_") for name in globals() if name.removeprefix("test_") in pages}


def test_readme(root, monkeypatch):
    run_all(ROOT / "README.md", monkeypatch)
    with monkeypatch.context() as inside:
        inside.chdir("bundle")
        for name in ("cases.json", "ct_1.nii.gz", "ct_1_labels.nii.gz"):
            shutil.copy(root / name, name)
        run_all(DOCS / "README.md", inside)
    assert (root / "bundle/output/phantom_liver/phantom_liver_mask.nii.gz").is_file()
    assert (root / "output/ct/ct_mask.nii.gz").is_file()


def test_ask_your_ct(root, monkeypatch):
    page = DOCS / "ask_your_ct.md"
    run_all(page, monkeypatch)
    cases = {folder.name for folder in (root / "output").iterdir()}
    assert cases == {"ct", "ct_1", "ct_1_2", "ct_2", "ct_2_2", "ct_3", "ct_3_2", "ct_4", "ct_4_2"}
    listed, corrected = json_lists(page)
    (root / "listed.json").write_text(json.dumps(listed))
    run("medvol-r1 --datalist listed.json --output_dir listed", monkeypatch)
    (root / "corrected.json").write_text(json.dumps(corrected))
    run("medvol-r1 --datalist corrected.json --output_dir corrected", monkeypatch)
    evidence = json.loads((root / "corrected/ct/ct_evidence.json").read_text())
    assert evidence["corrected"] and evidence["status"] == "ok"


def test_medreasoner(root, monkeypatch):
    image, _, affine = volume(5, "organs", OWN_LABELS)
    for path in (root / "path/to/mr.nii.gz", root / "mr.nii.gz"):
        save(path, np.clip(image, 0, None), affine)
    run_all(DOCS / "medreasoner.md", monkeypatch)
    assert (root / "output/mr/mr_mask.nii.gz").is_file() and (root / "bundle/output/mr/mr_mask.nii.gz").is_file()


def test_terminal(root, monkeypatch):
    Image.fromarray(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)).save(root / "image.png")
    run_all(DOCS / "terminal.md", monkeypatch)
    assert (root / "output/image/image_mask.png").is_file()
    assert (root / "bundle/output/phantom_liver/phantom_liver_mask.nii.gz").is_file()


def test_own_targets(root, monkeypatch):
    page = DOCS / "own_targets.md"
    (root / "mydata").mkdir()
    for number in range(8):
        image, label, affine = volume(number, "organs", OWN_LABELS)
        names = (f"{folder}/case_{number}.nii.gz" for folder in ("images", "labels"))
        save_pair(*(root / "mydata" / name for name in names), image, label, affine)
    (table,) = re.findall(r"labels\.json +(\{.*\})", page.read_text(encoding="utf-8"))
    (root / "mydata/labels.json").write_text(table)
    (words,) = json_lists(page)
    (root / "mydata/queries.json").write_text(json.dumps(words))
    assert [own.target for own in read_own_targets(root / "mydata/queries.json")] == [
        "gallbladder",
        "kidney and masses",
    ]
    run_all(page, monkeypatch)
    asked = [case for name in ("training", "test") for case in read_datalist(root / f"prepared/mydata/{name}.json")]
    assert "gallbladder" in {case["target"] for case in asked}
    assert (root / "results/mydata/summary.md").is_file()


def test_train_on_kits23(root, monkeypatch):
    write_kits23(root / "kits23")
    run_all(DOCS / "train_on_kits23.md", monkeypatch)
    assert "DSC" in (root / "results/kits23/sft_rl/summary.md").read_text()


def test_benchmarking(root, monkeypatch):
    page = DOCS / "benchmarking.md"
    write_spleen_bundle(root / "spleen_ct_segmentation")
    (root / "systems.json").write_text(json.dumps(json_lists(page)[0]))
    run_all(page, monkeypatch)
    assert "spleen bundle" in (root / "benchmark/benchmark.md").read_text()


def test_answers(root, monkeypatch):
    run_all(DOCS / "answers.md", monkeypatch)
    evidence = json.loads((root / "bundle/output/phantom_liver/phantom_liver_evidence.json").read_text())
    assert sum(evidence["answers"].values()) == 8


def test_dicom(root, monkeypatch):
    files = pytest.importorskip("dicom_files", reason="needs the extra `dicom`")
    files.write_series(root / "path/to/series")
    run_all(DOCS / "dicom.md", monkeypatch)
    assert (root / "output/series/series_seg.dcm").is_file()


def test_evaluation(root, monkeypatch):
    ours, *_, compared = commands(DOCS / "evaluation.md")
    for name in ("results_a", "results_b"):
        run(f"{ours} --output_dir {name}", monkeypatch)  # of an option that is given twice, the last counts
    run_all(DOCS / "evaluation.md", monkeypatch)
    assert compared.endswith("--output difference.json") and json.loads((root / "difference.json").read_text())


def test_datasets(root, monkeypatch):
    write_kits23(root / "DIR")
    write_kits23(root / "kits23")
    write_ct_org(root / "CT-ORG")
    write_abdomenct_1k(root / "AbdomenCT-1K")
    run_all(DOCS / "datasets.md", monkeypatch)
    (joined,) = (text for _, language, text in blocks(DOCS / "datasets.md") if language == "python")
    exec(joined, {})
    assert {"kits23", "ct_org", "abdomenct_1k"} == {
        Path(case["label"]).parents[1].name for case in read_datalist(root / "training.json")
    }


def test_train(root, monkeypatch):
    entry = json.loads((root / "cases.json").read_text())
    for name in ("train.json", "validation.json"):
        (root / name).write_text(json.dumps(entry))
    run_all(DOCS / "train.md", monkeypatch)
    written = {path.parent.name for path in (root / "bundle/runs").glob("*/tensorboard")}
    assert written >= {"sft", "grpo"}


def test_real_weights(root, monkeypatch, capsys):
    run_all(DOCS / "real_weights.md", monkeypatch)
    assert "GiB" in capsys.readouterr().out
