"""A KL autoencoder of toon heads in two styles: 12,288 numbers become 768 and come back."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from dgm import weights
from dgm.data import emojis, toon_heads
from dgm.data.toon import STYLES
from dgm.diffusion.latent_diffusion import autoencoder, autoencoder_loss, decode, encode
from dgm.recipes import toon_classifier
from dgm.recipes._shared import keep, trained
from dgm.training import cosine, fit

NAME = "kl_autoencoder"
CONFIG: dict[str, Any] = {"widths": (16, 32, 64, 64), "channels": 12}


def build() -> AutoencoderKL:
    """The autoencoder, not trained."""
    return autoencoder(**CONFIG)


@cache
def pictures(split: str) -> Tensor:
    """All pictures of a split in both styles, uint8 (N, 3, 64, 64)."""
    return (torch.cat([toon_heads(split, style).images for style in STYLES]) * 255).round().byte()


def objective(model: AutoencoderKL, images: Tensor) -> Tensor:
    """The model's loss on pictures of bytes."""
    return autoencoder_loss(model, images.float() / 255)


def train(*, steps: int = 3_600, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        pictures("train"),
        loss=objective,
        validation=pictures("validation")[::4],
        steps=steps,
        batch_size=16,
        lr=2e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        clip=1.0,
        ema=0.998,
        every=100,
        seed=seed,
        **options,
    )
    # Diffusion wants numbers of variance 1; as in Stable Diffusion, one factor for all channels brings them there.
    model.register_to_config(scaling_factor=1 / spread(model))
    keep(
        NAME,
        model,
        scores,
        history,
        data="toon heads in two styles, 64 × 64; 6,000 of each for training",
        config=CONFIG,
        seed=seed,
        folder=folder,
        scaling_factor=model.config.scaling_factor,
    )


def load(*, folder: Path | None = None) -> AutoencoderKL:
    """The trained autoencoder."""
    model = trained(NAME, build(), folder).requires_grad_(False)
    model.register_to_config(scaling_factor=weights.info(NAME, folder=folder)["scaling_factor"])
    return model


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """An autoencoder draws nothing; these are `n` test pictures after their way through 768 numbers: (n, 3, 64, 64)."""
    images = pictures("test")
    rows = torch.randint(len(images), (n,), generator=torch.Generator().manual_seed(seed))
    return through(load(folder=folder), images[rows].float() / 255)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def spread(model: AutoencoderKL) -> float:
    """The standard deviation of the latents of training pictures, all channels and places together."""
    model.register_to_config(scaling_factor=1.0)
    return encode(model.eval(), pictures("train")[::10].float() / 255).std().item()


def through(model: AutoencoderKL, images: Tensor) -> Tensor:
    """Pictures as they come back from the means of their latents."""
    return decode(model, encode(model, images))


def scores(model: AutoencoderKL) -> dict[str, float]:
    """Peak signal-to-noise ratio (dB) on test pictures, and whether the judge still sees the attributes."""
    told: dict[str, float] = {}
    judge = toon_classifier.load()
    for style in STYLES:
        images, attributes = toon_heads("test", style)
        back = through(model, images)
        told[f"PSNR, {style}"] = psnr(images, back)
        told[f"judge on reconstructions, {style}"] = toon_classifier.accuracy(judge, back, attributes).mean().item()
        told[f"judge on pictures, {style}"] = toon_classifier.accuracy(judge, images, attributes).mean().item()
    # What it never saw: perceptual compression knows the pictures that it was trained on.
    images = emojis("twemoji", "test").images
    return told | {"PSNR, emoji": psnr(images, through(model, images))}


def psnr(images: Tensor, back: Tensor) -> float:
    """The mean over pictures of −10 log₁₀ of the mean squared error, dB; values in [0, 1]."""
    return -10 * (images - back).square().flatten(1).mean(1).log10().mean().item()
