r"""Generative adversarial networks (GAN): a generator learns from a critic that learns to tell its samples from data.

    generator  z ~ N(0, I),  x = G(z)                     a law of x that can be drawn from and has no formula
    critic     D(x) = sigmoid(logit(x))                   the probability that x is data and no sample
    value      V(D, G) = E_π log D(x) + E_z log(1 − D(G(z)))          the critic raises it, the generator lowers it
    optimum    D* = π / (π + p),   V(D*, G) = 2 JSD(π, p) − 2 log 2

Sources: Ian Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, Aaron Courville,
Yoshua Bengio (2014), Generative Adversarial Nets; Alec Radford, Luke Metz, Soumith Chintala (2016), Unsupervised
Representation Learning with Deep Convolutional Generative Adversarial Networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dgm.checks import require, require_choice, require_count, require_number

# --- the maths: the best critic and what the game is worth -----------------------------------------------------


def optimal_discriminator(log_pi: Tensor, log_p: Tensor) -> Tensor:
    r"""The best critic against a generator that stands still, from the log-densities of data and samples.

    $$D^*(\x) = \frac{\pi(\x)}{\pi(\x) + p(\x)} = \operatorname{sigmoid}\bigl(\log \pi(\x) - \log p(\x)\bigr)$$

    Args:
        log_pi, log_p: nats, one shape.

    Returns:
        Probabilities of that shape.

    >>> optimal_discriminator(torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3)]))
    tensor([0.5000, 0.2500])
    """
    log_pi, log_p = require(log_pi, "log_pi", dtype="float"), require(log_p, "log_p", dtype="float")
    if log_pi.shape != log_p.shape:
        raise ValueError(f"log_p: expected the shape of log_pi {tuple(log_pi.shape)}, came {tuple(log_p.shape)}")
    return torch.sigmoid(log_pi - log_p)


def game_value(logits: Tensor, log_pi: Tensor, log_p: Tensor, x: Tensor) -> Tensor:
    r"""The value of a critic on the line by the trapezium rule: $\int \pi \log D + p \log(1 - D) \,\dd x$, nats.

    Args:
        logits: of the critic at the grid's points, $\log \frac{D}{1 - D}$, shape (G,).
        log_pi, log_p: log-densities of data and samples there, shape (G,).
        x: the grid, rising, shape (G,).
    """
    x = require(x, "x", shape="G", dtype="float")
    columns = [
        require(t, name, shape=f"{len(x)}", dtype="float")
        for t, name in ((logits, "logits"), (log_pi, "log_pi"), (log_p, "log_p"))
    ]
    logits, log_pi, log_p = columns
    return torch.trapezoid(log_pi.exp() * F.logsigmoid(logits) + log_p.exp() * F.logsigmoid(-logits), x)


def optimal_least_squares_critic(log_pi: Tensor, log_p: Tensor, *, a: float = 0.0, b: float = 1.0) -> Tensor:
    r"""LSGAN's best critic against a generator that stands still: the mean of the targets, weighted by the densities.

    $$D^*(\x) = \frac{b\,\pi(\x) + a\,p(\x)}{\pi(\x) + p(\x)}$$

    Args:
        log_pi, log_p: nats, one shape.
        a, b: targets for samples and for data.

    Returns:
        Numbers between a and b, of that shape.

    >>> optimal_least_squares_critic(torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3)]), a=-1, b=1)
    tensor([ 0.0000, -0.5000])
    """
    a, b = require_number(a, "a"), require_number(b, "b")
    return a + (b - a) * optimal_discriminator(log_pi, log_p)


@torch.no_grad()
def line_density(generator: Callable[[Tensor], Tensor], edges: Tensor, *, points: int = 50_000) -> Tensor:
    r"""The density of $G(z)$, $z \sim \N(0, 1)$, on the line, as a histogram without noise.

    The z are not drawn: they are the middle quantiles $\Phi^{-1}\bigl(\frac{i - 1/2}{N}\bigr)$, equally probable.

    Args:
        generator: from (N, 1) to (N, 1).
        edges: of the bins, rising, shape (K + 1,).
        points: N.

    Returns:
        Mass over width of each bin, (K,); samples outside of all bins are in none.

    >>> line_density(lambda z: 2 * z, torch.tensor([-2.0, 0.0, 2.0]))  # half of P(|z| < 1) = 0.6827 in each, width 2
    tensor([0.1707, 0.1707])
    """
    edges = require(edges, "edges", shape="K", dtype="float")
    if len(edges) < 2 or (edges.diff() <= 0).any():
        raise ValueError("edges: expected at least two numbers in rising order")
    N = require_count(points, "points")
    z = torch.special.ndtri((torch.arange(N, dtype=torch.float64) + 0.5) / N).to(edges.dtype)
    x = require(generator(z[:, None]), "generator(z)", shape=f"{N} 1", dtype="float")[:, 0]
    below = torch.searchsorted(x.sort().values, edges)  # how many samples lie below each edge
    return below.diff() / (N * edges.diff())


# --- why a game need not converge ------------------------------------------------------------------------------

RULES = ("simultaneous", "alternating", "extragradient")


def bilinear_orbit(
    eta: float, steps: int, *, rule: str = "simultaneous", start: Sequence[float] = (1.0, 0.0)
) -> Tensor:
    r"""The way of two players in $\min_u \max_v uv$ by gradient steps of size η; the only equilibrium is (0, 0).

    $$u \leftarrow u - \eta v, \qquad v \leftarrow v + \eta u$$

    Simultaneous steps multiply the distance from (0, 0) by $\sqrt{1 + \eta^2}$. Alternating ones (v sees the new u) go
    round. Extragradient ones (slopes are taken where a trial step would lead) multiply it by
    $\sqrt{1 - \eta^2 + \eta^4}$.

    Args:
        eta: the step size.
        steps: how many.
        rule: one of `RULES`.
        start: u and v.

    Returns:
        float64 (steps + 1, 2).

    Source:
        Galina Korpelevich (1976), The extragradient method for finding saddle points and other problems.

    >>> bilinear_orbit(1.0, 2)
    tensor([[1., 0.],
            [1., 1.],
            [0., 2.]], dtype=torch.float64)
    """
    eta = require_number(eta, "eta")
    require_choice(rule, "rule", RULES)
    u, v = (require_number(value, "start") for value in start)
    orbit = [(u, v)]
    for _ in range(require_count(steps, "steps")):
        if rule == "alternating":
            u = u - eta * v
            v = v + eta * u
        else:
            at_u, at_v = (u - eta * v, v + eta * u) if rule == "extragradient" else (u, v)
            u, v = u - eta * at_v, v + eta * at_u
        orbit.append((u, v))
    return torch.tensor(orbit, dtype=torch.float64)


# --- losses: of the critic (real_logits, fake_logits) -> scalar, of the generator (fake_logits) -> scalar ------


class Losses(NamedTuple):
    """What the two players lower."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """(real_logits, fake_logits) -> scalar."""
    generator: Callable[[Tensor], Tensor]
    """(fake_logits) -> scalar."""


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Cross-entropy of telling data from samples, $-\E_\pi \log D - \E_p \log(1 - D)$: minus the value, in nats.

    Args:
        real_logits, fake_logits: $\log \frac{D}{1 - D}$ at data and at samples, (B,) and (B',).

    >>> discriminator_loss(torch.zeros(3), torch.zeros(3))  # a critic that knows nothing: 2 log 2
    tensor(1.3863)
    """
    real, fake = _logits(real_logits, "real_logits"), _logits(fake_logits, "fake_logits")
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def saturating_loss(fake_logits: Tensor) -> Tensor:
    r"""The generator's side of the minimax game, $\E_p \log(1 - D)$; its slope by the logit is $-D$: none at $D = 0$.

    Args:
        fake_logits: (B,).
    """
    return -F.softplus(_logits(fake_logits, "fake_logits")).mean()


