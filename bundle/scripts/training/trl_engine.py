"""Stage 2 by TRL's GRPOTrainer: the same data, prompts and rewards on an engine that many others build on.

What accelerate, DeepSpeed, FSDP and vLLM give is there. Its price: each completion repeats the prompt with all its
images, which our own engine (`grpo`) computes once for a volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig

from ..lvlm.architecture import QwenVL
from ..lvlm.model import LANGUAGE_MODEL_LINEAR
from ..lvlm.prompts import PromptBuilder
from ..lvlm.weights import end_with_turn, load_qwen, load_tokenizer, with_adapter
from ..rewards import CompositeReward, Reward
from .trl_processor import SliceProcessor

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer


def require_trl() -> None:
    """Says what to install before anything looks for it.

    Raises:
        ImportError: trl or accelerate is not installed.
    """
    missing = [name for name in ("trl", "accelerate") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f'TRL\'s engine needs {" and ".join(missing)}: `python -m pip install -c constraints.txt -e ".[trl]"` '
            "(train_grpo.json runs without)."
        )


def load_policy(path: str, adapter: str | Sequence[str] | None, dtype: str) -> QwenVL:
    """The network that training starts from.

    Args:
        path: as for `VolumeLVLM`.
        adapter: of SFT, one or several; merged.
        dtype: of the weights: `float32`, `bfloat16` or `float16`.

    Raises:
        WeightsError: weights or adapters that are missing, damaged or do not fit.
    """
    network = load_qwen(path, getattr(torch, dtype))
    for folder in [adapter] if isinstance(adapter, str) else adapter or ():
        network = with_adapter(network, folder)
    end_with_turn(network, PromptBuilder(load_tokenizer(path)).end_of_turn_id)
    return network


def grpo_trainer(
    *,
    max_epochs: float,
    network: QwenVL,
    processor: SliceProcessor,
    reward: Reward,
    train_dataset: Dataset,
    validation_dataset: Dataset | None,
    lora_rank: int,
    arguments: GRPOConfig,
) -> GRPOTrainer:
    """TRL's trainer of a new LoRA adapter; the reference of the KL term is the network below it.

    Args:
        max_epochs: passes over the data; `max_steps` of the arguments, where it is above 0, counts instead.
        network: the policy that training starts from; an adapter of SFT is merged (`load_policy`).
        processor: of the network, see `load_slice_processor`.
        reward: of a `CompositeReward` the terms become TRL's reward functions, its weights their weights.
        train_dataset: see `trl_dataset`.
        validation_dataset: sampled and rewarded every `eval_steps`; may be None.
        lora_rank: of the adapter on the language model; its scale is 2, as in `VolumeLVLM.add_lora`.
        arguments: all other settings.

    Raises:
        ValueError: lora_rank below 1.
    """
    from trl import GRPOTrainer  # here: an extra, and slow to import

    if lora_rank < 1:
        raise ValueError(
            f"lora_rank is {lora_rank}; TRL's engine trains an adapter of rank 1 or more: without one its reference "
            "would be the model as it was before the adapter of SFT (config key `lora_rank`)."
        )
    terms = list(reward.terms.values()) if isinstance(reward, CompositeReward) else [reward]
    arguments.num_train_epochs = max_epochs
    if isinstance(reward, CompositeReward):
        arguments.reward_weights = [reward.weights[name] for name in reward.terms]
    trainer = GRPOTrainer(
        model=network,
        reward_funcs=terms,
        args=arguments,
        train_dataset=train_dataset,
        eval_dataset=validation_dataset,
        processing_class=processor,
        peft_config=LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=LANGUAGE_MODEL_LINEAR),
    )
    if isinstance(reward, CompositeReward) and len(set(trainer.reward_func_names)) < len(terms):
        trainer.reward_func_names = list(reward.terms)  # terms of one class would share a line of the log
    return trainer
