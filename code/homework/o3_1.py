# %% [markdown]
# # O3.1 A VAE of two numbers
#
# Write the bound, train on both sets, and write down by hand what training looks for; then check this file:
# `dgm check o3-1 FILE`. An encoder or a decoder is anything that is called with a tensor (B, 2) and gives (B, 4): two
# means, then two logarithms of standard deviations.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor

from dgm.data import gaussian_pair
from dgm.nn.mlp import mlp

Net = Callable[[Tensor], Tensor]


# %%
def kl(mean: Tensor, log_sd: Tensor) -> Tensor:
    """The divergence of N(mean, diag sd²) from the prior N(0, I).

    Args:
        mean: (B, D).
        log_sd: logarithms of the standard deviations, (B, D).

    Returns:
        Nats for each example, (B,).
    """
    # --- solution
    return (0.5 * ((2 * log_sd).exp() + mean**2 - 1) - log_sd).sum(1)
    # --- end


# %%
def log_normal(x: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """The log-density of N(mean, diag sd²) at x.

    Args:
        x: (B, D).
        mean: (B, D).
        log_sd: (B, D).

    Returns:
        Nats for each example, (B,).
    """
    # --- solution
    away = (x - mean) * (-log_sd).exp()
    return (-0.5 * away**2 - log_sd - 0.5 * math.log(2 * math.pi)).sum(1)
    # --- end


# %%
def elbo(x: Tensor, encode: Net, decode: Net, eps: Tensor) -> Tensor:
    """The bound on log p(x), estimated with one code an example; gradients reach the encoder through the code.

    Args:
        x: (B, 2).
        encode: x → mean and log sd of q(z | x), (B, 4).
        decode: z → mean and log sd of p(x | z), (B, 4).
        eps: standard normal noise from which the codes are made, (B, 2).

    Returns:
        Nats for each example, (B,).
    """
    # --- solution
    mean, log_sd = encode(x).chunk(2, dim=1)
    z = mean + log_sd.exp() * eps
    return log_normal(x, *decode(z).chunk(2, dim=1)) - kl(mean, log_sd)
    # --- end


# %%
def sample(decode: Net, n: int, seed: int, noise: bool) -> Tensor:
    """Draw from the model: codes from the prior, then x.

    Args:
        decode: z → mean and log sd of p(x | z), (B, 4).
        n: how many.
        seed: of all that is drawn.
        noise: draw x from p(x | z); otherwise give its mean.

    Returns:
        (n, 2).
    """
    # --- solution
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 2, generator=draw)
    mean, log_sd = decode(z).detach().chunk(2, dim=1)
    return mean + log_sd.exp() * torch.randn(n, 2, generator=draw) if noise else mean
    # --- end


# %%
def summary(encode: Net, x: Tensor) -> Tensor:
    """What the encoder answers, over all points: is a coordinate of the code used?

    Args:
        encode: x → mean and log sd of q(z | x), (B, 4).
        x: (B, 2).

    Returns:
        A column a coordinate, (4, 2): mean over the points of the mean μ, its standard deviation, mean of the standard
        deviation σ, its standard deviation.
    """
    # --- solution
    mean, log_sd = encode(x).detach().chunk(2, dim=1)
    return torch.stack([f for v in (mean, log_sd.exp()) for f in (v.mean(0), v.std(0))])
    # --- end


# %%
def aligned(w: float) -> tuple[Net, Net]:
    """An optimal VAE of the aligned set whose first coordinate of the code moves the mean of x₁ with the slope w.

    Args:
        w: 0 ≤ w < 3. At 0 the code says nothing.

    Returns:
        Encoder and decoder, written down, not trained.
    """
    # --- solution
    zero = torch.zeros

    def encode(x: Tensor) -> Tensor:  # the posterior of a linear model: a normal
        mean, log_sd = w / 9 * (x[:, 0] - 2), torch.full((len(x),), 0.5 * math.log(1 - w**2 / 9))
        return torch.stack([mean, zero(len(x)), log_sd, zero(len(x))], 1)

    def decode(z: Tensor) -> Tensor:  # the noise makes up what is missing to the variance 9
        log_sd = torch.full((len(z),), 0.5 * math.log(9 - w**2))
        return torch.stack([2 + w * z[:, 0], 3 + zero(len(z)), log_sd, zero(len(z))], 1)

    return encode, decode
    # --- end


# %%
def rotated() -> tuple[Net, Net]:
    """An optimal VAE of the rotated set whose code costs as little as possible.

    Returns:
        Encoder and decoder, written down, not trained.
    """
    # --- solution
    zero = torch.zeros

    def decode(z: Tensor) -> Tensor:  # covariance (2, 2)(2, 2)ᵀ + I = (5 4; 4 5)
        mean = torch.tensor([2.0, 3.0]) + 2 * z[:, :1]
        return torch.cat([mean, zero(len(z), 2)], 1)

    def encode(x: Tensor) -> Tensor:  # precision 1 + |(2, 2)|² = 9
        mean = 2 / 9 * (x - torch.tensor([2.0, 3.0])).sum(1)
        return torch.stack([mean, zero(len(x)), torch.full((len(x),), -math.log(3)), zero(len(x))], 1)

    return encode, decode
    # --- end


# %%
def train(data: Tensor, seed: int) -> tuple[Net, Net]:
    """Train a VAE with two numbers in its code.

    Args:
        data: (N, 2).
        seed: of the weights, the batches and the noise.

    Returns:
        Encoder and decoder.
    """
    # --- solution
    torch.manual_seed(seed)
    encode, decode = mlp([2, 32, 32, 4]), mlp([2, 32, 32, 4])
    steps = 1_000
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = data[torch.randint(len(data), (256,))]
        loss = -elbo(x, encode, decode, torch.randn(256, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encode.requires_grad_(False), decode.requires_grad_(False)
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 3, sharex=True, sharey=True)
    for row, turned in zip(axes, (False, True), strict=True):
        encode, decode = train(gaussian_pair("train", rotated=turned), seed=0)
        held = gaussian_pair("test", rotated=turned)
        clouds = {"data": held} | {f"noise: {noise}": sample(decode, 1_000, 0, noise) for noise in (True, False)}
        for ax, (title, cloud) in zip(row, clouds.items(), strict=True):
            ax.scatter(*cloud.T, s=2)
            ax.set_title(title)
        loss = -elbo(held, encode, decode, torch.randn(len(held), 2)).mean()
        print(f"rotated: {turned}, loss {loss:.3f}, mean KL {kl(*encode(held).chunk(2, 1)).mean():.3f}")
        print(summary(encode, held))
    plt.show()
