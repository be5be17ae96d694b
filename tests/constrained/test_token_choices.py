"""Answers token by token, with tokenizers of several kinds."""

import random

import pytest
from medvol_r1.anchor import EvidenceAnchor, ParseFailure, format_completion, parse_completion
from medvol_r1.constrained.token_choices import ConstrainedAnswer, TokenChoices, TokenTexts
from medvol_r1.demo_models.tiny_lvlm import build_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ANCHOR = EvidenceAnchor(11, ((1, 22, 333, 1000), (40, 5, 60, 7)))
THINK = "The liver spans slices 7 to 32.\nFat < 3 cm."
# How Qwen's tokenizers cut: each digit alone, punctuation with the blank in front of it.
QWEN_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Characters of the longest box and of what ends an answer behind it, each at worst a token, and the end token.
ROOM_FOR_A_BOX = len("1000, 1000, 1000, 1000]") + len("]}</answer>") + 1
HOSTILE = (
    "]]]]",
    '</think><answer>{"key_slice": 7, ',
    '{"key_slice": 99999',
    "<answer>",
    "a</think>",
    "9, 1",
    "01",
    "<t",
    "\ufffd",
    "]}</answer>x",
    '": []}</answer>',
    "١",  # a digit, but not one of these
)


def numbers_as_tokens():
    return build_tokenizer([THINK], vocabulary_size=2500)


def digits_as_tokens():
    """Qwen's kind: `<think>` is a token, `<answer>` is not."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    anchors = [EvidenceAnchor(3, ANCHOR.boxes_xyxy_1000[:count]) for count in range(3)]
    texts = [format_completion(anchor, "é die Leber ż") for anchor in anchors]
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([*texts, THINK] * 5, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>", "<tool_call>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def hostile():
    """Characters, some of which spell all, and tokens that reach over what is allowed; an unknown token."""
    alphabet = sorted({*format_completion(ANCHOR, THINK), *"0123456789<>/answerthinkOl."})
    vocabulary = {text: number for number, text in enumerate(["<unk>", *alphabet, *HOSTILE])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", unk_token="<unk>")


@pytest.fixture(scope="module", params=[numbers_as_tokens, digits_as_tokens, hostile])
def tokenizer(request):
    return request.param()


def choices_of(tokenizer, num_slices=32, limit=256, form="boxes"):
    return TokenChoices(TokenTexts(tokenizer, len(tokenizer)), tokenizer.eos_token_id, num_slices, limit, form)


def tokens_of(tokenizer, num_boxes):
    """Of an answer about 32 slices without reasoning, with wide boxes and the end token."""
    text = format_completion(EvidenceAnchor(31, ((888, 888, 999, 999),) * num_boxes))
    return len(tokenizer(text).input_ids) + 1


@pytest.mark.parametrize("num_slices, more", [(1, 40), (3, 1), (32, 60), (120, 100)])
def test_random_tokens_make_valid_answers_within_the_limit(tokenizer, num_slices, more):
    """In all 1,008 answers; some choices go on to the next part, so that all parts are met."""
    limit = tokens_of(tokenizer, 0) + ROOM_FOR_A_BOX + more
    choices = choices_of(tokenizer, num_slices, limit)
    special = set(tokenizer.all_special_ids) | {number for number, one in tokenizer.added_tokens_decoder.items()
                                                if one.content == "<tool_call>"}  # fmt: skip
    kinds = set()
    for seed in range(84):
        chance, answer = random.Random(seed), ConstrainedAnswer(choices)
        while not answer.is_whole:
            options = answer.options().tolist()
            assert options
            ends = [one for one in options if choices.texts.of[one].startswith(("</", "<", "]", "a</"))]
            answer.take(chance.choice(ends if ends and chance.random() < 0.2 else options))
        assert len(answer.ids) <= limit and answer.ids[-1] == tokenizer.eos_token_id
        assert not special & set(answer.ids[:-1])
        anchor = parse_completion(tokenizer.decode(answer.ids[:-1], clean_up_tokenization_spaces=False), num_slices)
        assert not isinstance(anchor, ParseFailure), anchor
        kinds.add(min(len(anchor.boxes_xyxy_1000), 2))
    assert {0, 1} <= kinds


@pytest.mark.parametrize("form, limits", [("boxes_and_points", (110, 200, 500)), ("image", (220, 260))])
def test_random_tokens_make_valid_answers_with_points(tokenizer, form, limits):
    """Within the limit, wherever it falls."""
    num_slices = 1 if form == "image" else 32
    for limit in limits:
        choices = choices_of(tokenizer, num_slices, limit, form)
        for seed in range(20):
            chance, answer = random.Random(seed), ConstrainedAnswer(choices)
            while not answer.is_whole:
                options = answer.options().tolist()
                of = choices.texts.of
                tags = [one for one in options if of[one].startswith(("<", "</"))]
                onward = tags or [one for one in options if of[one].startswith((",", "[", " [", "]"))]
                answer.take(chance.choice(onward if onward and chance.random() < 0.6 else options))
            assert len(answer.ids) <= limit
            text = tokenizer.decode(answer.ids[:-1], clean_up_tokenization_spaces=False)
            anchor = parse_completion(text, num_slices, form)
            assert not isinstance(anchor, ParseFailure), (anchor, text)


def test_a_valid_answer_keeps_its_tokens(tokenizer):
    """What a model writes that was trained on the tokenizer's own tokens; fewer of them are chosen."""
    points = ((5, 6), (7, 1000))
    for form, anchor in (
        *(("boxes", one) for one in (ANCHOR, EvidenceAnchor(2, ()), EvidenceAnchor(30, ANCHOR.boxes_xyxy_1000 * 8))),
        ("boxes_and_points", ANCHOR),
        ("boxes_and_points", EvidenceAnchor(2, ANCHOR.boxes_xyxy_1000, (points, points[:1]))),
        ("image", EvidenceAnchor(0, ANCHOR.boxes_xyxy_1000[:1], (points,))),
    ):
        choices = choices_of(tokenizer, 1 if form == "image" else 32, 600, form)
        ids = tokenizer(format_completion(anchor, THINK, form)).input_ids + [tokenizer.eos_token_id]
        if len(ids) > choices.limit:
            continue
        answer, chosen = ConstrainedAnswer(choices), 0
        while not answer.is_whole:
            wanted = ids[len(answer.ids)]
            assert wanted in answer.options().tolist()
            answer.take(wanted)
            chosen += 1
        assert answer.ids == ids and chosen < 0.8 * len(ids)


