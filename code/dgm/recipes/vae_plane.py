"""A VAE of binary digits with a 2-dimensional latent space: a map of all digits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.latent.vae import VAE
from dgm.recipes._jitter import bits
from dgm.recipes._shared import keep, trained
from dgm.recipes.vae_digits import run, scores, vae

NAME = "vae_plane"
CONFIG: dict[str, Any] = {"latent": 2, "width": 16}


def build() -> VAE:
    """The model, not trained."""
    return vae(**CONFIG)


def objective(model: VAE, grey: Tensor) -> Tensor:
    """As in `vae_digits`, with less jitter: two numbers can't say how a digit was bent as well as what it is."""
    return model.loss(bits(model, grey, bend=0.04, shift=0.2))


def train(*, steps: int = 4_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = run(model, objective, steps=steps, seed=seed, **options)
    data = "digits, thresholded at 128 after a slight affine jitter; 3,500 for training"
    measure = partial(scores, samples=min(100, steps))
    keep(NAME, model, measure, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> VAE:
    """The trained model."""
    return trained(NAME, build(), folder)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` digits (n, 1, 28, 28) from the trained model."""
    return load(folder=folder).sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights: 100 codes for each test digit."""
    samples = int(weights.info(NAME, folder=folder)["metrics"]["samples"])
    return scores(load(folder=folder), samples)
