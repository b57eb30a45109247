# %% [markdown]
# # O2.5 One divergence between two others
#
# Write `alpha_divergence` and `alpha_normals`; then check this file: `dgm check o2-5 FILE`.

# %%
import torch
from torch import Tensor


# %%
def alpha_divergence(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    """D_α(p ‖ q) of two discrete laws; at α = ±1 its limits, the two KL divergences, in nats.

    Args:
        p, q: probabilities (d,), each summing to 1; zeros are allowed.
        alpha: in [−1, 1].

    Returns:
        A scalar, ∞ where a limit is infinite; exact to many digits also where α is very near to 1 or −1.
    """
    # --- solution
    if alpha < 0:
        return alpha_divergence(q, p, -alpha)
    p, q = p[p > 0], q[p > 0]  # for α > −1 there is no term where p = 0
    v = (1 - alpha) / 2
    log_t = q.log() - p.log()
    if v == 0:
        return (p * -log_t).sum()
    return (p * -torch.expm1(v * log_t)).sum() / (v * (1 - v))  # no difference of two numbers near 1
    # --- end


# %%
def alpha_normals(mean_p: float, sd_p: float, mean_q: float, sd_q: float, alpha: float) -> float:
    """D_α(p ‖ q) of two normal laws on the line for −1 < α < 1, in closed form."""
    # --- solution
    a, b = (1 + alpha) / 2, (1 - alpha) / 2
    between = a * sd_q**2 + b * sd_p**2
    peak = torch.tensor(-0.5 * a * b * (mean_p - mean_q) ** 2 / between, dtype=torch.float64)
    affinity = sd_p**b * sd_q**a / between**0.5 * peak.exp()
    return ((1 - affinity) / (a * b)).item()
    # --- end


# %%
if __name__ == "__main__":
    p, q = torch.tensor([0.5, 0.5]).double(), torch.tensor([0.25, 0.75]).double()
    for alpha in (-1.0, -0.999999, -0.5, 0.0, 0.5, 0.999999, 1.0):
        print(f"α = {alpha:9}: {alpha_divergence(p, q, alpha):.6f}")
    print("normals, sd 1 against sd 2:", [round(alpha_normals(0, 1, 0, 2, alpha), 4) for alpha in (-0.9, 0.0, 0.9)])
