"""MedSAM2 as a `Sam2VideoModel`: weights, its four steps, features of slices, zoom."""

from .weights import load_medsam2

__all__ = ["load_medsam2"]
