import struct
import zipfile
from io import BytesIO

import pytest
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.uploads import Uploads


@pytest.fixture
def uploads():
    uploads = Uploads(most_bytes=1000, most_count=2, most_files=5)
    yield uploads
    uploads.close()


def archive(**files):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return BytesIO(content.getvalue())


def refused(uploads, file, name):
    with pytest.raises(ServiceError) as caught:
        uploads.take(file, name)
    assert list(uploads.folder.iterdir()) == []
    return caught.value.reason


@pytest.mark.parametrize("name", ["ct.nii", "CT.NII.GZ", "../../x.nii", "\0$import os.nii", "a" * 5000 + ".nii.gz"])
def test_a_volume_is_kept_under_a_name_of_our_own(uploads, name):
    path = uploads.take(BytesIO(b"content"), name)
    assert path.read_bytes() == b"content" and path.name in ("volume.nii", "volume.nii.gz")
    assert path.parent.parent == uploads.folder
    uploads.remove(path)
    assert list(uploads.folder.iterdir()) == []


def test_of_an_archive_the_files_are_kept_wherever_they_say_they_belong(uploads):
    files = {"../../evil": b"1", "/etc/passwd": b"2", "a/b": b"3", ".x": b"", "DICOMDIR": b""}
    folder = uploads.take(archive(**files), "a.zip")
    assert sorted(path.read_bytes() for path in folder.iterdir()) == [b"1", b"2", b"3"]
    assert all(path.suffix == ".dcm" and path.parent == folder for path in folder.iterdir())


@pytest.mark.parametrize("name", ["ct.mha", "ct", "", "ct.nii.gz.exe", "ct.bz2"])
def test_other_endings_are_refused(uploads, name):
    assert refused(uploads, BytesIO(b""), name) == "not_a_study"


def test_what_is_too_large_is_refused(uploads):
    assert refused(uploads, BytesIO(bytes(1001)), "ct.nii") == "too_large"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(uploads):
    bomb = archive(a=bytes(400), b=bytes(100_000_000))
    assert len(bomb.getvalue()) < 200_000
    assert refused(uploads, bomb, "a.zip") == "too_large"


def test_too_many_files_are_refused(uploads):
    assert refused(uploads, archive(**{str(number): b"" for number in range(6)}), "a.zip") == "too_many_files"


def test_a_list_of_a_million_files_is_not_even_read(uploads):
    """The last record of the archive says how long its list of files is."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 500_000_000, 0, 0)
    assert refused(uploads, BytesIO(end), "a.zip") == "too_many_files"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\5\6" + bytes(18)])
def test_what_is_no_archive_is_refused_or_empty(uploads, content):
    if content.endswith(bytes(18)):  # an archive without files
        assert list(uploads.take(BytesIO(content), "a.zip").iterdir()) == []
    else:
        assert refused(uploads, BytesIO(content), "a.zip") == "not_a_study"


def test_a_damaged_archive_is_refused(uploads):
    content = bytearray(archive(a=b"some content" * 10).getvalue())
    content[40] ^= 255
    with pytest.raises(ServiceError) as caught:
        uploads.take(BytesIO(bytes(content)), "a.zip")
    assert caught.value.reason == "not_a_study"


def test_so_many_at_a_time(uploads):
    first = uploads.take(BytesIO(b"1"), "a.nii")
    uploads.take(BytesIO(b"2"), "b.nii")
    with pytest.raises(ServiceError, match="2 uploads are open") as caught:
        uploads.take(BytesIO(b"3"), "c.nii")
    assert caught.value.reason == "too_many_studies"
    uploads.remove(first)
    uploads.take(BytesIO(b"3"), "c.nii")


def test_nothing_but_uploads_is_removed(uploads, tmp_path):
    other = tmp_path / "other" / "ct.nii"
    other.parent.mkdir()
    other.write_bytes(b"")
    uploads.remove(other)
    uploads.remove(other.parent)
    assert other.exists()


def test_closing_removes_all(uploads):
    uploads.take(BytesIO(b"1"), "a.nii")
    uploads.close()
    assert not uploads.folder.exists()
