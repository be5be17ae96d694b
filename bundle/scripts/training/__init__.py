"""Engines of stages 1 and 2, and what they share."""
