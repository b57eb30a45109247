"""LSGAN on digits: DCGAN's networks with least squares; three trainings."""

from __future__ import annotations

from dgm.adversarial.gan import least_squares
from dgm.recipes._games import Games, game

NAME = "lsgan_digits"
WORDS = "least squares with a = 0, b = c = 1, batch normalisation in both networks"
GAMES = Games(NAME, lambda: game(least_squares()), WORDS, steps=4_000, lr=3e-4, ema=0.995)
build, train, load, sample, evaluate = GAMES.build, GAMES.train, GAMES.load, GAMES.sample, GAMES.evaluate
