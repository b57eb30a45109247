r"""What generation asks: distances between distributions, one Gaussian for two modes, why many dimensions are hard.

For densities p and q, given by their logarithms on a fine grid of the line:

    forward KL     KL(p‖q) = ∫ p log(p/q)                            0 … ∞,  ∞ where p > 0 = q has mass
    reverse KL     KL(q‖p)
    JSD            ½ KL(p‖r) + ½ KL(q‖r),  r = ½(p + q)              0 … log 2, symmetric
    α-divergence   4/(1 − α²) · (1 − ∫ p^((1+α)/2) q^((1−α)/2))      α → 1: KL(p‖q),  α → −1: KL(q‖p)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from torch import Tensor

from dgm.checks import require, require_count, require_number
from dgm.viz.palette import COLORS, INK, MUTED

# --- the maths: divergences by integration on a grid -----------------------------------------------------------


def _densities(log_p: Tensor, log_q: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three arguments of every divergence: −∞ is a fine log-density, NaN and +∞ are not; x rises."""
    x = require(x, "x", shape="G", dtype="float")
    if len(x) < 2 or (x.diff() <= 0).any():
        raise ValueError("x: expected at least two grid points in rising order")
    for value, name in ((log_p, "log_p"), (log_q, "log_q")):
        require(value, name, shape=f"... {len(x)}", dtype="float", finite=False)
        if value.isnan().any() or (value == math.inf).any():
            raise ValueError(f"{name}: expected log-densities below infinity, came NaN or +inf")
    return log_p, log_q, x


def kl_divergence(log_p: Tensor, log_q: Tensor, x: Tensor) -> Tensor:
    r"""Forward KL $\int p \log\frac{p}{q}\,dx$ by the trapezoidal rule.

    Smooth densities that vanish at both ends of the grid are integrated almost exactly. Mass outside the grid is
    not seen.

    Args:
        log_p: log-density on the grid, shape (..., G).
        log_q: the same, shape (..., G).
        x: the grid, rising, shape (G,).

    Returns:
        Nats, shape (...): ∞ where q is 0 and p is not.

    Source:
        Solomon Kullback, Richard Leibler (1951), On information and sufficiency.
    """
    log_p, log_q, x = _densities(log_p, log_q, x)
    p = log_p.exp()
    inside = p > 0  # where p = 0 the integrand is 0, whatever q is
    ratio = torch.where(inside, log_p, 0.0) - torch.where(inside, log_q, 0.0)
    return torch.trapezoid(p * ratio, x)


def reverse_kl(log_p: Tensor, log_q: Tensor, x: Tensor) -> Tensor:
    r"""Reverse KL $\int q \log\frac{q}{p}\,dx$; arguments as for `kl_divergence`."""
    return kl_divergence(log_q, log_p, x)


def jensen_shannon(log_p: Tensor, log_q: Tensor, x: Tensor) -> Tensor:
    r"""JSD $\frac12 \mathrm{KL}(p \| r) + \frac12 \mathrm{KL}(q \| r)$ with $r = \frac12(p + q)$, in [0, log 2].

    Arguments as for `kl_divergence`; never infinite.

    Source:
        Jianhua Lin (1991), Divergence measures based on the Shannon entropy.
    """
    log_p, log_q, x = _densities(log_p, log_q, x)
    log_r = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * kl_divergence(log_p, log_r, x) + 0.5 * kl_divergence(log_q, log_r, x)


def alpha_divergence(log_p: Tensor, log_q: Tensor, x: Tensor, alpha: float) -> Tensor:
    r"""$D_\alpha = \frac{4}{1-\alpha^2}\left(1 - \int p^{\frac{1+\alpha}{2}} q^{\frac{1-\alpha}{2}}\,dx\right)$.

    α = 1 is the limit KL(p‖q), α = −1 the limit KL(q‖p), α = 0 four times the squared Hellinger distance
    $1 - \int\sqrt{pq}$.

    Args:
        log_p, log_q, x: as for `kl_divergence`.
        alpha: the order, in [−1, 1].

    Source:
        Shun-ichi Amari (1985), Differential-geometrical methods in statistics.
    """
    alpha = require_number(alpha, "alpha", low=-1.0, high=1.0)
    if alpha == 1.0:
        return kl_divergence(log_p, log_q, x)
    if alpha == -1.0:
        return reverse_kl(log_p, log_q, x)
    log_p, log_q, x = _densities(log_p, log_q, x)
    affinity = torch.trapezoid((0.5 * (1 + alpha) * log_p + 0.5 * (1 - alpha) * log_q).exp(), x)
    return 4 / (1 - alpha**2) * (1 - affinity)


# --- the maths: one Gaussian for a density with two modes ------------------------------------------------------


