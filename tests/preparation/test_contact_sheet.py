import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread
from medvol_r1.preparation.contact_sheet import write_contact_sheet
from prepared_records import part, record


@pytest.fixture
def folder(tmp_path):
    """A grey block of 10 x 10 x 6 voxels at one corner of the patient: right, anterior; stored along IPL."""
    lps = np.full((10, 10, 6), -160, np.int16)
    lps[:3, :3] = 240
    label = np.zeros(lps.shape, np.uint16)
    label[5:8, 5:8, 4] = 7
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt("IPL"))
    affine = np.diag([-2.0, -2.0, 3.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, lps.shape)
    for name, voxels in (("image.nii.gz", lps), ("label.nii.gz", label)):
        nib.save(nib.Nifti1Image(nib.apply_orientation(voxels, turn), affine), tmp_path / name)
    return tmp_path


def picture(folder, count):
    one = record("a", image="image.nii.gz", label="label.nii.gz", axes="IPL", parts=[part(7, "spleen")])
    write_contact_sheet([one] * count, folder / "sheet.png")
    return imread(folder / "sheet.png")[..., :3]


def test_the_right_side_of_the_patient_is_on_the_left_and_anterior_on_top(folder):
    pixels = picture(folder, 1)
    black = pixels.max(axis=2) < 0.02
    # The square is black over most of its length; a stroke of a letter is not.
    down, across = (np.flatnonzero(black.sum(axis=axis) > 40) for axis in (1, 0))
    top, bottom, left, right = down[0], down[-1], across[0], across[-1]
    rows, columns = (bottom - top) // 10, (right - left) // 10
    # The bright corner is cut off from the dark square, so its own first tenth is bright, the opposite one dark.
    assert (pixels[top + rows, left + columns] > 0.9).all() and (pixels[bottom - rows, right - columns] < 0.1).all()
    # The outline of the label is where the label is, in color.
    colored = ((pixels.max(axis=2) - pixels.min(axis=2) > 0.3) & (np.arange(len(pixels))[:, None] < bottom)).nonzero()
    assert left + 4.5 * columns < colored[1].min() and colored[1].max() < left + 8.5 * columns
    assert top + 4.5 * rows < colored[0].min() and colored[0].max() < top + 8.5 * rows


def test_many_cases_give_one_page(folder):
    assert picture(folder, 30).shape[0] == picture(folder, 8).shape[0] > picture(folder, 4).shape[0]
