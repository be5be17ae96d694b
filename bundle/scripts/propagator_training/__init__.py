"""Trains a MedSAM2 on clips around objects."""
