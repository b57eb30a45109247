"""WGAN on digits: the Wasserstein critic with clipped weights; three trainings."""

from __future__ import annotations

import torch

from dgm.adversarial.wasserstein import WASSERSTEIN, clip_weights
from dgm.recipes._games import Games, game

NAME = "wgan_digits"
WORDS = "Wasserstein loss, weights clipped to ±0.01, batch normalisation in both networks, RMSprop"
GAMES = Games(
    NAME,
    lambda: game(WASSERSTEIN, constraint=clip_weights),
    WORDS,
    steps=2_000,
    critic_steps=3,
    lr=2e-4,
    optimizer=torch.optim.RMSprop,
    ema=0.99,
)
build, train, load, sample, evaluate = GAMES.build, GAMES.train, GAMES.load, GAMES.sample, GAMES.evaluate
