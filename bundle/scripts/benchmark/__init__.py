"""Masks of other systems on the same cases."""
