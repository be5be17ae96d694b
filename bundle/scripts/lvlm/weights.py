"""Reading a Qwen-VL, its tokenizer and its adapters, with a clear error for what is not one. Nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from .architecture import KNOWN, MODEL_TYPES, QwenVL

_HINT = (
    "give a local folder in transformers' format (config key `lvlm_path`), or get the paper's model with "
    "`hf download Qwen/Qwen3-VL-4B-Instruct --local-dir bundle/models/Qwen3-VL-4B-Instruct`"
)
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class WeightsError(ValueError):
    """Weights that are missing, damaged, or of another architecture."""


def load_qwen(path: str, dtype: torch.dtype) -> QwenVL:
    """Reads a Qwen-VL, of the class that its config.json names, and checks that every weight was there.

    Args:
        path: a local folder in transformers' format, or the hub id of a model that was downloaded before.
        dtype: of the weights.

    Raises:
        WeightsError: weights that are missing, damaged, of another architecture, or that do not fit their config.
    """
    folder = _local_folder(path)
    config = read_config(path)
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, config=config, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
        )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise WeightsError(f"The weights in {path!r} cannot be read: {_first_line(error)}; {_HINT}.") from error
    wrong = sorted(report["missing_keys"]) + sorted(report["mismatched_keys"]) + sorted(report["unexpected_keys"])
    if wrong:
        raise WeightsError(f"The weights in {path!r} do not fit their config.json ({wrong[0]}, {len(wrong)} in all).")
    return model


def read_config(path: str) -> PreTrainedConfig:
    """Reads the configuration of a Qwen-VL.

    Args:
        path: as for `load_qwen`.

    Raises:
        WeightsError: there is none, or that of another architecture.
    """
    folder = _local_folder(path)
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{path!r} holds no config.json; {_HINT}.")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise WeightsError(f"No language model at {path!r}: {_first_line(error)}; {_HINT}.") from error
    if config.model_type not in MODEL_TYPES:
        raise WeightsError(f"{path!r} is a {config.model_type!r} model, need {KNOWN}; {_HINT}.")
    return config


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """Reads the tokenizer of a Qwen-VL, and its chat template in any of the forms that it is written in.

    Args:
        path: as for `load_qwen`.

    Raises:
        WeightsError: a part that is missing or damaged.
    """
    folder = _local_folder(path)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise WeightsError(f"{path!r} holds no tokenizer ({' or '.join(_TOKENIZERS)}); {_HINT}.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if tokenizer.chat_template is None and (folder / "chat_template.json").is_file():  # the form of a processor
            tokenizer.chat_template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    except Exception as error:  # the library `tokenizers` raises nothing narrower for a damaged file
        raise WeightsError(f"The tokenizer in {path!r} cannot be read: {_first_line(error)}; {_HINT}.") from error
    if not tokenizer.chat_template:
        raise WeightsError(f"{path!r} holds no chat template (chat_template.jinja or chat_template.json); {_HINT}.")
    return tokenizer


def with_adapter(network: QwenVL, folder: str) -> QwenVL:
    """The network with a PEFT adapter merged into its weights.

    Args:
        network: changed in place.
        folder: as PEFT writes it.

    Raises:
        WeightsError: files that are missing or damaged; weights that do not fit the network, or that are not all.
    """
    hint = "it needs what `save_pretrained` of PEFT writes (config key `lvlm_adapter`)"
    if not (Path(folder) / "adapter_config.json").is_file():
        raise WeightsError(f"No PEFT adapter in {folder!r}: it has no adapter_config.json; {hint}.")
    if not any((Path(folder) / name).is_file() for name in _ADAPTER_WEIGHTS):
        raise WeightsError(f"No PEFT adapter in {folder!r}: it has no {' or '.join(_ADAPTER_WEIGHTS)}; {hint}.")
    try:
        saved = load_peft_weights(folder, device="cpu")
        model = PeftModel.from_pretrained(network, folder)
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The adapter in {folder!r} cannot be read: {_first_line(error)}; {hint}.") from error
    expected = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    unused, missing = saved.keys() - expected - model.state_dict().keys(), expected - saved.keys()
    if unused or missing:
        parts = [
            f"{len(names)} {what} (e.g. {min(names)})"
            for what, names in (("fit nothing in it", unused), ("are missing", missing))
            if names
        ]
        raise WeightsError(f"The adapter in {folder!r} does not fit the model: of its weights {', '.join(parts)}.")
    return model.merge_and_unload()


def end_with_turn(network: QwenVL, end_of_turn_id: int) -> None:
    """Makes the end of the assistant's turn an end of completions; a fine-tuned model may name another token alone."""
    configured = network.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    if end_of_turn_id not in ends:
        network.generation_config.eos_token_id = [*(end for end in ends if end is not None), end_of_turn_id]


def _local_folder(path: str) -> Path:
    """Where a model's files are. Not by transformers, which asks the hub even for local files only."""
    if Path(path).exists():
        return Path(path)
    try:
        return Path(snapshot_download(path, local_files_only=True))
    except (OSError, ValueError) as error:
        raise WeightsError(f"No language model at {path!r}, which is no folder on this machine; {_HINT}.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
