import numpy as np
import pytest
from medvol_r1.service.progress import Progress


def test_the_window_and_the_names_are_those_of_the_config(service):
    assert service.models.window_hu == (-160, 240)
    assert service.models.names == {"lvlm_path": "lvlm", "medsam2_path": "medsam2"}


def test_a_volume_is_prepared_as_inference_does(service, study):
    image = service.models.prepare(study.path)
    assert image.shape == (1, 6, 32, 32) and 0 <= image.min() < image.max() <= 1
    assert study.geometry.source_index.tolist() == image.meta["source_index"].tolist()


def test_an_answer_does_not_depend_on_what_was_asked_before(service, study):
    image = service.models.prepare(study.path)
    answers = [service.models.answer("v", image, query, Progress()) for query in ("a", "b", "a")]
    service.memory.forget("v")
    assert answers[0].record["completion"] == answers[2].record["completion"] != answers[1].record["completion"]
    assert np.array_equal(answers[0].mask, answers[2].mask) and "query" not in image.meta or image.meta["query"] != "a"


def test_a_query_is_checked(service, study):
    with pytest.raises(ValueError) as caught:
        service.models.answer("v", service.models.prepare(study.path), " ", Progress())
    assert caught.value.reason == "empty_query"
