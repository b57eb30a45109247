"""The two normal laws of the VAE's homework: draws, law, entropy."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from dgm.data import gaussian_pair, gaussian_pair_law

turned = pytest.mark.parametrize("rotated", [False, True])


@turned
def test_splits(rotated):
    parts = [gaussian_pair(split, rotated=rotated) for split in ("train", "validation", "test")]
    assert [tuple(part.shape) for part in parts] == [(6_000, 2), (1_000, 2), (3_000, 2)]
    assert all(part.dtype == torch.float32 for part in parts)
    assert torch.cat(parts).unique(dim=0).shape == (10_000, 2)
    parts[0].zero_()
    assert gaussian_pair("train", rotated=rotated).std() > 1


@turned
def test_draws_follow_the_law(rotated):
    x = torch.cat([gaussian_pair(split, rotated=rotated) for split in ("train", "validation", "test")]).double()
    mean, cov = gaussian_pair_law(rotated=rotated)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), (x - mean).T, upper=False)
    assert white.mean(1).abs().max() < 4 / 100  # sd 1/√10,000
    assert (white.cov() - torch.eye(2)).abs().max() < 4 * math.sqrt(2) / 100


@turned
def test_the_entropy_is_the_published_optimum(rotated):
    entropy = MultivariateNormal(*gaussian_pair_law(rotated=rotated)).entropy().item()
    assert entropy == pytest.approx(math.log(2 * math.pi * math.e) + math.log(3), abs=1e-12)
    assert round(entropy, 4) == 3.9365


def test_one_is_the_other_turned_by_45_degrees():
    mean = gaussian_pair_law()[0].float()
    turn = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / math.sqrt(2)
    torch.testing.assert_close((gaussian_pair("test") - mean) @ turn.T + mean, gaussian_pair("test", rotated=True))


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"^split: 'tests' is not known"):
        gaussian_pair("tests")
