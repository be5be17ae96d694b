"""Records of prepared cases, for tests of what is made of them."""


def part(value, name, side=None, ml=1.0):
    return {"value": value, "name": name, "side": side, "voxels": 10, "ml": ml}


def question(target, split, kind="A"):
    return {"query": f"{split}: {target}?", "target": target, "type": kind, "label_values": [1]}


def record(case, **changes):
    """Of a case with a liver."""
    splits = ("training", "validation", "test")
    return {
        "case": case,
        "patient": case,
        "image": f"/data/{case}.nii.gz",
        "label": f"labels/{case}.nii.gz",
        "split": None,
        "shape": [4, 5, 6],
        "axes": "LPS",
        "spacing_mm": [1.0, 1.0, 2.0],
        "names": ["liver"],
        "parts": [part(1, "liver", ml=1500.0)],
        "repairs": {},
        "notes": [],
        "fingerprint": [],
        "questions": {split: [question("liver", split)] for split in splits},
        "dropped": {split: [] for split in splits},
    } | changes
