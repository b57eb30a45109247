"""What recipes do alike: keep a trained model with what is to be known of it, and take it up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dgm import weights
from dgm.training import GameHistory, History, untouched

Model = TypeVar("Model", bound=nn.Module)


def keep(
    name: str,
    model: Model,
    scores: Callable[[Model], dict[str, float]],
    history: History | GameHistory,
    *,
    data: str,
    config: dict[str, Any],
    seed: int,
    folder: Path | None,
    save: Callable[[dict[str, Any]], object] | None = None,
    **more: Any,
) -> None:
    """Round the weights to float16, measure the model with them, and write both.

    Args:
        name: the recipe's.
        model: as training left it.
        scores: measures the model that `trained` will give.
        history: of the training.
        data: what it was trained on, in words.
        config: what it was built with.
        seed: of the run.
        folder: where to write (None: the package's own).
        save: writes weights and record in another way than as one file; it is called with the record.
        more: further entries of the record; a function is called with the model and gives its entry.
    """
    model.load_state_dict(weights.halved(model.state_dict()))
    info = {
        "data": data,
        "config": config,
        "seed": seed,
        "seconds": history.seconds,
        "curve": history.as_dict(),
        "metrics": scores(model),
        **{name: entry(model) if callable(entry) else entry for name, entry in more.items()},
    }
    if save is None:
        weights.save(name, model.state_dict(), info, folder=folder, half=True)
    else:
        save(info)


def trained(name: str, model: Model, folder: Path | None) -> Model:
    """Return `model`, as it was built, with the weights of the recipe, in eval mode."""
    weights.load_into(model, name, folder=folder)
    return model.eval()


def mean_and_sd(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Scores of several runs as one: their means, then under "NAME, sd over seeds" their standard deviations."""
    each = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}
    means = {name: values.mean().item() for name, values in each.items()}
    return means | {f"{name}, sd over seeds": values.std().item() for name, values in each.items()}


def shown(images: Tensor, seen: Callable[[Tensor], Tensor], n: int, seed: int) -> Tensor:
    """Return `n` of the pictures that a classifier learns from, as it sees them; a classifier draws none itself."""
    with untouched():
        torch.manual_seed(seed)
        return seen(images[torch.randint(len(images), (n,))])
