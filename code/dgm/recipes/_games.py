"""What the five kinds of GAN of digits share: data, networks, three trainings each, the judge of their samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dgm.adversarial.gan import GAN, DCCritic, DCGenerator, Losses, Norm
from dgm.data import digits
from dgm.metrics.samples import frechet_distance
from dgm.recipes import digit_classifier
from dgm.recipes._frame import framed, unframed
from dgm.recipes._shared import keep, mean_and_sd, trained
from dgm.training import cosine, play

RUNS = 3  # trainings of a kind, with seeds one after the other
NETS: dict[str, Any] = {"latent": 64, "width": 24, "size": 32}


def game(
    losses: Losses,
    norm: Norm | None = nn.BatchNorm2d,
    rule: Callable[[nn.Module], nn.Module] = lambda critic: critic,
    **options: Any,
) -> GAN:
    """DCGAN's networks with the given losses.

    Args:
        losses: of both players.
        norm: in the critic.
        rule: changes the critic when it is made.
        options: `penalty` or `constraint` of the game.
    """
    generator = DCGenerator(**NETS)
    critic = rule(DCCritic(width=NETS["width"], size=NETS["size"], norm=norm))
    return GAN(generator, critic, losses, latent=NETS["latent"], shape=(1, 32, 32), **options)


def nearness(real: Tensor, one: GAN) -> dict[str, float]:
    """The Fréchet distance of 500 samples to features `real` of validation digits: weights are chosen by it."""
    return {"FD": frechet_distance(real, digit_classifier.features(unframed(one.sample(500))))}


class Games:
    """A recipe for one kind of GAN: its functions become those of the recipe's module.

    Args:
        name: the recipe's.
        make: makes the game, not trained.
        words: what makes this kind, for the record.
        steps: of the generator.
        decay: let the step size fall to 0 as half a cosine.
        how: further arguments of `dgm.training.play`.
    """

    def __init__(
        self, name: str, make: Callable[[], GAN], words: str, *, steps: int, decay: bool = True, **how: Any
    ) -> None:
        self.name, self.make, self.words, self.steps, self.decay, self.how = name, make, words, steps, decay, how

    def build(self) -> nn.ModuleList:
        """Three games, not trained."""
        return nn.ModuleList(self.make() for _ in range(RUNS))

    def train(
        self,
        *,
        steps: int | None = None,
        seed: int = 0,
        folder: Path | None = None,
        checkpoint: Path | None = None,
        log: Path | None = None,
        **options: Any,
    ) -> None:
        """Train three times, with seeds one after the other, and write the weights."""
        steps, data = steps or self.steps, framed(digits("train").images)
        measure = partial(nearness, digit_classifier.features(digits("validation").images))
        games, runs, histories = nn.ModuleList(), [], []
        for i in range(RUNS):
            torch.manual_seed(seed + i)
            games.append(one := self.make())
            began = time.process_time()
            history = play(
                one,
                data,
                steps=steps,
                batch_size=32,
                schedule=cosine(steps) if self.decay else None,
                measure=measure,
                every=250,
                keep_best="FD",
                seed=seed + i,
                checkpoint=checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{i}"),
                log=log and log / str(i),
                **self.how,
                **options,
            )
            histories.append(history)
            runs.append({"seed": seed + i, "processor seconds": time.process_time() - began} | history.as_dict())
        whole = replace(histories[0], seconds=sum(history.seconds for history in histories))
        config = NETS | {"kind": self.words, "steps": steps, "decay": self.decay, "runs": RUNS}
        config |= {k: v for k, v in self.how.items() if isinstance(v, int | float | tuple)}
        note = "digits, 32 × 32 with a black frame; 3,500 for training"
        keep(self.name, games, scores, whole, data=note, config=config, seed=seed, folder=folder, runs=runs)

    def load(self, run: int = 0, *, folder: Path | None = None) -> GAN:
        """One of the three trained games."""
        return cast(GAN, trained(self.name, self.build(), folder)[run])

    def sample(self, n: int, *, seed: int = 0, run: int = 0, folder: Path | None = None) -> Tensor:
        """Draw `n` digits (n, 1, 28, 28) from one of the three trained games."""
        return drawn(self.load(run, folder=folder), n, seed)

    def evaluate(self, *, folder: Path | None = None) -> dict[str, float]:
        """The metrics of the trained weights: means over the three games, and their standard deviations."""
        return scores(trained(self.name, self.build(), folder))


def drawn(one: GAN, n: int, seed: int) -> Tensor:
    """n samples as digits (n, 1, 28, 28) in [0, 1]."""
    return unframed(one.sample(n, generator=torch.Generator().manual_seed(seed)))


def scores(games: nn.ModuleList) -> dict[str, float]:
    """Mean and standard deviation over the games; 1,000 samples of each against the 1,000 test digits."""
    drawings = (drawn(cast(GAN, one.eval()), 1_000, number) for number, one in enumerate(games))
    return mean_and_sd([digit_classifier.judge(images) for images in drawings])
