# %% [markdown]
# # O3.3 RealNVP on two moons
#
# Write a coupling, its way back, the density and the samples, and train six couplings on moons; then check this file:
# `dgm check o3-3 FILE`. A flow is a list of pairs (stays, net): which of the two coordinates stays, a tensor of two
# bools, and a network (B, 2) → (B, 4) that says two raw log-scales and two shifts.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor

from dgm.data import toy
from dgm.nn.mlp import mlp

Net = Callable[[Tensor], Tensor]
Flow = list[tuple[Tensor, Net]]
BOUND = 3.0


# %%
def scale_and_shift(x: Tensor, stays: Tensor, net: Net) -> tuple[Tensor, Tensor]:
    """What a coupling does to the coordinate that moves; the network sees only the one that stays.

    Args:
        x: (B, 2).
        stays: which coordinate stays, bool (2,).
        net: (B, 2) → (B, 4), raw log-scales r, then shifts.

    Returns:
        Log-scale 3 tanh(r / 3) and shift, each (B, 2), both 0 for the coordinate that stays.
    """
    # --- solution
    raw, shift = net(x * stays).chunk(2, dim=1)
    return BOUND * torch.tanh(raw / BOUND) * ~stays, shift * ~stays
    # --- end


# %%
def couple(x: Tensor, stays: Tensor, net: Net) -> tuple[Tensor, Tensor]:
    """One affine coupling, from data towards noise.

    Args:
        x: (B, 2).
        stays: which coordinate stays, bool (2,).
        net: (B, 2) → (B, 4).

    Returns:
        z, (B, 2), and log|det ∂z/∂x|, (B,).
    """
    # --- solution
    log_scale, shift = scale_and_shift(x, stays, net)
    return x * log_scale.exp() + shift, log_scale.sum(1)
    # --- end


# %%
def uncouple(z: Tensor, stays: Tensor, net: Net) -> Tensor:
    """The way back: x, (B, 2), from z, (B, 2)."""
    # --- solution
    log_scale, shift = scale_and_shift(z, stays, net)
    return (z - shift) * (-log_scale).exp()
    # --- end


# %%
def log_prob(x: Tensor, flow: Flow) -> Tensor:
    """The log-density of a flow with the base N(0, I), nats for each example, (B,)."""
    # --- solution
    total = torch.zeros(len(x))
    for stays, net in flow:
        x, ladj = couple(x, stays, net)
        total = total + ladj
    return total + (-0.5 * x**2 - 0.5 * math.log(2 * math.pi)).sum(1)
    # --- end


# %%
def sample(flow: Flow, n: int, seed: int) -> Tensor:
    """Draw `n` examples, (n, 2): noise from N(0, I), carried back through the flow."""
    # --- solution
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    for stays, net in reversed(flow):
        x = uncouple(x, stays, net).detach()
    return x
    # --- end


# %%
def train(data: Tensor, seed: int) -> Flow:
    """Train six couplings, each with a network of two hidden layers.

    Args:
        data: (N, 2).
        seed: of the weights and the batches.

    Returns:
        The flow.
    """
    # --- solution
    torch.manual_seed(seed)
    nets = [mlp([2, 32, 32, 4]) for _ in range(6)]
    flow = [(torch.tensor([k % 2 == 0, k % 2 == 1]), net) for k, net in enumerate(nets)]
    steps = 1_000
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = -log_prob(data[torch.randint(len(data), (200,))], flow).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return [(stays, net.requires_grad_(False)) for stays, net in flow]
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    data = toy("moons", 5_000, seed=3)
    flow = train(data[:4_000], seed=0)
    print(f"validation: {-log_prob(data[4_000:], flow).mean():.3f} nats per point")
    across, up = torch.linspace(-1.7, 2.7, 200), torch.linspace(-1.2, 1.7, 200)
    density = log_prob(torch.cartesian_prod(across, up), flow).exp().reshape(200, 200)
    latent = data
    for stays, net in flow:
        latent, _ = couple(latent, stays, net)
    fig, axes = plt.subplots(1, 3, figsize=(12, 4))
    axes[0].pcolormesh(across, up, density.T)
    axes[1].scatter(*latent.T, s=1)
    axes[2].scatter(*sample(flow, 4_000, 0).T, s=1)
    plt.show()
