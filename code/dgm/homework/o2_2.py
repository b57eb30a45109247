"""O2.2 How large is a head: a softmax over all values against a mixture of K logistic laws."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from dgm.homework import Answer, Wrong

ASKS = {
    "categorical_head": "categorical_head(C, H, W, d) -> the shape (channels, H, W) of a head with a softmax a value",
    "mixture_head": "mixture_head(C, H, W, K) -> the shape (channels, H, W) of a head with K logistic laws a value",
    "smallest_K": "smallest_K(d) -> the least K for which the mixture's head is larger than the categorical one",
    "log_probs": "log_probs(h, d) -> log-probabilities (..., d) from the head's output h (..., 3K)",
}
PICTURES = ((1, 28, 28), (2, 5, 7), (3, 32, 32))


def _shape(answer: Answer, name: str, *sizes: int) -> tuple[int, int, int]:
    """A shape of three whole numbers as it came."""
    came = answer(name, *sizes)
    called = f"{name}{sizes}"
    if not (isinstance(came, tuple | list) and len(came) == 3 and all(isinstance(part, int) for part in came)):
        raise Wrong(f"{called} is to be three whole numbers (channels, H, W), came {came!r}")
    channels, H, W = came
    if sizes[1:3] != (H, W):
        last = " The channels come first." if (channels, H) == sizes[1:3] else ""
        raise Wrong(f"{called}: the head keeps height and width {sizes[1:3]}, came {tuple(came)}.{last}")
    return channels, H, W


def check_categorical(answer: Answer) -> None:
    """The categorical head has d numbers for each value of the picture."""
    for C, H, W in PICTURES:
        for d in (4, 256):
            channels = _shape(answer, "categorical_head", C, H, W, d)[0]
            if channels == C * d:
                continue
            why = {
                d: "that is one softmax a pixel; each of the C channels has its own",
                d**C: "that is a joint table over all channels of a pixel; the channels have a softmax each",
                C * (d - 1): "d − 1 numbers would be enough, but a softmax is given d logits",
            }.get(channels, "each of the C values of a pixel needs d logits")
            raise Wrong(f"categorical_head({C}, {H}, {W}, {d}): expected {C * d} channels, came {channels}; {why}")


def check_mixture(answer: Answer) -> None:
    """The mixture's head has weights, means and scales for each value of the picture."""
    for C, H, W in PICTURES:
        for K in (5, 10, 1):
            channels = _shape(answer, "mixture_head", C, H, W, K)[0]
            if channels == 3 * K * C:
                continue
            why = {
                2 * K * C: "the weights of the components are missing",
                (3 * K - 1) * C: "one weight follows from the others, but a softmax is given K logits",
                3 * K: "each of the C channels has a mixture of its own",
                K * C: "a component takes three numbers: weight, mean, scale",
            }.get(channels, "each of the C values of a pixel needs K weights, K means and K scales")
            raise Wrong(f"mixture_head({C}, {H}, {W}, {K}): expected {3 * K * C} channels, came {channels}; {why}")


def check_smallest(answer: Answer) -> None:
    """From the K that is named on, and not before, the mixture's head is the larger one."""
    for d in (256, 2, 3, 7, 255, 1024):
        came = answer("smallest_K", d)
        if not isinstance(came, int):
            raise Wrong(f"smallest_K({d}) is to be a whole number, came {came!r}")
        if 3 * came == d:
            raise Wrong(f"smallest_K({d}): with K = {came} both heads have {d} numbers a value; larger means more")
        if 3 * came < d:
            more = f"with K = {came} the mixture has {3 * came} numbers a value and the softmax {d}"
            raise Wrong(f"smallest_K({d}): {more}: still smaller")
        if 3 * (came - 1) > d:
            raise Wrong(f"smallest_K({d}): {came} is enough, but so is {came - 1}: 3·{came - 1} > {d}")


