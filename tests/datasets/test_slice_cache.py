import os
import threading

import pytest
import torch
from medvol_r1.datasets import slice_cache
from medvol_r1.datasets.slice_cache import SliceCache

SETTINGS = {"num_slices": 4, "window": [-160, 240]}


class Maker:
    """Counts how often the tensors are made."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"image": torch.full((2, 3), self.calls, dtype=torch.uint8), "labels": torch.arange(-3, 300)[None]}


@pytest.fixture
def files(tmp_path):
    for name in ("ct.nii", "label.nii"):
        (tmp_path / name).write_bytes(b"1234")
    return [str(tmp_path / name) for name in ("ct.nii", "label.nii")]


def test_what_is_kept_is_not_made_again(tmp_path, files):
    make = Maker()
    first = SliceCache(tmp_path / "new" / "cache").get(files, SETTINGS, make)
    again = SliceCache(str(tmp_path / "new" / "cache")).get(files, dict(reversed(SETTINGS.items())), make)
    assert make.calls == 1 and again.keys() == first.keys() == {"image", "labels"}
    for name, tensor in Maker()().items():
        assert torch.equal(first[name], tensor) and torch.equal(again[name], tensor)
        assert again[name].dtype == tensor.dtype
    (kept,) = (tmp_path / "new" / "cache").iterdir()
    assert kept.suffix == ".safetensors"


def test_without_a_folder_nothing_is_kept(files):
    make = Maker()
    cache = SliceCache(None)
    assert [cache.get(files, SETTINGS, make)["image"][0, 0].item() for _ in range(2)] == [1, 2]


def other_size(files):
    with open(files[0], "ab") as file:
        file.write(b"5")


def other_time(files):
    state = os.stat(files[1])
    os.utime(files[1], ns=(state.st_atime_ns, state.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [other_size, other_time])
def test_a_changed_file_is_read_again(tmp_path, files, change):
    make, cache = Maker(), SliceCache(tmp_path / "cache")
    cache.get(files, SETTINGS, make)
    change(files)
    assert cache.get(files, SETTINGS, make)["image"][0, 0] == 2


@pytest.mark.parametrize("change", [{"num_slices": 5}, {"window": [-160, 241]}, {"crop_to_body": True}])
def test_other_settings_make_other_tensors(tmp_path, files, change):
    make, cache = Maker(), SliceCache(tmp_path / "cache")
    cache.get(files, SETTINGS, make)
    cache.get(files, SETTINGS | change, make)
    cache.get(files, SETTINGS, make)
    assert make.calls == 2


def test_other_files_other_order_and_another_format(tmp_path, files, monkeypatch):
    make, cache = Maker(), SliceCache(tmp_path / "cache")
    for asked in (files, files[::-1], files[:1]):
        cache.get(asked, SETTINGS, make)
    assert make.calls == 3
    monkeypatch.setattr(slice_cache, "_FORMAT", slice_cache._FORMAT + 1)
    cache.get(files, SETTINGS, make)
    assert make.calls == 4


def test_a_folder_counts_with_its_files(tmp_path, files):
    """A DICOM series: one slice is exported anew, under its old name."""
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"1")
    make, cache = Maker(), SliceCache(tmp_path / "cache")
    cache.get([str(series)], SETTINGS, make)
    cache.get([str(series)], SETTINGS, make)
    assert make.calls == 1
    (series / "1.dcm").write_bytes(b"12")
    cache.get([str(series)], SETTINGS, make)
    assert make.calls == 2


@pytest.mark.parametrize("left", [0, 7, 100])
def test_a_cut_file_is_made_anew_with_a_warning(tmp_path, files, caplog, left):
    make, cache = Maker(), SliceCache(tmp_path / "cache")
    cache.get(files, SETTINGS, make)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:left])
    assert cache.get(files, SETTINGS, make)["image"][0, 0] == 2
    assert f"{kept} is damaged" in caplog.text
    assert cache.get(files, SETTINGS, make)["image"][0, 0] == 2


def test_what_fails_leaves_nothing_behind(tmp_path, files, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(slice_cache, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        SliceCache(tmp_path / "cache").get(files, SETTINGS, Maker())
    assert list((tmp_path / "cache").iterdir()) == []


def test_many_at_once_find_all_of_it_or_nothing(tmp_path, files):
    found = []

    def work():
        cache = SliceCache(tmp_path / "cache")
        found.extend(cache.get(files, SETTINGS, lambda: {"a": torch.ones(200, 200)})["a"].sum() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and set(map(float, found)) == {40000.0}
    assert len(list((tmp_path / "cache").iterdir())) == 1
