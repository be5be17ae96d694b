import pytest
from medvol_r1.demo_models.patient_archive import LOWEST_HU, STEP_HU, read_archive


def test_an_archive_parts_its_patients(archive):
    train, development = read_archive(archive, "train"), read_archive(archive, "development")
    assert (len(train), len(development)) == (6, 1)
    assert train[0].labeled == {13, 19}
    assert train[1].labeled == {19}
    assert train[0].image[0, 20, 20] == pytest.approx(40, abs=STEP_HU)
    assert train[0].image[0, 0, 0] == LOWEST_HU
