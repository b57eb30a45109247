# %% [markdown]
# # C4.2 LoRA at three ranks
#
# Write the layer, put it into a classifier, and compare three ranks with full tuning; check this file:
# `dgm check c4-2 FILE`. Data are a pair: pictures (N, 1, 28, 28) and labels (N,).

# %%
import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

ALPHA = 8.0  # one for all ranks

Data = tuple[Tensor, Tensor]
Key = tuple[int | None, float]  # rank (None: full tuning) and learning rate


# %%
class LoRA(nn.Module):
    """A frozen linear layer W x + b with a learnt addition of low rank, (alpha / rank) B A x.

    Attributes:
        base: the layer W x + b, with W (k, l), frozen.
        A: parameter (rank, l), uniform in ±1/√l at the start.
        B: parameter (k, rank), 0 at the start.

    Args:
        base: the layer to adapt.
        rank: r.
        alpha: α; the scale of the addition is α/r.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        # --- solution
        k, l = base.weight.shape
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.A = nn.Parameter((2 * torch.rand(rank, l, dtype=base.weight.dtype) - 1) / math.sqrt(l))
        self.B = nn.Parameter(torch.zeros(k, rank, dtype=base.weight.dtype))
        # --- end

    def forward(self, x: Tensor) -> Tensor:
        """From (…, l) to (…, k); the product B A is never formed."""
        # --- solution
        addition: Tensor = (x @ self.A.T) @ self.B.T
        return self.base(x) + self.scale * addition
        # --- end


# %%
def count(k: int, l: int, rank: int) -> int:
    """How many numbers A and B hold for a layer with W (k, l)."""
    # --- solution
    return rank * (k + l)
    # --- end


# %%
def merged(layer: LoRA) -> nn.Linear:
    """A plain linear layer that answers as `layer` does; `layer` stays what it is."""
    # --- solution
    plain = copy.deepcopy(layer.base)
    with torch.no_grad():
        plain.weight += layer.scale * layer.B @ layer.A
    return plain
    # --- end


# %%
def gradients(g: Tensor, A: Tensor, B: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The gradients of a loss by A and by B, from that by the whole matrix W + scale · B A.

    Args:
        g: gradient by the whole matrix, (k, l).
        A: (rank, l).
        B: (k, rank).
        scale: α/r.

    Returns:
        ∂A (rank, l) and ∂B (k, rank), by formula, without autograd.
    """
    # --- solution
    return scale * B.T @ g, scale * g @ A.T
    # --- end


# %%
def adapt(model: nn.Module, rank: int, alpha: float) -> nn.Module:
    """A copy of a model in which every `nn.Linear` has become a `LoRA` and nothing but A and B learns."""
    # --- solution
    model = copy.deepcopy(model).requires_grad_(False)
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    for name in linear:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, LoRA(model.get_submodule(name), rank, alpha))
    return model
    # --- end


# %%
def tune(model: nn.Module, lesson: Data, rank: int | None, lr: float, seed: int) -> nn.Module:
    """A copy of a classifier, tuned on the lesson for 150 steps of Adam with batches of 50.

    Args:
        model: pictures → logits; stays what it is.
        lesson: pictures and labels.
        rank: of a LoRA on every linear layer, with α = ALPHA; None tunes all parameters.
        lr: step size.
        seed: of A and of the batches.
    """
    # --- solution
    torch.manual_seed(seed)
    model = copy.deepcopy(model).requires_grad_(True) if rank is None else adapt(model, rank, ALPHA)
    adam = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=lr)
    pictures, labels = lesson
    for _ in range(150):
        some = torch.randint(len(labels), (50,))
        loss = cross_entropy(model(pictures[some]), labels[some])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model
    # --- end


# %%
def accuracy(model: nn.Module, data: Data) -> float:
    """The share of pictures (N, …) whose largest logit is the right one."""
    # --- solution
    pictures, labels = data
    with torch.no_grad():
        return (model(pictures).argmax(1) == labels).double().mean().item()
    # --- end


# %%
def study(model: nn.Module, lesson: Data, validation: Data, seed: int) -> dict[Key, tuple[nn.Module, float]]:
    """Tune at three ranks and in full, at several learning rates each.

    Returns:
        For each rank (None: full) and learning rate the tuned model and its accuracy on the validation data: at least
        three ranks, and at least two learning rates a way.
    """
    # --- solution
    keys: list[Key] = [(rank, lr) for rank in (1, 4, 8, None) for lr in (1e-3, 3e-3, 1e-2, 3e-2)]
    tuned = {key: tune(model, lesson, *key, seed) for key in keys}
    return {key: (one, accuracy(one, validation)) for key, one in tuned.items()}
    # --- end


# %%
def best(results: dict[Key, tuple[nn.Module, float]]) -> tuple[Key, Key]:
    """The keys of the best LoRA and of the best full tuning, by validation accuracy."""
    # --- solution
    ranked = sorted(results, key=lambda key: results[key][1], reverse=True)
    return next(key for key in ranked if key[0] is not None), next(key for key in ranked if key[0] is None)
    # --- end


# %%
if __name__ == "__main__":
    from dgm.homework.c4_2 import pupil, turned

    model = pupil()
    lesson, validation, test = turned("train", 500), turned("validation"), turned("test")
    print(f"before: {accuracy(model, test):.3f}")
    results = study(model, lesson, validation, seed=0)
    for (rank, lr), (one, held) in results.items():
        trained = sum(parameter.numel() for parameter in one.parameters() if parameter.requires_grad)
        print(f"rank {rank!s:4} lr {lr:g}: {trained:7,} trained, validation {held:.3f}, test {accuracy(one, test):.3f}")
    print("best LoRA and best full tuning:", *best(results))
