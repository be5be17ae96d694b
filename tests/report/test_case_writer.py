import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from medvol_r1.report.case_writer import CaseWriter, EvidenceRecordd, save_mask
from medvol_r1.report.evidence_picture import draw_evidence, save_evidence
from medvol_r1.volume.geometry import SliceGeometry, orientation_to_lps
from monai.data import MetaTensor

KEYS = (
    "image query status completion think key_slice source_slice boxes_1000 boxes_px slices_shown agreement "
    "answers voxels volume_ml seconds weights"
).split()
# Array axes to R, A, S; 2 x 2 x 5 mm: a voxel has 0.02 ml.
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
SHAPE = (12, 10, 8)


def geometry_meta(affine=AFFINE, shape=SHAPE, source_index=(0, 2, 4, 6)):
    return {
        "source_shape": np.array(shape),
        "source_affine": affine,
        "orientation": orientation_to_lps(affine),
        "source_index": np.array(source_index),
    }


def evidence(**changes):
    plain = {"status": "ok", "detail": "", "completion": "<think>because</think>...", "think": "because"}
    plain |= {"key_index": 1, "boxes_1000": [[0, 0, 500, 500]], "boxes_px": [[0.0, 0.0, 64.0, 64.0]], "seconds": {}}
    return json.dumps(plain | changes)


def record_of(query="the liver", affine=AFFINE, **changes):
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 1:4, 2:5, 3] = 1
    data = {
        "pred": MetaTensor(torch.from_numpy(mask), meta={"evidence": evidence(**changes)}),
        "image": MetaTensor(
            torch.zeros(1, 4, 8, 8), meta={**geometry_meta(affine), "query": query, "filename_or_obj": "ct.nii.gz"}
        ),
    }
    return EvidenceRecordd(weights={"lvlm": "folder"})(data)["result"]


def test_the_record_has_the_documented_keys_in_order():
    assert list(record_of()) == KEYS


def test_the_record_counts_voxels_and_turns_indices_for_people():
    record = record_of()
    # Nine voxels of 2 * 2 * 5 = 20 mm3 are 0.18 ml; shown index 1 is source slice 2 (S already runs upwards).
    assert (record["voxels"], record["volume_ml"]) == (9, 0.18)
    assert (record["key_slice"], record["source_slice"], record["slices_shown"]) == (2, 2, 4)
    assert record["weights"] == {"lvlm": "folder"} and record["image"] == "ct.nii.gz"


def test_the_source_slice_follows_the_affine():
    # Stored from superior to inferior: shown index 1 is LPS slice 2, stored as 7 - 2.
    assert record_of(affine=AFFINE @ np.diag([1, 1, -1, 1.0]))["source_slice"] == 5


def test_a_failure_has_no_key_slice_and_is_plain_json():
    record = record_of(status="missing_tag", key_index=None, boxes_1000=[], boxes_px=[])
    assert record["status"] == "missing_tag" and record["key_slice"] is None and record["source_slice"] is None
    assert json.loads(json.dumps(record)) == record


def oblique():
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 0.8, 3.3])
    affine[:3, 3] = [-100.25, 33.3, 1234.5]
    return affine


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1)])
def test_a_mask_is_written_on_the_grid_of_its_volume(tmp_path, codes, shape):
    source = nib.Nifti1Image(np.zeros(shape, np.int16), oblique())
    source.header.set_slope_inter(2, -1024)
    source.set_sform(oblique(), code=codes[0])
    source.set_qform(oblique(), code=codes[1])
    nib.save(source, tmp_path / "ct.nii.gz")
    mask = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    save_mask(mask, tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz")
    written, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "ct.nii.gz")
    assert written.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(written.dataobj), mask)
    assert np.array_equal(written.affine, source.affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == codes
    np.testing.assert_array_equal(written.header.get_zooms()[:3], source.header.get_zooms()[:3])


def draw(record=None, mask=None, affine=AFFINE, **options):
    meta = geometry_meta(affine)
    volume = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
    options.setdefault("volume_hu", volume)
    mask = np.zeros(SHAPE, np.uint8) if mask is None else mask
    volume_hu = options.pop("volume_hu")
    return draw_evidence(volume_hu, mask, SliceGeometry.from_meta(meta), record or record_of(), **options)


def texts(figure):
    return [text for axes in figure.axes for text in axes.texts]


def test_cuts_are_shown_as_a_radiologist_sees_them():
    # One bright voxel at the patient's right (low R index: R grows along axis 0, so right is high), anterior, superior.
    volume = np.full(SHAPE, -160.0, np.float32)
    volume[10, 8, 2] = 240.0
    mask = (volume > 0).astype(np.uint8)
    key, coronal, sagittal = draw(mask=mask, volume_hu=volume).axes[:3]
    axial = np.asarray(key.images[0].get_array())
    # 12 columns from the patient's right: 11 - 10 = 1. 10 rows from anterior: 9 - 8 = 1.
    assert np.argwhere(axial > 0).tolist() == [[1, 1]]
    # 8 slices, superior on top: row 7 - 2 = 5.
    assert np.argwhere(np.asarray(coronal.images[0].get_array()) > 0).tolist() == [[5, 1]]
    assert np.argwhere(np.asarray(sagittal.images[0].get_array()) > 0).tolist() == [[5, 1]]
    assert [text.get_text() for text in key.texts] == ["R", "L", "A", "P"]
    assert [text.get_text() for text in coronal.texts] == ["R", "L", "S", "I"]
    assert [text.get_text() for text in sagittal.texts] == ["A", "P", "S", "I"]


def test_cuts_have_the_proportions_of_the_patient():
    key, coronal, sagittal = draw().axes[:3]
    assert (key.get_aspect(), coronal.get_aspect(), sagittal.get_aspect()) == (1.0, 2.5, 2.5)


def test_boxes_are_drawn_on_the_key_slice_at_pixel_edges():
    key = draw().axes[0]
    (box,) = key.patches
    # [0, 0, 500, 500] of 12 columns and 10 rows, with pixel centres on whole numbers.
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-0.5, -0.5, 6.0, 5.0)
    assert key.get_title() == "key slice 2 of 4"


