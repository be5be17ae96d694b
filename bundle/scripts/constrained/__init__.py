"""Decoding that can only write a valid answer."""