def non_saturating_loss(fake_logits: Tensor) -> Tensor:
    r"""What a generator lowers in practice, $-\E_p \log D$; its slope by the logit is $D - 1$: full at $D = 0$.

    Args:
        fake_logits: (B,).
    """
    return F.softplus(-_logits(fake_logits, "fake_logits")).mean()


def least_squares_critic_loss(
    real_logits: Tensor, fake_logits: Tensor, *, fake_target: float = 0.0, real_target: float = 1.0
) -> Tensor:
    r"""LSGAN's critic, $\frac12 \E_\pi (D - b)^2 + \frac12 \E_p (D - a)^2$; its optimum is $\frac{b\pi + ap}{\pi + p}$.

    Args:
        real_logits, fake_logits: the critic's output D itself, any real number, (B,) and (B',).
        fake_target, real_target: a and b.

    Source: Xudong Mao, Qing Li, Haoran Xie, Raymond Lau, Zhen Wang, Stephen Paul Smolley (2017), Least Squares
    Generative Adversarial Networks.
    """
    real, fake = _logits(real_logits, "real_logits"), _logits(fake_logits, "fake_logits")
    return 0.5 * (real - real_target).square().mean() + 0.5 * (fake - fake_target).square().mean()


def least_squares_generator_loss(fake_logits: Tensor, *, target: float = 1.0) -> Tensor:
    r"""LSGAN's generator, $\frac12 \E_p (D - c)^2$.

    Args:
        fake_logits: the critic's output D itself, (B,).
        target: c, what the generator wants the critic to say.
    """
    return 0.5 * (_logits(fake_logits, "fake_logits") - target).square().mean()


