r"""From a thousand steps to ten: other ways from noise to data with the denoiser as it was trained; and wishes.

    DDIM           x_s = α_s x̂_0 + √(σ_s² − V) ε̂ + √V z,   V = η² β̃        η = 1 is DDPM, η = 0 leaves no chance
    ODE            d(x/α) / d(σ/α) = ε̂(x, t)                                 Euler is DDIM with η = 0, Heun of order 2
                   d(x/r) / dφ = ε̂ cos φ − x̂_0 sin φ, tan φ = σ/α            the same curve, and no step is long
    DPM-Solver++   a line through the last two guesses of x_0 over log(α/σ), the rest solved exactly
    guidance       ε̂(x, none) + γ (ε̂(x, label) − ε̂(x, none))                γ = 1 is off

DDIM with η = 0, Euler, Heun and DPM-Solver++ follow one curve, the probability-flow ODE: each noise has its sample.

Sources: Jiaming Song, Chenlin Meng, Stefano Ermon (2021), Denoising Diffusion Implicit Models; Yang Song, Jascha
Sohl-Dickstein, Diederik Kingma, Abhishek Kumar, Stefano Ermon, Ben Poole (2021), Score-Based Generative Modeling
through Stochastic Differential Equations; Tero Karras, Miika Aittala, Timo Aila, Samuli Laine (2022), Elucidating the
Design Space of Diffusion-Based Generative Models; Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li, Jun Zhu
(2022), DPM-Solver++; Jonathan Ho, Tim Salimans (2022), Classifier-Free Diffusion Guidance.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from dgm.checks import require, require_choice, require_number
from dgm.diffusion.ddpm import Denoises, Guess, Sampler, Schedule, posterior, scales

# --- one process, many kernels ---------------------------------------------------------------------------------


def bridge(
    schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 0.0
) -> tuple[Tensor, Tensor]:
    r"""DDIM's step back if the data were known: $q_\eta(x_s \mid x_t, x_0) = \N(\mu, V I)$.

    $$\mu = \alpha_s x_0 + \sqrt{\sigma_s^2 - V}\;\varepsilon, \qquad \varepsilon = \frac{x_t - \alpha_t x_0}{\sigma_t},
    \qquad V = \eta^2 \tilde\beta$$

    All η have the same $q(x_s \mid x_0) = \N(\alpha_s x_0, \sigma_s^2 I)$; η = 1 is `posterior`.

    Args:
        schedule: says α and σ.
        x_t, x_0: the noisy state and the data, shape (B, …).
        t, s: times, s < t, one for all.
        eta: η in [0, 1].

    Returns:
        μ of the shape of x_t, and V, a number.
    """
    eta = require_number(eta, "eta", low=0.0, high=1.0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    V = eta**2 * posterior(schedule, x_t, x_0, t, s)[1]
    return alpha_s * x_0 + (sigma_s**2 - V).clamp(min=0).sqrt() * (x_t - alpha_t * x_0) / sigma_t, V


class DDIM(Sampler):
    """The step of `bridge` with the guess in the place of the data.

    Args:
        denoiser: guesses data and noise.
        eta: 0 for no chance after the first noise, 1 for DDPM with its small variance.
    """

    def __init__(self, denoiser: Denoises, eta: float = 0.0) -> None:
        super().__init__(denoiser)
        self.eta = require_number(eta, "eta", low=0.0, high=1.0)

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """See `Sampler.step`."""
        mean, V = bridge(self.denoiser.schedule, x_t, self.denoiser(x_t, t, label).x_0, t, s, self.eta)
        if V == 0:
            return mean
        return mean + V.sqrt() * torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)


# --- one curve, many solvers -----------------------------------------------------------------------------------


def sde(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""The process in continuous time, $\dd x = f\,x\,\dd t + g\,\dd w$, whose marginals the schedule states.

    $$f = \alpha'/\alpha, \qquad g^2 = (\sigma^2)' - 2 f \sigma^2$$

    Args:
        schedule: says α and σ.
        t: times in (0, 1], any shape.

    Returns:
        f and g², of that shape.
    """
    (alpha, sigma), (fall, rate) = schedule(t), schedule.slopes(t)
    f = fall / alpha
    return f, 2 * sigma * (rate - f * sigma)


Coordinates = Literal["ratio", "angle", "time"]
"""Along which lines a solver steps; see `Euler`."""


