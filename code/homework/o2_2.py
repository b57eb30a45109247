# %% [markdown]
# # O2.2 How large is a head?
#
# Write `categorical_head`, `mixture_head`, `smallest_K` and `log_probs`; then check this file: `dgm check o2-2 FILE`.

# %%
import torch
import torch.nn.functional as F
from torch import Tensor


# %%
def categorical_head(C: int, H: int, W: int, d: int) -> tuple[int, int, int]:
    """Shape (channels, H, W) of what a network returns for one picture, if each value gets a softmax of its own.

    Args:
        C, H, W: channels, height and width of the picture.
        d: values that a channel of a pixel can take.
    """
    # --- solution
    return C * d, H, W
    # --- end


# %%
def mixture_head(C: int, H: int, W: int, K: int) -> tuple[int, int, int]:
    """Shape (channels, H, W) of what a network returns, if each value gets a mixture of K logistic laws of its own.

    A component takes three numbers: the logit of its weight, its mean, the logarithm of its scale.
    """
    # --- solution
    return 3 * K * C, H, W
    # --- end


# %%
def smallest_K(d: int) -> int:
    """The least K for which the mixture's head is larger than the categorical head of d values."""
    # --- solution
    return d // 3 + 1  # the least whole number with 3K > d
    # --- end


# %%
def log_probs(h: Tensor, d: int) -> Tensor:
    """Log-probabilities of the values 0 … d−1 under a discretised mixture of logistic laws.

    A value x gets the mass of the mixture between x − ½ and x + ½; the first and the last value take the tails as well.

    Args:
        h: the head's output (..., 3K): K logits of the weights, then K means, then K log-scales.
        d: how many values, at least 2.

    Returns:
        Nats, (..., d), finite also where the mass is too small to be told from 0.
    """
    # --- solution
    logits, mean, log_scale = h.unsqueeze(-2).chunk(3, -1)  # (..., 1, K) each
    x = torch.arange(d, dtype=h.dtype)[:, None]
    low = (x - 0.5 - mean) / log_scale.exp()  # edges of each bin in units of the scale, (..., d, K)
    high = (x + 0.5 - mean) / log_scale.exp()
    low = torch.where(x == 0, -torch.inf, low)
    high = torch.where(x == d - 1, torch.inf, high)
    # σ(high) − σ(low) = σ(high) σ(−low) (1 − exp(low − high)): three factors without cancellation
    bins = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))
    return torch.logsumexp(logits.log_softmax(-1) + bins, -1)
    # --- end


# %%
if __name__ == "__main__":
    for name, shape in (("categorical", categorical_head(3, 32, 32, 256)), ("mixture", mixture_head(3, 32, 32, 10))):
        print(f"{name}: {shape}, {torch.Size(shape).numel():,} numbers")
    print("the mixture is larger from K =", smallest_K(256))
    h = torch.tensor([0.0, 1.0, 60.0, 254.0, 1.5, 0.5])  # two components: weights, means, log-scales
    p = log_probs(h, 256).exp()
    print(f"total mass {p.sum():.6f}; the last value alone has {p[-1]:.3f}")
