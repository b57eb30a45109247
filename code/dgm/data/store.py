"""A small cache of arrays that are slow to draw: written whole or not at all, and drawn afresh when broken."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[3]


def cache_folder() -> Path:
    """Return the folder for files that can be made again: ``$XDG_CACHE_HOME/dgm``, else ``~/.cache/dgm``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # by the rule of XDG, a relative path counts as not set
        return Path(base) / "dgm"
    try:
        return Path.home() / ".cache" / "dgm"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "dgm"


Arrays = dict[str, np.ndarray]


def cached(name: str, key: dict[str, object], make: Callable[[], Arrays]) -> Arrays:
    """Return what `make` returns, from the cache where the same `key` was made before.

    A cache that cannot be read is made again; one that cannot be written is done without.

    Args:
        name: beginning of the file's name.
        key: everything that the arrays depend on, such as versions of packages and arguments.
        make: draws the arrays, none of them of dtype object.
    """
    text = json.dumps(key, sort_keys=True)
    path = cache_folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    arrays = _read(path, text)
    if arrays is None:
        arrays = make()
        _write(path, text, arrays)
    if path.resolve().is_relative_to(REPOSITORY):
        sys.audit("dgm.read", str(path))  # the build notes what a chapter depends on
    return arrays


def _read(path: Path, text: str) -> Arrays | None:
    """The arrays of a file, or None where it is missing, broken or made for another key."""
    try:
        # From memory: given a path, NumPy leaves the file open when it is damaged.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            if str(file["key"]) != text:
                return None
            return {name: file[name] for name in file.files if name != "key"}
    except Exception:  # a damaged file can raise anything, and whatever it is, drawing afresh cures it
        return None


def _write(path: Path, text: str, arrays: Arrays) -> None:
    """Write beside the place and move: a reader sees the old file, the new one, or none, never half a file."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, key=np.array(text), **arrays)
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(draft)
