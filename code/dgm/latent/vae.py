r"""From autoencoders to the variational autoencoder (VAE): a latent-variable model trained by a lower bound.

    model      z ~ N(0, I),  x | z ~ p(x | decoder(z))          p(x) = ∫ p(x | z) N(z; 0, I) dz: no closed form
    posterior  q(z | x) = N(z; μ(x), diag σ²(x)),  (μ, log σ) = encoder(x)
    bound      log p(x) = ELBO(x) + KL(q(z | x) ‖ p(z | x)) ≥ ELBO(x) = E_q log p(x | z) − KL(q(z | x) ‖ N(0, I))

Sources: Diederik P. Kingma, Max Welling (2014), Auto-Encoding Variational Bayes; Danilo J. Rezende, Shakir
Mohamed, Daan Wierstra (2014), Stochastic Backpropagation and Approximate Inference in Deep Generative Models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count, require_number

LOG_SD = 10.0
"""A network's log σ is kept in [−10, 10], σ in [4.5e−5, 2.2e4]: what it squares and divides by stays finite.
Beyond, it has no gradient."""

ROWS = 256
"""Most latent codes that `VAE.log_prob_is` decodes at a time."""

# --- the maths: densities, divergences, gradients --------------------------------------------------------------


def log_normal(x: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    r"""Log-density of a normal with diagonal covariance, nats, $u = (x - \mu) / \sigma$:

    $$\log \N(x; \mu, \diag \sigma^2) = -\sum_i \left( \tfrac12 u_i^2 + \log \sigma_i + \tfrac12 \log 2\pi \right)$$

    Args:
        x, mean, log_sd: broadcast together to (..., D).

    Returns:
        Shape (...): the sum runs over the last dimension, no other.

    >>> log_normal(torch.zeros(1, 2), torch.zeros(2), torch.zeros(2))
    tensor([-1.8379])
    """
    x, mean, log_sd = (require(t, name, dtype="float") for t, name in ((x, "x"), (mean, "mean"), (log_sd, "log_sd")))
    u = (x - mean) * (-log_sd).exp()
    return -(0.5 * u.square() + log_sd + 0.5 * math.log(2 * math.pi)).sum(-1)


def kl_standard_normal(mean: Tensor, log_sd: Tensor) -> Tensor:
    r"""KL from a diagonal normal to N(0, I), nats: $\sum_i \tfrac12(\sigma_i^2 + \mu_i^2 - 1) - \log \sigma_i$.

    Args:
        mean, log_sd: shape (..., D).

    Returns:
        Shape (...).

    >>> kl_standard_normal(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
    tensor([0., 2.])
    """
    mean = require(mean, "mean", shape="... D", dtype="float")
    log_sd = require(log_sd, "log_sd", shape="... D", dtype="float")
    return (0.5 * (torch.expm1(2 * log_sd) + mean.square()) - log_sd).sum(-1)  # expm1: exact where σ is near 1


def kl_normal(mean_q: Tensor, tril_q: Tensor, mean_p: Tensor, tril_p: Tensor) -> Tensor:
    r"""KL between two full normals, nats, with $\Sigma = LL^\top$ for each:

    $$\KL(q \,\|\, p) = \tfrac12 \left( |L_p^{-1} L_q|_F^2 + |L_p^{-1}(\mu_q - \mu_p)|^2 - D \right)
    + \sum_i \log \frac{(L_p)_{ii}}{(L_q)_{ii}}$$

    Args:
        mean_q, mean_p: shape (D,).
        tril_q, tril_p: lower triangular with a positive diagonal, shape (D, D).

    Returns:
        A scalar.
    """
    mean_q = require(mean_q, "mean_q", shape="D", dtype="float")
    D = len(mean_q)
    mean_p = require(mean_p, "mean_p", shape=f"{D}", dtype="float")
    for tril, name in ((tril_q, "tril_q"), (tril_p, "tril_p")):
        require(tril, name, shape=f"{D} {D}", dtype="float")
        if tril.triu(1).any() or (tril.diagonal() <= 0).any():
            raise ValueError(f"{name}: expected a lower triangular matrix with a positive diagonal, came another")
    white = torch.linalg.solve_triangular(tril_p, torch.column_stack([tril_q, mean_q - mean_p]), upper=False)
    return 0.5 * (white.square().sum() - D) + (tril_p.diagonal() / tril_q.diagonal()).log().sum()


def pathwise_gradient(f: Callable[[Tensor], Tensor], mean: Tensor, log_sd: Tensor, eps: Tensor) -> Tensor:
    r"""Estimate $\nabla_{\mu, \log\sigma}\, \E_{z \sim \N(\mu, \sigma^2)} f(z)$ through the sample itself.

    With $z = \mu + \sigma\varepsilon$ chance no longer depends on the parameters, and the chain rule gives
    $(\nabla f(z),\; \sigma\varepsilon\,\nabla f(z))$. Needs a differentiable f. Also called reparametrisation.

    Args:
        f: (S, D) -> (S,), row by row.
        mean, log_sd: shape (D,).
        eps: standard normal, shape (S, D); each row gives one estimate.

    Returns:
        Shape (S, 2D): by the mean, then by the log sd.
    """
    z, sd = _place(mean, log_sd, eps)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_values(f, z).sum(), z)
    return torch.cat([slope, slope * sd * eps], 1)


def score_function_gradient(f: Callable[[Tensor], Tensor], mean: Tensor, log_sd: Tensor, eps: Tensor) -> Tensor:
    r"""Estimate the same gradient from values of f alone: $f(z)\,\nabla_{\mu, \log\sigma} \log \N(z; \mu, \sigma^2)$.

    At $z = \mu + \sigma\varepsilon$ the score is $(\varepsilon/\sigma,\; \varepsilon^2 - 1)$. f may have jumps; but
    its size enters, not only its slope, so the variance is larger as a rule. Also called log-derivative trick and
    REINFORCE. Arguments and result are those of `pathwise_gradient`.

    Source: Ronald J. Williams (1992), Simple statistical gradient-following algorithms for connectionist
    reinforcement learning.
    """
    z, sd = _place(mean, log_sd, eps)
    return _values(f, z)[:, None] * torch.cat([eps / sd, eps.square() - 1], 1)


def _place(mean: Tensor, log_sd: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """z = mean + sd·eps (S, D) and sd (D,)."""
    mean = require(mean, "mean", shape="D", dtype="float")
    sd = require(log_sd, "log_sd", shape=f"{len(mean)}", dtype="float").exp()
    return mean + sd * require(eps, "eps", shape=f"S {len(mean)}", dtype="float"), sd


def _values(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """f(z), one number a row."""
    return require(f(z), "f(z)", shape=f"{len(z)}", dtype="float")


# --- likelihoods: what the decoder's output h says about x -----------------------------------------------------


class Bernoulli:
    """Independent bits; h holds their logits and has the shape of x."""

    def log_prob(self, x: Tensor, h: Tensor) -> Tensor:
        r"""$\sum_i \log \operatorname{sigmoid}((2x_i - 1)\,h_i)$ in nats, (B,).

        Raises:
            ValueError: x holds anything but 0 and 1: with a grey pixel put in, the formula is no probability.
        """
        h = _beside(x, h)
        if not torch.equal(x * x, x):  # only 0 and 1 are their own squares
            raise ValueError("x: expected only zeros and ones, came others; threshold pictures: (x > 0.5).float()")
        return F.logsigmoid((2 * x - 1) * h).flatten(1).sum(1)

    def mean(self, h: Tensor) -> Tensor:
        """The probability of a one, shape of x."""
        return h.sigmoid()

    def sample(self, h: Tensor, generator: Generator | None = None) -> Tensor:
        """A draw, 0.0 or 1.0, shape of x."""
        return torch.bernoulli(h.sigmoid(), generator=generator)


class Normal:
    """Independent normals.

    Args:
        sd: one for all coordinates; h is then their mean, of the shape of x. None: h holds the means, then the log
            sds, along its second dimension, which is twice as long as that of x.
    """

    def __init__(self, sd: float | None = 1.0) -> None:
        self.sd = None if sd is None else require_number(sd, "sd", low=math.exp(-LOG_SD), high=math.exp(LOG_SD))

    def log_prob(self, x: Tensor, h: Tensor) -> Tensor:
        """Log-density in nats, (B,)."""
        mean, log_sd = self._split(_beside(x, h, 2 if self.sd is None else 1))
        return log_normal(x.flatten(1), mean.flatten(1), log_sd.flatten(1))

    def mean(self, h: Tensor) -> Tensor:
        """The mean, shape of x."""
        return self._split(h)[0]

    def sample(self, h: Tensor, generator: Generator | None = None) -> Tensor:
        """A draw, shape of x."""
        mean, log_sd = self._split(h)
        return mean + log_sd.exp() * torch.randn(mean.shape, generator=generator, dtype=h.dtype, device=h.device)

    def _split(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log sds."""
        if self.sd is not None:
            return h, torch.full_like(h, math.log(self.sd))
        mean, log_sd = h.chunk(2, 1)
        return mean, log_sd.clamp(-LOG_SD, LOG_SD)


def _beside(x: Tensor, h: Tensor, numbers: int = 1) -> Tensor:
    """Return h if it has so many numbers for each of x: broadcasting would hide a mistake."""
    batch, first, *rest = require(x, "x", dtype="float").shape
    return require(h, "h", shape=(batch, numbers * first, *rest), dtype="float")


# --- networks for digits ---------------------------------------------------------------------------------------


class ConvEncoder(nn.Sequential):
    """Pictures (B, 1, 28, 28) → (B, outputs) by two convolutions with stride 2 and two linear layers.

    Args:
        outputs: D for the code of an autoencoder, 2·D for mean and log sd of a VAE.
        width: channels after the first convolution; the second has twice as many.
    """

    def __init__(self, outputs: int, width: int = 32) -> None:
        outputs, width = require_count(outputs, "outputs"), require_count(width, "width")
        super().__init__(
            nn.Conv2d(1, width, 4, stride=2, padding=1),  # 28 → 14
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),  # 14 → 7
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 49, 8 * width),
            nn.SiLU(),
            nn.Linear(8 * width, outputs),
        )


