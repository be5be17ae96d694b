"""What makes a token one short CUDA graph; captures themselves need a GPU (test_decoder.py)."""

import pytest
import torch
from medvol_r1.lvlm.decoding.cuda_graph import fused_norms, rows_of_graph
from medvol_r1.lvlm.encoded_volume import prefilled
from medvol_r1.lvlm.model import VolumeLVLM


def test_graphs_have_rows_of_powers_of_two():
    assert [rows_of_graph(count) for count in (1, 2, 3, 4, 5, 8, 9, 40)] == [1, 2, 4, 4, 8, 8, 16, 64]


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_fused_norms_compute_the_same(folder, slices, dtype, tolerance):
    """Keys of the last layer have gone through all norms; bfloat16 has 8 bits, and three layers of random weights."""
    lvlm = VolumeLVLM(folder, dtype=dtype)
    expected = prefilled(lvlm.base, lvlm.encode_many([slices])[0])[-1][0].float()
    calls = []
    with pytest.MonkeyPatch.context() as patched, fused_norms(lvlm.base):
        rms_norm = torch.nn.functional.rms_norm
        patched.setattr(torch.nn.functional, "rms_norm", lambda *inputs: calls.append(1) or rms_norm(*inputs))
        found = prefilled(lvlm.base, lvlm.encode_many([slices])[0])[-1][0].float()
    assert len(calls) == 4 * 3 + 1  # two of a layer and one each of its queries and keys; one at the end
    assert (found - expected).abs().mean() < tolerance * expected.abs().mean()
    assert prefilled(lvlm.base, lvlm.encode_many([slices])[0])[-1][0].float().equal(expected)
