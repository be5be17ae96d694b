"""GRPO of a random tiny model on volumes of three slices, and a model that answers what it is told to."""

import torch
from ignite.engine import Events
from medvol_r1.anchor import EvidenceAnchor, format_completion
from medvol_r1.datasets.volume_queries import VolumeQueries
from medvol_r1.losses import GRPOLoss
from medvol_r1.lvlm.decoding import Completion
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.rewards import AxialReward, CompositeReward, FormatReward, SpatialReward
from medvol_r1.training.grpo import GRPOTrainer
from medvol_r1.training.reference_policy import ReferencePolicy
from medvol_r1.training.rollouts import RolloutSampler
from medvol_r1.training.trainable import TrainableWeights, make_trainable
from toy_rewards import VowelReward

CPU = torch.device("cpu")


def volume(seed=0, num_queries=2, empty=False):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(num_queries, 3, 32, 32, dtype=torch.bool)
    if not empty:
        masks[:, 1, 8:16, 4:20] = True
    return VolumeQueries(
        case=f"case{seed}",
        slices=torch.rand(3, 32, 32, generator=generator),
        texts=("the liver", "show both kidneys")[:num_queries],
        targets=("liver", "kidneys")[:num_queries],
        masks=masks,
        completions=("",) * num_queries,
    )


def policy(folder, lora_rank=0, max_new_tokens=8):
    return make_trainable(VolumeLVLM(folder, max_new_tokens=max_new_tokens), lora_rank, False)


def trainer_of(
    network, steps=1, batch=None, reward=None, kl=0.0, generations=4, learning_rate=1e-3, normalisation="sequence",
    seed=0, optimizer=None, **options,
):  # fmt: skip
    sampler = RolloutSampler(
        reward or CompositeReward(terms={"vowels": VowelReward()}, weights={"vowels": 1.0}),
        generations,
        generator=torch.Generator().manual_seed(seed),
    )
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    return GRPOTrainer(
        device=CPU,
        max_epochs=1,
        train_data_loader=[batch or [volume(0), volume(1, num_queries=1)]] * steps,
        network=network,
        optimizer=optimizer or torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0),
        loss_function=GRPOLoss(kl_coefficient=kl, normalisation=normalisation),
        sampler=sampler,
        reference=options.pop("reference", None) or (ReferencePolicy(network) if kl else None),
        bf16=False,
        **options,
    )


def outputs_of(trainer):
    outputs = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.extend(engine.state.output))
    trainer.run()
    return outputs


def weights_of(network):
    return {name: weight.clone() for name, weight in TrainableWeights(network).state_dict().items()}


class Answers(VolumeLVLM):
    """Writes the completions that it is given, in turns."""

    def __init__(self, folder, texts):
        super().__init__(folder)
        self.texts = texts

    def generate(self, volume, queries, *, num_samples=1, sampling=None, generator=None):
        made = [Completion(text, torch.tensor(self.prompts.completion_ids(text)), True, 0.5) for text in self.texts]
        return [made[:num_samples] for _ in queries]


GOOD = format_completion(EvidenceAnchor(1, ((125, 250, 625, 500),)), "The liver.")


HALF = format_completion(EvidenceAnchor(1, ((125, 250, 375, 500),)), "The liver.")


NOT_THERE = format_completion(EvidenceAnchor(0, ()), "It is not there.")


def three_terms():
    terms = {"R_f": FormatReward(), "R_a": AxialReward(), "R_s": SpatialReward()}
    return CompositeReward(terms=terms, weights=dict.fromkeys(terms, 1.0))


def answered(folder, item, texts=(GOOD, HALF, NOT_THERE, "no idea")):
    network = make_trainable(Answers(folder, texts), 0, False)
    return outputs_of(trainer_of(network, batch=[item], reward=three_terms()))[0]


class Nothing:
    """A propagator that finds nothing."""

    def mask(self, slices, key_index, boxes_xyxy_px):
        return torch.zeros(slices.shape, dtype=torch.bool)


def only(term):
    return CompositeReward(terms={"term": term}, weights={"term": 1.0})
