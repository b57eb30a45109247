# %% [markdown]
# # O2.1 Masks of MADE
#
# Write `masks` and `paths`; then check this file: `dgm check o2-1 FILE`.

# %%
import torch
from torch import Tensor


# %%
def masks(d: int, hidden: int, seed: int) -> tuple[Tensor, Tensor]:
    """Masks of an autoencoder with one hidden layer, in which output i sees the inputs 1 … i−1 only.

    Args:
        d: inputs, and outputs; at least 2.
        hidden: hidden units. Each draws its number from 1 … d−1.
        seed: of those numbers.

    Returns:
        The mask M_W of the way in, (hidden, d), and M_V of the way out, (d, hidden), of zeros and ones.
    """
    # --- solution
    number = torch.randint(1, d, (hidden,), generator=torch.Generator().manual_seed(seed))
    place = torch.arange(1, d + 1)
    M_W = number[:, None] >= place  # a hidden unit sees inputs up to its number
    M_V = place[:, None] > number  # an output sees hidden units whose number is below its own
    return M_W.long(), M_V.long()
    # --- end


# %%
def paths(M_W: Tensor, M_V: Tensor) -> Tensor:
    """The number of ways from input j over any hidden unit to output i, (outputs, inputs)."""
    # --- solution
    return M_V @ M_W
    # --- end


# %%
if __name__ == "__main__":
    M_W, M_V = masks(4, 8, seed=0)
    print(paths(M_W, M_V))
