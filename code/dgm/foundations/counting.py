r"""Generating by counting: maximum likelihood, smoothing, Bayes for discrete data; what independence costs.

In n draws the d values of a variable came up $N_1, …, N_d$ times. Three estimates of its probabilities θ, the
last two under the prior Dir(α, …, α):

    maximum likelihood N_j/n · posterior mean (N_j + α)/(n + dα) · mode (N_j + α − 1)/(n + d(α − 1))

and three models: `SoftmaxHistogram` (one variable), `NaiveBayes` (independent ones), `PixelGenerator`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count, require_number

# --- estimates from counts ----------------------------------------------------------------------------------


def count(x: Tensor, d: int) -> Tensor:
    """How often each of the values 0, …, d−1 occurs in `x` of shape (B,): whole numbers, shape (d,).

    >>> count(torch.tensor([0, 2, 2]), 4)
    tensor([1, 0, 2, 0])
    """
    d = require_count(d, "d", low=2)
    return torch.bincount(require(x, "x", shape="B", dtype="int", low=0, high=d - 1), minlength=d)


def mle(counts: Tensor) -> Tensor:
    r"""Maximum likelihood $\hat\theta_j = N_j / n$ for counts (..., d): float64; n = 0 is refused."""
    return posterior_mean(counts, alpha=0.0)


def posterior_mean(counts: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Additive smoothing $(N_j + \alpha)/(n + d\alpha)$: the mean of θ under the posterior Dir(N + α).

    It is also the probability that the next draw is j; α = 1 is the rule of succession (Laplace, 1774).

    Args:
        counts: $N_j \ge 0$, shape (..., d), whole numbers or weights.
        alpha: pseudo-count added to every value; 0 gives maximum likelihood.

    Raises:
        ValueError: α = 0 and nothing was counted: without data every θ is as likely.

    >>> posterior_mean(torch.tensor([1, 0, 2, 0]))
    tensor([0.2857, 0.1429, 0.4286, 0.1429], dtype=torch.float64)
    """
    counts = require(counts, "counts", shape="... d", low=0).double()
    raised = counts + require_number(alpha, "alpha", low=0.0)
    total = raised.sum(-1, keepdim=True)
    if (total == 0).any():
        raise ValueError("counts: expected at least one count where alpha is 0, came zeros only")
    return raised / total


def posterior_mode(counts: Tensor, alpha: float = 2.0) -> Tensor:
    r"""MAP estimate $(N_j + \alpha - 1)/(n + d(\alpha - 1))$: the mode of the posterior Dir(N + α), α ≥ 1.

    Where α < 1 and $N_j = 0$ the density is unbounded at $\theta_j = 0$ and has no mode: α < 1 is refused.
    """
    return posterior_mean(counts, require_number(alpha, "alpha", low=1.0) - 1.0)


