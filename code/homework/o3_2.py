# %% [markdown]
# # O3.2 A VAE of pictures
#
# Sixteen numbers for an avatar: write the bound and the networks, train them, and show what they do; then check this
# file: `dgm check o3-2 FILE`. Pictures hold values in [−1, 1].

# %%
import math

import torch
from torch import Tensor, nn

from dgm.data import avatars

LATENT = 16


# %%
def log_normal(x: Tensor, mean: Tensor) -> Tensor:
    """The log-density of independent normals with deviation 1 in every pixel.

    Args:
        x: pictures, (B, C, H, W).
        mean: what the decoder says, (B, C, H, W).

    Returns:
        Nats for each picture, (B,).
    """
    # --- solution
    return (-0.5 * (x - mean) ** 2 - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
    # --- end


# %%
def elbo(x: Tensor, encoder: nn.Module, decoder: nn.Module, eps: Tensor) -> Tensor:
    """The bound on log p(x), estimated with one code a picture.

    Args:
        x: pictures, (B, C, H, W).
        encoder: x → mean and log sd of q(z | x), (B, 2 D).
        decoder: z (B, D) → mean of p(x | z), (B, C, H, W).
        eps: standard normal noise from which the codes are made, (B, D).

    Returns:
        Nats for each picture, (B,).
    """
    # --- solution
    mean, log_sd = encoder(x).chunk(2, dim=1)
    z = mean + log_sd.exp() * eps
    kl = (0.5 * ((2 * log_sd).exp() + mean**2 - 1) - log_sd).sum(1)
    return log_normal(x, decoder(z)) - kl
    # --- end


# %%
def networks() -> tuple[nn.Module, nn.Module]:
    """Convolutional networks, not trained.

    Returns:
        Encoder (B, 3, 16, 16) → (B, 32): mean, then log sd; decoder (B, 16) → (B, 3, 16, 16).
    """
    # --- solution
    encoder = nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1),  # 16 → 8
        nn.SiLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),  # 8 → 4
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 128),
        nn.SiLU(),
        nn.Linear(128, 2 * LATENT),
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, 128),
        nn.SiLU(),
        nn.Linear(128, 64 * 4 * 4),
        nn.SiLU(),
        nn.Unflatten(1, (64, 4, 4)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),  # 4 → 8
        nn.SiLU(),
        nn.ConvTranspose2d(32, 3, 4, stride=2, padding=1),  # 8 → 16
    )
    return encoder, decoder
    # --- end


# %%
def train(images: Tensor, seed: int) -> tuple[nn.Module, nn.Module]:
    """Train both networks together.

    Args:
        images: values in [−1, 1], (N, 3, 16, 16).
        seed: of the weights, the batches and the noise.

    Returns:
        Encoder and decoder.
    """
    # --- solution
    torch.manual_seed(seed)
    encoder, decoder = networks()
    steps = 900
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = images[torch.randint(len(images), (64,))]
        loss = -elbo(x, encoder, decoder, torch.randn(64, LATENT)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder.eval().requires_grad_(False), decoder.eval().requires_grad_(False)
    # --- end


# %%
def reconstruct(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> Tensor:
    """What the decoder makes of the mean of q(z | x), (B, C, H, W), cut to [−1, 1]."""
    # --- solution
    return decoder(encoder(x).chunk(2, dim=1)[0]).clamp(-1, 1)
    # --- end


# %%
def sample(decoder: nn.Module, n: int, seed: int) -> Tensor:
    """The decoder's means for `n` codes from the prior, (n, C, H, W), cut to [−1, 1]."""
    # --- solution
    z = torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))
    return decoder(z).clamp(-1, 1)
    # --- end


# %%
def interpolate(encoder: nn.Module, decoder: nn.Module, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """From one picture to another along the straight line between the means of their codes.

    Args:
        encoder: x → mean and log sd of q(z | x), (B, 2 D).
        decoder: z (B, D) → mean of p(x | z), (B, C, H, W).
        a: where the lines begin, (B, C, H, W).
        b: where they end, (B, C, H, W).
        steps: pictures a line, both ends included.

    Returns:
        A row a pair, (B, steps, C, H, W), cut to [−1, 1].
    """
    # --- solution
    begin, end = (encoder(x).chunk(2, dim=1)[0] for x in (a, b))
    z = torch.lerp(begin[:, None], end[:, None], torch.linspace(0, 1, steps)[:, None])
    return decoder(z.flatten(0, 1)).unflatten(0, (len(a), steps)).clamp(-1, 1)
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    from dgm.viz import image_grid

    images, held = (2 * avatars(split).images - 1 for split in ("train", "validation"))
    encoder, decoder = train(images, seed=0)
    print("loss on validation:", -elbo(held, encoder, decoder, torch.randn(len(held), LATENT)).mean().item())
    pairs = torch.stack([held[:50], reconstruct(encoder, decoder, held[:50])], 1).flatten(0, 1)
    lines = interpolate(encoder, decoder, held[:10], held[10:20], 10).flatten(0, 1)
    fig, axes = plt.subplots(1, 3, figsize=(12, 4))
    for ax, sheet in zip(axes, (sample(decoder, 100, 0), pairs, lines), strict=True):
        image_grid(ax, (sheet + 1) / 2, ncols=10)
    plt.show()
