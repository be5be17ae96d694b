"""The one reader of lists of cases: what is legal, what each use requires, and what its messages say."""

import json

import pytest
from hostile_text import HOSTILE
from medvol_r1.datasets.datalist import (
    CASES,
    PROPAGATOR_TRAINING,
    TRAINING,
    DatalistError,
    name_of_image,
    read_datalist,
)


def write(folder, entries, name="datalist.json"):
    path = folder / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


def test_a_datalist_is_read_verbatim_and_relative_to_its_folder(tmp_path):
    entries = [{"image": "sub/ct.nii.gz", "query": text, "label": "/abs/label.nii"} for text in HOSTILE]
    cases = read_datalist(write(tmp_path, entries))
    assert [case["query"] for case in cases] == HOSTILE
    assert {case["image"] for case in cases} == {str(tmp_path / "sub/ct.nii.gz")}
    assert {case["label"] for case in cases} == {"/abs/label.nii"}


def test_given_evidence_is_kept_as_it_is_to_be_judged_with_its_volume(tmp_path):
    given = {"key_slice": "3", "bbox_2d_list": [[1, 2]]}
    (case,) = read_datalist(write(tmp_path, [{"image": "ct.nii", "query": "q", **given}]))
    assert case.items() >= given.items()


def test_case_names_default_to_the_file_and_are_unique(tmp_path):
    images = ["a/ct.nii.gz", "b/ct.nii.gz", "ct.nii", "x.y.nii.gz", "ct.nii.gz", "dir/"]
    entries = [{"image": image, "query": "q"} for image in images]
    entries[4]["case"] = "ct_2"
    names = [case["case"] for case in read_datalist(write(tmp_path, entries))]
    assert names == ["ct", "ct_3", "ct_4", "x.y", "ct_2", "dir"]


@pytest.mark.parametrize(
    "entries, message",
    [
        ("[", "datalist.json is not JSON in UTF-8: Expecting value"),
        ([], 'the datalist .* holds an empty list; give a JSON list of objects with "image", "query"'),
        ({"testing": []}, "holds dict; give a JSON list"),
        (["ct.nii"], "entry 1 of .*datalist.json is 'ct.nii'; give an object"),
        ([{"image": "a", "query": "q"}, {"image": "a"}], 'entry 2 of .* has no "query"; "image", "query" are needed'),
        ([{"query": "q"}], 'entry 1 of .* has no "image"'),
        ([{"image": 3, "query": "q"}], '"image" of entry 1 of .* is 3; give a text'),
        ([{"image": "", "query": "q"}], "\"image\" of entry 1 of .* is ''"),
        ([{"image": "a", "query": "q", "label": None}], '"label" of entry 1 of .* is None'),
        ([{"image": "a", "query": "q", "case": "../a"}], "\"case\" of entry 1 of .* is '../a'; it names a folder"),
        ([{"image": "a", "query": "q", "case": ".."}], "is '..'; it names a folder"),
        ([{"image": "a", "query": "q", "case": "x" * 151}], "at most 150 characters"),
        ([{"image": f, "query": "q", "case": "one"} for f in "ab"], "the case name 'one' stands twice"),
    ],
)
def test_a_datalist_that_cannot_be_used_says_why(tmp_path, entries, message):
    with pytest.raises(DatalistError, match=message):
        read_datalist(write(tmp_path, entries))


def test_a_datalist_that_is_not_there_names_the_config_key(tmp_path):
    with pytest.raises(DatalistError, match=r"nowhere.json cannot be read: No such file.*config key `datalist`"):
        read_datalist(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"target": 3}, '"target" of entry 1 of .* is 3; give a text, or leave it out'),
        ({"implicitness": "2"}, "\"implicitness\" of entry 1 of .* is '2'; give a whole number"),
        ({"implicitness": True}, '"implicitness" .* is True'),
        ({"label_values": 2}, '"label_values" of entry 1 of .* is 2; give a list of whole numbers, at least one'),
        ({"label_values": []}, r'"label_values" of entry 1 of .* is \[\]'),
        ({"opposite_values": [1.5]}, r'"opposite_values" .* is \[1.5\]'),
        ({"opposite_label": ""}, "\"opposite_label\" of entry 1 of .* is ''; give a text that is not empty"),
    ],
)
def test_a_description_that_is_not_one(tmp_path, entry, message):
    with pytest.raises(DatalistError, match=message):
        read_datalist(write(tmp_path, [{"image": "a", "query": "q", **entry}]))


