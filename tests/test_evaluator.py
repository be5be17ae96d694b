import torch
from ignite.engine import Events
from inference_stubs import BoxPropagator, CannedNetwork
from medvol_r1.evaluator import EvidenceEvaluator
from medvol_r1.inferer import EvidenceInferer
from monai.data import MetaTensor
from monai.transforms import Lambdad


def item(case, query):
    image = MetaTensor(torch.rand(1, 3, 8, 8), meta={"query": query})
    return {"case": case, "query": query, "image": image, "label": torch.ones(1, 2, 2, 2)}


BROKEN = {"case": "d", "failure": {"case": "d", "reason": "not_3d", "message": "flat"}}


class Seen:
    """A handler that notes outputs and failures of each iteration."""

    def attach(self, engine):
        self.answered, self.failures = [], []
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.note)

    def note(self, engine):
        self.answered += engine.state.output
        self.failures += engine.state.failures


def run(batches, **options):
    seen = Seen()
    EvidenceEvaluator(
        torch.device("cpu"), batches, CannedNetwork(), EvidenceInferer(BoxPropagator()), val_handlers=[seen], **options
    ).run()
    return seen


def test_one_failing_case_does_not_stop_the_others():
    seen = run([[item("a", "liver")], [item("b", "explode")], [BROKEN], [item("c", "liver")]])
    assert [output["case"] for output in seen.answered] == ["a", "c"]
    assert seen.failures == [{"case": "b", "reason": "ValueError", "message": "the stub exploded"}, BROKEN["failure"]]


def test_postprocessing_sees_the_answered_cases_of_a_mixed_batch():
    post = Lambdad("pred", lambda pred: pred + 5)
    seen = run([[BROKEN, item("a", "liver"), item("b", "explode"), item("c", "liver")]], postprocessing=post)
    assert [output["case"] for output in seen.answered] == ["a", "c"]
    assert all(output["pred"].min() == 5 and output["pred"].max() == 6 for output in seen.answered)
    assert all({"image", "label", "query"} <= set(output) for output in seen.answered)
    assert {failure["case"] for failure in seen.failures} == {"b", "d"}


def test_all_cases_may_fail():
    seen = run([[BROKEN], [BROKEN]])
    assert seen.answered == [] and len(seen.failures) == 2


def test_gradients_are_off_and_the_network_is_in_evaluation_mode():
    network = CannedNetwork()
    network.train()
    states = []
    network.encode = lambda slices: states.append((network.training, torch.is_grad_enabled()))
    EvidenceEvaluator(torch.device("cpu"), [[item("a", "x")]], network, EvidenceInferer(BoxPropagator())).run()
    assert states == [(False, False)]