def log_predictive(new: Tensor, counts: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Posterior predictive: nats (...) of one sequence of draws with counts `new`, after `counts`.

    $$\log\frac{\Gamma(n + d\alpha)}{\Gamma(n + d\alpha + K)}
    + \sum_j \log\frac{\Gamma(N_j + \alpha + k_j)}{\Gamma(N_j + \alpha)}$$

    Args:
        new: counts $k_j$ of the sequence, $K = \sum_j k_j$, shape (..., d).
        counts: counts $N_j$ of the data, shape (..., d).
        alpha: the prior's pseudo-count, above 0.
    """
    new = require(new, "new", shape="... d", low=0).double()
    counts = require(counts, "counts", shape="... d", low=0).double()
    if new.shape[-1] != counts.shape[-1]:
        raise ValueError(f"new: expected {counts.shape[-1]} values as counts has, came {new.shape[-1]}")
    before = counts + require_number(alpha, "alpha", low=0.0, open_low=True)
    after = before + new
    ratios = (torch.lgamma(after) - torch.lgamma(before)).sum(-1)
    return ratios + torch.lgamma(before.sum(-1)) - torch.lgamma(after.sum(-1))


def bayes(prior: Tensor, likelihood: Tensor) -> Tensor:
    r"""Bayes' rule over K hypotheses: $p(h \mid e) = p(e \mid h)\,p(h) / \sum_{h'} p(e \mid h')\,p(h')$.

    Args:
        prior: p(h), shape (..., K), sums to 1.
        likelihood: p(e | h), shape (..., K); of evidence independent given h, the product.

    >>> bayes(torch.tensor([0.001, 0.999]), torch.tensor([0.9, 0.01]))  # sick, healthy; one positive test
    tensor([0.0826, 0.9174])
    """
    prior = require(prior, "prior", shape="... K", dtype="float", low=0.0, high=1.0)
    likelihood = require(likelihood, "likelihood", shape="... K", dtype="float", low=0.0, high=1.0)
    if prior.shape[-1] != likelihood.shape[-1]:
        raise ValueError(f"likelihood: expected {prior.shape[-1]} hypotheses, came {likelihood.shape[-1]}")
    if (prior.sum(-1) - 1).abs().max() > 1e-5:
        raise ValueError("prior: expected probabilities that sum to 1")
    joint = prior * likelihood
    evidence = joint.sum(-1, keepdim=True)
    if (evidence == 0).any():
        raise ValueError("likelihood: expected evidence that some hypothesis allows, came zeros only")
    return joint / evidence


def uniform_mle(x: Tensor) -> Tensor:
    r"""Maximum likelihood of θ for draws (..., n) of U[0, θ]: their maximum, whose mean is $n\theta/(n + 1)$.

    The likelihood is $\theta^{-n}$ from $\max_i x_i$ upwards and 0 below.
    """
    return require(x, "x", shape="... n", dtype="float", low=0.0).amax(-1)


# --- bins ---------------------------------------------------------------------------------------------------


def edges(d: int) -> Tensor:
    """The left edges 0, 1/(d−1), …, 1 of d bins: shape (d,), float64."""
    return torch.linspace(0.0, 1.0, require_count(d, "d", low=2), dtype=torch.float64)


def to_bins(x: Tensor, d: int) -> Tensor:
    """Clip to [0, 1], then number of the last left edge at or below: (B,) → int64 (B,).

    Bin 0 also takes what was below 0; the last bin takes nothing but what was clipped at 1.

    >>> to_bins(torch.tensor([-0.3, 0.0, 0.3, 0.99, 1.7]), 5)
    tensor([0, 0, 1, 3, 4])
    """
    x = require(x, "x", shape="B", dtype="float").double()
    return torch.bucketize(x.clamp(0.0, 1.0), edges(d), right=True) - 1


def mixture_masses(d: int, means: Sequence[float], sds: Sequence[float]) -> Tensor:
    """What an equal mixture of normals puts into the bins of `to_bins`: float64 (d,), sums to 1."""
    mu, sd = (torch.tensor(values, dtype=torch.float64) for values in (means, sds))
    below = torch.special.ndtr((edges(d)[1:, None] - mu) / sd).mean(-1)  # P(x < right edge of bin 0, 1, …)
    return torch.diff(below, prepend=below.new_zeros(1), append=below.new_ones(1))


# --- models -------------------------------------------------------------------------------------------------


class SoftmaxHistogram(nn.Module):
    r"""One variable, $P(x = j) = \mathrm{softmax}(\mathbf{a})_j$: uniform, then learnt or counted."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = require_count(d, "d", low=2)
        self.logits = nn.Parameter(torch.zeros(d))

    def log_probs(self) -> Tensor:
        """Log-probabilities of all values: shape (d,)."""
        return self.logits.log_softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of values `x`, int (B,): shape (B,); −∞ where the probability is 0."""
        return self.log_probs()[require(x, "x", shape="B", dtype="int", low=0, high=self.d - 1).long()]

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def fit_counts(self, x: Tensor, alpha: float = 0.0) -> Self:
        """Set the logits to log (N_j + α)/(n + dα); α = 0 minimises the loss on `x`."""
        self.logits.copy_(posterior_mean(count(x, self.d), alpha).log())
        return self

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` values: int64 (n,)."""
        probs = self.log_probs().exp()
        return torch.multinomial(probs, require_count(n, "n"), replacement=True, generator=generator)


class Descent(NamedTuple):
    """Negative log-likelihood before each step and after the last, nats: shape (steps + 1,) each."""

    train: Tensor
    validation: Tensor


