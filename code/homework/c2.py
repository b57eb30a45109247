# %% [markdown]
# # C2 A GAN of CSP-up blocks
#
# Write the block, the generator, the counts and the first steps of the game; then train, try what makes it converge,
# and write your experiments up. Check this file: `dgm check c2 FILE`.

# %%
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dgm import weights
from dgm.adversarial.gan import DCCritic

LATENT = 100  # numbers of z


# %%
class CSPUp(nn.Module):
    """Twice the side, half the channels: (B, C, H, W) → (B, C/2, 2H, 2W).

    The first half of the channels is enlarged by repeating pixels. The second half goes through a 1 × 1 convolution,
    ReLU, the same enlargement, a 3 × 3 convolution, ReLU, a 3 × 3 convolution. The two are added. No normalisation.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # --- solution
        half = channels // 2
        self.enlarge = nn.Upsample(scale_factor=2)
        self.long = nn.Sequential(
            nn.Conv2d(half, half, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
        )
        # --- end

    def forward(self, x: Tensor) -> Tensor:
        """Add the short way and the long one."""
        # --- solution
        short, long = x.chunk(2, dim=1)
        return self.enlarge(short) + self.long(long)
        # --- end


# %%
class Generator(nn.Module):
    """z (B, LATENT) → pictures (B, 3, S, S) in (−1, 1) with S = 8 · 2^blocks.

    A linear layer to 4 × 4 × base; the blocks, each `CSPUp`; ReLU; a transposed convolution 4 × 4 with stride 2 to 3
    channels; tanh. With the defaults: 4²·1024 → 8²·512 → 16²·256 → 32²·128 → 64²·64 → 128²·3.

    Args:
        base: channels at 4 × 4.
        blocks: how many `CSPUp`.
    """

    def __init__(self, base: int = 1024, blocks: int = 4) -> None:
        super().__init__()
        # --- solution
        channels = [base >> i for i in range(blocks + 1)]
        self.net = nn.Sequential(
            nn.Linear(LATENT, 16 * base),
            nn.Unflatten(1, (base, 4, 4)),
            *[CSPUp(C) for C in channels[:-1]],
            nn.ReLU(),
            nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        # --- end

    def forward(self, z: Tensor) -> Tensor:
        """The pictures of z (B, LATENT)."""
        # --- solution
        pictures: Tensor = self.net(z)
        return pictures
        # --- end


# %%
def block_count(channels: int) -> int:
    """The number of parameters of `CSPUp(channels)`, by formula."""
    # --- solution
    half = channels // 2
    return (1 + 9 + 9) * half**2 + 3 * half
    # --- end


# %%
def generator_count(base: int, blocks: int) -> int:
    """The number of parameters of `Generator(base, blocks)`, by formula."""
    # --- solution
    ends = (LATENT + 1) * 16 * base + (base >> blocks) * 3 * 16 + 3
    return ends + sum(block_count(base >> i) for i in range(blocks))
    # --- end


# %%
def train(
    pictures: Tensor, base: int, blocks: int, steps: int, seed: int, lr: tuple[float, float] = (2e-4, 2e-4)
) -> tuple[Generator, Tensor]:
    """Play the non-saturating game: each step moves the critic once, then the generator once.

    Args:
        pictures: in [−1, 1], (N, 3, S, S) with S = 8 · 2^blocks.
        base, blocks: of the generator.
        steps: how many; with 0 the generator is as it starts.
        seed: of all chance, the start of both networks included.
        lr: step sizes of critic and generator.

    Returns:
        The generator, and the losses of critic and generator in nats at each step, (steps, 2).
    """
    # --- solution
    torch.manual_seed(seed)
    generator, critic = Generator(base, blocks), DCCritic(3, width=24, size=pictures.shape[-1], norm=None)
    both = [
        torch.optim.Adam(net.parameters(), rate, (0.5, 0.999))
        for net, rate in zip((critic, generator), lr, strict=True)
    ]
    losses = torch.zeros(steps, 2)
    for step in range(steps):
        real = pictures[torch.randint(len(pictures), (32,))]
        fake = generator(torch.randn(32, LATENT)).detach()
        losses[step, 0] = move(both[0], softplus(-critic(real)).mean() + softplus(critic(fake)).mean())
        losses[step, 1] = move(both[1], softplus(-critic(generator(torch.randn(32, LATENT)))).mean())
    return generator, losses
    # --- end


def move(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step down a loss; what it was before."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %%
def experiments() -> list[dict]:
    """What you tried to make the game converge, the baseline first.

    Returns:
        For each experiment, in a dictionary: "name", "aim", "idea" and "conclusion" in words; "FD", the best Fréchet
        distance on avatar-classifier features, 200 samples against the validation avatars; "change" of FD against the
        baseline, as a fraction: −0.5 if it was halved.
    """
    # --- solution
    runs = weights.info("csp_avatars")["experiments"]  # the book's own five, one seed each
    told = {  # the last two change loss, optimiser and step sizes as well: they compare recipes, not single causes
        "baseline": "falls until step 225 and rises again; recall is at most 0.08, so it draws the same few avatars",
        "batch normalisation": "worse than the baseline, and its best step, 100, comes sooner: it is no cure",
        "two step sizes": "worst of all, best at the first look, step 25: a faster critic is no cure here",
        "normalised spectra": "a third less than the baseline, without a relapse: bounding the critic's slope helps",
        "gradient penalty": "half of the baseline, recall near 0.6; ahead of the spectra with one seed: a hint",
    }
    base = runs[0]["FD"]
    return [
        {key: run[key] for key in ("name", "aim", "idea", "FD")}
        | {"change": run["FD"] / base - 1, "conclusion": told[run["name"]]}
        for run in runs
    ]
    # --- end


# %%
if __name__ == "__main__":
    from dgm.data import avatars

    print(f"{generator_count(1024, 4):,} parameters")
    people = avatars("train", size=32).images * 2 - 1
    _, losses = train(people, base=64, blocks=2, steps=20, seed=0)
    print("losses of critic and generator, first and last step:", losses[[0, -1]].tolist())
    for row in experiments():
        print(f"{row['name']:20} FD {row['FD']:5.1f} ({row['change']:+.0%})  {row['conclusion']}")
