"""Two kinds of check: `require` guards the doors of the library, `verify` proves a claim of the text by number."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
KINDS: dict[str, tuple[torch.dtype, ...]] = {"float": FLOATS, "int": INTS, "bool": (torch.bool,)}

Kind = str | torch.dtype


class ClaimError(AssertionError):
    """A claim of the text that its number does not bear out, or a check that could not have failed."""


# --- doors -----------------------------------------------------------------------------------------------------


def require(
    x: object,
    name: str,
    *,
    shape: str | Sequence[str | int] | None = None,
    dtype: Kind | Sequence[Kind] | None = None,
    low: float | None = None,
    high: float | None = None,
    finite: bool = True,
) -> Tensor:
    """Return the tensor `x` unchanged, or say what was expected and what came.

    Args:
        x: what the caller gave.
        name: the argument's name, as the caller knows it.
        shape: sizes, separated by blanks or in a sequence. A number must match, a word stands for any size (the
            same word for the same size; every size must be at least 1), ``...`` stands for any leading dimensions.
        dtype: ``"float"``, ``"int"``, ``"bool"``, a torch dtype, or several of these.
        low: smallest value allowed.
        high: largest value allowed.
        finite: refuse NaN and infinities.

    Raises:
        TypeError: not a tensor, or of another dtype.
        ValueError: another shape, an empty batch, a value out of range or not finite.

    >>> require(torch.zeros(2, 3), "x", shape="B 3", dtype="float").shape
    torch.Size([2, 3])
    >>> require(torch.zeros(2, 4), "x", shape="B 3")
    Traceback (most recent call last):
    ValueError: x: expected shape (B, 3), came (2, 4)
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, came {type(x).__name__}")
    if dtype is not None:
        kinds = [dtype] if isinstance(dtype, str | torch.dtype) else list(dtype)
        allowed = [d for kind in kinds for d in (KINDS[kind] if isinstance(kind, str) else (kind,))]
        if x.dtype not in allowed:
            wanted = " or ".join(str(kind).removeprefix("torch.") for kind in kinds)
            raise TypeError(f"{name}: expected dtype {wanted}, came {str(x.dtype).removeprefix('torch.')}")
    if shape is not None:
        _require_shape(x, name, shape.split() if isinstance(shape, str) else [str(size) for size in shape])
    if x.numel() == 0:
        raise ValueError(f"{name}: expected at least one value, came an empty tensor of shape {tuple(x.shape)}")
    # A sum is finite only if all its terms are; it is several times cheaper, and only where it is not (overflow
    # makes it so too) each entry is looked at.
    if finite and x.dtype in FLOATS and not x.detach().sum().isfinite() and not torch.isfinite(x).all():
        bad = "NaN" if torch.isnan(x).any() else "an infinity"
        raise ValueError(f"{name}: expected finite values, came {bad}")
    if (low is not None and (x < low).any()) or (high is not None and (x > high).any()):
        bounds = f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"
        raise ValueError(f"{name}: expected values in {bounds}, came [{x.min().item():g}, {x.max().item():g}]")
    return x


