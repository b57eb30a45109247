"""Small damages planted in good pictures, so that a detector can be judged where the truth is known."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from dgm.checks import require, require_count

KINDS = ("hole", "scratch", "patch")
# A damage that no one can see is drawn again.
LEAST_PIXELS = 4  # changed
LEAST_CHANGE = 0.2  # mean absolute change of the changed pixels


def plant_defects(images: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Damage each picture in one small place, out of colours that the picture has already.

    In turn: a hole (a square of a ninth to a quarter of the side, one colour), a scratch (a slanted line one pixel wide
    and about half a side long), a patch (a square copied from another place of the same picture). What is
    planted keeps to the inner half of the picture in each direction, where there is something to see.

    Args:
        images: (B, C, S, S) in [0, 1] with S ≥ 8; they are not changed.
        seed: a whole number ≥ 0; the same seed damages the same places.

    Returns:
        The damaged pictures, shaped as `images`, and what was damaged, bool (B, S, S).

    Raises:
        ValueError: pictures that are not square or smaller than 8, or a picture without any contrast.

    >>> from dgm.data import avatars
    >>> good = avatars("test").images[:3]
    >>> bad, where = plant_defects(good)
    >>> bool((bad != good).any(1)[~where].any()), bool(where.flatten(1).any(1).all())
    (False, True)
    """
    images = require(images, "images", shape="B C S S", dtype="float", low=0.0, high=1.0)
    side = images.shape[-1]
    if side < 8:
        raise ValueError(f"images: expected a side of at least 8 pixels, came {side}")
    random = Generator().manual_seed(require_count(seed, "seed", low=0))
    pairs = [_damage(image, KINDS[i % 3], side, random) for i, image in enumerate(images)]
    return torch.stack([image for image, _ in pairs]), torch.stack([where for _, where in pairs])


def _damage(image: Tensor, kind: str, side: int, random: Generator) -> tuple[Tensor, Tensor]:
    """One picture (C, S, S) and its mask (S, S), drawn until the damage can be seen."""

    def draw(low: int, high: int) -> int:  # low … high, both included
        return int(torch.randint(low, high + 1, (), generator=random))

    for _ in range(1_000):
        bad, where = image.clone(), torch.zeros(side, side, dtype=torch.bool)
        row, column = draw(side // 4, 3 * side // 4 - 1), draw(side // 4, 3 * side // 4 - 1)
        colour = image[:, draw(0, side - 1), draw(0, side - 1)]
        if kind == "scratch":
            slant, steps = draw(-1, 1), torch.arange(side // 2)
            where[(side // 4 + steps), (column + slant * (steps - side // 4) // 2).clamp(0, side - 1)] = True
        else:
            size = draw(max(2, side // 9), side // 4)
            where[row : row + size, column : column + size] = True
        if kind == "patch":
            shift = (draw(-side // 2, side // 2), draw(-side // 2, side // 2))
            bad[:, where] = image.roll(shift, (1, 2))[:, where]
        else:
            bad[:, where] = colour[:, None]
        where &= (bad != image).any(0)
        if where.sum() >= LEAST_PIXELS and (bad - image)[:, where].abs().mean() >= LEAST_CHANGE:
            return bad, where
    raise ValueError("images: expected pictures with some contrast, came one in which no damage can be seen")
