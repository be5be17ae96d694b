"""A volume and its shown slices: reading, geometry, windows, the way back."""
