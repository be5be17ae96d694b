"""A Qwen-VL's processor for slices, as TRL's trainer wants one: text and images, no videos.

transformers' own has a part for videos, which needs torchvision; PyPI has no build of that for CPUs.
"""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from ..lvlm.architecture import pixel_statistics
from ..lvlm.prompts import IMAGE_PAD, OPENED_REASONING
from ..lvlm.weights import load_tokenizer


class SliceProcessor(Qwen3VLProcessor):
    """Qwen3-VL's processor without its part for videos; for images it is that of a Qwen2.5-VL as well.

    Args:
        image_processor: see `load_slice_processor`.
        tokenizer: of the model.
        chat_template: of the tokenizer.
    """

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessorPil,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
    ) -> None:
        self.image_token = IMAGE_PAD
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        # Not that of Qwen3VLProcessor, which wants a processor of videos.
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def load_slice_processor(path: str, vision_config: PreTrainedConfig, slice_size: int) -> SliceProcessor:
    """The processor of a model: slices come in their size and are cut into the patches that its vision tower reads.

    Args:
        path: of the model, as for `VolumeLVLM`.
        vision_config: of the model.
        slice_size: H = W of the slices in pixels.

    Raises:
        WeightsError: there is no tokenizer that can be read.
        ValueError: slices that do not divide into visual tokens, or a chat template that opens the reasoning itself.
    """
    unit = vision_config.patch_size * vision_config.spatial_merge_size
    if slice_size < unit or slice_size % unit:
        raise ValueError(
            f"slice_size is {slice_size}; the model in {path!r} reads {unit}x{unit} pixels a visual token, so give a "
            "multiple of it (config key `slice_size`)."
        )
    tokenizer = load_tokenizer(path)
    tokenizer.padding_side = "left"
    chat = [{"role": "user", "content": "?"}]
    if OPENED_REASONING.search(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)):
        raise ValueError(
            f"The chat template in {path!r} writes <think> itself, so that no completion would have the form of an "
            "answer; take it out of the template, or train by train_grpo.json, which does."
        )
    mean, std = pixel_statistics(vision_config)
    images = Qwen2VLImageProcessorPil(
        patch_size=vision_config.patch_size,
        merge_size=vision_config.spatial_merge_size,
        temporal_patch_size=vision_config.temporal_patch_size,
        image_mean=list(mean),
        image_std=list(std),
        do_resize=False,
    )
    return SliceProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
