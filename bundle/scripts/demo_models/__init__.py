"""Builds the small models of the repository."""
