# %% [markdown]
# # O6.3 Clipping against the gradient penalty
#
# Two ways to bound a critic's slope, on eight peaks in the plane. Write the parts, train both games, and compare; check
# this file: `dgm check o6-3 FILE`.

# %%
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dgm.adversarial.wasserstein import gradient_penalty
from dgm.nn.mlp import mlp

BOUND = 0.1  # of the clipped weights
LATENT = 2  # numbers of z


# %%
def clip(critic: nn.Module, bound: float) -> nn.Module:
    """Cut every parameter of a critic to [−bound, bound], in place, and give the critic back."""
    # --- solution
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-bound, bound)
    return critic
    # --- end


# %%
def slope_bound(sizes: Sequence[int], bound: float) -> float:
    """The largest slope that clipped weights allow a perceptron whose activations have slope at most 1.

    Args:
        sizes: units of each layer, input first, output last.
        bound: c, of every weight.

    Returns:
        The product of the largest spectral norms that the matrices can have.
    """
    # --- solution
    return math.prod(bound * math.sqrt(N * M) for M, N in pairwise(sizes))
    # --- end


# %%
def peaks_found(points: Tensor, centres: Tensor, radius: float, least: int) -> tuple[int, float]:
    """Which modes do samples cover?

    Args:
        points: samples, (n, 2).
        centres: of the peaks, (K, 2), more than twice the radius apart.
        radius: up to this distance a sample belongs to a peak.
        least: so many samples make a peak a found one.

    Returns:
        The number of peaks found, and the share of samples that belong to any peak.
    """
    # --- solution
    near = (points[:, None] - centres).norm(dim=2) <= radius  # (n, K)
    return int((near.sum(0) >= least).sum()), near.any(1).double().mean().item()
    # --- end


# %%
def weight_histogram(critic: nn.Module, bound: float, bins: int) -> Tensor:
    """How many parameters of a critic (biases are such, too) lie in each of equal bins from −bound to bound.

    Returns:
        Counts, (bins,). What lies outside is in no bin; what lies at an end is in the bin there.
    """
    # --- solution
    entries = torch.cat([parameter.detach().flatten() for parameter in critic.parameters()])
    return torch.histc(entries, bins, -bound, bound)
    # --- end


# %%
def train(points: Tensor, kind: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """Play one game on the plane, for at most some fifteen seconds of one processor.

    Args:
        points: data, (N, 2).
        kind: "clipping" (all parameters of the critic to ±BOUND after each of its steps) or "penalty".
        seed: of all chance.

    Returns:
        Generator, z (B, LATENT) → points (B, 2), and critic, points (B, 2) → (B, 1).
    """
    # --- solution
    torch.manual_seed(seed)
    steps, critic_steps, batch = 750, 3, 128
    generator, critic = (mlp([2, 64, 64, 64, out], activation=nn.ReLU) for out in (2, 1))
    if kind == "penalty":
        rate, adams = 2e-3, [torch.optim.Adam(net.parameters(), betas=(0.5, 0.9)) for net in (generator, critic)]
    else:
        rate, adams = 1e-3, [torch.optim.RMSprop(net.parameters()) for net in (generator, critic)]
    for step in range(steps):
        for adam in adams:
            adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        for real in points[torch.randint(len(points), (critic_steps, batch))]:
            with torch.no_grad():
                fake = generator(torch.randn(batch, LATENT))
            loss = critic(fake).mean() - critic(real).mean()
            if kind == "penalty":
                loss = loss + gradient_penalty(critic, real, fake, weight=0.1)
            adams[1].zero_grad()
            loss.backward()
            adams[1].step()
            if kind == "clipping":
                clip(critic, BOUND)
        loss = -critic(generator(torch.randn(batch, LATENT))).mean()
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()
    return generator, critic
    # --- end


# %%
if __name__ == "__main__":
    from dgm import viz
    from dgm.data import toy
    from dgm.data.toys import PEAKS_RADIUS, PEAKS_SD, ring_centres

    data, centres = toy("eight_peaks", 25_600), ring_centres(PEAKS_RADIUS)
    side = torch.linspace(-2.2, 2.2, 45)
    fig, axes = viz.figure(2, nrows=2, height=5.0)
    for (above, below), kind in zip(axes.T, ("clipping", "penalty"), strict=True):
        generator, critic = train(data, kind, seed=0)
        with torch.no_grad():
            drawn, height = generator(torch.randn(2_500, LATENT)), critic(torch.cartesian_prod(side, side))
        viz.heatmap(above, height.view(45, 45).T, extent=(-2.2, 2.2, -2.2, 2.2))
        above.scatter(*drawn[:800].T, s=1.5, color=viz.COLORS[1])
        reach = max(parameter.abs().max().item() for parameter in critic.parameters())
        below.bar(torch.linspace(-reach, reach, 40), weight_histogram(critic, reach, 40), width=reach / 20)
        found, share = peaks_found(drawn, centres, 4 * PEAKS_SD, 31)
        above.set(title=f"{kind}: {found} peaks, {share:.0%} near one", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
        below.set(xlabel="weight")
    fig.savefig("peaks.png")
