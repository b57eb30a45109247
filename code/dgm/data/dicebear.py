"""Draw DiceBear's vector avatars as arrays of pixels."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import numpy as np

from dgm.data.packages import folder, release

# What Python imports, and what pip installs.
PACKAGES = {
    "dicebear": "dicebear-core",
    "dicebear_styles": "dicebear-styles",
    "resvg_py": "resvg-py",
    "PIL": "pillow",
}


def releases(what: str) -> dict[str, str]:
    """Return the versions of the packages that the drawings depend on.

    Args:
        what: who asks, for the message.

    Raises:
        ImportError: one of the packages is missing; the message holds the line that installs it.
    """
    for module, package in PACKAGES.items():
        folder(module, package, what)
    return {package: release(package, what) for package in PACKAGES.values()}


def svg(style: str, options: dict[str, object]) -> str:
    """Return the drawing of one avatar; `options` are DiceBear's own."""
    from dicebear import Avatar

    return Avatar(_style(style), options).to_string()


def pixels(drawing: str, size: int) -> np.ndarray:
    """Return a drawing as uint8 (3, size, size); where it is transparent it is white."""
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(
        svg_string=drawing, width=size, height=size, background="#ffffff", skip_system_fonts=True
    )
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


@cache
def _style(name: str) -> Any:
    """A style as DiceBear wants it; its check of the definition takes half a second, so we keep it."""
    from dicebear import Style

    path = folder("dicebear_styles", "dicebear-styles", "this drawing") / f"{name}.json"
    return Style(json.loads(path.read_text("utf-8")))
