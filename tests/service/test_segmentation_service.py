from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from inference_stubs import ONE_BOX
from medvol_r1.anchor import EvidenceAnchor, boxes_1000_to_px, boxes_px_to_1000
from medvol_r1.evaluation.bounds import oracle_boxes
from medvol_r1.service.failures import ServiceError
from medvol_r1.volume.geometry import restore_mask, shown_mask
from nibabel.orientations import apply_orientation
from service_runs import SHAPE, answered, small_service, truth_of, wait_for


def reason(call, *arguments, **keywords):
    with pytest.raises(ServiceError) as caught:
        call(*arguments, **keywords)
    return caught.value.reason


@pytest.fixture
def asked(service, monkeypatch):
    """The queries that reach the language model, which answers each with ONE_BOX, piece by piece."""
    queries = []

    def generate(volume, texts, on_text):
        queries.extend(texts)
        for end in range(10, len(ONE_BOX), 10):
            on_text(ONE_BOX[:end])
        return [[SimpleNamespace(text=ONE_BOX)] for _ in texts]

    monkeypatch.setattr(service.models._network, "generate", generate)
    return queries


def test_a_question_makes_a_mask_with_its_evidence(service, study, asked):
    mask = answered(service, study, "the liver")
    record = mask.current.record
    assert asked == ["the liver"] and (mask.name, record["query"], record["status"]) == ("the liver", "the liver", "ok")
    voxels = service.mask(study, mask.current)
    assert voxels.shape == SHAPE and voxels.sum() == record["voxels"]
    # 5 x 5 x 8 mm: 0.2 ml a voxel.
    assert record["volume_ml"] == pytest.approx(0.2 * record["voxels"])
    assert study.spacing_mm == (5, 5, 8)


def test_the_true_key_slice_and_boxes_give_the_mask_of_the_oracle_anchor(service, study, phantom, asked):
    """The language model is not asked, and the mask is that of the same anchor without any service."""
    image = service.models.prepare(study.path)
    slices, geometry = image.as_tensor()[0], study.geometry
    truth = shown_mask(truth_of(phantom, "liver"), geometry, *slices.shape[1:])
    oracle = oracle_boxes(truth, int(truth.sum(axis=(1, 2)).argmax()))
    anchor = EvidenceAnchor(oracle.key_index, boxes_px_to_1000(oracle.boxes_xyxy_px, *slices.shape[1:]))
    left, top, right, bottom = geometry.shown_xyxy_px
    scale = np.array([right - left, bottom - top] * 2) / 1000
    drawn = (np.array(anchor.boxes_xyxy_1000) * scale + [left, top, left, top]).tolist()

    key_slice = int(geometry.source_index[anchor.key_index])
    request = wait_for(service.correct(study.owner, study.id, "liver by hand", key_slice, drawn))
    assert request.state == "done", request.error
    mask = study.mask("liver by hand")

    assert asked == []
    assert mask.current.record["boxes_1000"] == [list(box) for box in anchor.boxes_xyxy_1000]
    assert mask.current.record["corrected"] and mask.current.record["key_slice"] == anchor.key_index + 1
    boxes_px = boxes_1000_to_px(anchor.boxes_xyxy_1000, *slices.shape[1:])
    propagated = service.models._inferer.propagator.mask(slices, anchor.key_index, boxes_px).cpu()
    expected = apply_orientation(restore_mask(propagated, geometry), geometry.orientation) != 0
    assert expected.any() and np.array_equal(service.mask(study, mask.current), expected)


def test_a_corrected_mask_keeps_its_question_and_can_be_taken_back(service, study, asked):
    before = answered(service, study, "the spleen", "spleen").current
    wait_for(service.correct(study.owner, study.id, "spleen", int(study.geometry.source_index[2]), [[10, 10, 25, 25]]))
    after = study.mask("spleen").current
    assert asked == ["the spleen"]
    assert after.record["query"] == "the spleen" and after.record["key_slice"] == 3
    assert after.record["completion"] != before.record["completion"]
    study.undo("spleen")
    assert study.mask("spleen").current is before
    assert reason(study.undo, "spleen") == "nothing_to_undo"
    assert [entry["kind"] for entry in study.history()] == ["question", "correction", "undo"]


def test_points_of_a_correction_reach_the_propagator(service, study, monkeypatch):
    prompted, propagator = [], service.models._inferer.propagator
    scored = propagator.scored_masks

    def watched(slices, anchors, window=None):
        prompted.extend(anchors)
        return scored(slices, anchors, window)

    monkeypatch.setattr(propagator, "scored_masks", watched)
    key_slice = int(study.geometry.source_index[2])
    wait_for(service.correct(study.owner, study.id, "spleen", key_slice, [[10, 10, 25, 25]], [[[12, 14]]]))
    assert [len(points) for _, _, (points,) in prompted] == [1]
    record = study.mask("spleen").current.record
    left, top, right, bottom = study.geometry.shown_xyxy_px
    expected = [round(1000 * (12 - left) / (right - left)), round(1000 * (14 - top) / (bottom - top))]
    assert record["points_1000"] == [[expected]]


def test_no_boxes_say_that_it_is_not_there(service, study):
    wait_for(service.correct(study.owner, study.id, "cyst", int(study.geometry.source_index[0]), []))
    record = study.mask("cyst").current.record
    assert (record["status"], record["voxels"]) == ("absent", 0)


