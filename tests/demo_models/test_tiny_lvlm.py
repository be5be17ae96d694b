"""The untrained model that configs write for themselves."""

import pytest
from medvol_r1.demo_models import tiny_lvlm
from medvol_r1.demo_models.tiny_lvlm import (
    CHANNEL_RANGES,
    build_tiny_lvlm,
    build_tokenizer,
    ensure_tiny_lvlm,
    tiny_config,
)


@pytest.fixture
def quick(monkeypatch):
    """Builds a folder of small files instead of a model, in the order in which transformers writes them."""
    built = []

    def build(output_dir, *, image_size, patch_size, seed, channel_ranges):
        output_dir.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if len(built) == 0 and name == "model.safetensors":
                built.append("interrupted")
                raise KeyboardInterrupt
            (output_dir / name).write_text(f"{image_size} {patch_size} {seed}")
        built.append(output_dir)
        return output_dir

    monkeypatch.setattr(tiny_lvlm, "build_tiny_lvlm", build)
    return built


def test_an_interrupted_write_does_not_block_the_next_run(quick, tmp_path):
    folder = tmp_path / "runs" / "model"
    with pytest.raises(KeyboardInterrupt):
        ensure_tiny_lvlm(folder, image_size=96, patch_size=8)
    assert list(folder.parent.iterdir()) == []  # neither a half model nor what was written beside it
    for _ in range(2):
        assert ensure_tiny_lvlm(folder, image_size=96, patch_size=8, seed=1) == str(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert (folder / "tokenizer.json").read_text() == "96 8 1"
    assert len(quick) == 2  # the interrupted one, and one


def test_what_else_lies_in_the_folder_is_not_overwritten(quick, tmp_path):
    quick.append("no interruption")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match=tmp_path.name):
        ensure_tiny_lvlm(tmp_path, image_size=96, patch_size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_model_that_sees_colours_makes_no_channels_of_its_own():
    tokenizer = build_tokenizer(["the mole"], vocabulary_size=2500)
    assert tiny_config(tokenizer, channel_ranges=None).vision_config.channel_ranges is None
    assert tiny_config(tokenizer).vision_config.channel_ranges is CHANNEL_RANGES


def test_sizes_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"a multiple of 2 \* patch_size = 16, got 90"):
        build_tiny_lvlm(tmp_path / "model", image_size=90)
