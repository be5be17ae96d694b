import nibabel as nib
import numpy as np
import pytest
from medvol_r1.layouts import abdomenct_1k, ct_org, kits23, m3d_seg
from medvol_r1.preparation.case_failures import CaseError
from medvol_r1.preparation.case_reading import affine_of, near_hu, read_case
from medvol_r1.volume.failures import VolumeError
from miniature_data_sets import (
    ABDOMENCT_1K,
    CT_ORG,
    save,
    volume,
    write_abdomenct_1k,
    write_ct_org,
    write_kits23,
    write_m3d_seg,
)


def cases(found):
    return {case.case: case for case in found.cases}


def refused(case, error=CaseError, **known):
    with pytest.raises(error) as caught:
        read_case(case, **known)
    return caught.value.reason, str(caught.value)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    return cases(ct_org.find_cases(write_ct_org(tmp_path_factory.mktemp("ct_org"))))


@pytest.fixture(scope="module")
def abdomens(tmp_path_factory):
    return cases(abdomenct_1k.find_cases(write_abdomenct_1k(tmp_path_factory.mktemp("abdomen"), numbers=(1,))))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    return cases(m3d_seg.find_cases(write_m3d_seg(tmp_path_factory.mktemp("m3d"), numbers=(0, 1))))


def test_a_good_case_is_read_as_it_is(trunks):
    read = read_case(trunks["ct_org_0"])
    image, label, affine = volume(0, "whole_body", CT_ORG)
    assert np.array_equal(read.image, image) and np.array_equal(read.label, label)
    assert np.allclose(read.affine, affine, atol=1e-4) and read.repairs == {} and read.warnings == []
    assert read.spacing_is_known and not read.is_changed
    assert read.label.dtype == np.uint8  # a quarter of what is read


def test_an_identity_affine_is_replaced_by_the_organs_and_the_spacing_field(trunks):
    read = read_case(trunks["ct_org_28"])
    _, _, affine = volume(28, "whole_body", CT_ORG)
    assert list(read.repairs) == ["identity_affine"] and read.is_changed
    assert np.allclose(read.affine[:3, :3], affine[:3, :3], atol=1e-4)  # as it was before the header was lost


def test_an_identity_affine_without_any_spacing_is_left_out_unless_it_is_given(trunks):
    reason, message = refused(trunks["ct_org_30"])
    assert reason == "wrong_spacing" and "volume-30.nii.gz says 1 x 1 x 1 mm" in message
    assert "give `spacing`, as \"{'ct_org_30': [0.8, 0.8, 2.5]}\"" in message
    for spacing in ({"ct_org_30": [10, 11, 12]}, [10, 11, 12]):
        read = read_case(trunks["ct_org_30"], spacing=spacing)
        assert np.array_equal(read.affine, affine_of("LPS", (10, 11, 12)))
    assert "".join(nib.aff2axcodes(read_case(trunks["ct_org_30"], "RAI", [1, 2, 3]).affine)) == "RAI"


def test_a_unit_spacing_known_to_be_wrong_is_taken_from_the_label(abdomens):
    read = read_case(abdomens["abdomenct_1k_00078"])
    assert list(read.repairs) == ["wrong_spacing"]
    assert np.allclose(read.affine, volume(78, "organs", ABDOMENCT_1K)[2], atol=1e-4)
    assert refused(abdomens["abdomenct_1k_00273"])[0] == "wrong_spacing"
    read = read_case(abdomens["abdomenct_1k_00273"], spacing={"abdomenct_1k_00273": [8, 8, 15]})
    assert np.allclose(read.affine[:3, :3], np.diag([-8.0, -8.0, 15.0]), atol=1e-4)


def test_a_true_spacing_of_1_mm_is_left_alone(abdomens):
    case = abdomens["abdomenct_1k_00273"]._replace(spacing_is_doubted=False)
    assert read_case(case).repairs == {}


def test_axes_that_are_not_orthonormal_are_read_and_counted(abdomens):
    read = read_case(abdomens["abdomenct_1k_00902"])
    assert list(read.repairs) == ["non_orthonormal"] and not read.is_changed
    assert "cosine of 0.2;" in read.repairs["non_orthonormal"]
    assert any("sform" in warning for warning in read.warnings)


