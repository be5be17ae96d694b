"""The whole chain as a MONAI inferer: slices and a query become a mask and its evidence (paper, Fig. 1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from .anchor import AnswerForm, ParseFailure, boxes_1000_to_px, parse_completion, points_1000_to_px, split_think
from .lvlm.language_model import LanguageModel
from .prompt_masks import PromptMask, prompt_masks
from .propagation import SlicePropagator
from .self_consistency import Decision, SelfConsistency, fixed_chance
from .slice_prompt import SlicePrompt

ABSENT = "absent"
"""Status of an answer that says that the target is not in the volume: the mask is empty."""

_Result = TypeVar("_Result")


class EvidenceInferer(Inferer):
    """Asks the language model for an evidence anchor and propagates its boxes through the slices.

    Args:
        propagator: MedSAM2, or for single images another expert, see `experts`; moved to the device of the images that
            come.
        window: slices to each side of the key slice that are propagated to; None: all.
        consistency: how many answers to a query, and which is given; default: one.
        seed: of sampled answers; with the text of a query it fixes them. None: torch's generator goes on as it is.
        answer_form: of the answers, one of `anchor.ANSWER_FORMS`; "image" for volumes of one slice.
    """

    def __init__(
        self,
        propagator: SlicePropagator,
        *,
        window: int | None = None,
        consistency: SelfConsistency | None = None,
        seed: int | None = None,
        answer_form: AnswerForm = "boxes",
    ) -> None:
        super().__init__()
        self.propagator = propagator
        self.window = window
        self.consistency = consistency or SelfConsistency()
        self.seed = seed
        self.answer_form = answer_form

    @torch.no_grad()
    def __call__(self, inputs: MetaTensor, network: LanguageModel, *args: Any, **kwargs: Any) -> MetaTensor:
        """Answers the query that a volume carries, or propagates the evidence that a person gave.

        Args:
            inputs: float [1, C, S, H, W] in 0..1, C is 1 or 3; `meta["query"]` is the text (see
                `query_text.QueryToMetad`), `meta["given_answer"]`, if any, is a person's evidence (see
                `correction.CorrectionToMetad`). One volume a call, not collated: volumes have their own numbers of
                slices, and MONAI's `decollate_batch` would take the evidence apart.
            network: see `LanguageModel`.
            args: not used; the signature is MONAI's.
            kwargs: not used.

        Returns:
            uint8 [1, 1, S, H, W], 0 or 1, with the meta data of the inputs and `meta["evidence"]`, plain JSON types:
            `status` ("ok", "absent", "abstained", or why the completion does not parse), `detail`, `completion`,
            `think`, `key_index` (0-based among the S slices, None when there is none), `boxes_1000`, `boxes_px` (of
            these H x W slices), `points_1000`, `points_px` (a list of each object, empty without points) and `seconds`
            of each phase; with several answers also what `SelfConsistency` adds, and `meta["agreement_map"]` if it was
            asked for; with evidence that was given also `corrected`, see `correct`.

        Raises:
            ValueError: the inputs have another shape or carry no query.
        """
        query, given = _query_of(inputs), inputs.meta.get("given_answer")
        image = inputs.as_tensor()[0]
        decision = self._answer(image, query, network) if given is None else self.correct(image, given)
        meta = {key: value for key, value in inputs.meta.items() if key != "affine"}
        meta["evidence"] = decision.evidence
        if decision.agreement_map is not None:
            meta["agreement_map"] = decision.agreement_map
        mask = torch.from_numpy(decision.mask).to(inputs.device, torch.uint8)
        return MetaTensor(mask[None, None], affine=inputs.affine, meta=meta)

    @torch.no_grad()
    def ask(self, image: torch.Tensor, queries: Sequence[str], network: LanguageModel) -> list[list[dict[str, Any]]]:
        """The answers to each query about one volume, without the masks: the volume is encoded once for all.

        Args:
            image: float [C, S, H, W] in 0..1, C is 1 or 3.
            queries: K texts.
            network: see `LanguageModel`.

        Returns:
            K lists of `consistency.num_anchors` times what `meta["evidence"]` holds of one answer, see `__call__`;
            `seconds` are those of all together, the same dictionary for each.
        """
        slices = slices_of(image)
        seconds: dict[str, float] = {}
        volume = _timed(seconds, "encode", image.device, lambda: network.encode(slices))
        answers = _timed(
            seconds, "generate", image.device, lambda: self.consistency.completions(network, volume, queries)
        )
        return [
            [evidence_of(sample.text, *image.shape[1:], self.answer_form) | {"seconds": seconds} for sample in samples]
            for samples in answers
        ]

    @torch.no_grad()
    def correct(self, image: torch.Tensor, completion: str) -> Decision:
        """What comes of evidence that a person gives; no language model is asked.

        Args:
            image: float [C, S, H, W] in 0..1, C is 1 or 3.
            completion: the evidence in the form "boxes_and_points", see `anchor.format_completion`.

        Returns:
            The evidence as a model's, with `corrected` True and the seconds of propagation, and its mask.
        """
        evidence = evidence_of(completion, *image.shape[1:], "boxes_and_points") | {"corrected": True, "seconds": {}}
        (propagated,) = self._propagated(image, [evidence])
        return Decision(evidence, propagated.mask, 0)

    def _answer(self, image: torch.Tensor, query: str, network: LanguageModel) -> Decision:
        """What is answered to a query about one image [C, S, H, W]."""
        with nullcontext() if self.seed is None else fixed_chance(self.seed, query, image.device):
            (answers,) = self.ask(image, [query], network)
        return self.consistency.decide(answers, self._propagated(image, answers))

    def _propagated(self, image: torch.Tensor, answers: Sequence[dict[str, Any]]) -> list[PromptMask]:
        """What the marks of each answer about an image [C, S, H, W] propagate to; `seconds` of the first say how long
        all took."""
        self.propagator.to(image.device)
        prompts = [evidence_prompt(answer, *image.shape[2:]) for answer in answers]
        return _timed(
            answers[0]["seconds"],
            "propagate",
            image.device,
            lambda: prompt_masks(self.propagator, slices_of(image), prompts, self.window),
        )


def slices_of(image: torch.Tensor) -> torch.Tensor:
    """[C, S, H, W] as the models read it: [S, H, W] for one channel, [S, 3, H, W] for three."""
    return image[0] if len(image) == 1 else image.transpose(0, 1)


def evidence_of(
    completion: str, num_slices: int, height: int, width: int, answer_form: AnswerForm = "boxes"
) -> dict[str, Any]:
    """What a completion says about slices [S, H, W], as plain JSON types; the keys are those of `EvidenceInferer`."""
    anchor = parse_completion(completion, num_slices, answer_form)
    evidence: dict[str, Any] = {
        "status": "ok",
        "detail": "",
        "completion": completion,
        "think": split_think(completion),
    }
    if isinstance(anchor, ParseFailure):
        evidence |= {"status": anchor.reason, "detail": anchor.detail}
        return evidence | {"key_index": None, "boxes_1000": [], "boxes_px": [], "points_1000": [], "points_px": []}
    evidence |= {"status": ABSENT} if anchor.is_absent else {}
    boxes, points = anchor.boxes_xyxy_1000, anchor.points_xy_1000
    return evidence | {
        "key_index": anchor.key_index,
        "boxes_1000": [list(box) for box in boxes],
        "boxes_px": np.round(boxes_1000_to_px(boxes, height, width), 2).tolist(),
        "points_1000": [[list(point) for point in own] for own in points],
        "points_px": [np.round(points_1000_to_px(own, height, width), 2).tolist() for own in points],
    }


def evidence_prompt(evidence: Mapping[str, Any], height: int, width: int) -> SlicePrompt | None:
    """What to propagate from on slices of H x W pixels; None where nothing is marked."""
    points = [points_1000_to_px(own, height, width) for own in evidence.get("points_1000", ())]
    return SlicePrompt.of(evidence["key_index"], boxes_1000_to_px(evidence["boxes_1000"], height, width), points)


def _query_of(inputs: MetaTensor) -> str:
    """The text in the meta data of [1, C, S, H, W]."""
    if inputs.ndim != 5 or len(inputs) != 1 or inputs.shape[1] not in (1, 3):
        raise ValueError(
            f"inputs have the shape {list(inputs.shape)}; give [1, C, S, H, W], one volume with 1 or 3 channels."
        )
    query = inputs.meta.get("query") if isinstance(inputs, MetaTensor) else None
    if not isinstance(query, str):
        raise ValueError(
            f"inputs.meta['query'] is {query!r}; give a text (`QueryToMetad` in `preprocessing` puts it there, and a "
            "data loader leaves it as it is with `collate_fn` `$list`)."
        )
    return query


def _timed(seconds: dict[str, float], phase: str, device: torch.device, compute: Callable[[], _Result]) -> _Result:
    """Computes, and notes how long that took; a GPU is waited for, or the time would be that of the launch."""
    start = time.perf_counter()
    result = compute()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds[phase] = round(time.perf_counter() - start, 4)
    return result
