"""The model zoo's steps: on the bundle as it is they pass, and each finds what it is there for."""

import json
import sys
from pathlib import Path

import pytest
from monai.bundle import download_large_files, scripts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import zoo_check  # noqa: E402

BUNDLE = zoo_check.BUNDLE


@pytest.fixture(autouse=True)
def same_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def schema(tmp_path):
    """Of what the zoo requires; its own is on the network."""
    required = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    required += ["task", "description", "authors", "copyright", "network_data_format"]
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "object", "required": required}))
    return path


def rows_of(printed):
    """step -> (result, detail)"""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()[2:]]
    return {step: (result, detail) for step, result, detail in cells}


def test_the_bundle_passes(schema, capsys):
    assert zoo_check.main(["--schema", str(schema), "--configs", "inference.json", "benchmark.json"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert {step for step, (result, _) in rows.items() if result == "not run"} == {
        "TorchScript export",
        "run benchmark.json",
    }
    assert rows["run inference.json"] == ("ok", "inference.json: properties complete, ran, 8 files")


def test_a_failure_is_a_row_and_the_exit_status(schema, tmp_path, monkeypatch, capsys):
    metadata = json.loads(zoo_check.METADATA.read_text())
    del metadata["task"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata | {"version": "9.9"}))
    monkeypatch.setattr(zoo_check, "METADATA", tmp_path / "metadata.json")
    monkeypatch.setattr(zoo_check, "REQUIRED", ["LICENSE", "models/absent.pt"])
    monkeypatch.setattr(zoo_check, "LARGEST_BYTES", 1_000_000)
    assert zoo_check.main(["--schema", str(schema), "--configs"]) == 1
    rows = rows_of(capsys.readouterr().out)
    failed = {step: detail for step, (result, detail) in rows.items() if result == "failed"}
    assert failed.pop("files") == f"FileNotFoundError: not in {BUNDLE}: models/absent.pt"
    assert failed.pop("file sizes").endswith("at most 25 MB, more goes to large_files.yml")
    assert failed.pop("version in changelog") == "ValueError: version 9.9 is not in the changelog of metadata.json"
    assert failed.pop("verify_metadata").startswith("ValidationError: 'task' is a required property")
    assert failed == {}


def test_what_is_not_here_is_named_by_its_config():
    assert zoo_check.NOT_HERE.keys() <= set(zoo_check.all_configs())
    with pytest.raises(zoo_check.NotRun, match="needs a served model; tests/served_lvlm"):
        zoo_check.check_config("served_lvlm.json")


def test_the_list_of_the_real_weights_is_one_that_monai_downloads_to_where_the_configs_look(monkeypatch):
    downloaded = {}
    monkeypatch.setattr(scripts, "download_url", lambda url, filepath, **hashes: downloaded.update({filepath: hashes}))
    download_large_files(str(BUNDLE))
    files = {str(Path(path).relative_to(BUNDLE)): hashes for path, hashes in downloaded.items()}
    qwen = {name.split("/")[2] for name in files if name.startswith("models/Qwen3-VL-4B-Instruct/")}
    assert {"config.json", "chat_template.json", "tokenizer.json", "model.safetensors.index.json"} <= qwen
    assert "models/MedSAM2_latest.pt" in files
    shards = [hashes for name, hashes in files.items() if name.endswith("-of-00002.safetensors")]
    assert [(h["hash_type"], len(h["hash_val"])) for h in shards] == [("sha256", 64)] * 2
