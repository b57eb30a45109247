"""Glow on grey digits: two scales, eight steps each, noise between the 256 levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.data import digits
from dgm.flows.coupling import glow
from dgm.foundations.counting import PixelGenerator
from dgm.metrics import bits_per_dim, mean_and_error
from dgm.nn.flow import Dequantised
from dgm.recipes._shared import keep, trained
from dgm.training import cosine, fit

NAME = "glow_digits"
# α: on validation after 400 steps 0.05 gave 2.03 bits/dim, 0.01 1.76, 0.002 1.63, 0.0005 1.58, 0.00005 1.54 (width 32).
CONFIG: dict[str, Any] = {"shape": (1, 28, 28), "levels": 2, "depth": 8, "width": 48, "alpha": 5e-5}


def build() -> Dequantised:
    """The model, not trained."""
    # In this memory format a step takes two thirds of the time on a CPU.
    return Dequantised(glow(**CONFIG)).to(memory_format=torch.channels_last)


def moved(x: Tensor) -> Tensor:
    """Move each picture by −1, 0 or 1 pixels down and across: more digits from few, their grey levels untouched."""
    rows, columns = ((torch.arange(x.shape[-1]) - torch.randint(-1, 2, (len(x), 1))) % x.shape[-1] for _ in range(2))
    return x[torch.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def objective(model: Dequantised, x: Tensor) -> Tensor:
    """The model's loss; while it trains, on digits that are moved a little."""
    return model.loss(moved(x) if model.training else x)


def train(*, steps: int = 6_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        digits("train").images,
        loss=objective,
        validation=digits("validation").images,
        steps=steps,
        batch_size=32,
        lr=5e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        clip=2_000.0,
        ema=0.999,
        every=250,
        keep_best=True,
        seed=seed,
        **options,
    )
    data = "digits with 256 grey levels, moved by up to a pixel; 3,500 for training"
    measure = partial(scores, samples=min(16, steps))  # a trial of a few steps is scored at once
    keep(NAME, model, measure, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> Dequantised:
    """The trained model."""
    return trained(NAME, build(), folder)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` digits (n, 1, 28, 28) from the trained model."""
    return load(folder=folder).sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    samples = int(weights.info(NAME, folder=folder)["metrics"]["samples"])
    return scores(load(folder=folder), samples)


@torch.no_grad()
def scores(model: Dequantised, samples: int) -> dict[str, float]:
    """Bits a pixel of the test digits: the bound, the estimate by `samples` draws of noise, independent pixels."""
    chance = torch.Generator().manual_seed(0)

    def bits(score: Callable[..., Tensor], split: str, **options: Any) -> Tensor:
        """Bits a pixel of each digit, by batches that fit into the processor's cache."""
        parts = digits(split).images.split(50)
        return bits_per_dim(-torch.cat([score(x, **options) for x in parts]), 784)

    pixels = PixelGenerator((1, 28, 28)).fit_counts(digits("train").images, alpha=0.3)  # α chosen on validation
    bound, error = mean_and_error(bits(model.elbo, "test", generator=chance))
    weighted, error_weighted = mean_and_error(bits(model.log_prob_is, "test", samples=samples, generator=chance))
    return {
        "test bits/dim, bound": bound,
        "test bits/dim, bound, standard error": error,
        f"test bits/dim, {samples} importance samples": weighted,
        f"test bits/dim, {samples} importance samples, standard error": error_weighted,
        "samples": samples,
        "validation bits/dim, bound": bits(model.elbo, "validation", generator=chance).mean().item(),
        "test bits/dim of independent pixels": bits(pixels.log_prob, "test").mean().item(),
    }
