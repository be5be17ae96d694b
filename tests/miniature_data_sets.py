"""Miniature data sets in exactly the form on disk of the public ones, made of phantoms, with their quirks."""

import csv
import json

import nibabel as nib
import numpy as np
from medvol_r1.datasets.write_umrg import write_umrg
from medvol_r1.phantom.scan import make_phantom
from scipy import sparse

SHAPE = (32, 32, 16)
# Values of a data set by the label ids of phantoms.
CT_ORG = {1: 1, 2: 4, 3: 4, 6: 2, 7: 3, 8: 3, 9: 5, 10: 6}
ABDOMENCT_1K = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4}
KITS23 = {2: 1, 3: 1, 11: 2, 12: 3}


def volume(seed, subset, values, axes="LPS"):
    """Image int16, label uint8 in the values of a data set, and their affine, stored along these axes."""
    phantom = make_phantom(seed, subset, shape=SHAPE, canonical=True)
    table = np.zeros(256, np.uint8)
    table[list(values)] = list(values.values())
    image, label = np.rint(phantom.image).astype(np.int16), table[phantom.label]
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(phantom.affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    affine = phantom.affine @ nib.orientations.inv_ornt_aff(turn, image.shape)
    return (*(np.ascontiguousarray(nib.apply_orientation(v, turn)) for v in (image, label)), affine)


def save(path, voxels, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1, strip_shears=True)
    nib.save(image, path)
    return path


def save_pair(image_path, label_path, image, label, affine):
    save(image_path, image, affine)
    save(label_path, label, affine)


def identity_header(path, spacing):
    """The affine says nothing, the spacing field may."""
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    lost = nib.Nifti1Image(voxels, np.eye(4))
    lost.header.set_sform(np.eye(4), 1)
    lost.header["qform_code"] = 0
    lost.header["pixdim"][1:4] = spacing
    nib.save(lost, path)


def write_ct_org(folder, numbers=(0, 1, 28, 30, 50), subfolders=False):
    """28: the affine is the identity, the spacing stands in pixdim. 30: the same, and the spacing is lost."""
    for number in numbers:
        image, label, affine = volume(number, "whole_body", CT_ORG)
        folders = [folder / name if subfolders else folder for name in ("volumes", "labels")]
        paths = [folders[0] / f"volume-{number}.nii.gz", folders[1] / f"labels-{number}.nii.gz"]
        save_pair(*paths, image, label, affine)
        if number in (28, 30):
            spacing = np.linalg.norm(affine[:3, :3], axis=0) if number == 28 else (1, 1, 1)
            for path in paths:
                identity_header(path, spacing)
    return folder


def write_abdomenct_1k(folder, numbers=(1, 2, 3, 4)):
    """What is wrong by number.

    78: 1 x 1 x 1 mm in the image alone. 273: in both. 219: no spleen. 900: no label. 901: one of another shape.
    902: not orthonormal.
    """
    for number in (*numbers, 78, 273, 219, 900, 901, 902):
        image, label, affine = volume(number, "organs", ABDOMENCT_1K)
        if number == 219:
            label[label == 3] = 0
        if number == 902:
            affine[0, 1] += 0.2 * affine[1, 1]
        unit = affine.copy()
        unit[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
        save(folder / "Images" / f"Case_{number:05}_0000.nii.gz", image, unit if number in (78, 273) else affine)
        if number == 901:
            label = label[:, :, 1:]
        if number != 900:
            save(folder / "Mask" / f"Case_{number:05}.nii.gz", label, unit if number == 273 else affine)
    return folder


def write_kits23(folder, numbers=(0, 1, 2, 3), flat=False):
    """The first axis from superior to inferior."""
    for number in numbers:
        image, label, affine = volume(number, "renal", KITS23, axes="IPL")
        name = f"case_{number:05}"
        if flat:
            save_pair(folder / "images" / f"{name}.nii.gz", folder / "labels" / f"{name}.nii.gz", image, label, affine)
        else:
            case = folder / "dataset" / name
            save_pair(case / "imaging.nii.gz", case / "segmentation.nii.gz", image, label, affine)
    return folder


def z_scores(image):
    """As M3D makes them: clipped to percentiles of what is above the mean, then standardised."""
    image = image.astype(np.float32)
    image = np.clip(image, *np.percentile(image[image > image.mean()], (0.05, 99.95)))
    return (image - image.mean()) / image.std()


def write_m3d_seg(folder, code="0003", older=False, numbers=(0, 1, 2, 3), axes=("LPS", "RAS", "LPI", "PRS")):
    """Arrays along these axes in turn, and the split in a list."""
    subset, values, channels = {
        "0003": ("organs", ABDOMENCT_1K, 4),
        "0004": ("renal", KITS23, 3),
        "0012": ("whole_body", CT_ORG, 6),
    }[code]
    lists = {"labels": {}, "train": [], "test": []}
    for place, number in enumerate(numbers):
        image, label, _ = volume(number, subset, values, axes=axes[place % len(axes)])
        shape = f"({', '.join(map(str, (channels, *label.shape)))})"
        name = f"case_{number:05}"
        root = folder / "M3D_Seg"
        image_path = root / code / (f"ct/{name}.npy" if older else f"{name}/image.npy")
        label_path = root / code / (f"gt/{name}.{shape}.npz" if older else f"{name}/mask_{shape}.npz")
        for path in (image_path, label_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        np.save(image_path, z_scores(image)[None])
        rows = np.stack([label.ravel() == value for value in range(1, channels + 1)]).astype(np.int32)
        sparse.save_npz(label_path, sparse.csr_matrix(rows))
        paths = {"image": str(image_path.relative_to(root)), "label": str(label_path.relative_to(root))}
        lists["test" if place == len(numbers) - 1 else "train"].append(paths)
    lists |= {"numTrain": len(lists["train"]), "numTest": len(lists["test"])}
    (folder / "M3D_Seg" / code / f"{code}.json").write_text(json.dumps(lists))
    return folder


def write_m3d_refseg(folder, numbers=(0, 1, 2)):
    """A table of training and one of test; every case has a description and a question that needs reasoning."""
    rows = {"train": [], "test": []}
    for place, number in enumerate(numbers):
        image, label, affine = volume(number, "organs", ABDOMENCT_1K)
        case = folder / f"s{number:04}"
        save_pair(case / "ct.nii.gz", case / "mask.nii.gz", image, label, affine)
        (case / "text.json").write_text(json.dumps({"1": "The liver.", "4": "The pancreas."}))
        for value, kind, question in ((1, 0, "Where is the large organ?"), (4, 1, "What, inflamed, raises lipase?")):
            row = (f"{case.name}/ct.nii.gz", f"{case.name}/mask.nii.gz", value, kind, question, "It is [SEG].")
            rows["test" if place == len(numbers) - 1 else "train"].append(row)
    for split, lines in rows.items():
        with (folder / f"M3D_RefSeg_{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("Image", "Mask", "Mask_ID", "Question_Type", "Question", "Answer"))
            writer.writerows(lines)
    return folder


def write_folder(folder, numbers=(0, 1, 2, 3), images="images", labels="labels", suffix=""):
    """Images and label maps with a table of the values."""
    for number in numbers:
        image, label, affine = volume(number, "organs", {1: 1, 2: 2, 3: 3, 4: 4, 5: 5})
        paths = folder / images / f"p{number}{suffix}.nii.gz", folder / labels / f"p{number}.nii.gz"
        save_pair(*paths, image, label, affine)
    table = {"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4, "pancreas": 5}
    (folder / "labels.json").write_text(json.dumps(table))
    return folder


def write_data_set(name, folder):
    """The smallest of each layout, by the name of the test."""
    return {
        "ct_org": write_ct_org,
        "abdomenct_1k": write_abdomenct_1k,
        "kits23": write_kits23,
        "kits23_flat": lambda path: write_kits23(path, flat=True),
        "m3d_seg": write_m3d_seg,
        "m3d_seg_older": lambda path: write_m3d_seg(path, code="0012", older=True),
        "m3d_refseg": write_m3d_refseg,
        "umrg": lambda path: write_umrg(path, train=10, test=3, size=48),
        "folder": write_folder,
    }[name](folder)
