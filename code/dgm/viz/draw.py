"""Matplotlib in the book's style: a figure, a grid of images, a heat map, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dgm.checks import require, require_count
from dgm.viz.palette import COLORS, INK, MUTED, PAPER, SEQUENTIAL

STYLE: Any = {
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "mathtext.fontset": "cm",
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
}


def figure(
    ncols: int = 1, nrows: int = 1, *, width: float = 7.0, height: float = 3.0, **subplots: Any
) -> tuple[Figure, Any]:
    """A figure in the book's style and its axes (one `Axes`, or an array of them).

    Args:
        ncols: columns of axes.
        nrows: rows of axes.
        width: inches; 7 fills the text column.
        height: inches.
        subplots: further arguments of `Figure.subplots`.
    """
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width, height))
        axes = fig.subplots(require_count(nrows, "nrows"), require_count(ncols, "ncols"), **subplots)
    return fig, axes


def image_grid(ax: Axes, images: Tensor, *, ncols: int = 8, gap: int = 1, title: str | None = None) -> None:
    """Draw images as one tight grid, row by row.

    Args:
        ax: where to draw.
        images: shape (N, 1, H, W) or (N, 3, H, W), values in [0, 1].
        ncols: images a row.
        gap: pixels between images.
        title: a line above the grid.
    """
    images = require(images, "images", shape="N C H W", dtype=("float", "bool"), low=0, high=1)
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        raise ValueError(f"images: expected 1 or 3 channels, came {channels}")
    ncols = min(require_count(ncols, "ncols"), count)
    nrows = math.ceil(count / ncols)
    canvas = np.full((nrows * (height + gap) - gap, ncols * (width + gap) - gap, 4), 0.0, dtype=np.float32)
    for i, image in enumerate(images.detach().cpu().float()):
        top, left = (i // ncols) * (height + gap), (i % ncols) * (width + gap)
        canvas[top : top + height, left : left + width, :3] = image.permute(1, 2, 0).numpy()
        canvas[top : top + height, left : left + width, 3] = 1.0
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    if title:
        ax.set_title(title)


def heatmap(
    ax: Axes,
    values: Tensor | np.ndarray,
    *,
    extent: tuple[float, float, float, float] | None = None,
    label: str | None = None,
    cmap: str = SEQUENTIAL,
    vmin: float | None = None,
    vmax: float | None = None,
) -> None:
    """Draw a matrix as colours, with a colour bar when `label` names what they mean.

    Args:
        ax: where to draw.
        values: shape (H, W). Without `extent`, row 0 is at the top, as in a picture.
        extent: (left, right, bottom, top); row 0 is then at the bottom, as in a plot of a density.
        label: what the colour bar says.
        cmap: `SEQUENTIAL` or `DIVERGING`.
        vmin: value of the first colour.
        vmax: value of the last colour.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"values: expected shape (H, W), came {array.shape}")
    picture = ax.imshow(
        array,
        extent=extent,
        origin="upper" if extent is None else "lower",
        aspect="equal" if extent is None else "auto",
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
    )
    if label is not None:
        bar = ax.figure.colorbar(picture, ax=ax, fraction=0.046, pad=0.03)
        with mpl.rc_context(STYLE):
            bar.set_label(label, color=INK)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=MUTED, labelsize=8)


def curves(
    ax: Axes,
    lines: Mapping[str, Any],
    *,
    xlabel: str = "",
    ylabel: str = "",
    legend: bool = True,
) -> None:
    """Draw named curves.

    Args:
        ax: where to draw.
        lines: name → y values, or → (x values, y values).
        xlabel: under the axis.
        ylabel: beside the axis.
        legend: name the curves in a legend.
    """
    if not lines:
        raise ValueError("lines: expected at least one curve, came none")
    for name, values in lines.items():
        x, y = values if isinstance(values, tuple) else (np.arange(len(values)), values)
        ax.plot(np.asarray(x), np.asarray(y), label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if legend:
        ax.legend(frameon=False, labelcolor=INK, fontsize=9)