def test_the_second_question_uses_what_was_computed(service, study, monkeypatch):
    encoded, encode = [], service.models._network.encode
    monkeypatch.setattr(service.models._network, "encode", lambda slices: encoded.append(1) or encode(slices))
    service.memory.forget(study.volume)
    for query in ("the liver", "the spleen", "the left kidney"):
        answered(service, study, query)
    assert len(encoded) == 1


def test_owners_see_their_own_studies_and_share_the_volume(service, study):
    other = service.open("somebody else", "ct.nii.gz")
    mask = answered(service, study, "the liver")
    assert other.id != study.id and other.volume == study.volume and other.masks() == []
    assert service.studies("somebody else") == [other]
    for call in (service.study, service.close):
        assert reason(call, "somebody else", study.id) == "unknown_study"
    assert reason(service.ask, "somebody else", study.id, "the liver") == "unknown_study"
    request = service.ask(study.owner, study.id, "the aorta")
    assert reason(service.queue.get, "somebody else", request.id) == "unknown_request"
    wait_for(request)
    kept = service.memory.bytes
    service.close("somebody else", other.id)
    assert service.memory.bytes == kept, "the volume is still in use"
    assert np.array_equal(service.mask(study, mask.current), mask.current.mask.full())


def test_what_a_closed_study_took_is_free(service, study):
    before = service.memory.bytes
    answered(service, study, "the liver")
    service.voxels(study)
    assert service.memory.bytes > before
    service.close(study.owner, study.id)
    assert service.memory.bytes <= before
    assert reason(service.study, study.owner, study.id) == "unknown_study"


def test_a_study_that_is_closed_gets_no_answer(service, study):
    request = service.ask(study.owner, study.id, "the liver")
    service.close(study.owner, study.id)
    assert wait_for(request).error["reason"] == "unknown_study"


@pytest.mark.parametrize("told_of", ["write", "propagate"])
def test_a_cancelled_question_stops_at_the_next_token_or_slice(service, study, asked, monkeypatch, told_of):
    request = service.ask(study.owner, study.id, "the liver")
    told, tell = [], getattr(request.progress, told_of)

    def stop_at_the_second(what):
        told.append(what)
        if len(told) == 2:
            service.queue.cancel(request)
        tell(what)

    monkeypatch.setattr(request.progress, told_of, stop_at_the_second)
    assert wait_for(request).state == "cancelled"
    assert len(told) == 2 and study.masks() == []


def test_progress_is_told(service, study, asked):
    request = wait_for(service.ask(study.owner, study.id, "the liver"))
    record = study.mask("the liver").current.record
    assert request.progress.stage == "propagating"
    assert record["completion"].startswith(request.progress.written) and "<answer>" in request.progress.written
    # Each box on each of the six slices.
    assert request.progress.slices == (6 * len(record["boxes_1000"]),) * 2


@pytest.mark.parametrize("query, expected", [("", "empty_query"), ("x" * 100_000, "query_too_long")])
def test_what_is_no_query_is_refused_at_once(service, study, query, expected):
    with pytest.raises(ValueError) as caught:
        service.ask(study.owner, study.id, query)
    assert caught.value.reason == expected


def test_the_study_that_nobody_used_makes_room(service, study, monkeypatch):
    monkeypatch.setattr(service, "most_studies", len(service._studies))
    assert reason(service.open, "late", "ct.nii.gz") == "too_many_studies"
    for key in service._used_at:
        service._used_at[key] -= 3600
    late = service.open("late", "ct.nii.gz")
    assert len(service._studies) == service.most_studies
    service.close("late", late.id)


def test_a_file_that_goes_away_is_a_reason(service, service_folder, phantom):
    copy = service_folder / "studies" / "gone.nii.gz"
    copy.write_bytes((service_folder / "studies" / "ct.nii.gz").read_bytes())
    study = service.open("a", "gone.nii.gz")
    copy.unlink()
    with pytest.raises(ValueError) as caught:
        service.voxels(study)
    assert caught.value.reason == "missing_file"
    assert str(service_folder) not in service.told(str(caught.value))
    service.close("a", study.id)


def test_other_modalities_are_shown_as_the_models_see_them(service, service_folder, phantom):
    """Values of an MR, a tenth of those of the phantom: not rounded, and with limits of their own."""
    source = nib.load(service_folder / "studies" / "ct.nii.gz")
    values = (np.asarray(source.dataobj) + 1024) / 10000
    nib.save(nib.Nifti1Image(values.astype(np.float32), source.affine), service_folder / "studies" / "mr.nii.gz")
    mr = small_service(service_folder, service_folder / "studies", intensity="percentiles")
    study = mr.open("a", "mr.nii.gz")
    assert 0 <= study.window[0] < study.window[1] < 0.5
    assert mr.voxels(study).dtype == np.float32
    assert np.array_equal(mr.voxels(study), values.astype(np.float32))  # the phantom's axes are LPS
    assert answered(mr, study, "the liver").current.record["volume_ml"] is not None
    mr.shut_down()
    (service_folder / "studies" / "mr.nii.gz").unlink()


def test_messages_do_not_tell_folders(service):
    root, sent = service.folder.root, service.uploads.folder
    assert service.told(f"{root}/a/ct.nii is gone") == "a/ct.nii is gone"
    assert service.told(f"{sent}/tmpx_1/volume.nii is flat, {sent}/tmpx_1 too") == "volume.nii is flat,  too"
    assert service.told("nothing to hide") == "nothing to hide"
