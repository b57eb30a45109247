"""A grey picture of 60 × 60 pixels, read as a probability of each of its 3,600 cells."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require_choice
from dgm.data.dicebear import pixels, releases, svg
from dgm.data.store import cached

SIDE = 60
FLOOR = 0.02  # a blank cell keeps this weight beside 1 for black: no cell is impossible
SPLITS = {"train": slice(0, 14_000), "validation": slice(14_000, 16_000), "test": slice(16_000, 20_000)}
SEED = 26  # a seed under which no split is lucky: the true model scores its entropy on each, within 0.006 nats

OPTIONS: dict[str, object] = {
    "seed": "29",  # the dots of the coat sit a little askew, by this seed
    "backgroundColor": ["#ffffff"],
    "bodyVariant": ["column"],
    "bodyColor": ["#cf9f52"],
    "topVariant": ["ears"],
    "topProbability": 100,
    "patternVariant": ["pellets"],
    "patternProbability": 100,
    "accentColor": ["#cd8ea6"],
    "eyesVariant": ["inward"],
    "mouthVariant": ["smileBig"],
    "inkColor": ["#44403c"],
    # It leans: where a row has its ink depends on the row, so that row and column can't be learnt apart.
    "rotate": [32, 32],
    "scale": [1.15, 1.15],
}


def picture() -> Tensor:
    """Return the picture as probabilities: p(row, column) ∝ darkness of the pixel + 0.02, darkness in [0, 1].

    Returns:
        float64 (60, 60), positive, of sum 1; row 0 is the top.

    Raises:
        ImportError: a package that draws is missing; the message says how to install it.

    Source:
        DiceBear, style "Clay", CC0 1.0; a creature that does not exist.

    >>> p = picture()
    >>> tuple(p.shape), round(p.sum().item(), 9), bool((p > 0).all())
    ((60, 60), 1.0, True)
    """
    return torch.from_numpy(_probabilities().copy())


def picture_points(split: str) -> Tensor:
    """Load a split of 20,000 cells drawn from the picture, independently, each as often as it is dark.

    Args:
        split: ``"train"`` (14,000), ``"validation"`` (2,000) or ``"test"`` (4,000).

    Returns:
        int64 (N, 2): row and column, 0 … 59.

    Raises:
        ValueError: an unknown split.
        ImportError: a package that draws is missing.

    >>> picture_points("test").shape
    torch.Size([4000, 2])
    """
    require_choice(split, "split", SPLITS)
    return torch.from_numpy(_points()[SPLITS[split]].copy())


@cache
def _probabilities() -> np.ndarray:
    key = {"versions": releases("picture()"), "options": OPTIONS, "side": SIDE}
    grey = cached("picture", key, lambda: {"grey": pixels(svg("clay", OPTIONS), SIDE).mean(axis=0)})["grey"]
    weight = (255 - grey) / 255 + FLOOR
    return weight / weight.sum()


@cache
def _points() -> np.ndarray:
    random = np.random.RandomState(SEED)  # NumPy has frozen its stream
    cells = random.choice(SIDE * SIDE, size=20_000, p=_probabilities().ravel())
    return np.stack(np.divmod(cells, SIDE), axis=1).astype(np.int64)
