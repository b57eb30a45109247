# %% [markdown]
# # O2.3 KL between two normal laws
#
# Write `kl` and `kl_standard`; then check this file: `dgm check o2-3 FILE`.

# %%
import torch
from torch import Tensor


# %%
def kl(mean_q: Tensor, cov_q: Tensor, mean_p: Tensor, cov_p: Tensor) -> Tensor:
    """KL(q ‖ p) of two full normals, in nats.

    Args:
        mean_q, mean_p: (D,).
        cov_q, cov_p: covariance matrices, (D, D), symmetric and positive definite.

    Returns:
        A scalar. Also for D in the hundreds, where a determinant is too small or too large for a float.
    """
    # --- solution
    L_q, L_p = torch.linalg.cholesky(cov_q), torch.linalg.cholesky(cov_p)
    # trace and square are squared lengths in coordinates in which p is the standard normal
    white = torch.linalg.solve_triangular(L_p, torch.column_stack([L_q, mean_q - mean_p]), upper=False)
    log_dets = 2 * (L_p.diagonal().log() - L_q.diagonal().log()).sum()
    return 0.5 * (white.square().sum() - len(mean_q) + log_dets)
    # --- end


# %%
def kl_standard(mean: Tensor, log_sd: Tensor) -> Tensor:
    """KL from N(mean, diag sd²) to N(0, I) for each row, in nats: the second term of a VAE's bound.

    Args:
        mean, log_sd: (B, D).

    Returns:
        (B,).
    """
    # --- solution
    return (0.5 * (torch.exp(2 * log_sd) + mean.square() - 1) - log_sd).sum(-1)
    # --- end


# %%
if __name__ == "__main__":
    zero, one = torch.zeros(2), torch.eye(2)
    wide, turned = torch.tensor([[9.0, 0.0], [0.0, 1.0]]), torch.tensor([[5.0, 4.0], [4.0, 5.0]])
    for name, cov in (("sd 3 and 1", wide), ("the same, turned by 45°", turned)):
        print(f"{name}: to N(0, I) {kl(zero, cov, zero, one):.4f}, back {kl(zero, one, zero, cov):.4f}")
    print(f"by rows: {kl_standard(zero[None], torch.tensor([[3.0, 1.0]]).log()).item():.4f}")
