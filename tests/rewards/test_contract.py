"""TRL's contract: what a reward may be, and what completions may come as."""

import doctest
import math

import pytest
import torch
from datasets import Dataset
from medvol_r1.demo_models.tiny_medsam2 import build_tiny_medsam2
from medvol_r1.losses import group_advantages
from medvol_r1.propagation import SlicePropagator
from medvol_r1.rewards import CompositeReward, ConsistencyReward, FormatReward, SpatialReward, contract, record_of
from reward_cases import FAR, SLICES, TARGET, A, B, all_four, answer, one
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def test_the_example_of_the_docstring():
    result = doctest.testmod(contract)
    assert result.attempted == 1 and result.failed == 0


def test_a_plain_function_is_a_reward():
    def length(completions, **columns):
        return [None if not text else len(text) for text in completions]

    record = record_of(length, ["abc", ""], masks=[TARGET] * 2)
    assert (record.totals, record.terms, record.best) == ([3.0, None], {}, None)

    def broken(completions, **columns):
        return [math.nan]

    with pytest.raises(ValueError, match="The reward 'broken' of completion 0 is nan; .* a finite number, or None"):
        record_of(broken, ["abc"])


@pytest.mark.parametrize(
    "wrapped",
    [
        [{"role": "assistant", "content": answer(6, A)}],
        [{"role": "assistant", "content": [{"type": "text", "text": answer(6, A)}]}],
    ],
)
def test_a_text_may_come_as_a_message(wrapped):
    assert one(all_four(), wrapped) == one(all_four(), answer(6, A)) > 2.0


@pytest.mark.parametrize(
    "odd",
    [None, 3, [], [{}], [{"role": "assistant"}], [{"role": "assistant", "content": None}], [answer(6, A)]]
    + [[{"role": "assistant", "content": answer(6, A)}] * 2],
)
def test_what_is_neither_a_text_nor_one_message_is_a_failure(odd):
    assert one(all_four(), odd) == 0.0


def test_columns_that_a_reward_does_not_read_are_ignored():
    columns = {"prompts": ["?"], "completion_ids": [[1, 2]], "target": ["liver"], "trainer_state": object()}
    text, mask = [answer(6, A, B)], [TARGET]
    assert all_four()(completions=text, masks=mask, slices=[SLICES], **columns) == pytest.approx(
        all_four()(completions=text, masks=mask, slices=[SLICES])
    )


def test_masks_and_slices_may_be_lists_as_a_data_set_of_hugging_face_gives_them():
    text = [answer(6, A, B)]
    propagator = SlicePropagator(build_tiny_medsam2(64, seed=3).eval())
    reward = CompositeReward(
        terms={"R_s": SpatialReward(), "R_c": ConsistencyReward(propagator)}, weights={"R_s": 1.0, "R_c": 1.0}
    )
    as_arrays = reward(completions=text, masks=[TARGET], slices=[SLICES * 0.5])
    assert reward(completions=text, masks=[TARGET.tolist()], slices=[(SLICES * 0.5).tolist()]) == as_arrays


def byte_tokenizer():
    """A token a byte. TRL decodes without special tokens, so the four tags must not be such."""
    alphabet = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_they_run_inside_trl_s_trainer(tmp_path):
    """One step of GRPOTrainer on a tiny text model whose rollouts are written here."""
    trl = pytest.importorskip("trl")
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    texts = [answer(6, A, B), answer(4, A), answer(12, FAR), "<think>The liver."]

    def rollout(prompts, trainer):
        ids = [tokenizer(text).input_ids + [tokenizer.eos_token_id] for text in texts]
        return {"prompt_ids": [tokenizer("the liver").input_ids] * 4, "completion_ids": ids, "logprobs": None}

    columns = {"masks": [TARGET.astype(int).tolist()], "slices": [SLICES.tolist()], "target": ["liver"]}
    prompt = [[{"role": "user", "content": "the liver"}]]
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=[all_four(delta=2), FormatReward(), SpatialReward()],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), max_steps=1, num_generations=4, per_device_train_batch_size=4,
            max_completion_length=128, reward_weights=[1.0, 0.0, 0.0], loss_type="grpo", report_to="none",
            use_cpu=True, bf16=False, disable_tqdm=True, log_completions=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompt, **columns}),
        processing_class=tokenizer,
        rollout_func=rollout,
    )  # fmt: skip
    trainer.train()
    seen = {name: list(values) for name, values in trainer._logs["rewards"].items()}
    expected = all_four(delta=2)(completions=texts, masks=[TARGET] * 4, slices=[SLICES] * 4)
    assert seen["CompositeReward"] == pytest.approx(expected, abs=1e-6)
    assert seen["FormatReward"] == [1.0, 1.0, 1.0, 0.0]
    assert seen["SpatialReward"] == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-6)
    advantages = group_advantages(torch.tensor(expected)).tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx(advantages, abs=1e-5)
