"""An image as a volume of one slice: what turns a volume to LPS turns it upright, and a mask comes back as stored."""

import numpy as np
import pytest
from medvol_r1.images.stored_image import StoredImage
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps, restore_mask
from nibabel.orientations import apply_orientation
from PIL import ExifTags, Image, ImageOps

# rows x columns, no two pixels equal, no symmetry.
PIXELS = np.arange(6, dtype=np.float32).reshape(2, 3)


def upright(image):
    """[rows, columns] as the chain of a volume shows them."""
    lps = apply_orientation(image.voxels, orientation_to_lps(image.affine))
    return lps[..., 0].T


def by_pillow(orientation):
    """The same by Pillow's own transpose."""
    image = Image.fromarray(PIXELS.astype(np.uint8))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    image.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_exif_stands_upright_and_comes_back(orientation):
    image = StoredImage(PIXELS[None], orientation)
    shown = upright(image)
    np.testing.assert_array_equal(shown, by_pillow(orientation))
    geometry = SliceGeometry(image.shape, image.affine, orientation_to_lps(image.affine), np.array([0]))
    for value in range(6):  # one pixel marked as shown is that pixel as stored
        restored = restore_mask((shown == value)[None].astype(np.uint8), geometry)
        np.testing.assert_array_equal(restored[:, :, 0].T, PIXELS == value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upper_left_pixel_lies_at_the_origin_and_spacing_is_that_of_rows_and_columns(orientation):
    image = StoredImage(PIXELS[None], orientation, spacing_mm=(2.0, 0.5))
    corner = np.argwhere(image.voxels == upright(image)[0, 0])[0]
    np.testing.assert_allclose(image.affine @ [*corner, 1], [0, 0, 0, 1])
    # Columns of the file are 0.5 mm apart, its rows 2 mm, whichever way up it stands.
    np.testing.assert_allclose(np.linalg.norm(image.affine[:3, :3], axis=0), [0.5, 2.0, 1.0])


def test_an_image_as_it_stands_has_columns_to_the_left_and_rows_to_posterior():
    image = StoredImage(PIXELS[None])
    np.testing.assert_array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    assert image.shape == image.voxels.shape == (3, 2, 1) and image.voxels[2, 1, 0] == PIXELS[1, 2]


def test_a_coloured_image_keeps_its_channels_first():
    image = StoredImage(np.stack([PIXELS, PIXELS + 10, PIXELS + 20]))
    assert image.voxels.shape == (3, 3, 2, 1) and image.voxels[1, 2, 0, 0] == 12