class Euler(Sampler):
    r"""Straight steps along the slope at their start, on the probability-flow ODE.

    $$\text{"ratio": } \frac{\dd}{\dd\rho} \frac{x}{\alpha} = \hat\varepsilon, \quad \rho = \sigma/\alpha, \qquad
    \text{"angle": } \frac{\dd}{\dd\phi} \frac{x}{r} = \frac{\alpha \hat\varepsilon - \sigma \hat x_0}{r}, \quad
    \tan\phi = \rho,\ r^2 = \alpha^2 + \sigma^2$$
    $$\text{"time": } \frac{\dd x}{\dd t} = \alpha'\,\hat x_0 + \sigma'\,\hat\varepsilon$$

    It is one curve; the coordinates say along which lines a step goes. In the ratio ρ, where the slope is the guess
    itself, the step is DDIM's with η = 0. In the angle, which is at most π/2, and in time it is another.

    Args:
        denoiser: guesses data and noise.
        coordinates: of the steps.
    """

    def __init__(self, denoiser: Denoises, coordinates: Coordinates = "ratio") -> None:
        super().__init__(denoiser)
        self.coordinates = require_choice(coordinates, "coordinates", get_args(Coordinates))

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The unit in which x is measured at time t, and where on the line t lies."""
        if self.coordinates == "time":
            return torch.ones_like(t), t
        alpha, sigma = self.denoiser.schedule(t)
        return (alpha, sigma / alpha) if self.coordinates == "ratio" else (alpha.hypot(sigma), sigma.atan2(alpha))

    def _slope(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        guess = self.denoiser(x, t, label)
        if self.coordinates == "ratio":
            return guess.noise
        if self.coordinates == "angle":
            alpha, sigma = self.denoiser.schedule(t)
            return (alpha * guess.noise - sigma * guess.x_0) / alpha.hypot(sigma)
        fall, rate = self.denoiser.schedule.slopes(t)
        return fall * guess.x_0 + rate * guess.noise

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """See `Sampler.step`; no noise is drawn."""
        (unit_t, here), (unit_s, there) = self._place(t), self._place(s)
        return unit_s * (x_t / unit_t + (there - here) * self._slope(x_t, t, label))


class Heun(Euler):
    r"""A step with the mean of two slopes, at its start and where Euler's step would end: two guesses a step.

    A step to time 0 is Euler's: where there is no noise, there is none to guess. The mean of two slopes is only as good
    as the step is short. In the ratio a step down from $\alpha_1 \approx 0$, as `Cosine` has it, is thousands long, and
    the states explode; in the angle no step is long, so it is the default here.

    Args:
        denoiser: guesses data and noise.
        coordinates: of the steps; the ratio is that of Karras and others, who start at ρ = 80.
    """

    def __init__(self, denoiser: Denoises, coordinates: Coordinates = "angle") -> None:
        super().__init__(denoiser, coordinates)

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """See `Sampler.step`; no noise is drawn."""
        (unit_t, here), (unit_s, there) = self._place(t), self._place(s)
        slope = self._slope(x_t, t, label)
        end = unit_s * (x_t / unit_t + (there - here) * slope)
        if s == 0:
            return end
        return unit_s * (x_t / unit_t + (there - here) * (slope + self._slope(end, s, label)) / 2)


class DPMSolver(Sampler):
    r"""DPM-Solver++(2M): a line through this guess of $x_0$ and the one before, over $\lambda = \log(\alpha/\sigma)$.

    $$x_s = \frac{\sigma_s}{\sigma_t} x_t - \alpha_s (e^{-h} - 1)\,D, \qquad
    D = \hat x_0(x_t) + \frac{h}{2 h'} \bigl(\hat x_0(x_t) - \hat x_0(x_{t'})\bigr)$$

    with $h = \lambda_s - \lambda_t$ and $h' = \lambda_t - \lambda_{t'}$ for the time t′ of the step before. One guess a
    step, and of order 2 like Heun's. The first step, and one to time 0, take D = x̂_0, which is DDIM with η = 0.
    """

    _before: tuple[Tensor, Tensor] | None = None  # λ and the guess of x_0 of the step before

    def begin(self) -> None:
        """See `Sampler.begin`."""
        self._before = None

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, *, label: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """See `Sampler.step`; no noise is drawn. Steps of one walk have to be taken in their order."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.denoiser.schedule(t), self.denoiser.schedule(s)
        lam_t, lam_s = (alpha_t / sigma_t).log(), (alpha_s / sigma_s).log()
        guess = D = self.denoiser(x_t, t, label).x_0
        if self._before is not None and s > 0:
            lam_before, x_0_before = self._before
            D = guess + (lam_s - lam_t) / (2 * (lam_t - lam_before)) * (guess - x_0_before)
        self._before = lam_t, guess
        return sigma_s / sigma_t * x_t - alpha_s * torch.expm1(lam_t - lam_s) * D


