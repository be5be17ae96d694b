"""What a run writes for a person: mask, evidence, picture."""
