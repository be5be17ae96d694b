"""Eq. 2 and Eq. 3 with their arithmetic, against TRL's own loss on the same tensors, and on bad input."""

import doctest
import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medvol_r1 import losses
from medvol_r1.losses import GRPOLoss, group_advantages

NUMBERS = ("log_probs", "old_log_probs", "ref_log_probs", "advantages", "mask")


def batch(seed=0, num=6, length=7, dtype=torch.float64):
    """Random numbers with ratios on both sides of the clip, unequal lengths, both signs of advantage."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(num, length, generator=generator, dtype=dtype) * 3
    lengths = torch.randint(1, length + 1, (num,), generator=generator)
    return {
        "log_probs": log_probs.requires_grad_(),
        "old_log_probs": log_probs.detach() + 0.4 * torch.randn(num, length, generator=generator, dtype=dtype),
        "ref_log_probs": log_probs.detach() + 0.5 * torch.randn(num, length, generator=generator, dtype=dtype),
        "advantages": torch.randn(num, generator=generator, dtype=dtype),
        "mask": torch.arange(length) < lengths[:, None],
    }


def test_examples_of_the_docstrings():
    result = doctest.testmod(losses)
    assert result.attempted >= 5 and result.failed == 0


# Advantages (Eq. 2) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # mean 1.5, variance (2.25 + .25 + .25 + 2.25) / 3, std 1.290994
        ([0, 1, 2, 3], [-1.5 / 1.291094, -0.5 / 1.291094, 0.5 / 1.291094, 1.5 / 1.291094]),
        ([1.0, 0.0], [0.5 / (math.sqrt(0.5) + 1e-4), -0.5 / (math.sqrt(0.5) + 1e-4)]),
        # one of four solved: mean .25, variance (.5625 + 3 * .0625) / 3 = .25
        ([0.0, 0.0, 1.0, 0.0], [-0.25 / 0.5001, -0.25 / 0.5001, 0.75 / 0.5001, -0.25 / 0.5001]),
    ],
)
def test_advantages_golden(rewards, expected):
    assert group_advantages(torch.tensor(rewards)).tolist() == pytest.approx(expected, abs=1e-5)


def test_advantages_without_the_standard_deviation():
    rewards = torch.tensor([[0.0, 1.0, 2.0, 3.0], [2.0, 2.0, 2.0, 4.0]])
    expected = torch.tensor([[-1.5, -0.5, 0.5, 1.5], [-0.5, -0.5, -0.5, 1.5]])
    assert torch.equal(group_advantages(rewards, scale=False), expected)


# Pitfall 9: equal rewards have a standard deviation of 0.
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 4.0, 1e6])
@pytest.mark.parametrize("num", [2, 3, 7])
def test_pitfall_9_equal_rewards_have_no_advantage_exactly(value, num, scale):
    rewards = torch.full((2, num), value)
    rewards[1] += torch.arange(num)
    advantages = group_advantages(rewards, scale=scale)
    assert torch.equal(advantages[0], torch.zeros(num))
    assert advantages[1].isfinite().all() and advantages[1].abs().min() >= 0 and advantages[1, 0] < 0


@given(st.lists(st.floats(0, 4, width=32), min_size=2, max_size=8))
def test_advantages_are_finite_centered_and_in_the_order_of_rewards(rewards):
    tensor = torch.tensor(rewards, dtype=torch.float64)
    advantages = group_advantages(tensor)
    assert advantages.isfinite().all()
    assert advantages.sum().abs() < 1e-9
    order = tensor.argsort()
    assert (advantages[order].diff() >= 0).all()


def test_groups_do_not_know_of_each_other():
    rewards = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    advantages = group_advantages(rewards)
    assert advantages.shape == (3, 2, 4)
    assert torch.equal(advantages[1, 1], group_advantages(rewards[1, 1]))


@pytest.mark.parametrize("shape", [(), (1,), (5, 1), (3, 0)])
def test_a_group_of_one_cannot_be_compared(shape):
    with pytest.raises(ValueError, match=r"with G >= 2: a completion is compared with the others of its query"):
        group_advantages(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_no_numbers(bad):
    with pytest.raises(ValueError, match="1 of 4 rewards are NaN or infinite"):
        group_advantages(torch.tensor([[0.0, 1.0], [bad, 1.0]]))


# Loss (Eq. 3) -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "clipped"),
    [
        (1.0, 2.0, -2.0, False),
        (1.1, 1.0, -1.1, False),
        (1.5, 1.0, -1.2, True),  # min(1.5, 1.2)
        (0.5, 1.0, -0.5, False),  # min(.5, .8): the way back is open
        (0.5, -1.0, 0.8, True),  # min(-.5, -.8)
        (1.5, -1.0, 1.5, False),  # min(-1.5, -1.2)
        (1.5, 0.0, 0.0, False),
    ],
)
def test_surrogate_golden(ratio, advantage, surrogate, clipped):
    log_probs = torch.tensor([[-1.0]], dtype=torch.float64, requires_grad=True)
    old = log_probs.detach() - math.log(ratio)
    loss, statistics = GRPOLoss(kl_coefficient=0.0)(
        log_probs, old, None, torch.tensor([advantage]), torch.ones(1, 1, dtype=torch.bool)
    )
    assert loss.item() == pytest.approx(surrogate, abs=1e-9)
    assert statistics.clip_fraction.item() == float(clipped)
    assert statistics.mean_ratio.item() == pytest.approx(ratio)
    loss.backward()
    # d loss / d log_prob = -A rho where the clip does not bind, else nothing.
    assert log_probs.grad.item() == pytest.approx(0.0 if clipped else -advantage * ratio, abs=1e-9)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(0.0, 0.0), (math.log(2), 2 - math.log(2) - 1), (-math.log(2), 0.5 + math.log(2) - 1)],  # e^d - d - 1
)
def test_k3_golden(difference, expected):
    log_probs = torch.tensor([[-1.0]], dtype=torch.float64)
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss, statistics = GRPOLoss(kl_coefficient=0.5)(
        log_probs, log_probs, log_probs + difference, torch.tensor([0.0]), mask
    )
    assert statistics.kl.item() == pytest.approx(expected, abs=1e-12)
    assert loss.item() == pytest.approx(0.5 * expected, abs=1e-12)
    assert statistics.surrogate.item() == 0.0


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("sequence", -(3 + 1) / 2),  # the mean of one token of advantage 3 and of three of advantage 1
        ("token", -(3 + 1 + 1 + 1) / 4),
    ],
)
def test_normalisation_golden(normalisation, expected):
    log_probs = torch.zeros(2, 3)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    loss, statistics = GRPOLoss(kl_coefficient=0.0, normalisation=normalisation)(
        log_probs, log_probs, None, torch.tensor([3.0, 1.0]), mask
    )
    assert loss.item() == pytest.approx(expected)
    assert statistics.tokens.item() == 4


def _in_words(numbers, epsilon, beta):
    """The formula of TRL's documentation for loss_type "grpo", token by token with plain numbers."""
    total = 0.0
    values = {name: tensor.tolist() for name, tensor in numbers.items()}
    for i, advantage in enumerate(values["advantages"]):
        terms = []
        for t, counts in enumerate(values["mask"][i]):
            if not counts:
                continue
            now, old, ref = (values[name][i][t] for name in NUMBERS[:3])
            ratio = math.exp(now - old)
            clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
            kl = math.exp(ref - now) - (ref - now) - 1
            terms.append(-min(ratio * advantage, clipped * advantage) + beta * kl)
        total += sum(terms) / len(terms)
    return total / len(values["advantages"])


