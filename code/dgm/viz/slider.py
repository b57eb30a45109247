"""Figures that move without a kernel: every position of the slider is drawn beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from plotly.basedatatypes import BaseTraceType
from plotly.colors import unlabel_rgb

from dgm.viz.draw import figure
from dgm.viz.palette import COLORS, INK, SEQUENTIAL

STILLS = 3  # positions drawn where scripts don't run


def slider(
    frames: Mapping[str, Sequence[BaseTraceType]],
    *,
    name: str,
    xlabel: str = "",
    ylabel: str = "",
    xrange: tuple[float, float] | None = None,
    yrange: tuple[float, float] | None = None,
    height: int = 420,
    start: int = 0,
    equal: bool = False,
) -> go.Figure:
    """A Plotly figure with one frame for each position of a slider.

    Args:
        frames: the slider's value as text → the traces drawn there (as many in every frame, in the same order).
        name: what the slider changes.
        xlabel: under the axis.
        ylabel: beside the axis.
        xrange: fixed ends of the x axis, so that it does not jump.
        yrange: fixed ends of the y axis.
        height: pixels.
        start: the position shown first.
        equal: one unit is equally long on both axes.

    Raises:
        ValueError: no frames, or frames with different numbers of traces.
    """
    if not frames:
        raise ValueError("frames: expected at least one frame, came none")
    counts = {len(traces) for traces in frames.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"frames: expected as many traces in every frame, came {sorted(counts)}")
    labels = list(frames)
    if not 0 <= start < len(labels):
        raise ValueError(f"start: expected a position in [0, {len(labels) - 1}], came {start}")
    steps = [{"label": label, "method": "animate", "args": [[label], _AT_ONCE]} for label in labels]
    fig = go.Figure(
        data=list(frames[labels[start]]),
        frames=[go.Frame(name=label, data=list(traces)) for label, traces in frames.items()],
    )
    fig.update_layout(
        template="none",
        colorway=list(COLORS),
        height=height,
        margin={"l": 56, "r": 16, "t": 24, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.08, "x": 0},
        xaxis={"title": {"text": xlabel}, "range": xrange, "zeroline": False, "automargin": True},
        yaxis={"title": {"text": ylabel}, "range": yrange, "zeroline": False, "automargin": True},
        sliders=[{"active": start, "currentvalue": {"prefix": f"{name}: "}, "pad": {"t": 44}, "steps": steps}],
    )
    if equal:
        fig.update_yaxes(scaleanchor="x")
    return fig


_AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}


def still(fig: go.Figure) -> Figure:
    """The same figure for paper: the first, middle and last position of the slider side by side."""
    drawn = list(fig.frames) or [go.Frame(name="", data=fig.data)]
    picks = sorted({round(i * (len(drawn) - 1) / (STILLS - 1)) for i in range(STILLS)})
    prefix = fig.layout.sliders[0].currentvalue.prefix if fig.layout.sliders else ""
    sheet, axes = figure(len(picks), width=7.0, height=2.8, sharex=True, sharey=True, squeeze=False)
    for ax, pick in zip(axes.flat, picks, strict=True):
        for trace in drawn[pick].data:
            _draw(ax, trace)
        ax.set_title(f"{prefix}{drawn[pick].name}")
        ax.set_xlabel(fig.layout.xaxis.title.text or "")
        for side, axis in ((ax.set_xlim, fig.layout.xaxis), (ax.set_ylim, fig.layout.yaxis)):
            if axis.range:
                side(*axis.range)
        if fig.layout.yaxis.scaleanchor:
            ax.set_aspect("equal", adjustable="box")
    axes.flat[0].set_ylabel(fig.layout.yaxis.title.text or "")
    names = [trace.name for trace in drawn[0].data if trace.name and trace.showlegend is not False]
    if names:
        handles, labels = axes.flat[0].get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, labelcolor=INK, fontsize=9)
    return sheet


def _colormap(scale: Sequence[tuple[float, str]] | None) -> str | LinearSegmentedColormap:
    """Plotly's list of places and colours as a Matplotlib colour map."""
    if scale is None:
        return SEQUENTIAL
    colors = [color if color.startswith("#") else [c / 255 for c in unlabel_rgb(color)] for _, color in scale]
    return LinearSegmentedColormap.from_list("plotly", list(zip((place for place, _ in scale), colors, strict=True)))


def _draw(ax: Axes, trace: Any) -> None:
    """One Plotly trace (scatter, bar, heat map) on Matplotlib axes."""
    if trace.type == "heatmap":
        z = np.asarray(trace.z, dtype=float)
        x = np.arange(z.shape[1]) if trace.x is None else np.asarray(trace.x)
        y = np.arange(z.shape[0]) if trace.y is None else np.asarray(trace.y)
        ax.pcolormesh(
            x,
            y,
            z,
            cmap=_colormap(trace.colorscale),
            vmin=trace.zmin,
            vmax=trace.zmax,
            rasterized=True,
            shading="nearest",
        )
    elif trace.type == "bar":
        color = trace.marker.color if isinstance(trace.marker.color, str) else None
        ax.bar(trace.x, trace.y, width=trace.width or 0.9, color=color, alpha=trace.opacity, label=trace.name)
    elif trace.type in ("scatter", "scattergl"):
        mode = trace.mode or "lines"
        if "lines" in mode:
            style = {"dash": "--", "dot": ":"}.get(trace.line.dash, "-")
            ax.plot(trace.x, trace.y, style, color=trace.line.color, label=trace.name)
        if "markers" in mode:
            color = trace.marker.color
            label = None if "lines" in mode else trace.name
            size = (trace.marker.size if isinstance(trace.marker.size, int | float) else 4) ** 2 / 3
            ax.scatter(trace.x, trace.y, s=size, c=color, alpha=trace.opacity, linewidths=0, label=label)
    else:
        raise ValueError(f"trace: expected a scatter, bar or heatmap, came {trace.type}")
