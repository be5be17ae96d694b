"""NIfTI files for tests of reading them, and header fields that nibabel refuses to write."""

import struct

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.volume.failures import VOLUME_FAILURES, VolumeError
from medvol_r1.volume.io import read_volume

AFFINE = np.array([[-0.75, 0, 0, 100], [0, -0.75, 0, 120], [0, 0, 2.5, -300], [0, 0, 0, 1]], dtype=np.float64)
# Byte offsets of NIfTI-1 header fields (nifti1.h).
PIXDIM, QFORM_CODE, SFORM_CODE, QUATERNION, SROW = 76, 252, 254, 256, 280


def ct_voxels(shape=(6, 5, 4), dtype=np.int16):
    """Distinct values from -1000 up: never constant, plausible as HU."""
    return (np.arange(np.prod(shape)).reshape(shape) - 1000).astype(dtype)


def write(path, voxels, affine=AFFINE, header=None):
    nib.Nifti1Image(voxels, affine, header).to_filename(path)
    return path


def patch(path, offset, fmt, *values):
    """Overwrite header fields of an uncompressed file: nibabel itself refuses to write them."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + fmt, content, offset, *values)
    path.write_bytes(content)
    return path


def failure(path, **kwargs):
    with pytest.raises(VolumeError) as caught:
        read_volume(path, **kwargs)
    assert caught.value.reason in VOLUME_FAILURES
    assert path.name in str(caught.value), "the message names the file"
    return caught.value.reason, str(caught.value)
