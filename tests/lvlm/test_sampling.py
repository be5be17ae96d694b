"""Tokens are chosen with the probabilities of transformers' warpers and the draws of `torch.multinomial`."""

import pytest
import torch
from medvol_r1.lvlm.sampling import Sampling
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


def drawn(sampling, logits, count=4000):
    """How often each token is chosen, as shares."""
    noise = torch.empty(count, sampling.candidates(len(logits)))
    noise.exponential_(generator=torch.Generator().manual_seed(0))
    return torch.bincount(sampling.choose(logits.repeat(count, 1), noise), minlength=len(logits)) / count


@pytest.mark.parametrize(
    "sampling, expected",
    [
        (Sampling(1.0), [0.15, 0.5, 0.05, 0.3]),
        (Sampling(0.5), [0.0225 / 0.365, 0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365]),  # squares, over their sum .365
        (Sampling(1.0, top_k=2), [0, 0.5 / 0.8, 0, 0.3 / 0.8]),
        (Sampling(1.0, top_p=0.7), [0, 0.5 / 0.8, 0, 0.3 / 0.8]),  # .5 is not enough, .5 + .3 is
        (Sampling(1.0, top_p=0.4), [0, 1, 0, 0]),
        (Sampling(1.0, top_p=0.9), [0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95]),
        (Sampling(1.0, top_p=0.6, top_k=2), [0, 1, 0, 0]),  # among the two, .5 / .8 = .625 is enough
        (Sampling(1.0, top_k=100), [0.15, 0.5, 0.05, 0.3]),  # more than there are
        (Sampling(), [0, 1, 0, 0]),
    ],
)
def test_shares_of_the_tokens(sampling, expected):
    shares = drawn(sampling, torch.tensor([0.15, 0.5, 0.05, 0.3]).log())
    assert (shares - torch.tensor(expected)).abs().max() < 0.03  # three standard deviations: 3 sqrt(.25 / 4000) = .024
    assert [share > 0 for share in shares.tolist()] == [share > 0 for share in expected]


@pytest.mark.parametrize("temperature, top_p, top_k", [(0.7, 0.8, 20), (1.0, 0.9, 0), (2.0, 1.0, 5)])
def test_what_may_be_chosen_equals_transformers(monkeypatch, temperature, top_p, top_k):
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(1)) * 3
    empty, expected = torch.empty(6, 0, dtype=torch.long), logits
    for warper in (
        TemperatureLogitsWarper(temperature),
        *([TopKLogitsWarper(top_k)] if top_k else []),
        *([TopPLogitsWarper(top_p)] if top_p < 1 else []),
    ):
        expected = warper(empty, expected)
    expected = expected.softmax(dim=-1)
    sampling = Sampling(temperature, top_p, top_k)
    count = sampling.candidates(300)
    chances = torch.zeros_like(logits)
    for rank in range(count):  # a token's chance, from where its noise stops to suffice against a noise of 1 elsewhere
        noise = torch.full((6, count), torch.inf)
        noise[:, rank] = 1.0
        ids = sampling.choose(logits, noise)
        chances.scatter_(1, ids[:, None], expected.gather(1, ids[:, None]))
    torch.testing.assert_close(chances, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(0.7, top_k=12), Sampling(1.5, top_p=0.8)])
def test_a_token_is_drawn_as_multinomial_draws_it(sampling):
    """From the same generator the same token: so seeds mean what they meant."""
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    noise = torch.empty(50, sampling.candidates(40)).exponential_(generator=torch.Generator().manual_seed(3))
    values, ids = logits.topk(sampling.candidates(40)) if sampling.top_k or sampling.top_p < 1 else (logits, None)
    weights = (values / sampling.temperature).softmax(dim=-1)
    weights[weights.cumsum(dim=-1) - weights >= sampling.top_p] = 0
    drawn = torch.multinomial(weights, 1, generator=torch.Generator().manual_seed(3))
    expected = drawn[:, 0] if ids is None else ids.gather(1, drawn)[:, 0]
    assert sampling.choose(logits, noise).tolist() == expected.tolist()


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(0.8, top_k=6), Sampling(1.2, top_p=0.9)])
def test_draws_follow_the_distribution_of_a_fixed_table(sampling):
    """Chi-square of 20,000 draws from 20 logits against the probabilities of transformers' warpers."""
    logits = torch.linspace(-2, 2, 20)[torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    expected = TemperatureLogitsWarper(sampling.temperature)(None, logits[None])
    expected = TopKLogitsWarper(sampling.top_k)(None, expected) if sampling.top_k else expected
    expected = TopPLogitsWarper(sampling.top_p)(None, expected) if sampling.top_p < 1 else expected
    expected = expected[0].double().softmax(dim=-1)
    counts = drawn(sampling, logits, 20000).double() * 20000
    kept = expected > 0
    assert counts[~kept].sum() == 0 and kept.sum() == (sampling.top_k or kept.sum())
    assert chisquare(counts[kept], expected[kept] * counts.sum()).pvalue > 0.01


@pytest.mark.parametrize(
    "settings", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"temperature": 1.0, "top_k": -1}]
)
def test_settings_that_mean_nothing(settings):
    name, value = list(settings.items())[-1]
    with pytest.raises(ValueError, match=f"Need temperature >= 0, 0 < top_p <= 1 and top_k >= 0, got .*{name}={value}"):
        Sampling(**settings)
