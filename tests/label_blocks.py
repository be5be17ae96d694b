"""Label maps drawn by hand from blocks, with the ids of the phantoms."""

import numpy as np

RIGHT, LEFT, TUMOR, CYST = 2, 3, 11, 12


def volume(*blocks: tuple[int, slice, slice, slice], shape=(40, 20, 12)) -> np.ndarray:
    label = np.zeros(shape, dtype=np.uint8)
    for value, *window in blocks:
        label[tuple(window)] = value
    return label


def cube(value: int, x: int, y: int, z: int, side: int) -> tuple[int, slice, slice, slice]:
    return (value, slice(x, x + side), slice(y, y + side), slice(z, z + side))


KIDNEYS = (cube(RIGHT, 2, 4, 2, 8), cube(LEFT, 28, 4, 2, 8))
# A tumor of 27 voxels and a cyst of 8 in the right kidney, a cyst of 64 in the left one.
BUSY = volume(*KIDNEYS, cube(TUMOR, 4, 6, 4, 3), cube(CYST, 9, 9, 7, 2), cube(CYST, 30, 6, 4, 4))
