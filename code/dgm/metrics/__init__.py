"""Numbers that models are judged by. Likelihoods are in nats per example; other units are made here, by name."""

from __future__ import annotations

import math

from torch import Tensor

from dgm.checks import require, require_count


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
