"""Scores of answered queries, tables with intervals."""