def gaussian_log_density(x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; μ, σ²) on the grid `x` (G,) for `mu` and `sigma` of shape (...): shape (..., G)."""
    z = (x - mu[..., None]) / sigma[..., None]
    return -0.5 * z.square() - sigma[..., None].log() - 0.5 * math.log(2 * math.pi)


def mixture_log_density(x: Tensor, weights: Sequence[float], means: Sequence[float], sd: float) -> Tensor:
    """Log-density of a mixture of normals with one standard deviation `sd` on the grid `x` (G,): shape (G,).

    >>> mixture_log_density(torch.zeros(1), [0.5, 0.5], [-1.0, 1.0], 1.0)
    tensor([-1.4189])
    """
    x = require(x, "x", shape="G", dtype="float")
    sd = require_number(sd, "sd", low=0.0, open_low=True)
    w, mu = torch.tensor(weights, dtype=x.dtype), torch.tensor(means, dtype=x.dtype)
    if w.shape != mu.shape or (w < 0).any() or abs(w.sum().item() - 1) > 1e-6:
        raise ValueError(f"weights: expected one for each of {len(mu)} means, summing to 1, came {weights}")
    return (w.log()[:, None] + gaussian_log_density(x, mu, torch.full_like(mu, sd))).logsumexp(0)


class Fit(NamedTuple):
    """Where each start ended: mean, standard deviation and divergence, each of the starts' shape."""

    mu: Tensor
    sigma: Tensor
    value: Tensor


Divergence = Callable[[Tensor, Tensor, Tensor], Tensor]


def fit_by_divergence(
    divergence: Divergence, log_p: Tensor, x: Tensor, mu: Tensor, sigma: Tensor, *, steps: int = 150
) -> Fit:
    r"""Go downhill on divergence(p, N(μ, σ²)) over μ and log σ, from several starting points at once.

    The direction is the gradient divided by the Fisher information, $1/\sigma^2$ for μ and 2 for log σ (the natural
    gradient: the unit of x does not matter). Every start has its own step size: a step that would raise the
    divergence is not taken and the size is halved, otherwise it grows. So each start ends in its own valley.

    Args:
        divergence: one of this module's, or any function of (log_p, log_q, x).
        log_p: the target's log-density, shape (..., G), where ... fits the starts.
        x: the grid, shape (G,).
        mu: where the means start, shape (...).
        sigma: where the standard deviations start, above 0, shape (...).
        steps: how many.

    Raises:
        ValueError: a Gaussian left the grid, so that its divergence could not be trusted.

    Source:
        Shun-ichi Amari (1998), Natural gradient works efficiently in learning.
    """
    mu = require(mu, "mu", shape="...", dtype=x.dtype).detach()
    sigma = require(sigma, "sigma", shape="...", dtype=x.dtype).detach()
    if sigma.shape != mu.shape or (sigma <= 0).any():
        raise ValueError(f"sigma: expected numbers above 0 of mu's shape {tuple(mu.shape)}, came {tuple(sigma.shape)}")
    if not divergence(log_p, gaussian_log_density(x, mu, sigma), x).isfinite().all():
        raise ValueError("mu: expected starts at which the divergence is finite, came one at which it is not")
    theta = torch.stack([mu, sigma.log()])
    size, best, direction = torch.ones_like(mu), torch.full_like(mu, math.inf), torch.zeros_like(theta)
    for _ in range(require_count(steps, "steps") + 1):
        move = (size * direction).clamp(-0.5, 0.5)  # at most half a standard deviation: no leap into another valley
        trial = (theta - torch.stack([theta[1].exp() * move[0], move[1]])).requires_grad_()
        value = divergence(log_p, gaussian_log_density(x, trial[0], trial[1].exp()), x)
        (slope,) = torch.autograd.grad(value.sum(), trial)
        with torch.no_grad():
            natural = torch.stack([trial[1].exp() * slope[0], slope[1] / 2])
            better = value <= best
            best = torch.where(better, value, best)
            theta, direction = torch.where(better, trial, theta), torch.where(better, natural, direction)
            size = torch.where(better, 1.3 * size, 0.5 * size)
    mu, sigma = theta[0], theta[1].exp()
    if ((torch.trapezoid(gaussian_log_density(x, mu, sigma).exp(), x) - 1).abs() > 1e-3).any():
        raise ValueError(f"x: expected a grid that holds the fitted Gaussians, came [{x[0]:g}, {x[-1]:g}]")
    return Fit(mu, sigma, divergence(log_p, gaussian_log_density(x, mu, sigma), x))


# --- the maths: why it is hard ---------------------------------------------------------------------------------


def shell_fraction(m: Tensor, epsilon: float) -> Tensor:
    r"""The part of a ball's volume within ε of its surface: $1 - (1 - \epsilon)^m$, radius 1, m dimensions.

    Args:
        m: whole numbers ≥ 1, any shape.
        epsilon: thickness of the shell as a part of the radius, in [0, 1].
    """
    m = require(m, "m", dtype="int", low=1).double()
    return 1 - (1 - require_number(epsilon, "epsilon", low=0.0, high=1.0)) ** m


