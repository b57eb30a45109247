"""O3.1 A VAE of two numbers: the bound, what an optimum looks like, and when the code falls silent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dgm.data import gaussian_pair, gaussian_pair_law
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "kl": "kl(mean, log_sd) -> KL from N(mean, diag sd²) to N(0, I) in nats, (B,)",
    "log_normal": "log_normal(x, mean, log_sd) -> log-density of N(mean, diag sd²) at x in nats, (B,)",
    "elbo": "elbo(x, encode, decode, eps) -> the bound with the codes made of the noise eps, in nats, (B,)",
    "sample": "sample(decode, n, seed, noise) -> n draws from the model, or the decoder's means of them, (n, 2)",
    "summary": "summary(encode, x) -> mean and sd over the points of μ, then of σ, (4, 2)",
    "aligned": "aligned(w) -> encoder and decoder, optimal for the aligned set, slope w, 0 ≤ w < 3",
    "rotated": "rotated() -> encoder and decoder, optimal for the rotated set with the cheapest code",
    "train": "train(data, seed) -> encoder and decoder, trained; each maps (B, 2) to (B, 4): two means, two log sds",
}
OPTIMUM = math.log(2 * math.pi * math.e) + math.log(3)
"""Entropy of both sets: no mean loss is below it."""
ALONE = math.log(2 * math.pi * math.e * 5)
"""Loss of two independent normals on the rotated set: what is left if the code says nothing."""
LEAST = math.log(3)
"""The least mean KL at an optimum of the rotated set: ½ log((1 + 0.8) / (1 − 0.8))."""
ABOVE = 0.05
"""How far above its optimum a trained VAE may be, nats. The course sets no number; this one is ours."""


def _random(*sizes: int) -> tuple[Tensor, ...]:
    return tuple(scale * torch.randn(sizes, dtype=torch.float64) for scale in (1.0, 1.0, 0.5))


def _net(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """A linear map with a bend, (B, 2) → (B, 4), for checks without training."""
    return lambda x: torch.tanh(x @ weight.to(x.dtype)) + bias.to(x.dtype)


def _same(came: Tensor, expected: Tensor) -> bool:
    return came.shape == expected.shape and torch.allclose(came.double(), expected, rtol=1e-6, atol=1e-6)


def _judge(called: str, came: Any, expected: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Expect the vector `expected`; where one of the typical mistakes came instead, say which."""
    if not isinstance(came, Tensor):
        raise Wrong(f"{called} is to be a tensor, came {type(came).__name__}")
    for what, wrong in mistakes.items():
        if _same(came, wrong) and not _same(came, expected):
            raise Wrong(f"{called}: {what}")
    if came.shape != expected.shape:
        raise Wrong(
            f"{called} is to have the shape {tuple(expected.shape)}, one number an example; "
            f"came {tuple(came.shape)}. Sum over the coordinates, not over the batch"
        )
    finite(came, called)
    if not _same(came, expected):
        i = int((came.double() - expected).abs().argmax())
        raise Wrong(f"{called}: example {i + 1} is to be {expected[i]:.4f} nats, came {came[i]:.4f}")


def check_kl(answer: Answer) -> None:
    """The divergence from the prior is right, also where it is zero."""
    mean, _, log_sd = _random(6, 2)
    sd = log_sd.exp()
    truth = kl_divergence(Normal(mean, sd), Normal(0.0, 1.0))
    half = 0.5 * (sd**2 + mean**2 - 1)
    zero = answer.tensor("kl", torch.zeros(1, 2).double(), torch.zeros(1, 2).double())
    mistakes = {
        "the logarithm stands in the bracket: it is ½(σ² + μ² − 1) − log σ, not ½(σ² + μ² − 1 − log σ)": (
            half - 0.5 * log_sd
        ).sum(1),
        "the sign is turned: this is minus the divergence, which is never negative": -truth.sum(1),
        "the factor ½ is missing before (σ² + μ² − 1)": (2 * half - log_sd).sum(1),
        "all is twice too large: ½(σ² + μ² − 1 − log σ²) for each coordinate": 2 * truth.sum(1),
        "this takes log_sd for the log of the variance; it is that of the standard deviation": (
            0.5 * (sd + mean**2 - 1 - log_sd)
        ).sum(1),
        "this is the mean over the coordinates; the KL of independent coordinates is their sum": truth.mean(1),
        "this is the other divergence, KL(N(0, 1) ‖ q)": kl_divergence(Normal(0.0, 1.0), Normal(mean, sd)).sum(1),
    }
    _judge("kl(mean, log_sd)", answer("kl", mean, log_sd), truth.sum(1), mistakes)
    if zero.abs().max() > 1e-9:
        raise Wrong(f"kl(0, 0) is 0, as q is the prior; came {zero.flatten()[0]:g}")


