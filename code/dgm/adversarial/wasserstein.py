r"""Wasserstein GANs and their kin: distances that do not saturate, and critics that are held to a slope of 1.

    primal     W₁(π, p) = min over plans κ that couple π and p of E_κ ‖x − y‖       how far the mass must be carried
    dual       W₁(π, p) = max over 1-Lipschitz f of E_π f − E_p f                    what a critic can estimate
    f-GAN      D_f(π ‖ p) = E_p f(π/p) = max over T of E_π T − E_p f*(T)             another critic for each convex f

Sources: Martin Arjovsky, Soumith Chintala, Léon Bottou (2017), Wasserstein GAN; Ishaan Gulrajani, Faruk Ahmed, Martin
Arjovsky, Vincent Dumoulin, Aaron Courville (2017), Improved Training of Wasserstein GANs; Takeru Miyato, Toshiki
Kataoka, Masanori Koyama, Yuichi Yoshida (2018), Spectral Normalization for Generative Adversarial Networks; Sebastian
Nowozin, Botond Cseke, Ryota Tomioka (2016), f-GAN: Training Generative Neural Samplers using Variational Divergence
Minimization.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.adversarial.gan import Losses, mean_loss
from dgm.checks import require, require_choice, require_count, require_number

Critic = Callable[[Tensor], Tensor]

# --- the distance, exactly -------------------------------------------------------------------------------------


def wasserstein_1d(x: Tensor, y: Tensor) -> Tensor:
    r"""$W_1$ of two clouds of equally many numbers: sorted, the first goes to the first, the last to the last.

    $$W_1 = \tfrac1n \sum_i |x_{(i)} - y_{(i)}|$$

    Args:
        x, y: shape (N,).

    >>> wasserstein_1d(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([5.0, 6.0, 8.0]))
    tensor(5.)
    """
    x = require(x, "x", shape="N", dtype="float")
    y = require(y, "y", shape=f"{len(x)}", dtype="float")
    return (x.sort().values - y.sort().values).abs().mean()


class Transport(NamedTuple):
    """The cheapest way to carry one cloud to another."""

    distance: float
    """$W_1$, the mean length of way."""
    plan: Tensor
    r"""$\kappa$: how much mass goes from x_i to y_j, float64 (N, M); rows sum to x's masses, columns to y's."""
    potentials: tuple[Tensor, Tensor]
    r"""Of the dual problem, float64: u (N,), v (M,) with $u_i + v_j \le \lVert x_i - y_j \rVert$."""
    critic: Critic
    r"""A best 1-Lipschitz critic: float64 points (B, D) -> (B,), of $\E_x f - \E_y f = W_1$."""


def optimal_transport(x: Tensor, y: Tensor, *, x_mass: Tensor | None = None, y_mass: Tensor | None = None) -> Transport:
    r"""$W_1$ between two clouds by linear programming, with the plan and the critic of the dual problem.

    $$\min_{\kappa \ge 0} \sum_{ij} \kappa_{ij} \lVert x_i - y_j \rVert \text{ with } \kappa 1 = \pi,\
    \kappa^\top 1 = p, \qquad \max_{u, v} \sum_i \pi_i u_i + \sum_j p_j v_j \text{ with }
    u_i + v_j \le \lVert x_i - y_j \rVert$$

    The critic is $f(\x) = \min_j \lVert \x - y_j \rVert - v_j$: a minimum of functions of slope 1 has slope 1.

    Args:
        x: shape (N, D).
        y: shape (M, D); time and memory grow with N·M, some hundreds each are fine.
        x_mass: $\pi$, how much lies at each x, (N,), not negative, of sum 1; 1/N each where none is given.
        y_mass: p, the same for y, (M,).

    Raises:
        ImportError: SciPy is missing; the message holds the line that installs it.

    Source: Leonid Kantorovich (1942), On the translocation of masses.

    >>> found = optimal_transport(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    >>> round(found.distance, 12), found.critic(torch.tensor([[0.0], [2.0]]))
    (2.0, tensor([3., 1.], dtype=torch.float64))
    """
    x = require(x, "x", shape="N D", dtype="float").detach().double()
    y = require(y, "y", shape=f"M {x.shape[1]}", dtype="float").detach().double()
    mass = torch.cat([_mass(x_mass, "x_mass", len(x)), _mass(y_mass, "y_mass", len(y))])
    try:
        from scipy.optimize import linprog
        from scipy.sparse import eye_array, kron, vstack
    except ImportError:
        raise ImportError('the linear program needs the package SciPy: pip install "dgm-book[metrics]"') from None
    N, M = len(x), len(y)
    cost = _distances(x, y)
    one = [[1.0] * N], [[1.0] * M]
    marginals = vstack([kron(eye_array(N), one[1]), kron(one[0], eye_array(M))])
    found = linprog(cost.flatten().numpy(), A_eq=marginals, b_eq=mass.numpy(), method="highs")
    if not found.success:
        raise RuntimeError(f"the linear program of {N} × {M} points was not solved: {found.message}")
    u, v = torch.from_numpy(found.eqlin.marginals.copy()).split([N, M])
    shift = v.max()  # a constant more on one side and less on the other changes nothing
    u, v = u + shift, v - shift

    def critic(points: Tensor) -> Tensor:
        points = require(points, "points", shape=f"B {x.shape[1]}", dtype="float").double()
        return (_distances(points, y) - v).amin(1)

    return Transport(float(found.fun), torch.from_numpy(found.x).reshape(N, M), (u, v), critic)


def _mass(mass: Tensor | None, name: str, count: int) -> Tensor:
    """Masses (count,) of sum 1 in float64."""
    if mass is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    mass = require(mass, name, shape=f"{count}", dtype="float", low=0.0).detach().double()
    if (mass.sum() - 1).abs() > 1e-6:
        raise ValueError(f"{name}: expected masses of sum 1, came {mass.sum():g}")
    return mass / mass.sum()


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances (N, M), taken by differences: no digits are lost between near points."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


# --- critics with a bounded slope ------------------------------------------------------------------------------


def wasserstein_critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""$\E_p f - \E_\pi f$: minus the dual's value. Without a bound on the slope of f it has no lowest value.

    Args:
        real_logits, fake_logits: f at data and at samples, any real numbers, (B,) and (B',).
    """
    real = require(real_logits, "real_logits", shape="B", dtype="float")
    return require(fake_logits, "fake_logits", shape="B", dtype="float").mean() - real.mean()


WASSERSTEIN = Losses(wasserstein_critic_loss, mean_loss)


@torch.no_grad()
def steepest(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    r"""The steepest rise from y to x: $s = \max_{ij} \frac{f(x_i) - f(y_j)}{\lVert x_i - y_j \rVert}$.

    Whatever f is, $\E_x f - \E_y f \le s\,W_1$, for no pair of a plan rises by more than s times its distance. So the
    value of a critic divided by s > 0 is a lower bound on $W_1$ of the two clouds, and the best critic reaches it.

    Args:
        critic: from (B, …) to (B,) or (B, 1).
        x: shape (N, …).
        y: shape (M, …); no point of x and y may coincide.
    """
    x, y = require(x, "x", dtype="float"), require(y, "y", dtype="float")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"y: expected examples of shape {tuple(x.shape[1:])}, came {tuple(y.shape[1:])}")
    apart = _distances(x.flatten(1), y.flatten(1))
    if not apart.all():
        raise ValueError("y: expected no point that is also in x")
    return ((critic(x).reshape(-1, 1) - critic(y).reshape(1, -1)) / apart).max()


@torch.no_grad()
def clip_weights(net: nn.Module, bound: float = 0.01) -> None:
    r"""Cut every parameter to $[-c, c]$: some bound on the slope, seldom near the slope itself.

    Args:
        net: the critic, changed in place.
        bound: c.
    """
    bound = require_number(bound, "bound", low=0.0, open_low=True)
    for parameter in net.parameters():
        parameter.clamp_(-bound, bound)


def slopes(critic: Critic, x: Tensor) -> Tensor:
    r"""$\lVert \nabla f(\x) \rVert$ at each point, (B,); a gradient passes through it.

    Args:
        critic: from (B, …) to (B,) or (B, 1), each example on its own.
        x: points (B, …).
    """
    with torch.enable_grad():
        x = require(x, "x", dtype="float")
        x = x if x.requires_grad else x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    # The norm of a zero gradient has no slope; a sum of squares under the root with ε does.
    return (gradient.flatten(1).square().sum(1) + 1e-24).sqrt()


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, *, weight: float = 10.0, share: Tensor | None = None
) -> Tensor:
    r"""WGAN-GP: $\lambda\, \E_{\x_t} (\lVert \nabla f(\x_t) \rVert - 1)^2$ at $\x_t = t\x + (1 - t)\y$.

    Args:
        critic: f, each example on its own (no batch normalisation).
        real, fake: $\x$ and $\y$, one shape (B, …), paired row by row.
        weight: λ.
        share: t of each pair, (B,); uniform draws where none is given.

    Returns:
        A scalar.
    """
    real = require(real, "real", dtype="float")
    fake = require(fake, "fake", shape=real.shape, dtype="float")
    t = torch.rand(len(real), dtype=real.dtype, device=real.device) if share is None else share
    t = require(t, "share", shape=f"{len(real)}", dtype="float", low=0.0, high=1.0)
    between = torch.lerp(fake, real, t.reshape(-1, *[1] * (real.dim() - 1)))
    return require_number(weight, "weight", low=0.0) * (slopes(critic, between) - 1).square().mean()


