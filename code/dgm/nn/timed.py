"""Networks that are told the time, and perhaps a class: waves of time, and a plain network for points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dgm.checks import require, require_count
from dgm.nn.mlp import mlp


def time_features(t: Tensor, dims: int, *, scale: float = 1000.0, longest: float = 10_000.0) -> Tensor:
    r"""Waves of time from fast to slow: $\cos(\omega_i s t)$ and $\sin(\omega_i s t)$ with $\omega_i = L^{-2i/d}$.

    Args:
        t: times in [0, 1], shape (B,).
        dims: d, an even number of features.
        scale: s; 1000 gives times the range that step numbers have in a chain of a thousand steps.
        longest: L, the slowest wave's length over that of the fastest.

    Returns:
        Shape (B, d), cosines first.

    Source:
        Ashish Vaswani and others (2017), Attention Is All You Need, section 3.5.

    >>> time_features(torch.tensor([0.0, 0.001]), 2)
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    if require_count(dims, "dims", low=2) % 2:
        raise ValueError(f"dims: expected an even number, came {dims}")
    t = require(t, "t", shape="B", dtype="float")
    slowing = torch.arange(0, dims, 2, dtype=t.dtype, device=t.device) * (-math.log(longest) / dims)
    angles = scale * t[:, None] * slowing.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def known_labels(label: Tensor | None, classes: int, x: Tensor) -> Tensor:
    """Classes of examples x (B, …), int64 (B,): 0 … classes − 1, or `classes` where unknown, as all are for None.

    Raises:
        ValueError: labels outside, or any at all where there are no classes.
    """
    if label is None:
        return torch.full((len(x),), classes, device=x.device)
    if not classes:
        raise ValueError("label: expected None, as this network was built without classes, came a tensor")
    return require(label, "label", shape=f"{len(x)}", dtype="int", low=0, high=classes).long()


class TimedMLP(nn.Module):
    """A multilayer perceptron of a point, waves of the time, and a class if there are any.

    Args:
        dims: D, numbers of a point.
        hidden: sizes of the hidden layers.
        classes: how many there are; 0 for a network without.
        waves: how many features of time.

    >>> net = TimedMLP(2, classes=3)
    >>> net(torch.zeros(5, 2), torch.full((5,), 0.5), torch.tensor([0, 1, 2, 3, 3])).shape  # 3: no class
    torch.Size([5, 2])
    """

    def __init__(
        self, dims: int, hidden: Sequence[int] = (128, 128, 128), *, classes: int = 0, waves: int = 32
    ) -> None:
        super().__init__()
        self.dims, self.waves = require_count(dims, "dims"), require_count(waves, "waves", low=2)
        self.classes = require_count(classes, "classes", low=0)
        self.label = nn.Embedding(classes + 1, waves) if classes else None  # the last row: no class
        self.body = mlp([dims + waves * (1 + bool(classes)), *hidden, dims])

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Points x (B, D) at times t (B,) in [0, 1], with classes or None → (B, D)."""
        x = require(x, "x", shape=f"B {self.dims}", dtype="float")
        # Slow waves: the fastest turns sixteen times between data and noise, the others less.
        parts = [
            x,
            time_features(require(t, "t", shape=f"{len(x)}", dtype="float"), self.waves, scale=100.0, longest=100.0),
        ]
        label = known_labels(label, self.classes, x)
        if self.label is not None:
            parts.append(self.label(label))
        return self.body(torch.cat(parts, dim=1))
