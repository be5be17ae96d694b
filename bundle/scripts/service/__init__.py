"""Studies that are opened, asked about, corrected and exported: what stands behind every interface."""
