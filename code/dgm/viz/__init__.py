"""Pictures of one family: one style, one colour-blind-safe palette, both themes, words for who can't see them."""

from dgm.viz.draw import curves, figure, heatmap, image_grid
from dgm.viz.palette import COLORS, DIVERGING, INK, MUTED, PAPER, SEQUENTIAL
from dgm.viz.picker import picker
from dgm.viz.show import FIGURE_MIME, show, table
from dgm.viz.slider import slider

__all__ = [
    "COLORS",
    "DIVERGING",
    "FIGURE_MIME",
    "INK",
    "MUTED",
    "PAPER",
    "SEQUENTIAL",
    "curves",
    "figure",
    "heatmap",
    "image_grid",
    "picker",
    "show",
    "slider",
    "table",
]
