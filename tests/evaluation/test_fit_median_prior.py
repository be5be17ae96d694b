from medvol_r1.evaluation.fit_median_prior import main, phantom_examples
from medvol_r1.evaluation.median_prior import MedianPrior
from medvol_r1.queries.bank import CONCEPTS


def test_phantoms_give_every_target_with_its_subset():
    names = {name for name, _ in phantom_examples(1)}
    assert {"organs/liver", "whole_body/liver", "renal/kidneys"} <= names
    assert names <= {f"{subset}/{concept.target}" for subset in CONCEPTS for concept in CONCEPTS[subset]}


def test_the_command(tmp_path, capsys):
    main(["--volumes", "1", "--output", str(tmp_path / "prior.json")])
    prior = MedianPrior.load(tmp_path / "prior.json")
    liver = prior.boxes_xyxy_1000["organs/liver"][0]
    assert liver[0] < 500, "the liver is on the patient's right, the left of the picture"
    assert f"{len(prior.positions)} targets written" in capsys.readouterr().out
