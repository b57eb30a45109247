"""O2.4 The score-function gradient of the bound, why it scatters, and a baseline that tames it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from dgm.homework import Answer, Wrong

ASKS = {
    "score_gradient": "score_gradient(f, mean, log_sd, z) -> estimates of the gradient of E_q f, one a row, (S, 2D)",
    "elbo_gradient": "elbo_gradient(log_joint, mean, log_sd, z) -> estimates of the gradient of the bound, (S, 2D)",
    "leave_one_out": "leave_one_out(f, mean, log_sd, z) -> the same, each f(z) less the mean of the other draws' f",
    "variance": "variance(D, sd, a) -> variance of one estimate by the first mean for f(z) = a − ½|z − mean|²",
}


def _place(D: int, S: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and log sd (D,), and draws (S, D)."""
    draw = torch.Generator().manual_seed(seed)
    mean, log_sd = torch.randn(2, D, generator=draw, dtype=torch.float64) * torch.tensor([[1.0], [0.4]])
    return mean, log_sd, mean + log_sd.exp() * torch.randn(S, D, generator=draw, dtype=torch.float64)


def _score(mean: Tensor, log_sd: Tensor, z: Tensor) -> Tensor:
    """The gradient of log q at each row of z by automatic differentiation, (S, 2D)."""
    both = torch.cat([mean, log_sd])

    def log_q(v: Tensor) -> Tensor:
        return Normal(v[: len(mean)], v[len(mean) :].exp()).log_prob(z).sum(1)

    return torch.autograd.functional.jacobian(log_q, both)


def _nodes(D: int, count: int) -> tuple[Tensor, Tensor]:
    """Points (S, D) and weights (S,): a mean under N(0, I) becomes a weighted sum."""
    t, w = np.polynomial.hermite_e.hermegauss(count)
    points, weights = (torch.tensor(list(itertools.product(v, repeat=D))) for v in (t, w / w.sum()))
    return points, weights.prod(1)


def _wave(z: Tensor) -> Tensor:
    """A smooth function."""
    return torch.cos(2 * z).sum(1) + z[:, 0] * z[:, -1] + 1.5


def _jump(z: Tensor) -> Tensor:
    """A function without a slope."""
    return 2.0 * (z.sum(1) > 0).double() - 0.7


def check_score(answer: Answer) -> None:
    """With f = 1 the estimate is the score itself, the gradient of log q by mean and log-deviation."""
    for D in (1, 3):
        mean, log_sd, z = _place(D, 6, D)
        right, sd, eps = _score(mean, log_sd, z), log_sd.exp(), (z - mean) / log_sd.exp()
        came = answer("score_gradient", lambda z: torch.ones(len(z), dtype=z.dtype), mean, log_sd, z)
        if isinstance(came, Tensor) and came.shape == (2 * D,):
            raise Wrong("score_gradient is to give one estimate for each draw, (S, 2D), not their mean, (2D,)")
        came = answer.tensor(
            "score_gradient", lambda z: torch.ones(len(z), dtype=z.dtype), mean, log_sd, z, shape=(6, 2 * D)
        )
        if (came - right).abs().max() < 1e-9:
            continue
        by_mean, by_sd = eps / sd, eps.square() - 1
        slips = {
            "the sign is turned": -right,
            "the means come first, then the log-deviations": torch.cat([by_sd, by_mean], 1),
            "by the mean it is (z − μ)/σ², and not (z − μ)/σ": torch.cat([eps, by_sd], 1),
            "by the mean it is (z − μ)/σ², and not z − μ": torch.cat([z - mean, by_sd], 1),
            "by log σ it is ε² − 1: log q also holds −log σ": torch.cat([by_mean, by_sd + 1], 1),
            "the second half is the derivative by σ; by log σ it is σ times that": torch.cat([by_mean, by_sd / sd], 1),
            "is log_sd taken for log σ²?": torch.cat([(z - mean) / sd, 0.5 * ((z - mean).square() / sd - 1)], 1),
        }
        why = next((why for why, value in slips.items() if (came - value).abs().max() < 1e-9), None)
        s, i = divmod(int((came - right).abs().argmax()), 2 * D)
        which = f"the derivative by {'mean' if i < D else 'log sd'} {i % D + 1}"
        told = f"score_gradient with f = 1, D = {D}: {which} of log q is {right[s, i]:.4f} for draw {s + 1}"
        raise Wrong(f"{told}, came {came[s, i]:.4f}{'; ' + why if why else ''}")


def check_values(answer: Answer) -> None:
    """The score is multiplied by the value of f, and f is not differentiated."""
    mean, log_sd, z = _place(3, 7, 5)
    for f, name in ((_jump, "a function with a jump"), (_wave, "a smooth function")):
        right = f(z)[:, None] * _score(mean, log_sd, z)
        came = answer.tensor("score_gradient", f, mean, log_sd, z, shape=(7, 6))
        if (came - right).abs().max() < 1e-9:
            continue
        inside = z.clone().requires_grad_()
        value = f(inside).sum()
        slope = torch.autograd.grad(value, inside)[0] if value.requires_grad else torch.zeros_like(z)
        path = torch.cat([slope, slope * (z - mean)], 1)
        slips = {
            "that is the pathwise gradient, with the slope of f": path,
            "the whole batch is multiplied by the mean of f; each draw has its own value": f(z).mean()
            * _score(mean, log_sd, z),
            "from f something is subtracted; that is for leave_one_out": (f(z) - f(z).mean())[:, None]
            * _score(mean, log_sd, z),
        }
        why = next((f"; {why}" for why, wrong in slips.items() if (came - wrong).abs().max() < 1e-9), "")
        told = f"draw 1: expected {right[0, 0]:.4f} by the first mean, came {came[0, 0]:.4f}"
        raise Wrong(f"score_gradient for {name}, {told}{why}")


