"""The large vision-language model: a Qwen-VL over the slices of a volume.

Loading and the network are transformers'; what is here is the volume around it: encoded once (`encoded_volume`), with
many queries and samples behind it (`decoding`, `log_probs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from ..anchor import AnswerForm, ParseFailure, boxes_1000_to_px, parse_completion
from ..constrained.token_choices import TokenChoices, TokenTexts
from .architecture import QwenVL
from .decoding.completion import Completion
from .decoding.decoder import Decoder, KeptSequences, decode
from .decoding.one_by_one import decode_one_by_one
from .decoding.several_volumes import decode_volumes
from .encoded_volume import EncodedVolume, LastVolume, VolumeEncoder
from .log_probs import PACKINGS, Packing, completion_log_probs, trusted_packing
from .network_state import is_trained, what_weights_are
from .prompts import PromptBuilder, instruction_of
from .sampling import Sampling
from .shortcuts import use_shortcuts
from .slice_attention import LinearPatchEmbed
from .volume_batch import PackedQueries, batch_log_probs, log_probs_one_by_one
from .weights import end_with_turn, load_qwen, load_tokenizer, with_adapter

# The vision tower is left out by default: adapters there would spoil features that are computed once and kept.
LANGUAGE_MODEL_LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class VolumeLVLM(nn.Module):
    """A Qwen-VL that reads the slices of a volume and answers queries with an evidence anchor (paper, Sec. 2.3).

    The paper's is a Qwen3-VL; a folder may hold a Qwen2.5-VL as well. What cannot share the prefix of a volume, or see
    its slices at once, is run as transformers runs it, and the log says so (see `architecture`).

    Light to construct: configuration, tokenizer and weights are read at the first use, onto the device that the module
    was moved to. It survives `copy.deepcopy` before and after that.

    Args:
        path: a local folder in transformers' format, or the hub id of a model that was downloaded before.
        adapter: folder of a PEFT adapter to put on top and merge, or several, merged one after the other: that of SFT
            and then that of GRPO, say; None for none.
        dtype: of the weights: `float32`, `bfloat16` or `float16`.
        slice_size: side in pixels that slices are resized to for this model; None takes them as they come.
        instruction: see `PromptBuilder`; None: that of the form of the answer.
        max_new_tokens: longest completion (paper: 256).
        sampling: how tokens are chosen in `forward` and as default of `generate`.
        default_query: what `forward` asks when it gets an image alone.
        packing: how completions share the prefix, see the module `log_probs`. At the first use it is compared with
            separate sequences, and replaced with a warning if it differs.
        constrained: whether `generate` writes valid answers only, see `constrained`. Not for the completions that a
            policy is trained on: it would not learn the form.
        answer_form: of the answers, one of `anchor.ANSWER_FORMS`.

    Raises:
        ValueError: another form of the answer; at the first use, `constrained` with a `max_new_tokens` that holds no
            answer, or with a model that cannot share the prefix of a volume.
        WeightsError: at the first use, when the weights are missing, damaged or of another architecture.
    """

    def __init__(
        self,
        path: str,
        *,
        adapter: str | Sequence[str] | None = None,
        dtype: str = "float32",
        slice_size: int | None = None,
        instruction: str | None = None,
        max_new_tokens: int = 256,
        sampling: Sampling | None = None,
        default_query: str = "the liver",
        packing: Packing = "split",
        constrained: bool = False,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        super().__init__()
        if dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r} (config key `dtype`).")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        if packing not in PACKINGS:
            raise ValueError(f"packing must be one of {', '.join(PACKINGS)}, got {packing!r}.")
        self.path = str(path)
        self.adapters = [adapter] if isinstance(adapter, str) else list(adapter or ())
        self.dtype = getattr(torch, dtype)
        self.slice_size = slice_size
        asked = instruction_of(answer_form)  # refuses other forms
        self.instruction = instruction or asked
        self.answer_form = answer_form
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling or Sampling()
        self.default_query = default_query
        self.packing = packing
        self.constrained = constrained
        self._packing_is_checked = packing == "none"
        self._kept_sequences, self._last_volume = KeptSequences(), LastVolume()
        # The only state before loading: where the module lives, and the format that a checkpoint of it has.
        self.register_buffer("format_version", torch.tensor(1))
        self.qwen: Any = None  # a `QwenVL`, or a PeftModel around it
        self._shares_prefix = True
        self._prompts: PromptBuilder | None = None
        self._encoder: VolumeEncoder | None = None
        self._token_choices: TokenChoices | None = None  # those of the last number of slices

    # Loading and saving -------------------------------------------------------------------------------------------

    def load(self) -> VolumeLVLM:
        """Reads the weights now, if that has not happened yet."""
        if self.qwen is not None:
            return self
        qwen = load_qwen(self.path, self.dtype)
        for folder in self.adapters:
            qwen = with_adapter(qwen, folder)
        reason = use_shortcuts(qwen, self.path)
        if reason is not None:
            if self.constrained:
                raise ValueError(
                    f"The language model in {self.path!r} has {reason}, for which valid answers cannot be enforced; "
                    "set `constrained` to false."
                )
            self._shares_prefix, self._packing_is_checked, self.packing = False, True, "none"
        if self.format_version.is_cuda:
            qwen.model.visual.patch_embed = LinearPatchEmbed(qwen.model.visual.patch_embed.proj)
        self._prompts = PromptBuilder(load_tokenizer(self.path), self.instruction)
        self._encoder = VolumeEncoder(self._prompts, self.slice_size)
        end_with_turn(qwen, self._prompts.end_of_turn_id)
        if self.constrained:
            texts = TokenTexts(self._prompts.tokenizer, qwen.config.get_text_config().vocab_size)
            end = self._prompts.end_of_turn_id
            self._token_choices = TokenChoices(texts, end, 1, self.max_new_tokens, self.answer_form)
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
    def base(self) -> QwenVL:
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

        A network that is not in training remembers the last volume: the same slices again give the same object.

        Args:
            slices: float [S, H, W] or [S, 3, H, W] in 0..1.

        Raises:
            ValueError: another shape, sides that do not divide into visual tokens, or three channels for a model that
                makes its own (see `vision.stretched_channels`).
        """
        # A MetaTensor would compare its meta data, and be kept with it.
        slices = slices.as_tensor() if hasattr(slices, "as_tensor") else slices
        if is_trained(self.base):
            return self.encode_many([slices])[0]
        return self._last_volume.get(what_weights_are(self.base), slices, lambda: self.encode_many([slices])[0])

    def encode_many(self, volumes: Sequence[torch.Tensor]) -> list[EncodedVolume]:
        """The same for several volumes of one size, in one call of the vision tower.

        Args:
            volumes: as `encode` takes them; their numbers of slices may differ.

        Raises:
            ValueError: as `encode`, or slices of several sizes.
        """
        base = self.base  # loads, and so makes the encoder
        return cast(VolumeEncoder, self._encoder)(base, volumes)

    # Completions --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        volume: EncodedVolume | torch.Tensor,
        queries: Sequence[str],
        *,
        num_samples: int = 1,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] | None = None,
        generator: torch.Generator | None = None,
    ) -> list[list[Completion]]:
        """Answers queries about a volume; the prefix is prefilled once for these and all later queries about it.

        Args:
            volume: from `encode`, or slices as `encode` takes them.
            queries: K texts, verbatim from the user.
            num_samples: G completions for each query.
            sampling: default: the module's.
            generator: for sampling, on the module's device.
            on_text: see `LanguageModel.generate`; called at every token on a CPU, at every eighth on a GPU.

        Returns:
            K lists of G completions.
        """
        if isinstance(volume, torch.Tensor):
            volume = self.encode(volume)
        tails = self._tails(queries, volume)
        decoder = self._decoder(sampling, generator, self._choices_for(volume.num_slices), on_text)
        with _evaluating(self.qwen):
            return (decode if self._shares_prefix else decode_one_by_one)(decoder, volume, tails, num_samples)

    def generate_many(
        self,
        volumes: Sequence[EncodedVolume | torch.Tensor],
        queries: Sequence[Sequence[str]],
        *,
        num_samples: int = 1,
        sampling: Sampling | None = None,
        generator: torch.Generator | None = None,
    ) -> list[list[list[Completion]]]:
        """The same for several volumes; those of one size are decoded together, unless `constrained`.

        Greedy completions are those of one volume after another; sampled ones are other draws.

        Args:
            volumes: as `generate` takes them.
            queries: of each volume.
            num_samples, sampling, generator: see `generate`.

        Returns:
            For each volume what `generate` gives.
        """
        pairs = list(zip(volumes, queries, strict=True))
        self.load()
        if len(pairs) < 2 or self.constrained or not self._shares_prefix or not all(queries):
            options = {"num_samples": num_samples, "sampling": sampling, "generator": generator}
            return [self.generate(volume, texts, **options) for volume, texts in pairs]
        encoded = [self.encode(one) if isinstance(one, torch.Tensor) else one for one in volumes]
        tails = [self._tails(texts, volume) for volume, texts in zip(encoded, queries, strict=True)]
        with _evaluating(self.qwen):
            return decode_volumes(self._decoder(sampling, generator), encoded, tails, num_samples)

    def log_probs(
        self, volume: EncodedVolume, queries: Sequence[str], completions: Sequence[Sequence[torch.Tensor]]
    ) -> list[list[torch.Tensor]]:
        """Log-probabilities of given completions, packed behind the volume's prefix as `packing` says.

        Args:
            volume: from `encode`.
            queries: K texts.
            completions: for each query its completions' ids, int64 [n] each, end token included.

        Returns:
            For each query a list of [n], float32 (float64 for a float64 network).
        """
        tails = self._tails(queries, volume)
        completions = [[ids.to(volume.prefix_ids.device) for ids in answers] for answers in completions]
        if not self._packing_is_checked and any(completions):
            with _evaluating(self.qwen):
                self.packing = trusted_packing(self.base, volume, tails, completions, self.packing)
            self._packing_is_checked = True
        return completion_log_probs(self.base, volume, tails, completions, self.packing)

    def batch_log_probs(self, volumes: Sequence[EncodedVolume], packed: PackedQueries) -> torch.Tensor:
        """Log-probabilities of given completions of several volumes, in one forward (see `volume_batch`).

        Args:
            volumes: B from `encode_many`, of the same number of slices.
            packed: their queries and completions, from `pack_queries`.

        Returns:
            [t] of `packed.targets`, float32 (float64 for a float64 network).
        """
        base = self.base  # loads, and so knows whether a prefix may be shared
        one_by_one = not self._shares_prefix
        return log_probs_one_by_one(base, volumes, packed) if one_by_one else batch_log_probs(base, volumes, packed)

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
            anchor = parse_completion(completion.text, image.shape[2], self.answer_form)
            if isinstance(anchor, ParseFailure):
                continue
            boxes = boxes_1000_to_px(anchor.boxes_xyxy_1000, image.shape[3], image.shape[4])
            for x1, y1, x2, y2 in np.rint(boxes).astype(int):
                mask[item, 0, anchor.key_index, y1:y2, x1:x2] = 1
        return mask

    # Inside -------------------------------------------------------------------------------------------------------

    def _tails(self, queries: Sequence[str], volume: EncodedVolume) -> list[torch.Tensor]:
        """What stands between the prefix and a completion, int64 [n] for each query."""
        return [torch.tensor(self.prompts.tail_ids(query), device=volume.prefix_ids.device) for query in queries]

    def _decoder(
        self,
        sampling: Sampling | None,
        generator: torch.Generator | None,
        choices: TokenChoices | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Decoder:
        how = (sampling or self.sampling, self.max_new_tokens, generator, self._kept_sequences)
        return Decoder(self.base, self.prompts.tokenizer, *how, choices, on_text)

    def _choices_for(self, num_slices: int) -> TokenChoices | None:
        """Of the tokens of an answer about so many slices; None for all tokens."""
        choices = self._token_choices
        if choices is not None and choices.num_slices != num_slices:
            choices = TokenChoices(choices.texts, choices.end, num_slices, choices.limit, self.answer_form)
            self._token_choices = choices
        return choices


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout, and without gradient checkpointing, which in training would take the cache away."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
