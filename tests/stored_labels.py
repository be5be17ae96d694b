"""The oblique grid of label maps that other systems store."""

import numpy as np

SHAPE = (11, 9, 7)


def oblique_affine():
    """0.8 x 0.9 x 2.5 mm, turned by 20 degrees about the patient's axis, with an origin."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([0.8, 0.9, 2.5])
    affine[:3, 3] = -57, 31, -420
    return affine


AFFINE = oblique_affine()
