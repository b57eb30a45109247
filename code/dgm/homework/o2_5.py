"""O2.5 One divergence between two others: the α-divergence and its limits at α = ±1."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import torch
from torch import Tensor

from dgm.homework import Answer, Wrong

ASKS = {
    "alpha_divergence": "alpha_divergence(p, q, alpha) -> D_α(p ‖ q) of two discrete laws (d,), −1 ≤ α ≤ 1, a scalar",
    "alpha_normals": "alpha_normals(mean_p, sd_p, mean_q, sd_q, alpha) -> the same of two normals, |α| < 1, a number",
}
PAIRS = (((0.5, 0.5), (0.25, 0.75)), ((0.1, 0.2, 0.7), (0.3, 0.6, 0.1)), ((0.97, 0.01, 0.02), (0.2, 0.5, 0.3)))
ORDERS = (0.5, 0.0, -0.5, 0.9, -0.9)


def _both(pair: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    p, q = (torch.tensor(law, dtype=torch.float64) for law in pair)
    return p, q


def _exact(p: Tensor, q: Tensor, alpha: float) -> float:
    """The definition with sixty digits, for −1 < α < 1."""
    with localcontext() as context:
        context.prec = 60
        order = Decimal(alpha)
        up, down = (1 + order) / 2, (1 - order) / 2
        pairs = [(Decimal(a), Decimal(b)) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0 and b > 0]
        # p sums to 1 up to a rounding of 1e-17, which 4/(1 − α²) would enlarge: the mass of p stands for the 1
        one = up * sum(Decimal(a) for a in p.tolist()) + down * sum(Decimal(b) for b in q.tolist())
        affinity = sum((a.ln() * up + b.ln() * down).exp() for a, b in pairs)
        return float(4 / (1 - order * order) * (one - affinity))


def _kl(p: Tensor, q: Tensor) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)


def _said(answer: Answer, p: Tensor, q: Tensor, alpha: float) -> float:
    """The number as it came: it may be infinite."""
    came = answer("alpha_divergence", p, q, alpha)
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"alpha_divergence is to give one number, came {type(came).__name__}") from None


def _near(came: float, right: float, relative: float = 1e-9) -> bool:
    return abs(came - right) <= relative * max(1.0, abs(right))


def check_equal(answer: Answer) -> None:
    """The divergence of a law from itself is zero at every order."""
    p, _ = _both(PAIRS[1])
    for alpha in (*ORDERS, 1.0, -1.0):
        came = _said(answer, p, p, alpha)
        if not _near(came, 0.0):
            raise Wrong(
                f"alpha_divergence(p, p, {alpha:g}) is 0, as the sum of the mixed powers is Σp = 1; came {came:g}"
            )


def check_inside(answer: Answer) -> None:
    """Between the ends it is the definition."""
    for pair in PAIRS:
        p, q = _both(pair)
        for alpha in ORDERS:
            right, came = _exact(p, q, alpha), _said(answer, p, q, alpha)
            if _near(came, right):
                continue
            missing = (1 - alpha**2) * right / 4  # 1 − Σ…
            slips = {
                -right: "the sign: the sum of the mixed powers is at most 1",
                4 * right: "the factor is 4/(1 − α²), and not 16/(1 − α²)",
                right / 4: "the factor 4 is missing",
                missing: "the factor 4/(1 − α²) is missing",
                4 * missing: "the factor 1/(1 − α²) is missing",
                1 - missing: "that is the sum Σ p^((1+α)/2) q^((1−α)/2) alone",
                _exact(q, p, alpha): "p and q are exchanged: p has the exponent (1+α)/2",
                right / math.log(2): "that is in bits",
            }
            if alpha > 0:
                other = 1 - (p**alpha * q ** (1 - alpha)).sum().item()
                slips[4 / (1 - alpha**2) * other] = "the exponents are (1+α)/2 and (1−α)/2, not α and 1 − α"
                slips[other / (alpha * (1 - alpha))] = "that is another convention, with the exponents α and 1 − α"
            why = next((f"; {why}" for value, why in slips.items() if _near(came, value)), "")
            laws = f"{list(pair[0])}, {list(pair[1])}"
            raise Wrong(f"alpha_divergence({laws}, {alpha:g}): expected {right:.6f}, came {came:.6f}{why}")


def check_ends(answer: Answer) -> None:
    """At α = 1 it is KL(p ‖ q), at α = −1 it is KL(q ‖ p)."""
    for pair in PAIRS:
        p, q = _both(pair)
        for alpha, right, other in ((1.0, _kl(p, q), _kl(q, p)), (-1.0, _kl(q, p), _kl(p, q))):
            came = _said(answer, p, q, alpha)
            if _near(came, right):
                continue
            which = "KL(p ‖ q)" if alpha > 0 else "KL(q ‖ p)"
            why = ""
            if math.isnan(came) or math.isinf(came):
                why = "; 4/(1 − α²) is no number there: take the limit that you derived"
            elif _near(came, other):
                why = "; that is the KL of the other direction"
            elif _near(came, right / math.log(2)):
                why = "; that is in bits"
            laws = f"{list(pair[0])}, {list(pair[1])}"
            raise Wrong(f"alpha_divergence({laws}, {alpha:g}) is {which} = {right:.6f}, came {came:.6f}{why}")


def check_near(answer: Answer) -> None:
    """Very near to the ends no digit is lost."""
    for pair in PAIRS[:2]:
        p, q = _both(pair)
        for places in (3, 6, 9, 12, 15):
            for sign in (1, -1):
                alpha = sign * (1 - 10.0**-places)
                right, came = _exact(p, q, alpha), _said(answer, p, q, alpha)
                if not _near(came, right, 1e-8):
                    laws = f"{list(pair[0])}, {list(pair[1])}"
                    how = "1 − Σ… subtracts two equal numbers; write it as Σ p(1 − t^v) with t = q/p, and take expm1"
                    told = f"with 1 − |α| = 1e-{places} is {right:.9f}, came {came:.9f}"
                    raise Wrong(f"alpha_divergence({laws}, α) {told}; {how}")


def check_zeros(answer: Answer) -> None:
    """Laws with zeros: finite between the ends, infinite at an end where KL is."""
    p, q = torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.25, 0.0, 0.75]).double()
    apart = torch.tensor([0.0, 0.0, 1.0]).double()
    half = torch.tensor([0.25, 0.75, 0.0]).double()
    for first, second, alpha, right in (
        (p, q, 0.5, _exact(p, q, 0.5)),
        (p, q, -0.5, _exact(p, q, -0.5)),
        (p, apart, 0.0, 4.0),
        (p, half, 1.0, _kl(p, half)),
        (p, half, -1.0, _kl(half, p)),
        (p, q, 1.0, math.inf),
        (p, q, -1.0, math.inf),
    ):
        came = _said(answer, first, second, alpha)
        if came == right or (math.isfinite(right) and _near(came, right)):
            continue
        why = "; 0·log 0 counts as 0" if math.isnan(came) else ""
        if right == math.inf and not why:
            why = "; one law gives mass to a value to which the other gives none"
        laws = f"{first.tolist()}, {second.tolist()}"
        raise Wrong(f"alpha_divergence({laws}, {alpha:g}): expected {right:.6f}, came {came:.6f}{why}")


def check_normals(answer: Answer) -> None:
    """Two normals: the closed form agrees with the integral."""
    x = torch.linspace(-60, 60, 40_001, dtype=torch.float64)
    for mean_p, sd_p, mean_q, sd_q in ((0.0, 1.0, 1.5, 1.0), (0.0, 1.0, 0.0, 2.0), (-0.5, 0.6, 1.0, 1.4)):
        log_p, log_q = (
            -0.5 * ((x - mean) / sd).square() - math.log(sd) - 0.5 * math.log(2 * math.pi)
            for mean, sd in ((mean_p, sd_p), (mean_q, sd_q))
        )

        def integral(alpha: float, log_p: Tensor = log_p, log_q: Tensor = log_q) -> float:
            mixed = (0.5 * (1 + alpha) * log_p + 0.5 * (1 - alpha) * log_q).exp()
            return 4 / (1 - alpha**2) * (1 - torch.trapezoid(mixed, x).item())

        for alpha in (0.0, 0.6, -0.6, 0.95):
            right = integral(alpha)
            came = answer.number("alpha_normals", mean_p, sd_p, mean_q, sd_q, alpha)
            if _near(came, right, 1e-6):
                continue
            why = ""
            if _near(came, integral(-alpha), 1e-6):
                why = "; the two laws, or the two exponents, are exchanged"
            elif sd_p == sd_q and mean_p != mean_q:
                why = f"; with equal deviations the integral is exp(−(1 − α²)/8 · {mean_p - mean_q:g}²/σ²)"
            elif mean_p == mean_q:
                why = "; is what stands before the exponential right? σ_p^b σ_q^a over the root of aσ_q² + bσ_p²"
            laws = f"{mean_p:g}, {sd_p:g}, {mean_q:g}, {sd_q:g}, {alpha:g}"
            raise Wrong(f"alpha_normals({laws}): the integral gives {right:.6f}, came {came:.6f}{why}")
