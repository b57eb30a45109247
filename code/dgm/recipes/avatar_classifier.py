"""A judge of avatars: a small convolutional classifier of five attributes; its 64 features measure samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgm import weights
from dgm.checks import require
from dgm.data import AVATAR_ATTRIBUTES, avatars
from dgm.metrics.samples import compare
from dgm.nn.classifier import Classifier
from dgm.recipes._jitter import jitter
from dgm.training import cosine, fit, untouched

NAME = "avatar_classifier"
CONFIG = {"shape": (3, 16, 16), "classes": [len(values) for values in AVATAR_ATTRIBUTES.values()]}


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
    model.load_state_dict(weights.halved(model.state_dict()))
    info = {
        "data": "avatars of 16 × 16, a little moved, bent and noisy; 1,400 for training",
        "config": CONFIG,
        "seed": seed,
        "seconds": history.seconds,
        "curve": history.as_dict(),
        "metrics": scores(model),
    }
    weights.save(NAME, model.state_dict(), info, folder=folder, half=True)


def load(*, folder: Path | None = None) -> Classifier:
    """The trained classifier."""
    model = build()
    weights.load_into(model, NAME, folder=folder)
    return model.eval().requires_grad_(False)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """A classifier draws nothing; these are `n` of the pictures it learns from, as it sees them: (n, 3, 16, 16)."""
    del folder
    with untouched():
        torch.manual_seed(seed)
        images = avatars("train").images
        return seen(images[torch.randint(len(images), (n,))])


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
    model = load(folder=folder)
    require(images, "images", shape="N 3 S S", dtype="float")
    if images.shape[-1] % 16:
        raise ValueError(f"images: expected sides of a multiple of 16 pixels, came {tuple(images.shape)}")
    return torch.cat([model.features(F.adaptive_avg_pool2d(x, 16)) for x in images.split(500)])


def judge(images: Tensor, *, folder: Path | None = None) -> dict[str, float]:
    """Compare drawn avatars with the 400 of the test split, on this classifier's features.

    Args:
        images: pictures as for `features`; scores of different N must not be compared.
        folder: where the weights lie.

    Returns:
        What `dgm.metrics.samples.compare` gives.
    """
    return compare(features(avatars("test").images, folder=folder), features(images, folder=folder))