def parameter_count(m: int, order: int) -> int:
    r"""Free parameters of a Markov chain of order k over m bits: $(2^k - 1) + (m - k) 2^k$.

    Order 0, independence: m. Order 1: 2m − 1. Order m − 1, the whole histogram: $2^m - 1$.

    >>> [parameter_count(784, k) for k in (0, 1)], parameter_count(784, 783) == 2**784 - 1
    ([784, 1567], True)
    """
    m, order = require_count(m, "m"), require_count(order, "order", low=0)
    if order >= m:
        raise ValueError(f"order: expected fewer than {m} bits to look back at, came {order}")
    return sum(2 ** min(i, order) for i in range(m))


# --- data for the toys -----------------------------------------------------------------------------------------


def caption_features(attributes: Tensor, sizes: Sequence[int], pairs: Sequence[tuple[int, int]] = ()) -> Tensor:
    """A caption as zeros and ones: one place for each word, and one for each pair of words, such as "red bob".

    Args:
        attributes: value numbers, shape (N, A).
        sizes: how many values each attribute has.
        pairs: which two attributes are also read together.

    Returns:
        Shape (N, words + pairs of words), float64.

    >>> caption_features(torch.tensor([[1, 0]]), [2, 2], [(0, 1)])
    tensor([[0., 1., 1., 0., 0., 0., 1., 0.]], dtype=torch.float64)
    """
    attributes = require(attributes, "attributes", shape=f"N {len(sizes)}", dtype="int", low=0).long()
    if (attributes >= torch.tensor(sizes)).any():
        raise ValueError(f"attributes: expected values below {list(sizes)}, came {attributes.amax(0).tolist()}")
    columns = [(attributes[:, i], sizes[i]) for i in range(len(sizes))]
    columns += [(attributes[:, i] * sizes[j] + attributes[:, j], sizes[i] * sizes[j]) for i, j in pairs]
    return torch.cat([torch.nn.functional.one_hot(value, size) for value, size in columns], 1).double()


def plucked_string(pitch: float, seconds: float, rate: int) -> Tensor:
    """A tone of `pitch` hertz with seven decaying harmonics, made by formula: shape (seconds · rate,), float64."""
    pitch = require_number(pitch, "pitch", low=0.0, open_low=True)
    length = require_number(seconds, "seconds", low=0.0, open_low=True) * require_count(rate, "rate")
    t = torch.arange(math.ceil(length), dtype=torch.float64) / rate
    h = torch.arange(1.0, 8.0, dtype=torch.float64)[:, None]
    return ((-(3 + 2 * h) * t).exp() * (2 * math.pi * h * pitch * t).sin() / h).sum(0)


# --- the families of models ------------------------------------------------------------------------------------


class Family(NamedTuple):
    """What a kind of model offers: `passes` are network evaluations for one sample of a 28 × 28 picture."""

    name: str
    likelihood: str
    latent: str
    passes: tuple[int, int]


FAMILIES = (
    Family("autoregressive", "exact", "none", (784, 784)),
    Family("coupling flow", "exact", "as many numbers as x", (1, 1)),
    Family("flow matching", "exact", "as many numbers as x", (10, 200)),
    Family("VAE", "lower bound", "fewer numbers than x", (1, 1)),
    Family("diffusion", "lower bound", "a noisy copy of x each step", (20, 1000)),
    Family("GAN", "none", "fewer numbers than x", (1, 1)),
)


def draw_families(ax: Axes) -> None:
    """Map `FAMILIES`: a row each, network passes for a sample from left to right, kinds of likelihood as bands."""
    bands = dict.fromkeys(family.likelihood for family in FAMILIES)  # a dict, for its order
    for shade, band in enumerate(bands):
        rows = [row for row, family in enumerate(FAMILIES) if family.likelihood == band]
        ax.axhspan(rows[0] - 0.6, rows[-1] + 0.4, color=MUTED, alpha=0.12 * (shade % 2 == 0), linewidth=0)
        ax.text(0.55, sum(rows) / len(rows) - 0.1, f"likelihood:\n{band}", color=INK, ha="right", va="center")
    for row, (name, _, latent, (low, high)) in enumerate(FAMILIES):
        ax.plot([low, high], [row, row], "-o", color=COLORS[row], linewidth=7, markersize=10)
        left = low < 100  # the words stand above, and end where the axis ends
        words = f"{name} — latents: {latent}"
        ax.text(0.87 * low if left else 1200, row - 0.27, words, color=INK, ha="left" if left else "right", va="center")
    ax.set_xscale("log")
    ax.set_xlim(0.7, 1400)
    ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    ax.set_ylim(len(FAMILIES) - 0.6, -0.6)
    ax.set_yticks([])
    ax.set_xlabel("network passes to draw one 28 × 28 picture (fewer is faster)")
