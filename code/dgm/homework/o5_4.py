"""O5.4 Least squares in place of cross-entropy: LSGAN's best critic, what the game is worth, and Pearson's χ²."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dgm.homework import Answer, Wrong

ASKS = {
    "critic_loss": "critic_loss(real, fake, a, b) -> ½ mean (real − b)² + ½ mean (fake − a)², a scalar",
    "generator_loss": "generator_loss(fake, c) -> ½ mean (fake − c)², a scalar",
    "best_critic": "best_critic(pi, p, a, b) -> the critic with the least loss at each of d values, (d,)",
    "value": "value(pi, p, a, b, c) -> V(G) = ½ E_π(D* − c)² + ½ E_p(D* − c)² at the best critic, a scalar",
    "chi2": "chi2(first, second) -> Σ (first − second)² / first, a scalar",
}
TARGETS = ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.3, -0.8, 0.5))


def _laws(seed: int, d: int = 5) -> tuple[Tensor, Tensor]:
    """Two random laws over d values, (d,) each."""
    draw = torch.Generator().manual_seed(seed)
    pi, p = torch.rand(2, d, generator=draw, dtype=torch.float64) + 0.05
    return pi / pi.sum(), p / p.sum()


def _named(came: float | Tensor, slips: Mapping[str, float | Tensor]) -> str:
    """Which typical slip gives what came, or nothing."""
    near = (why for why, wrong in slips.items() if (torch.as_tensor(came) - wrong).abs().max() < 1e-6)
    return next((f"; {why}" for why in near), "")


def check_losses(answer: Answer) -> None:
    """Both losses are half the mean square of what the critic says less what it should say."""
    draw = torch.Generator().manual_seed(5)
    real = torch.randn(6, generator=draw, dtype=torch.float64)
    fake = torch.randn(4, generator=draw, dtype=torch.float64)

    def halves(on_real: float, on_fake: float) -> tuple[float, float]:
        squares = [(D - on_real) ** 2 for D in real.tolist()], [(D - on_fake) ** 2 for D in fake.tolist()]
        return sum(squares[0]) / 12, sum(squares[1]) / 8

    for a, b, c in TARGETS:
        data, samples = halves(b, a)
        right, came = data + samples, answer.number("critic_loss", real, fake, a, b)
        if abs(came - right) > 1e-9:
            why = _named(
                came,
                {
                    "the factor ½ is missing": 2 * right,
                    "a and b are exchanged: b is for data, a for samples": sum(halves(a, b)),
                    "take means: the sums grow with the batch": 6 * data + 4 * samples,
                    "the critic lowers both terms; none is subtracted": data - samples,
                    "the sign is turned: this is a loss, to be lowered": -right,
                    "the term of the samples is missing": data,
                },
            )
            raise Wrong(
                f"critic_loss(real, fake, {a:g}, {b:g}) for 6 and 4 outputs: expected {right:.6f}, came {came:.6f}{why}"
            )
        right = halves(0.0, c)[1]
        came = answer.number("generator_loss", fake, c)
        if abs(came - right) > 1e-9:
            slips = {
                "the factor ½ is missing": 2 * right,
                "take the mean, not the sum": 4 * right,
                "the sign is turned": -right,
            }
            raise Wrong(f"generator_loss(fake, {c:g}): expected {right:.6f}, came {came:.6f}{_named(came, slips)}")


def check_best(answer: Answer) -> None:
    """No other output has a smaller loss at any value: brute force over 200,001 outputs."""
    grid = torch.linspace(-2, 2, 200_001, dtype=torch.float64)
    for seed, (a, b, _) in enumerate(TARGETS):
        pi, p = _laws(seed)
        loss = pi[:, None] * (grid - b) ** 2 + p[:, None] * (grid - a) ** 2
        right, came = grid[loss.argmin(1)], answer.tensor("best_critic", pi, p, a, b, shape=(5,))
        if (came - right).abs().max() > 2e-5:
            why = _named(
                came,
                {
                    "a and b are exchanged: b is for data, a for samples": (a * pi + b * p) / (pi + p),
                    "that is the best critic of cross-entropy": pi / (pi + p),
                    "the targets are weighted by the densities π and p": torch.full((5,), (a + b) / 2).double(),
                    "the weights π and p must be divided by their sum": b * pi + a * p,
                    "the denominator is π + p, and not twice that": (b * pi + a * p) / (2 * (pi + p)),
                },
            )
            i = int((came - right).abs().argmax())
            where = f"where π = {pi[i]:.4f} and p = {p[i]:.4f} the best output is {right[i]:.4f}"
            raise Wrong(f"best_critic(pi, p, {a:g}, {b:g}): {where}, came {came[i]:.4f}{why}")


def check_no_slope(answer: Answer) -> None:
    """At the best critic the loss has no slope: the two functions speak of the same game."""
    pi, p = torch.tensor([4.0, 3.0, 1.0]).double() / 8, torch.tensor([1.0, 2.0, 5.0]).double() / 8
    real, fake = (torch.arange(3).repeat_interleave((8 * law).long()) for law in (pi, p))
    for a, b, _ in TARGETS:
        D = answer.tensor("best_critic", pi, p, a, b, shape=(3,)).detach().clone().requires_grad_()
        loss = answer("critic_loss", D[real], D[fake], a, b)
        if not (isinstance(loss, Tensor) and loss.requires_grad):
            raise Wrong(
                "critic_loss has no gradient by the critic's outputs: do not detach them, nor turn them to numbers"
            )
        (slope,) = torch.autograd.grad(loss, D)
        if slope.abs().max() > 1e-9:
            told = f"slope {slope.abs().max():.4f} for a = {a:g}, b = {b:g}"
            raise Wrong(
                f"critic_loss at best_critic, on eight examples of each law in exact shares: {told}, expected 0"
            )


def check_value(answer: Answer) -> None:
    """V(G) is the definition, with both of its terms."""
    for seed, (a, b, c) in enumerate(TARGETS):
        pi, p = _laws(seed + 10)
        D = [(b * x + a * y) / (x + y) for x, y in zip(pi.tolist(), p.tolist(), strict=True)]
        on_data = sum(x * (D_ - c) ** 2 for x, D_ in zip(pi.tolist(), D, strict=True)) / 2
        on_samples = sum(y * (D_ - c) ** 2 for y, D_ in zip(p.tolist(), D, strict=True)) / 2
        critic = sum(x * (D_ - b) ** 2 + y * (D_ - a) ** 2 for x, y, D_ in zip(pi.tolist(), p.tolist(), D, strict=True))
        right, came = on_data + on_samples, answer.number("value", pi, p, a, b, c)
        if abs(came - right) > 1e-9:
            slips = {
                "the factor ½ is missing": 2 * right,
                "the mean over the data, ½ E_π(D* − c)², is missing": on_samples,
                "the mean over the samples, ½ E_p(D* − c)², is missing": on_data,
                "that is the loss of the critic, with a and b": critic / 2,
            }
            told = f"expected {right:.6f}, came {came:.6f}{_named(came, slips)}"
            raise Wrong(f"value(pi, p, {a:g}, {b:g}, {c:g}) for two random laws: {told}")


def check_chi2(answer: Answer) -> None:
    """χ² is weighted by its first argument, whose sum need not be 1."""
    for seed in range(3):
        pi, p = _laws(seed + 20)
        for first, second in ((pi, p), (3 * pi, 2 * p)):
            right = sum((x - y) ** 2 / x for x, y in zip(first.tolist(), second.tolist(), strict=True))
            came = answer.number("chi2", first, second)
            if abs(came - right) > 1e-9 * max(1.0, right):
                apart = first - second
                slips = {
                    "here the first argument stands below": (apart.square() / second).sum(),
                    "the first argument alone stands below": (apart.square() / (first + second)).sum(),
                    "the difference is squared": apart.sum(),
                    "the factor ½ stands in V(G), not here": 0.5 * right,
                    "the square of the difference belongs above": (apart.square() / first.square()).sum(),
                    "the arguments are not to be scaled to the sum 1": (
                        (first / first.sum() - second / second.sum()).square() / (first / first.sum())
                    ).sum(),
                }
                sums = f"two laws with the sums {first.sum():g} and {second.sum():g}"
                raise Wrong(f"chi2 for {sums}: expected {right:.6f}, came {came:.6f}{_named(came, slips)}")


def check_identity(answer: Answer) -> None:
    """If b − c = 1 and b − a = 2, V(G) is half of χ²(π + p ‖ 2p); equal laws give 0, disjoint ones 1."""
    for seed in range(4):
        pi, p = _laws(seed + 30)
        c = seed - 1.5
        whole, half = answer.number("value", pi, p, c - 1, c + 1, c), 0.5 * answer.number("chi2", pi + p, 2 * p)
        if abs(whole - half) > 1e-9:
            raise Wrong(
                f"V(G) for a = {c - 1:g}, b = {c + 1:g}, c = {c:g} is {whole:.6f}, half of χ²(π + p ‖ 2p) is {half:.6f}"
            )
    pi, _ = _laws(40)
    left, right = torch.tensor([[0.4, 0.6, 0.0, 0.0], [0.0, 0.0, 0.9, 0.1]], dtype=torch.float64)
    for first, second, expected in ((pi, pi, 0.0), (left, right, 1.0)):
        came = answer.number("value", first, second, -1.0, 1.0, 0.0)
        if abs(came - expected) > 1e-9:
            what = "two equal laws" if expected == 0 else "two laws without common values"
            raise Wrong(f"value(…, −1, 1, 0) of {what} is {expected:g}, came {came:g}")
