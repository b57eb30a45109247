# %% [markdown]
# # O1.2 MADE for pairs
#
# Write `masks`, `MADE`, `log_prob`, `sample` and `train`; then check this file: `dgm check o1-2 FILE`.

# %%
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


# %%
def masks(m: int, values: int, hidden: int) -> tuple[Tensor, Tensor]:
    """Masks of a network with one hidden layer for m variables, each one-hot with this many values.

    Variable i owns the inputs and the outputs (i − 1) · values … i · values − 1.

    Args:
        m: variables; at least 2.
        values: numbers a variable, on its way in and on its way out.
        hidden: hidden units, at least m − 1; their degrees take each of 1 … m−1.

    Returns:
        The mask of the way in, (hidden, m · values), and of the way out, (m · values, hidden), of zeros and ones.
    """
    # --- solution
    place = torch.arange(1, m + 1).repeat_interleave(values)  # all numbers of a variable have its place
    degree = 1 + torch.arange(hidden) * (m - 1) // hidden  # spread evenly over 1 … m−1
    return (degree[:, None] >= place).long(), (place[:, None] > degree).long()
    # --- end


# %%
class MADE(nn.Module):
    """Logits of p(x_i | x_<i) for all variables at once.

    Args:
        m: variables.
        values: each takes the values 0 … values−1.
        hidden: hidden units.
    """

    def __init__(self, m: int, values: int, hidden: int) -> None:
        super().__init__()
        self.m, self.values = m, values
        # --- solution
        self.into, self.out = nn.Linear(m * values, hidden), nn.Linear(hidden, m * values)
        for name, mask in zip(("M_W", "M_V"), masks(m, values, hidden), strict=True):
            self.register_buffer(name, mask)
        # --- end

    def forward(self, x: Tensor) -> Tensor:
        """Values, int64 (B, m), to logits (B, m, values); entry i depends on the variables before i alone."""
        # --- solution
        h = F.one_hot(x, self.values).flatten(1).float()  # (B, m · values)
        h = F.linear(h, self.into.weight * self.M_W, self.into.bias).relu()
        return F.linear(h, self.out.weight * self.M_V, self.out.bias).unflatten(1, (self.m, self.values))
        # --- end


# %%
def log_prob(model: MADE, x: Tensor) -> Tensor:
    """The log-probability of each example in nats: int64 (B, m) to (B,)."""
    # --- solution
    return model(x).log_softmax(-1).gather(-1, x[..., None]).squeeze(-1).sum(1)
    # --- end


# %%
@torch.no_grad()
def sample(model: MADE, n: int, seed: int) -> Tensor:
    """Draw n examples, one variable after another: int64 (n, m)."""
    # --- solution
    source = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, model.m, dtype=torch.int64)  # what is not drawn yet has no say
    for i in range(model.m):
        p = model(x)[:, i].softmax(-1)
        x[:, i] = torch.multinomial(p, 1, generator=source).squeeze(1)
    return x
    # --- end


# %%
def train(data: Tensor, values: int, seed: int) -> MADE:
    """Train a model on examples, int64 (n, m), and nothing else.

    Args:
        data: the training examples.
        values: each variable takes the values 0 … values−1.
        seed: of the weights and of the batches.

    Returns:
        The trained model.
    """
    # --- solution
    torch.manual_seed(seed)
    model = MADE(data.shape[1], values, hidden=64)
    steps = 300
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (250,))]
        optimizer.zero_grad()
        (-log_prob(model, batch).mean()).backward()
        optimizer.step()
        schedule.step()
    return model
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    from dgm.data import picture, picture_points

    model = train(picture_points("train"), 60, seed=0)
    cells = torch.cartesian_prod(torch.arange(60), torch.arange(60))
    with torch.no_grad():
        learnt = log_prob(model, cells).exp().view(60, 60)
        for split in ("train", "validation", "test"):
            nats = -log_prob(model, picture_points(split)).mean().item() / 2
            print(f"{split:10} {nats:.4f} nats per coordinate; uniform {math.log(60):.4f}")
    points = sample(model, 5_000, seed=0)
    fig, axes = plt.subplots(1, 5, figsize=(15, 3))
    for ax, mask, title in zip(axes, masks(4, 3, 9), ("mask in, m = 4", "mask out"), strict=False):
        ax.imshow(mask)
        ax.set_title(title)
    axes[2].imshow(picture())
    axes[3].imshow(learnt)
    axes[4].scatter(points[:, 1], points[:, 0], s=1)
    axes[4].set(xlim=(-0.5, 59.5), ylim=(59.5, -0.5), aspect="equal")
    plt.show()
