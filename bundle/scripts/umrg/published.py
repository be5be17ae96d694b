"""Published figures on the test split of U-MRG-14K, as its authors report them (arXiv 2508.08177)."""

PUBLISHED = (
    ("MedReasoner-7B", 32.42, 26.55, 37.78),
    ("Qwen2.5-VL-72B", 18.32, 12.39, 29.71),
    ("Seg-Zero-7B", 16.14, 5.23, 26.05),
    ("Qwen2.5-VL-7B", 12.61, 7.14, 22.73),
    ("Lingshu-7B", 8.19, 3.73, 16.48),
    ("GPT-4o", 2.65, 1.12, 4.72),
)
"""Model, box IoU, pDice, Dice of the mask with MedSAM2 as the expert; all in percent."""
