"""Homework C2: a generator of CSP-up blocks draws avatars; five experiments on how to make it converge."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.adversarial.gan import GAN, HINGE, NON_SATURATING, CSPGenerator, DCCritic, Losses, Norm
from dgm.adversarial.wasserstein import WASSERSTEIN, gradient_penalty, spectrally_normalised
from dgm.data import avatars
from dgm.metrics.samples import compare
from dgm.recipes import avatar_classifier
from dgm.recipes._shared import keep, trained
from dgm.training import GameHistory, cosine, play

NAME = "csp_avatars"
NETS: dict[str, Any] = {"latent": 100, "width": 1 / 8, "size": 32}
CRITIC_WIDTH = 24
TRIAL = 6  # a trial takes a sixth of the steps of the long run


def game(losses: Losses, norm: Norm = nn.Identity, critic: nn.Module | None = None, **options: Any) -> GAN:
    """The generator of the homework at an eighth of its width, 32 × 32, and DCGAN's critic without normalisation."""
    generator = CSPGenerator(**NETS, norm=norm)
    critic = critic or DCCritic(3, width=CRITIC_WIDTH, size=32, norm=None)
    return GAN(generator, critic, losses, latent=NETS["latent"], shape=(3, 32, 32), **options)


def normalised_critic() -> nn.Module:
    """The same critic with normalised spectra."""
    return spectrally_normalised(DCCritic(3, width=CRITIC_WIDTH, size=32, norm=None))


class Experiment(NamedTuple):
    """One change against the baseline."""

    aim: str
    idea: str
    make: Callable[[], GAN]
    how: dict[str, Any]
    """Arguments of `dgm.training.play`."""


BETAS = partial(torch.optim.Adam, betas=(0.0, 0.9))
EXPERIMENTS = {
    "baseline": Experiment(
        "see how far the task as set goes",
        "no normalisation, non-saturating loss, one step size for both",
        lambda: game(NON_SATURATING),
        {"lr": 2e-4},
    ),
    "batch normalisation": Experiment(
        "keep the generator's signals at one scale",
        "batch normalisation in the long way of each block",
        lambda: game(NON_SATURATING, norm=nn.BatchNorm2d),
        {"lr": 2e-4},
    ),
    "two step sizes": Experiment(
        "let the critic answer faster than the generator moves",
        "as before, the critic's step size four times the generator's",
        lambda: game(NON_SATURATING, norm=nn.BatchNorm2d),
        {"lr": (8e-4, 2e-4)},
    ),
    "normalised spectra": Experiment(
        "bound the critic's slope by construction",
        "batch normalisation in the generator, spectral normalisation and hinge loss in the critic, two critic steps",
        lambda: game(HINGE, norm=nn.BatchNorm2d, critic=normalised_critic()),
        {"lr": 1e-3, "critic_steps": 2, "optimizer": BETAS},
    ),
    "gradient penalty": Experiment(
        "bound the critic's slope where it matters",
        "batch normalisation in the generator, Wasserstein loss with penalty, two critic steps",
        lambda: game(WASSERSTEIN, norm=nn.BatchNorm2d, penalty=gradient_penalty),
        {"lr": 1e-3, "critic_steps": 2, "optimizer": BETAS},
    ),
}
CHOSEN = "gradient penalty"  # for the long run: smallest Fréchet distance on validation avatars


def build() -> GAN:
    """The game of the long run, not trained."""
    return EXPERIMENTS[CHOSEN].make()


def nearness(one: GAN) -> dict[str, float]:
    """200 samples against the 200 validation avatars, on the features of `avatar_classifier`."""
    real = avatar_classifier.features(avatars("validation").images)
    return compare(real, avatar_classifier.features(drawn(one, 200, 0)))


def run(name: str, one: GAN, steps: int, seed: int, **options: Any) -> dict[str, Any]:
    """Play one experiment; its record."""
    trial = EXPERIMENTS[name]
    data = avatars("train", size=32).images * 2 - 1
    began = time.process_time()
    history = play(
        one,
        data,
        steps=steps,
        batch_size=32,
        schedule=cosine(steps),
        ema=0.99,
        measure=nearness,
        every=max(1, steps // 20),
        keep_best="FD",
        seed=seed,
        **trial.how,
        **options,
    )
    spent = {"processor seconds": time.process_time() - began}
    words = {"name": name, "aim": trial.aim, "idea": trial.idea}
    return words | nearness(one) | spent | {"curve": history.as_dict()}


def train(
    *,
    steps: int = 3_000,
    seed: int = 0,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    log: Path | None = None,
    **options: Any,
) -> None:
    """Run the experiments, then the chosen one for long; write its weights into `folder` (None: the package's own)."""
    told, games = [], {}
    for label, count in [*((name, -(-steps // TRIAL)) for name in EXPERIMENTS), ("long", steps)]:
        name = CHOSEN if label == "long" else label
        torch.manual_seed(seed)
        games[label] = EXPERIMENTS[name].make()
        place = {
            "checkpoint": checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{label.replace(' ', '-')}"),
            "log": log and log / label.replace(" ", "-"),
        }
        told.append(run(name, games[label], count, seed, **place, **options))
    long = told.pop()
    history = GameHistory(**long["curve"])
    config = NETS | {"critic width": CRITIC_WIDTH, "kind": CHOSEN, "steps": steps}
    data = "avatars of 32 × 32; 1,400 for training"
    keep(NAME, games["long"], scores, history, data=data, config=config, seed=seed, folder=folder, experiments=told)


def load(*, folder: Path | None = None) -> GAN:
    """The trained game."""
    return trained(NAME, build(), folder)


def drawn(one: GAN, n: int, seed: int) -> Tensor:
    """n avatars (n, 3, 32, 32) in [0, 1]."""
    return ((one.sample(n, generator=torch.Generator().manual_seed(seed)) + 1) / 2).clamp(0, 1)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` avatars (n, 3, 32, 32) from the trained generator."""
    return drawn(load(folder=folder), n, seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(one: GAN) -> dict[str, float]:
    """400 samples against the 400 test avatars, on the features of `avatar_classifier`."""
    return avatar_classifier.judge(drawn(one.eval(), 400, 0))
