r"""The normal distribution in m dimensions, and what it says about the rest when a part is known.

    density        log N(x; μ, Σ) = −½ |L⁻¹(x − μ)|² − Σ_i log L_ii − (m/2) log 2π,     Σ = LLᵀ
    a part         y = Ax  ⇒  y ~ N(Aμ, AΣAᵀ)
    the rest       x | y ~ N(μ + K(y − Aμ), Σ − KAΣ),     K = ΣAᵀ(AΣAᵀ)⁻¹
    a sample       x₀ + K(y − Ax₀) with x₀ ~ N(μ, Σ) has exactly that conditional law (Matheron's rule)

The rows of A say what is seen: single pixels, means over blocks, the brightness of a colour.
"""

from __future__ import annotations

import math
from typing import Self, cast

import torch
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count, require_number

# --- the maths -------------------------------------------------------------------------------------------------


def normal_log_prob(x: Tensor, mean: Tensor, tril: Tensor) -> Tensor:
    """Log-density of N(mean, tril·trilᵀ) in nats.

    Args:
        x: shape (B, m).
        mean: shape (m,).
        tril: lower triangular with a positive diagonal, shape (m, m).

    Returns:
        Shape (B,).

    >>> normal_log_prob(torch.zeros(1, 2), torch.zeros(2), torch.eye(2))
    tensor([-1.8379])
    """
    mean = require(mean, "mean", shape="m", dtype="float")
    m = len(mean)
    x = require(x, "x", shape=f"B {m}", dtype="float")
    tril = require(tril, "tril", shape=f"{m} {m}", dtype="float")
    white = torch.linalg.solve_triangular(tril, (x - mean).T, upper=False)  # (m, B)
    return -0.5 * white.square().sum(0) - tril.diagonal().log().sum() - 0.5 * m * math.log(2 * math.pi)


