"""O6.3 Clipping against the gradient penalty: eight peaks, which modes are covered, where the weights end."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dgm.data import toy
from dgm.data.toys import PEAKS_RADIUS, PEAKS_SD, ring_centres
from dgm.homework import Answer, Wrong, finite
from dgm.metrics.samples import mode_counts
from dgm.nn.mlp import mlp

ASKS = {
    "clip": "clip(critic, bound) -> the critic, every parameter cut to [−bound, bound] in place",
    "slope_bound": "slope_bound(sizes, bound) -> the largest slope that clipped weights allow a net of these sizes",
    "peaks_found": "peaks_found(points, centres, radius, least) -> the number of peaks with at least `least` points "
    "within the radius, and the share of points near any",
    "weight_histogram": "weight_histogram(critic, bound, bins) -> counts of all parameters in [−bound, bound], (bins,)",
    "train": 'train(points, kind, seed) -> generator and critic of the game, kind "clipping" (BOUND) or "penalty"',
    "BOUND": "the bound of the clipped weights in train, a number",
}
LATENT, SAMPLES = 2, 2_500
RADIUS, LEAST = 4 * PEAKS_SD, SAMPLES // 80  # a tenth of a peak's share
FOUND, SHARE = 7, 0.25  # ours


def check_clip(answer: Answer) -> None:
    """Every parameter, weight or bias, is cut to the bound in place, and smaller ones stay."""
    torch.manual_seed(0)
    net = mlp([2, 16, 1])
    before = copy.deepcopy(net)
    came = answer("clip", net, 0.2)
    if came is not net:
        raise Wrong(f"clip changes the critic in place and gives the same one back, came {type(came).__name__}")
    for (name, new), old in zip(net.named_parameters(), before.parameters(), strict=True):
        want = old.detach().clamp(-0.2, 0.2)
        if torch.allclose(new.detach(), want):
            continue
        if torch.equal(new, old):
            kind = "biases" if name.endswith("bias") else "weights"
            raise Wrong(
                f"clip leaves the {kind} as they were: parameter {name} still reaches {old.abs().max():.3f}, bound 0.2"
            )
        hint = "; each is cut alone: no scaling" if new.abs().max() <= 0.2001 else ""
        if new.max() <= 0.2001 < new.abs().max():
            hint = "; the cut has two sides, −bound and bound"
        raise Wrong(f"clip(critic, 0.2): parameter {name} is not what cutting its entries to ±0.2 gives{hint}")


def check_slope_bound(answer: Answer) -> None:
    """The bound is the product of the largest norms that the layers can have, c√(NM) each."""
    for sizes, c in (([2, 3], 0.5), ([2, 64, 64, 1], 0.1), ([2, 64, 64, 64, 1], 0.01), ([3, 5, 1], 1.0)):
        full = [torch.full((M, N), c, dtype=torch.float64) for N, M in pairwise(sizes)]  # of all corners the largest
        want = math.prod(torch.linalg.matrix_norm(W, 2).item() for W in full)
        came = answer.number("slope_bound", sizes, c)
        if abs(came - want) <= 1e-6 * want:
            continue
        areas, layers = [N * M for N, M in pairwise(sizes)], len(sizes) - 1
        why = {
            "the root is missing: the norm of a matrix of N·M entries ±c is c√(NM)": math.prod(c * a for a in areas),
            "the bound counts once a layer": c * math.prod(map(math.sqrt, areas)),
            "slopes of layers one after the other multiply, they do not add": sum(c * math.sqrt(a) for a in areas),
            "the bound is missing": math.prod(map(math.sqrt, areas)),
            "that is one layer too few": want / (c * math.sqrt(areas[-1])),
        }
        hint = next((text for text, value in why.items() if abs(came - value) <= 1e-6 * value and layers > 0), None)
        raise Wrong(
            f"slope_bound({sizes}, {c:g}): expected {want:.6g}, came {came:.6g}" + (f"; {hint}" if hint else "")
        )


def _found(answer: Answer, points: Tensor, centres: Tensor, radius: float, least: int) -> tuple[float, float]:
    came = answer("peaks_found", points, centres, radius, least)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"peaks_found is to give two numbers, peaks and share, came {type(came).__name__}")
    return float(came[0]), float(came[1])


def check_peaks_found(answer: Answer) -> None:
    """Peaks and share are counted right, a point at a time."""
    centres = ring_centres(PEAKS_RADIUS)
    for seed in range(3):
        source = torch.Generator().manual_seed(seed)
        which = torch.randint(6, (300,), generator=source)  # two peaks get nothing
        points = centres[which] + 0.2 * torch.randn(300, 2, generator=source, dtype=torch.float64)
        points[:3] = centres[6] + 0.01  # a few at a seventh
        hits = [sum(math.dist(p, c) <= 0.3 for p in points.tolist()) for c in centres.tolist()]
        for least in (1, 10):
            peaks, share = _found(answer, points, centres, 0.3, least)
            want, near = sum(hit >= least for hit in hits), sum(hits) / 300
            if peaks != want:
                over = sum(hit > 0 for hit in hits)
                hint = f"; {over} peaks have any sample, but {least} make it a found one" if peaks == over else ""
                raise Wrong(
                    f"peaks_found with {hits} points within the radius of the peaks, least = {least}: expected {want} "
                    f"peaks, came {peaks:g}{hint}"
                )
            if abs(share - near) > 1e-6:
                hint = "; every point is counted, also those that are near no peak" if abs(share - 1) < 1e-6 else ""
                if abs(share - near * 300) < 1e-3:
                    hint = "; that is their number, not their share"
                raise Wrong(f"peaks_found: the share of points near a peak is {near:.4f}, came {share:.4f}{hint}")


def check_histogram(answer: Answer) -> None:
    """The histogram counts all parameters, those at the ends included."""
    torch.manual_seed(1)
    net = mlp([2, 30, 1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.clamp_(-0.2, 0.2)
    entries = [value for parameter in net.parameters() for value in parameter.detach().flatten().tolist()]
    for bins in (4, 10):
        came = answer.tensor("weight_histogram", net, 0.2, bins, shape=(bins,)).double()
        places = [min(int((value + 0.2) / 0.4 * bins + 1e-9), bins - 1) for value in entries]
        want = torch.bincount(torch.tensor(places), minlength=bins).double()
        told = f"expected {want.long().tolist()}, came {[round(v, 3) for v in came.tolist()]}"
        if came.sum() != len(entries):
            weights = sum(parameter.numel() for name, parameter in net.named_parameters() if name.endswith("weight"))
            at_ends = sum(abs(value) > 0.19999 for value in entries)
            hint = f"the critic has {len(entries)} parameters, and {came.sum():g} were counted"
            if came.sum() == weights:
                hint += ": the biases are missing"
            elif came.sum() >= len(entries) - at_ends:
                hint += ": those at the ends ±bound belong to the outer bins"
            elif abs(came.sum() * 0.4 / bins - 1) < 1e-3 or abs(came.sum() - 1) < 1e-3:
                hint += ": counts are asked, no density"
            raise Wrong(f"weight_histogram in {bins} bins: {hint}; {told}")
        if (came - want).abs().sum() > 2:  # a rounded edge may move one
            raise Wrong(f"weight_histogram in {bins} bins from −0.2 to 0.2: {told}")


def _trained(answer: Answer, kind: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """The two players of a game and 2,500 samples; trained once, then remembered."""
    key = f"train(points, {kind!r}, 0)"
    if key not in answer.names:
        points = toy("eight_peaks", 25_600)
        came = answer("train", points, kind, 0)
        if not (isinstance(came, tuple | list) and len(came) == 2 and all(isinstance(net, nn.Module) for net in came)):
            raise Wrong(f"{key} is to give the generator and the critic, two modules; came {type(came).__name__}")
        generator, critic = came
        answer.names["generator"] = generator
        z = torch.randn(SAMPLES, LATENT, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            drawn = finite(answer("generator", z), f"the generator of {key}", (SAMPLES, 2))
        answer.names[key] = generator, critic, drawn
    made: tuple[nn.Module, nn.Module, Tensor] = answer.names[key]
    return made


def _modes(points: Tensor) -> tuple[int, float]:
    counts = mode_counts(points, ring_centres(PEAKS_RADIUS), RADIUS)
    return int((counts >= LEAST).sum()), counts.sum().item() / len(points)


def check_clipping(answer: Answer) -> None:
    """After the clipped game all of the critic's parameters lie within the bound, and it has moved to its ends."""
    bound = answer.names["BOUND"]
    if not (isinstance(bound, int | float) and bound > 0):
        raise Wrong(f"BOUND is to be a number above 0, came {bound!r}")
    _, critic, _ = _trained(answer, "clipping")
    sizes = torch.cat([parameter.detach().abs().flatten() for parameter in critic.parameters()])
    if sizes.max() > bound * 1.001:
        raise Wrong(
            f'after train(…, "clipping", 0) a parameter of the critic is {sizes.max():.3f}, the bound is {bound:g}: '
            "clip after every step of the critic, the last included"
        )
    if not (sizes > 0.99 * bound).any():
        raise Wrong(f'after train(…, "clipping", 0) no parameter is at ±{bound:g}: the bound had nothing to do')


