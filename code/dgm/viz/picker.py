"""A figure whose picture a reader chooses from menus: every choice was drawn beforehand, so no kernel is needed."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import display
from PIL import Image

from dgm.checks import require_count
from dgm.viz.draw import figure, image_grid
from dgm.viz.show import FIGURE_MIME, both_themes, require_words

STILLS = 12  # pictures shown where scripts don't run


def picker(
    menus: Mapping[str, Sequence[str]],
    captions: Sequence[str],
    sheet: bytes,
    *,
    row: int,
    alt: str,
    caption: str,
    name: str,
    zoom: int = 4,
    start: int = 0,
    sliders: Collection[str] = (),
) -> None:
    """Show one picture of a sheet, chosen by menus, and the caption that belongs to it; the last line of a cell.

    Menus and sliders are plain HTML, so a keyboard and a screen reader can use them; the sheet is part of the page, and
    nothing is asked of another host. On paper and where scripts don't run, twelve of the pictures are shown.

    Args:
        menus: label → choices. Picture i belongs to the i-th combination, the last menu turning fastest.
        captions: of each picture.
        sheet: a file in a format that browsers read (PNG, JPEG, WebP): the pictures, square, `row` in a row.
        row: how many pictures are in a row.
        alt, caption, name: as for `show`.
        zoom: pixels on the page for one of the picture.
        start: the picture shown first.
        sliders: labels of the menus that are shown as sliders: their choices are in an order.

    Raises:
        ValueError: no menus, a menu without choices, a slider that is no menu, captions that are not as many as the
            choices together, a sheet that is no picture or holds too few.
    """
    require_words(alt, caption, name)
    if not menus or not all(menus.values()):
        raise ValueError(f"menus: expected at least one, each with choices, came {dict(menus)!r}")
    if strange := set(sliders) - set(menus):
        raise ValueError(f"sliders: expected some of {', '.join(menus)}, came {', '.join(sorted(strange))}")
    counts = [len(choices) for choices in menus.values()]
    if len(captions) != math.prod(counts):
        raise ValueError(f"captions: expected {math.prod(counts)}, one for each choice, came {len(captions)}")
    if not 0 <= start < len(captions):
        raise ValueError(f"start: expected a position in [0, {len(captions) - 1}], came {start}")
    kind, pictures = _pictures(sheet, require_count(row, "row"), len(captions))
    light, dark = both_themes(_still(pictures))
    side = require_count(zoom, "zoom") * pictures.shape[-1]
    size = side, side * row, side * -(-len(captions) // row)
    paint = f"data:{kind};base64,{base64.b64encode(sheet).decode()}"
    box = f"{html.escape(name, quote=True)}-picker"
    widget = f"""<div class="dgm-picker" id="{box}" role="group" aria-label="{html.escape(alt, quote=True)}" hidden>
{_STYLE}
<div role="img" style="width: {size[0]}px; height: {size[0]}px; border-radius: 6px;
  background: url({paint}) 0 0 / {size[1]}px {size[2]}px"></div>
