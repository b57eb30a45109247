"""A VAE of binary digits: 16 latent dimensions, two convolutions each way."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.data import digits
from dgm.latent.vae import VAE, Bernoulli, ConvDecoder, ConvEncoder
from dgm.metrics import mean_and_error
from dgm.recipes._jitter import bits
from dgm.recipes._shared import keep, trained
from dgm.training import History, cosine, fit

NAME = "vae_digits"
CONFIG: dict[str, Any] = {"latent": 16, "width": 32}


def vae(latent: int, width: int) -> VAE:
    """A convolutional VAE of binary digits."""
    encoder, decoder = ConvEncoder(2 * latent, width), ConvDecoder(latent, width)
    return VAE(encoder, decoder, Bernoulli(), shape=(1, 28, 28), latent=latent)


def build() -> VAE:
    """The model, not trained."""
    return vae(**CONFIG)


def objective(model: VAE, grey: Tensor) -> Tensor:
    """The model's loss on grey pictures: jittered while it trains, then thresholded as all binary digits are."""
    return model.loss(bits(model, grey))


def run(model: VAE, loss: Callable[[VAE, Tensor], Tensor], *, steps: int, seed: int, **options: Any) -> History:
    """Train a VAE of digits; `vae_plane` trains in the same way."""
    return fit(
        model,
        digits("train").images,
        loss=loss,
        validation=digits("validation").images,
        steps=steps,
        batch_size=100,
        lr=2e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        ema=0.998,
        keep_best=True,
        seed=seed,
        **options,
    )


def train(*, steps: int = 12_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = run(model, objective, steps=steps, seed=seed, **options)
    data = "digits, thresholded at 128 after a random affine jitter; 3,500 for training"
    measure = partial(scores, samples=min(1_000, steps))  # a trial of a few steps is scored at once
    keep(NAME, model, measure, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> VAE:
    """The trained model."""
    return trained(NAME, build(), folder)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` digits (n, 1, 28, 28) from the trained model."""
    return load(folder=folder).sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights; takes minutes: 1,000 codes for each of 1,000 digits."""
    samples = int(weights.info(NAME, folder=folder)["metrics"]["samples"])
    return scores(load(folder=folder), samples)


@torch.no_grad()
def scores(model: VAE, samples: int) -> dict[str, float]:
    """Negative log-likelihood of the test digits by importance sampling, and the negative ELBO with its two parts."""
    test, held = (digits(split, binary=True).images for split in ("test", "validation"))
    chance = torch.Generator().manual_seed(0)
    nats, error = mean_and_error(-model.log_prob_is(test, samples, generator=chance))
    terms = [model.terms(x, math.ceil(samples / 10), generator=chance) for x in test.split(10)]
    reconstruction, kl = (torch.cat(column) for column in zip(*terms, strict=True))
    bound, bound_error = mean_and_error(kl - reconstruction)
    return {
        "test nats/image": nats,
        "test nats/image, standard error": error,
        "samples": samples,
        "test negative ELBO": bound,
        "test negative ELBO, standard error": bound_error,
        "test reconstruction": -reconstruction.mean().item(),
        "test KL": kl.mean().item(),
        "validation negative ELBO": -model.elbo(held, generator=chance).mean().item(),
    }
