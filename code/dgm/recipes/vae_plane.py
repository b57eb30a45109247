"""A VAE of binary digits with a 2-dimensional latent space: a map of all digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.data import digits
from dgm.latent.vae import VAE, Bernoulli, ConvDecoder, ConvEncoder
from dgm.recipes._jitter import jitter
from dgm.recipes.vae_digits import scores
from dgm.training import cosine, fit

NAME = "vae_plane"
CONFIG = {"latent": 2, "width": 16}


def build() -> VAE:
    """The model, not trained."""
    latent, width = CONFIG["latent"], CONFIG["width"]
    encoder, decoder = ConvEncoder(2 * latent, width), ConvDecoder(latent, width)
    return VAE(encoder, decoder, Bernoulli(), shape=(1, 28, 28), latent=latent)


def objective(model: VAE, grey: Tensor) -> Tensor:
    """As in `vae_digits`, with less jitter: two numbers can't say how a digit was bent as well as what it is."""
    return model.loss(((jitter(grey, bend=0.04, shift=0.2) if model.training else grey) > 0.5).float())


def train(*, steps: int = 4_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        digits("train").images,
        loss=objective,
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
    model.load_state_dict(weights.halved(model.state_dict()))
    info = {
        "data": "digits, thresholded at 128 after a slight affine jitter; 3,500 for training",
        "config": CONFIG,
        "seed": seed,
        "seconds": history.seconds,
        "curve": history.as_dict(),
        "metrics": scores(model, min(100, steps)),
    }
    weights.save(NAME, model.state_dict(), info, folder=folder, half=True)


def load(*, folder: Path | None = None) -> VAE:
    """The trained model."""
    model = build()
    weights.load_into(model, NAME, folder=folder)
    return model.eval()


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """Draw `n` digits (n, 1, 28, 28) from the trained model."""
    return load(folder=folder).sample(n, generator=torch.Generator().manual_seed(seed))


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights: 100 codes for each test digit."""
    samples = int(weights.info(NAME, folder=folder)["metrics"]["samples"])
    return scores(load(folder=folder), samples)