class ConvDecoder(nn.Sequential):
    """Codes (B, latent) → one number a pixel (B, 1, 28, 28): the layers of `ConvEncoder` in reverse.

    Args:
        latent: the number of latent dimensions D.
        width: channels before the last convolution.
    """

    def __init__(self, latent: int, width: int = 32) -> None:
        latent, width = require_count(latent, "latent"), require_count(width, "width")
        super().__init__(
            nn.Linear(latent, 8 * width),
            nn.SiLU(),
            nn.Linear(8 * width, 2 * width * 49),
            nn.SiLU(),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),  # 7 → 14
            nn.SiLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),  # 14 → 28
        )


# --- the models ------------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """A code short enough to force a choice, and the way back: x → z → x̂.

    It has no `sample`: nothing in its loss says where codes lie, so there is no law to draw a code from.

    Args:
        encoder: x (B, *shape) → z (B, D).
        decoder: z (B, D) → x̂ (B, *shape).
        shape: the shape of one example.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, shape: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.shape = tuple(require_count(size, "shape") for size in shape)

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, D) of examples (B, *shape)."""
        return self.encoder(require(x, "x", shape=("B", *self.shape), dtype="float"))

    def decode(self, z: Tensor) -> Tensor:
        """Examples (B, *shape) for codes (B, D)."""
        return self.decoder(require(z, "z", shape="B D", dtype="float"))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions x̂ of x, (B, *shape)."""
        return require(self.decode(self.encode(x)), "decoder(z)", shape=x.shape)

    def errors(self, x: Tensor) -> Tensor:
        r"""Squared errors $|\x - \hat\x|^2$, summed over the coordinates, (B,)."""
        return (self(x) - x).square().flatten(1).sum(1)

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error of a batch, summed over the coordinates."""
        return self.errors(x).mean()


class VAE(nn.Module):
    r"""A decoder that makes x of $\z \sim \N(0, I)$, and an encoder that guesses which z made an x.

    Args:
        encoder: x (B, *shape) → (B, 2·latent): mean, then log sd, of q(z | x).
        decoder: z (B, latent) → h (B, …), what the likelihood wants.
        likelihood: `Bernoulli()`, `Normal()`, or whatever else has their three methods.
        shape: the shape of one example x.
        latent: the number of latent dimensions D.

    >>> model = VAE(nn.Linear(3, 4), nn.Linear(2, 3), Bernoulli(), shape=(3,), latent=2)
    >>> x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    >>> model.elbo(x).shape, model.log_prob_is(x, 10).shape, model.sample(5).shape
    (torch.Size([2]), torch.Size([2]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Bernoulli | Normal,
        *,
        shape: Sequence[int],
        latent: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.shape = tuple(require_count(size, "shape") for size in shape)
        self.latent = require_count(latent, "latent")

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd of q(z | x), each (B, D)."""
        out = self.encoder(require(x, "x", shape=("B", *self.shape), dtype="float"))
        mean, log_sd = require(out, "encoder(x)", shape=f"{len(x)} {2 * self.latent}").chunk(2, 1)
        return mean, log_sd.clamp(-LOG_SD, LOG_SD)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, (S, B), of examples x (B, *shape) with S codes for each, z (S, B, D)."""
        x = require(x, "x", shape=("B", *self.shape), dtype="float")
        z = require(z, "z", shape=f"S {len(x)} {self.latent}", dtype="float")
        h, repeated = self.decoder(z.flatten(0, 1)), x.expand(len(z), *x.shape).flatten(0, 1)
        return self.likelihood.log_prob(repeated, h).unflatten(0, z.shape[:2])

    def terms(self, x: Tensor, samples: int = 1, *, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The two parts of the bound, nats, each (B,): E_q log p(x | z) by sampling, and KL(q ‖ N(0, I)) exactly.

        Args:
            x: (B, *shape).
            samples: draws of z for each example.
            generator: the source of chance.
        """
        mean, log_sd = self.posterior(x)
        z = self._draw(mean, log_sd, samples, generator)
        return self.log_likelihood(x, z).mean(0), kl_standard_normal(mean, log_sd)

    def log_weights(self, x: Tensor, samples: int, *, generator: Generator | None = None) -> Tensor:
        """log w = log p(x | z) + log p(z) − log q(z | x) for draws z of q(z | x), nats: (S, B)."""
        mean, log_sd = self.posterior(x)
        z = self._draw(mean, log_sd, samples, generator)
        prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        return self.log_likelihood(x, z) + prior - log_normal(z, mean, log_sd)

    def elbo(self, x: Tensor, samples: int = 1, *, analytic: bool = True, generator: Generator | None = None) -> Tensor:
        """An unbiased estimate of the evidence lower bound on log p(x), nats, (B,).

        Args:
            x: (B, *shape).
            samples: draws of z for each example.
            analytic: the KL in closed form; otherwise log q − log p is averaged over the same draws.
            generator: the source of chance.
        """
        if not analytic:
            return self.log_weights(x, samples, generator=generator).mean(0)
        reconstruction, kl = self.terms(x, samples, generator=generator)
        return reconstruction - kl

    @torch.no_grad()
    def log_prob_is(self, x: Tensor, samples: int, *, generator: Generator | None = None) -> Tensor:
        r"""Importance sampling, nats, (B,): $\log \frac1S \sum_s w_s$, in the mean a bound that no larger S loosens.

        One draw gives the ELBO; with ever more of them it tends to log p(x).

        Memory does not grow with `samples` or B: at most `ROWS` codes are decoded at a time. No gradient.

        Source: Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        samples = require_count(samples, "samples")
        found = []
        for part in require(x, "x", shape=("B", *self.shape), dtype="float").split(max(1, ROWS // samples)):
            counts = [min(ROWS, samples - done) for done in range(0, samples, ROWS)]
            log_w = torch.cat([self.log_weights(part, count, generator=generator) for count in counts])
            found.append(log_w.logsumexp(0) - math.log(samples))
        return torch.cat(found)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative ELBO of a batch, nats, with one draw of z for each example."""
        return -self.elbo(x).mean()

    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x | z), (B, *shape), for codes (B, D)."""
        return self.likelihood.mean(self.decoder(require(z, "z", shape=f"B {self.latent}", dtype="float")))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior's mean: (B, *shape)."""
        return self.decode(self.posterior(x)[0])

    @torch.no_grad()
    def sample(self, n: int, *, noise: bool = True, generator: Generator | None = None) -> Tensor:
        """Draw z from the prior, then x: (n, *shape).

        Args:
            n: how many.
            noise: draw x from p(x | z), the model's own law; False shows the mean of p(x | z) instead.
            generator: the source of chance.
        """
        like = next(self.parameters())
        size = (require_count(n, "n"), self.latent)
        z = torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)
        return self.likelihood.sample(self.decoder(z), generator) if noise else self.decode(z)

    def _draw(self, mean: Tensor, log_sd: Tensor, samples: int, generator: Generator | None) -> Tensor:
        """z = μ + σε, (S, B, D)."""
        size = (require_count(samples, "samples"), *mean.shape)
        return mean + log_sd.exp() * torch.randn(size, generator=generator, dtype=mean.dtype, device=mean.device)
