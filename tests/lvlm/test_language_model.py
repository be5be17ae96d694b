"""The models of the bundle and the tests' stand-ins offer what is asked of a language model."""

import inspect

import inference_stubs
import pytest
from medvol_r1.lvlm.decoding import Completion
from medvol_r1.lvlm.language_model import LanguageModel, WithText
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.served_lvlm.model import ServedCompletion, ServedLVLM

METHODS = [name for name in vars(LanguageModel) if not name.startswith("_")]


def test_what_is_asked():
    assert METHODS == ["load", "encode", "generate"]
    for completion in (Completion, ServedCompletion):
        assert set(WithText.__annotations__) <= set(completion.__annotations__)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "model",
    [
        *(VolumeLVLM, ServedLVLM),
        *(inference_stubs.CannedNetwork, inference_stubs.DyingNetwork, inference_stubs.SeveralAnswers),
    ],
)
def test_models_conform(model, name):
    """Each asked parameter is there under its name and with its default; what is more has a default."""
    asked = inspect.signature(getattr(LanguageModel, name)).parameters
    offered = inspect.signature(getattr(model, name)).parameters
    assert list(offered)[: len(asked)] == list(asked)
    for key, parameter in offered.items():
        if key in asked:
            assert (parameter.kind, parameter.default) == (asked[key].kind, asked[key].default)
        else:
            assert parameter.default is not inspect.Parameter.empty
