r"""Normalizing flows: a density carried through invertible maps.

    z = f(x)        log p(x) = log p_base(f(x)) + log |det ∂f(x)/∂x|        x = f⁻¹(z), z drawn from the base

A **transform** is a module with `forward(x) -> (z, ladj)` and `inverse(z) -> (x, ladj)`. Each returns the *log* of the
*a*bsolute value of the *d*eterminant of the *J*acobian of the direction taken, one number an example, shape (B,): so
the two cancel. A **base** is a distribution: `log_prob(z) -> (B,)` and `sample(n, generator=…)`. A flow is a list of
transforms and a base; training goes forward, sampling goes back.

Source: Danilo Rezende, Shakir Mohamed (2015), Variational Inference with Normalizing Flows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count, require_number


class Transform(Protocol):
    """What a transform does; the lists of torch forget it."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From x to (z, ladj)."""

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From z to (x, ladj)."""


class Base(Protocol):
    """What a base does."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Nats, (B,)."""

    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n`."""


def per_example(values: Tensor) -> Tensor:
    """Sum everything but the batch dimension: (B, …) → (B,)."""
    return values.reshape(len(values), -1).sum(1)


def _rows(x: Tensor, name: str) -> Tensor:
    """`x`, if it is a batch (B, …) of any shape: a lone vector would pass for a batch of numbers."""
    if x.dim() < 2:
        raise ValueError(f"{name}: expected shape (B, …), came {tuple(x.shape)}")
    return x


# --- bases -----------------------------------------------------------------------------------------------------


class _Boxed(nn.Module):
    """What laws over tensors of one shape share."""

    zero: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(require_count(size, "shape") for size in shape)
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # knows the device and the dtype

    def _draw(self, law: Callable[..., Tensor], n: int, generator: Generator | None) -> Tensor:
        """`n` tensors from `torch.randn` or `torch.rand`, (n, *shape)."""
        size = (require_count(n, "n"), *self.shape)
        return law(size, generator=generator, dtype=self.zero.dtype, device=self.zero.device)


class StandardNormal(_Boxed):
    r"""$\N(0, I)$ over tensors of one shape.

    Args:
        shape: of one example.
    """

    def log_prob(self, z: Tensor) -> Tensor:
        r"""$-\tfrac12 |\z|^2 - \tfrac m2 \log 2\pi$ in nats: (B, *shape) → (B,)."""
        z = require(z, "z", shape=("B", *self.shape), dtype="float")
        return per_example(-0.5 * z.square() - 0.5 * math.log(2 * math.pi))

    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` of them, (n, *shape)."""
        return self._draw(torch.randn, n, generator)


class Uniform(_Boxed):
    r"""Density 1 on the cube $[0, 1]^m$, 0 outside.

    Args:
        shape: of one example.
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """0 in the cube and −∞ outside, in nats: (B, *shape) → (B,)."""
        z = require(z, "z", shape=("B", *self.shape), dtype="float")
        outside = per_example((z < 0) | (z > 1)) > 0
        return z.new_zeros(len(z)).masked_fill(outside, -math.inf)

    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` of them, (n, *shape)."""
        return self._draw(torch.rand, n, generator)


# --- transforms and flows --------------------------------------------------------------------------------------


class Chain(nn.Module):
    r"""Transforms one after another: $f = f_K \circ \dots \circ f_1$, the log-determinants add up.

    $$ \log\Bigl|\det\frac{\partial f}{\partial \x}\Bigr| = \sum_k \log\Bigl|\det\frac{\partial f_k}{\partial \x_{k-1}}
       \Bigr| $$

    Each Jacobian is taken at the point $\x_{k-1}$ that enters its transform.

    Args:
        transforms: $f_1, \dots, f_K$.
    """

    def __init__(self, transforms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From data to latents: z and the log-determinant (B,) of this direction."""
        total = require(x, "x", dtype="float").new_zeros(x.shape[:1])
        for transform in self.transforms:
            x, ladj = transform(x)
            total = total + ladj
        return x, total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From latents to data: x and the log-determinant (B,) of this direction, minus that of `forward` at x."""
        total = require(z, "z", dtype="float").new_zeros(z.shape[:1])
        for transform in reversed(self.transforms):
            z, ladj = cast(Transform, transform).inverse(z)
            total = total + ladj
        return z, total

    def steps(self, x: Tensor) -> list[Tensor]:
        """The way of x to z: x itself, then the points after each transform (K + 1 tensors), for figures."""
        points = [x]
        for transform in self.transforms:
            points.append(transform(points[-1])[0])
        return points


class Inverse(nn.Module):
    """A transform that runs another one backwards.

    Args:
        transform: the one to turn around.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inner transform's `inverse`."""
        return cast(Transform, self.transform).inverse(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The inner transform's `forward`."""
        return self.transform(z)


class Flow(Chain):
    r"""A density model: transforms that carry data to a base whose density is known.

    $$ \log p(\x) = \log p_\text{base}(f(\x)) + \log\Bigl|\det\frac{\partial f(\x)}{\partial \x}\Bigr| $$

    A draw that can be differentiated is ``flow.inverse(flow.base.sample(n))``.

    Args:
        transforms: from data to latents.
        base: `StandardNormal`, `Uniform`, or anything with `log_prob` and `sample`.

    >>> flow = Flow([Flatten((1, 2, 2))], StandardNormal((4,)))
    >>> flow.log_prob(torch.zeros(3, 1, 2, 2)).shape, flow.sample(5).shape
    (torch.Size([3]), torch.Size([5, 1, 2, 2]))
    """

    def __init__(self, transforms: Sequence[nn.Module], base: nn.Module) -> None:
        super().__init__(transforms)
        self.base = base

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, (B,)."""
        z, ladj = self(x)
        return cast(Base, self.base).log_prob(z) + ladj

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-density of a batch, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` examples: one draw from the base, one pass back."""
        return self.inverse(cast(Base, self.base).sample(n, generator=generator))[0]


# --- rearranging: the log-determinant is 0 ---------------------------------------------------------------------


class Flatten(nn.Module):
    """Lay an example out as a row: (B, *shape) ↔ (B, m).

    Args:
        shape: of one example.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(require_count(size, "shape") for size in shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, *shape) → (B, m)."""
        x = require(x, "x", shape=("B", *self.shape), dtype="float")
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, m) → (B, *shape)."""
        z = require(z, "z", shape=f"B {math.prod(self.shape)}", dtype="float")
        return z.unflatten(1, self.shape), z.new_zeros(len(z))