def test_null_in_a_description_is_as_good_as_nothing(tmp_path):
    cases = read_datalist(write(tmp_path, [{"image": "a", "query": "q", "type": None, "subset": "renal"}]))
    assert "type" not in cases[0] and cases[0]["subset"] == "renal"


@pytest.mark.parametrize("use", [CASES, TRAINING, PROPAGATOR_TRAINING], ids=lambda use: use.called)
def test_each_use_names_what_it_requires(tmp_path, use):
    whole = {"image": "ct.nii.gz", "label": "label.nii.gz", "query": "q"}
    for name in ("ct.nii.gz", "label.nii.gz"):
        (tmp_path / name).touch()
    for key in whole:
        path = write(tmp_path, [{name: value for name, value in whole.items() if name != key}])
        if key in use.required:
            with pytest.raises(DatalistError, match=f'entry 1 of .* has no "{key}"'):
                read_datalist(path, use)
        else:
            assert key not in read_datalist(path, use)[0]
    with pytest.raises(DatalistError, match=f"{use.called} .*cannot be read.*{use.config_keys}"):
        read_datalist(tmp_path / "absent.json", use)


@pytest.mark.parametrize("use", [TRAINING, PROPAGATOR_TRAINING], ids=lambda use: use.called)
def test_training_looks_for_all_files_first_and_names_those_that_miss(tmp_path, use):
    (tmp_path / "ct.nii.gz").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "series").mkdir()
    files = [("ct.nii.gz", "label.nii"), ("gone.nii.gz", "label.nii"), ("ct.nii.gz", "folder"), ("series", "label.nii")]
    path = write(tmp_path, [{"image": image, "label": label, "query": "q"} for image, label in files])
    with pytest.raises(DatalistError, match=f"3 of the 5 files of {use.called} .* are not there") as caught:
        read_datalist(path, use)
    # A folder may be the DICOM series of an image, but not a label.
    assert str(caught.value).splitlines()[1:] == [
        f"  {tmp_path / name}" for name in ("label.nii", "gone.nii.gz", "folder")
    ]
    assert len(read_datalist(path)) == 4, "inference reports such a case and goes on"


def test_the_name_of_an_image_is_legal_as_a_folder():
    names = {"a/ct.NII.gz": "ct", "x.nii": "x", 'a"b?.nii.gz': "a_b_", "/": "case", "n" * 200: "n" * 150}
    names |= {"a/series 1/": "series 1", "a/1.2.840.1": "1.2.840.1", "a/series/IM01.DCM": "IM01", "a/b/..": "a"}
    names |= {"a/fundus.PNG": "fundus", "b.jpeg": "b", "c.tif": "c", "d.v2.bmp": "d.v2", "png": "png"}
    assert {path: name_of_image(path) for path in names} == names


def test_the_folder_where_one_is_has_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "series").mkdir()
    monkeypatch.chdir(tmp_path / "series")
    assert name_of_image(".") == "series"


MARKS = {"bbox": [10, 20, 300, 400], "points_1": [50, 60], "points_2": [70, 80]}


def test_marks_are_read_as_they_are(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": "a.png", "query": "the mole", "marks": MARKS}]))
    assert read_datalist(path)[0]["marks"] == MARKS


@pytest.mark.parametrize(
    "marks", [[], {"bbox": [10, 20, 300, 400]}, MARKS | {"bbox": [300, 20, 10, 400]}, MARKS | {"points_1": [1001, 0]}]
)
def test_marks_that_mark_nothing_are_refused(tmp_path, marks):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": "a.png", "query": "the mole", "marks": marks}]))
    with pytest.raises(DatalistError, match='"marks" of entry 1 of .* give an object with "bbox", "points_1" and'):
        read_datalist(path)
