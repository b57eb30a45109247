"""A judge of avatars: a small convolutional classifier of five attributes; its 64 features measure samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgm.checks import require
from dgm.data import AVATAR_ATTRIBUTES, avatars
from dgm.metrics.samples import compare
from dgm.nn.classifier import Classifier
from dgm.recipes._jitter import jitter
from dgm.recipes._shared import keep, shown, trained
from dgm.training import cosine, fit

NAME = "avatar_classifier"
CONFIG: dict[str, Any] = {"shape": (3, 16, 16), "classes": [len(values) for values in AVATAR_ATTRIBUTES.values()]}


def build() -> Classifier:
    """The classifier, not trained."""
    return Classifier(**CONFIG)


def seen(images: Tensor) -> Tensor:
    """What the classifier learns from: avatars moved and bent a little, under noise; samples are not clean either."""
    x = jitter(images, bend=0.02, shift=0.3)
    return (x + 0.1 * torch.rand(len(x), 1, 1, 1, device=x.device) * torch.randn_like(x)).clamp(0, 1)


def objective(model: Classifier, images: Tensor, attributes: Tensor) -> Tensor:
    """The model's loss on avatars as it sees them while it trains, else on the avatars themselves."""
    return model.loss(seen(images) if model.training else images, attributes)


def train(*, steps: int = 1_500, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        avatars("train"),
        loss=objective,
        validation=avatars("validation"),
        steps=steps,
        batch_size=100,
        lr=2e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        ema=0.998,
        seed=seed,
        **options,
    )
    data = "avatars of 16 × 16, a little moved, bent and noisy; 1,400 for training"
    keep(NAME, model, scores, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> Classifier:
    """The trained classifier."""
    return trained(NAME, build(), folder).requires_grad_(False)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """A classifier draws nothing; these are `n` of the pictures it learns from, as it sees them: (n, 3, 16, 16)."""
    del folder
    return shown(avatars("train").images, seen, n, seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(model: Classifier) -> dict[str, float]:
    """Accuracy on the test avatars: of all answers, then attribute by attribute."""
    each = model.accuracy(*avatars("test"))
    named = {f"test accuracy, {name}": share.item() for name, share in zip(AVATAR_ATTRIBUTES, each, strict=True)}
    held = model.accuracy(*avatars("validation")).mean().item()
    return {"test accuracy": each.mean().item(), **named, "validation accuracy": held}


# --- the judge -----------------------------------------------------------------------------------------------


@torch.no_grad()
def features(images: Tensor, *, folder: Path | None = None) -> Tensor:
    """The 64 features of pictures (N, 3, S, S) in [0, 1], S a multiple of 16, averaged to 16 × 16: shape (N, 64)."""
    return _features(load(folder=folder), images)


def _features(model: Classifier, images: Tensor) -> Tensor:
    require(images, "images", shape="N 3 S S", dtype="float")
    if images.shape[-1] % 16:
        raise ValueError(f"images: expected sides of a multiple of 16 pixels, came {tuple(images.shape)}")
    return torch.cat([model.features(F.adaptive_avg_pool2d(x, 16)) for x in images.split(500)])


@torch.no_grad()
def judge(images: Tensor, *, folder: Path | None = None) -> dict[str, float]:
    """Compare drawn avatars with the 400 of the test split, on this classifier's features.

    Args:
        images: pictures as for `features`; scores of different N must not be compared.
        folder: where the weights lie.

    Returns:
        What `dgm.metrics.samples.compare` gives.
    """
    model = load(folder=folder)
    return compare(_features(model, avatars("test").images), _features(model, images))
