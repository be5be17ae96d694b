"""Where a completion ends, and its text."""

from medvol_r1.lvlm.model import VolumeLVLM

QUERY = "the organ that secretes bile"


def test_writing_stops_at_the_end_token_or_the_limit(folder, slices):
    lvlm = VolumeLVLM(folder, max_new_tokens=8)
    ids = lvlm.generate(slices, [QUERY])[0][0].ids.tolist()
    stop = ids[3]
    lvlm.base.generation_config.eos_token_id = [stop, 7]
    (completion,) = lvlm.generate(slices, [QUERY])[0]
    first = ids.index(stop)
    assert completion.ids.tolist() == ids[: first + 1] and completion.finished
    assert completion.text == lvlm.prompts.tokenizer.decode(ids[:first])
    lvlm.base.generation_config.eos_token_id = 7
    (completion,) = lvlm.generate(slices, [QUERY])[0]
    assert completion.ids.tolist() == ids and not completion.finished
