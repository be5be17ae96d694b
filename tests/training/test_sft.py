import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.datasets.volume_queries import VolumeQueries, collate_volumes
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.training.sft import (
    AnchorEvaluator,
    ResumableSampler,
    SFTTrainer,
    TrainableWeights,
    latest_checkpoint,
    make_trainable,
    score_anchor,
)
from monai.handlers import CheckpointSaver
from tiny_models import save_random_lvlm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_lvlm(tmp_path_factory.mktemp("lvlm"))


def volume(seed, num_queries=2):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(num_queries, 3, 32, 32, dtype=torch.bool)
    masks[:, 1, 8:16, 4:20] = True
    anchor = EvidenceAnchor(1, ((125, 250, 625, 500),))
    return VolumeQueries(
        case=f"case{seed}",
        slices=torch.rand(3, 32, 32, generator=generator),
        texts=("the liver", "show both kidneys")[:num_queries],
        targets=("liver", "kidneys")[:num_queries],
        masks=masks,
        completions=(format_completion(anchor, "The liver."),) * num_queries,
    )


def trainer_of(folder, steps=3, lora_rank=0, batch=None, **options):
    network = make_trainable(VolumeLVLM(str(folder), max_new_tokens=40), lora_rank, gradient_checkpointing=False)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    batch = batch or [volume(0), volume(1, num_queries=1)]
    return SFTTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch] * steps,
        network=network,
        optimizer=torch.optim.AdamW(trained, lr=3e-3),
        bf16=options.pop("bf16", False),
        **options,
    )


def losses_of(trainer):
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"]))
    trainer.run()
    return losses


def test_first_loss_is_the_mean_over_completion_tokens(folder):
    trainer = trainer_of(folder, steps=1)
    network = trainer.network
    sums, count = 0.0, 0
    with torch.no_grad():
        for item in (volume(0), volume(1, num_queries=1)):
            for text, completion in zip(item.texts, item.completions, strict=True):
                ids = torch.tensor(network.prompts.completion_ids(completion))
                sums -= network.log_probs(network.encode(item.slices), [text], [[ids]])[0][0].sum().item()
                count += len(ids)
    assert losses_of(trainer)[0] == pytest.approx(sums / count, rel=1e-5)
    # about as likely as any of the vocabulary's tokens before training
    assert sums / count == pytest.approx(math.log(network.base.config.text_config.vocab_size), rel=0.1)


def test_volumes_of_one_forward_give_the_loss_and_the_weights_of_the_loop(folder):
    batch = [volume(0), volume(1, num_queries=1), volume(2)]
    loop = trainer_of(folder, steps=2, batch=batch)
    packed = trainer_of(folder, steps=2, batch=batch, volumes_per_forward=2)
    assert losses_of(packed) == pytest.approx(losses_of(loop), rel=1e-5)
    for name, weight in loop.network.named_parameters():
        torch.testing.assert_close(weight, packed.network.get_parameter(name), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_small_batch_is_learned_and_written_greedily(folder, bf16):
    trainer = trainer_of(folder, steps=60, bf16=bf16, batch=[volume(0)])
    losses = losses_of(trainer)
    assert losses[-1] < 0.05 < 5 < losses[0]
    completions = trainer.network.generate(volume(0).slices, volume(0).texts)
    assert tuple(group[0].text for group in completions) == volume(0).completions


def test_accumulation_of_two_halves_is_one_batch(folder):
    # Equal token counts, so the mean of the halves' means is the mean of the whole.
    both = trainer_of(folder, steps=1, batch=[volume(0), volume(1)], max_grad_norm=1e9)
    halves = trainer_of(folder, steps=1, max_grad_norm=1e9, accumulation_steps=2)
    halves.data_loader = halves.state.dataloader = [[volume(0)], [volume(1)]]
    halves.state.epoch_length = 2
    losses_of(both)
    losses_of(halves)
    for name, weight in both.network.named_parameters():
        torch.testing.assert_close(weight, halves.network.get_parameter(name), rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_changes_nothing(folder):
    plain = trainer_of(folder, steps=2, lora_rank=4)
    saving = trainer_of(folder, steps=2, lora_rank=4)
    saving.network.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(0)
    for trainer in (plain, saving):
        for name, weight in trainer.network.named_parameters():
            if "lora_" in name:
                torch.nn.init.constant_(weight, 0.01)
    assert losses_of(plain) == pytest.approx(losses_of(saving), rel=1e-5)


def test_lora_leaves_the_base_as_it_was(folder):
    trainer = trainer_of(folder, steps=2, lora_rank=4)
    before = {name: weight.clone() for name, weight in trainer.network.named_parameters()}
    losses_of(trainer)
    changed = {name for name, weight in trainer.network.named_parameters() if not torch.equal(weight, before[name])}
    assert changed and all("lora_" in name for name in changed)


def test_resumed_run_equals_the_uninterrupted_one(folder, tmp_path):
    batches = [[volume(seed)] for seed in range(4)]

    def run(stop_after=None, resume=None):
        torch.manual_seed(0)
        trainer = trainer_of(folder, batch=[volume(0)], steps=1)
        sampler = ResumableSampler(4, seed=3)
        loader = torch.utils.data.DataLoader(batches, batch_size=1, sampler=sampler, collate_fn=lambda items: items[0])
        trainer.data_loader = trainer.state.dataloader = loader
        trainer.state.epoch_length, trainer.state.max_epochs = 2, 2
        sampler.attach(trainer, batch_size=1)
        weights = TrainableWeights(trainer.network)
        save_dict = {"trainer": trainer, "network": weights, "optimizer": trainer.optimizer}
        CheckpointSaver(str(tmp_path), save_dict, save_interval=1, n_saved=1).attach(trainer)
        if resume:
            state = torch.load(resume, weights_only=True)
            for key, owner in save_dict.items():
                owner.load_state_dict(state[key])
        if stop_after:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.terminate())
        trainer.run()
        return {name: weight.clone() for name, weight in weights.state_dict().items()}, trainer.state.iteration

    whole, iterations = run()
    half, half_iterations = run(stop_after=1)
    resumed, resumed_iterations = run(resume=latest_checkpoint(tmp_path))
    assert (iterations, half_iterations, resumed_iterations) == (4, 2, 4)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], half[name]) for name in whole)


