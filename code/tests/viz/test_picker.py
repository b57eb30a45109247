"""The picker: its arithmetic, what it says without scripts, and, where a browser is at hand, the page itself."""

import importlib
import io
import json
import math
import re
import shutil
import subprocess

import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from dgm import viz

MENUS = {"colour": ("red", "green"), "size": ("small", "medium", "large")}
CAPTIONS = [f"{colour}, {size} <&>" for colour in MENUS["colour"] for size in MENUS["size"]]


def sheet(count: int = 6, row: int = 4, side: int = 8, kind: str = "PNG") -> bytes:
    """Squares of different grey, `row` in a row."""
    levels = torch.zeros(-(-count // row) * row)
    levels[:count] = torch.arange(1, count + 1) * 255 / count
    pixels = levels.view(-1, row).repeat_interleave(side, 0).repeat_interleave(side, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels.round().byte().numpy()).convert("RGB").save(buffer, kind, lossless=True)
    return buffer.getvalue()


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    module = importlib.import_module("dgm.viz.picker")  # the name dgm.viz.picker is the function
    monkeypatch.setattr(module, "display", lambda bundle, **how: outputs.append((bundle, how["metadata"])))
    return outputs


def pick(**other):
    words = {"alt": "six squares of grey", "caption": "Six squares of grey.", "name": "fig-grey"}
    viz.picker(**{"menus": MENUS, "captions": CAPTIONS, "sheet": sheet(), "row": 4, **words, **other})


def page(bundle) -> BeautifulSoup:
    return BeautifulSoup(bundle["text/html"], "html.parser")


def test_it_is_a_figure_of_the_book(shown):
    pick()
    bundle, metadata = shown[0]
    assert metadata == {"dgm": {"figure": {"alt": "six squares of grey", "name": "fig-grey", "interactive": True}}}
    words = bundle[viz.FIGURE_MIME]
    assert words["widget"] in bundle["text/html"]
    assert words["light"] != words["dark"]
    still = page(bundle).find("noscript").find("img")
    assert still["alt"] == "six squares of grey"
    assert still["src"].endswith(words["light"])


@pytest.mark.parametrize("start", range(6))
def test_the_controls_begin_at_the_picture_asked_for(shown, start):
    pick(start=start, sliders=["size"])
    soup = page(shown[0][0])
    colour, size = soup.find("select"), soup.find("input")
    chosen = [option.has_attr("selected") for option in colour.find_all("option")].index(True)
    assert chosen * 3 + int(size["value"]) == start
    assert json.loads(size["data-choices"]) == list(MENUS["size"])
    assert [label.find("span").get_text() for label in soup.find_all("label")] == list(MENUS)


def test_it_can_be_read_and_used_without_seeing_and_asks_no_host(shown):
    pick()
    soup = page(shown[0][0])
    assert soup.find(attrs={"aria-live": "polite"})
    assert soup.find(role="group")["aria-label"] == "six squares of grey"
    assert all(label.find(["select", "input"]) for label in soup.find_all("label"))
    assert json.loads(soup.find("script", type="application/json").string) == CAPTIONS
    assert "<&" not in soup.find("script", type="application/json").string  # no caption ends the script
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", shown[0][0]["text/html"])


def test_several_on_a_page_do_not_meet(shown):
    pick()
    pick(name="fig-other")
    ids = [page(bundle).find(class_="dgm-picker")["id"] for bundle, _ in shown]
    assert ids == ["fig-grey-picker", "fig-other-picker"]
    for (bundle, _), name in zip(shown, ids, strict=True):
        assert f'getElementById("{name}")' in bundle["text/html"]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_pictures_are_cut_from_the_sheet_in_order(kind):
    cut = importlib.import_module("dgm.viz.picker")._pictures
    mime, pictures = cut(sheet(kind=kind), 4, 6)
    assert mime == f"image/{kind.lower()}"
    assert pictures.shape == (6, 3, 8, 8)
    grey = (torch.arange(1, 7) * 255 / 6).round() / 255
    assert torch.allclose(pictures, grey[:, None, None, None].expand(6, 3, 8, 8))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"menus": {}}, "^menus: expected at least one"),
        ({"menus": {"colour": ()}}, "^menus: expected at least one, each with choices"),
        ({"captions": CAPTIONS[:5]}, "^captions: expected 6, one for each choice, came 5"),
        ({"start": 6}, r"^start: expected a position in \[0, 5\], came 6"),
        ({"sliders": ["width"]}, "^sliders: expected some of colour, size, came width"),
        ({"sheet": b"GIF"}, "^sheet: expected the bytes of a PNG, JPEG or WebP"),
        ({"sheet": sheet(4)}, "^sheet: expected 6 squares, 4 in a row, came 32 × 8 pixels"),
        ({"row": 5}, "^sheet: expected 6 squares, 5 in a row"),
        ({"zoom": 0}, "^zoom: expected at least 1"),
        ({"name": "grey"}, "^name: expected the label of a figure"),
        ({"alt": ""}, "^alt: expected at least a few words"),
    ],
)
def test_bad_input_is_named(other, told):
    with pytest.raises(ValueError, match=told):
        pick(**other)


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="no JavaScript engine is at hand")
@pytest.mark.parametrize("at", [(0, 0), (0, 2), (1, 0), (1, 2)])
def test_the_script_finds_the_picture_and_its_words(shown, at):
    """The script itself, run on a page of four stubs."""
    pick(sliders=["size"])
    script = re.search(r"<script>\n(.*)\n</script>", shown[0][0]["text/html"], re.DOTALL)[1]
    stub = f"""
    const heard = [], said = {{}}, style = {{}};
    const select = {{ dataset: {{}}, options: [0, 0], selectedIndex: 0, addEventListener: (_, f) => heard.push(f) }};
    const next = {{}};
    const range = {{ dataset: {{ choices: '["small","medium","large"]' }}, value: "0", nextElementSibling: next,
      setAttribute: (k, v) => (said[k] = v), addEventListener: (_, f) => heard.push(f) }};
    const picture = {{ style, setAttribute: (k, v) => (said[k] = v) }}, words = {{}};
    const box = {{ hidden: true, querySelectorAll: () => [select, range],
      querySelector: (q) => ({{ script: {{ textContent: {json.dumps(json.dumps(CAPTIONS))} }},
        "[role=img]": picture, p: words }})[q] }};
    globalThis.document = {{ getElementById: () => box, documentElement: {{ classList: {{ add: () => 0 }} }} }};
    {script}
    select.selectedIndex = {at[0]}; range.value = "{at[1]}"; heard[1]();
    console.log(JSON.stringify([box.hidden, style.backgroundPosition, said, words.textContent, next.textContent]));
    """
    run = subprocess.run([NODE, "-e", stub], capture_output=True, text=True, check=True)
    number = at[0] * 3 + at[1]
    x, y = 8 * 4 * (number % 4), 8 * 4 * math.floor(number / 4)
    hidden, place, said, words, output = json.loads(run.stdout)
    assert not hidden
    assert place.replace("-0px", "0px") == f"{'-' * (x > 0)}{x}px {'-' * (y > 0)}{y}px"
    assert words == said["aria-label"] == CAPTIONS[number]
    assert output == said["aria-valuetext"] == MENUS["size"][at[1]]
