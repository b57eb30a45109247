"""The colours of the book; the site's style sheet is made from the same names (`press.site`).

Each of `COLORS` has a contrast of at least 3:1 on white and on the dark page, and any two of the first
five differ for readers with protanopia, deuteranopia or tritanopia (`tests/viz/test_viz.py` computes both).
"""

COLORS = ("#1761e4", "#dd7319", "#2f9e8e", "#ba42b3", "#7d6c37", "#6b7480", "#d1495b")
"""Blue, vermilion, green, orchid, ochre, grey, rose: take them in this order."""

INK, MUTED, PAPER = "#1f2933", "#5c6670", "#ffffff"
"""Text and axes, secondary lines, background: as drawn on the light page."""

DARK = {INK: "#e4e7eb", MUTED: "#9aa5b1", PAPER: "#121212"}
"""What the three become on the dark page."""

SEQUENTIAL, DIVERGING = "viridis", "PuOr"
"""Colour maps for values from nothing to much, and for values around zero."""
