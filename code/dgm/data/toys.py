"""Points in the plane whose shape everyone can judge by eye: each set is a formula and a seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from dgm.checks import require_choice, require_count

PEAKS_RADIUS, PEAKS_SD = math.sqrt(2), math.sqrt(2) / 100
"""The ring of `eight_peaks`: homework O6.3's, a radius of 2 and a standard deviation of 0.02, both over √2."""


def _uniform(n: int, low: float, high: float, random: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=random, dtype=torch.float64)


def _normal(shape: tuple[int, ...], random: Generator) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def _choice(n: int, options: int, random: Generator) -> Tensor:
    return torch.randint(options, (n,), generator=random)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def _ring_of_eight(n: int, radius: float, sd: float, random: Generator) -> Tensor:
    return ring_centres(radius)[_choice(n, 8, random)] + sd * _normal((n, 2), random)


def ring_centres(radius: float) -> Tensor:
    """The eight centres of a ring, radius · (cos kπ/4, sin kπ/4), float64 (8, 2)."""
    return _polar(torch.full((8,), radius, dtype=torch.float64), math.pi / 4 * torch.arange(8))


def moons(n: int, random: Generator) -> Tensor:
    """Two half circles: (cos a, sin a) or (1 − cos a, ½ − sin a), a ~ U[0, π], plus 0.1 · N(0, I)."""
    angle, lower = _uniform(n, 0, math.pi, random), _choice(n, 2, random).bool()
    upper_moon = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower_moon = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    return torch.where(lower[:, None], lower_moon, upper_moon) + 0.1 * _normal((n, 2), random)


def circles(n: int, random: Generator) -> Tensor:
    """Two rings: r (cos a, sin a) with r ∈ {½, 1} and a ~ U[0, 2π], plus 0.05 · N(0, I)."""
    angle, outer = _uniform(n, 0, 2 * math.pi, random), _choice(n, 2, random)
    return _polar(0.5 + 0.5 * outer.double(), angle) + 0.05 * _normal((n, 2), random)


def eight_gaussians(n: int, random: Generator) -> Tensor:
    """Eight bumps on a ring: 2 (cos kπ/4, sin kπ/4) with k ∈ {0, …, 7}, plus 0.15 · N(0, I)."""
    return _ring_of_eight(n, 2.0, 0.15, random)


def eight_peaks(n: int, random: Generator) -> Tensor:
    """Eight sharp peaks: √2 (cos kπ/4, sin kπ/4) with k ∈ {0, …, 7}, plus (√2 / 100) · N(0, I)."""
    return _ring_of_eight(n, PEAKS_RADIUS, PEAKS_SD, random)


def two_spirals(n: int, random: Generator) -> Tensor:
    """Two arms: ±(a / 3) (cos a, sin a) with a = 3π √u, u ~ U[0, 1], plus 0.1 · N(0, I)."""
    # The root spreads the points evenly along the arm; without it they would crowd in the middle.
    angle, side = 3 * math.pi * _uniform(n, 0, 1, random).sqrt(), _choice(n, 2, random)
    sign = (1 - 2 * side).double()
    return _polar(sign * angle / 3, angle) + 0.1 * _normal((n, 2), random)


def checkerboard(n: int, random: Generator) -> Tensor:
    """Half the squares of a board on [−2, 2)²: density 1/8 where ⌊x⌋ + ⌊y⌋ is even, 0 elsewhere."""
    column, row = _choice(n, 4, random), _choice(n, 2, random)
    corner = torch.stack([column - 2, 2 * row + column % 2 - 2], dim=1)
    return corner + torch.rand(n, 2, generator=random, dtype=torch.float64)


def pinwheel(n: int, random: Generator) -> Tensor:
    """Five blades: 2 (r, s), r ~ N(1, 0.3²), s ~ N(0, 0.1²), turned by 2πk/5 + ¼ exp(r), k ∈ {0, …, 4}."""
    blade, noise = _choice(n, 5, random), _normal((n, 2), random)
    along, across = 1 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
    angle = 2 * math.pi / 5 * blade.double() + 0.25 * along.exp()
    x = along * angle.cos() - across * angle.sin()
    y = along * angle.sin() + across * angle.cos()
    return 2 * torch.stack([x, y], dim=1)


TOYS: dict[str, Callable[[int, Generator], Tensor]] = {
    "checkerboard": checkerboard,
    "circles": circles,
    "eight_gaussians": eight_gaussians,
    "eight_peaks": eight_peaks,
    "moons": moons,
    "pinwheel": pinwheel,
    "two_spirals": two_spirals,
}


def toy(name: str, n: int, *, seed: int = 0) -> Tensor:
    """Draw `n` independent points of a two-dimensional set.

    Another seed gives fresh points of the same law: take one seed for training and another for the test.

    Args:
        name: one of ``TOYS``; the function of that name in this module states the formula.
        n: how many points.
        seed: a whole number ≥ 0; the same seed gives the same points.

    Returns:
        float32 (n, 2).

    Raises:
        ValueError: an unknown name (the message names the nearest), n < 1 or seed < 0.
        TypeError: `n` or `seed` is not a whole number.

    >>> toy("moons", 3, seed=1).shape
    torch.Size([3, 2])
    """
    draw = TOYS[require_choice(name, "name", TOYS)]
    n, seed = require_count(n, "n"), require_count(seed, "seed", low=0)
    return draw(n, Generator().manual_seed(seed)).float()