def gain(tril: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    r"""How far the rest follows what is seen: $K = \Sigma A^\top (A \Sigma A^\top)^{-1}$ for $\Sigma = LL^\top$.

    Args:
        tril: L, shape (m, m).
        A: what is seen, shape (o, m), with linearly independent rows.

    Returns:
        K of shape (m, o) and the Cholesky factor of $A \Sigma A^\top$, shape (o, o).

    Raises:
        ValueError: $A \Sigma A^\top$ is singular: a row of A says what the others already said.
    """
    tril = require(tril, "tril", shape="m m", dtype="float")
    A = require(A, "A", shape=f"o {len(tril)}", dtype=tril.dtype)
    AL = A @ tril
    part = AL @ AL.T
    seen, info = torch.linalg.cholesky_ex(part)
    rounding = 100 * torch.finfo(tril.dtype).eps * part.diagonal()
    if info != 0 or (seen.diagonal().square() <= rounding).any():
        raise ValueError("A: expected linearly independent rows, came rows that repeat one another")
    return torch.cholesky_solve(AL @ tril.T, seen).T, seen


def condition(mean: Tensor, tril: Tensor, A: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and covariance of x ~ N(mean, Σ) given Ax = y, with $\Sigma = LL^\top$.

    $$\mu_{x \mid y} = \mu + K(y - A\mu), \qquad \Sigma_{x \mid y} = \Sigma - KA\Sigma$$

    Args:
        mean: shape (m,).
        tril: L, shape (m, m).
        A: shape (o, m), linearly independent rows.
        y: shape (B, o).

    Returns:
        Means (B, m), one for each y, and the covariance (m, m), which is the same for all of them.

    >>> condition(torch.zeros(2), torch.tensor([[1.0, 0.0], [0.5, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.ones(1, 1))
    (tensor([[1.0000, 0.5000]]), tensor([[0., 0.],
            [0., 1.]]))
    """
    mean = require(mean, "mean", shape="m", dtype="float")
    K, _ = gain(require(tril, "tril", shape=f"{len(mean)} {len(mean)}", dtype=mean.dtype), A)
    y = require(y, "y", shape=f"B {len(A)}", dtype=mean.dtype)
    return mean + (y - A @ mean) @ K.T, tril @ tril.T - K @ (A @ tril) @ tril.T


# --- what is seen: the rows of A -------------------------------------------------------------------------------


def see_places(seen: Tensor) -> Tensor:
    """A that reads the places where `seen` (any shape, bool) is true: shape (number of them, number of places).

    >>> see_places(torch.tensor([True, False, True]))
    tensor([[1., 0., 0.],
            [0., 0., 1.]], dtype=torch.float64)
    """
    seen = require(seen, "seen", dtype="bool").flatten()
    if not seen.any():
        raise ValueError("seen: expected at least one place that is seen, came none")
    return torch.eye(len(seen), dtype=torch.float64)[seen]


def see_blocks(side: int, factor: int) -> Tensor:
    """A that reads a picture of side × side as means over factor × factor blocks: shape ((side/factor)², side²)."""
    if require_count(side, "side") % require_count(factor, "factor"):
        raise ValueError(f"factor: expected a divisor of {side}, came {factor}")
    rows = torch.eye(side // factor, dtype=torch.float64).repeat_interleave(factor, 1) / factor
    return torch.kron(rows, rows)


def see_brightness(pixels: int) -> Tensor:
    """A that reads a colour picture as its brightness .299 R + .587 G + .114 B: shape (pixels, 3·pixels).

    Source:
        ITU-R Recommendation BT.601, the luma of video.
    """
    weights = torch.tensor([[0.299, 0.587, 0.114]], dtype=torch.float64)
    return torch.kron(weights, torch.eye(require_count(pixels, "pixels"), dtype=torch.float64))


# --- the models ------------------------------------------------------------------------------------------------


class Gaussian(nn.Module):
    r"""$\N(\mu, \Sigma)$ with every entry of Σ free: m + m(m+1)/2 parameters, N(0, I) at first.

    Args:
        m: the number of dimensions.
    """

    def __init__(self, m: int) -> None:
        super().__init__()
        self.m = require_count(m, "m")
        self.mean = nn.Parameter(torch.zeros(m))
        self.raw = nn.Parameter(torch.zeros(m, m))  # lower triangle of L; its diagonal is exp(raw's)

    @property
    def tril(self) -> Tensor:
        """The Cholesky factor L of Σ, shape (m, m)."""
        return self.raw.tril(-1) + self.raw.diagonal().exp().diag()

    @property
    def cov(self) -> Tensor:
        """Σ = LLᵀ, shape (m, m)."""
        return self.tril @ self.tril.T

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of `x` of shape (B, m): shape (B,)."""
        return normal_log_prob(x, self.mean, self.tril)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """`n` points: shape (n, m)."""
        white = torch.randn(require_count(n, "n"), self.m, generator=generator, dtype=self.mean.dtype)
        return self.mean + white @ self.tril.T

    @torch.no_grad()
    def fit_ml(self, x: Tensor, *, ridge: float = 0.0) -> Self:
        r"""Maximum likelihood in closed form: the mean of the data and their covariance with divisor n.

        Args:
            x: data, shape (B, m).
            ridge: variance added to every dimension. Needed where the data fill fewer than m directions: their
                likelihood has no maximum, it grows without bound as Σ flattens.

        Raises:
            ValueError: the covariance is singular and there is no ridge.
        """
        x = require(x, "x", shape=f"B {self.m}", dtype="float").double()
        centred = x - x.mean(0)
        cov = centred.T @ centred / len(x) + require_number(ridge, "ridge", low=0.0) * torch.eye(self.m).double()
        tril, info = torch.linalg.cholesky_ex(cov)
        if info != 0:
            raise ValueError(f"x: expected data that fill all {self.m} directions, or a ridge above 0")
        self.mean.copy_(x.mean(0))
        self.raw.copy_(tril.tril(-1) + tril.diagonal().log().diag())
        return self

    # Given a part: y = Ax is known, shapes (B, o) and (o, m).

    @torch.no_grad()
    def log_prob_part(self, y: Tensor, A: Tensor) -> Tensor:
        """Log-density of the part `y` = Ax itself, nats: shape (B,)."""
        return normal_log_prob(y, A @ self.mean, gain(self.tril, A)[1])

    @torch.no_grad()
    def mean_given(self, y: Tensor, A: Tensor) -> Tensor:
        """E[x | Ax = y], the prediction with the least squared error: shape (B, m)."""
        K, _ = gain(self.tril, A)
        y = require(y, "y", shape=f"B {len(A)}", dtype=self.mean.dtype)
        return self.mean + (y - A @ self.mean) @ K.T

    @torch.no_grad()
    def sample_given(self, y: Tensor, A: Tensor, *, generator: Generator | None = None) -> Tensor:
        """One draw of x | Ax = y for each row of `y`: shape (B, m)."""
        K, _ = gain(self.tril, A)
        y = require(y, "y", shape=f"B {len(A)}", dtype=self.mean.dtype)
        x = self.sample(len(y), generator=generator)
        return x + (y - x @ A.T) @ K.T


class ClassGaussians(nn.Module):
    r"""$p(\x) = \sum_y p(y)\,\N(\x; \mu_y, \Sigma_y)$, one Gaussian for each class; a toy that can do many tasks.

    Args:
        m: the number of dimensions.
        classes: the number of classes.
    """

    prior: Tensor

    def __init__(self, m: int, classes: int = 10) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Gaussian(m) for _ in range(require_count(classes, "classes")))
        self.register_buffer("prior", torch.full((classes,), 1 / classes))

    def part(self, y: int) -> Gaussian:
        """The Gaussian of class `y`."""
        return cast(Gaussian, self.parts[y])

    def _each(self, method: str, *args: Tensor) -> Tensor:
        """What a method of every part answers, stacked along a new last dimension."""
        return torch.stack([getattr(part, method)(*args) for part in self.parts], -1)

    def fit_ml(self, x: Tensor, labels: Tensor, *, ridge: float = 0.0) -> Self:
        """Fit each class by itself: data `x` (B, m), labels (B,); ridge as for `Gaussian`."""
        labels = require(labels, "labels", shape=f"{len(x)}", dtype="int", low=0, high=len(self.parts) - 1)
        counts = torch.bincount(labels, minlength=len(self.parts))
        if (counts == 0).any():
            raise ValueError(f"labels: expected every class, came none of class {int(counts.argmin())}")
        for y in range(len(self.parts)):
            self.part(y).fit_ml(x[labels == y], ridge=ridge)
        self.prior.copy_(counts / len(labels))
        return self

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of points `x` (B, m) of unknown class: shape (B,)."""
        return (self._each("log_prob", x) + self.prior.log()).logsumexp(-1)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int, *, label: int | None = None, generator: Generator | None = None) -> Tensor:
        """`n` points of all classes, or of class `label`: shape (n, m)."""
        if label is not None and not 0 <= label < len(self.parts):
            raise ValueError(f"label: expected one of 0 … {len(self.parts) - 1}, came {label!r}")
        y = torch.multinomial(self.prior, require_count(n, "n"), replacement=True, generator=generator)
        classes = y.tolist() if label is None else [label] * n
        return torch.cat([self.part(c).sample(1, generator=generator) for c in classes])

    @torch.no_grad()
    def class_given(self, y: Tensor, A: Tensor | None = None) -> Tensor:
        """p(class | Ax = y) by Bayes' rule, for parts `y` (B, o) and `A` (o, m), or p(class | x = y) without A.

        Shape (B, classes).
        """
        nats = self._each("log_prob", y) if A is None else self._each("log_prob_part", y, A)
        return (nats + self.prior.log()).softmax(-1)

    @torch.no_grad()
    def mean_given(self, y: Tensor, A: Tensor) -> Tensor:
        """E[x | Ax = y], the answer of a predictor: shape (B, m)."""
        return (self._each("mean_given", y, A) * self.class_given(y, A)[:, None]).sum(-1)

    @torch.no_grad()
    def sample_given(self, y: Tensor, A: Tensor, *, generator: Generator | None = None) -> Tensor:
        """A draw of x | Ax = y for each row of `y`, the answer of a generator: first a class, then x: (B, m)."""
        chosen = torch.multinomial(self.class_given(y, A), 1, generator=generator)[:, 0]
        draws = torch.empty(len(y), A.shape[1], dtype=self.prior.dtype)
        for c in chosen.unique().tolist():
            draws[chosen == c] = self.part(c).sample_given(y[chosen == c], A, generator=generator)
        return draws