class Permute(nn.Module):
    """Reorder the columns (channels): column i of z is column ``order[i]`` of x.

    Args:
        order: a permutation of 0 … m−1, shape (m,).

    Raises:
        ValueError: `order` is no permutation.

    >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 11.0, 12.0]]))[0]
    tensor([[12., 10., 11.]])
    """

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.m = len(require(order, "order", shape="m", dtype="int"))
        if not torch.equal(order.sort().values.long(), torch.arange(self.m)):
            raise ValueError(f"order: expected a permutation of 0 … {self.m - 1}, came {order.tolist()}")
        self.register_buffer("order", order.long())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Into the new order, (B, m, …)."""
        return self._reorder(require(x, "x", dtype="float"), "x", self.order)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Back into the old order."""
        return self._reorder(require(z, "z", dtype="float"), "z", self.order.argsort())

    def _reorder(self, x: Tensor, name: str, order: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() < 2 or x.shape[1] != self.m:
            raise ValueError(f"{name}: expected shape (B, {self.m}, …), came {tuple(x.shape)}")
        return x[:, order], x.new_zeros(len(x))


class Squeeze(nn.Module):
    """Turn every 2×2 block of pixels into four channels: (B, C, H, W) ↔ (B, 4C, H/2, W/2).

    Source: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio (2017), Density Estimation using Real NVP.

    >>> Squeeze()(torch.arange(4.0).view(1, 1, 2, 2))[0].shape
    torch.Size([1, 4, 1, 1])
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) → (B, 4C, H/2, W/2)."""
        x = require(x, "x", shape="B C H W", dtype="float")
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"x: expected an even height and width, came {tuple(x.shape)}")
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4C, H/2, W/2) → (B, C, H, W)."""
        z = require(z, "z", shape="B C H W", dtype="float")
        if z.shape[1] % 4:
            raise ValueError(f"z: expected a multiple of 4 channels, came {tuple(z.shape)}")
        return F.pixel_shuffle(z, 2), z.new_zeros(len(z))


# --- pixels ----------------------------------------------------------------------------------------------------


class Logit(nn.Module):
    r"""Stretch brightness to the whole line: $z = \operatorname{logit}(y)$, $y = \alpha + (1 - 2\alpha)\, x$.

    $$ \log\Bigl|\frac{\dd z}{\dd x}\Bigr| = \log(1 - 2\alpha) - \log y - \log(1 - y) $$

    α > 0 keeps black and white finite. The price: x may lie a little outside of [0, 1], up to α/(1 − 2α). The smaller
    α, the wider the cells of black and white are stretched, where most pixels of a drawing lie.

    Args:
        alpha: the margin, in (0, ½).

    Source: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio (2017), Density Estimation using Real NVP.
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        self.alpha = require_number(alpha, "alpha", low=0.0, high=0.49, open_low=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Brightness (B, …) → numbers on the line."""
        end = self.alpha / (1 - 2 * self.alpha) + 1e-6  # room for a rounding error of `inverse`
        y = self.alpha + (1 - 2 * self.alpha) * _rows(require(x, "x", dtype="float", low=-end, high=1 + end), "x")
        z = y.logit(eps=torch.finfo(y.dtype).eps)  # a draw rounded to the very end stays finite
        return z, self._ladj(z)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers on the line (B, …) → brightness."""
        z = _rows(require(z, "z", dtype="float"), "z")
        return (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha), -self._ladj(z)

    def _ladj(self, z: Tensor) -> Tensor:
        """−log y − log(1 − y) is softplus(−z) + softplus(z), which does not overflow."""
        return per_example(F.softplus(z) + F.softplus(-z) + math.log(1 - 2 * self.alpha))


class Dequantised(nn.Module):
    r"""A flow as a model of pictures with finitely many grey levels: noise fills the gaps between them.

    A picture of levels $k \in \{0, \dots, d - 1\}^m$ has the probability that the density gives its cell,

    $$ P(k) = d^{-m} \int_{[0,1]^m} p\Bigl(\frac{k + \u}{d}\Bigr) \dd\u
       \quad\Rightarrow\quad \log P(k) \ge \E_{\u} \log p\Bigl(\frac{k + \u}{d}\Bigr) - m \log d . $$

    What the flow gives to points outside of the cube $[0, 1]^m$ counts for no picture, so the probabilities sum to the
    mass inside, less than 1, and log P stays an honest bound. `sample` moves a draw from outside to the nearest level.

    Args:
        flow: a density of pictures in [0, 1].
        levels: d; a pixel's value is k/(d − 1).

    Source: Lucas Theis, Aäron van den Oord, Matthias Bethge (2016), A note on the evaluation of generative models.
    """

    def __init__(self, flow: Flow, levels: int = 256) -> None:
        super().__init__()
        self.flow, self.levels = flow, require_count(levels, "levels", low=2)

    def dequantise(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        r"""Add noise: k/(d − 1) → (k + u)/d with u uniform on [0, 1), of the same shape.

        Raises:
            ValueError: a value that is no level.
        """
        k = require(x, "x", dtype="float", low=0.0, high=1.0) * (self.levels - 1)
        if (k - k.round()).abs().max() > 1e-3:
            raise ValueError(f"x: expected grey levels k/{self.levels - 1}, came values between them")
        u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        k = k + (k.round() - k).detach()  # a whole number to the last bit, with the gradient of k
        return (k + u) / self.levels

    def quantise(self, y: Tensor) -> Tensor:
        """The nearest picture of levels: y → k/(d − 1) with k = ⌊d·y⌋, cut off at the ends."""
        return (y * self.levels).floor().clamp(0, self.levels - 1) / (self.levels - 1)

    def _log_weight(self, x: Tensor, generator: Generator | None) -> Tensor:
        """log p((k + u)/d) − m log d for one draw of the noise, (B,)."""
        return self.flow.log_prob(self.dequantise(x, generator=generator)) - x[0].numel() * math.log(self.levels)

    def elbo(self, x: Tensor, samples: int = 1, *, generator: Generator | None = None) -> Tensor:
        """Lower bound of log P(x) in nats, the mean over `samples` draws of the noise: (B,)."""
        draws = [self._log_weight(x, generator) for _ in range(require_count(samples, "samples"))]
        return torch.stack(draws).mean(0)

    def log_prob_is(self, x: Tensor, samples: int, *, generator: Generator | None = None) -> Tensor:
        r"""$\log \frac1K \sum_k p(\cdot) d^{-m}$ over K draws, nats, (B,): tighter than `elbo`, exact for K → ∞."""
        draws = [self._log_weight(x, generator) for _ in range(require_count(samples, "samples"))]
        return torch.stack(draws).logsumexp(0) - math.log(samples)

    def loss(self, x: Tensor) -> Tensor:
        """Mean of −`elbo` with one draw of the noise, nats."""
        return -self.elbo(x).mean()

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` pictures of levels k/(d − 1)."""
        return self.quantise(self.flow.sample(n, generator=generator))
