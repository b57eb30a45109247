"""The data of the book: each loader returns tensors with a fixed split and downloads nothing.

Names are looked up when they are first asked for: a chapter on toy sets depends on `toys.py` alone, and
`import dgm.data` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgm.data.captioned import Captioned, captioned_folder
    from dgm.data.defects import plant_defects
    from dgm.data.emoji import Emojis, emojis
    from dgm.data.mixture import mixture_1d
    from dgm.data.mnist import Images, digits
    from dgm.data.pair import gaussian_pair, gaussian_pair_law
    from dgm.data.pixel_art import AVATAR_ATTRIBUTES, Avatars, avatar_frequencies, avatars, draw_avatar
    from dgm.data.portrait import picture, picture_points
    from dgm.data.toon import (
        TOON_ATTRIBUTES,
        ToonHeads,
        draw_toon_head,
        held_out,
        toon_attributes,
        toon_caption,
        toon_heads,
    )
    from dgm.data.toys import TOYS, toy

HOMES = {
    "AVATAR_ATTRIBUTES": "pixel_art",
    "TOON_ATTRIBUTES": "toon",
    "TOYS": "toys",
    "Avatars": "pixel_art",
    "Captioned": "captioned",
    "Emojis": "emoji",
    "Images": "mnist",
    "ToonHeads": "toon",
    "avatar_frequencies": "pixel_art",
    "avatars": "pixel_art",
    "captioned_folder": "captioned",
    "digits": "mnist",
    "draw_avatar": "pixel_art",
    "draw_toon_head": "toon",
    "emojis": "emoji",
    "gaussian_pair": "pair",
    "gaussian_pair_law": "pair",
    "held_out": "toon",
    "mixture_1d": "mixture",
    "picture": "portrait",
    "picture_points": "portrait",
    "plant_defects": "defects",
    "toon_attributes": "toon",
    "toon_caption": "toon",
    "toon_heads": "toon",
    "toy": "toys",
}

__all__ = [
    "AVATAR_ATTRIBUTES",
    "TOON_ATTRIBUTES",
    "TOYS",
    "Avatars",
    "Captioned",
    "Emojis",
    "Images",
    "ToonHeads",
    "avatar_frequencies",
    "avatars",
    "captioned_folder",
    "digits",
    "draw_avatar",
    "draw_toon_head",
    "emojis",
    "gaussian_pair",
    "gaussian_pair_law",
    "held_out",
    "mixture_1d",
    "picture",
    "picture_points",
    "plant_defects",
    "toon_attributes",
    "toon_caption",
    "toon_heads",
    "toy",
]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'dgm.data' has no attribute {name!r} (there are: {', '.join(__all__)})")
    value = getattr(import_module(f"dgm.data.{HOMES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
