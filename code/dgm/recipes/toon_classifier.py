"""A judge of toon heads in both styles: eight attributes of 64 × 64 pixels; its 64 features measure samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgm.checks import require
from dgm.data import TOON_ATTRIBUTES, toon_heads
from dgm.data.toon import STYLES
from dgm.metrics.samples import compare
from dgm.nn.classifier import Classifier
from dgm.recipes._jitter import jitter
from dgm.recipes._shared import keep, shown, trained
from dgm.training import cosine, fit

NAME = "toon_classifier"
CONFIG: dict[str, Any] = {"shape": (3, 64, 64), "classes": [len(values) for values in TOON_ATTRIBUTES.values()]}


def build() -> Classifier:
    """The classifier, not trained."""
    return Classifier(**CONFIG)


def seen(images: Tensor) -> Tensor:
    """What the classifier learns from: pictures moved and bent a little, blurred by chance, under noise."""
    x = jitter(images, bend=0.02, shift=0.7)
    # What a decoder draws is softer than what the style draws; without blur the judge would take it for another mouth.
    soft = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    x = torch.lerp(x, soft, torch.rand(len(x), 1, 1, 1, device=x.device))
    return (x + 0.1 * torch.rand(len(x), 1, 1, 1, device=x.device) * torch.randn_like(x)).clamp(0, 1)


def objective(model: Classifier, images: Tensor, attributes: Tensor) -> Tensor:
    """The model's loss on pictures as it sees them while it trains, else on the pictures themselves."""
    return model.loss(seen(images) if model.training else images, attributes)


def both(split: str) -> tuple[Tensor, Tensor]:
    """The pictures and attributes of a split in both styles, one after the other."""
    parts = [toon_heads(split, style) for style in STYLES]
    return torch.cat([part.images for part in parts]), torch.cat([part.attributes for part in parts])


def train(*, steps: int = 3_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        both("judge"),
        loss=objective,
        steps=steps,
        batch_size=128,
        lr=2e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        ema=0.998,
        every=250,
        seed=seed,
        **options,
    )
    data = "toon heads in two styles, 64 × 64, all pairs of attributes, moved, bent, blurred and noisy; 6,000 of each"
    keep(NAME, model, scores, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> Classifier:
    """The trained classifier."""
    return trained(NAME, build(), folder).requires_grad_(False)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """A classifier draws nothing; these are `n` of the pictures it learns from, as it sees them: (n, 3, 64, 64)."""
    del folder
    return shown(both("judge")[0], seen, n, seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(model: Classifier) -> dict[str, float]:
    """Accuracy on the test pictures in each style: of all answers, then attribute by attribute."""
    told: dict[str, float] = {}
    for style in STYLES:
        each = accuracy(model, *toon_heads("test", style))
        told |= {f"test accuracy, {style}": each.mean().item()}
        told |= {f"{style}, {name}": share.item() for name, share in zip(TOON_ATTRIBUTES, each, strict=True)}
    return told


# --- the judge -----------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(model: Classifier, images: Tensor, attributes: Tensor) -> Tensor:
    """The share of right answers to each of the eight questions, float64 (8,)."""
    rows = zip(images.split(250), attributes.split(250), strict=True)
    return sum((model.accuracy(x, y) * len(x) for x, y in rows), torch.zeros(8, dtype=torch.float64)) / len(images)


@torch.no_grad()
def answers(images: Tensor, *, folder: Path | None = None) -> Tensor:
    """What the judge sees in pictures (N, 3, 64, 64) in [0, 1]: the likeliest value of each attribute, int64 (N, 8)."""
    model = load(folder=folder)
    return torch.cat([torch.stack([each.argmax(1) for each in model(x)], 1) for x in images.split(250)])


@torch.no_grad()
def features(images: Tensor, *, folder: Path | None = None) -> Tensor:
    """The 64 features of pictures (N, 3, 64, 64) in [0, 1]: shape (N, 64)."""
    model = load(folder=folder)
    return torch.cat([model.features(x) for x in require(images, "images", shape="N 3 64 64").split(250)])


def judge(images: Tensor, style: str = "toon-head", *, folder: Path | None = None) -> dict[str, float]:
    """Compare drawn pictures with the 1,000 of a style's test split, on this classifier's features.

    Args:
        images: pictures as for `features`; scores of different N must not be compared.
        style: ``"toon-head"`` or ``"personas"``.
        folder: where the weights lie.

    Returns:
        What `dgm.metrics.samples.compare` gives.
    """
    return compare(features(toon_heads("test", style).images, folder=folder), features(images, folder=folder))
