"""MADE on binary digits: one hidden layer of 1,000 units, the pixels row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm.autoregressive.made import MADE
from dgm.data import digits
from dgm.metrics import bits_per_dim, mean_and_error
from dgm.recipes._jitter import bits
from dgm.recipes._shared import keep, trained
from dgm.training import cosine, fit

NAME = "made_digits"
CONFIG: dict[str, Any] = {"shape": (1, 28, 28), "hidden": (1_000,)}


def build() -> MADE:
    """The model, not trained."""
    return MADE(**CONFIG)


def objective(model: MADE, grey: Tensor) -> Tensor:
    """The model's loss on grey pictures: jittered while it trains, then thresholded as all binary digits are."""
    return model.loss(bits(model, grey))


def train(*, steps: int = 12_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        digits("train").images,
        loss=objective,
        validation=digits("validation").images,
        steps=steps,
        batch_size=100,
        lr=1e-2,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        keep_best=True,
        seed=seed,
        **options,
    )
    data = "digits, thresholded at 128 after a random affine jitter; 3,500 for training"
    keep(NAME, model, scores, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> MADE:
    """The trained model."""
    return trained(NAME, build(), folder)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` digits (n, 1, 28, 28) from the trained model."""
    return load(folder=folder).sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


@torch.no_grad()
def scores(model: MADE) -> dict[str, float]:
    """Negative log-likelihood of the test digits, exact, and of the validation digits."""
    nats, error = mean_and_error(-model.log_prob(digits("test", binary=True).images))
    held = -model.log_prob(digits("validation", binary=True).images).mean().item()
    per_bit = bits_per_dim(torch.tensor(nats), model.m).item()
    return {
        "test nats/pixel": nats / model.m,
        "test nats/image": nats,
        "test nats/image, standard error": error,
        "test bits/dim": per_bit,
        "validation nats/image": held,
    }
