import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.size_check import check_size
from medvol_r1.volume.failures import VolumeError
from nifti_files import ct_voxels, patch, write

# Byte offsets of NIfTI-1 header fields (nifti1.h).
DIM, BITPIX, VOX_OFFSET = 40, 72, 108
MEBIBYTE = 2**20


def refused(path, most_bytes=100 * MEBIBYTE, most_files=100):
    with pytest.raises(ServiceError) as caught:
        check_size(path, most_bytes, most_files)
    assert repr(path.name)[1:-1] in str(caught.value) and str(path.parent) not in str(caught.value)
    return caught.value.reason


def packed(path, source, behind=b""):
    path.write_bytes(gzip.compress(source.read_bytes()) + behind)
    return path


@pytest.fixture
def volume(tmp_path):
    return write(tmp_path / "ct.nii", ct_voxels())


def test_an_ordinary_volume_passes(volume, tmp_path):
    check_size(volume, 100 * MEBIBYTE, 100)
    check_size(packed(tmp_path / "ct.nii.gz", volume), 100 * MEBIBYTE, 100)
    nib.Nifti2Image(ct_voxels(), np.eye(4)).to_filename(tmp_path / "two.nii")
    check_size(tmp_path / "two.nii", 100 * MEBIBYTE, 100)


def test_the_bound_is_that_of_float32(volume):
    # 6 x 5 x 4 voxels of 4 bytes.
    check_size(volume, 480, 1)
    assert refused(volume, 479) == "too_large"


@pytest.mark.parametrize("size", [(3, 30000, 30000, 1000), (4, 2000, 2000, 2, 30000), (7, *[600] * 7)])
def test_an_absurd_size_is_refused_by_the_header(volume, tmp_path, size):
    patch(volume, DIM, f"{len(size)}h", *size)
    assert refused(volume) == "too_large"
    assert refused(packed(tmp_path / "ct.nii.gz", volume)) == "too_large"


def test_an_absurd_nifti_2_is_refused(tmp_path):
    header = nib.Nifti2Header()
    header["dim"] = [3, 2**40, 2**40, 2**40, 1, 1, 1, 1]
    path = tmp_path / "two.nii"
    path.write_bytes(header.binaryblock)
    assert refused(path) == "too_large"


@pytest.mark.parametrize("offset", [2e9, float("nan"), float("inf")])
def test_extensions_of_gigabytes_are_refused(volume, offset):
    patch(volume, VOX_OFFSET, "f", offset)
    assert refused(volume) == "too_large"


def test_a_bomb_is_unpacked_no_further_than_its_header_promises(volume, tmp_path, monkeypatch):
    """100 MiB of zeros behind a volume of 240 bytes, in 100 kB: of a hundred gigabytes no more would be read."""
    packer = zlib.compressobj(9, wbits=31)
    content = packer.compress(volume.read_bytes())
    for _ in range(100):
        content += packer.compress(bytes(MEBIBYTE))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(content + packer.flush())
    assert path.stat().st_size < 200_000
    unpacked, read = [], gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda file, size=-1: unpacked.append(size) or read(file, size))
    assert refused(path) == "too_large"
    assert all(0 < size <= MEBIBYTE for size in unpacked) and sum(unpacked) < 4 * MEBIBYTE


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"not a volume at all", bytes(1000), b"\x1f\x8bdamaged" * 50])
def test_what_is_no_volume_is_left_to_the_reader(tmp_path, content):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(content)
    check_size(path, MEBIBYTE, 100)


def test_a_volume_that_ends_early_or_is_followed_by_something_is_left_to_the_reader(volume, tmp_path):
    whole = packed(tmp_path / "ct.nii.gz", volume, behind=b"something else")
    check_size(whole, MEBIBYTE, 100)
    whole.write_bytes(whole.read_bytes()[:60])
    check_size(whole, MEBIBYTE, 100)


def test_a_missing_file_is_left_to_the_reader(tmp_path):
    check_size(tmp_path / "nothing.nii", 1, 1)


class TestDicom:
    @pytest.fixture
    def files(self):
        return pytest.importorskip("dicom_files", reason="needs the extra `dicom`")

    def test_a_series_passes(self, files, tmp_path):
        files.write_series(tmp_path / "series")
        check_size(tmp_path / "series", MEBIBYTE, 100)

    def test_a_series_is_as_large_as_its_headers_say(self, files, tmp_path):
        files.write_series(tmp_path / "series", Rows=30_000, Columns=30_000)
        assert refused(tmp_path / "series") == "too_large"

    def test_so_many_files(self, files, tmp_path):
        files.write_series(tmp_path / "series")  # 6
        check_size(tmp_path / "series", MEBIBYTE, 6)
        assert refused(tmp_path / "series", most_files=5) == "too_many_files"

    def test_a_deflated_file_is_refused_before_it_is_unpacked(self, files, tmp_path):
        from pydicom.uid import DeflatedExplicitVRLittleEndian

        image = files.write_series(tmp_path / "series")[0]
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        image.save_as(tmp_path / "series" / files.file_of(0), enforce_file_format=True)
        with pytest.raises(ServiceError, match="deflated") as caught:
            check_size(tmp_path / "series", MEBIBYTE, 100)
        assert caught.value.reason == "too_large"

    def test_a_folder_without_a_series_has_its_own_reason(self, files, tmp_path):
        (tmp_path / "series").mkdir()
        with pytest.raises(VolumeError) as caught:
            check_size(tmp_path / "series", MEBIBYTE, 100)
        assert caught.value.reason == "no_ct_series"
