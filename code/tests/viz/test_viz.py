import base64
import importlib
import io
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from matplotlib import image as mpl_image
from matplotlib.colors import to_rgb

from dgm import viz
from dgm.viz.palette import DARK
from dgm.viz.slider import still

STYLE_SHEET = Path(__file__).parents[3] / "book" / "_static" / "style.css"

# Machado, Oliveira, Fernandes (2009), "A physiologically-based model for simulation of color vision deficiency",
# severity 1.0, on linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(color):
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(np.clip(xyz / [0.9505, 1.0, 1.089], 1e-6, None))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("color", viz.COLORS)
def test_colours_stand_out_on_both_pages(color):
    assert contrast(color, viz.PAPER) >= 3
    assert contrast(color, DARK[viz.PAPER]) >= 3


def test_ink_reads_on_both_pages():
    for ink in (viz.INK, viz.MUTED):
        assert contrast(ink, viz.PAPER) >= 4.5
        assert contrast(DARK[ink], DARK[viz.PAPER]) >= 4.5


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_first_five_colours_differ_for_every_kind_of_sight(kind):
    seen = [lab(np.clip(np.array(BLINDNESS[kind]) @ linear(color), 0, 1)) for color in viz.COLORS[:5]]
    for (i, a), (j, b) in combinations(enumerate(seen), 2):
        assert np.linalg.norm(a - b) >= 20, (viz.COLORS[i], viz.COLORS[j])


def test_the_style_sheet_has_the_same_colours():
    named = re.findall(r"--dgm-(?:blue|vermilion|green|orchid|ochre|grey|rose): (#\w+);", STYLE_SHEET.read_text("utf8"))
    assert tuple(named) == viz.COLORS


def pixels(png):
    return mpl_image.imread(io.BytesIO(base64.b64decode(png)), format="png")


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    module = importlib.import_module("dgm.viz.show")  # the name dgm.viz.show is the function
    monkeypatch.setattr(module, "display", lambda bundle, **how: outputs.append((bundle, how["metadata"])))
    return outputs


def words(**other):
    return {"alt": "a line that rises", "caption": "A line that rises.", "name": "fig-line"} | other


def test_show_draws_for_both_themes_and_leaves_the_figure_as_it_was(shown):
    fig, axes = viz.figure(2)
    viz.curves(axes[0], {"a": torch.arange(4.0)}, xlabel="x", ylabel="y")
    viz.image_grid(axes[1], torch.rand(5, 3, 4, 4), ncols=3)
    viz.show(fig, **words())
    viz.show(fig, **words())
    (first, metadata), (second, _) = shown
    assert first == second
    assert metadata["dgm"]["figure"] == {"alt": "a line that rises", "name": "fig-line", "interactive": False}
    figure = first[viz.FIGURE_MIME]
    light, dark = pixels(figure["light"]), pixels(figure["dark"])
    assert light.shape == dark.shape
    assert light[0, 0].tolist() == [1, 1, 1, 1]
    assert dark[0, 0, 3] == 0
    ink = light[..., :3].reshape(-1, 3)
    assert np.abs(ink - to_rgb(viz.INK)).max(1).min() < 0.02
    glow = dark[dark[..., 3] > 0.99][:, :3]
    assert np.abs(glow - to_rgb(DARK[viz.INK])).max(1).min() < 0.02
    assert np.abs(glow - to_rgb(viz.INK)).max(1).min() > 0.02  # none of the light page's ink is left


def frames(count=3):
    line = {"x": [0, 1, 2], "name": "q"}
    bars = {"x": [0, 1, 2], "y": [1, 2, 1], "name": "p"}
    return {str(k): [go.Scatter(y=[0, k, 1], **line), go.Bar(**bars)] for k in range(count)}


def test_slider_has_a_frame_for_every_position(shown):
    fig = viz.slider(frames(), name="step", xlabel="x", ylabel="density", xrange=(0, 2), start=1)
    assert [frame.name for frame in fig.frames] == ["0", "1", "2"]
    assert [step.label for step in fig.layout.sliders[0].steps] == ["0", "1", "2"]
    assert list(fig.data[0].y) == list(fig.frames[1].data[0].y)
    viz.show(fig, **words())
    bundle, metadata = shown[0]
    assert metadata["dgm"]["figure"]["interactive"]
    assert json.loads(json.dumps(bundle["application/vnd.plotly.v1+json"]))["frames"][2]["name"] == "2"
    assert pixels(bundle["image/png"]).shape[1] > 1000


def test_the_still_picture_shows_first_middle_and_last():
    sheet = still(viz.slider(frames(5), name="step"))
    assert [ax.get_title() for ax in sheet.axes] == ["step: 0", "step: 2", "step: 4"]
    heat = {str(k): [go.Heatmap(z=[[0, k], [1, 2]])] for k in range(2)}
    assert len(still(viz.slider(heat, name="layer")).axes) == 2


def test_a_table_is_markdown():
    made = viz.table(["model", "nats"], [["ours", 1.5], ["trivial", 2]]).data
    assert made == "| model | nats |\n| --- | --- |\n| ours | 1.5 |\n| trivial | 2 |"
    with pytest.raises(ValueError, match=r"^rows: expected 2 entries in each row, came 1"):
        viz.table(["model", "nats"], [["ours"]])


def test_a_colour_scale_is_kept_on_paper():
    grey = still(go.Figure(go.Heatmap(z=[[0, 1]], colorscale="Greys")))
    assert np.allclose(grey.axes[0].collections[0].cmap(0.0)[:3], 1)
    assert np.allclose(grey.axes[0].collections[0].cmap(1.0)[:3], 0)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: viz.show(viz.figure()[0], **words(alt="")), ValueError, "^alt: expected at least a few words"),
        (lambda: viz.show(viz.figure()[0], **words(caption=None)), ValueError, "^caption:"),
        (lambda: viz.show(viz.figure()[0], **words(name="line")), ValueError, "^name: expected the label of a figure"),
        (lambda: viz.show("picture", **words()), TypeError, "^fig: expected a Matplotlib or Plotly figure, came str"),
        (lambda: viz.figure(0), ValueError, "^ncols: expected at least 1"),
        (lambda: viz.slider({}, name="k"), ValueError, "^frames: expected at least one"),
        (lambda: viz.slider({"0": [go.Bar()], "1": []}, name="k"), ValueError, "^frames: expected as many"),
        (lambda: viz.slider(frames(), name="k", start=3), ValueError, "^start:"),
        (lambda: still(go.Figure(go.Pie())), ValueError, "^trace: expected a scatter, bar or heatmap, came pie"),
        (lambda: viz.image_grid(viz.figure()[1], torch.rand(4, 4)), ValueError, "^images: expected shape"),
        (lambda: viz.image_grid(viz.figure()[1], torch.rand(2, 2, 4, 4)), ValueError, "^images: expected 1 or 3"),
        (lambda: viz.image_grid(viz.figure()[1], 2 * torch.ones(2, 1, 4, 4)), ValueError, r"^images: .*\[0, 1\]"),
        (lambda: viz.heatmap(viz.figure()[1], torch.rand(4)), ValueError, "^values: expected shape"),
        (lambda: viz.curves(viz.figure()[1], {}), ValueError, "^lines: expected at least one"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=told):
        call()
