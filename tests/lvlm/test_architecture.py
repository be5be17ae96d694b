"""Each kind of model that can be read, against transformers' own forward and generate."""

import pytest
import torch
from medvol_r1.lvlm.architecture import pixel_statistics, sees_whole_slices, why_no_shared_prefix
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.volume_batch import pack_queries
from tiny_models import save_random_lvlm, save_random_qwen2_5
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

QUERIES = ["the organ that secretes bile", "show both kidneys"]
# A window that is shorter than the prompt, in the last of three layers.
SLIDING = {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "qwen3": save_random_lvlm(folder / "qwen3", sharpen=5.0),
        "qwen2.5": save_random_qwen2_5(folder / "qwen2.5", sharpen=5.0),
        "sliding": save_random_qwen2_5(folder / "sliding", sharpen=5.0, **SLIDING),
    }


@pytest.fixture
def pixels():
    """Three slices, 8 bits: [S, H, W, 3]."""
    return torch.randint(0, 256, (3, 56, 84, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def slices_of(pixels, kind):
    rows, columns = (48, 80) if kind == "qwen3" else (56, 84)  # 16 or 28 pixels a visual token
    return pixels[:, :rows, :columns].permute(0, 3, 1, 2) / 255


class Theirs:
    """A model as transformers runs it: its own image processor, positions and attention."""

    def __init__(self, folder, slices, lvlm):
        self.model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="sdpa").eval()
        vision = self.model.config.vision_config
        own = {} if vision.model_type == "qwen2_5_vl_vision" else {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        sizes = {"patch_size": vision.patch_size, "merge_size": 2, "temporal_patch_size": 2, "do_resize": False}
        images = [(one.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for one in slices]
        self.images = dict(Qwen2VLImageProcessorPil(**sizes, **own)(images, return_tensors="pt"))
        self.prefix = lvlm.encode(slices).prefix_ids
        self.lvlm = lvlm

    def inputs(self, query, completion=()):
        ids = [*self.prefix.tolist(), *self.lvlm.prompts.tail_ids(query), *completion]
        ids = torch.tensor([ids])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
            **self.images,
        }

    def greedy(self, query):
        inputs = self.inputs(query)
        never = [getattr(self.model.config, f"{name}_token_id") for name in ("image", "video")]
        never += [self.model.config.vision_start_token_id, self.model.config.vision_end_token_id]
        written = self.model.generate(**inputs, max_new_tokens=12, do_sample=False, suppress_tokens=never)
        return written[0, inputs["input_ids"].shape[1] :].tolist()

    def log_probs(self, query, completion):
        with torch.no_grad():
            logits = self.model(**self.inputs(query, completion)).logits[0, -len(completion) - 1 : -1]
        return logits.log_softmax(dim=-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


@pytest.fixture(params=["qwen3", "qwen2.5", "sliding"])
def both(request, folders, pixels):
    """A model of each kind, the slices that it is given, and the same as transformers runs it."""
    kind = request.param
    lvlm, slices = VolumeLVLM(str(folders[kind]), max_new_tokens=12), slices_of(pixels, kind)
    return lvlm, slices, Theirs(folders[kind], slices, lvlm)


def test_greedy_tokens_are_those_of_transformers(both):
    lvlm, slices, theirs = both
    expected = [theirs.greedy(query) for query in QUERIES]
    assert [answers[0].ids.tolist() for answers in lvlm.generate(slices, QUERIES)] == expected
    assert len({tuple(ids) for ids in expected}) == 2 and all(len(set(ids)) > 2 for ids in expected)
    several = lvlm.generate_many([slices, slices.flip(0)], [QUERIES, QUERIES])
    assert [answers[0].ids.tolist() for answers in several[0]] == expected


def test_log_probabilities_are_those_of_transformers_packed_and_in_a_batch(both):
    lvlm, slices, theirs = both
    completions = [[[105, 109, 107, 111], [105, 109, 130]], [[108, 140]]]
    asked = list(zip(QUERIES, completions, strict=True))
    expected = [[theirs.log_probs(query, ids) for ids in of_query] for query, of_query in asked]
    tensors = [[torch.tensor(ids) for ids in of_query] for of_query in completions]
    found = lvlm.log_probs(lvlm.encode(slices), QUERIES, tensors)
    for one, other in zip(sum(found, []), sum(expected, []), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)
    tails = [lvlm.prompts.tail_ids(query) for query in QUERIES]
    volumes = lvlm.encode_many([slices.flip(0), slices])
    packed = pack_queries([[(tails[0], completions[0][:1])], list(zip(tails, completions, strict=True))])
    batch = lvlm.batch_log_probs(volumes, packed)
    torch.testing.assert_close(batch[4:], torch.cat(sum(expected, [])), rtol=0, atol=2e-4)
    assert (batch[:4] - batch[4:8]).abs().max() > 1e-2, "another volume gives others"


def test_valid_answers_cannot_be_enforced_without_a_shared_prefix(folders):
    with pytest.raises(ValueError, match="layers with sliding_attention.*set `constrained` to false"):
        VolumeLVLM(str(folders["sliding"]), constrained=True).load()


@pytest.mark.parametrize("kind", ["default", "dynamic", "longrope"])
def test_positions_that_depend_on_the_length_are_not_shared(kind):
    config = Qwen2_5_VLConfig().text_config
    config.rope_parameters = {"rope_type": kind, "rope_theta": 1e6}
    assert why_no_shared_prefix(config) == (None if kind == "default" else f"rotary positions of the type {kind}")


def test_vision_towers():
    ours, theirs = Qwen3VLConfig().vision_config, Qwen2_5_VLConfig().vision_config
    assert (sees_whole_slices(ours), sees_whole_slices(theirs)) == (True, False)
    assert pixel_statistics(ours).mean == pixel_statistics(ours).std == (0.5, 0.5, 0.5)
    # OpenAI's CLIP, which Qwen2.5-VL's preprocessor_config.json repeats.
    assert pixel_statistics(theirs).mean == (0.48145466, 0.4578275, 0.40821073)
    assert pixel_statistics(theirs).std == (0.26862954, 0.26130258, 0.27577711)
