"""DDPM on the eight sharp peaks of `gans_eight`, five trainings: which modes does it find?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dgm.data import toy
from dgm.diffusion.ddpm import DDPM, Cosine, Denoiser, even_times
from dgm.nn.timed import TimedMLP
from dgm.recipes._shared import keep, trained
from dgm.recipes.gans_eight import SAMPLES, SEEDS, peaks
from dgm.training import cosine, fit

NAME = "ddpm_eight"
STEPS = 100  # of the chain


def denoiser() -> Denoiser:
    """One model, not trained."""
    return Denoiser(TimedMLP(2), Cosine(STEPS))


def build() -> nn.ModuleList:
    """Five models, not trained."""
    return nn.ModuleList(denoiser() for _ in range(SEEDS))


def train(
    *,
    steps: int = 6_000,
    seed: int = 0,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    log: Path | None = None,
    **options: Any,
) -> None:
    """Train all and write the weights into `folder` (None: the package's own)."""
    points = toy("eight_peaks", 25_600)  # those of the GANs
    models, runs, histories = build(), [], []
    for number in range(SEEDS):
        torch.manual_seed(seed + number)
        models[number] = one = denoiser()
        began = time.process_time()
        history = fit(
            one,
            points,
            steps=steps,
            batch_size=256,
            lr=4e-3,
            schedule=cosine(steps),
            ema=0.995,
            every=500,
            seed=seed + number,
            checkpoint=checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{number}"),
            log=log and log / str(number),
            **options,
        )
        histories.append(history)
        spent = {"processor seconds": time.process_time() - began}
        runs.append({"seed": seed + number} | found(one) | spent | history.as_dict())
    whole = replace(histories[0], seconds=sum(history.seconds for history in histories))
    config = {"chain": STEPS, "steps": steps, "seeds": SEEDS}
    data = "25,600 points of the toy set eight_peaks"
    keep(NAME, models, scores, whole, data=data, config=config, seed=seed, folder=folder, runs=runs)


def load(*, folder: Path | None = None) -> nn.ModuleList:
    """The trained models."""
    return trained(NAME, build(), folder)


def drawn(one: Denoiser, n: int, seed: int) -> Tensor:
    """`n` points (n, 2) of one model by ancestral sampling, all steps of its chain."""
    return DDPM(one).sample((n, 2), even_times(STEPS), generator=torch.Generator().manual_seed(seed))


def found(one: Denoiser) -> dict[str, float]:
    """As `gans_eight` counts for the GANs."""
    return peaks(drawn(one, SAMPLES, 0))


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` points (n, 2) from the first model."""
    return drawn(cast(Denoiser, load(folder=folder)[0]), n, seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(models: nn.ModuleList) -> dict[str, float]:
    """The mean number of peaks found, the fewest, and the mean share of samples near a peak."""
    rows = [found(cast(Denoiser, one.eval())) for one in models]
    modes, shares = ([row[name] for row in rows] for name in ("modes", "share"))
    return {
        "peaks found": sum(modes) / SEEDS,
        "peaks found, fewest": min(modes),
        "share near a peak": sum(shares) / SEEDS,
    }
