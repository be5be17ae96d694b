import numpy as np
import pytest
import torch
from ignite.engine import Events
from inference_stubs import NO_BOX, ONE_BOX, BoxPropagator, CannedNetwork
from medvol_r1.datasets.volume_cases import Target
from medvol_r1.evaluation.bounds import Bounds
from medvol_r1.evaluation.evaluator import VolumeEvaluator
from medvol_r1.inferer import EvidenceInferer
from medvol_r1.volume.cropped_mask import CroppedMask
from monai.data import MetaTensor

TRUTH = np.zeros((3, 8, 8), bool)
TRUTH[2, 1:3, 4:7] = True


def target(shown=TRUTH):
    return Target(CroppedMask.of(shown), shown, np.eye(4), None)


def item(*queries, case="a", targets=None, failures=None):
    entries = [{"case": f"{case}{n}", "query": query} for n, query in enumerate(queries)]
    return {
        "case": case,
        "image_path": "a.nii",
        "queries": entries,
        "failures": failures or [None] * len(entries),
        "targets": targets or [target()] * len(entries),
        "image": MetaTensor(torch.rand(1, 3, 8, 8)),
    }


def run(batches, network=None, propagator=None, bounds=(), **options):
    """The answers of all volumes, by iteration."""
    seen = []
    evaluator = VolumeEvaluator(
        torch.device("cpu"),
        batches,
        network or CannedNetwork(),
        EvidenceInferer(propagator or BoxPropagator()),
        Bounds(bounds),
        **options,
    )
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output))
    evaluator.run()
    return seen


def test_all_queries_of_a_volume_are_asked_together():
    network = CannedNetwork(by_query={"nothing": NO_BOX, "nonsense": "?"})
    ((answers,),) = run([[item("liver", "nothing", "nonsense")]], network)
    assert network.queries == ["liver", "nothing", "nonsense"] and len(network.shapes) == 1
    assert [answer.evidence["status"] for answer in answers] == ["ok", "absent", "missing_tag"]
    assert [answer.mask.sum() for answer in answers] == [16, 0, 0] and answers[0].mask[1, 4:, 2:6].all()
    assert {answer.seconds for answer in answers} == {answers[0].seconds} and answers[0].seconds > 0


def test_a_query_that_fails_fails_alone():
    ((answers,),) = run([[item("liver", "explode", "spleen", "")]], None)
    assert [answer.failure and answer.failure["reason"] for answer in answers] == [None, "ValueError", None, None]
    assert answers[1].failure == {"case": "a1", "reason": "ValueError", "message": "the stub exploded"}
    assert answers[1].mask is None and answers[2].mask.any()


def test_a_propagation_that_fails_fails_alone():
    class Picky(BoxPropagator):
        def mask(self, slices, key_index, boxes, window=None):
            if key_index == 0:
                raise RuntimeError("too close to the end")
            return super().mask(slices, key_index, boxes, window)

    first = ONE_BOX.replace('"key_slice": 2', '"key_slice": 1')
    ((answers,),) = run([[item("liver", "first")]], CannedNetwork(by_query={"first": first}), Picky())
    assert answers[0].mask.any() and answers[1].failure["message"] == "too close to the end"


def test_queries_that_cannot_be_asked_are_not():
    network, failure = CannedNetwork(), {"case": "a0", "reason": "empty_query", "message": "empty"}
    ((answers,),) = run([[item("", "liver", failures=[failure, None])]], network)
    assert network.queries == ["liver"] and answers[0].failure is failure and answers[1].failure is None
    lost = item("liver", failures=[failure])
    del lost["image"]
    ((answers,),) = run([[lost]], network)
    assert answers[0].failure is failure and network.queries == ["liver"]


def test_bounds_are_propagated_with_the_predictions():
    unlabelled, unreadable = None, {"case": "a", "reason": "label_mismatch", "message": ""}
    asked = item("liver", "spleen", "bone", targets=[target(), unlabelled, unreadable])
    propagator = BoxPropagator()
    ((answers,),) = run([[asked]], None, propagator, bounds=("oracle_anchor", "oracle_boxes"))
    np.testing.assert_array_equal(answers[0].bounds["oracle_anchor"], TRUTH)
    assert not answers[0].bounds["oracle_boxes"].any(), "the predicted slice shows nothing of the target"
    assert answers[1].bounds == answers[2].bounds == {}
    assert len(propagator.calls) == 2, "the three predictions share their box"


def test_several_volumes_in_a_batch_and_none_at_all():
    assert [len(answers) for answers in run([[item("liver"), item("a", "b", case="b")]])[0]] == [1, 2]
    assert run([]) == []


class SamplingNetwork(CannedNetwork):
    """Answers with a random box."""

    def generate(self, volume, queries):
        self.completion = ONE_BOX.replace("750", str(300 + int(torch.randint(600, ()))))
        return super().generate(volume, queries)


@pytest.mark.parametrize("options", [{}, {"seed": 3}])
def test_sampled_answers_depend_on_the_volume_and_the_seed_only(options):
    def completions(*cases):
        return [
            answers[0].evidence["completion"]
            for (answers,) in run([[item("liver", case=c)] for c in cases], SamplingNetwork(), **options)
        ]

    a, b = completions("a", "b")
    assert completions("b", "a") == [b, a] and a != b
    assert completions("b") == [b]
    other = run([[item("liver", case="a")]], SamplingNetwork(), seed=9)[0][0][0].evidence["completion"]
    assert other != a