def _head(seed: int, K: int, d: int, batch: tuple[int, ...] = ()) -> Tensor:
    """A random output of a head whose means lie among the values and beside them."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, *batch, K, generator=draw, dtype=torch.float64)
    return torch.cat([noise[0], d / 2 + d / 3 * noise[1], 0.4 * noise[2]], -1)


def _integrated(logits: Tensor, mean: Tensor, scale: Tensor, d: int, points: int = 2_001) -> Tensor:
    """The masses of the d bins by the trapezium rule over the mixture's density; the tails end 60 scales out."""
    reach = 60 * scale.max().item() + mean.abs().max().item()
    edges = [-reach - 0.5, *(v + 0.5 for v in range(d - 1)), d - 0.5 + reach]
    masses = []
    for low, high in pairwise(edges):
        x = torch.linspace(low, high, points * (10 if high - low > 1 else 1), dtype=torch.float64)
        u = (x[:, None] - mean) / scale
        density = (torch.sigmoid(u) * torch.sigmoid(-u) / scale) @ logits.softmax(-1)
        masses.append(torch.trapezoid(density, x))
    return torch.stack(masses)


def check_mass(answer: Answer) -> None:
    """The probabilities of all values add up to 1, as the first and the last bin are open."""
    for seed, (K, d) in enumerate(((1, 4), (3, 8), (5, 256))):
        h = _head(seed, K, d, (2, 3))
        total = answer.tensor("log_probs", h, d, shape=(2, 3, d)).exp().sum(-1)
        worst = (total - 1).abs().max().item()
        if worst > 1e-9:
            mass = total.flatten()[(total - 1).abs().argmax()].item()
            inside = h.clone()
            inside[..., K : 2 * K], inside[..., 2 * K :] = d / 2, -4.0  # all of the mass far from both ends
            lost = (answer("log_probs", inside, d).exp().sum(-1) - 1).abs().max().item() < 1e-9
            why = (
                "the first bin is to reach down to −∞ and the last one up to +∞"
                if lost
                else "are the weights a softmax of the first K numbers?"
            )
            raise Wrong(f"log_probs(h, {d}) for a random h with K = {K}: the probabilities add up to {mass:.4f}; {why}")


def check_bins(answer: Answer) -> None:
    """Each value gets the mass of the mixture's density over its bin."""
    for seed, (K, d) in enumerate(((1, 3), (2, 6), (4, 10))):
        h = _head(seed, K, d)
        logits, mean, last = h.chunk(3)
        right = _integrated(logits, mean, last.exp(), d)
        came = answer.tensor("log_probs", h, d, shape=(d,)).exp()
        if (came - right).abs().max() < 1e-6:
            continue
        mistakes = {
            "the last K numbers are logarithms of the scales": (logits, mean, last.abs() + 1e-3),
            "is the scale exp(log-scale), and not 1 over it?": (logits, mean, (-last).exp()),
            "the weights are a softmax of the first K numbers": (torch.zeros_like(logits), mean, last.exp()),
        }
        named = [why for why, law in mistakes.items() if (came - _integrated(*law, d)).abs().max() < 1e-6]
        if (came[:-1] - right[1:]).abs().max() < 1e-6 and d > 3:
            named = ["the values are one place off: they begin with 0"]
        value = int((came - right).abs().argmax())
        told = f"value {value} has the mass {right[value]:.5f} by integration, came {came[value]:.5f}"
        why = named[0] if named else "a bin goes from x − ½ to x + ½, for x = 0, 1, …"
        raise Wrong(f"log_probs(h, {d}) for a random h with K = {K}: {told}; {why}")


def check_far(answer: Answer) -> None:
    """A value far from every mean has a finite log-probability, and the right one."""
    for place, value in ((10.0, 200), (240.0, 3)):
        h = torch.tensor([0.0, place, math.log(0.5)], dtype=torch.float64)
        came = answer("log_probs", h, 256)
        edge = (abs(value - place) - 0.5) / 0.5
        right = -edge + math.log(-math.expm1(-2.0))  # so far out the tail is exp(−edge)
        one = came[value].item()
        if not math.isfinite(one) or abs(one - right) > 1e-6 * abs(right):
            # what a logistic law leaves out there is e^−379, far below the spacing of floats near 1
            how = "work with logarithms: σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b))"
            raise Wrong(
                f"log_probs with one component at {place:g}, scale 0.5: log P({value}) is {right:.3f}, came {one:.3f}; "
                f"the difference of two numbers near 0 or 1 loses it, {how}"
            )