def log_prob_ode(denoiser: Denoises, x: Tensor, times: Tensor, *, label: Tensor | None = None) -> Tensor:
    r"""The log-density of what the ODE makes of noise, at states `x`: up the curve, and count how volumes change.

    $$\log p_t(x) = \log \N(x_1;\, 0, \sigma_1^2 I) + D \log\frac{r_1}{r_t} + \int_{\phi_t}^{\phi_1}
    \operatorname{div}_u\, (\hat\varepsilon \cos\phi - \hat x_0 \sin\phi)\,\dd\phi, \qquad u = x/r$$

    with r and φ as for `Euler` in the angle. Heun's steps carry u and the integral; the divergence is exact, by D
    passes backward.

    Args:
        denoiser: differentiable in x.
        x: states at the first of the times, shape (B, D). At time 0 a network was never trained: begin at t = 1/T,
            where the density is that of data with the noise of the first step.
        times: rising, in (0, 1], shape (N + 1,), up to where the states are noise of variance σ², as they are at 1.
        label: classes, (B,), where the denoiser takes any.

    Returns:
        Nats, shape (B,).
    """
    x = require(x, "x", shape="B D", dtype="float")
    times = require(times, "times", shape="N", dtype="float", low=0.0, high=1.0).double()
    if len(times) < 2 or (times.diff() <= 0).any() or times[0] == 0:
        raise ValueError("times: expected at least two, above 0 and each above the one before, came others")
    D, curve = x.shape[1], Heun(denoiser)

    def slope(u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            v = curve._slope(curve._place(t)[0] * u, t, label)
            rows = [torch.autograd.grad(v[:, i].sum(), u, retain_graph=i + 1 < D)[0][:, i] for i in range(D)]
        return v.detach(), torch.stack(rows).sum(0)

    (first, _), (last, _) = curve._place(times[0]), curve._place(times[-1])
    u, total = (x / first).detach(), x.new_zeros(len(x))
    for t, s in pairwise(times):
        length = curve._place(s)[1] - curve._place(t)[1]
        v, growth = slope(u, t)
        v_end, growth_end = slope(u + length * v, s)
        u = u + length * (v + v_end) / 2
        total = total + length * (growth + growth_end) / 2
    spread = denoiser.schedule(times[-1])[1]
    end = -0.5 * (last * u / spread).square().sum(1) - D * (spread.log() + 0.5 * math.log(2 * math.pi))
    return end + D * (last / first).log() + total


# --- wishes ----------------------------------------------------------------------------------------------------


class Guided(nn.Module):
    r"""Classifier-free guidance, a denoiser around a denoiser: from the guess without the label past that with it.

    $$\hat\varepsilon_\gamma = \hat\varepsilon(x, \text{none})
    + \gamma\,\bigl(\hat\varepsilon(x, y) - \hat\varepsilon(x, \text{none})\bigr)$$

    γ = 1 is the denoiser itself, γ = 0 ignores the label. (Some papers write 1 + w, so that 0 is off.)

    Args:
        denoiser: one that was trained with labels and without.
        scale: γ.
    """

    def __init__(self, denoiser: Denoises, scale: float = 1.0) -> None:
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.scale = require_number(scale, "scale", low=0.0)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Guess:
        """See `Denoiser.forward`; without a label there is nothing to follow."""
        if label is None:
            raise ValueError("label: expected the classes to guide to, came None")
        wished = self.denoiser(x_t, t, label)
        if self.scale == 1:
            return wished
        free = self.denoiser(x_t, t, None)
        return Guess(*(a + self.scale * (b - a) for a, b in zip(free, wished, strict=True)))


class Clipped(nn.Module):
    """A denoiser whose guess of the data is kept within the range that data have; the guess of the noise follows.

    Args:
        denoiser: any.
        low, high: the range.
    """

    def __init__(self, denoiser: Denoises, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.low = require_number(low, "low")
        self.high = require_number(high, "high", low=self.low, open_low=True)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Guess:
        """See `Denoiser.forward`."""
        x_0 = self.denoiser(x_t, t, label).x_0.clamp(self.low, self.high)
        alpha, sigma = scales(self.schedule, t, x_t)
        return Guess(x_0, (x_t - alpha * x_0) / sigma)
