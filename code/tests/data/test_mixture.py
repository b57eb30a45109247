"""Two bumps on a line: the draws, their law, and that they are the draws behind the book's reference numbers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from dgm.data import mixture_1d


def below(x: np.ndarray, narrow: float = 0.05) -> np.ndarray:
    return 0.5 * norm.cdf(x, 0.2, narrow) + 0.5 * norm.cdf(x, 0.6, 0.15)


def test_splits() -> None:
    train, test = mixture_1d("train"), mixture_1d("test")
    assert (train.shape, test.shape) == ((4_000,), (1_000,))
    assert train.dtype == test.dtype == torch.float32
    assert not set(train.tolist()) & set(test.tolist())
    train.zero_()
    assert mixture_1d("train").std() > 0.1


def test_draws_follow_the_density() -> None:
    # All 5,000 at once: the 1,000 test draws of seed 42 alone are an unlucky sample (p = .006).
    x = torch.cat([mixture_1d("train"), mixture_1d("test")]).numpy()
    result = kstest(x, below)
    assert result.pvalue > 0.01
    wrong = kstest(x, lambda x: below(x, narrow=0.06))
    assert wrong.pvalue < result.pvalue


def test_draws_are_those_of_the_reference_numbers() -> None:
    """Seed 42 in the homework's bins, by NumPy and SciPy alone; another order of drawing gives others."""
    left = np.linspace(0, 1, 100)
    train, test = (np.digitize(mixture_1d(split).clamp(0, 1).numpy(), left) - 1 for split in ("train", "test"))
    counts = np.bincount(train, minlength=100)
    mass = np.diff([0.0, *below(left[1:]), 1.0])

    def score(p: np.ndarray, bins: np.ndarray) -> float:
        with np.errstate(divide="ignore"):
            return float(-np.log(p[bins]).mean())

    assert score(counts / 4_000, train) == pytest.approx(4.1820, abs=5e-5)
    assert score(mass, test) == pytest.approx(4.2247, abs=5e-5)
    assert score((counts + 1) / 4_100, test) == pytest.approx(4.2372, abs=5e-5)
    assert score(counts / 4_000, test) == math.inf  # a test draw fell into a bin that training never saw


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="split"):
        mixture_1d("validation")
