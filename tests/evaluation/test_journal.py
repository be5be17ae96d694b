import json

import numpy as np
import pytest
from evaluation_rows import row
from medvol_r1.evaluation.journal import ScoreJournal, SettingsError, digest, run_settings
from medvol_r1.evaluation.query_scores import Outcome

SETTINGS = {"lvlm": "0123", "num_slices": 24}
VOLUMES = [{"case": name, "image": f"{name}.nii", "queries": [{}, {}]} for name in "abc"]


def append(journal, case, dsc=0.5):
    masks = np.random.default_rng(ord(case)).random((2, 3, 5, 7)) > 0.5
    answers = [Outcome({"status": "ok"}, None, masks[0]), Outcome(None, {"case": case, "reason": "x", "message": ""})]
    journal.append({"case": case}, answers, [row(f"{case}0", dsc), row(f"{case}1", 0.0)])
    return masks


def test_what_is_finished_is_known_to_the_next_run(tmp_path):
    journal = ScoreJournal(tmp_path / "out", SETTINGS)
    assert journal.pending(VOLUMES) == VOLUMES
    append(journal, "c")
    masks = append(journal, "a", 0.25)
    again = ScoreJournal(tmp_path / "out", SETTINGS)
    assert again.pending(VOLUMES) == [VOLUMES[1]]
    rows = again.rows(VOLUMES)
    assert [one["case"] for one in rows] == ["a0", "a1", "c0", "c1"], "in the order of the datalist"
    assert rows[0] == row("a0", 0.25)
    evidence, mask = again.answer(VOLUMES[0], 0)
    assert evidence == {"status": "ok"}
    np.testing.assert_array_equal(mask, masks[0])
    evidence, mask = again.answer(VOLUMES[0], 1)
    assert evidence is None and not mask.any()


@pytest.mark.parametrize("left", ['{"case": "b", "rows": [', '{"case": "b", "rows": []}'])
def test_a_line_that_was_cut_off_counts_for_nothing_and_the_next_one_is_whole(tmp_path, left):
    append(ScoreJournal(tmp_path, SETTINGS), "a")
    with (tmp_path / "finished.jsonl").open("a") as file:
        file.write(left)  # no end of line
    journal = ScoreJournal(tmp_path, SETTINGS)
    assert journal.pending(VOLUMES) == VOLUMES[1:]
    append(journal, "b")
    lines = (tmp_path / "finished.jsonl").read_text().splitlines()
    assert [json.loads(line)["case"] for line in lines] == ["a", "b"]
    assert ScoreJournal(tmp_path, SETTINGS).pending(VOLUMES) == VOLUMES[2:]


def test_each_process_keeps_its_own_and_any_number_of_them_goes_on(tmp_path, monkeypatch):
    def of_process(rank):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
        return ScoreJournal(tmp_path, SETTINGS)

    first = of_process(0)
    append(first, "a")
    with (tmp_path / "finished.1.jsonl").open("a") as file:
        file.write('{"case": "b", "rows": [')
    third = of_process(2)  # leaves the files of the others as they are
    assert third.pending(VOLUMES) == VOLUMES[1:] and (tmp_path / "finished.1.jsonl").stat().st_size > 0
    second = of_process(1)
    append(second, "b")
    append(third, "c")
    assert first.pending(VOLUMES) == VOLUMES[1:]
    first.wait_for_others()
    assert [one["case"] for one in first.rows(VOLUMES)] == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert of_process(0).pending(VOLUMES) == []


def test_other_settings_are_refused_with_their_names(tmp_path):
    ScoreJournal(tmp_path, SETTINGS)
    with pytest.raises(SettingsError, match="`lvlm` is '0123' there, '4567' now. Give another `output_dir`, or remove"):
        ScoreJournal(tmp_path, SETTINGS | {"lvlm": "4567"})
    with pytest.raises(SettingsError, match="`bounds` is None there, 'prior' now"):
        ScoreJournal(tmp_path, SETTINGS | {"bounds": "prior"})
    ScoreJournal(tmp_path, SETTINGS)


def test_all_volumes_may_have_failed_without_a_mask(tmp_path):
    journal = ScoreJournal(tmp_path, SETTINGS)
    failed = Outcome(None, {"case": "a", "reason": "missing_file", "message": ""})
    journal.append({"case": "a"}, [failed, failed], [row("a0", 0.0), row("a1", 0.0)])
    assert journal.answer(VOLUMES[0], 1)[1].size == 0


def test_a_digest_is_that_of_names_and_contents(tmp_path):
    for name, content in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(content)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != digest(tmp_path / "three")
    (tmp_path / "two" / "weights").rename(tmp_path / "two" / "other")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")
    assert digest(tmp_path / "one" / "weights") != digest(tmp_path / "three" / "weights")
    assert digest(None) is None and digest("Qwen/Qwen3-VL-4B-Instruct") == "Qwen/Qwen3-VL-4B-Instruct"


def test_settings_know_the_list_wherever_the_run_was_started(tmp_path, monkeypatch):
    def of(image, query):
        volumes = [{"case": "a", "image": image, "queries": [{"image": image, "query": query}]}]
        return run_settings(volumes, {"lvlm": None}, {"num_slices": 24})

    monkeypatch.chdir(tmp_path)
    assert of("ct.nii", "liver") == of(str(tmp_path / "ct.nii"), "liver")
    found = of("a", "b")
    assert of("ct.nii", "liver") != of("ct.nii", "the liver") and set(found) == {"datalist", "lvlm", "num_slices"}
