"""One number per example: 5,000 draws from two normal bumps on the unit interval."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require_choice

SEED = 42
DRAWS = 5_000
TRAIN = 4_000
MEANS = (0.2, 0.6)
DEVIATIONS = (0.05, 0.15)


def mixture_1d(split: str) -> Tensor:
    """Load a split of the two-bump set, x ~ ½N(0.2, 0.05²) + ½N(0.6, 0.15²).

    A few draws fall outside [0, 1]; they are kept. For bins see `dgm.foundations.counting.to_bins`.

    Args:
        split: ``"train"`` (4,000 draws) or ``"test"`` (1,000). A chapter with something to choose sets part of
            the training draws aside.

    Returns:
        float32 (N,).

    Raises:
        ValueError: an unknown split.

    >>> x = mixture_1d("train")
    >>> tuple(x.shape), round(x.mean().item(), 1)
    ((4000,), 0.4)
    """
    require_choice(split, "split", ("train", "test"))
    x = _draws()
    return torch.from_numpy(x[:TRAIN] if split == "train" else x[TRAIN:]).float()


@cache
def _draws() -> np.ndarray:
    """All draws, float64, in the order in which they came."""
    # RandomState's stream is frozen by NumPy: seed 42 gives these numbers on every version.
    random = np.random.RandomState(SEED)
    # Both bumps first, the choice between them last: these are the draws behind the outline's reference numbers.
    bumps = [mean + sd * random.randn(DRAWS) for mean, sd in zip(MEANS, DEVIATIONS, strict=True)]
    return np.where(random.rand(DRAWS) < 0.5, *bumps)
