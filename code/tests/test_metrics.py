import math

import pytest
import torch

from dgm.metrics import bits_per_dim, detection_rates, mean_and_error, nats_per_dim, roc


def test_a_fair_coin_costs_one_bit():
    nats = torch.full((3,), 10 * math.log(2), dtype=torch.float64)
    torch.testing.assert_close(bits_per_dim(nats, 10), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(nats_per_dim(nats, 10), torch.full((3,), math.log(2), dtype=torch.float64))


def test_standard_error_is_the_spread_of_means():
    draws = torch.randn(2000, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    errors = torch.tensor([mean_and_error(row)[1] for row in draws])
    assert errors.mean().item() == pytest.approx(draws.mean(1).std().item(), rel=0.05)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: bits_per_dim(torch.ones(2), 0), ValueError, "dims: expected at least 1"),
        (lambda: nats_per_dim(torch.ones(2, dtype=torch.int64), 2), TypeError, "nats: expected dtype float"),
        (lambda: nats_per_dim([1.0], 2), TypeError, "nats: expected a torch.Tensor"),
        (lambda: mean_and_error(torch.ones(1)), ValueError, "values: expected at least two"),
        (lambda: mean_and_error(torch.ones(2, 2)), ValueError, r"values: expected shape \(B,\)"),
        (lambda: mean_and_error(torch.tensor([1.0, float("nan")])), ValueError, "values: expected finite"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=told):
        call()


def test_roc_against_counting_every_threshold():
    normal, defective = torch.randn(40).double(), (torch.randn(30) + 1).double().round(decimals=1)
    curve = roc(normal.round(decimals=1), defective)
    for fpr, tpr, c in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert fpr == pytest.approx((normal.round(decimals=1) >= c).double().mean().item())
        assert tpr == pytest.approx((defective >= c).double().mean().item())
    pairs = defective[:, None] - normal.round(decimals=1)[None]
    assert curve.auc == pytest.approx(((pairs > 0).double() + 0.5 * (pairs == 0).double()).mean().item())


def test_detection_rates_are_points_of_the_curve():
    normal, defective = torch.randn(50), torch.randn(50) + 1
    curve = roc(normal, defective)
    for fpr, tpr, c in zip(curve.fpr[1:], curve.tpr[1:], curve.thresholds[1:].tolist(), strict=True):
        assert detection_rates(normal.double(), defective.double(), c) == pytest.approx((tpr.item(), 1 - fpr.item()))


def test_detection_refuses_bad_scores():
    good = torch.randn(5)
    with pytest.raises(ValueError, match=r"^normal: expected finite values, came NaN"):
        roc(good * float("nan"), good)
    with pytest.raises(ValueError, match=r"^defective: expected"):
        roc(good, good[:0])
    with pytest.raises(ValueError, match=r"^threshold: expected"):
        detection_rates(good, good, float("nan"))
