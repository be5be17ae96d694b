"""One image after the other through another bundle; in this process, which `bundle_runner` would have started."""

import json
import sys

import pytest
from medvol_r1.benchmark.bundle_process import run_job

CONFIG = {
    "imports": ["$import pathlib"],
    "output_dir": "nowhere",
    "dataset": {"data": [], "note": "none"},
    "run": [
        "$1 / 0 if 'broken' in @dataset#data#0#image else None",
        "$pathlib.Path(@output_dir, 'mask.txt').write_text(str(@dataset#data#0) + @dataset#note)",
    ],
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the images by name; returns the folder of the results."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "inference.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run_images(*names):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        run_job(
            {
                "bundle": str(tmp_path / "bundle"),
                "config_files": ["configs/inference.json"],
                "overrides": {"dataset#note": " overridden"},
                "item": {"label_prompt": 1},
                "images": [
                    {"image": f"{name}.nii", "folder": str(out / name), "failure": str(out / f"{name}.failure.json")}
                    for name in names
                ],
            }
        )
        return out

    return run_images


def test_each_image_has_a_folder_with_what_the_bundle_saved(run):
    out = run("a", "b")
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]
    assert (out / "b" / "mask.txt").read_text() == "{'image': 'b.nii', 'label_prompt': 1} overridden"


def test_an_image_that_fails_leaves_a_note_and_the_next_ones_are_done(run, capsys):
    out = run("a", "broken", "c")
    assert (out / "a" / "mask.txt").is_file() and (out / "c" / "mask.txt").is_file() and not (out / "broken").exists()
    note = json.loads((out / "broken.failure.json").read_text())
    assert note["reason"] == "bundle_error" and note["message"].startswith("RuntimeError: Failed to evaluate")
    assert "ZeroDivisionError" in capsys.readouterr().err, "the log has the whole error"


def test_the_note_stands_while_an_image_is_worked_on(run, tmp_path, monkeypatch):
    def end(job, image, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("medvol_r1.benchmark.bundle_process._infer", end)
    with pytest.raises(KeyboardInterrupt):
        run("a")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.failure.json", "a.unfinished"]
