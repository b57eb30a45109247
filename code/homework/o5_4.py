# %% [markdown]
# # O5.4 Least squares in place of cross-entropy
#
# Write `critic_loss`, `generator_loss`, `best_critic`, `value` and `chi2`; then check this file: `dgm check o5-4 FILE`.
#
# Laws are discrete here: π and p give a probability to each of d values, and integrals are sums.

# %%
import torch
from torch import Tensor


# %%
def critic_loss(real: Tensor, fake: Tensor, a: float, b: float) -> Tensor:
    """What the critic lowers, ½ E_π(D − b)² + ½ E_p(D − a)², estimated from a batch.

    Args:
        real: the critic's outputs D at examples of the data, (N,).
        fake: its outputs at samples, (M,).
        a: what it should say of samples.
        b: what it should say of data.

    Returns:
        A scalar.
    """
    # --- solution
    return 0.5 * (real - b).square().mean() + 0.5 * (fake - a).square().mean()
    # --- end


# %%
def generator_loss(fake: Tensor, c: float) -> Tensor:
    """What the generator lowers, ½ E_p(D − c)², from the critic's outputs at samples, (M,): a scalar."""
    # --- solution
    return 0.5 * (fake - c).square().mean()
    # --- end


# %%
def best_critic(pi: Tensor, p: Tensor, a: float, b: float) -> Tensor:
    """The critic D*, (d,), with the least loss against a generator that stands still.

    Args:
        pi, p: probabilities of data and of samples, (d,); no value has both 0.
        a, b: as in `critic_loss`.
    """
    # --- solution
    return (b * pi + a * p) / (pi + p)
    # --- end


# %%
def value(pi: Tensor, p: Tensor, a: float, b: float, c: float) -> Tensor:
    """V(G) = ½ E_π(D* − c)² + ½ E_p(D* − c)², a scalar: the generator's objective at the best critic.

    The first term holds no sample; it makes the objective symmetric.
    """
    # --- solution
    off = best_critic(pi, p, a, b) - c
    return 0.5 * ((pi + p) * off.square()).sum()
    # --- end


# %%
def chi2(first: Tensor, second: Tensor) -> Tensor:
    """Σ (first − second)² / first, a scalar; first and second are positive and need not sum to 1.

    Half of it, taken at π + p and 2p, is V(G) if b − c = 1 and b − a = 2.
    """
    # --- solution
    return ((first - second).square() / first).sum()
    # --- end


# %%
if __name__ == "__main__":
    pi, p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    print("D* for a = −1, b = 1:", best_critic(pi, p, -1, 1).tolist())
    print(f"V(G) for c = 0:        {value(pi, p, -1, 1, 0):.6f}")
    print(f"half of χ²(π+p ‖ 2p):  {0.5 * chi2(pi + p, 2 * p):.6f}")
    table = torch.zeros(
        3, dtype=torch.float64, requires_grad=True
    )  # a critic that is a table, and 100,000 draws of each law
    torch.manual_seed(0)
    real, fake = (torch.multinomial(law, 100_000, replacement=True) for law in (pi, p))
    optimizer = torch.optim.SGD([table], lr=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        critic_loss(table[real], table[fake], -1, 1).backward()
        optimizer.step()
    print("trained instead:      ", [round(D, 3) for D in table.tolist()])