def test_a_dollar_sign_in_a_query_is_a_dollar_sign(tmp_path):
    figure = draw(record_of(query=r"$\frac{ costs $5", think="$x"))
    save_evidence(figure, tmp_path / "a.png")
    drawn = [text for text in texts(figure) if "$" in text.get_text()]
    assert [text.get_text() for text in drawn] == [r"$\frac{ costs $5", "$x"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("query", ["word " * 400, "x" * 2000, "\n\t\0 \u202e \u809d\u81d3 \U0001fac0"])
def test_long_and_strange_queries_are_drawn(tmp_path, query):
    figure = draw(record_of(query=query), scores={"DSC": 0.5, "IoU": 1 / 3})
    save_evidence(figure, tmp_path / "a.png")
    assert max(len(text.get_text()) for text in texts(figure)) <= 80
    assert "DSC 0.500    IoU 0.333" in [text.get_text() for text in texts(figure)]


def test_a_failure_is_drawn_with_its_completion():
    record = record_of(status="missing_tag", key_index=None, boxes_1000=[], boxes_px=[], think="")
    figure = draw(record)
    assert figure.axes[0].get_title() == "no key slice; the middle one, 3 of 4" and not figure.axes[0].patches
    written = [text.get_text() for text in texts(figure)]
    assert "status: missing_tag" in written and "<think>because</think>..." in written


def test_one_slice_is_drawn():
    meta = geometry_meta(shape=(6, 6, 1), source_index=(0,))
    record = record_of() | {"key_slice": 1}
    draw_evidence(np.zeros((6, 6, 1)), np.ones((6, 6, 1)), SliceGeometry.from_meta(meta), record)


def engine(output=(), failures=()):
    return SimpleNamespace(state=SimpleNamespace(output=list(output), failures=list(failures)))


def case(folder, name="a", label=None):
    volume = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, AFFINE), folder / "ct.nii.gz")
    record = record_of(query="\u809d $x") | {"image": str(folder / "ct.nii.gz")}
    pred = np.zeros((1, *SHAPE), np.uint8)
    pred[0, 1:4, 2:5, 3] = 1
    item = {"case": name, "result": record, "pred": torch.from_numpy(pred)}
    item["image"] = MetaTensor(torch.zeros(1, 4, 8, 8), meta=geometry_meta())
    return item if label is None else item | {"label": torch.from_numpy(label)}


def test_a_case_is_written_and_scored(tmp_path, capsys):
    label = np.zeros((1, *SHAPE), np.float32)
    label[0, 1:4, 2:5, 3:5] = 7  # the nine predicted voxels and nine more: DSC = 18 / 27, IoU = 9 / 18
    writer = CaseWriter(tmp_path / "out")
    writer.write(engine([case(tmp_path, label=label)]))
    writer.print_table(engine())
    writer.exit_if_failed()
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == [
        "a_evidence.json",
        "a_evidence.png",
        "a_mask.nii.gz",
    ]
    written = json.loads((tmp_path / "out" / "a" / "a_evidence.json").read_text(encoding="utf-8"))
    assert list(written) == KEYS and written["query"] == "\u809d $x"
    printed = capsys.readouterr().out
    assert "a: ok, key slice 2 of 4, 1 box, 0.2 ml, DSC 0.667, IoU 0.500 -> " in printed
    assert "a     ok                            0.2   0.667   0.500" in printed


def test_failed_cases_are_named_at_the_end_and_the_status_is_not_zero(tmp_path, capsys):
    writer = CaseWriter(tmp_path / "out", picture=False)
    failure = {"case": "b", "reason": "not_3d", "message": "b.nii has shape (3, 4)"}
    writer.write(engine([case(tmp_path)], [failure]))
    writer.print_table(engine())
    assert (tmp_path / "out" / "a" / "a_mask.nii.gz").is_file() and not (tmp_path / "out" / "b").exists()
    assert "FAILED: not_3d\n  b: b.nii has shape (3, 4)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^1 of 2 cases could not be processed: b \(not_3d\)$"):
        writer.exit_if_failed()


def test_a_case_that_cannot_be_written_does_not_stop_the_others(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where the folder should be")
    writer = CaseWriter(tmp_path / "out", picture=False)
    writer.write(engine([case(tmp_path, "a"), case(tmp_path, "b")]))
    assert (tmp_path / "out" / "b" / "b_mask.nii.gz").is_file()
    with pytest.raises(SystemExit, match=r"a \(FileExistsError\)"):
        writer.exit_if_failed()
