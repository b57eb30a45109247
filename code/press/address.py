"""Move the book to another repository: the few files that name its address follow `_config.yml`."""

from __future__ import annotations

import re
from pathlib import Path

from press.house import ROOT, PressError, address

FOLLOW = ("_config.yml", "README.md", "CONTRIBUTING.md", "code/pyproject.toml", "code/README.md")
"""Files that name the address in their text; the site, notebooks and badges are made from `_config.yml`."""


def move(url: str) -> list[Path]:
    """Rewrite the address everywhere; return the files that changed.

    Raises:
        PressError: not an address of the form https://github.com/OWNER/NAME.
    """
    url = url.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise PressError(f"expected an address like https://github.com/OWNER/NAME, came {url!r}")
    old, new = address(), type(address())(url)
    changed = []
    for name in FOLLOW:
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_text("utf8")
        moved = text.replace(old.url, new.url).replace(old.site, new.site).replace(old.slug, new.slug)
        if moved != text:
            path.write_text(moved, "utf8")
            changed.append(path.relative_to(ROOT))
    return changed
