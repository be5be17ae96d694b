"""Targets of the user's own: what is read, what is asked, and what the messages say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from medvol_r1.queries import own_targets
from medvol_r1.queries.label_parts import label_parts
from medvol_r1.queries.own_targets import OwnTargetsError, all_paraphrases, read_own_targets
from medvol_r1.queries.phrases import COUPLED_FRAMES
from medvol_r1.queries.real_bank import bank_paraphrases, real_questions
from medvol_r1.queries.wording import SPLITS

GALLBLADDER = {
    "target": "gallbladder",
    "synonyms": ["cholecyst"],
    "sentences": {
        "A": [["the gallbladder", "show the gallbladder"], ["where is the gallbladder?"], ["the whole gallbladder"]],
        "C": [["what stores bile?"], ["the pouch that $holds bile"], ["show me where bile is kept, 胆汁"]],
    },
}
MASSES = {
    "target": "kidney and masses",
    "labels": ["kidney", "kidney tumor", "kidney cyst"],
    "laterality": "both",
    "sentences": {"B": [["both bean-shaped organs and all that grows on them"], ["b"], ["c"]]},
}
LIVER = {"target": "liver", "sentences": {"F": [["one"], ["two"], ["three"], ["four"]]}}
LPS = np.diag([-2.0, -2.0, 5.0, 1.0])


@pytest.fixture
def write(tmp_path):
    def written(*entries):
        path = tmp_path / "own.json"
        path.write_text(json.dumps(entries), encoding="utf-8")
        return path

    return written


def test_the_schema_is_one_and_each_part_says_what_is_legal():
    schema = json.loads(own_targets._SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    def undescribed(node):
        if isinstance(node, dict):
            if {"type", "enum"} & set(node) and isinstance(node.get("type", ""), str) and "description" not in node:
                yield node
            for part in node.values():
                yield from undescribed(part)

    assert list(undescribed(schema)) == []


def test_own_sentences_are_asked_verbatim_by_split(write):
    own = read_own_targets(write(GALLBLADDER, MASSES, LIVER))
    found = {split: {one.target: one for one in all_paraphrases(split, own)} for split in SPLITS}
    texts = {
        split: [text for group in one["gallbladder"].groups["C"] for text in group.texts()]
        for split, one in found.items()
    }
    assert texts == {
        "test": ["what stores bile?"],
        "train": ["the pouch that $holds bile"],
        "validation": ["show me where bile is kept, 胆汁"],
    }
    liver = found["train"]["liver"].groups
    own_keys = [group.key for group in liver["F"] if "own" in group.key]
    assert own_keys == ["liver/F/own1", "liver/F/own3"] and len(liver["F"]) > 2 and set(liver) == set("ABCDEF")
    assert len(found["train"]) == len(all_paraphrases("train")) + 2


def test_own_targets_are_unions_of_labels(write):
    own = read_own_targets(write(GALLBLADDER, MASSES))
    label = np.zeros((40, 10, 6), dtype=int)
    label[2:6, 2:6], label[30:34, 2:6], label[6:8, 2:4], label[20:24, 6:9] = 1, 1, 2, 5
    parts = label_parts(label, LPS, {"kidney": [1], "kidney tumor": [2], "kidney cyst": [3], "gallbladder": [5]})
    entries = real_questions(parts, all_paraphrases("train", own), 2, np.random.default_rng(0)).entries
    values = {entry["target"]: entry["label_values"] for entry in entries}
    assert values["gallbladder"] == [101] and values["kidney and masses"] == [2, 3, 1001]
    assert {e["laterality"] for e in entries if e["target"] == "kidney and masses"} == {"both"}
    np.testing.assert_array_equal(np.isin(parts.label, [2, 3, 1001]), (label == 1) | (label == 2))
    other = label_parts(label, LPS, {"kidney": [1]})
    dropped = dict(real_questions(other, all_paraphrases("train", own), 1, np.random.default_rng(0)).dropped)
    assert dropped["gallbladder"] == "the label map has no names 'gallbladder'."


def changed(entry, **values):
    return {**entry, **values}


def said(entry, kind, *groups):
    return changed(entry, sentences={kind: list(groups)})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"target": "x"}], r"own\.json: entry 1: 'sentences' is a required property; give an object with \"target\""),
        ([changed(LIVER, lables=["x"])], r"entry 1: .*'lables' was unexpected.*; give an object with .*\"labels\""),
        ([LIVER, changed(MASSES, laterality="up")], r"entry 2, at laterality: 'up' is not one of .*; give one of"),
        ([changed(LIVER, target=" ")], "entry 1, at target: ' ' does not match .*; give a name, a text of 1 to 100"),
        ([changed(LIVER, sentences={})], "entry 1, at sentences: .*; give an object of types A to G"),
        ([said(LIVER, "H", ["a"], ["b"], ["c"])], "at sentences: .*'H'.*; give an object of types A"),
        ([said(LIVER, "B", ["a"], ["b"])], r"at sentences\.B: .* too short; give .*at least 3"),
        ([said(LIVER, "B", ["a"], ["b"], "c")], r"at sentences\.B\[2\]: 'c' is not of type 'array'; giv"),
        ([said(LIVER, "B", ["a"], ["b"], [3])], r"at sentences\.B\[2\]\[0\]: 3 is not of type 'string'"),
        (["liver"], "entry 1: 'liver' is not of type 'object'; give an object"),
        ([LIVER, LIVER], "entry 2 of .*, \"target\" 'liver', stands there already"),
        ([changed(LIVER, labels=["liver"])], 'which knows its labels and side; leave out "labels"'),
        ([said(LIVER, "G", ["a"], ["b"], ["c"])], "has sentences of type G; it takes some of A, B, C"),
        (
            [said(LIVER, "B", ["a"], ["the Hepatic gland"], ["c"])],
            r"names its target in sentences\.B\[1\], 'the Hepatic gland': only type A may hold 'hepatic'",
        ),
        (
            [said(GALLBLADDER, "C", ["a"], ["b"], ["the cholecyst"])],
            "only type A may hold 'cholecyst'",
        ),
        ([said(MASSES, "B", ["a"], ["b"], ["masses, and kidney"])], "may hold 'kidney and masses'"),
        ([said(LIVER, "B", ["a"], ["A."], ["c"])], r"'A\.' stands in sentences\.B\[1\] .* and in sent"),
        ([LIVER, said(MASSES, "B", ["a"], ["two"], ["c"])], r"'two' .* and in sentences\.F\[1\] of 'liv"),
        (
            [said(MASSES, "B", ["a"], ["which organ makes bile?"], ["c"])],
            "'which organ makes bile.' stands in .* and in the bank of 'liver'",
        ),
    ],
)
def test_bad_files(write, entries, message):
    with pytest.raises(OwnTargetsError, match=message):
        read_own_targets(write(*entries))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OwnTargetsError, match="the file of own targets .* cannot be read.*config key `queries_file`"):
        read_own_targets(tmp_path / "none.json")


DOCS = Path(__file__).parents[2] / "bundle" / "docs"


def test_the_documented_file_is_legal(tmp_path):
    page = (DOCS / "own_targets.md").read_text(encoding="utf-8")
    path = tmp_path / "own.json"
    path.write_text(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    assert [one.target for one in read_own_targets(path)] == ["gallbladder", "kidney and masses"]


def test_the_page_says_what_is_so():
    page = (DOCS / "queries.md").read_text(encoding="utf-8")
    coupled = dict(re.findall(r"^\| [^|]+ \| (the [^|]+) \| `(\w+)", page, re.MULTILINE))
    said = {
        text: one.resolver.split(":")[0]
        for split in SPLITS
        for one in bank_paraphrases(split, "G")
        for group in one.groups["G"]
        for text in group.texts()
        if text in coupled
    }
    assert set(said) == set(coupled) and len(coupled) == 5
    resolvers = set(re.findall(r"`(\w+):[KS]", page)) | {"largest", "smallest"}
    assert resolvers == set(COUPLED_FRAMES)
