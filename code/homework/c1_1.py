# %% [markdown]
# # C1.1 A style generator
#
# Write `fit`, `probability`, `generate` and `choose`; then check this file: `dgm check c1-1 FILE`.

# %%
from collections.abc import Sequence

import torch
from torch import Tensor


# %%
def fit(styles: Tensor, sizes: Sequence[int], alpha: float) -> list[Tensor]:
    """Count every attribute by itself: the table of attribute i is (N_j + α)/(n + d_i α).

    Args:
        styles: value numbers, int64 (n, m), a column an attribute.
        sizes: how many values each attribute has, d_1 … d_m, seen or not.
        alpha: pseudo-count of each value; 0 is maximum likelihood.

    Returns:
        The tables: probabilities, float64 (d_i,), one an attribute.
    """
    # --- solution
    tables = []
    for column, d in zip(styles.T, sizes, strict=True):
        counts = torch.bincount(column, minlength=d).double() + alpha
        tables.append(counts / counts.sum())
    return tables
    # --- end


# %%
def probability(tables: Sequence[Tensor], styles: Tensor) -> Tensor:
    """The probability of each style, the product over its attributes: int64 (B, m) to float64 (B,)."""
    # --- solution
    return torch.stack([table[column] for table, column in zip(tables, styles.T, strict=True)]).prod(0)
    # --- end


# %%
def generate(tables: Sequence[Tensor], n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw n styles, int64 (n, m), each attribute by itself, and give the probability of each, float64 (n,)."""
    # --- solution
    source = torch.Generator().manual_seed(seed)
    drawn = [torch.multinomial(table, n, replacement=True, generator=source) for table in tables]
    styles = torch.stack(drawn, dim=1)
    return styles, probability(tables, styles)
    # --- end


# %%
def choose(train: Tensor, validation: Tensor, sizes: Sequence[int], alphas: Sequence[float]) -> float:
    """The pseudo-count under which tables counted on `train` have the smallest mean NLL on `validation`.

    Args:
        train: styles to count, int64 (n, m).
        validation: styles to judge by, int64 (k, m).
        sizes: how many values each attribute has.
        alphas: the pseudo-counts to choose from.

    Returns:
        The best of them.
    """
    # --- solution
    return min(alphas, key=lambda alpha: -probability(fit(train, sizes, alpha), validation).log().mean().item())
    # --- end


# %%
if __name__ == "__main__":
    from dgm.data import AVATAR_ATTRIBUTES, avatars

    data, held, test = (avatars(split).attributes for split in ("train", "validation", "test"))
    names = list(AVATAR_ATTRIBUTES.values())
    sizes = [len(values) for values in names]
    alpha = choose(data, held, sizes, [0, 0.1, 0.3, 1, 3, 10, 30, 100])
    for a in (0, alpha):
        nats = -probability(fit(data, sizes, a), test).log().mean()
        print(f"α = {a}: test {nats:.3f} nats a style")
    for style, p in zip(*generate(fit(data, sizes, alpha), 5, seed=0), strict=True):
        print(f"{p:.6f}", ", ".join(values[k] for values, k in zip(names, style, strict=True)))
