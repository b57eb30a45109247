"""Toon heads: eight attributes, all of them visible in both styles, captions that say them, pairs held out."""

import itertools
import re

import numpy as np
import pytest
import torch

from dgm.data import TOON_ATTRIBUTES, draw_toon_head, held_out, toon, toon_attributes, toon_caption, toon_heads
from dgm.data.dicebear import pixels, svg

COUNTS = [7, 6, 4, 5, 9, 5, 3, 4]
NAMES = list(TOON_ATTRIBUTES)
MISSING = {"toon-head": [], "personas": [("beard", "long beard"), ("clothes", "dress"), ("mouth", "angry")]}


def random_rows(n: int, seed: int = 0, style: str = "toon-head") -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    rows = torch.stack([torch.randint(k, (n,), generator=chance) for k in COUNTS], dim=1)
    for name, value in MISSING[style]:
        column, number = NAMES.index(name), TOON_ATTRIBUTES[name].index(value)
        rows[rows[:, column] == number, column] = 0
    return rows


def test_attributes():
    assert [len(values) for values in TOON_ATTRIBUTES.values()] == COUNTS
    assert all(len(set(values)) == len(values) for values in TOON_ATTRIBUTES.values())


@pytest.mark.parametrize("style", toon.STYLES)
def test_shapes_and_what_a_split_holds(style):
    images, attributes = toon_heads("validation", style)
    assert images.shape == (500, 3, 64, 64)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(attributes, toon_attributes("validation", style))
    assert torch.equal(images[:20], draw_toon_head(attributes[:20], style))
    for name, value in MISSING[style]:
        assert not (attributes[:, NAMES.index(name)] == TOON_ATTRIBUTES[name].index(value)).any()


@pytest.mark.parametrize("style", toon.STYLES)
def test_the_test_split_holds_pairs_that_training_never_shows(style):
    splits = {split: toon_attributes(split, style) for split in toon.SPLITS}
    assert {split: len(rows) for split, rows in splits.items()} == toon.SPLITS
    pairs = {
        split: {(a, b) for a, b in rows[:, :2].tolist()} | {(-a - 1, b) for a, b in rows[:, 3:5].tolist()}
        for split, rows in splits.items()
    }
    assert held_out(splits["test"]).all()
    assert not held_out(splits["train"]).any()
    assert not held_out(splits["validation"]).any()
    assert 0.2 < held_out(splits["judge"]).double().mean() < 0.4
    new = pairs["test"] - pairs["train"]
    lost = 0 if style == "toon-head" else 2  # of the dress, which the other style does not draw
    assert len(new) == 6 + 9 - lost
    assert pairs["judge"] >= pairs["test"]
    # Every single value is learned all the same.
    for column, count in enumerate(COUNTS):
        lacking = sum(name == NAMES[column] for name, _ in MISSING[style])
        assert len(splits["train"][:, column].unique()) == count - lacking


def test_held_out_is_a_fixed_list_of_pairs():
    rows = torch.cartesian_prod(*(torch.arange(k) for k in COUNTS[:5]))
    rows = torch.cat([rows, rows.new_zeros(len(rows), 3)], dim=1)
    out = held_out(rows)
    hair = {(a, b) for a, b in itertools.product(range(7), range(6)) if (a + b) % 7 == 6}
    clothes = {(a, b) for a, b in itertools.product(range(5), range(9)) if b % 5 == a}
    assert (len(hair), len(clothes)) == (6, 9)
    by_hand = [(h, c) in hair or (k, d) in clothes for h, c, _, k, d in rows[:, :5].tolist()]
    assert out.tolist() == by_hand


def test_values_come_evenly():
    rows = toon_attributes("judge")
    for column, count in zip(rows.T, COUNTS, strict=True):
        shares = column.bincount(minlength=count)
        expected = len(rows) / count
        assert ((shares - expected).abs() < 4.5 * (expected * (1 - 1 / count)) ** 0.5).all()


@pytest.mark.parametrize("style", toon.STYLES)
def test_every_attribute_shows_whatever_the_others_are(style):
    base = random_rows(12, style=style)
    before = draw_toon_head(base, style)
    for column, count in enumerate(COUNTS):
        other = base.clone()
        other[:, column] = (other[:, column] + 1) % count
        lacks = [TOON_ATTRIBUTES[name].index(value) for name, value in MISSING[style] if NAMES[column] == name]
        other[torch.isin(other[:, column], torch.tensor(lacks, dtype=torch.int64)), column] = 0
        changed = (before != draw_toon_head(other, style)).any(dim=1).flatten(1).sum(1)
        # A beard can hide another's mouth, and its own style's mouth hides nothing else.
        hidden = NAMES[column] == "mouth" and style == "personas"
        assert (changed >= 3).double().mean() >= (0.4 if hidden else 1), f"{NAMES[column]} changes too few pixels"


