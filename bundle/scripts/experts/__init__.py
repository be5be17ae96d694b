"""Frozen models that make a mask of a prompt on one image, beside MedSAM2: any SAM of transformers."""

from .weights import load_sam

__all__ = ["load_sam"]