def hinge_critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""$\E_\pi \max(0, 1 - f) + \E_p \max(0, 1 + f)$: only examples on the wrong side of their margin count.

    Args:
        real_logits, fake_logits: the critic's output f, (B,) and (B',).

    Source: Jae Hyun Lim, Jong Chul Ye (2017), Geometric GAN.
    """
    real, fake = _logits(real_logits, "real_logits"), _logits(fake_logits, "fake_logits")
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def mean_loss(fake_logits: Tensor) -> Tensor:
    r"""$-\E_p f$: the generator climbs the critic as it stands (with the hinge and in the Wasserstein GAN).

    Args:
        fake_logits: (B,).
    """
    return -_logits(fake_logits, "fake_logits").mean()


MINIMAX = Losses(discriminator_loss, saturating_loss)
NON_SATURATING = Losses(discriminator_loss, non_saturating_loss)
HINGE = Losses(hinge_critic_loss, mean_loss)


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Losses:
    """LSGAN with target a for samples, b for data, and c for what the generator wants."""
    a, b, c = (require_number(value, name) for value, name in ((a, "a"), (b, "b"), (c, "c")))
    return Losses(
        partial(least_squares_critic_loss, fake_target=a, real_target=b),
        partial(least_squares_generator_loss, target=c),
    )


def _logits(logits: Tensor, name: str) -> Tensor:
    return require(logits, name, shape="B", dtype="float")


# --- the game --------------------------------------------------------------------------------------------------

Penalty = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
"""(critic, real, fake) -> scalar that is added to the critic's loss."""


