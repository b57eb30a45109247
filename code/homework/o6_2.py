# %% [markdown]
# # O6.2 WGAN-GP on pictures
#
# Write the penalty, both losses and the rounds of the game, then train; check this file: `dgm check o6-2 FILE`. A
# critic is anything that is called with examples (B, …) and gives one number each, (B, 1) or (B,).

# %%
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dgm.adversarial.gan import DCCritic, DCGenerator

Critic = Callable[[Tensor], Tensor]
LATENT = 32  # numbers of z


# %%
def interpolates(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """The points t·real + (1 − t)·fake on the way from samples to data, one t a pair.

    Args:
        real, fake: one shape, (B, …), paired row by row.
        share: t of each pair, (B,).

    Returns:
        Points of the shape of `real`.
    """
    # --- solution
    t = share.reshape(-1, *[1] * (real.dim() - 1))
    return t * real + (1 - t) * fake
    # --- end


# %%
def penalty(critic: Critic, real: Tensor, fake: Tensor, share: Tensor, weight: float) -> Tensor:
    """The weighted mean of (‖∇f‖ − 1)² at the interpolates; the critic's weights get a gradient from it.

    Args:
        critic: f.
        real, fake: (B, …).
        share: t of each pair, (B,).
        weight: λ.

    Returns:
        A scalar.
    """
    # --- solution
    x = interpolates(real, fake, share).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)  # examples do not mix: row by row
    return weight * (slope.flatten(1).norm(dim=1) - 1).square().mean()
    # --- end


# %%
def critic_loss(critic: Critic, real: Tensor, fake: Tensor, share: Tensor, weight: float) -> Tensor:
    """What the critic lowers: low on samples, high on data, and the penalty; a scalar."""
    # --- solution
    return critic(fake).mean() - critic(real).mean() + penalty(critic, real, fake, share, weight)
    # --- end


# %%
def generator_loss(critic: Critic, fake: Tensor) -> Tensor:
    """What the generator lowers on its samples (B, …); a scalar."""
    # --- solution
    return -critic(fake).mean()
    # --- end


# %%
def play_round(
    generator: nn.Module,
    critic: nn.Module,
    batches: Sequence[Tensor],
    generator_optimizer: torch.optim.Optimizer,
    critic_optimizer: torch.optim.Optimizer,
    latent: int,
    weight: float,
) -> Tensor:
    """One round: the critic learns from each batch of data, against fresh samples; then the generator steps once.

    Args:
        generator: z (B, latent) → samples (B, …).
        critic: samples or data (B, …) → (B, 1).
        batches: data for each step of the critic, (B, …) each.
        generator_optimizer, critic_optimizer: of the one's parameters and of the other's.
        latent: numbers of z, which is standard normal.
        weight: λ of the penalty.

    Returns:
        The critic's loss before each of its steps, (len(batches),).
    """
    # --- solution
    losses = []
    for real in batches:
        with torch.no_grad():  # the critic's loss must not teach the generator
            fake = generator(torch.randn(len(real), latent))
        loss = critic_loss(critic, real, fake, torch.rand(len(real)), weight)
        critic_optimizer.zero_grad()
        loss.backward()
        critic_optimizer.step()
        losses.append(loss.detach())
    loss = generator_loss(critic, generator(torch.randn(len(batches[-1]), latent)))
    generator_optimizer.zero_grad()
    loss.backward()
    generator_optimizer.step()
    return torch.stack(losses)
    # --- end


# %%
def train(pictures: Tensor, seed: int) -> nn.Module:
    """Train a generator by WGAN-GP, for some twenty seconds of one processor.

    Args:
        pictures: in [−1, 1], (N, 1, 16, 16).
        seed: of all chance.

    Returns:
        The generator: z (B, LATENT) → pictures (B, 1, 16, 16) in [−1, 1].
    """
    # --- solution
    torch.manual_seed(seed)
    steps, critic_steps, batch = 300, 2, 32
    generator = DCGenerator(LATENT, width=16, size=16)
    critic = DCCritic(width=16, size=16, norm=None)  # the penalty speaks of single examples: no batch normalisation
    adams = [torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.0, 0.9)) for net in (generator, critic)]
    for step in range(steps):
        for adam in adams:
            adam.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        batches = pictures[torch.randint(len(pictures), (critic_steps, batch))]
        play_round(generator, critic, list(batches), *adams, LATENT, weight=10.0)
    return generator.eval()
    # --- end


# %%
if __name__ == "__main__":
    from torch.nn.functional import avg_pool2d, pad

    from dgm import viz
    from dgm.data import digits

    pictures = pad(avg_pool2d(digits("train").images, 2), (1, 1, 1, 1)) * 2 - 1  # 28 × 28 → 14 × 14, and a frame
    with torch.no_grad():
        drawn = train(pictures, seed=0)(torch.randn(60, LATENT))
    fig, ax = viz.figure(height=2.6)
    viz.image_grid(ax, (drawn + 1) / 2, ncols=12, title="60 samples")
    fig.savefig("samples.png")
