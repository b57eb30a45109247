# %% [markdown]
# # O1.1 A histogram, learnt
#
# Write `nll`, `gradient`, `train` and `sample`; then check this file: `dgm check o1-1 FILE`.

# %%
import torch
from torch import Tensor


# %%
def nll(logits: Tensor, x: Tensor) -> Tensor:
    """The mean negative log-likelihood of bin numbers under softmax(logits), in nats.

    Args:
        logits: one a bin, float (d,).
        x: bin numbers 0 … d−1, int64 (B,).

    Returns:
        One number, shape ().
    """
    # --- solution
    return -logits.log_softmax(-1)[x].mean()
    # --- end


# %%
def gradient(logits: Tensor, x: Tensor) -> Tensor:
    """The gradient of `nll` with respect to the logits, by its formula, without autograd.

    Args:
        logits: one a bin, float (d,).
        x: bin numbers 0 … d−1, int64 (B,).

    Returns:
        One number a logit, (d,).
    """
    # --- solution
    frequencies = torch.bincount(x, minlength=len(logits)) / len(x)
    return logits.softmax(-1) - frequencies  # model minus data
    # --- end


# %%
def train(x: Tensor, d: int, seed: int) -> Tensor:
    """Learn the logits by gradient descent (all data or mini-batches), from zeros, on training data alone.

    Args:
        x: bin numbers 0 … d−1, int64 (n,).
        d: the number of bins.
        seed: of the mini-batches, if there are any.

    Returns:
        The logits, float (d,).
    """
    # --- solution
    # All data at once, so there is no chance in it. A step of 1/max θ is half of what is surely stable, and 300 of them
    # leave an empty bin a probability of about (max θ)/300: stopping early works like a pseudo-count.
    logits = torch.zeros(d, dtype=torch.float64)
    lr = len(x) / torch.bincount(x).max()
    for _ in range(300):
        logits -= lr * gradient(logits, x)
    return logits
    # --- end


# %%
def sample(logits: Tensor, n: int, seed: int) -> Tensor:
    """Draw n bin numbers from softmax(logits): int64 (n,)."""
    # --- solution
    return torch.multinomial(logits.softmax(-1), n, replacement=True, generator=torch.Generator().manual_seed(seed))
    # --- end


# %%
if __name__ == "__main__":
    from dgm.data import mixture_1d
    from dgm.foundations.counting import to_bins

    data, test = (to_bins(mixture_1d(split), 100) for split in ("train", "test"))
    learnt = train(data, 100, seed=0)
    for name, x in (("training", data), ("test", test)):
        print(f"{name:8} {nll(learnt, x):.4f} nats; uniform {nll(torch.zeros(100), x):.4f}")
    drawn = sample(learnt, len(data), seed=0)
    for name, x in (("data", data), ("drawn", drawn)):
        print(f"{name:6}", torch.histc(x.double(), 20, 0, 99).int().tolist())
