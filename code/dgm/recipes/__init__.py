"""Recipes: one short script a trained model, which says everything that made its weights.

A recipe is a module of this folder; its file's name is its name and that of its weights, the first line of
its docstring is what `dgm list` shows. It holds four functions::

    build() -> nn.Module                                        the model, not trained
    train(*, steps=…, seed=0, folder=None, **options) -> None   data, `fit(…, **options)`, weights
    sample(n, *, seed=0, folder=None) -> Tensor                 images (n, C, H, W) in [0, 1], or points (n,
    2) evaluate(*, folder=None) -> dict[str, float]                metrics, the most telling first

`folder` is where the weights lie (None: the package's own). `options` are keywords of `dgm.training.fit` that
the command line gives: checkpoint, log, tracker, progress.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor, nn


class Recipe(Protocol):
    """What a module of this folder holds."""

    def build(self) -> nn.Module:
        """Return the model, not trained."""

    def train(self, *, steps: int = ..., seed: int = 0, folder: Path | None = None, **options: Any) -> None:
        """Train the model and write its weights."""

    def sample(self, n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
        """Draw `n` examples from the trained model."""

    def evaluate(self, *, folder: Path | None = None) -> dict[str, float]:
        """Measure the trained model, the most telling metric first."""


def names() -> list[str]:
    """Return the names of all recipes, sorted; none is imported."""
    return sorted(_files())


def get(name: str) -> Recipe:
    """Return the recipe's module.

    Raises:
        ValueError: no recipe has this name; the nearest are named.
    """
    from dgm.checks import require_choice

    return cast(Recipe, importlib.import_module(f"{__name__}.{require_choice(name, 'name', names())}"))


def line(name: str) -> str:
    """Return the first line of the recipe's docstring without importing the recipe."""
    text = ast.get_docstring(ast.parse(_files()[name].read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0]


def _files() -> dict[str, Path]:
    return {p.stem: p for folder in __path__ for p in Path(folder).glob("*.py") if not p.stem.startswith("_")}
