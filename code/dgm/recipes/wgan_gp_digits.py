"""WGAN-GP on digits: the Wasserstein critic with a gradient penalty; three trainings."""

from __future__ import annotations

from functools import partial

import torch

from dgm.adversarial.wasserstein import WASSERSTEIN, gradient_penalty
from dgm.recipes._games import Games, game

NAME = "wgan_gp_digits"
WORDS = (
    "Wasserstein loss, gradient penalty with λ = 10, batch normalisation in the generator only, Adam with β = (0, 0.9)"
)
GAMES = Games(
    NAME,
    lambda: game(WASSERSTEIN, norm=None, penalty=gradient_penalty),
    WORDS,
    steps=2_000,
    critic_steps=2,
    lr=1e-3,
    optimizer=partial(torch.optim.Adam, betas=(0.0, 0.9)),
    ema=0.99,
)
build, train, load, sample, evaluate = GAMES.build, GAMES.train, GAMES.load, GAMES.sample, GAMES.evaluate
