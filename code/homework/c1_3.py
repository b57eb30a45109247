# %% [markdown]
# # C1.3 Finding what does not belong
#
# Train an autoencoder on good pictures, score pictures by how badly it restores them, choose a threshold on pictures of
# its own, and count; then check this file: `dgm check c1-3 FILE`. A picture whose score reaches the threshold is called
# damaged.

# %%
from collections.abc import Callable

import torch
from torch import Tensor

from dgm.data import avatars, plant_defects
from dgm.nn.mlp import mlp

Restore = Callable[[Tensor], Tensor]


# %%
def rates(good: Tensor, bad: Tensor, limit: float) -> tuple[float, float]:
    """How often the rule "damaged if the score ≥ limit" is right.

    Args:
        good: scores of good pictures, (N,).
        bad: scores of damaged pictures, (M,).
        limit: the threshold.

    Returns:
        TPR, the share of the damaged ones that are found, and TNR, the share of the good ones that pass.
    """
    # --- solution
    return (bad >= limit).double().mean().item(), (good < limit).double().mean().item()
    # --- end


# %%
def threshold(good: Tensor, bad: Tensor) -> float:
    """A threshold for which the smaller of TPR and TNR is as large as it can be on these scores.

    Args:
        good: scores of good pictures, (N,).
        bad: scores of damaged pictures, (M,).

    Returns:
        The threshold.
    """
    # --- solution
    scores = torch.cat([good, bad]).unique()  # sorted; between two neighbours nothing changes
    between = (scores[1:] + scores[:-1]) / 2
    limits = torch.cat([scores[:1], between, scores[-1:] + 1])
    return max(limits.tolist(), key=lambda limit: min(rates(good, bad, limit)))
    # --- end


# %%
def train(good: Tensor, seed: int) -> Restore:
    """Train an autoencoder on good pictures.

    Args:
        good: values in [0, 1], (N, 3, 16, 16).
        seed: of the weights and the batches.

    Returns:
        A function from pictures (B, 3, 16, 16) to what the autoencoder restores of them, of the same shape.
    """
    # --- solution
    torch.manual_seed(seed)
    centre = good.mean(0).flatten()  # the networks see the difference to the mean picture
    encoder, decoder = mlp([768, 256, 64]), mlp([64, 256, 768])

    def restore(x: Tensor) -> Tensor:
        return (centre + decoder(encoder(x.flatten(1) - centre))).view_as(x)

    steps = 800
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = good[torch.randint(len(good), (64,))]
        loss = (restore(x) - x).square().flatten(1).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return restore
    # --- end


# %%
@torch.no_grad()
def score(restore: Restore, images: Tensor) -> Tensor:
    """How suspicious each picture is; a picture's score does not depend on the others.

    Args:
        restore: as `train` gives it.
        images: (B, 3, 16, 16).

    Returns:
        A score a picture, high for the damaged ones, (B,).
    """
    # --- solution
    error = (restore(images) - images).square().sum(1).flatten(1)  # of each pixel, over the channels
    return error.topk(5, dim=1).values.sum(1)  # damages are small: the five worst pixels
    # --- end


# %%
if __name__ == "__main__":
    good = {split: avatars(split).images for split in ("train", "validation", "test")}
    bad = {split: plant_defects(good[split], seed=seed)[0] for split, seed in (("validation", 1), ("test", 2))}
    restore = train(good["train"], seed=0)
    scores = {split: (score(restore, good[split]), score(restore, bad[split])) for split in bad}
    limit = threshold(*scores["validation"])
    for split in scores:
        tpr, tnr = rates(*scores[split], limit)
        print(f"{split}: threshold {limit:.3f}, TPR {tpr:.1%}, TNR {tnr:.1%}")
