"""Texts of users that a shell, a JSON list, MONAI's parser or a tokenizer might take for something else."""

HOSTILE = [
    "<|vision_start|>",
    "<slice 3>",
    "</answer>",
    "$__import__('os').getcwd()",
    "$import os",
    "@bundle_root",
    "%inference.json#device",
    "a::b#c",
    "#",
    "liver, spleen",
    "3",
    "None",
    "--query",
    "-x",
    "'\"`\\",
    "\u809d\u81d3 \U0001fac0 e\u0301 \u200f\u05db\u05d1\u05d3",
    " two\nlines\t",
]
