"""What a config names, put together once: preprocessing, both models, the inferer, what makes a record of an answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor

from ..command_arguments import literal
from ..volume.query_text import check_query
from .memory import Memory
from .progress import Progress
from .watched import WatchedLanguageModel, WatchedPropagator

# The transforms of a config want a query, and a volume is prepared before there is one.
_ANY_QUERY = "a study that is opened"


class Answer(NamedTuple):
    """What came of a question or a correction: `record`, see `evidence_record`, and `mask` bool [X, Y, Z] of the source
    grid."""

    record: dict[str, Any]
    mask: np.ndarray


class Models:
    """The chain of `inference.json` and its overlays, for volumes that come and go.

    Args:
        configs: files, from the bottom of the stack.
        bundle_root: the bundle's folder.
        memory: keeps what is computed of a volume.
        settings: top-level keys, over the configs; texts are taken as they are.

    Raises:
        ValueError: a config without what an answer needs.
    """

    def __init__(
        self,
        configs: Sequence[str | Path],
        bundle_root: str | Path,
        memory: Memory,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {"bundle_root": str(bundle_root), **(settings or {})}
        workflow = ConfigWorkflow(
            config_file=[str(config) for config in configs],
            meta_file=str(Path(bundle_root) / "configs" / "metadata.json"),
            logging_file=str(Path(bundle_root) / "configs" / "logging.conf"),
            workflow_type="infer",
            **{key: literal(value) if isinstance(value, str) else value for key, value in settings.items()},
        )
        workflow.initialize()
        self._memory = memory
        self._preprocessing, self._postprocessing, self._network, self._inferer, self._device, windows = (
            workflow.parser.get_parsed_content(key)
            for key in ("preprocessing", "postprocessing", "network", "inferer", "torch_device", "windows")
        )
        self.intensity: str = workflow.parser.get_parsed_content("intensity")
        self.window_hu: tuple[float, float] = tuple(windows[0])
        self.names = {
            key: Path(str(workflow.parser.get_parsed_content(key))).name for key in ("lvlm_path", "medsam2_path")
        }

    def load(self) -> None:
        """Reads the language model's weights, so that what is wrong with them is said before the first question."""
        self._network.load()
        self._network.eval()

    def prepare(self, path: str | Path) -> MetaTensor:
        """The shown slices of a volume, [C, S, H, W] in 0..1, with their geometry in the meta data.

        Raises:
            RuntimeError: MONAI's, around a VolumeError.
        """
        return self._preprocessing({"image": str(path), "query": _ANY_QUERY})["image"]

    @torch.no_grad()
    def answer(
        self, volume: Any, image: MetaTensor, query: str, progress: Progress, given_answer: str | None = None
    ) -> Answer:
        """Answers a query, or propagates the evidence that a person gave.

        Args:
            volume: the key of the volume in the memory.
            image: from `prepare`.
            query: verbatim from the user.
            progress: is told how far it is, and stops it.
            given_answer: a person's evidence, as a completion, see `EvidenceInferer.correct`; the language model is not
                asked then.

        Raises:
            QueryError: no query.
            Cancelled: nobody wants it any more.
        """
        meta = {key: value for key, value in image.meta.items() if key not in ("affine", "given_answer")}
        meta["query"] = check_query(query)
        if given_answer is not None:
            meta["given_answer"] = given_answer
        asked = MetaTensor(image.as_tensor().to(self._device), affine=image.affine, meta=meta)
        network = WatchedLanguageModel(self._network, volume, self._memory, progress)
        inferer = copy.copy(self._inferer)
        inferer.propagator = WatchedPropagator(self._inferer.propagator, volume, self._memory, progress)
        pred = inferer(asked[None], network)[0]
        answered = self._postprocessing({"image": asked, "pred": pred})
        return Answer(answered["result"], answered["pred"][0].cpu().numpy() != 0)
