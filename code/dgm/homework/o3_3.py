"""O3.3 RealNVP on two moons: couplings, their way back, an exact density and samples from it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from dgm.data import toy
from dgm.homework import Answer, Wrong, finite
from dgm.nn.mlp import mlp

ASKS = {
    "couple": "couple(x, stays, net) -> z (B, 2) and log|det ∂z/∂x| (B,) of one affine coupling",
    "uncouple": "uncouple(z, stays, net) -> x, (B, 2), the way back",
    "log_prob": "log_prob(x, flow) -> the log-density in nats, (B,), of a list of pairs (stays, net), base N(0, I)",
    "sample": "sample(flow, n, seed) -> n draws from the flow, (n, 2)",
    "train": "train(data, seed) -> a flow of six couplings, trained on data (N, 2)",
}
BOUND = 3.0
SD = 0.1
ABOVE = 0.25
"""How far above the truth a trained flow may be, nats. The course sets no number; this one is ours."""
MASKS = torch.tensor([True, False]), torch.tensor([False, True])


def _net() -> nn.Module:
    """A random network that bends more than a fresh one, in float64."""
    net = mlp([2, 16, 4]).double().requires_grad_(False)
    for weight in net.parameters():
        weight.mul_(2.5)
    return net


def _said(x: Tensor, stays: Tensor, net: Any) -> tuple[Tensor, Tensor]:
    """Raw log-scale and shift, without masks."""
    raw, shift = net(x * stays).chunk(2, 1)
    return raw, shift


def _there(x: Tensor, stays: Tensor, net: Any) -> tuple[Tensor, Tensor]:
    """A coupling, for the checks; `_back` undoes it."""
    raw, shift = _said(x, stays, net)
    scale = BOUND * torch.tanh(raw / BOUND)
    return torch.where(stays, x, x * scale.exp() + shift), scale[:, ~stays][:, 0]


def _back(z: Tensor, stays: Tensor, net: Any) -> Tensor:
    raw, shift = _said(z, stays, net)
    return torch.where(stays, z, (z - shift) / (BOUND * torch.tanh(raw / BOUND)).exp())


def _pair(answer: Answer, x: Tensor, stays: Tensor, net: Any) -> tuple[Tensor, Tensor]:
    came = answer("couple", x, stays, net)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"couple is to give z and the log-determinant, came {type(came).__name__}")
    return finite(came[0], "the z of couple(…)", (len(x), 2)), finite(came[1], "log|det| of couple(…)", (len(x),))


def check_couple(answer: Answer) -> None:
    """One coordinate stays, the other is scaled and shifted by what the network says of the first."""
    for stays in MASKS:
        x, net = torch.randn(20, 2, dtype=torch.float64), _net()
        came, _ = _pair(answer, x, stays, net)
        keeps, moves = int(stays.int().argmax()), int((~stays).int().argmax())
        raw, shift = (part[:, moves] for part in _said(x, stays, net))
        mover, scale = x[:, moves], BOUND * torch.tanh(raw / BOUND)
        called = f"couple(x, {stays.tolist()}, net)"
        if not torch.allclose(came[:, keeps], x[:, keeps]):
            hint = ": True in stays says that it stays" if torch.allclose(came[:, moves], mover) else ""
            raise Wrong(f"{called}: coordinate {keeps + 1} is to stay as it is, it moved{hint}")
        unmasked = [part[:, moves] for part in net(x).chunk(2, 1)]
        mistakes = {
            "the network saw the coordinate that moves; give it x * stays, or nothing can be undone": mover
            * (BOUND * torch.tanh(unmasked[0] / BOUND)).exp()
            + unmasked[1],
            "the log-scale is not bounded; it is 3 tanh(r / 3) of what the network says": mover * raw.exp() + shift,
            "the log-scale is tanh(r); it is 3 tanh(r / 3)": mover * torch.tanh(raw).exp() + shift,
            "the scale is s itself; it is exp(s), which is never 0": mover * scale + shift,
            "the shift is subtracted; there it is added, on the way back subtracted": mover * scale.exp() - shift,
            "the shift comes before the scale: z = x · exp(s) + t": (mover + shift) * scale.exp(),
            "log-scales and shifts are exchanged: the network says the log-scales first": mover
            * (BOUND * torch.tanh(shift / BOUND)).exp()
            + raw,
        }
        truth = mover * scale.exp() + shift
        if not torch.allclose(came[:, moves], truth):
            hint = next((what for what, wrong in mistakes.items() if torch.allclose(came[:, moves], wrong)), "")
            raise Wrong(
                f"{called}: " + (hint or f"the first mover is to become {truth[0]:.4f}, came {came[0, moves]:.4f}")
            )


def check_determinant(answer: Answer) -> None:
    """The log-determinant is that of the Jacobian, which automatic differentiation gives."""
    for stays in MASKS:
        x, net = torch.randn(10, 2, dtype=torch.float64), _net()
        came = _pair(answer, x, stays, net)[1]
        rows = torch.autograd.functional.jacobian(lambda x, s=stays, n=net: _there(x, s, n)[0].sum(0), x)
        truth = rows.transpose(0, 1).slogdet().logabsdet
        if not torch.allclose(came, truth):
            raw, _ = _said(x, stays, net)
            s = BOUND * torch.tanh(raw / BOUND)
            mistakes = {
                "the sign is turned": -truth,
                "it adds the log-scale of the coordinate that stays, which is not scaled": s.sum(1),
                "this is the determinant, not its logarithm": truth.exp(),
                "this is the mean over the two coordinates, not the sum": truth / 2,
                "the log-scale in it is the network's raw one, without the bound": raw[:, ~stays][:, 0],
                "this is zero, as if the volume were preserved": 0 * truth,
            }
            hint = next((what for what, wrong in mistakes.items() if torch.allclose(came, wrong)), "")
            told = hint or f"for the first example it is to be {truth[0]:.4f}, came {came[0]:.4f}"
            raise Wrong(f"couple(x, {stays.tolist()}, net): log|det|: {told}")


def check_inverse(answer: Answer) -> None:
    """The way back gives every point back."""
    for stays in MASKS:
        x, net = torch.randn(20, 2, dtype=torch.float64), _net()
        z = _there(x, stays, net)[0]
        came = answer.tensor("uncouple", z, stays, net, shape=(20, 2))
        if not torch.allclose(came, x, atol=1e-8):
            raw, shift = _said(x, stays, net)
            s = BOUND * torch.tanh(raw / BOUND)
            mistakes = {
                "the scale is undone before the shift; the last step there is the first one back": z * (-s).exp()
                - shift,
                "the scale is multiplied once more, it is to be divided by": (z - shift) * s.exp(),
                "this is the way there": _there(z, stays, net)[0],
            }
            same = (what for what, wrong in mistakes.items() if torch.allclose(came[:, ~stays], wrong[:, ~stays]))
            hint = next(same, f"{_told(x[0])} came back as {_told(came[0])}")
            raise Wrong(f"uncouple(z, {stays.tolist()}, net): {hint}")


def _told(x: Tensor) -> str:
    return "(" + ", ".join(f"{v:.3f}" for v in x.tolist()) + ")"


def _random(count: int) -> list[tuple[Tensor, nn.Module]]:
    return [(MASKS[k % 2], _net()) for k in range(count)]


def check_log_prob(answer: Answer) -> None:
    """The log-density is that of the base at z plus all log-determinants."""
    for count in (1, 3):
        x, flow = torch.randn(10, 2, dtype=torch.float64), _random(count)
        z, total = x, torch.zeros(10, dtype=torch.float64)
        for stays, net in flow:
            z, ladj = _there(z, stays, net)
            total = total + ladj
        base = -0.5 * z.square().sum(1) - math.log(2 * math.pi)
        came = answer.tensor("log_prob", x, flow).double()
        mistakes = {
            "the log-determinants are subtracted; p(x) is larger where f stretches": base - total,
            "the log-determinants are missing": base,
            "the constant −log 2π of the base is missing: the density would not integrate to 1": base
            + total
            + math.log(2 * math.pi),
            "only the last coupling's log-determinant counts; they add up": base + ladj,
            "this is minus the log-density": -base - total,
            "the base is evaluated at x; it is to be at z = f(x)": -0.5 * x.square().sum(1)
            - math.log(2 * math.pi)
            + total,
        }
        if came.shape != (10,):
            raise Wrong(f"log_prob is to give one number an example, (10,), came {tuple(came.shape)}")
        if not torch.allclose(came, base + total, atol=1e-6):
            hint = next((what for what, wrong in mistakes.items() if torch.allclose(came, wrong, atol=1e-6)), "")
            told = hint or f"of the first example is to be {(base + total)[0]:.4f}, came {came[0]:.4f}"
            raise Wrong(f"log_prob with {count} coupling{'s' if count > 1 else ''}: {told}")


def _normal(z: Tensor) -> bool:
    """Whether many points may be draws from N(0, I), by mean and covariance."""
    return bool(z.mean(0).abs().max() < 0.05 and (z.T.cov() - torch.eye(2)).abs().max() < 0.08)


def check_sample(answer: Answer) -> None:
    """Samples, carried through the flow, are standard normal noise."""
    n, flow = 20_000, [(stays, net.float()) for stays, net in _random(4)]
    x, again, other = (answer.tensor("sample", flow, n, seed, shape=(n, 2)) for seed in (0, 0, 1))
    if not torch.equal(x, again) or torch.equal(x, other):
        raise Wrong("sample: the same seed is to give the same draws, another seed others")
    z = x
    for stays, net in flow:
        z, _ = _there(z, stays, net)
    if _normal(z):
        return
    if _normal(x):
        raise Wrong("sample: these are draws from the base; carry them back through the flow")
    turned, undone = x, x
    for stays, net in reversed(flow):
        turned, undone = _there(turned, stays, net)[0], _back(undone, stays, net)
    if _normal(turned):
        raise Wrong("sample: the couplings are undone in the order of the way there; the last one is undone first")
    if _normal(undone):
        raise Wrong("sample: the noise goes the way of the data, x = f(z); samples are f⁻¹(z)")
    raise Wrong(
        f"sample: carried through the flow, {n:,} samples are to be standard normal; came the mean {_told(z.mean(0))} "
        f"and the deviations {_told(z.std(0))}"
    )


def _arcs() -> Tensor:
    turn = (torch.arange(300) + 0.5) / 300 * math.pi
    upper = torch.stack([turn.cos(), turn.sin()], 1)
    return torch.cat([upper, torch.tensor([1.0, 0.5]) - upper])


def check_train(answer: Answer) -> None:
    """Six trained couplings come near the truth on fresh moons, and their samples lie on the moons."""
    data, fresh, arcs = toy("moons", 4_000, seed=3), toy("moons", 10_000, seed=4), _arcs()
    flow = answer("train", data, 0)
    if not isinstance(flow, list | tuple) or len(flow) != 6:
        raise Wrong("train is to give a list of six pairs (stays, net)")
    if not all(isinstance(part, list | tuple) and len(part) == 2 and isinstance(part[0], Tensor) for part in flow):
        raise Wrong("train is to give a list of six pairs: a tensor of two bools, and a network")
    if len({tuple(stays.tolist()) for stays, _ in flow}) < 2:
        raise Wrong(
            "train: the same coordinate stays in all six couplings, so it is never modelled; let them take turns"
        )
    truth = torch.logsumexp(-(torch.cdist(fresh, arcs) ** 2) / (2 * SD**2), 1) - math.log(600 * 2 * math.pi * SD**2)
    one = MultivariateNormal(data.mean(0), data.T.cov()).log_prob(fresh)
    with torch.no_grad():
        came = answer.tensor("log_prob", fresh, flow, shape=(len(fresh),))
        drawn = answer.tensor("sample", flow, 4_000, 0, shape=(4_000, 2))
        sides = torch.linspace(-6, 6, 301)
        mass = answer.tensor("log_prob", torch.cartesian_prod(sides, sides), flow).exp().sum().item() * 0.04**2
    if abs(mass - 1) > 0.03:
        raise Wrong(f"log_prob of the trained flow: the density sums to {mass:.3f} over a fine grid, not to 1")
    nll, best, normal = -came.mean().item(), -truth.mean().item(), -one.mean().item()
    if nll > best + ABOVE:
        raise Wrong(
            f"train: {nll:.3f} nats on fresh moons; at most {best + ABOVE:.3f} is asked. "
            f"The truth itself has {best:.3f}, one normal law {normal:.3f}"
        )
    near = (torch.cdist(drawn, arcs).amin(1) < 3 * SD).float().mean().item()
    if near < 0.9:
        raise Wrong(
            f"sample: {near:.0%} of 4,000 samples lie within 0.3 of the moons; 90% are asked, one normal law has 71%"
        )
