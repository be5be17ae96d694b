"""Rewards of stage 2 (paper, Sec. 2.5): R_f, R_a, R_s, R_c and their weighted sum.

All follow TRL's contract, `reward(completions=[...], masks=[...], slices=[...], **columns) -> list[float]`: one value
for each completion, columns that a reward does not read are ignored, and a completion is a text or TRL's list of one
message `[{"role": "assistant", "content": text}]`. Any function of that contract is a reward, alone or as a term of the
sum; None instead of a value says that it does not apply to a completion.

- `masks`: for each completion the target on the shown slices, [S, H, W], nonzero is foreground.
- `slices`: for each completion the shown slices, [S, H, W] or [S, 3, H, W], float in 0..1. Completions of one volume
  should hold the same object: that is how its features are computed once.

A completion that does not parse earns 0 everywhere; `answer_form` of a reward says which form it must have, see
`anchor.ANSWER_FORMS`. Whether the target is there at all comes first: neither boxes nor points say "not present". On an
absent target (empty mask, as also when the target lies between the shown slices) that earns 1 on R_a, R_s and R_c, and
boxes or points earn 0; on a present target it earns 0. No term has a smoothing floor, and no exception becomes a 0.
"""

from .answers import read_answers
from .composite import CompositeReward
from .consistency import ConsistencyReward
from .contract import Reward, RewardRecord, completion_text, record_of
from .evidence import AxialReward, FormatReward, SpatialReward

__all__ = [
    "AxialReward",
    "CompositeReward",
    "ConsistencyReward",
    "FormatReward",
    "Reward",
    "RewardRecord",
    "SpatialReward",
    "completion_text",
    "read_answers",
    "record_of",
]