def check_elbo(answer: Answer) -> None:
    """Averaged over all draws the second one gives the gradient of the bound, known for a linear model."""
    draw = torch.Generator().manual_seed(11)
    W, x = torch.randn(3, 2, generator=draw, dtype=torch.float64), torch.randn(3, generator=draw, dtype=torch.float64)
    sd = 0.8
    prior, noise = Normal(torch.zeros(2).double(), 1.0), Normal(x, sd)

    def log_joint(z: Tensor) -> Tensor:
        return prior.log_prob(z).sum(1) + noise.log_prob(z @ W.T).sum(1)

    for seed in range(3):
        mean, log_sd, _ = _place(2, 1, seed)
        both = torch.cat([mean, log_sd]).requires_grad_()
        mu, variance = both[:2], torch.exp(2 * both[2:])
        misfit = (x - W @ mu).square().sum() + (W.square() @ variance).sum()
        energy = -0.5 * misfit / sd**2 - 0.5 * (mu.square() + variance).sum()
        entropy = both[2:].sum()
        (right,) = torch.autograd.grad(energy + entropy, both, retain_graph=True)
        (without,) = torch.autograd.grad(energy, both)
        eps, weight = _nodes(2, 16)
        z = mean + log_sd.exp() * eps
        came = weight @ answer.tensor("elbo_gradient", log_joint, mean, log_sd, z, shape=(len(z), 4)).detach()
        if (came - right).abs().max() < 1e-7 * (1 + right.abs().max()):
            continue
        slips = {
            "the term −log q(z | x) is missing in the bracket": without,
            "log q is added instead of subtracted": 2 * without - right,
            "the sign is turned: the bound is raised, its gradient is asked for": -right,
            "the prior p(z) or a factor is missing? log p(x, z) is given; nothing is to be added": 2 * right,
        }
        why = next((f"; {why}" for why, value in slips.items() if (came - value).abs().max() < 1e-6), "")
        told = f"{[round(v, 4) for v in right.tolist()]}, came {[round(v, 4) for v in came.tolist()]}"
        raise Wrong(f"elbo_gradient for a linear model, mean over q by quadrature: expected {told}{why}")


def check_baseline(answer: Answer) -> None:
    """The baseline of a draw is the mean of f over the others: it does not shift the mean of the estimate."""
    for S in (2, 5):
        mean, log_sd, z = _place(2, S, S)
        values, score = _wave(z), _score(mean, log_sd, z)
        rows = []
        for s in range(S):
            others = [values[r].item() for r in range(S) if r != s]
            rows.append((values[s].item() - sum(others) / (S - 1)) * score[s])
        right = torch.stack(rows)
        came = answer.tensor("leave_one_out", _wave, mean, log_sd, z, shape=(S, 4))
        if (came - right).abs().max() < 1e-9:
            continue
        slips = {
            f"the draw itself is in its own baseline: the estimate shrinks by (S − 1)/S = {(S - 1) / S:g}": right
            * (S - 1)
            / S,
            "nothing is subtracted": values[:, None] * score,
            "the baseline is added": (2 * values[:, None] * score) - right,
            "the sum over the others is divided by S, and not by S − 1": (values - (values.sum() - values) / S)[:, None]
            * score,
            "the median is not the mean": (values - values.median())[:, None] * score,
        }
        why = next((f"; {why}" for why, value in slips.items() if (came - value).abs().max() < 1e-9), "")
        told = f"draw 1: expected {right[0, 0]:.4f} by the first mean, came {came[0, 0]:.4f}"
        raise Wrong(f"leave_one_out with {S} draws, {told}{why}")


def check_variance(answer: Answer) -> None:
    """The variance agrees with an integral over q: it grows with the number of coordinates and with a constant in f."""
    for D, sd, a in ((1, 1.0, 0.0), (2, 1.0, 0.0), (2, 0.5, 0.0), (3, 0.5, 0.0), (1, 1.0, 2.0), (3, 0.7, 2.5)):
        eps, weight = _nodes(D, 8)
        f = a - 0.5 * (sd * eps).square().sum(1)
        right = (weight @ (f * eps[:, 0] / sd).square()).item()
        came = answer.number("variance", D, sd, a)
        if abs(came - right) < 1e-6 * (1 + right):
            continue
        slips = {
            sd**2: "that is the variance of the pathwise gradient",
            math.sqrt(right): "that is its root, the deviation",
            (D + 2) * (D + 4) / 4: "that is the ratio to the pathwise gradient's variance, which is sd²",
            right / sd**2: "the units: z has the unit of sd, f its square, the derivative that of sd again",
            right * sd**2: "by the mean the score is ε/sd: a factor 1/sd² in the variance is missing",
            sd**2 * D * (D + 2) * (D + 4) / 4: "that is the sum over all D coordinates",
            sd**2 * (D + 2) * (D + 4) / 4: "a constant in f leaves the gradient as it is, but not its variance",
            a**2 / sd**2 + a * (D + 2) + sd**2 * (D + 2) * (D + 4) / 4: "the mixed term of the square is negative here",
            a**2 / sd**2 + sd**2 * (D + 2) * (D + 4) / 4: "the mixed term of the square is missing",
        }
        why = next((f"; {why}" for value, why in slips.items() if abs(came - value) < 1e-6 * (1 + value)), "")
        raise Wrong(f"variance({D}, {sd:g}, {a:g}): the integral is {right:.6f}, came {came:.6f}{why}")
