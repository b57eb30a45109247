# %% [markdown]
# # O1.3 MADE on binary digits
#
# Write `masks`, `MADE`, `log_prob`, `sample` and `train`; then check this file: `dgm check o1-3 FILE`.

# %%
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


# %%
def masks(m: int, hidden: Sequence[int]) -> list[Tensor]:
    """Masks of a network with any number of hidden layers, for m variables in their natural order.

    Args:
        m: variables; at least 2.
        hidden: the size of each hidden layer, at least one. Degrees are spread over all of 1 … m−1, also where a layer
            has fewer units than that.

    Returns:
        One mask a layer, (outputs, inputs) as the weight of `nn.Linear`, of zeros and ones.
    """
    # --- solution
    place = torch.arange(1, m + 1)
    degrees = [place, *(1 + torch.arange(size) * (m - 1) // size for size in hidden)]
    between = [after[:, None] >= before for before, after in pairwise(degrees)]
    return [mask.long() for mask in (*between, place[:, None] > degrees[-1])]
    # --- end


# %%
class MADE(nn.Module):
    """Logits of p(x_i = 1 | x_<i) for all bits at once.

    Args:
        m: bits.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, m: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.m = m
        # --- solution
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([m, *hidden, m]))
        for depth, mask in enumerate(masks(m, hidden)):
            self.register_buffer(f"mask_{depth}", mask, persistent=False)
        # --- end

    def forward(self, x: Tensor) -> Tensor:
        """Bits, float (B, m), to logits (B, m); entry i depends on the bits before i alone."""
        # --- solution
        for depth, layer in enumerate(self.layers):
            x = F.linear(x.relu(), layer.weight * self.get_buffer(f"mask_{depth}"), layer.bias)  # bits stay as they are
        return x
        # --- end


# %%
def log_prob(model: MADE, x: Tensor) -> Tensor:
    """The log-probability of each example in nats: float (B, m) of zeros and ones to (B,)."""
    # --- solution
    return -F.binary_cross_entropy_with_logits(model(x), x, reduction="none").sum(1)
    # --- end


# %%
@torch.no_grad()
def sample(model: MADE, n: int, seed: int) -> Tensor:
    """Draw n examples, one bit after another: float (n, m) of zeros and ones."""
    # --- solution
    source = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, model.m)  # what is not drawn yet has no say
    for i in range(model.m):
        x[:, i] = torch.bernoulli(model(x)[:, i].sigmoid(), generator=source)
    return x
    # --- end


# %%
def train(data: Tensor, seed: int) -> MADE:
    """Train a model on binary pictures laid out row by row, and on nothing else; half a minute is allowed.

    Args:
        data: float (n, m) of zeros and ones.
        seed: of the weights and of the batches.

    Returns:
        The trained model.
    """
    # --- solution
    torch.manual_seed(seed)
    model = MADE(data.shape[1], [300])
    with torch.no_grad():  # begin as independent pixels: what is left to learn is the dependence
        model.layers[-1].bias.copy_(((data.sum(0) + 1) / (len(data) + 2)).logit())
    steps = 150
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (50,))]
        optimizer.zero_grad()
        (-log_prob(model, batch).mean()).backward()
        optimizer.step()
        schedule.step()
    return model
    # --- end


# %%
if __name__ == "__main__":
    import matplotlib.pyplot as plt

    from dgm.data import digits

    flat = {split: digits(split, binary=True).images.flatten(1) for split in ("train", "validation", "test")}
    model = train(flat["train"], seed=0)
    for split, x in flat.items():
        with torch.no_grad():
            print(f"{split:10} {-log_prob(model, x).mean() / 784:.4f} nats per pixel")
    drawn = sample(model, 25, seed=0).view(5, 5, 28, 28).permute(0, 2, 1, 3).reshape(140, 140)
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    for ax, picture in zip(axes, (*masks(8, [16]), drawn), strict=True):
        ax.imshow(picture, cmap="gray")
    plt.show()
