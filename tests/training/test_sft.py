import math

import pytest
import torch
from ignite.engine import Events
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.datasets.volume_queries import VolumeQueries, collate_volumes
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.training.sft import SFTTrainer
from medvol_r1.training.trainable import make_trainable


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
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
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


def test_volume_queries_must_match():
    item = volume(0)
    with pytest.raises(ValueError, match="one target, mask and completion"):
        VolumeQueries(item.case, item.slices, item.texts, item.targets[:1], item.masks, item.completions)
    assert collate_volumes((item, item)) == [item, item]
