"""Procedural CT volumes with label maps."""

from .scan import make_phantom

__all__ = ["make_phantom"]