def test_drawn_as_dicebear_draws_it():
    options = {
        "seed": "dgm", "backgroundColor": ["#ffffff"], "scale": [1.1, 1.1], "hairVariant": ["sideComed"],
        "rearHairVariant": ["longStraight"], "rearHairProbability": 100, "hairColor": ["#c8401a"],
        "beardProbability": 0, "clothesVariant": ["shirt"], "clothesColor": ["#2f6fd0"], "mouthVariant": ["smile"],
        "eyebrowsVariant": ["happy"], "eyesVariant": ["wide"], "skinColor": ["#f1c3a5"],
    }  # fmt: skip
    wanted = torch.from_numpy(pixels(svg("toon-head", options), 64).astype(np.float32)) / 255
    assert torch.equal(draw_toon_head(torch.tensor([[4, 3, 0, 1, 4, 0, 0, 0]]))[0], wanted)


@pytest.mark.parametrize("language", toon.LANGUAGES)
def test_captions_tell_attributes_apart_and_nothing_of_the_skin(language):
    rows = random_rows(300, 1)
    captions = toon_caption(rows, language)
    for caption, other in itertools.pairwise(captions):
        assert caption != other
    skin = rows.clone()
    skin[:, -1] = (skin[:, -1] + 1) % 4
    assert toon_caption(skin, language) == captions
    for column in range(7):
        other = rows.clone()
        other[:, column] = (other[:, column] + 1) % COUNTS[column]
        assert all(a != b for a, b in zip(captions, toon_caption(other, language), strict=True))


def test_captions_in_words():
    rows = torch.tensor([[1, 5, 0, 3, 1, 3, 1, 0], [6, 0, 3, 0, 4, 4, 2, 3]])
    assert toon_caption(rows) == [
        "a person with spiky blue hair, in an orange dress, surprised, eyes closed",
        "a person with bobbed black hair and a long beard, in a blue t-shirt, angry, winking",
    ]
    assert toon_caption(rows, "ru") == [
        "человек с торчащими синими волосами, в оранжевом платье, удивляется, глаза закрыты",
        "человек с подрезанными чёрными волосами и с длинной бородой, в синей футболке, злится, подмигивает",
    ]
    blue_dress = torch.tensor([[0, 0, 0, 3, 4, 0, 0, 0]])
    assert "в синем платье" in toon_caption(blue_dress, "ru")[0]


def test_parts_can_be_left_out_and_turned():
    row = torch.tensor([[4, 3, 1, 1, 4, 0, 2, 0]])
    said = {
        (True, True, True, True): "a person with long red hair and a moustache, in a blue shirt, smiling, winking",
        (False, True, True, True): "a person with a moustache, in a blue shirt, smiling, winking",
        (True, False, False, True): "a person with long red hair, smiling, winking",
        (True, True, True, False): "a person with long red hair and a moustache, in a blue shirt",
        (False, False, False, False): "a person",
    }
    for told, caption in said.items():
        assert toon_caption(row, told=torch.tensor([told])) == [caption]
    whole = toon_caption(row)[0]
    for turn in range(4):
        turned = toon_caption(row, turn=turn)[0]
        assert sorted(turned.split(", ")) == sorted(whole.split(", "))
        assert (turned == whole) == (turn % 3 == 0)
    for told in said:
        russian = toon_caption(row, "ru", told=torch.tensor([told]))[0]
        assert re.fullmatch(r"человек(?: [а-яё]+)*(?:, [а-яё ]+)*", russian), russian


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: toon_heads("tset"), ValueError, "split.*did you mean 'test'"),
        (lambda: toon_heads("test", "toonhead"), ValueError, "style.*did you mean 'toon-head'"),
        (lambda: toon_attributes("all"), ValueError, "split"),
        (lambda: draw_toon_head(torch.zeros(1, 5, dtype=torch.int64)), ValueError, "attributes.*8"),
        (lambda: draw_toon_head(torch.zeros(1, 8)), TypeError, "attributes"),
        (lambda: draw_toon_head(torch.tensor([[0, 6, 0, 0, 0, 0, 0, 0]])), ValueError, "hair colour"),
        (lambda: draw_toon_head(torch.tensor([[0, 0, 3, 0, 0, 0, 0, 0]]), "personas"), ValueError, "'long beard'"),
        (lambda: toon_caption(torch.zeros(1, 8, dtype=torch.int64), "de"), ValueError, "language"),
        (lambda: toon_caption(torch.zeros(2, 8, dtype=torch.int64), told=torch.ones(1, 4)), ValueError, "told"),
        (lambda: held_out(torch.zeros(3, dtype=torch.int64)), ValueError, "attributes"),
    ],
)
def test_bad_input_is_said(call, error, says):
    with pytest.raises(error, match=says):
        call()
