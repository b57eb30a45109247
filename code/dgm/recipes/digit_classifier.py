"""A judge of digits: a small convolutional classifier whose 64 features measure samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm.data import digits
from dgm.metrics.samples import compare, inception_score
from dgm.nn.classifier import Classifier
from dgm.recipes._jitter import jitter
from dgm.recipes._shared import keep, shown, trained
from dgm.training import cosine, fit

NAME = "digit_classifier"
CONFIG: dict[str, Any] = {"shape": (1, 28, 28), "classes": (10,)}


def build() -> Classifier:
    """The classifier, not trained."""
    return Classifier(**CONFIG)


def seen(grey: Tensor) -> Tensor:
    """What the classifier learns from: jittered digits, half of them thresholded; it shall judge both kinds."""
    x = jitter(grey).clamp(0, 1)
    binary = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(binary, (x > 0.5).float(), x)


def objective(model: Classifier, grey: Tensor, labels: Tensor) -> Tensor:
    """The model's loss on the digits as it sees them while it trains, else on the digits themselves."""
    return model.loss(seen(grey) if model.training else grey, labels)


def train(*, steps: int = 4_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    history = fit(
        model,
        digits("train"),
        loss=objective,
        validation=digits("validation"),
        steps=steps,
        batch_size=100,
        lr=2e-3,
        schedule=cosine(steps, warmup=min(100, steps // 10)),
        ema=0.998,
        seed=seed,
        **options,
    )
    data = "digits under a random affine jitter, half of them thresholded; 3,500 for training"
    keep(NAME, model, scores, history, data=data, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None) -> Classifier:
    """The trained classifier."""
    return trained(NAME, build(), folder).requires_grad_(False)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """A classifier draws nothing; these are `n` of the pictures it learns from, as it sees them: (n, 1, 28, 28)."""
    del folder
    return shown(digits("train").images, seen, n, seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


def scores(model: Classifier) -> dict[str, float]:
    """Accuracy on grey and on thresholded test digits."""
    grey, binary = (model.accuracy(*digits("test", binary=binary)).item() for binary in (False, True))
    held = model.accuracy(*digits("validation")).item()
    return {"test accuracy": grey, "test accuracy, thresholded": binary, "validation accuracy": held}


# --- the judge -----------------------------------------------------------------------------------------------


@torch.no_grad()
def features(images: Tensor, *, folder: Path | None = None) -> Tensor:
    """The 64 features of pictures (N, 1, 28, 28) in [0, 1]: shape (N, 64)."""
    return _features(load(folder=folder), images)


def _features(model: Classifier, images: Tensor) -> Tensor:
    return torch.cat([model.features(x) for x in images.split(500)])


@torch.no_grad()
def judge(
    images: Tensor, *, labels: Tensor | None = None, binary: bool = False, folder: Path | None = None
) -> dict[str, float]:
    """Compare drawn digits with the 1,000 of the test split, on this classifier's features.

    Args:
        images: pictures (N, 1, 28, 28) in [0, 1]; scores of different N must not be compared.
        labels: the classes that were wished for, int64 (N,), where any were.
        binary: threshold pictures and test digits first, so that grey and binary models stand side by side.
        folder: where the weights lie.

    Returns:
        What `dgm.metrics.samples.compare` gives, and the inception score, which looks at the samples alone; with labels
        the "class accuracy" before them, the share that this classifier calls by the wished class.
    """
    real = digits("test", binary=binary).images
    fake = (images > 0.5).float() if binary else images
    model = load(folder=folder)
    near = _features(model, fake)
    logits = model.head(near)
    told = {} if labels is None else {"class accuracy": (logits.argmax(1) == labels).double().mean().item()}
    return told | compare(_features(model, real), near) | {"inception score": inception_score(logits.softmax(1))}
