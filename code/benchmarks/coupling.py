"""RealNVP on two moons beside zuko, nflows and normflows: same depth, same widths, same data, one thread.

Every flow has six affine couplings whose networks have two hidden layers of 64 SiLU units, and a fixed standard normal
base. What differs is each library's own: how it splits and joins, what it makes of the raw log-scale, how it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import nflows.distributions
import nflows.flows
import nflows.nn.nets
import nflows.transforms
import normflows
import torch
import torch.nn.functional as F
import zuko
from torch import Tensor, nn

from benchmarks.race import OURS, keep, machine, race, rounded, versions
from dgm.data import toy
from dgm.flows.coupling import AffineCoupling, realnvp
from dgm.nn.flow import Flow, Inverse, StandardNormal

COUPLINGS, HIDDEN = 6, (64, 64)
BATCH, STEPS, SEEDS, LR = 256, 2_000, 3, 1e-3
MANY = 10_000


class Entrant(NamedTuple):
    """A library's flow behind the three calls that are compared."""

    model: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]


class NflowsNet(nflows.nn.nets.MLP):
    """The library's own network, which takes the condition that its couplings pass on."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """The library's own answer; there is no condition."""
        return super().forward(inputs)


def nflows_net(inputs: int, outputs: int) -> nn.Module:
    """What nflows' couplings call to make their networks."""
    return NflowsNet((inputs,), (outputs,), list(HIDDEN), activation=F.silu)


def normflows_net() -> nn.Module:
    """The library's own network, started at 0 as its manual has it, with SiLU in the place of ReLU."""
    net = normflows.nets.MLP([1, *HIDDEN, 2], init_zeros=True)
    for i, layer in enumerate(net.net):
        if isinstance(layer, nn.LeakyReLU):
            net.net[i] = nn.SiLU()
    return net


def from_dgm(flow: Flow) -> Entrant:
    """Ours."""
    return Entrant(flow, flow.log_prob, flow.sample)


def from_zuko(**options: Any) -> Entrant:
    """The library's RealNVP: the log-scale goes through a soft clip."""
    flow = zuko.flows.RealNVP(2, transforms=COUPLINGS, hidden_features=HIDDEN, activation=nn.SiLU, **options)
    return Entrant(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def from_nflows(coupling: type = nflows.transforms.AffineCouplingTransform) -> Entrant:
    """The library's affine couplings: the scale is a sigmoid."""
    masks = [[0, 1], [1, 0]]  # 1: changed
    steps = [coupling(masks[i % 2], nflows_net) for i in range(COUPLINGS)]
    base = nflows.distributions.StandardNormal([2])
    flow = nflows.flows.Flow(nflows.transforms.CompositeTransform(steps), base)
    return Entrant(flow, flow.log_prob, flow.sample)


def from_normflows() -> Entrant:
    """The library's affine couplings and swaps: the log-scale is what the network says."""
    steps: list[nn.Module] = []
    for _ in range(COUPLINGS):
        steps += [normflows.flows.Permute(2, mode="swap"), normflows.flows.AffineCouplingBlock(normflows_net())]
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(2, trainable=False), steps)
    return Entrant(flow, flow.log_prob, lambda n: flow.sample(n)[0])


def entrants() -> dict[str, Entrant]:
    """All four as their libraries start them."""
    ours = from_dgm(realnvp(2, couplings=COUPLINGS, hidden=HIDDEN))
    return {OURS: ours, "zuko": from_zuko(), "nflows": from_nflows(), "normflows": from_normflows()}


# --- the same weights must give the same density ---------------------------------------------------------------


class ExponentialCoupling(nflows.transforms.AffineCouplingTransform):
    """nflows' coupling with the scale of RealNVP, e^s."""

    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = transform_params.chunk(2, 1)
        return log_scale.exp(), shift


def exponential(shift: Tensor, log_scale: Tensor) -> Any:
    """The map of RealNVP for zuko's couplings: x ↦ x·e^s + t."""
    transform = zuko.transforms.MonotonicAffineTransform(shift, log_scale)
    transform.log_scale, transform.scale = log_scale, log_scale.exp()
    return transform


