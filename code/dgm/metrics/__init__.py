"""Numbers that models are judged by. Likelihoods are in nats per example; other units are made here, by name."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.checks import require, require_count, require_number


def nats_per_dim(nats: Tensor, dims: int) -> Tensor:
    r"""Nats per example → nats per dimension: $\ell / m$.

    Args:
        nats: negative log-likelihoods of whole examples, any shape.
        dims: the number of dimensions m (pixels times channels, or coordinates).
    """
    return require(nats, "nats", dtype="float") / require_count(dims, "dims")


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    r"""Nats per example → bits per dimension: $\ell / (m \ln 2)$.

    Args:
        nats: negative log-likelihoods of whole examples, any shape.
        dims: the number of dimensions m (pixels times channels, or coordinates).

    >>> import torch
    >>> round(bits_per_dim(torch.tensor([784 * math.log(2)], dtype=torch.float64), 784).item(), 12)
    1.0
    """
    return nats_per_dim(nats, dims) / math.log(2)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    r"""The mean over independent examples and its standard error $s/\sqrt n$, with $s^2$ the unbiased variance.

    Args:
        values: one number an example, shape (B,), B ≥ 2.

    Raises:
        ValueError: fewer than two values: one value tells nothing of its own spread.
    """
    values = require(values, "values", shape="B", dtype="float").double()
    if len(values) < 2:
        raise ValueError(f"values: expected at least two values, came {len(values)}")
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


class Roc(NamedTuple):
    """What a detector's threshold trades: rates over all thresholds, from the strictest to the loosest."""

    fpr: Tensor
    """False positive rate, the share of normal examples called defective: float64 (T,), rising from 0 to 1."""
    tpr: Tensor
    """True positive rate, the share of defective examples called so: float64 (T,), rising from 0 to 1."""
    thresholds: Tensor
    """An example is called defective if its score is at least this: float64 (T,), falling from infinity."""
    auc: float
    """Area under the curve: the probability that a defective example scores above a normal one (ties count half)."""


def roc(normal: Tensor, defective: Tensor) -> Roc:
    r"""The receiver operating characteristic of a score that should be high for defective examples.

    $$\text{FPR}(c) = \tfrac1{n_0} \sum_i [s_i \ge c], \qquad \text{TPR}(c) = \tfrac1{n_1} \sum_j [s'_j \ge c]$$

    Args:
        normal: scores $s_i$ of examples without a defect, shape (B,).
        defective: scores $s'_j$ of examples with one, shape (B',).

    Raises:
        ImportError: scikit-learn is missing; the message holds the line that installs it.

    >>> round(roc(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.5, 3.0])).auc, 4)
    0.8333
    """
    normal = require(normal, "normal", shape="B", dtype="float")
    defective = require(defective, "defective", shape="B", dtype="float")
    try:
        from sklearn.metrics import auc, roc_curve
    except ImportError:
        raise ImportError('the curve needs the package scikit-learn: pip install "dgm-book[metrics]"') from None
    truth = torch.cat([torch.zeros(len(normal)), torch.ones(len(defective))])
    fpr, tpr, thresholds = roc_curve(truth.numpy(), torch.cat([normal, defective]).double().numpy())
    points = [torch.from_numpy(values) for values in (fpr, tpr, thresholds)]
    return Roc(points[0], points[1], points[2], float(auc(fpr, tpr)))


def detection_rates(normal: Tensor, defective: Tensor, threshold: float) -> tuple[float, float]:
    """True positive and true negative rate (TPR, TNR) of the rule: defective where the score reaches `threshold`.

    Args:
        normal: scores of examples without a defect, shape (B,).
        defective: scores of examples with one, shape (B',).
        threshold: chosen on other examples than these.

    >>> detection_rates(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.5, 3.0]), 2.5)
    (0.5, 0.75)
    """
    normal = require(normal, "normal", shape="B", dtype="float")
    defective = require(defective, "defective", shape="B", dtype="float")
    threshold = require_number(threshold, "threshold")
    return (defective >= threshold).double().mean().item(), (normal < threshold).double().mean().item()
