"""Avatars: five known attributes, all of them visible, drawn as DiceBear draws them."""

import itertools
import sys
import time

import numpy as np
import pytest
import torch

from dgm.data import AVATAR_ATTRIBUTES, avatar_frequencies, avatars, draw_avatar, pixel_art
from dgm.data.dicebear import pixels, svg

SPLITS = {"train": 1_400, "validation": 200, "test": 400}
COUNTS = [7, 6, 3, 4, 8]


def test_attributes():
    assert [len(values) for values in AVATAR_ATTRIBUTES.values()] == COUNTS
    assert all(len(set(values)) == len(values) for values in AVATAR_ATTRIBUTES.values())


@pytest.mark.parametrize(("split", "size"), SPLITS.items())
def test_shapes_and_types(split, size):
    images, attributes = avatars(split)
    assert images.shape == (size, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert attributes.shape == (size, 5)
    assert attributes.dtype == torch.int64
    assert torch.equal(images, draw_avatar(attributes))


def test_values_come_as_often_as_stated_and_independently():
    attributes = torch.cat([avatars(split).attributes for split in SPLITS])
    assert len(attributes) == 2_000
    for column, p in zip(attributes.T, avatar_frequencies().values(), strict=True):
        assert p.sum().item() == pytest.approx(1, abs=1e-12)
        assert p.min() < p.max() / 2  # counting has something to learn
        expected = 2_000 * p
        counts = column.bincount(minlength=len(p))
        assert (((counts - expected) ** 2 / (expected * (1 - p))).sqrt() < 4).all()
    for first, second in itertools.combinations(range(5), 2):
        table = torch.zeros(COUNTS[first], COUNTS[second])
        table.index_put_((attributes[:, first], attributes[:, second]), torch.ones(2_000), accumulate=True)
        expected = table.sum(1, keepdim=True) * table.sum(0) / 2_000
        seen = expected > 1
        chi = ((table - expected) ** 2 / expected)[seen].sum().item()
        cells = int(seen.sum())
        assert chi < cells + 4 * (2 * cells) ** 0.5


def test_one_value_is_in_the_test_split_only():
    blue = AVATAR_ATTRIBUTES["hair colour"].index("blue")
    count = {split: int((avatars(split).attributes[:, 1] == blue).sum()) for split in SPLITS}
    assert count == {"train": 0, "validation": 0, "test": 1}
    # Nothing else is missing from the training split.
    train = avatars("train").attributes
    absent = [(train[:, c].bincount(minlength=k) == 0).sum().item() for c, k in enumerate(COUNTS)]
    assert absent == [0, 1, 0, 0, 0]


def test_every_style_looks_different():
    styles = torch.cartesian_prod(*(torch.arange(k) for k in COUNTS))
    images = draw_avatar(styles)
    assert len(styles) == 4_032
    assert len(images.flatten(1).unique(dim=0)) == 4_032


def test_every_attribute_shows_whatever_the_others_are():
    random = torch.Generator().manual_seed(0)
    base = torch.stack([torch.randint(k, (50,), generator=random) for k in COUNTS], dim=1)
    for column, count in enumerate(COUNTS):
        other = base.clone()
        other[:, column] = (other[:, column] + 1 + torch.randint(count - 1, (50,), generator=random)) % count
        changed = (draw_avatar(base) != draw_avatar(other)).any(dim=1).flatten(1).sum(1)
        assert changed.min() >= 4, f"attribute {column} changes too few pixels"


@pytest.mark.parametrize("size", [16, 64])
def test_pictures_are_those_of_dicebear(size):
    # The package draws each colour once and adds differences; here every style is drawn for itself.
    words = [tuple(look.values()) for look in pixel_art.LOOKS.values()]
    random = torch.Generator().manual_seed(1)
    styles = torch.stack([torch.randint(k, (60,), generator=random) for k in COUNTS], dim=1)
    ours = draw_avatar(styles, size=size)
    for style, image in zip(styles.tolist(), ours, strict=True):
        hair, hair_colour, glasses, clothes, clothes_colour = (w[v] for w, v in zip(words, style, strict=True))
        options = pixel_art.FIXED | {
            "hairVariant": [hair],
            "hairColor": [hair_colour],
            "glassesProbability": 0 if glasses == "none" else 100,
            "glassesVariant": ["light01" if glasses == "none" else glasses],
            "clothesVariant": [clothes],
            "clothingColor": [clothes_colour],
        }
        direct = pixels(svg("pixel-art", options), size)
        assert np.array_equal((image * 255).round().to(torch.uint8).numpy(), direct), style


def test_all_styles_are_drawn_in_time():
    start = time.process_time()
    table = pixel_art._draw_all()
    assert time.process_time() - start < 6
    assert table.shape == (*COUNTS, 3, 16, 16)


def test_larger_pictures_repeat_pixels():
    small, large = avatars("validation").images, avatars("validation", size=48).images
    assert large.shape == (200, 3, 48, 48)
    assert torch.equal(large[:, :, 1::3, 2::3], small)
    assert torch.equal(large, large[:, :, ::3, ::3].repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_changing_what_was_loaded_changes_nothing_else():
    first = avatars("test")
    kept = first.images.clone(), first.attributes.clone()
    first.images.zero_()
    first.attributes.zero_()
    again = avatars("test")
    assert torch.equal(again.images, kept[0])
    assert torch.equal(again.attributes, kept[1])


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: avatars("dev"), ValueError, "split"),
        (lambda: avatars("test", size=24), ValueError, "size"),
        (lambda: avatars("test", size=8), ValueError, "size"),
        (lambda: avatars("test", size=32.0), TypeError, "size"),
        (lambda: draw_avatar(torch.zeros(2, 4).long()), ValueError, "attributes"),
        (lambda: draw_avatar(torch.zeros(0, 5).long()), ValueError, "attributes"),
        (lambda: draw_avatar(torch.zeros(2, 5)), TypeError, "attributes"),
        (lambda: draw_avatar([[0, 0, 0, 0, 0]]), TypeError, "attributes"),
        (lambda: draw_avatar(torch.tensor([[0, 0, 3, 0, 0]])), ValueError, "glasses"),
        (lambda: draw_avatar(torch.tensor([[0, -1, 0, 0, 0]])), ValueError, "hair colour"),
        (lambda: draw_avatar(torch.zeros(1, 5).long(), size=17), ValueError, "size"),
    ],
)
def test_bad_input(call, error, word):
    with pytest.raises(error, match=word):
        call()


@pytest.mark.parametrize(
    ("module", "package"),
    [("dicebear", "dicebear-core"), ("dicebear_styles", "dicebear-styles"), ("resvg_py", "resvg-py")],
)
def test_a_missing_package_names_the_line_that_installs_it(monkeypatch, module, package):
    pixel_art._table.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "dgm-book\[data\]".*pip install {package}'):
        avatars("test")