def check_covered(answer: Answer) -> None:
    """With the penalty the samples cover the peaks, and more of them lie near one than with clipping."""
    peaks, share = _modes(_trained(answer, "penalty")[2])
    told = f'after train(…, "penalty", 0) {peaks} of 8 peaks are found and {share:.0%} of 2,500 samples lie near one'
    untrained = "a generator that was not trained finds none"
    if peaks < FOUND:
        raise Wrong(f"{told}; {FOUND} peaks at least are asked ({untrained}). Smaller λ, more steps of the critic?")
    if share < SHARE:
        raise Wrong(f"{told}; {SHARE:.0%} at least are asked ({untrained}): λ may be too large for peaks this sharp")
    clipped = _modes(_trained(answer, "clipping")[2])
    if clipped[1] >= share:
        raise Wrong(
            f"{told}, with clipping {clipped[0]} peaks and {clipped[1]:.0%}: the penalty is expected ahead. Are the "
            "two kinds exchanged, or the same game?"
        )
    bound = answer.names["BOUND"]
    reach = max(parameter.detach().abs().max().item() for parameter in _trained(answer, "penalty")[1].parameters())
    if reach <= bound:
        raise Wrong(
            f'after train(…, "penalty", 0) all weights lie within ±{bound:g}: with the penalty nothing is clipped'
        )
