"""Two correlated numbers, or two independent ones: a normal law on which a VAE's best answer is known exactly."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from dgm.checks import require_choice

MEAN = (2.0, 3.0)
DEVIATIONS = (3.0, 1.0)
SPLITS = {"train": slice(0, 6_000), "validation": slice(6_000, 7_000), "test": slice(7_000, 10_000)}
SEED = 31


def gaussian_pair_law(*, rotated: bool = False) -> tuple[Tensor, Tensor]:
    r"""Mean and covariance of the law: axes of standard deviation 3 and 1, turned by 45° where `rotated`.

    Its entropy is $\ln(2\pi e) + \ln 3 = 3.9365$ nats either way: no model has a smaller mean loss.

    Returns:
        float64 (2,) and (2, 2).

    >>> gaussian_pair_law(rotated=True)[1].tolist()
    [[5.0, 4.0], [4.0, 5.0]]
    """
    wide, narrow = (sd**2 for sd in DEVIATIONS)
    mean = torch.tensor(MEAN, dtype=torch.float64)
    if not rotated:
        return mean, torch.tensor([[wide, 0.0], [0.0, narrow]], dtype=torch.float64)
    same, cross = (wide + narrow) / 2, (wide - narrow) / 2  # R diag(9, 1) Rᵀ for R a turn by 45°
    return mean, torch.tensor([[same, cross], [cross, same]], dtype=torch.float64)


def gaussian_pair(split: str, *, rotated: bool = False) -> Tensor:
    r"""Load a split of 10,000 draws: $\x = \mu + R\,\diag(3, 1)\,\boldsymbol\varepsilon$ with R a turn by 0° or 45°.

    Both sets are made of the same normal numbers; `gaussian_pair_law` states the law.

    Args:
        split: ``"train"`` (6,000 draws), ``"validation"`` (1,000) or ``"test"`` (3,000).
        rotated: turn the axes by 45°, so that the coordinates depend on each other.

    Returns:
        float32 (N, 2).

    Raises:
        ValueError: an unknown split.

    >>> gaussian_pair("train").shape
    torch.Size([6000, 2])
    """
    part = SPLITS[require_choice(split, "split", SPLITS)]
    noise = torch.randn(10_000, 2, generator=Generator().manual_seed(SEED), dtype=torch.float64)
    turn = math.pi / 4 if rotated else 0.0
    R = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    x = torch.tensor(MEAN, dtype=torch.float64) + noise * torch.tensor(DEVIATIONS, dtype=torch.float64) @ R.T
    return x[part].float()
