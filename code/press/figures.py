"""How a figure of `dgm.viz.show` becomes part of a page: a picture a theme, or an interactive figure.

The picture of the other theme is not loaded: both are lazy, and the style sheet hides the one that does not fit.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any

from docutils import nodes
from myst_nb.core import render

from dgm.viz.show import DOTS_PER_INCH, FIGURE_MIME

PLOTLY_MIME = "application/vnd.plotly.v1+json"


class FigureRenderer:
    """A renderer of MyST-NB for the book's own kind of output."""

    mime_priority_overrides = (("*", FIGURE_MIME, 1),)

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: int) -> list[nodes.Element] | None:
        """The nodes for one output; None where it is not a figure of the book."""
        if inline or "figure" not in data.output_metadata.get("dgm", {}):
            return None
        if data.mime_type != FIGURE_MIME:
            return []  # the same figure in a form for notebooks
        words = data.content if isinstance(data.content, dict) else json.loads(data.content)
        figure = nodes.figure(classes=["dgm-figure"], align="center")
        pictures = [
            _picture(renderer, png, words, theme) for theme, png in (("light", words["light"]), ("dark", words["dark"]))
        ]
        # In a box of their own: the theme hides a caption beside a picture of the other theme.
        paper = nodes.container(classes=["dgm-pictures"])
        paper += pictures
        if words.get("plotly") is not None:
            paper["classes"].append("dgm-still")
            figure += _interactive(words)
        if words.get("widget") is not None:
            paper["classes"].append("dgm-still")
            figure += nodes.raw("", words["widget"], format="html")
        figure += paper
        figure += _caption(renderer, words["caption"], data)
        document = renderer.renderer.document
        figure["names"].append(nodes.fully_normalize_name(words["name"]))
        document.note_explicit_target(figure, figure)
        return [figure]


def _picture(renderer: Any, png: str, words: dict[str, Any], theme: str) -> nodes.image:
    content = base64.b64decode(png)
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # from the PNG's header
    name = f"{hashlib.sha256(content).hexdigest()[:20]}.png"
    uri = renderer.write_file([name], content, exists_ok=True)
    picture = nodes.image(uri=uri, alt=words["alt"], loading="lazy", classes=[f"only-{theme}"])
    # The size in pixels of the page: the room is kept before the picture loads.
    picture["width"], picture["height"] = (str(round(size * 100 / DOTS_PER_INCH)) for size in (width, height))
    return picture


def _interactive(words: dict[str, Any]) -> nodes.raw:
    plot = dict(words["plotly"])
    plot.get("layout", {}).pop("template", None)
    content = json.dumps(plot, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    height = int(plot.get("layout", {}).get("height") or 420)
    label = html.escape(words["alt"], quote=True)
    return nodes.raw(
        "",
        f'<div class="dgm-plotly" role="figure" aria-label="{label}" data-height="{height}">'
        f'<script type="application/json">{content}</script></div>',
        format="html",
    )


def _caption(renderer: Any, caption: str, data: Any) -> nodes.caption:
    node = nodes.caption()
    with renderer.renderer.current_node_context(node):
        renderer.renderer.nested_render_text(caption, data.line or 0, inline=True)
    return node


def install() -> None:
    """Make MyST-NB use the renderer.

    MyST-NB finds renderers by entry points of installed packages. The only package here is `dgm`, whose wheel holds
    no `press`, so the renderer is handed over directly.
    """
    render.load_mime_renders = lambda: [FigureRenderer]
