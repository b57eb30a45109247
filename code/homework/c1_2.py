# %% [markdown]
# # C1.2 A pixel generator
#
# Write `fit`, `nll`, `generate` and `price`; then check this file: `dgm check c1-2 FILE`.

# %%
import torch
from torch import Tensor


# %%
def fit(pictures: Tensor, levels: int, alpha: float) -> Tensor:
    """A table for each channel of each pixel: how often it had each grey level, α added to each count.

    Args:
        pictures: float (n, C, H, W) in [0, 1]; a value counts as the nearest of 0, 1/(levels − 1), …, 1.
        levels: grey levels.
        alpha: pseudo-count of each level; 0 is maximum likelihood.

    Returns:
        Probabilities, float64 (C, H, W, levels).
    """
    # --- solution
    x = (pictures * (levels - 1)).round().long()
    counts = torch.full((*x.shape[1:], levels), alpha, dtype=torch.float64)
    counts.scatter_add_(-1, x.permute(1, 2, 3, 0), torch.ones_like(x, dtype=torch.float64).permute(1, 2, 3, 0))
    return counts / counts.sum(-1, keepdim=True)
    # --- end


# %%
def nll(table: Tensor, pictures: Tensor) -> Tensor:
    """The negative log-likelihood of each picture in nats: float (B, C, H, W) to float64 (B,).

    Infinite where a picture holds a level that its place never had.
    """
    # --- solution
    x = (pictures * (table.shape[-1] - 1)).round().long()
    p = table.expand(len(x), *table.shape).gather(-1, x[..., None])  # (B, C, H, W, 1)
    return -p.log().flatten(1).sum(1)
    # --- end


# %%
def generate(table: Tensor, n: int, seed: int) -> Tensor:
    """Draw n pictures, every channel of every pixel by itself: float (n, C, H, W) in [0, 1]."""
    # --- solution
    source = torch.Generator().manual_seed(seed)
    levels = torch.multinomial(table.flatten(0, 2), n, replacement=True, generator=source)  # (C·H·W, n)
    return levels.T.unflatten(1, table.shape[:3]).float() / (table.shape[-1] - 1)
    # --- end


# %%
def price(x: Tensor, p: Tensor) -> Tensor:
    """What independence costs at least: KL(π ‖ ∏ π_i), the sum of the m entropies minus the entropy of the whole.

    Args:
        x: the outcomes that π allows, all different, int64 (K, m).
        p: the probability of each, (K,).

    Returns:
        Nats, shape ().
    """
    # --- solution
    columns = [torch.bincount(column, weights=p) for column in x.T]
    return sum(torch.special.entr(column).sum() for column in columns) - torch.special.entr(p).sum()
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    from dgm.data import avatar_frequencies, avatars, draw_avatar

    pictures, held = avatars("train").images, avatars("validation").images
    for alpha in (0.001, 0.01, 0.1, 1.0):
        print(f"α = {alpha}: validation {nll(fit(pictures, 256, alpha), held).mean():.1f} nats a picture")
    tables = list(avatar_frequencies().values())
    styles = torch.cartesian_prod(*(torch.arange(len(table)) for table in tables))
    chance = torch.stack([table[column] for table, column in zip(tables, styles.T, strict=True)]).prod(0)
    levels = (draw_avatar(styles) * 255).round().long().flatten(1)
    print(f"price of independence {price(levels, chance):.1f} nats")
    few = torch.cat([generate(fit(pictures[:11], 256, alpha), 5, seed=0) for alpha in (0.0, 1.0)])
    fig, axes = plt.subplots(2, 5, figsize=(8, 3.4))
    for ax, picture in zip(axes.flat, few, strict=True):
        ax.imshow(picture.permute(1, 2, 0))
        ax.axis("off")
    plt.show()
