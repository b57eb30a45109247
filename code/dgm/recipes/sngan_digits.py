"""SN-GAN on digits: a critic with normalised spectra and the hinge loss; three trainings."""

from __future__ import annotations

from functools import partial

import torch

from dgm.adversarial.gan import HINGE
from dgm.adversarial.wasserstein import spectrally_normalised
from dgm.recipes._games import Games, game

NAME = "sngan_digits"
WORDS = "hinge loss, spectral normalisation in the critic, batch normalisation in the generator, Adam with β = (0, 0.9)"
GAMES = Games(
    NAME,
    lambda: game(HINGE, norm=None, rule=spectrally_normalised),
    WORDS,
    steps=2_000,
    critic_steps=3,
    lr=1e-3,
    optimizer=partial(torch.optim.Adam, betas=(0.0, 0.9)),
    ema=0.99,
)
build, train, load, sample, evaluate = GAMES.build, GAMES.train, GAMES.load, GAMES.sample, GAMES.evaluate