class GAN(nn.Module):
    r"""Two networks and what they lower; `dgm.training.play` moves them in turn.

    Args:
        generator: $G$, from (B, latent) to (B, *shape).
        critic: from (B, *shape) to (B,) or (B, 1): logits, or whatever the losses take.
        losses: of both players.
        latent: the number of latent dimensions of $\z \sim \N(0, I)$.
        shape: of one example.
        penalty: added to the critic's loss.
        constraint: applied to the critic after each of its updates.

    >>> game = GAN(nn.Linear(4, 2), nn.Linear(2, 1), NON_SATURATING, latent=4, shape=(2,))
    >>> game.critic_loss(torch.randn(8, 2)).shape, game.generator_loss(8).shape, game.sample(5).shape
    (torch.Size([]), torch.Size([]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        losses: Losses,
        *,
        latent: int,
        shape: Sequence[int],
        penalty: Penalty | None = None,
        constraint: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.critic, self.losses = generator, critic, losses
        self.latent = require_count(latent, "latent")
        self.shape = tuple(require_count(size, "shape") for size in shape)
        self.penalty, self.constraint = penalty, constraint

    def logits(self, x: Tensor) -> Tensor:
        """What the critic says of each example x (B, *shape): (B,)."""
        out = self.critic(require(x, "x", shape=("B", *self.shape), dtype="float"))
        return require(out.reshape(len(x), -1), "critic(x)", shape=f"{len(x)} 1").squeeze(1)

    def generate(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """n samples (n, *shape) with their gradient; `generator` is the source of chance."""
        weight = next(self.generator.parameters())
        z = torch.randn(
            require_count(n, "n"), self.latent, generator=generator, dtype=weight.dtype, device=weight.device
        )
        return require(self.generator(z), "generator(z)", shape=(n, *self.shape), dtype="float")

    def critic_loss(self, x: Tensor) -> Tensor:
        """What the critic lowers, a scalar: real examples x (B, *shape) against as many fresh samples."""
        real = self.logits(x)
        with torch.no_grad():
            fake = self.generate(len(x))
        loss = self.losses.critic(real, self.logits(fake))
        return loss if self.penalty is None else loss + self.penalty(self.logits, x, fake)

    def generator_loss(self, n: int) -> Tensor:
        """What the generator lowers, on n fresh samples: a scalar."""
        return self.losses.generator(self.logits(self.generate(n)))

    def constrain(self) -> None:
        """Hold the critic to its rule, if it has one."""
        if self.constraint is not None:
            self.constraint(self.critic)

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw n examples (n, *shape)."""
        return self.generate(n, generator=generator)


# --- networks for pictures -------------------------------------------------------------------------------------

Norm = Callable[[int], nn.Module]
"""Makes a normalisation of so many channels."""


