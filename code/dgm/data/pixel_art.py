"""Avatars of 16 × 16 pixels, drawn from five attributes that we know."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require, require_choice, require_count
from dgm.data.dicebear import pixels, releases, svg
from dgm.data.store import cached

SIDE = 16  # the style is drawn on a grid of 16 × 16 squares
SPLITS = {"train": slice(0, 1_400), "validation": slice(1_400, 1_600), "test": slice(1_600, 2_000)}
SEED = 10  # the first seed under which blue hair comes once, and in the test split

# Attribute → our name of each value → what DiceBear's style "pixel-art" calls it.
LOOKS: dict[str, dict[str, str]] = {
    "hair": {
        "short": "short01",
        "spiky": "short13",
        "bob": "long17",
        "long": "long13",
        "pigtails": "long18",
        "bun": "long05",
        "balding": "short18",
    },
    "hair colour": {
        "black": "#28150a",
        "brown": "#83502b",
        "blond": "#f2c641",
        "red": "#c8401a",
        "grey": "#a3a3a3",
        "blue": "#1f8fd6",
    },
    "glasses": {"none": "none", "round": "light07", "dark": "dark02"},
    "clothes": {"sweater": "variant12", "checked": "variant06", "striped": "variant13", "top": "variant10"},
    "clothes colour": {
        "red": "#d11141",
        "orange": "#f37735",
        "yellow": "#ffc425",
        "green": "#00a14f",
        "blue": "#428bca",
        "purple": "#7a4fa3",
        "pink": "#ff8fb8",
        "white": "#fbfbf7",
    },
}
# The rest of the picture is the same for all.
FIXED: dict[str, object] = {
    "seed": "dgm",
    "backgroundColor": ["#dce6ec"],
    "skinColor": ["#f0c8a0"],
    "eyesVariant": ["variant09"],
    "eyesColor": ["#5b7c8b"],
    "mouthVariant": ["happy09"],
    "mouthColor": ["#c98276"],
    "glassesColor": ["#323232"],
    "accessoriesProbability": 0,
    "beardProbability": 0,
    "hatProbability": 0,
}

AVATAR_ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in LOOKS.items()}
SIZES = tuple(len(values) for values in LOOKS.values())  # (7, 6, 3, 4, 8)

# How often each value comes, one attribute independent of the others. Blue hair is rare on purpose: no training
# avatar has it and a test avatar does, so that plain counting gives the test split no chance.
FREQUENCIES: dict[str, tuple[float, ...]] = {
    "hair": (0.24, 0.09, 0.16, 0.20, 0.07, 0.11, 0.13),
    "hair colour": (0.281, 0.298, 0.19, 0.13, 0.10, 0.001),
    "glasses": (0.62, 0.25, 0.13),
    "clothes": (0.37, 0.15, 0.28, 0.20),
    "clothes colour": (0.16, 0.08, 0.10, 0.14, 0.21, 0.07, 0.06, 0.18),
}


class Avatars(NamedTuple):
    """Pictures in [0, 1], shape (N, 3, size, size), and their attributes, shape (N, 5)."""

    images: Tensor
    attributes: Tensor


def avatars(split: str, *, size: int = SIDE) -> Avatars:
    """Load a split of the 2,000 avatars.

    Each of five attributes (``AVATAR_ATTRIBUTES`` names them and their values) is drawn independently, some values
    more often than others; all else in the picture is the same. There are 7 · 6 · 3 · 4 · 8 = 4,032 styles, and a
    style may come more than once. The first call draws all of them in a few seconds; later calls read the cache.

    Args:
        split: ``"train"`` (1,400), ``"validation"`` (200) or ``"test"`` (400).
        size: pixels a side, a multiple of 16: the drawing has 16 × 16 squares.

    Returns:
        float32 images (N, 3, size, size) in [0, 1] and int64 attributes (N, 5), the column's value numbers.

    Raises:
        ValueError: an unknown split, or a size that is no multiple of 16.
        TypeError: `size` is not a whole number.
        ImportError: a package that draws is missing; the message says how to install it.

    Source:
        DiceBear (2024), style "Pixel Art", CC0 1.0. No real person is shown.

    >>> images, attributes = avatars("validation")
    >>> tuple(images.shape), tuple(attributes.shape)
    ((200, 3, 16, 16), (200, 5))
    """
    require_choice(split, "split", SPLITS)
    attributes = torch.from_numpy(_attributes()[SPLITS[split]].copy())
    return Avatars(draw_avatar(attributes, size=size), attributes)


def draw_avatar(attributes: Tensor, *, size: int = SIDE) -> Tensor:
    """Draw any styles, also those that no example has.

    Args:
        attributes: value numbers, int64 (N, 5), columns in the order of ``AVATAR_ATTRIBUTES``.
        size: pixels a side, a multiple of 16.

    Returns:
        float32 (N, 3, size, size) in [0, 1].

    Raises:
        ValueError: another shape, a value number that the attribute does not have, or a wrong size.
        TypeError: not a tensor of whole numbers.
        ImportError: a package that draws is missing.

    >>> draw_avatar(torch.tensor([[3, 2, 1, 0, 4]])).shape  # long blond hair, round glasses, a blue sweater
    torch.Size([1, 3, 16, 16])
    """
    require(attributes, "attributes", shape="N 5", dtype="int")
    for column, (name, count) in enumerate(zip(LOOKS, SIZES, strict=True)):
        require(attributes[:, column], f"attributes[:, {column}] ({name})", low=0, high=count - 1)
    size = require_count(size, "size", low=SIDE)
    if size % SIDE:
        raise ValueError(f"size: expected a multiple of {SIDE}, came {size}")
    wanted = torch.from_numpy(_table()[tuple(attributes.long().cpu().numpy().T)]).float() / 255
    scale = size // SIDE
    return wanted.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def avatar_frequencies() -> dict[str, Tensor]:
    """Return the true probability of every value, float64, by attribute: what counting should find.

    >>> [len(values) for values in avatar_frequencies().values()]
    [7, 6, 3, 4, 8]
    """
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in FREQUENCIES.items()}


def _attributes() -> np.ndarray:
    """The attributes of all 2,000 avatars, int64 (2000, 5)."""
    random = np.random.RandomState(SEED)  # NumPy has frozen its stream
    columns = [random.choice(len(p), size=2_000, p=p) for p in FREQUENCIES.values()]
    return np.stack(columns, axis=1).astype(np.int64)


@cache
def _table() -> np.ndarray:
    """All 4,032 pictures, uint8 (7, 6, 3, 4, 8, 3, 16, 16)."""
    # "drawing" goes up by one whenever `_draw_all` is to give other pictures.
    key = {"drawing": 1, "versions": releases("avatars()"), "looks": LOOKS, "fixed": FIXED, "side": SIDE}
    return cached("avatars", key, lambda: {"pictures": _draw_all()})["pictures"]


def _draw(hair: str, hair_colour: str, glasses: str, clothes: str, clothes_colour: str) -> np.ndarray:
    """One avatar, int16 (3, 16, 16); the arguments are DiceBear's words."""
    shown = glasses != "none"
    options = FIXED | {
        "hairVariant": [hair],
        "hairColor": [hair_colour],
        "glassesProbability": 100 if shown else 0,
        **({"glassesVariant": [glasses]} if shown else {}),
        "clothesVariant": [clothes],
        "clothingColor": [clothes_colour],
    }
    return pixels(svg("pixel-art", options), SIDE).astype(np.int16)


def _draw_all() -> np.ndarray:
    """Draw every style.

    A pixel shows hair or clothes, never a mixture of both. So, for a given cut of either, the picture I(h, c) with
    hair colour h and clothes colour c is I(h, 0) + I(0, c) − I(0, 0): 13 drawings instead of 48.
    """
    hairs, hair_colours, glasses, clothes, clothes_colours = (tuple(look.values()) for look in LOOKS.values())
    table = np.empty((*SIZES, 3, SIDE, SIDE), np.uint8)
    for i, hair in enumerate(hairs):
        for j, pair in enumerate(glasses):
            for k, cut in enumerate(clothes):
                first_hair, first_clothes = hair_colours[0], clothes_colours[0]
                by_hair = np.stack([_draw(hair, c, pair, cut, first_clothes) for c in hair_colours])
                by_clothes = np.stack([_draw(hair, first_hair, pair, cut, c) for c in clothes_colours[1:]])
                by_clothes = np.concatenate([by_hair[:1], by_clothes])
                table[i, :, j, k] = by_hair[:, None] + by_clothes[None] - by_hair[0]
    return table
