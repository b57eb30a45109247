"""O2.3 KL between two normal laws: with full covariances, and the diagonal case that a VAE needs."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from dgm.homework import Answer, Wrong

ASKS = {
    "kl": "kl(mean_q, cov_q, mean_p, cov_p) -> KL(q ‖ p) of two full normals in nats, a scalar",
    "kl_standard": "kl_standard(mean, log_sd) -> KL from N(mean, diag sd²) to N(0, I) for each row, (B,)",
}
Law = tuple[Tensor, Tensor]


def _law(D: int, seed: int) -> Law:
    """Mean and covariance, random; the covariance is far from a multiple of the unit matrix."""
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(D, D, generator=draw, dtype=torch.float64)
    return 0.7 * torch.randn(D, generator=draw, dtype=torch.float64), root @ root.T / D + 0.3 * torch.eye(D)


def _said(answer: Answer, q: Law, p: Law) -> float:
    return answer.number("kl", *q, *p)


def _parts(q: Law, p: Law) -> tuple[float, float, float, int]:
    """Trace, square, log-ratio of the determinants, D."""
    (mean_q, cov_q), (mean_p, cov_p) = q, p
    inverse, apart = torch.linalg.inv(cov_p), mean_p - mean_q
    trace, square = torch.trace(inverse @ cov_q).item(), (apart @ inverse @ apart).item()
    return trace, square, (torch.logdet(cov_p) - torch.logdet(cov_q)).item(), len(mean_q)


def _mistake(came: float, q: Law, p: Law) -> str:
    """Which typical slip gives this number, or nothing."""
    trace, square, log_ratio, D = _parts(q, p)
    right, apart = 0.5 * (trace + square - D + log_ratio), p[0] - q[0]
    back_trace, back_square, _, _ = _parts(p, q)
    by_q = (apart @ torch.linalg.inv(q[1]) @ apart).item()
    slips = {
        2 * right: "; that is twice as much: the factor ½ is missing",
        0.5 * (back_trace + back_square - D - log_ratio): "; that is KL(p ‖ q): the two laws are exchanged",
        0.5 * (trace + square - D - log_ratio): "; the log of the determinants has the wrong sign",
        0.5 * (trace + square - D): "; the log of the determinants is missing",
        0.5 * (trace + square + log_ratio): "; the −D is missing",
        0.5 * (trace - D + log_ratio): "; the term with the two means is missing",
        0.5 * (trace + by_q - D + log_ratio): "; the distance of the means is measured by cov_p⁻¹, not by cov_q⁻¹",
        0.5
        * (trace + apart.square().sum().item() - D + log_ratio): "; the distance of the means is measured by cov_p⁻¹",
        0.5 * (trace + square - D) + log_ratio: "; the log of the determinants has the factor ½ too",
        0.5 * (trace + square - 1 + log_ratio): "; subtract D, the number of coordinates, and not 1",
        right / math.log(2): "; that is in bits: nats are natural logarithms",
        right / D: "; that is the mean over the coordinates: KL is their sum",
        0.5 * (back_trace + square - D + log_ratio): "; the trace is of cov_p⁻¹ cov_q",
    }
    near = [why for value, why in slips.items() if abs(came - value) < 1e-6 * max(1.0, abs(value))]
    return near[0] if near else ""


def check_equal(answer: Answer) -> None:
    """The divergence of a law from itself is zero."""
    for D in (1, 3):
        law = _law(D, D)
        came = _said(answer, law, law)
        if abs(came) > 1e-9:
            why = {0.5 * D: "; is the −D missing?", -0.5 * D: "; is the trace missing?"}.get(round(came, 6), "")
            raise Wrong(f"kl(q, q) is 0 for any law, came {came:g} for D = {D}{why}")


def check_line(answer: Answer) -> None:
    """On the line it is the integral of q log(q/p)."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    for mean_q, var_q, mean_p, var_p in ((0.0, 1.0, 1.0, 1.0), (0.0, 1.0, 0.0, 4.0), (-0.5, 0.49, 1.0, 2.25)):
        log_q, log_p = (
            -0.5 * (x - mean).square() / var - 0.5 * math.log(2 * math.pi * var)
            for mean, var in ((mean_q, var_q), (mean_p, var_p))
        )
        right = torch.trapezoid(log_q.exp() * (log_q - log_p), x).item()
        q, p = (
            (torch.tensor([mean], dtype=torch.float64), torch.tensor([[var]], dtype=torch.float64))
            for mean, var in ((mean_q, var_q), (mean_p, var_p))
        )
        came = _said(answer, q, p)
        if abs(came - right) > 1e-7:
            squares = (q[0], q[1].square()), (p[0], p[1].square())
            trace, square, log_ratio, D = _parts(*squares)
            variance = abs(came - 0.5 * (trace + square - D + log_ratio)) < 1e-6
            why = "; the second argument is a variance, not a deviation" if variance else _mistake(came, q, p)
            laws = f"N({mean_q:g}, {var_q:g}) and N({mean_p:g}, {var_p:g}), mean and variance"
            raise Wrong(f"kl for {laws}: the integral of q log(q/p) is {right:.6f}, came {came:.6f}{why}")