<form onsubmit="return false">{_controls(menus, sliders, start)}</form>
<p aria-live="polite"></p>
<script type="application/json">{_json(list(captions))}</script>
</div>
<script>
{_SCRIPT % {"box": box, "side": side, "row": row}}
</script>"""
    words = {"alt": alt, "caption": caption, "name": name, "light": light, "dark": dark, "widget": widget}
    paper = f'<noscript><img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{light}"></noscript>'
    bundle: dict[str, Any] = {"text/plain": f"[{alt}]", "text/html": widget + paper, FIGURE_MIME: words}
    display(bundle, raw=True, metadata={"dgm": {"figure": {"alt": alt, "name": name, "interactive": True}}})


def _pictures(sheet: bytes, row: int, count: int) -> tuple[str, torch.Tensor]:
    """The kind of the file, such as ``image/webp``, and its first `count` pictures, (count, 3, side, side)."""
    try:
        with Image.open(io.BytesIO(sheet), formats=("PNG", "JPEG", "WEBP")) as file:
            kind, drawn = f"image/{str(file.format).lower()}", np.asarray(file.convert("RGB"))
    except (OSError, TypeError) as error:
        raise ValueError(f"sheet: expected the bytes of a PNG, JPEG or WebP, came others ({error})") from None
    height, width, _ = drawn.shape
    side = width // row
    if width % row or height < side * -(-count // row):
        raise ValueError(f"sheet: expected {count} squares, {row} in a row, came {width} × {height} pixels")
    cells = drawn[: height // side * side].reshape(-1, side, row, side, 3).transpose(0, 2, 4, 1, 3)
    return kind, torch.from_numpy(cells.reshape(-1, 3, side, side)[:count].copy()).float() / 255


def _still(pictures: torch.Tensor) -> Any:
    """Twelve of the pictures, or all if there are fewer, evenly taken."""
    picks = torch.linspace(0, len(pictures) - 1, min(STILLS, len(pictures))).round().long()
    fig, ax = figure(height=2.4, width=7.0)
    image_grid(ax, pictures[picks], ncols=6)
    return fig


def _json(value: object) -> str:
    """As JSON that may stand in a page: nothing in it ends a script."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _controls(menus: Mapping[str, Sequence[str]], sliders: Collection[str], start: int) -> str:
    """A labelled menu or slider for each entry, set so that picture `start` is chosen."""
    made: list[str] = []
    for label, choices in reversed(list(menus.items())):
        start, at = divmod(start, len(choices))
        if label in sliders:
            told = html.escape(_json(list(choices)), quote=True)
            control = f'<input type="range" min="0" max="{len(choices) - 1}" value="{at}" data-choices="{told}">'
            control += "<output></output>"
        else:
            options = [
                f"<option{' selected' * (i == at)}>{html.escape(choice)}</option>" for i, choice in enumerate(choices)
            ]
            control = f"<select>{''.join(options)}</select>"
        made.insert(0, f"<label><span>{html.escape(label)}</span> {control}</label>")
    return "".join(made)


_STYLE = """<style>
.dgm-picker:not([hidden]) { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: center; text-align: left; }
.dgm-picker form { display: grid; gap: 0.5rem; flex: 1 1 14rem; margin: 0; }
.dgm-picker label { display: flex; align-items: center; gap: 0.8rem; max-width: 26rem; margin: 0; }
.dgm-picker label span { flex: 0 0 7.5rem; }
.dgm-picker select { font: inherit; flex: 1; min-height: 2rem; color: var(--pst-color-text-base, CanvasText);
  background: var(--pst-color-background, Canvas); border: 1px solid currentColor; border-radius: 4px; }
.dgm-picker input { flex: 1; min-width: 6rem; min-height: 24px; accent-color: var(--pst-color-primary, auto); }
.dgm-picker output { min-width: 2.5rem; font-variant-numeric: tabular-nums; }
.dgm-picker p { flex: 1 0 100%; margin: 0; min-height: 3.2em; }
@media print { .dgm-picker:not([hidden]) { display: none; } }
</style>"""

_SCRIPT = """(() => {
  const box = document.getElementById("%(box)s");
  const controls = [...box.querySelectorAll("select, input")];
  const captions = JSON.parse(box.querySelector("script").textContent);
  const picture = box.querySelector("[role=img]"), words = box.querySelector("p");
  const show = () => {
    let at = 0;
    for (const control of controls) {
      const choices = control.dataset.choices ? JSON.parse(control.dataset.choices) : control.options;
      const chosen = control.selectedIndex ?? Number(control.value);
      at = at * choices.length + chosen;
      if (!control.dataset.choices) continue;
      control.setAttribute("aria-valuetext", choices[chosen]);
      control.nextElementSibling.textContent = choices[chosen];
    }
    picture.style.backgroundPosition = `${-%(side)d * (at %% %(row)d)}px ${-%(side)d * Math.floor(at / %(row)d)}px`;
    picture.setAttribute("aria-label", captions[at]);
    words.textContent = captions[at];
  };
  for (const control of controls) control.addEventListener("input", show);
  box.hidden = false;
  document.documentElement.classList.add("dgm-scripts"); // the still pictures give way
  show();
})();"""
