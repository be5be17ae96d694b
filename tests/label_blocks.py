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
