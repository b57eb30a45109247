"""The plain network that many models of the book share: linear layers with a bend between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from dgm.checks import require_count


def mlp(sizes: Sequence[int], *, activation: Callable[[], nn.Module] = nn.SiLU) -> nn.Sequential:
    r"""A multilayer perceptron: $h \mapsto A_L\,\varphi(\dots \varphi(A_1 h + b_1) \dots) + b_L$.

    Args:
        sizes: numbers of units, input first, output last; at least two. It acts on the last dimension.
        activation: makes φ; there is none after the last layer.

    Raises:
        ValueError: fewer than two sizes, or one below 1.

    >>> mlp([2, 64, 1])
    Sequential(
      (0): Linear(in_features=2, out_features=64, bias=True)
      (1): SiLU()
      (2): Linear(in_features=64, out_features=1, bias=True)
    )
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected input and output at least, came {list(sizes)!r}")
    layers: list[nn.Module] = []
    for a, b in pairwise([require_count(size, "sizes") for size in sizes]):
        layers += [activation(), nn.Linear(a, b)] if layers else [nn.Linear(a, b)]
    return nn.Sequential(*layers)
