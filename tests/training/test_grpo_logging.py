"""What a step of GRPO shows: scalars, completions as text, the best of them as a picture."""

import numpy as np
import pytest
from grpo_runs import GOOD, HALF, NOT_THERE, Nothing, answered, outputs_of, policy, three_terms, trainer_of, volume
from medvol_r1.training.grpo_logging import RolloutWriter, group_picture, group_text, step_scalars
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_completions_that_are_cut_are_counted_and_parsed_strictly(folder):
    (output,) = outputs_of(trainer_of(policy(folder, max_new_tokens=3)))
    completions = [one for rollouts in output["rollouts"] for one in rollouts.flat]
    cut = [one for one in completions if not one.finished]
    scalars = step_scalars(output)
    assert cut and all(len(one.ids) == 3 for one in cut)
    assert scalars["completion/cut_fraction"] == len(cut) / len(completions)
    assert scalars["completion/tokens"] <= 3


def test_a_group_as_text_is_best_first_and_not_markdown(folder):
    rollouts = answered(folder, volume(0), texts=("no idea", HALF, GOOD, "# no"))["rollouts"][0]
    lines = group_text(rollouts, 1).splitlines()
    assert all(line.startswith("    ") for line in lines)
    assert "case0: show both kidneys" in lines[0]
    assert [float(line.split()[0]) for line in lines[2::2]] == [3.0, 2.5, 0.0, 0.0]
    assert GOOD in lines[3]


@pytest.mark.parametrize("texts", [(GOOD, HALF), (NOT_THERE, "no idea"), ("no", "no idea")])
def test_a_group_as_a_picture(folder, texts, tmp_path):
    rollouts = answered(folder, volume(0), texts=texts * 2)["rollouts"][0]
    group_picture(rollouts, 0, Nothing()).savefig(tmp_path / "picture.png")
    assert np.asarray(Image.open(tmp_path / "picture.png").convert("L")).std() > 5


def test_tensorboard_gets_scalars_texts_and_pictures(folder, tmp_path):
    trainer = trainer_of(policy(folder), steps=3, reward=three_terms(), kl=0.01)
    RolloutWriter(str(tmp_path), every=2, propagator=Nothing()).attach(trainer)
    trainer.run()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Images("rollouts")] == [1, 3]
    assert [event.step for event in events.Tensors("rollouts/text_summary")] == [1, 3]
    scalars = step_scalars(trainer.state.output[0])
    wanted = {
        "loss", "reward/total", "reward/best", "reward/R_f", "reward/R_a", "reward/R_s", "policy/kl", "policy/entropy",
        "policy/clip_fraction", "completion/tokens", "completion/cut_fraction", "groups/zero_std_fraction",
        "speed/tokens_per_second", "speed/sampling_seconds", "speed/reward_seconds", "speed/update_seconds",
        "failures/missing_tag", "targets/absent",
    }  # fmt: skip
    assert wanted <= set(scalars) and all(isinstance(value, int | float) for value in scalars.values())