@torch.no_grad()
def power_iteration(W: Tensor, u: Tensor, steps: int = 1) -> tuple[Tensor, Tensor]:
    r"""Estimate the largest singular value: $v \leftarrow W^\top u / |\cdot|$, $u \leftarrow W v / |\cdot|$.

    Args:
        W: shape (N, M).
        u: a start, shape (N,), not orthogonal to the first left singular vector.
        steps: how often.

    Returns:
        $\sigma = u^\top W v$, never above the largest singular value, and u, (N,), from which to go on.

    >>> sigma, u = power_iteration(torch.diag(torch.tensor([3.0, 1.0])), torch.tensor([0.6, 0.8]), steps=20)
    >>> sigma
    tensor(3.)
    """
    W = require(W, "W", shape="N M", dtype="float")
    u = require(u, "u", shape=f"{len(W)}", dtype="float")
    for _ in range(require_count(steps, "steps")):
        v = F.normalize(W.T @ u, dim=0)
        u = F.normalize(W @ v, dim=0)
    return u @ W @ v, u


def spectrally_normalised(net: nn.Module) -> nn.Module:
    r"""Divide the weight of every linear and convolutional layer by its estimated spectral norm, at each use.

    With activations of slope at most 1 a chain of linear layers then has a slope of at most about 1. (Of a convolution
    torch takes the norm of its kernel as a matrix, which is not exactly that of the convolution.)

    Args:
        net: changed in place and returned.
    """
    for layer in list(net.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.utils.parametrizations.spectral_norm(layer)
    return net


# --- f-divergences ---------------------------------------------------------------------------------------------


class FDivergence(NamedTuple):
    r"""A divergence $D_f(\pi \,\Vert\, p) = \E_p f(\pi / p)$ and what its critic needs."""

    f: Callable[[Tensor], Tensor]
    """Convex, f(1) = 0 up to a constant that is stated, on u > 0."""
    slope: Callable[[Tensor], Tensor]
    """f′: the best critic is f′(π/p)."""
    conjugate: Callable[[Tensor], Tensor]
    """f*(t) = max over u of u·t − f(u)."""
    output: Callable[[Tensor], Tensor]
    """From any real number to where f* is finite: the critic's last activation."""


DIVERGENCES: dict[str, FDivergence] = {
    "kl": FDivergence(
        f=lambda u: u * u.log(),
        slope=lambda u: 1 + u.log(),
        conjugate=lambda t: torch.exp(t - 1),
        output=lambda v: v,
    ),
    "reverse_kl": FDivergence(
        f=lambda u: -u.log(),
        slope=lambda u: -1 / u,
        conjugate=lambda t: -1 - torch.log(-t),
        output=lambda v: -torch.exp(-v),
    ),
    "pearson": FDivergence(  # the conjugate over all real u; over u ≥ 0 it would be −1 below t = −2
        f=lambda u: (u - 1).square(),
        slope=lambda u: 2 * (u - 1),
        conjugate=lambda t: 0.25 * t.square() + t,
        output=lambda v: v,
    ),
    "hellinger": FDivergence(
        f=lambda u: (u.sqrt() - 1).square(),
        slope=lambda u: 1 - u.rsqrt(),
        conjugate=lambda t: t / (1 - t),
        output=lambda v: -torch.expm1(-v),
    ),
    "gan": FDivergence(  # 2 JSD − 2 log 2: the value of the first GAN
        f=lambda u: u * u.log() - (1 + u) * torch.log1p(u),
        slope=lambda u: -torch.log1p(1 / u),
        conjugate=lambda t: -torch.log(-torch.expm1(t)),
        output=lambda v: F.logsigmoid(v),
    ),
}
"""By name; `kl` is the forward KL, KL(π ‖ p)."""


def f_divergence(name: str, log_pi: Tensor, log_p: Tensor, x: Tensor) -> Tensor:
    r"""$D_f(\pi \,\Vert\, p) = \int p\, f(\pi / p) \,\dd x$ on the line by the trapezium rule.

    Args:
        name: one of `DIVERGENCES`.
        log_pi, log_p: log-densities at the grid's points, shape (G,).
        x: the grid, rising, shape (G,).
    """
    f = DIVERGENCES[require_choice(name, "name", DIVERGENCES)].f
    x = require(x, "x", shape="G", dtype="float")
    log_pi = require(log_pi, "log_pi", shape=f"{len(x)}", dtype="float")
    log_p = require(log_p, "log_p", shape=f"{len(x)}", dtype="float")
    return torch.trapezoid(log_p.exp() * f((log_pi - log_p).exp()), x)


def f_gan(name: str) -> Losses:
    r"""The game of an f-divergence: the critic raises $\E_\pi T - \E_p f^*(T)$, the generator lowers $-\E_p f^*(T)$.

    Args:
        name: one of `DIVERGENCES`; T is its `output` of the critic's logits. With ``"gan"`` the critic's loss is that
            of the first GAN.
    """
    which = DIVERGENCES[require_choice(name, "name", DIVERGENCES)]

    def critic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real = require(real_logits, "real_logits", shape="B", dtype="float")
        fake = require(fake_logits, "fake_logits", shape="B", dtype="float")
        return which.conjugate(which.output(fake)).mean() - which.output(real).mean()

    def generator(fake_logits: Tensor) -> Tensor:
        fake = require(fake_logits, "fake_logits", shape="B", dtype="float")
        return -which.conjugate(which.output(fake)).mean()

    return Losses(critic, generator)