def small_start(net: nn.Module) -> nn.Module:
    """Draw the weights of all convolutions and linear layers from N(0, 0.02²), as DCGAN does; biases are 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def _doublings(size: int, name: str, least: int) -> int:
    """How often 4 pixels must be doubled to become `size`."""
    size = require_count(size, name, low=least)
    if size & (size - 1):
        raise ValueError(f"{name}: expected a power of two from {least}, came {size}")
    return int(math.log2(size)) - 2


class DCGenerator(nn.Sequential):
    """z (B, latent) → pictures (B, channels, size, size) in (−1, 1): each transposed convolution doubles the side.

    For 32 × 32: 4²·4w → 8²·2w → 16²·w → 32²·channels, batch normalisation and ReLU between them, tanh at the end.

    Args:
        latent: the number of latent dimensions.
        channels: 1 or 3.
        width: w, the channels before the last layer.
        size: a power of two from 8.
        norm: between the layers.
    """

    def __init__(
        self, latent: int, channels: int = 1, *, width: int = 32, size: int = 32, norm: Norm = nn.BatchNorm2d
    ) -> None:
        latent, width = require_count(latent, "latent"), require_count(width, "width")
        doublings = _doublings(size, "size", 8)
        now = width << (doublings - 1)
        layers: list[nn.Module] = [nn.Linear(latent, now * 16), nn.Unflatten(1, (now, 4, 4)), norm(now), nn.ReLU()]
        for _ in range(doublings - 1):
            layers += [nn.ConvTranspose2d(now, now // 2, 4, stride=2, padding=1), norm(now // 2), nn.ReLU()]
            now //= 2
        layers += [nn.ConvTranspose2d(now, require_count(channels, "channels"), 4, stride=2, padding=1), nn.Tanh()]
        super().__init__(*layers)
        small_start(self)


class DCCritic(nn.Sequential):
    """Pictures (B, channels, size, size) → one number each (B, 1): each convolution halves the side.

    For 32 × 32: 16²·w → 8²·2w → 4²·4w → 1, leaky ReLU (0.2) after each; normalisation in all but the first.

    Args:
        channels: 1 or 3.
        width: w, the channels after the first layer.
        size: a power of two from 8.
        norm: batch normalisation in DCGAN; with a gradient penalty none, or one of single examples: a penalty on the
            slope at one example means nothing where the output depends on the whole batch.
    """

    def __init__(
        self, channels: int = 1, *, width: int = 32, size: int = 32, norm: Norm | None = nn.BatchNorm2d
    ) -> None:
        now, width = require_count(channels, "channels"), require_count(width, "width")
        layers: list[nn.Module] = []
        for i in range(_doublings(size, "size", 8)):
            layers.append(nn.Conv2d(now, width << i, 4, stride=2, padding=1))
            if i and norm is not None:
                layers.append(norm(width << i))
            layers.append(nn.LeakyReLU(0.2))
            now = width << i
        super().__init__(*layers, nn.Flatten(), nn.Linear(now * 16, 1))
        small_start(self)


class CSPUp(nn.Module):
    r"""Half the channels, twice the side, by a short way and a long one: (B, C, H, W) → (B, C/2, 2H, 2W).

    The first half of the channels is only enlarged. The second goes through 1 × 1 convolution, ReLU, enlargement,
    3 × 3, ReLU, 3 × 3. The two are added. So the gradient has a way without any layer, and the long way costs half.

    Args:
        channels: C, even; 1024 at 4 × 4 become 512 at 8 × 8.
        norm: after each convolution of the long way.

    Source: homework C2 of the second course; the split is that of Chien-Yao Wang and others (2020), CSPNet: A New
    Backbone that can Enhance Learning Capability of CNN.

    >>> CSPUp(8)(torch.zeros(2, 8, 4, 4)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, channels: int, *, norm: Norm = nn.Identity) -> None:
        super().__init__()
        if require_count(channels, "channels", low=2) % 2:
            raise ValueError(f"channels: expected an even number, came {channels}")
        self.channels, half = channels, channels // 2
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.long = nn.Sequential(
            nn.Conv2d(half, half, 1),
            norm(half),
            nn.ReLU(),
            self.enlarge,
            nn.Conv2d(half, half, 3, padding=1),
            norm(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            norm(half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the two ways."""
        x = require(x, "x", shape=("B", self.channels, "H", "W"), dtype="float", finite=not x.is_meta)
        short, long = x.chunk(2, dim=1)
        return self.enlarge(short) + self.long(long)


class CSPGenerator(nn.Sequential):
    """The generator of homework C2: z (B, latent) → pictures (B, channels, size, size) in (−1, 1).

    With width 1 and size 128: 100 → 4²·1024 → 8²·512 → 16²·256 → 32²·128 → 64²·64 → 128²·3. Each arrow but the first
    and the last is a `CSPUp`, the last a transposed convolution. (The homework ends in a ReLU; tanh has a slope
    everywhere and reaches both ends of [−1, 1].)

    Args:
        latent: the number of latent dimensions.
        channels: of the picture.
        width: factor of all channel numbers.
        size: a power of two from 8; smaller pictures take fewer blocks.
        norm: in the blocks.

    >>> CSPGenerator(width=1 / 64, size=32)(torch.zeros(2, 100)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self, latent: int = 100, channels: int = 3, *, width: float = 1.0, size: int = 128, norm: Norm = nn.Identity
    ) -> None:
        blocks = _doublings(size, "size", 8) - 1
        now = round(1024 * require_number(width, "width", low=0.0, open_low=True))
        if now % (2 << blocks) or now < 2 << blocks:
            raise ValueError(f"width: expected a multiple of {(2 << blocks) / 1024:g} for this size, came {width!r}")
        layers: list[nn.Module] = [nn.Linear(require_count(latent, "latent"), now * 16), nn.Unflatten(1, (now, 4, 4))]
        for _ in range(blocks):
            layers.append(CSPUp(now, norm=norm))
            now //= 2
        layers += [nn.ReLU(), nn.ConvTranspose2d(now, require_count(channels, "channels"), 4, stride=2, padding=1)]
        super().__init__(*layers, nn.Tanh())