def _require_shape(x: Tensor, name: str, words: list[str]) -> None:
    expected = f"({', '.join(words)}{',' if len(words) == 1 else ''})"
    free = words[:1] == ["..."]
    fixed = words[1:] if free else words
    sizes = tuple(x.shape)[x.dim() - len(fixed) :] if free else tuple(x.shape)
    bound: dict[str, int] = {}
    fits = len(sizes) == len(fixed) and all(
        int(word) == size if word.isdecimal() else bound.setdefault(word, size) == size
        for word, size in zip(fixed, sizes, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: expected shape {expected}, came {tuple(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"{name}: expected shape {expected} with at least one entry, came {tuple(x.shape)}")


def require_count(n: object, name: str, *, low: int = 1) -> int:
    """Return the whole number `n` ≥ `low`.

    Raises:
        TypeError: not a whole number.
        ValueError: below `low`.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"{name}: expected a whole number, came {n!r}")
    if n < low:
        raise ValueError(f"{name}: expected at least {low}, came {n}")
    return int(n)


def require_number(
    value: object, name: str, *, low: float | None = None, high: float | None = None, open_low: bool = False
) -> float:
    """Return the finite number `value` in [`low`, `high`], or in (`low`, `high`] with `open_low`.

    Raises:
        TypeError: not a number.
        ValueError: not finite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number, came {value!r}")
    below = low is not None and (value <= low if open_low else value < low)
    if not np.isfinite(value) or below or (high is not None and value > high):
        left = "(" if open_low or low is None else "["
        bounds = f"{left}{'-inf' if low is None else low}, {'inf' if high is None else high}]"
        raise ValueError(f"{name}: expected a finite number in {bounds}, came {value!r}")
    return float(value)


def nearest(value: str, options: Iterable[str]) -> str:
    """A clause that names the nearest of `options`: ``" (did you mean 'made'?)"``, or all of them."""
    names = sorted(options)
    close = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(map(repr, close))}?)"
    return f" (there are: {', '.join(names) or 'none'})"


def require_choice(value: object, name: str, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; otherwise name the nearest.

    Raises:
        TypeError: not a string.
        ValueError: not one of the options.
    """
    options = list(options)
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, came {value!r}")
    if value not in options:
        raise ValueError(f"{name}: {value!r} is not known{nearest(value, options)}")
    return value


# --- claims ----------------------------------------------------------------------------------------------------

# A tolerance may be at most this fraction of how far a side ranges over its trials: an error of a tenth of the
# side's own range never passes.
LOOSEST = 0.1
KEPT = 64  # entries of each side that go into the page's record


class Verified:
    """The line under a claim: ✓, the equation, by how much the sides differ."""

    def __init__(self, label: str, left: np.ndarray, right: np.ndarray, error: float, atol: float) -> None:
        self.label, self.left, self.right, self.error, self.atol = label, left, right, error, atol

    def _line(self, equation: str, number: str) -> str:
        trials = self.left.size
        return f"✓ {equation}: both sides agree in {trials} values, the largest difference is {number}"

    def __repr__(self) -> str:
        return self._line(self.label, f"{self.error:.1e} (allowed: {self.atol:.1e})")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        role = f"{{eq}}`{self.label}`"
        line = self._line(role, f"{_power(self.error)} (allowed: {_power(self.atol)})")
        bundle = {"text/plain": repr(self), "text/markdown": f":::{{div}} dgm-verified\n{line}\n:::"}
        sides = {"left": self.left.ravel()[:KEPT].tolist(), "right": self.right.ravel()[:KEPT].tolist()}
        return bundle, {"dgm": {"claim": {"label": self.label, "error": self.error, "tolerance": self.atol, **sides}}}


def _power(value: float) -> str:
    """A number as text with a power of ten: ``3·10⁻⁷``."""
    if value == 0 or 1e-2 <= value < 1e3:
        return f"{value:.2g}"
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def verify(label: str, left: Any, right: Any, *, atol: float) -> None:
    r"""Check a claim of the text, computed two ways: $\max_i |l_i - r_i| \le$ `atol`, and show that it holds.

    Each side holds at least two trials (random inputs, sizes, positions …). A check that could not have failed is
    refused: the same object twice, a side that is the same in all trials, a tolerance over a tenth of the range
    $\max_i l_i - \min_i l_i$ of a side. What is left for the author is to compute the sides in different ways.

    Args:
        label: the label of the equation, ``eq-…``.
        left: one side; tensor, array or nested numbers of any shape.
        right: the other side, of the same shape.
        atol: the largest difference allowed.

    Raises:
        ClaimError: the sides differ, or the check could not fail.
        ValueError, TypeError: a label of another form, no number, shapes that differ.

    >>> a = torch.arange(1.0, 5.0)
    >>> verify("eq-gauss-sum", torch.cumsum(a, 0), a * (a + 1) / 2, atol=1e-6)
    ✓ eq-gauss-sum: both sides agree in 4 values, the largest difference is 0.0e+00 (allowed: 1.0e-06)
    """
    if not isinstance(label, str) or not label.startswith("eq-"):
        raise ValueError(f"label: expected the label of an equation, 'eq-…', came {label!r}")
    atol = require_number(atol, "atol", low=0.0)
    if left is right:
        raise ClaimError(f"{label}: both sides are the same object; compute them in two ways")
    sides = _numbers(left, "left"), _numbers(right, "right")
    if sides[0].shape != sides[1].shape:
        raise ValueError(f"{label}: expected sides of one shape, came {sides[0].shape} and {sides[1].shape}")
    if np.shares_memory(sides[0], sides[1]):
        raise ClaimError(f"{label}: both sides share their memory; compute them in two ways")
    for side, name in zip(sides, ("left", "right"), strict=True):
        if side.size < 2:
            raise ClaimError(f"{label}: {name} holds one value; give at least two trials")
        spread = float(side.max() - side.min())
        if spread == 0.0:
            raise ClaimError(f"{label}: {name} is {side.flat[0]:g} in all trials; a constant proves nothing")
        if atol > LOOSEST * spread:
            raise ClaimError(
                f"{label}: atol={atol:g} is too loose for {name}, which ranges over {spread:g};"
                f" at most {LOOSEST * spread:.2g} could catch an error"
            )
    error = float(np.abs(sides[0] - sides[1]).max())
    if error > atol:
        worst = np.unravel_index(np.abs(sides[0] - sides[1]).argmax(), sides[0].shape)
        at = ", ".join(map(str, worst))
        raise ClaimError(
            f"{label}: the sides differ by {error:g} at [{at}] ({sides[0][worst]:g} and {sides[1][worst]:g});"
            f" allowed: {atol:g}"
        )
    from IPython.display import display  # prints the line where there is no notebook

    display(Verified(label, *sides, error, atol))


def _numbers(side: Any, name: str) -> np.ndarray:
    """A float64 array of what the author gave as one side."""
    if isinstance(side, Tensor):
        side = side.detach().cpu()
    elif isinstance(side, Sequence):
        side = [v.detach().cpu() if isinstance(v, Tensor) else v for v in side]
    try:
        array = np.asarray(side, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected numbers, came {type(side).__name__}") from None
    if not np.isfinite(array).all():
        raise ClaimError(f"{name}: expected finite numbers, came NaN or infinity")
    return array
