# %% [markdown]
# # O6.1 A GAN on the line
#
# Write `critic_loss`, `saturating`, `non_saturating` and `train`; then check this file: `dgm check o6-1 FILE`. The
# check trains once, for 1,000 steps.

# %%
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.homework.o6_1 import apart, points


# %%
def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Minus the value of the game, −E_π log D − E_p log(1 − D), in nats: what the critic lowers.

    Args:
        real, fake: the critic's logits at data and at samples, (B, 1); D is their sigmoid.

    Returns:
        A scalar, finite at any logit.
    """
    # --- solution
    return F.softplus(-real).mean() + F.softplus(fake).mean()
    # --- end


# %%
def saturating(fake: Tensor) -> Tensor:
    """The generator's part of the game, E_p log(1 − D), from the critic's logits at samples, (B, 1): a scalar."""
    # --- solution
    return -F.softplus(fake).mean()
    # --- end


# %%
def non_saturating(fake: Tensor) -> Tensor:
    """What a generator lowers in practice, −E_p log D, from the critic's logits at samples, (B, 1): a scalar."""
    # --- solution
    return F.softplus(-fake).mean()
    # --- end


# %%
def network(width: int, activation: nn.Module, reach: float) -> nn.Module:
    """Given: a network from (B, 1) to (B, 1) whose first layer starts with large weights.

    Each unit of that layer has a bend where its weight times x plus its bias is 0. PyTorch's own start has small
    weights: the network is nearly a straight line over [0, 1], and slow to learn a bump of width 0.1.
    """
    first = nn.Linear(1, width)
    nn.init.uniform_(first.weight, -reach, reach)
    nn.init.uniform_(first.bias, -0.7 * reach, 0.7 * reach)
    return nn.Sequential(first, activation, nn.Linear(width, width), activation, nn.Linear(width, 1))


# %%
def train(data: Tensor, loss: str, steps: int, seed: int) -> tuple[nn.Module, nn.Module]:
    """Play the game and return (generator, critic).

    Args:
        data: points of the line, (N, 1), in [0, 1].
        loss: the generator's, "saturating" or "non-saturating".
        steps: updates of the generator; the critic may have more.
        seed: of all chance.

    Returns:
        The generator takes noise z ~ N(0, 1), (B, 1), and gives samples, (B, 1). The critic takes points, (B, 1), and
        gives logits, (B, 1).
    """
    # --- solution
    torch.manual_seed(seed)
    generator, critic = network(32, nn.Tanh(), 4), network(64, nn.LeakyReLU(0.2), 30)
    generator_lowers = {"saturating": saturating, "non-saturating": non_saturating}[loss]
    players = [
        torch.optim.Adam(net.parameters(), lr=lr, betas=(0.0, 0.9)) for net, lr in ((generator, 1e-3), (critic, 3e-3))
    ]
    slower = [torch.optim.lr_scheduler.CosineAnnealingLR(player, max(steps, 1)) for player in players]

    def move(player: torch.optim.Optimizer, value: Tensor) -> None:
        player.zero_grad()  # a game leaves gradients in both networks: the old ones go first
        value.backward()
        player.step()

    for _ in range(steps):
        for _ in range(3):
            real = data[torch.randint(len(data), (256,))]
            fake = generator(torch.randn(256, 1)).detach()  # the critic's loss must not teach the generator
            move(players[1], critic_loss(critic(real), critic(fake)))
        move(players[0], generator_lowers(critic(generator(torch.randn(256, 1)))))
        for rate in slower:
            rate.step()
    return generator, critic
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    x = torch.linspace(0, 1, 200)[:, None]
    for ax, loss in zip(axes, ("saturating", "non-saturating"), strict=True):
        generator, critic = train(points("train"), loss, steps=300, seed=0)
        with torch.no_grad():
            samples, D = generator(torch.randn(20_000, 1)), critic(x).sigmoid()
        told = f"{loss}: total variation {apart(samples, points('test')):.3f}"
        print(told)
        for values, name in ((points("test"), "data"), (samples, "samples")):
            ax.hist(values.flatten().numpy(), bins=50, range=(0, 1), density=True, alpha=0.5, label=name)
        ax.plot(x, D, color="black", label="critic D")
        ax.set(title=told, xlabel="x")
    axes[0].legend()
    plt.show()