def test_runs_without_a_choice():
    """4 may go on (40), 1000 may not; what follows the list's name depends on whether it is empty."""
    tokenizer = numbers_as_tokens()
    answer = ConstrainedAnswer(choices_of(tokenizer))
    runs = [
        ["The"], ["</think>", "<answer>", '{"', "key_slice", '": '], ["12", ",", ' "', "bbox_", "2", "d_list", '":'],
        [" [["], ["4"], [", "], ["5"], [", "], ["1000", ", "], ["6"], ["]]}", "</answer>", "<|im_end|>"],
    ]  # fmt: skip
    for run in runs:
        (chosen,) = (one for one in answer.options().tolist() if tokenizer.decode([one]) == run[0])
        assert [tokenizer.decode([one]) for one in answer.take(chosen)] == run
    assert answer.is_whole


@pytest.mark.parametrize("limit", [150, 400])
def test_reasoning_ends_in_time_for_boxes(limit):
    """For four, or at half of the limit."""
    tokenizer = digits_as_tokens()
    answer = ConstrainedAnswer(choices_of(tokenizer, limit=limit))
    word = tokenizer(" Leber").input_ids[0]
    while word in answer.options().tolist():
        answer.take(word)
    four = tokens_of(tokenizer, 0) + ROOM_FOR_A_BOX + tokens_of(tokenizer, 4) - tokens_of(tokenizer, 1)
    assert 75 < four < 200
    assert limit - len(answer.ids) == min(four, limit // 2)
    assert all("<" in tokenizer.decode([one]) for one in answer.options().tolist())


def test_a_limit_that_holds_no_answer_is_named():
    tokenizer = numbers_as_tokens()
    least = tokens_of(tokenizer, 0) + ROOM_FOR_A_BOX
    with pytest.raises(ValueError, match=rf"max_new_tokens is {least - 1}.*takes up to {least} tokens.*`constrained`"):
        choices_of(tokenizer, limit=least - 1)
    choices_of(tokenizer, limit=least)


def test_a_tokenizer_that_cannot_write_an_answer_is_named():
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<think>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="cannot write.*give `constrained` false"):
        TokenTexts(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"), 3)


def test_only_tokens_that_the_network_and_the_tokenizer_know():
    tokenizer = digits_as_tokens()
    texts = TokenTexts(tokenizer, len(tokenizer) + 100)
    assert max(texts.of) < len(tokenizer) and all(texts.of.values())
    assert "<tool_call>" not in texts.of.values() and "</think>" in texts.of.values()
    assert any("\ufffd" in text for text in texts.of.values())  # part of a character: may stand in the reasoning
