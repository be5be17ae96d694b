"""The large vision-language model: Qwen3-VL over the slices of a volume.

Loading and the network are transformers'; what is here is the volume around it: slices to patches, one prompt prefix
per volume, vision features computed once, many queries and samples behind the same prefilled prefix, and token
log-probabilities of packed completions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoTokenizer,
    DynamicCache,
    PreTrainedTokenizerBase,
    Qwen3VLForConditionalGeneration,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from .anchor import ParseFailure, boxes_1000_to_px, parse_completion
from .patches import slices_to_patches
from .prompts import INSTRUCTION, PromptBuilder
from .qwen_weights import WeightsError, load_qwen
from .shared_prefix import PREFIX, PackedTree, pack_tree

# The vision tower is left out by default: adapters there would spoil features that are computed once and kept.
LANGUAGE_MODEL_LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

# Number of sequences that are decoded together; more are taken in turns.
_MAX_DECODED_TOGETHER = 64


@dataclass(frozen=True)
class EncodedVolume:
    """The prompt prefix of a volume, with its vision features, computed once.

    Args:
        prefix_ids: int64 [P].
        position_ids: int64 [3, P], M-RoPE positions.
        visual_mask: bool [P], True at visual tokens.
        visual_embeds: [V, hidden], what stands at the visual tokens.
        deepstack: a tensor [V, hidden] for each early layer that they are added behind.
        num_slices: S.
    """

    prefix_ids: torch.Tensor
    position_ids: torch.Tensor
    visual_mask: torch.Tensor
    visual_embeds: torch.Tensor
    deepstack: tuple[torch.Tensor, ...]
    num_slices: int


@dataclass(frozen=True)
class Completion:
    """What the model wrote.

    Args:
        text: without the end token; everything else verbatim.
        ids: int64 [n], with the end token if it came.
        finished: whether the end token came within the limit.
    """

    text: str
    ids: torch.Tensor
    finished: bool


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the most probable token (greedy); above, samples.
        top_p: keep the smallest set of tokens with this total probability; 1 keeps all.
        top_k: keep this many tokens; 0 keeps all.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(f"Need temperature >= 0, 0 < top_p <= 1 and top_k >= 0, got {self}.")

    def choose(self, logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Token ids int64 [B] from logits float [B, vocabulary]."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        empty = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        logits = TemperatureLogitsWarper(float(self.temperature))(empty, logits)
        if self.top_k:
            logits = TopKLogitsWarper(self.top_k)(empty, logits)
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(empty, logits)
        return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


class VolumeLVLM(nn.Module):
    """Qwen3-VL that reads the slices of a volume and answers queries with an evidence anchor (paper, Sec. 2.3).

    Light to construct: configuration, tokenizer and weights are read at the first use, onto the device that the module
    was moved to. It survives `copy.deepcopy` before and after that.

    Args:
        path: a local folder in transformers' format, or a hub id.
        adapter: folder of a PEFT adapter to put on top and merge; None for none.
        dtype: of the weights: `float32`, `bfloat16` or `float16`.
        slice_size: side in pixels that slices are resized to for this model; None takes them as they come.
        instruction: see `PromptBuilder`.
        max_new_tokens: longest completion (paper: 256).
        sampling: how tokens are chosen in `forward` and as default of `generate`.
        default_query: what `forward` asks when it gets an image alone.

    Raises:
        WeightsError: at the first use, when the weights are missing, damaged or of another architecture.
    """

    def __init__(
        self,
        path: str,
        *,
        adapter: str | None = None,
        dtype: str = "float32",
        slice_size: int | None = None,
        instruction: str = INSTRUCTION,
        max_new_tokens: int = 256,
        sampling: Sampling | None = None,
        default_query: str = "the liver",
    ) -> None:
        super().__init__()
        if dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r} (config key `dtype`).")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        self.path = str(path)
        self.adapter = adapter
        self.dtype = getattr(torch, dtype)
        self.slice_size = slice_size
        self.instruction = instruction
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling or Sampling()
        self.default_query = default_query
        # The only state before loading: where the module lives, and the format that a checkpoint of it has.
        self.register_buffer("format_version", torch.tensor(1))
        self.qwen: Any = None  # Qwen3VLForConditionalGeneration, or a PeftModel around it
        self._prompts: PromptBuilder | None = None

    # Loading and saving -------------------------------------------------------------------------------------------

    def load(self) -> VolumeLVLM:
        """Reads the weights now, if that has not happened yet."""
        if self.qwen is not None:
            return self
        if self.adapter is not None and not (Path(self.adapter) / "adapter_config.json").is_file():
            raise WeightsError(f"No PEFT adapter in {self.adapter!r}: it has no adapter_config.json (key `adapter`).")
        qwen = load_qwen(self.path, self.dtype)
        if self.adapter is not None:
            qwen = PeftModel.from_pretrained(qwen, self.adapter).merge_and_unload()
        self._prompts = PromptBuilder(AutoTokenizer.from_pretrained(self.path), self.instruction)
        self.qwen = qwen.eval().requires_grad_(False).to(self.format_version.device)
        return self

    def add_lora(
        self, rank: int = 128, alpha: float = 256.0, dropout: float = 0.0, target_modules: str = LANGUAGE_MODEL_LINEAR
    ) -> VolumeLVLM:
        """Puts a trainable LoRA adapter on the frozen weights (paper, Sec. 3.1.3: rank 128, all linear layers).

        Args:
            rank: of the adapter.
            alpha: scale; the update is multiplied with alpha / rank.
            dropout: on the adapter's input.
            target_modules: regular expression over the names of linear layers; the default leaves the vision tower out.
        """
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=target_modules)
        self.qwen = get_peft_model(self.load().qwen, config)
        return self

    def unfreeze(self) -> VolumeLVLM:
        """Makes every weight trainable (for the small model)."""
        self.load().qwen.requires_grad_(True)
        return self

    def save(self, folder: str | Path) -> None:
        """Writes what was trained: the adapter alone with LoRA, else the whole model; the tokenizer in both cases."""
        self.load().qwen.save_pretrained(folder)
        self.prompts.tokenizer.save_pretrained(folder)

    @property
    def base(self) -> Qwen3VLForConditionalGeneration:
        """The network itself, below an adapter."""
        qwen = self.load().qwen
        return qwen.get_base_model() if hasattr(qwen, "get_base_model") else qwen

    @property
    def prompts(self) -> PromptBuilder:
        """Builds prompts with the model's own tokenizer."""
        if self._prompts is None:
            self.load()
        return cast(PromptBuilder, self._prompts)

    # Volume -> prefix ---------------------------------------------------------------------------------------------

    def encode(self, slices: torch.Tensor) -> EncodedVolume:
        """Vision features and prompt prefix of a volume.

        Args:
            slices: float [S, H, W] or [S, 3, H, W] in 0..1.

        Raises:
            ValueError: another shape, or sides that do not divide into visual tokens.
        """
        base = self.base
        device = self.format_version.device
        vision = base.config.vision_config
        slices = self._as_rgb(slices).to(device)
        pixels = slices_to_patches(slices, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        grid = torch.tensor([[1, slices.shape[2] // vision.patch_size, slices.shape[3] // vision.patch_size]])
        grid = grid.repeat(len(slices), 1).to(device)
        features = base.model.get_image_features(pixels.to(base.dtype), grid, return_dict=True)
        tokens_per_slice = int(grid[0].prod()) // vision.spatial_merge_size**2
        ids = torch.tensor(self.prompts.prefix_ids(len(slices), tokens_per_slice), device=device)
        visual_mask = ids == base.config.image_token_id
        positions, _ = base.model.get_rope_index(
            ids[None], mm_token_type_ids=visual_mask[None].int(), image_grid_thw=grid
        )
        return EncodedVolume(
            prefix_ids=ids,
            position_ids=positions[:, 0],
            visual_mask=visual_mask,
            visual_embeds=torch.cat(list(features.pooler_output)),
            deepstack=tuple(torch.cat(list(feature)) for feature in features.deepstack_features),
            num_slices=len(slices),
        )

    # Completions --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        volume: EncodedVolume | torch.Tensor,
        queries: Sequence[str],
        *,
        num_samples: int = 1,
        sampling: Sampling | None = None,
        generator: torch.Generator | None = None,
    ) -> list[list[Completion]]:
        """Answers queries about a volume; the prefix is prefilled once for all of them.

        Args:
            volume: from `encode`, or slices as `encode` takes them.
            queries: K texts, verbatim from the user.
            num_samples: G completions for each query.
            sampling: default: the module's.
            generator: for sampling, on the module's device.

        Returns:
            K lists of G completions.
        """
        if isinstance(volume, torch.Tensor):
            volume = self.encode(volume)
        tails = [torch.tensor(self.prompts.tail_ids(query)) for query in queries for _ in range(num_samples)]
        prefilled = DynamicCache(config=self.base.config.get_text_config())
        self._hidden(volume, volume.prefix_ids[None], volume.position_ids[:, None], cache=prefilled, starts_at=0)
        completions: list[Completion] = []
        for start in range(0, len(tails), _MAX_DECODED_TOGETHER):
            part = tails[start : start + _MAX_DECODED_TOGETHER]
            cache = copy.deepcopy(prefilled)
            cache.batch_repeat_interleave(len(part))
            completions += self._decode(volume, cache, part, sampling or self.sampling, generator)
        return [completions[start : start + num_samples] for start in range(0, len(completions), num_samples)]

    def log_probs(
        self, volume: EncodedVolume, queries: Sequence[str], completions: Sequence[Sequence[torch.Tensor]]
    ) -> list[list[torch.Tensor]]:
        """Log-probabilities of given completions, all queries and completions packed behind the volume's prefix.

        Args:
            volume: from `encode`.
            queries: K texts.
            completions: for each query its completions' ids, int64 [n] each, end token included.

        Returns:
            For each query a list of [n], float32 (float64 for a float64 network).
        """
        branches: list[tuple[int, torch.Tensor]] = []
        wanted: list[list[int]] = []
        device = volume.prefix_ids.device
        for query, answers in zip(queries, completions, strict=True):
            query_branch = len(branches)
            branches.append((PREFIX, torch.tensor(self.prompts.tail_ids(query), device=device)))
            wanted.append(list(range(len(branches), len(branches) + len(answers))))
            branches += [(query_branch, ids.to(device)) for ids in answers]
        tree = pack_tree(volume.prefix_ids, volume.position_ids, branches)
        by_branch = self._tree_log_probs(volume, tree, branches, [index for indices in wanted for index in indices])
        return [[by_branch[index] for index in indices] for indices in wanted]

    def forward(self, image: torch.Tensor, query: str | Sequence[str] | None = None) -> torch.Tensor:
        """The anchor as a mask: the predicted boxes filled on the key slice, zero elsewhere.

        Args:
            image: float [B, C, S, H, W] in 0..1, C is 1 or 3.
            query: one text for all, or one for each of B; default: `default_query`.

        Returns:
            float32 [B, 1, S, H, W] of 0 and 1; all zero where the completion does not parse.
        """
        if query is None:
            query = self.default_query
        queries = [query] * len(image) if isinstance(query, str) else list(query)
        mask = torch.zeros(len(image), 1, *image.shape[2:], device=image.device)
        for item, text in enumerate(queries):
            completion = self.generate(image[item].transpose(0, 1), [text])[0][0]
            anchor = parse_completion(completion.text, num_slices=image.shape[2])
            if isinstance(anchor, ParseFailure):
                continue
            boxes = boxes_1000_to_px(anchor.boxes_xyxy_1000, image.shape[3], image.shape[4])
            for x1, y1, x2, y2 in np.rint(boxes).astype(int):
                mask[item, 0, anchor.key_index, y1:y2, x1:x2] = 1
        return mask

    # Inside -------------------------------------------------------------------------------------------------------

    def _as_rgb(self, slices: torch.Tensor) -> torch.Tensor:
        """[S, H, W] or [S, 1 or 3, H, W] to float [S, 3, H, W] of the size that the model reads."""
        if slices.ndim == 3:
            slices = slices[:, None]
        if slices.ndim != 4 or slices.shape[1] not in (1, 3) or len(slices) == 0:
            raise ValueError(f"Slices must have the shape [S, H, W] or [S, 3, H, W], got {list(slices.shape)}.")
        # A MetaTensor would carry the volume's meta data through the whole network.
        slices = slices.as_tensor() if hasattr(slices, "as_tensor") else slices
        slices = slices.float()
        if self.slice_size is not None and tuple(slices.shape[2:]) != (self.slice_size, self.slice_size):
            size = (self.slice_size, self.slice_size)
            slices = F.interpolate(slices, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        return slices.expand(-1, 3, -1, -1)

    def _hidden(
        self,
        volume: EncodedVolume,
        ids: torch.Tensor,
        position_ids: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        cache: DynamicCache | None = None,
        starts_at: int | None = None,
    ) -> torch.Tensor:
        """Hidden states [B, T, hidden] of ids [B, T]; `starts_at`: where the prefix begins in ids, None: not there."""
        base = self.base
        embeds = base.get_input_embeddings()(ids)
        visual: dict[str, object] = {}
        if starts_at is not None:
            mask = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
            mask[:, starts_at : starts_at + len(volume.visual_mask)] = volume.visual_mask
            embeds = embeds.masked_scatter(mask[..., None], volume.visual_embeds.to(embeds.dtype))
            visual = {"visual_pos_masks": mask, "deepstack_visual_embeds": list(volume.deepstack)}
        # Positions are always given: the network's own bookkeeping of them (rope_deltas) is state of the last call.
        return base.model.language_model(
            inputs_embeds=embeds,
            position_ids=position_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=cache is not None,
            **visual,
        ).last_hidden_state

    def _tree_log_probs(
        self,
        volume: EncodedVolume,
        tree: PackedTree,
        branches: Sequence[tuple[int, torch.Tensor]],
        wanted: Sequence[int],
    ) -> dict[int, torch.Tensor]:
        """Token log-probabilities [n] of the wanted branches."""
        hidden = self._hidden(
            volume, tree.ids[None], tree.position_ids[:, None], attention_mask=tree.attention_mask, starts_at=0
        )[0]
        index = torch.cat([tree.predicted_by[branch] for branch in wanted])
        targets = torch.cat([branches[branch][1] for branch in wanted])
        logits = self.base.lm_head(hidden[index])
        # Half precision is too coarse for the sum over the vocabulary.
        logits = logits.float() if logits.itemsize < 4 else logits
        flat = -F.cross_entropy(logits, targets, reduction="none")
        lengths = [len(branches[branch][1]) for branch in wanted]
        return dict(zip(wanted, flat.split(lengths), strict=True))

    def _decode(
        self,
        volume: EncodedVolume,
        cache: DynamicCache,
        tails: Sequence[torch.Tensor],
        sampling: Sampling,
        generator: torch.Generator | None,
    ) -> list[Completion]:
        """Continues the prefilled cache [B] with tails, left-padded to one length, until each sequence ends."""
        base, device = self.base, volume.prefix_ids.device
        tokenizer = self.prompts.tokenizer
        longest = max(len(tail) for tail in tails)
        ids = torch.full((len(tails), longest), tokenizer.pad_token_id, device=device)
        present = torch.zeros(len(tails), longest, dtype=torch.long, device=device)
        for row, tail in enumerate(tails):
            ids[row, longest - len(tail) :] = tail.to(device)
            present[row, longest - len(tail) :] = 1
        mask = torch.cat([torch.ones(len(tails), len(volume.prefix_ids), dtype=torch.long, device=device), present], 1)
        positions = int(volume.position_ids.max()) + present.cumsum(dim=1)
        ends = torch.tensor(_end_ids(base, tokenizer), device=device)
        banned = torch.tensor(_vision_ids(base), device=device)
        written: list[torch.Tensor] = []
        running = torch.ones(len(tails), dtype=torch.bool, device=device)
        while True:
            hidden = self._hidden(volume, ids, positions.expand(3, -1, -1), attention_mask=mask, cache=cache)
            logits = base.lm_head(hidden[:, -1]).float()
            logits[:, banned] = -torch.inf
            chosen = torch.where(running, sampling.choose(logits, generator), tokenizer.pad_token_id)
            written.append(torch.where(running, chosen, -1))
            running = running & ~torch.isin(chosen, ends)
            if len(written) == self.max_new_tokens or not running.any():
                break
            ids, positions = chosen[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        tokens = torch.stack(written, dim=1).cpu()
        return [self._completion(row[row >= 0], ends.cpu()) for row in tokens]

    def _completion(self, ids: torch.Tensor, ends: torch.Tensor) -> Completion:
        finished = bool(torch.isin(ids[-1], ends))
        # Cut at the end token by id and keep all else: skip_special_tokens takes <think> away with some tokenizers.
        text_ids = ids[:-1] if finished else ids
        text = self.prompts.tokenizer.decode(text_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Completion(text=text, ids=ids, finished=finished)


def _vision_ids(base: Qwen3VLForConditionalGeneration) -> list[int]:
    config = base.config
    return [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]


def _end_ids(base: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    configured = base.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None})