def check_full(answer: Answer) -> None:
    """Full covariances: it agrees with torch.distributions."""
    for D in (2, 3, 6):
        for seed in range(3):
            q, p = _law(D, 2 * seed), _law(D, 2 * seed + 1)
            right = kl_divergence(MultivariateNormal(*q), MultivariateNormal(*p)).item()
            came = _said(answer, q, p)
            if abs(came - right) > 1e-8 * max(1.0, right):
                why = _mistake(came, q, p)
                alone = [(mean, cov.diagonal().diag()) for mean, cov in (q, p)]
                trace, square, log_ratio, _ = _parts(*alone)
                if abs(came - 0.5 * (trace + square - D + log_ratio)) < 1e-6:
                    why = "; only the diagonals of the covariances are used"
                raise Wrong(f"kl for two random laws in {D} dimensions: expected {right:.6f}, came {came:.6f}{why}")


def check_large(answer: Answer) -> None:
    """In 400 dimensions, where a determinant fits in no float, it is still right."""
    for size in (1e-3, 1e3):
        q, p = ((size**0.5 * mean, size * cov) for mean, cov in (_law(400, 1), _law(400, 2)))
        right = kl_divergence(MultivariateNormal(*q), MultivariateNormal(*p)).item()
        came = answer("kl", *q, *p)
        one = float(came)
        if not abs(one - right) < 1e-6 * right:
            det = "0" if size < 1 else "∞"
            how = "take logdet, or the diagonals of Cholesky factors"
            raise Wrong(
                f"kl in 400 dimensions: expected {right:.4f}, came {one:.4f}; det is rounded to {det} here: {how}"
            )


def check_standard(answer: Answer) -> None:
    """A VAE's term: one number for each row, the sum over its coordinates."""
    draw = torch.Generator().manual_seed(3)
    mean, log_sd = torch.randn(2, 5, 4, generator=draw, dtype=torch.float64) * torch.tensor([1.0, 0.5])[:, None, None]
    zero = torch.zeros(5, 4, dtype=torch.float64)
    q, p = torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(zero, zero.exp())
    terms = kl_divergence(q, p)
    right = terms.sum(1)
    came = answer.tensor("kl_standard", mean, log_sd)
    if came.shape != (5,):
        which = {(): "one number for the whole batch", (5, 4): "one number for each coordinate; sum them"}
        told = which.get(tuple(came.shape), f"the shape {tuple(came.shape)}")
        raise Wrong(f"kl_standard of (5, 4) is to give one number a row, (5,); came {told}")
    if (came - right).abs().max() < 1e-9:
        return
    sd = log_sd.exp()
    slips = {
        "that is the mean over the coordinates: KL is their sum": terms.mean(1),
        "the logarithm stands outside the bracket: it has no factor ½": (
            0.5 * (sd.square() + mean.square() - 1 - log_sd)
        ).sum(1),
        "½ log σ² is log σ: the logarithm is counted twice": (0.5 * (sd.square() + mean.square() - 1) - 2 * log_sd).sum(
            1
        ),
        "the factor ½ belongs to σ² and μ² as well": (sd.square() + mean.square() - log_sd - 0.5).sum(1),
        "the second argument is log σ, not log σ²": (0.5 * (sd + mean.square() - 1 - log_sd)).sum(1),
        "the second argument is log σ, not σ": (0.5 * (log_sd.square() + mean.square() - 1) - log_sd.abs().log()).sum(
            1
        ),
        "the sign is turned: a divergence is not negative": -right,
        "that is KL(N(0, I) ‖ q): the laws are exchanged": kl_divergence(p, q).sum(1),
    }
    why = next((f"; {why}" for why, value in slips.items() if (came - value).abs().max() < 1e-6), "")
    told = f"μ = {mean[0].tolist()}, log σ = {log_sd[0].tolist()}"
    raise Wrong(f"kl_standard: row 0 with {told}: expected {right[0]:.6f}, came {came[0]:.6f}{why}")
