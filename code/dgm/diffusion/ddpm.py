r"""Diffusion: noise is mixed into the data little by little, and a network learns the way back.

    forward    q(x_t | x_0) = N(α_t x_0, σ_t² I)          time t from 0 (data) to 1 (noise); step i of T is t = i / T
    learn      x_t ↦ E[ε | x_t], equally E[x_0 | x_t]     one network, three ways to read its answer
    backward   q(x_s | x_t, x_0) with x_0 guessed         s < t, down to 0

This is the time convention of the whole package: **time is a fraction.** A chain of T steps is a schedule asked at
t = i/T. Data are t = 0, the first noisy state is t = 1/T (index 0 in tables that count from zero), pure noise is t = 1.

Sources: Jascha Sohl-Dickstein, Eric Weiss, Niru Maheswaranathan, Surya Ganguli (2015), Deep Unsupervised Learning using
Nonequilibrium Thermodynamics; Jonathan Ho, Ajay Jain, Pieter Abbeel (2020), Denoising Diffusion Probabilistic Models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Generator, Tensor, nn

from dgm.checks import require, require_choice, require_count, require_number

# --- the schedule: how much data is left, how much noise is there ----------------------------------------------


class Schedule:
    r"""$t \mapsto (\alpha_t, \sigma_t)$: the state at time t in [0, 1] is $x_t = \alpha_t x_0 + \sigma_t \varepsilon$.

    Each starts at (1, 0), and $\alpha/\sigma$ falls. Most keep the variance, $\alpha^2 + \sigma^2 = 1$, and are known
    by $\log \alpha_t$ alone, which a subclass states; one that does not states both.
    """

    steps: int | None = None
    """T, where time has steps; None where any t in (0, 1] can come."""

    def log_alpha(self, t: Tensor) -> Tensor:
        r"""$\log \alpha_t$, of the shape of t."""
        raise NotImplementedError

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""Times of any shape → $\alpha_t$ and $\sigma_t$ of that shape and dtype."""
        log_alpha = self.log_alpha(require(t, "t", dtype="float", low=0.0, high=1.0))
        return log_alpha.exp(), (0 - torch.expm1(2 * log_alpha)).sqrt()  # expm1: exact where σ is small

    def draw(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """`n` times for training, uniform over {1/T, …, 1}, or over (0, 1] where time has no steps: float32 (n,)."""
        if self.steps:
            return torch.randint(1, self.steps + 1, (n,), generator=generator) / self.steps
        return 1 - torch.rand(n, generator=generator)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""The derivatives $\alpha'_t, \sigma'_t$ by time, of the shape of t; at t = 0 the second may be infinite."""
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            alpha, sigma = self(t)
            (rate,) = torch.autograd.grad(sigma.sum(), t, retain_graph=True)
            (fall,) = torch.autograd.grad(alpha.sum(), t) if alpha.requires_grad else (torch.zeros_like(t),)
        return fall, rate

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items() if k[0] != '_')})"


class Chain(Schedule):
    r"""DDPM's table: step i mixes in noise of variance $\beta_i$, so $\alpha_{i/T}^2 = \prod_{j \le i} (1 - \beta_j)$.

    Between two steps $\log \alpha$ is a line: the chain is a diffusion in continuous time whose rate is constant for
    the length of a step.

    Args:
        betas: $\beta_1 … \beta_T$, each in (0, 1).
    """

    def __init__(self, betas: Tensor) -> None:
        betas = require(betas, "betas", shape="T", dtype="float").double()
        if (betas <= 0).any() or (betas >= 1).any():
            raise ValueError(f"betas: expected values in (0, 1), came [{betas.min():g}, {betas.max():g}]")
        self.steps = len(betas)
        self._table = torch.cat([betas.new_zeros(1), 0.5 * torch.log1p(-betas).cumsum(0)])  # log α of steps 0 … T

    def log_alpha(self, t: Tensor) -> Tensor:
        """See `Schedule`."""
        assert self.steps
        table, place = self._table.to(t), t * self.steps
        before = place.detach().long().clamp(max=self.steps - 1)
        return torch.lerp(table[before], table[before + 1], place - before)


class Linear(Chain):
    r"""$\beta_i$ on a line from low/T to high/T: the rate of noise grows evenly. T = 1000 gives Ho's $10^{-4}$ … 0.02.

    Args:
        steps: T.
        low, high: the rate per unit of time at the start and at the end; high < T.
    """

    def __init__(self, steps: int = 1_000, low: float = 0.1, high: float = 20.0) -> None:
        self.low, self.high = (require_number(v, k, low=0.0, open_low=True) for v, k in ((low, "low"), (high, "high")))
        steps = require_count(steps, "steps")
        super().__init__(torch.linspace(self.low, self.high, steps, dtype=torch.float64) / steps)


class Cosine(Chain):
    r"""$\alpha^2$ falls as a squared cosine.

    $$\alpha_t^2 = \frac{f(t)}{f(0)}, \qquad f(t) = \cos^2\Bigl(\frac{t + s}{1 + s} \cdot \frac\pi2\Bigr)$$

    Each $\beta_i = 1 - f(t_i)/f(t_{i-1})$ is cut at 0.999, or nothing would be left of the data at the end.

    Args:
        steps: T.
        offset: s, which keeps the first steps from being tiny.

    Source:
        Alex Nichol, Prafulla Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models, section 3.2.
    """

    def __init__(self, steps: int = 1_000, offset: float = 0.008) -> None:
        self.offset = require_number(offset, "offset", low=0.0)
        t = torch.linspace(0, 1, require_count(steps, "steps") + 1, dtype=torch.float64)
        f = ((t + self.offset) / (1 + self.offset) * (math.pi / 2)).cos().square()
        super().__init__((1 - f[1:] / f[:-1]).clamp(max=0.999))


class VP(Schedule):
    r"""The variance-preserving diffusion: `Linear` with infinitely many steps.

    $$\beta(t) = \beta_0 + (\beta_1 - \beta_0)\,t, \qquad
    \log \alpha_t = -\tfrac12 \int_0^t \beta = -\tfrac12 \beta_0 t - \tfrac14 (\beta_1 - \beta_0)\,t^2$$

    Args:
        low, high: $\beta_0, \beta_1$, rates per unit of time.

    Source:
        Yang Song, Jascha Sohl-Dickstein, Diederik Kingma, Abhishek Kumar, Stefano Ermon, Ben Poole (2021), Score-Based
        Generative Modeling through Stochastic Differential Equations.
    """

    def __init__(self, low: float = 0.1, high: float = 20.0) -> None:
        self.low, self.high = (require_number(v, k, low=0.0, open_low=True) for v, k in ((low, "low"), (high, "high")))

    def log_alpha(self, t: Tensor) -> Tensor:
        """See `Schedule`."""
        return -t * (0.5 * self.low + 0.25 * (self.high - self.low) * t)


class VE(Schedule):
    r"""The variance-exploding diffusion: $\alpha = 1$, $\sigma_t^2 = \sigma_0^2 ((\sigma_1/\sigma_0)^{2t} - 1)$.

    Args:
        low, high: $\sigma_0 < \sigma_1$; from about $\sigma_0$ on the noise grows by one factor in equal times, to
            about $\sigma_1$.

    Source:
        as `VP`; the −1 makes it start at the data themselves.
    """

    def __init__(self, low: float = 0.01, high: float = 50.0) -> None:
        self.low = require_number(low, "low", low=0.0, open_low=True)
        self.high = require_number(high, "high", low=self.low, open_low=True)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule`."""
        t = require(t, "t", dtype="float", low=0.0, high=1.0)
        return torch.ones_like(t), self.low * torch.expm1(2 * math.log(self.high / self.low) * t).sqrt()


# --- the Gaussian algebra of a step ----------------------------------------------------------------------------


def diffuse(schedule: Schedule, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    r"""The noisy state in one go: $x_t = \alpha_t x_0 + \sigma_t \varepsilon$.

    Args:
        schedule: says α and σ.
        x_0: data, shape (B, …).
        t: times in [0, 1], one for all, or one each, shape (B,).
        noise: ε, standard normal, of the shape of x_0.
    """
    alpha, sigma = scales(schedule, t, x_0)
    return alpha * x_0 + sigma * noise


def transition(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    r"""The step forward from s to t > s: $q(x_t \mid x_s) = \N(a\,x_s,\ v I)$.

    $$a = \alpha_t / \alpha_s, \qquad v = \sigma_t^2 - a^2 \sigma_s^2$$

    For neighbours of a chain these are $\sqrt{1 - \beta}$ and $\beta$.

    Args:
        schedule: says α and σ.
        t, s: times of one shape, s < t.

    Returns:
        a and v, of that shape.
    """
    if (s >= t).any():
        raise ValueError("s: expected times before t, came one that is not")
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    a = alpha_t / alpha_s
    return a, sigma_t.square() - (a * sigma_s).square()


def posterior(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    r"""The step backward if the data were known: $q(x_s \mid x_t, x_0) = \N(\mu, \tilde\beta I)$ with s < t.

    $$\mu = \frac{a\,\sigma_s^2}{\sigma_t^2}\,x_t + \frac{\alpha_s v}{\sigma_t^2}\,x_0, \qquad
    \tilde\beta = \frac{v\,\sigma_s^2}{\sigma_t^2}, \qquad a, v \text{ of } q(x_t \mid x_s)$$

    Args:
        schedule: says α and σ.
        x_t, x_0: the noisy state and the data, shape (B, …).
        t, s: times, one for all or one each, (B,).

    Returns:
        μ of the shape of x_t, and the variance, which is the same everywhere, of the shape of t with ones after it.
    """
    a, v = (_wide(c, x_t) for c in transition(schedule, t, s))
    (_, sigma_t), (alpha_s, sigma_s) = scales(schedule, t, x_t), scales(schedule, s, x_t)
    kept, gained = a * (sigma_s / sigma_t) ** 2, alpha_s * v / sigma_t**2
    return kept * x_t + gained * x_0, v * (sigma_s / sigma_t) ** 2


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """Numbers, one for all examples or one each, ready to multiply x (B, …)."""
    return values if values.dim() == 0 else values.reshape(-1, *[1] * (x.dim() - 1))


def scales(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ at times t, one for all examples or one each, (B,), ready to multiply x (B, …)."""
    alpha, sigma = schedule(t)
    return _wide(alpha, x), _wide(sigma, x)


# --- denoisers -------------------------------------------------------------------------------------------------


class Guess(NamedTuple):
    """What a denoiser says of a noisy state; the two determine each other by x_t = α x_0 + σ ε."""

    x_0: Tensor
    r"""$\E[x_0 \mid x_t]$, shape (B, …)."""
    noise: Tensor
    r"""$\E[\varepsilon \mid x_t]$, shape (B, …)."""


class Denoises(Protocol):
    """What samplers and bounds need: a schedule, and a guess for states x_t (B, …) at times (B,) or one for all."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Guess:
        """Guess data and noise."""


Predicts = Literal["noise", "data", "velocity"]
"""How a network's answer is read: as ε, as x_0, or as v = α ε − σ x_0."""

Weight = Literal["plain", "noise", "data", "velocity", "min_snr"]
"""Whose squared error the loss counts; plain: that of the network's own answer."""


class Denoiser(nn.Module):
    r"""One network, read in one of three ways, and the loss that trains it.

    $$\mathcal L = \E_{t,\,x_0,\,\varepsilon}\; w(t)\, \tfrac1D\, \lVert f(x_t, t) - \text{target} \rVert^2, \qquad
    \text{target} \in \{\varepsilon,\ x_0,\ \alpha_t \varepsilon - \sigma_t x_0\}$$

    The three differ by factors that depend on time alone: $\lVert \hat x_0 - x_0 \rVert = \tfrac\sigma\alpha \lVert
    \hat\varepsilon - \varepsilon \rVert$ and $\lVert \hat v - v \rVert = \tfrac{\alpha^2 + \sigma^2}\alpha \lVert
    \hat\varepsilon - \varepsilon \rVert$. So what a network predicts and what the loss weighs are two free choices.

    Args:
        net: ``net(x_t, t)`` or ``net(x_t, t, label)`` with t (B,) → the shape of x_t.
        schedule: of the noise.
        predicts: how its answer is read.
        weight: the squared error that is counted, in whatever way the network answers: ``"noise"`` is Ho's simple loss,
            ``"data"`` gives weight to much noise, ``"velocity"`` evens them out, ``"min_snr"`` is ``"data"`` times
            min(SNR, 5), with SNR = α²/σ². ``"plain"``: the same as `predicts`.
        unconditional: the share of labels that training hides, for guidance.

    Source:
        Tim Salimans, Jonathan Ho (2022), Progressive Distillation for Fast Sampling (velocity); Tiankai Hang and others
        (2023), Efficient Diffusion Training via Min-SNR Weighting Strategy; Jonathan Ho, Tim Salimans (2022),
        Classifier-Free Diffusion Guidance (hidden labels).
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        *,
        predicts: Predicts = "noise",
        weight: Weight = "plain",
        unconditional: float = 0.0,
    ) -> None:
        super().__init__()
        self.net, self.schedule = net, schedule
        self.predicts = require_choice(predicts, "predicts", get_args(Predicts))
        self.weight = require_choice(weight, "weight", get_args(Weight))
        self.unconditional = require_number(unconditional, "unconditional", low=0.0, high=1.0)

    def extra_repr(self) -> str:
        """What the parts do not say."""
        return f"{self.schedule}, predicts={self.predicts}, weight={self.weight}, unconditional={self.unconditional}"

    def answer(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """What the network itself says, of the shape of x_t; arguments as for `forward`."""
        t = t.to(x_t.dtype).expand(len(x_t))
        return self.net(x_t, t) if label is None else self.net(x_t, t, label)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Guess:
        """Guess data and noise.

        Args:
            x_t: noisy states, shape (B, …).
            t: times in (0, 1], one for all or one each, (B,).
            label: classes, int64 (B,), where the network takes any; None: unknown.
        """
        x_t = require(x_t, "x_t", dtype="float")
        (alpha, sigma), out = scales(self.schedule, t, x_t), self.answer(x_t, t, label)
        if self.predicts == "noise":
            return Guess((x_t - sigma * out) / alpha, out)
        if self.predicts == "data":
            return Guess(out, (x_t - alpha * out) / sigma)
        square = alpha**2 + sigma**2  # 1 where the variance is kept
        return Guess((alpha * x_t - sigma * out) / square, (sigma * x_t + alpha * out) / square)

    def errors(self, x_0: Tensor, t: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        r"""The loss of each example at given times and noise: $w(t)\,\tfrac1D \lVert f(x_t, t) - \text{target}\rVert^2$

        Args:
            x_0: data, shape (B, …).
            t: times in (0, 1], (B,) or one for all.
            noise: ε, of the shape of x_0.
            label: as for `forward`.

        Returns:
            Shape (B,).
        """
        alpha, sigma = scales(self.schedule, t, x_0)
        target = {"noise": noise, "data": x_0, "velocity": alpha * noise - sigma * x_0}[self.predicts]
        square = (self.answer(alpha * x_0 + sigma * noise, t, label) - target).square().flatten(1).mean(1)
        if self.weight in ("plain", self.predicts):
            return square
        alpha, sigma = self.schedule(t)
        snr = (alpha / sigma) ** 2
        in_noise = {"noise": torch.ones_like(snr), "data": 1 / snr, "velocity": (alpha**2 + sigma**2) ** 2 / alpha**2}
        in_noise["min_snr"] = snr.clamp(max=5) / snr
        return square * in_noise[self.weight] / in_noise[self.predicts]

    def loss(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The mean of `errors` at random times and noise.

        Args:
            x: data, shape (B, …).
            label: classes, int64 (B,); a share of them, `unconditional`, is replaced by the network's "no class".
        """
        x = require(x, "x", dtype="float")
        t = self.schedule.draw(len(x)).to(x)
        if label is not None and self.unconditional:
            hidden = torch.rand(len(x), device=x.device) < self.unconditional
            label = torch.where(hidden, torch.as_tensor(self.net.classes), label)
        return self.errors(x, t, torch.randn_like(x), label).mean()


class MixtureDenoiser(nn.Module):
    r"""The exact guess where the data are a mixture of normals: nothing is learned, so samplers can be tested on it.

    $$x_0 \sim \sum_k w_k \N(\mu_k, \Sigma_k) \;\Rightarrow\; x_t \sim \sum_k w_k \N(\alpha\mu_k, C_k), \quad
    C_k = \alpha^2 \Sigma_k + \sigma^2 I$$
    $$\E[x_0 \mid x_t] = \sum_k r_k \bigl(\mu_k + \alpha \Sigma_k C_k^{-1} (x_t - \alpha\mu_k)\bigr), \qquad
    \E[\varepsilon \mid x_t] = \sum_k r_k\, \sigma C_k^{-1} (x_t - \alpha\mu_k)$$

    with $r_k$ the probability of component k given $x_t$. A label names the component; a number below 0 or none, all.

    Args:
        schedule: of the noise.
        means: μ, shape (K, D).
        covs: Σ, shape (K, D, D), symmetric, no eigenvalue below 0; or (K,), variances of round components.
        weights: w > 0, shape (K,); brought to sum 1; equal where none are given.
    """

    means: Tensor
    log_weights: Tensor
    spread: Tensor
    axes: Tensor

    def __init__(self, schedule: Schedule, means: Tensor, covs: Tensor, weights: Tensor | None = None) -> None:
        super().__init__()
        self.schedule = schedule
        K, D = require(means, "means", shape="K D", dtype="float").shape
        if covs.dim() == 1:
            covs = require(covs, "covs", shape=f"{K}")[:, None, None] * torch.eye(D).to(covs)
        require(covs, "covs", shape=f"{K} {D} {D}", dtype=means.dtype)
        spread, axes = torch.linalg.eigh(covs)  # Σ = axes · diag(spread) · axesᵀ
        if not torch.allclose(covs, covs.mT) or (spread < -1e-6 * spread.abs().max()).any():
            raise ValueError("covs: expected symmetric matrices without negative eigenvalues")
        weights = torch.ones_like(means[:, 0]) if weights is None else require(weights, "weights", shape=f"{K}")
        if (weights <= 0).any():
            raise ValueError("weights: expected positive numbers, came one that is not")
        self.register_buffer("means", means)
        self.register_buffer("log_weights", (weights / weights.sum()).log().to(means))
        self.register_buffer("spread", spread.clamp(min=0))
        self.register_buffer("axes", axes)

    def _parts(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Coordinates u (B, K, D) of x_t − αμ_k along the axes, their variances, log (w_k · density), α."""
        x_t = require(x_t, "x_t", shape=f"B {self.means.shape[1]}", dtype=self.means.dtype)
        alpha, sigma = (c.expand(len(x_t))[:, None, None] for c in self.schedule(t.to(x_t.dtype)))
        u = torch.einsum("bki,kij->bkj", x_t[:, None] - alpha * self.means, self.axes)
        variance = alpha**2 * self.spread + sigma**2
        nats = -0.5 * (u**2 / variance + (2 * math.pi * variance).log()).sum(-1) + self.log_weights
        if label is not None:
            named = require(label, "label", shape=f"{len(x_t)}", dtype="int", high=len(self.means) - 1)[:, None]
            other = (named >= 0) & (named != torch.arange(len(self.means)))
            nats = (nats - self.log_weights).masked_fill(other, -torch.inf) + self.log_weights * (named < 0)
        return u, variance, nats, alpha

    def log_prob(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Log-density of the noisy states themselves, nats: x_t (B, D), t one or (B,) → (B,)."""
        return self._parts(x_t, t, label)[2].logsumexp(-1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Guess:
        """See `Denoiser.forward`; x_t of shape (B, D)."""
        u, variance, nats, alpha = self._parts(x_t, t, label)
        r = nats.softmax(-1)
        white = u / variance
        noise = self.schedule(t.to(x_t.dtype))[1].expand(len(x_t))[:, None] * self._mean(r, white)
        return Guess(r @ self.means + self._mean(r, alpha * self.spread * white), noise)

    def _mean(self, r: Tensor, along: Tensor) -> Tensor:
        """Vectors (B, K, D) along the axes, turned back and averaged with weights r (B, K): (B, D)."""
        return torch.einsum("bk,bkj,kij->bi", r, along, self.axes)

    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """`n` points of the data themselves: (n, D)."""
        k = torch.multinomial(self.log_weights.exp(), require_count(n, "n"), replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[k] + torch.einsum("bj,bij->bi", self.spread.sqrt()[k] * z, self.axes[k])


def score(denoiser: Denoises, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
    r"""The slope of the log-density of noisy states: $\nabla \log q(x_t) = -\E[\varepsilon \mid x_t] / \sigma_t$.

    Args:
        denoiser: whose guess of the noise is taken for the mean.
        x_t, t, label: as for `Denoiser.forward`.
    """
    return -denoiser(x_t, t, label).noise / scales(denoiser.schedule, t, x_t)[1]


# --- the bound -------------------------------------------------------------------------------------------------


def elbo_terms(
    denoiser: Denoises, x_0: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
) -> Tensor:
    r"""The terms of the bound $-\log p(x_0) \le \sum_{i=0}^T L_i$ for a chain of T steps, one draw of noise for each.

    $$L_T = \KL(q(x_1 \mid x_0) \,\|\, \N(0, I)), \qquad L_0 = -\E \log \N(x_0;\ \hat x_0(x_{1/T}),\ \beta_1 I),$$
    $$L_{i-1} = \E\, \KL(q(x_s \mid x_t, x_0) \,\|\, p(x_s \mid x_t))
    = \E\, \tfrac12 \Bigl(\tfrac{\alpha_s^2}{\sigma_s^2} - \tfrac{\alpha_t^2}{\sigma_t^2}\Bigr)
    \lVert x_0 - \hat x_0(x_t) \rVert^2$$

    for t = i/T, s = (i − 1)/T, i ≥ 2, with the model's step $p(x_s \mid x_t) = q(x_s \mid x_t, \hat x_0)$. The decoder
    $L_0$ takes the variance $\beta_1$, as the first step has no posterior variance of its own.

    Args:
        denoiser: with a schedule that has steps.
        x_0: data, shape (B, …); continuous.
        label: as for the denoiser.
        generator: of the noise.

    Returns:
        Nats, shape (T + 1, B), $L_0$ first. All but the last are estimates: means of many draws tend to the terms.

    Raises:
        ValueError: time has no steps.
    """
    schedule, x_0 = denoiser.schedule, require(x_0, "x_0", dtype="float")
    if not (T := schedule.steps):
        raise ValueError("denoiser: expected a schedule that has steps, such as Linear, came one without")
    times = torch.arange(T + 1, dtype=x_0.dtype, device=x_0.device) / T
    D = x_0[0].numel()
    terms = []
    for s, t in pairwise(times):
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)
        guess = denoiser(diffuse(schedule, x_0, t, noise), t, label).x_0
        square = (x_0 - guess).square().flatten(1).sum(1)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        if s == 0:
            terms.append(0.5 * (square / sigma_t**2 + D * (2 * math.pi * sigma_t**2).log()))
        else:
            terms.append(0.5 * ((alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2) * square)
    alpha, sigma = schedule(times[-1])
    ends = 0.5 * (alpha**2 * x_0.square().flatten(1).sum(1) + D * (sigma**2 - 1 - 2 * sigma.log()))
    return torch.stack([*terms, ends])


# --- the way back ----------------------------------------------------------------------------------------------


class Sampler:
    """Goes from noise to data by steps from time t to an earlier s; a subclass states one `step`.

    Args:
        denoiser: guesses data and noise.
    """

    def __init__(self, denoiser: Denoises) -> None:
        self.denoiser = denoiser

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """States (B, …) at time t → states at time s < t; both float64 numbers, so that x keeps its own dtype."""
        raise NotImplementedError

    def begin(self) -> None:
        """Forget what earlier steps left behind; called before each walk."""

    @torch.no_grad()
    def walk(
        self,
        x: Tensor,
        times: Tensor,
        *,
        label: Tensor | None = None,
        generator: Generator | None = None,
    ) -> list[Tensor]:
        """All states on the way from `x`.

        Args:
            x: states at time times[0], shape (B, …).
            times: falling, within [0, 1], shape (N + 1,); see `even_times`.
            label: classes, (B,), where the denoiser takes any.
            generator: of the noise.

        Returns:
            N + 1 tensors of the shape of x, the first being x itself.
        """
        times = require(times, "times", shape="N", dtype="float", low=0.0, high=1.0).double()
        if len(times) < 2 or (times.diff() >= 0).any():
            raise ValueError("times: expected at least two, each below the one before, came others")
        self.begin()
        states = [require(x, "x", dtype="float")]
        for t, s in pairwise(times):
            states.append(self.step(states[-1], t, s, label=label, generator=generator))
        return states

    @torch.no_grad()
    def sample(
        self,
        shape: Sequence[int],
        times: Tensor,
        *,
        label: Tensor | None = None,
        generator: Generator | None = None,
        batch: int | None = None,
    ) -> Tensor:
        r"""Samples in float32, from noise $\sigma z$ at the first time to the last.

        Args:
            shape: of all samples together, (n, …).
            times, label, generator: as for `walk`.
            batch: how many walk at a time; all where not said. The first noise is the same for any.
        """
        x = torch.randn([require_count(size, "shape") for size in shape], generator=generator)
        _, sigma = self.denoiser.schedule(times[0].double())
        size = len(x) if batch is None else require_count(batch, "batch")
        parts = (sigma * x).split(size)
        labels = [None] * len(parts) if label is None else label.split(size)
        pairs = zip(parts, labels, strict=True)
        return torch.cat([self.walk(a, times, label=b, generator=generator)[-1] for a, b in pairs])


def even_times(steps: int, *, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """`steps` steps of one length from `start` down to `stop`: float64 (steps + 1,).

    >>> even_times(4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    start, stop = require_number(start, "start", low=0.0, high=1.0), require_number(stop, "stop", low=0.0)
    return torch.linspace(start, stop, require_count(steps, "steps") + 1, dtype=torch.float64)


class DDPM(Sampler):
    r"""Ancestral sampling: the posterior of `posterior`, with the guess in the place of the data.

    $$x_s = \mu(x_t, \hat x_0) + \sqrt{V}\,z, \qquad V = \tilde\beta \text{ ("small")} \text{ or } v \text{ ("large")}$$

    The small variance is right where all data are one point, the large one where they are standard normal. No noise is
    added in a step to time 0.

    Args:
        denoiser: guesses data and noise.
        variance: which of the two.
    """

    def __init__(self, denoiser: Denoises, variance: Literal["small", "large"] = "small") -> None:
        super().__init__(denoiser)
        self.variance = require_choice(variance, "variance", ("small", "large"))

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """See `Sampler.step`."""
        mean, variance = posterior(self.denoiser.schedule, x_t, self.denoiser(x_t, t, label).x_0, t, s)
        if s == 0:
            return mean
        if self.variance == "large":
            variance = transition(self.denoiser.schedule, t, s)[1]
        return mean + variance.sqrt() * torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