def test_sampler_goes_on_behind_what_was_seen():
    whole = ResumableSampler(5, seed=1)
    passes = [*whole, *whole, *whole]
    assert sorted(passes[:5]) == list(range(5)) and passes[:5] != passes[5:10]
    engine = Engine(lambda engine, batch: None)
    engine.state.iteration = 3
    resumed = ResumableSampler(5, seed=1)
    resumed.attach(engine, batch_size=2)
    engine.fire_event(Events.STARTED)
    assert len(resumed) == 4
    assert [*resumed, *resumed] == passes[6:15]
    with pytest.raises(ValueError, match="0 items"):
        ResumableSampler(0)


def test_a_checkpoint_of_other_weights_is_refused(folder):
    with_lora = TrainableWeights(make_trainable(VolumeLVLM(str(folder)), 2, False))
    whole = TrainableWeights(make_trainable(VolumeLVLM(str(folder)), 0, False))
    with pytest.raises(ValueError, match="other weights than this run"):
        whole.load_state_dict(with_lora.state_dict())


MASK = np.zeros((3, 10, 10), dtype=bool)
MASK[1, 2:6, 2:6] = True  # 16 pixels, box [2, 2, 6, 6] = 200..600
MASK[2, 2:4, 2:6] = True  # 8 pixels: visibility 8/16
EMPTY = np.zeros_like(MASK)


@pytest.mark.parametrize(
    "anchor, mask, expected",
    [
        (EvidenceAnchor(1, ((200, 200, 600, 600),)), MASK, {"format_rate": 1, "R_a": 1, "box_iou": 1}),
        # half of the true box: IoU 8/16
        (EvidenceAnchor(1, ((200, 200, 400, 600),)), MASK, {"format_rate": 1, "R_a": 1, "box_iou": 0.5}),
        # other slice: its own box counts, 8 of 8 pixels
        (EvidenceAnchor(2, ((200, 200, 600, 400),)), MASK, {"format_rate": 1, "R_a": 0.5, "box_iou": 1}),
        (EvidenceAnchor(0, ((200, 200, 600, 600),)), MASK, {"format_rate": 1, "R_a": 0, "box_iou": 0}),
        (EvidenceAnchor(1, ()), MASK, {"format_rate": 1, "R_a": 0, "box_iou": 0}),
        (EvidenceAnchor(0, ()), EMPTY, {"format_rate": 1, "absent_accuracy": 1}),
        (EvidenceAnchor(0, ((0, 0, 9, 9),)), EMPTY, {"format_rate": 1, "absent_accuracy": 0}),
        (None, MASK, {"format_rate": 0, "R_a": 0, "box_iou": 0}),
        (None, EMPTY, {"format_rate": 0, "absent_accuracy": 0}),
    ],
)
def test_scores_of_one_completion(anchor, mask, expected):
    text = "nothing" if anchor is None else format_completion(anchor)
    assert score_anchor(text, mask) == pytest.approx(expected)


def test_evaluator_averages_over_queries(folder):
    class Answers(VolumeLVLM):
        def generate(self, volume, queries, **options):
            good = format_completion(EvidenceAnchor(1, ((125, 250, 625, 500),)))
            return [[type("C", (), {"text": text})] for text in (good, "no answer")]

    evaluator = AnchorEvaluator(torch.device("cpu"), [[volume(0)]], Answers(str(folder)))
    evaluator.run()
    metrics = evaluator.state.metrics
    assert metrics["format_rate"] == metrics["R_a"] == metrics["box_iou"] == 0.5
    assert math.isnan(metrics["absent_accuracy"])  # no absent target was asked for


def test_volume_queries_must_match():
    item = volume(0)
    with pytest.raises(ValueError, match="one target, mask and completion"):
        VolumeQueries(item.case, item.slices, item.texts, item.targets[:1], item.masks, item.completions)
    assert collate_volumes((item, item)) == [item, item]
