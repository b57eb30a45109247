"""DCGAN on digits: the first GAN's critic, the non-saturating loss, batch normalisation; three trainings."""

from __future__ import annotations

from dgm.adversarial.gan import NON_SATURATING
from dgm.recipes._games import Games, game

NAME = "dcgan_digits"
WORDS = "non-saturating loss, batch normalisation in both networks"
GAMES = Games(NAME, lambda: game(NON_SATURATING), WORDS, steps=3_000, decay=False, lr=2e-4, ema=0.99)
build, train, load, sample, evaluate = GAMES.build, GAMES.train, GAMES.load, GAMES.sample, GAMES.evaluate