def _loss_of_trl(numbers, epsilon, beta, loss_type):
    """TRL's own method on the same tensors: a stand-in trainer whose model answers with our log-probabilities."""
    trl = pytest.importorskip("trl")
    if not trl.__version__.startswith("1.16."):
        pytest.skip(f"calls a private method of TRL 1.16, found {trl.__version__}")
    current = numbers["log_probs"]
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
        loss_type=loss_type,
        beta=beta,
        epsilon_low=epsilon,
        epsilon_high=epsilon,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics={"eval": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (current, torch.zeros_like(current), None),
    )
    ones = torch.ones(current.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ones[:, :1],
        "prompt_mask": ones[:, :1],
        "completion_ids": ones,
        "completion_mask": numbers["mask"].long(),
        "advantages": numbers["advantages"],
        "old_per_token_logps": numbers["old_log_probs"],
        "ref_per_token_logps": numbers["ref_log_probs"],
        "num_items_in_batch": numbers["mask"].sum(),
    }
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss, {name: values[0] for name, values in trainer._metrics["eval"].items()}


@pytest.mark.parametrize("seed", range(3))
def test_loss_is_the_formula(seed):
    numbers = batch(seed)
    loss, _ = GRPOLoss(clip_range=0.2, kl_coefficient=0.01)(**numbers)
    assert loss.item() == pytest.approx(_in_words(numbers, 0.2, 0.01), abs=1e-12)


@pytest.mark.parametrize(("normalisation", "loss_type"), [("sequence", "grpo"), ("token", "dapo")])
@pytest.mark.parametrize(("epsilon", "beta"), [(0.2, 0.01), (0.1, 0.5), (0.2, 0.0)])
def test_loss_gradient_and_statistics_are_trl_s(normalisation, loss_type, epsilon, beta):
    numbers = batch(1)
    theirs, metrics = _loss_of_trl(numbers, epsilon, beta, loss_type)
    (their_gradient,) = torch.autograd.grad(theirs, numbers["log_probs"])
    ours, statistics = GRPOLoss(epsilon, beta, normalisation)(**numbers)
    (our_gradient,) = torch.autograd.grad(ours, numbers["log_probs"])
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    assert torch.allclose(our_gradient, their_gradient, rtol=0, atol=1e-12)
    # The comparison is of something: some tokens are clipped, most are not.
    assert 0 < statistics.clip_fraction < 0.8
    # TRL divides a float32 count by a float64 one.
    assert statistics.clip_fraction.item() == pytest.approx(metrics["clip_ratio/region_mean"], abs=1e-6)
    if beta:
        assert statistics.kl.item() == pytest.approx(metrics["kl"], abs=1e-6)


