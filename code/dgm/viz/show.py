"""Show a figure: for both themes, with words for who can't see it, with a caption and a name for the text."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import Markdown, display
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from dgm.viz.draw import STYLE
from dgm.viz.palette import DARK, MUTED, PAPER
from dgm.viz.slider import still

FIGURE_MIME = "application/vnd.dgm.figure+json"
"""The book's own kind of output: both pictures, the words, the interactive figure."""

DOTS_PER_INCH = 170  # a 7-inch figure has 1,190 pixels: sharp on a phone, about 60 kB


def show(fig: Figure | go.Figure, *, alt: str, caption: str, name: str) -> None:
    """Show a Matplotlib or Plotly figure; the last line of a cell.

    Args:
        fig: the figure. A Plotly figure also gets a still picture, for paper and where scripts don't run.
        alt: what a reader who can't see it must know.
        caption: a sentence under the figure (MyST: `$…$` and roles work).
        name: the figure's label, ``fig-…``, for ``{numref}`` in the text.

    Raises:
        TypeError: another kind of figure.
        ValueError: no alternative text, no caption, a name of another form.
    """
    require_words(alt, caption, name)
    if not isinstance(fig, Figure | go.Figure):
        raise TypeError(f"fig: expected a Matplotlib or Plotly figure, came {type(fig).__name__}")
    if isinstance(fig, go.Figure) and pio.renderers.default == "colab":
        fig.show()  # Colab draws Plotly figures its own way
        return
    light, dark = both_themes(still(fig) if isinstance(fig, go.Figure) else fig)
    words: dict[str, Any] = {"alt": alt, "caption": caption, "name": name, "light": light, "dark": dark}
    bundle: dict[str, Any] = {"text/plain": f"[{alt}]", "image/png": light, FIGURE_MIME: words}
    if isinstance(fig, go.Figure):
        plot = json.loads(pio.to_json(fig, validate=False))
        bundle["application/vnd.plotly.v1+json"] = words["plotly"] = plot
    about = {"alt": alt, "name": name, "interactive": isinstance(fig, go.Figure)}
    display(bundle, raw=True, metadata={"dgm": {"figure": about}})


def require_words(alt: str, caption: str, name: str) -> None:
    """What every figure must have, or a ValueError that says what came instead."""
    for text, argument in ((alt, "alt"), (caption, "caption")):
        if not isinstance(text, str) or len(text.split()) < 3:
            raise ValueError(f"{argument}: expected at least a few words, came {text!r}")
    if not isinstance(name, str) or not name.startswith("fig-"):
        raise ValueError(f"name: expected the label of a figure, 'fig-…', came {name!r}")


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markdown:
    """A table of the page; as the last line of a cell it is shown.

    Args:
        head: the columns' names (MyST: `$…$` and roles work).
        rows: what stands in them.

    Raises:
        ValueError: a row with more or fewer entries than there are columns.
    """
    lines = [[str(name) for name in head], ["---"] * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"rows: expected {len(head)} entries in each row, came {len(row)}: {row!r}")
        lines.append([str(entry) for entry in row])
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def both_themes(fig: Figure) -> tuple[str, str]:
    """The figure as two PNGs in base64: as drawn, and with ink and paper of the dark page."""
    light = _png(fig, PAPER)
    _recolour(fig, DARK)
    dark = _png(fig, "none")  # whatever the page's own dark is
    _recolour(fig, {new: old for old, new in DARK.items()})
    return light, dark


def _png(fig: Figure, paper: str) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        # No software version in the file: the same picture is the same bytes.
        fig.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None}, facecolor=paper)
    return base64.b64encode(buffer.getvalue()).decode()


def _recolour(fig: Figure, colors: dict[str, str]) -> None:
    """Exchange colours in every text, line and shape of the figure."""

    def swap(artist: Artist, what: str) -> None:
        value = getattr(artist, f"get_{what}")()
        try:
            old = to_hex(value)
            alpha = value[3] if isinstance(value, tuple) and len(value) == 4 else None
        except ValueError:  # a list of colours, as a scatter plot has: data, not ink
            return
        if old in colors and alpha != 0:
            getattr(artist, f"set_{what}")(colors[old])

    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):  # for the ticks that the next drawing makes
            for which in ("major", "minor"):
                ticks = axis.get_tick_params(which)
                for key in ("color", "labelcolor"):
                    old = to_hex(ticks.get(key, MUTED))
                    axis.set_tick_params(which, **dict[str, Any]({key: colors.get(old, old)}))
    for artist in fig.findobj():
        if isinstance(artist, Text):
            swap(artist, "color")
        elif isinstance(artist, Line2D):
            for what in ("color", "markerfacecolor", "markeredgecolor"):
                swap(artist, what)
        elif isinstance(artist, Patch):
            for what in ("facecolor", "edgecolor"):
                swap(artist, what)
        elif isinstance(artist, Collection):
            for what in ("facecolor", "edgecolor"):
                value = getattr(artist, f"get_{what}")()
                if len(value) == 1 and to_hex(value[0]) in colors and value[0][3] > 0:
                    getattr(artist, f"set_{what}")(colors[to_hex(value[0])])