def descend(model: SoftmaxHistogram, train: Tensor, validation: Tensor, *, steps: int, lr: float) -> Descent:
    r"""Gradient descent on all of `train` at once, $\mathbf{a} \leftarrow \mathbf{a} - \eta\,\nabla L$.

    `validation` is only scored. The curvature $\mathrm{diag}(\theta) - \theta\theta^\top$ has no eigenvalue
    above $\max_j\theta_j$; near the optimum every step size $\eta < 2/\max_j\theta_j$ converges.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=require_number(lr, "lr", low=0.0, open_low=True))
    curves = []
    for step in range(require_count(steps, "steps", low=0) + 1):
        loss = model.loss(train)
        curves.append((loss.item(), model.loss(validation).item()))
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Descent(*torch.tensor(curves, dtype=torch.float64).T)


class NaiveBayes(nn.Module):
    r"""Independent variables, a table each: $p(\mathbf{x}) = \prod_i p_i(x_i)$, for i = 1, …, m.

    The naive Bayes classifier assumes this within each class. `sizes` are $d_1, …, d_m$.
    """

    padding: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [require_count(d, "sizes") for d in sizes]
        self.m, self.widest = len(self.sizes), require_count(max(self.sizes, default=0), "sizes")
        self.logits = nn.Parameter(torch.zeros(self.m, self.widest))  # a row a variable, short rows padded
        padding = torch.arange(self.widest) >= torch.tensor(self.sizes)[:, None]
        self.register_buffer("padding", padding, persistent=False)

    def log_probs(self) -> Tensor:
        """The tables: (m, largest size), −∞ in the padding."""
        return self.logits.masked_fill(self.padding, -math.inf).log_softmax(-1)

    def _checked(self, x: Tensor) -> Tensor:
        x = require(x, "x", shape=f"B {self.m}", dtype="int", low=0, high=self.widest - 1).long()
        if self.padding[torch.arange(self.m), x].any():
            raise ValueError(f"x: expected values below {self.sizes}, came {x.amax(0).tolist()}")
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of rows `x`, int (B, m): shape (B,)."""
        return self.log_probs()[torch.arange(self.m), self._checked(x)].sum(-1)  # (B, m) → (B,)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def fit_counts(self, x: Tensor, alpha: float = 0.0) -> Self:
        """Count each column by itself; its table becomes (N_j + α)/(n + dα)."""
        cells = self._checked(x) + self.widest * torch.arange(self.m)  # one number a pair (variable, value)
        counts = torch.bincount(cells.flatten(), minlength=self.m * self.widest).view(self.m, self.widest)
        for row, n, d in zip(self.logits, counts, self.sizes, strict=True):
            row[:d] = posterior_mean(n[:d], alpha).log()
        return self

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` rows: int64 (n, m)."""
        probs = self.log_probs().exp()
        return torch.multinomial(probs, require_count(n, "n"), replacement=True, generator=generator).T

    @torch.no_grad()
    def draw(self, n: int, *, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw `n` rows (n, m), and give the probability of each under the model, (n,)."""
        x = self.sample(n, generator=generator)
        return x, self.log_prob(x).exp()


class PixelGenerator(nn.Module):
    """Pictures (channels, height, width) whose every channel of every pixel has a histogram of its own.

    A value in [0, 1] counts as the nearest of `levels` grey levels 0, 1/(levels − 1), …, 1.
    """

    def __init__(self, shape: tuple[int, int, int] = (3, 16, 16), levels: int = 256) -> None:
        super().__init__()
        self.shape, self.levels = shape, require_count(levels, "levels", low=2)
        self.tables = NaiveBayes([levels] * math.prod(shape))

    def to_levels(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1], (B, C, H, W) → grey levels, int64 (B, C·H·W)."""
        x = require(x, "x", shape=f"B {' '.join(map(str, self.shape))}", dtype="float", low=0.0, high=1.0)
        return (x * (self.levels - 1)).round().long().flatten(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of pictures `x`, float (B, C, H, W), as grey levels: shape (B,)."""
        return self.tables.log_prob(self.to_levels(x))

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats per picture."""
        return -self.log_prob(x).mean()

    def fit_counts(self, x: Tensor, alpha: float = 0.0) -> Self:
        """Count the levels of each channel of each pixel; α is added to each of the `levels` counts."""
        self.tables.fit_counts(self.to_levels(x), alpha)
        return self

    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw `n` pictures: float (n, C, H, W) in [0, 1]."""
        levels = self.tables.sample(n, generator=generator).to(self.tables.logits.dtype)
        return (levels / (self.levels - 1)).view(n, *self.shape)