def test_a_label_of_another_shape_is_refused(abdomens):
    reason, message = refused(abdomens["abdomenct_1k_00901"], VolumeError)
    assert reason == "label_mismatch" and "(32, 32, 15) and (32, 32, 16)" in message


def test_kits_axes_are_those_of_its_affine(tmp_path):
    (case,) = kits23.find_cases(write_kits23(tmp_path, numbers=(1,))).cases
    read = read_case(case)
    assert read.image.shape == (16, 32, 32) and "".join(nib.aff2axcodes(read.affine)) == "IPL"
    assert read.repairs == {}


def test_arrays_get_axes_by_their_organs_and_no_spacing(arrays):
    read = read_case(arrays["m3d_0003_case_00001"])
    assert list(read.repairs) == ["no_header", "not_hu"] and not read.spacing_is_known and read.warnings == []
    assert np.array_equal(read.affine, affine_of("RAS", (1, 1, 1)))
    read = read_case(arrays["m3d_0003_case_00001"], {"m3d_0003_case_00001": "IPL"}, [1, 2, 3])
    assert np.array_equal(read.affine, affine_of("IPL", (1, 2, 3))) and read.spacing_is_known


@pytest.mark.parametrize("axes", ["LP", "LPSS", "LRS", "lps", 3, "XYZ"])
def test_axes_that_are_none(axes, arrays):
    reason, message = refused(arrays["m3d_0003_case_00000"], axes=axes)
    assert reason == "unknown_axes" and f"`axes` is {axes!r}" in message and '"LPS"' in message


@pytest.mark.parametrize("spacing", [[1, 2], [1, 2, 0], [1, 2, "a"], 3, [1, 2, float("nan")]])
def test_spacing_that_is_none(spacing, arrays):
    reason, message = refused(arrays["m3d_0003_case_00000"], spacing=spacing)
    assert reason == "wrong_spacing" and f"`spacing` is {spacing!r}; give three numbers above 0" in message


def test_a_value_without_a_name_and_a_label_without_a_value(trunks, tmp_path):
    image, label, affine = volume(0, "whole_body", CT_ORG)
    case = trunks["ct_org_0"]
    label[0, 0, 0] = 9
    strange = case._replace(label=save(tmp_path / "strange.nii.gz", label, affine))
    reason, message = refused(strange)
    assert reason == "unknown_label"
    assert "strange.nii.gz has the values {9: 1} (value: voxels)" in message and "brain [6]" in message
    # A mask of which questions pick values may hold others.
    assert read_case(strange._replace(questions=({"query": "?", "label_values": [1]},))).label[0, 0, 0] == 9
    empty = case._replace(label=save(tmp_path / "empty.nii.gz", np.zeros_like(label), affine))
    assert refused(empty)[0] == "no_target"


def test_an_image_that_is_not_in_hu_is_brought_near_it(trunks, tmp_path):
    image, label, affine = volume(0, "whole_body", CT_ORG)
    scaled = save(tmp_path / "scaled.nii.gz", (image.astype(np.float32) + 1024) / 4096, affine)
    read = read_case(trunks["ct_org_0"]._replace(image=scaled))
    assert list(read.repairs) == ["not_hu"] and read.is_changed and read.warnings == []
    assert "-160 and 240 HU" in read.repairs["not_hu"]


def test_near_hu():
    # 0 is the background; 5 % of 1..101 is 6 and 95 % is 96: 90 steps for 400 HU.
    image = np.concatenate([np.zeros(50), np.arange(1.0, 102.0)]).reshape(1, 1, -1)
    hu = near_hu(image).ravel()
    assert (hu[:50] == -1024).all()
    assert hu[50 + 5] == pytest.approx(-160) and hu[50 + 95] == pytest.approx(240)
    assert hu[50 + 50] == pytest.approx(40)  # in the middle, linearly


def test_affines_of_axes():
    affine = affine_of("IPL", (2, 3, 4))
    assert nib.aff2axcodes(affine) == ("I", "P", "L")
    assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), (2, 3, 4)) and (affine[:3, 3] == 0).all()
