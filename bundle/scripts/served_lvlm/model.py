"""Any vision-language model that is served: the slices as images, the same prompt, the same queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..anchor import AnswerForm
from ..lvlm.prompts import instruction_of, message_content, neutralise
from ..lvlm.sampling import Sampling
from ..lvlm.vision import resized, stretched_channels
from .endpoint import Endpoint
from .slice_pictures import slice_urls


@dataclass(frozen=True)
class ServedCompletion:
    """What the endpoint wrote."""

    text: str


class ServedLVLM(nn.Module):
    """A language model behind an endpoint; see `lvlm.language_model.LanguageModel`.

    All queries about a volume are asked at the same time, as many as the endpoint is given. One request is one
    completion: not all servers give several. Every request holds all slices; a server that keeps prefixes reads them
    once.

    Args:
        endpoint: where it is.
        slice_size: side in pixels that slices are resized to; None sends them as they come.
        channel_ranges: what makes three channels of one window, see `lvlm.vision.stretched_channels`; None sends grey
            values. A model whose config has them needs them here, for a server does not know them.
        instruction: see `lvlm.prompts.INSTRUCTION`; None: that of the form of the answer.
        max_new_tokens: longest completion.
        sampling: how tokens are chosen, unless `generate` is told otherwise.

    Raises:
        ValueError: `max_new_tokens` is not at least 1.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        slice_size: int | None = None,
        channel_ranges: Sequence[Sequence[float]] | None = None,
        instruction: str | None = None,
        max_new_tokens: int = 256,
        sampling: Sampling | None = None,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        super().__init__()
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        self.endpoint = endpoint
        self.slice_size = slice_size
        self.channel_ranges = channel_ranges
        asked = instruction_of(answer_form)  # refuses other forms
        self.instruction = instruction or asked
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling or Sampling()
        # As in `VolumeLVLM`: the bundle's checkpoint fits.
        self.register_buffer("format_version", torch.tensor(1))

    def load(self) -> ServedLVLM:
        """Looks whether all is there that asking needs; nothing is sent.

        Raises:
            ServedModelError: `no_client` or `no_api_key`.
        """
        self.endpoint.client().close()
        return self

    def encode(self, slices: torch.Tensor) -> list[str]:
        """Slices float [S, H, W] or [S, 3, H, W] in 0..1 to S images, as data URLs.

        Raises:
            ValueError: another shape, or three channels where `channel_ranges` make them.
        """
        slices = slices[:, None] if slices.ndim == 3 else slices
        if self.slice_size is not None:
            slices = resized(slices, self.slice_size)
        return slice_urls(stretched_channels(slices, self.channel_ranges) if self.channel_ranges else slices)

    def generate(
        self,
        volume: Sequence[str],
        queries: Sequence[str],
        *,
        num_samples: int = 1,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> list[list[ServedCompletion]]:
        """For each of K queries `num_samples` completions.

        Args:
            volume: from `encode`.
            queries: K texts, verbatim from the user. The server's own special tokens are not known here; what opens
                something like a tag is neutralised.
            num_samples: requests a query; what torch draws seeds them.
            sampling: default: the module's.
            on_text: called with each completion as it comes.

        Raises:
            ServedModelError: a query without an answer; those that were not asked yet are left out.
        """
        sampling = sampling or self.sampling
        images = [{"type": "image_url", "image_url": {"url": url}} for url in volume]
        # As the direct model's prompt has it, a blank in front of the query.
        texts = [" " + neutralise(query, frozenset()) for query in queries for _ in range(num_samples)]
        contents = [message_content(self.instruction, images, text) for text in texts]
        seeds = torch.randint(2**31 - 1, (len(texts),)).tolist() if sampling.temperature > 0 else [None] * len(texts)
        with self.endpoint.client() as client, ThreadPoolExecutor(self.endpoint.max_concurrency) as pool:
            ask = partial(self.endpoint.ask, client, sampling=sampling, max_new_tokens=self.max_new_tokens)
            # In the order of the queries. The first failure ends it: what has not begun is cancelled.
            answers = []
            for text in pool.map(ask, contents, seeds):
                answers.append(ServedCompletion(text))
                if on_text is not None:
                    on_text(text)
        return [answers[first : first + num_samples] for first in range(0, len(answers), num_samples)]
