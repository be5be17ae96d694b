"""Clinical questions, what they point at, and rule-made reasoning."""
