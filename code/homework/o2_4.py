# %% [markdown]
# # O2.4 The score-function gradient
#
# Write `score_gradient`, `elbo_gradient`, `leave_one_out` and `variance`; then check this file: `dgm check o2-4 FILE`.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor


# %%
def score_gradient(f: Callable[[Tensor], Tensor], mean: Tensor, log_sd: Tensor, z: Tensor) -> Tensor:
    """Estimates of the gradient of E_q f(z) by (mean, log sd), from values of f alone; q = N(mean, diag sd²).

    Args:
        f: (S, D) -> (S,); it may have jumps and is never differentiated.
        mean, log_sd: (D,).
        z: S draws from q, (S, D).

    Returns:
        One estimate a row, (S, 2D): first by the means, then by the log-deviations.
    """
    # --- solution
    eps = (z - mean) / log_sd.exp()
    score = torch.cat([eps / log_sd.exp(), eps.square() - 1], 1)  # gradient of log q(z)
    return f(z)[:, None] * score
    # --- end


# %%
def elbo_gradient(log_joint: Callable[[Tensor], Tensor], mean: Tensor, log_sd: Tensor, z: Tensor) -> Tensor:
    """Estimates of the gradient of the bound E_q[log p(x, z) − log q(z | x)] by (mean, log sd).

    Args:
        log_joint: z -> log p(x, z) for one x, (S, D) -> (S,).
        mean, log_sd: of q(z | x), (D,).
        z: S draws from q, (S, D).

    Returns:
        One estimate a row, (S, 2D), as in `score_gradient`.
    """

    # --- solution
    def log_ratio(z: Tensor) -> Tensor:
        eps = (z - mean) / log_sd.exp()
        log_q = -(0.5 * eps.square() + log_sd + 0.5 * math.log(2 * math.pi)).sum(1)
        return log_joint(z) - log_q

    return score_gradient(log_ratio, mean, log_sd, z)
    # --- end


# %%
def leave_one_out(f: Callable[[Tensor], Tensor], mean: Tensor, log_sd: Tensor, z: Tensor) -> Tensor:
    """As `score_gradient`, but from each f(z) the mean of f over the *other* draws is subtracted; S ≥ 2."""
    # --- solution
    values = f(z)
    others = (values.sum() - values) / (len(z) - 1)
    return score_gradient(lambda _: values - others, mean, log_sd, z)
    # --- end


# %%
def variance(D: int, sd: float, a: float) -> float:
    """Variance of one estimate of the derivative by the first mean, for f(z) = a − ½|z − mean|² and all deviations sd.

    Work it out on paper; no draws are needed.
    """
    # --- solution
    return a**2 / sd**2 - a * (D + 2) + sd**2 * (D + 2) * (D + 4) / 4
    # --- end


# %%
if __name__ == "__main__":
    torch.manual_seed(0)
    sd, a = 0.5, 10.0
    mean, log_sd = torch.zeros(16).double(), torch.full((16,), math.log(sd), dtype=torch.float64)
    z = mean + sd * torch.randn(200_000, 16, dtype=torch.float64)
    print(f"pathwise:       variance {sd**2:8.3f}")
    for name, gradient in (("score function", score_gradient), ("leave one out", leave_one_out)):
        rows = gradient(lambda z: a - 0.5 * (z - mean).square().sum(1), mean, log_sd, z)
        print(f"{name}: variance {rows[:, 0].var():8.3f}")
    print(f"by formula:     {variance(16, sd, a):8.3f}, with the best a: {variance(16, sd, 9 * sd**2):.3f}")