@given(st.integers(0, 1000))
def test_kl_is_never_negative_and_statistics_are_fractions(seed):
    _, statistics = GRPOLoss()(**batch(seed))
    assert statistics.kl >= 0 and 0 <= statistics.clip_fraction <= 1


def test_in_the_first_iteration_the_gradient_is_the_policy_gradient():
    numbers = batch(2)
    numbers["old_log_probs"] = numbers["log_probs"].detach()
    loss, statistics = GRPOLoss(kl_coefficient=0.0)(**numbers)
    assert statistics.clip_fraction == 0 and statistics.mean_ratio == 1
    (gradient,) = torch.autograd.grad(loss, numbers["log_probs"])
    mask = numbers["mask"]
    expected = -numbers["advantages"][:, None] * mask / mask.sum(-1, keepdim=True) / len(mask)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-15)


def test_equal_rewards_leave_only_the_kl():
    numbers = batch(3) | {"advantages": group_advantages(torch.ones(6))}
    loss, statistics = GRPOLoss(kl_coefficient=0.0)(**numbers)
    loss.backward()
    assert loss == 0 and statistics.surrogate == 0 and not numbers["log_probs"].grad.any()


@pytest.mark.parametrize("padding", [float("-inf"), float("nan"), 1e4])
def test_padding_is_not_looked_at(padding):
    numbers = batch(4)
    expected, _ = GRPOLoss()(**numbers)
    (expected_gradient,) = torch.autograd.grad(expected, numbers["log_probs"])
    for name in NUMBERS[:3]:
        numbers[name] = numbers[name].detach().masked_fill(~numbers["mask"], padding)
    loss, _ = GRPOLoss()(**(numbers | {"log_probs": numbers["log_probs"].requires_grad_()}))
    loss.backward()
    assert loss == expected
    assert torch.equal(numbers["log_probs"].grad, expected_gradient)


@pytest.mark.parametrize("normalisation", ["sequence", "token"])
def test_nothing_sampled_is_a_loss_of_zero(normalisation):
    numbers = batch(5) | {"mask": torch.zeros(6, 7, dtype=torch.bool)}
    loss, statistics = GRPOLoss(normalisation=normalisation)(**numbers)
    loss.backward()
    assert loss == 0 and statistics.kl == 0 and statistics.tokens == 0 and not numbers["log_probs"].grad.any()


def test_only_the_policy_gets_a_gradient():
    numbers = batch(6)
    for name in ("old_log_probs", "ref_log_probs", "advantages"):
        numbers[name].requires_grad_()
    loss, statistics = GRPOLoss()(**numbers)
    loss.backward()
    assert numbers["log_probs"].grad.any()
    assert all(numbers[name].grad is None for name in ("old_log_probs", "ref_log_probs", "advantages"))
    assert not any(value.requires_grad for value in statistics)


@pytest.mark.parametrize("normalisation", ["sequence", "token"])
def test_parts_of_a_batch_add_up(normalisation):
    numbers = batch(7)
    module = GRPOLoss(normalisation=normalisation)
    whole, _ = module(**numbers)
    total = torch.zeros(())
    for rows in (slice(0, 2), slice(2, 6)):
        loss, statistics = module(**{name: tensor[rows] for name, tensor in numbers.items()})
        tokens, completions = numbers["mask"].sum(), len(numbers["mask"])
        share = statistics.tokens / tokens if normalisation == "token" else len(numbers["mask"][rows]) / completions
        total = total + share * loss
    assert total.item() == pytest.approx(whole.item(), abs=1e-6)


def test_without_a_reference_the_kl_is_not_known():
    _, statistics = GRPOLoss(kl_coefficient=0.0)(**(batch(8) | {"ref_log_probs": None}))
    assert statistics.kl.isnan()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_range": 0.0}, "clip_range is 0.0; give a number between 0 and 1"),
        ({"clip_range": math.nan}, "clip_range is nan"),
        ({"kl_coefficient": -0.01}, "kl_coefficient is -0.01; give a finite number >= 0"),
        ({"kl_coefficient": math.nan}, "kl_coefficient is nan"),
        ({"normalisation": "dapo"}, "normalisation is 'dapo'; legal are sequence, token"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GRPOLoss(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": torch.zeros(42)}, r"log_probs have the shape \(42,\); give \[N, T\]"),
        ({"old_log_probs": torch.zeros(6, 8)}, r"old_log_probs has the shape \(6, 8\), log_probs \(6, 7\)"),
        ({"ref_log_probs": torch.zeros(1, 7)}, r"ref_log_probs has the shape \(1, 7\)"),
        ({"mask": torch.ones(7)}, r"mask has the shape \(7,\)"),
        ({"advantages": torch.zeros(3, 2)}, r"advantages have the shape \(3, 2\); give \[6\], one a completion"),
        ({"ref_log_probs": None}, "kl_coefficient is 0.01 but there are no ref_log_probs"),
    ],
)
def test_shapes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        GRPOLoss()(**(batch() | change))
