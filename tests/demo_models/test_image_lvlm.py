"""The start of the demo language model for images: the first layers of another one, for colours."""

import pytest
import torch
from medvol_r1.demo_models.image_lvlm import ensure_image_lvlm
from medvol_r1.lvlm.model import VolumeLVLM
from tiny_models import save_random_lvlm

RANGES = [[0.0, 1.0], [0.2, 0.8], [0.5, 1.0]]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("source") / "lvlm", channel_ranges=RANGES)


def test_its_layers_are_the_first_ones_of_the_source(source, tmp_path):
    made = VolumeLVLM(ensure_image_lvlm(tmp_path / "made", source, num_layers=2)).base.state_dict()
    whole = VolumeLVLM(str(source)).base.state_dict()
    assert whole.keys() - made.keys() == {name for name in whole if ".language_model.layers.2." in name} != set()
    assert all(torch.equal(weight, whole[name]) for name, weight in made.items())


def test_it_sees_colours_and_answers(source, tmp_path):
    model = VolumeLVLM(ensure_image_lvlm(tmp_path / "made", source, num_layers=2), max_new_tokens=3)
    red, green = torch.zeros(2, 1, 3, 32, 32)
    red[:, 0], green[:, 1] = 1.0, 1.0
    assert not torch.allclose(model.encode(red).visual_embeds, model.encode(green).visual_embeds)
    assert len(model.generate(red, ["the liver"])) == 1


def test_it_is_made_once(source, tmp_path):
    folder = ensure_image_lvlm(tmp_path / "made", source, num_layers=2)
    assert ensure_image_lvlm(folder, tmp_path / "not there", num_layers=1) == folder


@pytest.mark.parametrize("num_layers", [0, 4])
def test_layers_that_the_source_lacks_are_refused(source, tmp_path, num_layers):
    with pytest.raises(ValueError, match=f"num_layers is {num_layers}; .* has 3 text layers, give 1 to 3"):
        ensure_image_lvlm(tmp_path / "made", source, num_layers=num_layers)