def check_log_normal(answer: Answer) -> None:
    """The log-density is that of independent normals, with its constant."""
    x, mean, log_sd = _random(6, 2)
    sd = log_sd.exp()
    truth = Normal(mean, sd).log_prob(x)
    constant = 0.5 * math.log(2 * math.pi)
    mistakes = {
        "the constant −½ log 2π of each coordinate is missing": (truth + constant).sum(1),
        "the sign is turned: this is minus the log-density": -truth.sum(1),
        "the term −log σ is missing: without it a wider σ costs nothing": (truth + log_sd).sum(1),
        "the error is divided by σ, not by σ²": (-0.5 * (x - mean) ** 2 / sd - log_sd - constant).sum(1),
        "this takes log_sd for the log of the variance; it is that of the standard deviation": (
            -0.5 * (x - mean) ** 2 / sd - 0.5 * log_sd - constant
        ).sum(1),
        "this is the mean over the coordinates; the log-density of both is their sum": truth.mean(1),
    }
    _judge("log_normal(x, mean, log_sd)", answer("log_normal", x, mean, log_sd), truth.sum(1), mistakes)


def _bound(x: Tensor, mean: Tensor, log_sd: Tensor, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL, (B,) each, by the laws of torch."""
    centre, spread = h.chunk(2, 1)
    kl = kl_divergence(Normal(mean, log_sd.exp()), Normal(0.0, 1.0)).sum(1)
    return Normal(centre, spread.exp()).log_prob(x).sum(1), kl


def check_elbo(answer: Answer) -> None:
    """The bound is reconstruction minus KL, with the codes made of the noise that was given."""
    (x, eps, _), (weight, bias, _) = _random(6, 2), _random(2, 4)
    encode, decode = _net(weight, bias[:1]), _net(bias, weight[:1])
    mean, log_sd = encode(x).chunk(2, 1)

    def by(z: Tensor, sign: float = -1.0, kl_factor: float = 1.0) -> Tensor:
        reconstruction, kl = _bound(x, mean, log_sd, z, decode(z))
        return reconstruction + sign * kl_factor * kl

    z = mean + log_sd.exp() * eps
    mistakes = {
        "the KL is added; it is a price and is subtracted": by(z, 1.0),
        "this is minus the bound; the loss is minus the bound, elbo is the bound": -by(z),
        "the KL is missing": by(z, kl_factor=0.0),
        "the noise is not used: the code is the encoder's mean": by(mean),
        "the noise is multiplied by σ²; z = μ + σ ε": by(mean + (2 * log_sd).exp() * eps),
        "the noise is multiplied by log σ; z = μ + σ ε": by(mean + log_sd * eps),
        "the noise is multiplied by √σ, as if the encoder gave the log of the variance; z = μ + σ ε": by(
            mean + (0.5 * log_sd).exp() * eps
        ),
        "the code is the noise alone: x is restored from the prior, not from q(z | x)": by(eps),
    }
    _judge("elbo(x, encode, decode, eps)", answer("elbo", x, encode, decode, eps), by(z), mistakes)


def check_gradient(answer: Answer) -> None:
    """The gradient reaches the encoder through the code."""
    (x, eps, _), (weight, bias, _) = _random(6, 2), _random(2, 4)
    decode = _net(bias, weight[:1])

    def slope(bound: Callable[[Tensor], Tensor]) -> Tensor:
        out = _net(weight, bias[:1])(x).requires_grad_()
        return torch.autograd.grad(bound(out).sum(), out)[0]

    def ours(out: Tensor, through: bool = True) -> Tensor:
        mean, log_sd = out.chunk(2, 1)
        z = mean + log_sd.exp() * eps
        reconstruction, kl = _bound(x, mean, log_sd, z, decode(z if through else z.detach()))
        return reconstruction - kl

    def theirs(out: Tensor) -> Tensor:
        came = finite(answer("elbo", x, lambda _: out, decode, eps), "elbo(…)", (6,))
        if not came.requires_grad:
            raise Wrong("elbo: no gradient reaches the encoder; is there a detach, a no_grad or a .data on the way?")
        return came

    came = slope(theirs)
    if torch.allclose(came, slope(lambda out: ours(out, False))):
        raise Wrong("elbo: the code is detached, so that the encoder learns from the KL alone; let z keep its gradient")
    if not torch.allclose(came, slope(ours), rtol=1e-5, atol=1e-6):
        raise Wrong("elbo: its values are right, the gradient by the encoder's output is not; is μ or σ detached?")


def check_sample(answer: Answer) -> None:
    """Samples follow the model's law, with the decoder's noise and without."""
    w, sd = torch.tensor([[1.5, -0.5], [0.5, 1.0]]), torch.tensor([0.3, 2.0])
    centre = torch.tensor([1.0, -2.0])

    def decode(z: Tensor) -> Tensor:
        return torch.cat([centre + z @ w.to(z.dtype).T, sd.log().expand(len(z), 2)], 1)

    codes = w @ w.T
    n = 20_000
    for noise, cov in ((False, codes), (True, codes + (sd**2).diag())):
        called = f"sample(decode, {n}, 0, {noise})"
        came, again, other = (
            answer.tensor("sample", decode, n, seed, noise, shape=(n, 2)).double() for seed in (0, 0, 1)
        )
        if not torch.equal(came, again) or torch.equal(came, other):
            raise Wrong(f"sample: the same seed is to give the same draws, another seed others (noise = {noise})")
        off = (came.mean(0) - centre).abs().max()
        if off > 0.1:
            raise Wrong(
                f"{called}: the mean is to be {centre.tolist()}, came {_told(came.mean(0))}; are the codes N(0, I)?"
            )
        scatter = came.T.cov()
        added = (sd**2).diag() if noise else torch.zeros(2, 2)
        wrong = {
            "the codes are all equal, they are to be N(0, I)": added,
            "the decoder's noise is not added" if noise else "there is noise, though the means are asked": (
                codes + (sd**2).diag() - added
            ),
            "the noise has the deviation σ², it is to be σ": codes + (sd**4).diag(),
            "the noise has the deviation log σ, it is to be σ": codes + (sd.log() ** 2).diag(),
        }
        if not _near(scatter, cov):
            hint = next((f": {what}" for what, each in wrong.items() if _near(scatter, each)), "")
            raise Wrong(f"{called}: the covariance is to be near {_told(cov)}, came {_told(scatter)}{hint}")


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 0.05 * (1 + b.abs().max()))


def _told(values: Tensor) -> str:
    return str([[round(v, 2) for v in row] if isinstance(row, list) else round(row, 2) for row in values.tolist()])


def check_summary(answer: Answer) -> None:
    """The summary holds mean and deviation of μ and of σ, a column a coordinate."""
    x = _random(50, 2)[0]

    def encode(x: Tensor) -> Tensor:
        return torch.stack([3 * x[:, 0] + 1, 0 * x[:, 0], -1 + 0.5 * x[:, 1], 0.1 * x[:, 0]], 1)

    mean, log_sd = encode(x).chunk(2, 1)

    def rows(sd: Tensor, correction: int = 1) -> Tensor:
        return torch.stack([f for v in (mean, sd) for f in (v.mean(0), v.std(0, correction=correction))])

    truth = rows(log_sd.exp())
    came = finite(answer("summary", encode, x), "summary(encode, x)").double()
    if came.shape == (2, 4):
        raise Wrong("summary is transposed: (4, 2), a column a coordinate")
    if came.shape != (4, 2):
        raise Wrong(f"summary(encode, x) is to have the shape (4, 2), came {tuple(came.shape)}")
    if any(torch.allclose(came, rows(log_sd, c), atol=1e-6) for c in (0, 1)):
        raise Wrong("summary: rows 3 and 4 are those of log σ; exp is missing")
    if torch.allclose(came, rows((2 * log_sd).exp()), atol=1e-6):
        raise Wrong("summary: rows 3 and 4 are those of the variance σ²; σ is asked")
    if torch.allclose(came, truth[[0, 2, 1, 3]], atol=1e-6):
        raise Wrong("summary: the order is mean and sd of μ, then mean and sd of σ")
    if not any(torch.allclose(came, rows(log_sd.exp(), c), atol=1e-6) for c in (0, 1)):
        raise Wrong(f"summary(encode, x) is to be {_told(truth)}, came {_told(came)}")


def _parts(answer: Answer, name: str, *arguments: Any) -> tuple[str, str]:
    """Take the encoder and the decoder that a function gave, so that calls of them are told as those of functions."""
    came = answer(name, *arguments)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"{name} is to give two things, encoder and decoder; came {type(came).__name__}")
    names = f"the encoder that {name} gave", f"the decoder that {name} gave"
    answer.names.update(zip(names, came, strict=True))
    return names


def _grid(*axes: tuple[float, float], count: int = 12) -> tuple[Tensor, Tensor]:
    """Points and weights: expectations under independent normals (mean, sd), exact for the quadratics met here."""
    t, w = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(count))
    points = torch.cartesian_prod(*(mean + sd * t for mean, sd in axes))
    return points.reshape(-1, len(axes)), torch.cartesian_prod(*[w / w.sum()] * len(axes)).reshape(
        len(points), -1
    ).prod(1)


def _exact(answer: Answer, names: tuple[str, str], turned: bool) -> tuple[float, float, Tensor, Tensor]:
    """Mean loss and mean KL under the law of the data, and mean and covariance of the model, by quadrature."""
    t, weight = _grid((0.0, 1.0), (0.0, 1.0))
    mean, cov = gaussian_pair_law(rotated=turned)
    x = (mean + t @ torch.linalg.cholesky(cov).T).float()
    mu, log_sd = answer.tensor(names[0], x, shape=(len(x), 4)).double().chunk(2, 1)
    z = mu[:, None] + log_sd.exp()[:, None] * t
    h = answer.tensor(names[1], z.float().reshape(-1, 2), shape=(len(x) * len(t), 4)).double()
    centre, spread = h.reshape(len(x), len(t), 4).chunk(2, 2)
    reconstruction = Normal(centre, spread.exp()).log_prob(x[:, None].double()).sum(2) @ weight
    kl = kl_divergence(Normal(mu, log_sd.exp()), Normal(0.0, 1.0)).sum(1)
    centre, spread = answer.tensor(names[1], t.float(), shape=(len(t), 4)).double().chunk(2, 1)
    model = weight @ centre
    scatter = (centre - model).T @ (weight[:, None] * (centre - model)) + (weight @ (2 * spread).exp()).diag()
    return (weight @ (kl - reconstruction)).item(), (weight @ kl).item(), model, scatter


def _optimal(answer: Answer, called: str, names: tuple[str, str], turned: bool) -> float:
    """The mean KL of an optimum; or what keeps it from being one."""
    loss, kl, centre, scatter = _exact(answer, names, turned)
    if loss < OPTIMUM + 1e-4:
        return kl
    mean, cov = gaussian_pair_law(rotated=turned)
    away = f"{called} is no optimum: its mean loss is {loss:.4f} nats, {OPTIMUM:.4f} can be had"
    if (centre - mean).abs().max() > 1e-3:
        raise Wrong(f"{away}. The mean of what it draws is to be {_told(mean)}, it is {_told(centre)}")
    if (scatter - cov).abs().max() > 1e-3:
        hint = "; the decoder's means move too little" if turned and scatter[0, 1] < 3.99 else ""
        raise Wrong(f"{away}. The covariance of what it draws is to be {_told(cov)}, it is {_told(scatter)}{hint}")
    raise Wrong(
        f"{away}. The decoder is right, it draws the law of the data; so the encoder is not its posterior: "
        f"precision 1 + Σ wᵢ²/σᵢ² for slopes wᵢ and noise σᵢ (mean KL now {kl:.4f})"
    )


def check_aligned(answer: Answer) -> None:
    """Aligned: for each slope w there is an optimum, with a KL anywhere from zero up."""
    for w in (0.0, 1.0, 2.5):
        names = _parts(answer, "aligned", w)
        low, high = answer.tensor(names[1], torch.tensor([[0.0, 0.0], [1.0, 0.0]]), shape=(2, 4)).double()
        if abs((high - low)[0].item() - w) > 1e-4:
            raise Wrong(
                f"aligned({w:g}): from z₁ = 0 to z₁ = 1 the decoder's mean of x₁ is to grow by {w:g}, "
                f"came {high[0] - low[0]:.4f}"
            )
        _optimal(answer, f"aligned({w:g})", names, False)


def check_rotated(answer: Answer) -> None:
    """Rotated: the optimum with the cheapest code costs log 3 nats of KL."""
    kl = _optimal(answer, "rotated()", _parts(answer, "rotated"), True)
    if kl > LEAST + 1e-4:
        raise Wrong(f"rotated() is an optimum, but its code costs {kl:.4f} nats; {LEAST:.4f} = log 3 is enough")


def check_train(answer: Answer) -> None:
    """Trained, the loss is near its optimum on both sets, and on the rotated one the code is used."""
    for turned in (False, True):
        name = "rotated" if turned else "aligned"
        names = _parts(answer, "train", gaussian_pair("train", rotated=turned), 0)
        mean, cov = gaussian_pair_law(rotated=turned)
        law = torch.distributions.MultivariateNormal(mean, cov)
        x = law.sample((10_000,))
        with torch.no_grad():
            mu, log_sd = answer.tensor(names[0], x.float(), shape=(len(x), 4)).double().chunk(2, 1)
            above = 0.0
            for _ in range(8):
                z = mu + log_sd.exp() * torch.randn(x.shape, dtype=torch.float64)
                h = answer.tensor(names[1], z.float(), shape=(len(x), 4)).double()
                reconstruction, kl = _bound(x, mu, log_sd, z, h)
                above += (law.log_prob(x) - reconstruction + kl).mean().item() / 8
        if h[:, 2:].abs().max() < 1e-6:
            raise Wrong(
                "train: the decoder's deviation is 1 everywhere; it is to be learned. Held at 1, each set has "
                "one optimum, with a KL of log 3, and no collapse is to be seen"
            )
        if above < ABOVE:
            continue
        came = f"train on the {name} set: {OPTIMUM + above:.3f} nats on fresh points, {above:.3f} above the optimum"
        asked = f"at most {ABOVE} above {OPTIMUM:.4f} is asked"
        if turned and above > ALONE - OPTIMUM - 0.03:
            raise Wrong(
                f"{came}; {asked}. Two independent normals, which need no code, have {ALONE:.4f}: "
                f"the code is not used, its KL is {kl.mean():.3f}"
            )
        base = ALONE if turned else OPTIMUM
        raise Wrong(
            f"{came}; {asked} (two independent normals, which need no code, have {base:.4f}). "
            f"Mean KL {kl.mean():.3f}; more steps, or a smaller step size at the end?"
        )
