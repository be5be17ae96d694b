import os

import pytest
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.studies_folder import StudiesFolder


@pytest.fixture
def folder(tmp_path):
    """Studies, beside a secret that must not be reached."""
    studies = tmp_path / "studies"
    (studies / "chest" / "series").mkdir(parents=True)
    for name in ("ct.nii.gz", "chest/CT.NII", "notes.txt", ".hidden.nii"):
        (studies / name).write_bytes(b"content")
    for name in ("1.dcm", "2.dcm"):
        (studies / "chest" / "series" / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "secret.nii.gz").write_bytes(b"secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a.dcm").write_bytes(bytes(128) + b"DICM")
    return StudiesFolder(studies)


def refused(folder, path):
    with pytest.raises(ServiceError, match="there is no study") as caught:
        folder.path_of(path)
    assert caught.value.reason == "unknown_path"
    return str(caught.value)


def test_volumes_and_series_are_listed(folder):
    assert [tuple(one) for one in folder.available()] == [
        ("chest/CT.NII", "CT.NII", "nifti"),
        ("chest/series", "series", "dicom"),
        ("ct.nii.gz", "ct.nii.gz", "nifti"),
    ]


def test_what_is_listed_can_be_opened(folder):
    for available in folder.available():
        assert folder.path_of(available.path) == folder.root / available.path


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../secret.nii.gz", "chest/../../secret.nii.gz", "nothing.nii.gz", "notes.txt", "ct.nii.gz\0",
     "ct.nii.gz/../../secret.nii.gz", "x" * 100_000, "~/secret.nii.gz", "$HOME", "..\\secret.nii.gz", "%2e%2e/secret"],
)  # fmt: skip
def test_nothing_else_can(folder, path):
    message = refused(folder, path)
    assert str(folder.root) not in message and len(message) < 500


def test_absolute_paths_are_refused(folder):
    refused(folder, str(folder.root / "ct.nii.gz"))
    refused(folder, "/etc/passwd")


def test_links_out_are_refused_and_not_listed(folder, tmp_path):
    root = folder.root
    (root / "out.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    (root / "out").symlink_to(tmp_path / "secrets")
    (root / "in.nii.gz").symlink_to(root / "ct.nii.gz")
    os.link(root / "chest" / "series" / "1.dcm", root / "chest" / "series" / "3.dcm")
    assert {one.path for one in folder.available()} == {"chest/CT.NII", "chest/series", "ct.nii.gz", "in.nii.gz"}
    for path in ("out.nii.gz", "out", "out/a.dcm"):
        refused(folder, path)
    assert folder.path_of("in.nii.gz") == root / "ct.nii.gz"


def test_a_series_with_a_link_out_is_refused(folder, tmp_path):
    (folder.root / "chest" / "series" / "3.dcm").symlink_to(tmp_path / "secrets" / "a.dcm")
    refused(folder, "chest/series")


def test_a_circle_of_links_is_refused(folder):
    (folder.root / "circle").symlink_to(folder.root / "circle")
    refused(folder, "circle")
    assert len(folder.available()) == 3


def test_long_lists_end(folder):
    assert len(StudiesFolder(folder.root, most_listed=2).available()) == 2


def test_without_a_folder_there_is_nothing():
    folder = StudiesFolder(None)
    assert folder.available() == []
    refused(folder, "ct.nii.gz")


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        StudiesFolder(tmp_path / "nothing")