def linears(model: nn.Module) -> list[nn.Linear]:
    """The linear layers in the order of their making."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | zuko.nn.Linear)]


def copy_weights(ours: Flow, theirs: nn.Module, *, backwards: bool = False) -> None:
    """Give another library's flow our weights.

    Our networks see both variables, one of them set to 0, and speak about both; theirs see the one that stays and say
    shift and log-scale of the other. `backwards`: their first coupling is the one next to the base.
    """
    depth = len(HIDDEN) + 1
    layers = linears(theirs)
    nets = [layers[i : i + depth] for i in range(0, len(layers), depth)]
    with torch.no_grad():
        for i, net in enumerate(reversed(nets) if backwards else nets):
            stays, moves = i % 2, 1 - i % 2
            first, *inner, last = linears(ours.transforms[i])
            net[0].weight.copy_(first.weight[:, [stays]])
            net[0].bias.copy_(first.bias)
            for mine, layer in zip(inner, net[1:-1], strict=True):
                layer.load_state_dict(mine.state_dict())
            rows = [2 + moves, moves]  # ours: both log-scales, then both shifts
            net[-1].weight.copy_(last.weight[rows])
            net[-1].bias.copy_(last.bias[rows])


def differences() -> tuple[dict[str, float], list[float]]:
    """The largest |Δ log p| of our flow and each other one with our weights on the moons, float64, nats; and the
    least and the greatest log p, to see that they vary."""
    torch.manual_seed(0)
    ours = realnvp(2, couplings=COUPLINGS, hidden=HIDDEN).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)
    for step in ours.modules():
        if isinstance(step, AffineCoupling):
            step.bound = 1e9  # so wide that s is what the network says, as in the paper
    turned = Flow([Inverse(step) for step in ours.transforms], StandardNormal((2,))).double()
    x = toy("moons", 1_000, seed=2).double()
    found = {}
    with torch.no_grad():
        for name, flow, theirs in (
            ("zuko", ours, from_zuko(univariate=exponential)),
            ("nflows", ours, from_nflows(ExponentialCoupling)),
            ("normflows", turned, from_normflows()),  # its couplings run the other way
        ):
            theirs.model.double()
            copy_weights(ours, theirs.model, backwards=name == "normflows")
            found[name] = float((flow.log_prob(x) - theirs.log_prob(x)).abs().max())
        values = ours.log_prob(x)
    return found, [round(float(values.min()), 3), round(float(values.max()), 3)]


# --- the race --------------------------------------------------------------------------------------------------


def stepper(entrant: Entrant, data: Tensor) -> Callable[[], object]:
    """One training step on the next batch of a fixed stream."""
    optimizer = torch.optim.Adam(entrant.model.parameters(), lr=LR)
    order = torch.Generator().manual_seed(0)

    def step() -> None:
        rows = torch.randint(len(data), (BATCH,), generator=order)
        optimizer.zero_grad()
        (-entrant.log_prob(data[rows]).mean()).backward()
        optimizer.step()

    return step


def times() -> dict[str, dict[str, list[float]]]:
    """Seconds of the four tasks."""
    torch.manual_seed(0)
    data = toy("moons", MANY, seed=0)
    steps = {name: stepper(entrant, data) for name, entrant in entrants().items()}
    tasks = {f"training step, {BATCH} points": race(steps)}
    found = entrants()
    for step in (stepper(entrant, data) for entrant in found.values()):
        for _ in range(200):
            step()  # numbers of usual size
    with torch.no_grad():
        for n in (BATCH, MANY):
            calls = {name: partial(entrant.log_prob, data[:n]) for name, entrant in found.items()}
            tasks[f"log_prob, {n:,} points"] = race(calls)
        tasks[f"sample, {MANY:,} points"] = race({name: partial(e.sample, MANY) for name, e in found.items()})
    return {task: rounded(seconds) for task, seconds in tasks.items()}


def quality() -> dict[str, list[float]]:
    """Test negative log-likelihood in nats after the same steps on the same batches, each from its own start."""
    train, test = toy("moons", MANY, seed=0), toy("moons", MANY, seed=1)
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        started = entrants() | {"nflows with e^s": from_nflows(ExponentialCoupling)}
        for name, entrant in started.items():
            step = stepper(entrant, train)
            for _ in range(STEPS):
                step()
            with torch.no_grad():
                found.setdefault(name, []).append(round(float(-entrant.log_prob(test).mean()), 5))
    return found


def main() -> None:
    """Run all and write the results."""
    torch.set_num_threads(1)
    found, values = differences()
    keep(
        "coupling",
        {
            "machine": machine(),
            "versions": versions("zuko", "nflows", "normflows"),
            "parameters": {name: sum(p.numel() for p in e.model.parameters()) for name, e in entrants().items()},
            "difference": found,
            "log_prob": values,
            "steps": STEPS,
            "nll": quality(),
            "seconds": times(),
        },
    )


if __name__ == "__main__":
    main()
