"""Four kinds of GAN on eight sharp peaks, five trainings each: which modes do they find?"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dgm.adversarial.gan import GAN, HINGE, NON_SATURATING
from dgm.adversarial.wasserstein import WASSERSTEIN, clip_weights, gradient_penalty, spectrally_normalised
from dgm.data import toy
from dgm.data.toys import PEAKS_RADIUS, PEAKS_SD, ring_centres
from dgm.metrics.samples import mode_counts
from dgm.nn.mlp import mlp
from dgm.recipes._shared import keep, trained
from dgm.training import cosine, play

NAME = "gans_eight"
SEEDS, WIDTH, SAMPLES, LR = 5, 64, 2_500, 1e-3
HIT = 4 * PEAKS_SD  # a sample counts for a peak within four standard deviations of it
ENOUGH = SAMPLES // 80  # a peak is found if it has a tenth of its share
KINDS: dict[str, dict[str, Any]] = {
    "GAN": {"critic_steps": 1},
    "WGAN": {"critic_steps": 3, "optimizer": torch.optim.RMSprop},
    "WGAN-GP": {"critic_steps": 3},
    "SN-GAN": {"critic_steps": 3},
}
"""How each kind is played, as further arguments of `dgm.training.play`."""


def game(kind: str) -> GAN:
    """One game, not trained: two multilayer perceptrons."""
    generator, critic = (mlp([2, WIDTH, WIDTH, WIDTH, out], activation=nn.ReLU) for out in (2, 1))
    shared: dict[str, Any] = {"latent": 2, "shape": (2,)}
    if kind == "GAN":
        return GAN(generator, critic, NON_SATURATING, **shared)
    if kind == "WGAN":
        return GAN(generator, critic, WASSERSTEIN, constraint=partial(clip_weights, bound=0.1), **shared)
    if kind == "WGAN-GP":
        return GAN(generator, critic, WASSERSTEIN, penalty=partial(gradient_penalty, weight=0.1), **shared)
    return GAN(generator, spectrally_normalised(critic), HINGE, **shared)


def build() -> nn.ModuleDict:
    """All games, not trained: "GAN-0" … "SN-GAN-4"."""
    return nn.ModuleDict({f"{kind}-{seed}": game(kind) for kind in KINDS for seed in range(SEEDS)})


def peaks(points: Tensor) -> dict[str, float]:
    """How many of the eight peaks have at least a tenth of their share of `SAMPLES` points, and the share near any."""
    counts = mode_counts(points, ring_centres(PEAKS_RADIUS), HIT)
    return {"modes": (counts >= ENOUGH).sum().item(), "share": counts.sum().item() / SAMPLES}


def found(one: GAN) -> dict[str, float]:
    """`peaks` of the game's samples, the same chance each time."""
    return peaks(one.sample(SAMPLES, generator=torch.Generator().manual_seed(0)))


def train(
    *,
    steps: int = 2_000,
    seed: int = 0,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    log: Path | None = None,
    **options: Any,
) -> None:
    """Train all and write the weights into `folder` (None: the package's own)."""
    points = toy("eight_peaks", 25_600)
    games, runs, histories = build(), [], []
    for kind, how in KINDS.items():
        for number in range(SEEDS):
            torch.manual_seed(seed + number)
            games[f"{kind}-{number}"] = one = game(kind)
            began = time.process_time()
            history = play(
                one,
                points,
                steps=steps,
                batch_size=128,
                lr=LR,
                schedule=cosine(steps),
                ema=0.99,
                measure=found,
                every=200,
                seed=seed + number,
                checkpoint=checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{kind}-{number}"),
                log=log and log / f"{kind}-{number}",
                **how,
                **options,
            )
            histories.append(history)
            spent = {"processor seconds": time.process_time() - began}
            runs.append({"kind": kind, "seed": seed + number} | found(one) | spent | history.as_dict())
    whole = replace(histories[0], seconds=sum(history.seconds for history in histories))
    config = {"width": WIDTH, "steps": steps, "lr": LR, "kinds": list(KINDS), "seeds": SEEDS}
    data = "25,600 points of the toy set eight_peaks"
    keep(NAME, games, scores, whole, data=data, config=config, seed=seed, folder=folder, runs=runs)


def load(*, folder: Path | None = None) -> nn.ModuleDict:
    """The trained games."""
    return trained(NAME, build(), folder)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` points (n, 2) from the first game with a gradient penalty."""
    one = cast(GAN, load(folder=folder)["WGAN-GP-0"])
    return one.sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(games: nn.ModuleDict) -> dict[str, float]:
    """For each kind the mean number of peaks found, the fewest, and the mean share of samples near a peak."""
    told: dict[str, float] = {}
    for kind in KINDS:
        rows = [found(cast(GAN, games[f"{kind}-{number}"].eval())) for number in range(SEEDS)]
        modes, shares = ([row[name] for row in rows] for name in ("modes", "share"))
        told |= {
            f"{kind}: peaks found": sum(modes) / SEEDS,
            f"{kind}: peaks found, fewest": min(modes),
            f"{kind}: share near a peak": sum(shares) / SEEDS,
        }
    return told
