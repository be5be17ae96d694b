"""The `medvol-r1` command: images and questions at a terminal, the same `inference.json` underneath.

    medvol-r1 ct.nii.gz "the organ that makes bile" --output_dir output
    medvol-r1 ct_1.nii.gz ct_2.nii.gz folder --queries questions.txt
    medvol-r1 --datalist cases.json
    medvol-r1 serve

| exit status | meaning |
|---|---|
| 0 | every case was answered; "not in this scan" is an answer |
| 1 | nothing was asked, or the run broke off: a wrong path, a config, missing weights |
| 2 | the arguments are wrong |
| 3 | some cases could not be processed; the others are written |

What is imported before the arguments are understood is light, so that `--help` and a mistake are answered at once.
"""

from .program import main

__all__ = ["main"]
