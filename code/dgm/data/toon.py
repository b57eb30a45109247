"""Avatars of 64 × 64 pixels with captions in English and Russian, some pairs of attributes held out, in two styles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require, require_choice, require_count
from dgm.data.dicebear import pixels, releases, svg
from dgm.data.store import cached

SIDE = 64
STYLES = ("toon-head", "personas")
SPLITS = {"train": 6_000, "validation": 500, "test": 1_000, "judge": 6_000}
SEED = 64

# Attribute → our name of each value → DiceBear's options for it in "toon-head" and in "personas".
# Where the second style has nothing alike, the value is None and no picture of it is drawn.
Options = dict[str, object]
LOOKS: dict[str, dict[str, tuple[Options, Options | None]]] = {
    "hair": {
        "short": ({"hairVariant": ["sideComed"]}, {"hairVariant": ["shortCombover"]}),
        "spiky": ({"hairVariant": ["spiky"]}, {"hairVariant": ["mohawk"]}),
        "cropped": ({"hairVariant": ["undercut"]}, {"hairVariant": ["fade"]}),
        "tied": ({"hairVariant": ["bun"]}, {"hairVariant": ["straightBun"]}),
        "long": ({"hairVariant": ["sideComed"], "rearHairVariant": ["longStraight"]}, {"hairVariant": ["extraLong"]}),
        "wavy": ({"hairVariant": ["sideComed"], "rearHairVariant": ["longWavy"]}, {"hairVariant": ["curly"]}),
        "bobbed": ({"hairVariant": ["sideComed"], "rearHairVariant": ["neckHigh"]}, {"hairVariant": ["bobCut"]}),
    },
    "hair colour": {
        name: ({"hairColor": [code]}, {"hairColor": [code], "facialHairColor": [code]})
        for name, code in {
            "black": "#201a18",
            "brown": "#724133",
            "blond": "#e3c063",
            "red": "#c8401a",
            "grey": "#b5b5b5",
            "blue": "#2f7fd6",
        }.items()
    },
    "beard": {
        "none": ({}, {}),
        "moustache": ({"beardVariant": ["moustacheTwirl"]}, {"facialHairVariant": ["walrus"]}),
        "beard": ({"beardVariant": ["fullBeard"]}, {"facialHairVariant": ["beardMustache"]}),
        "long beard": ({"beardVariant": ["longBeard"]}, None),
    },
    "clothes": {
        "t-shirt": ({"clothesVariant": ["tShirt"]}, {"clothesVariant": ["rounded"]}),
        "shirt": ({"clothesVariant": ["shirt"]}, {"clothesVariant": ["squared"]}),
        "turtleneck": ({"clothesVariant": ["turtleNeck"]}, {"clothesVariant": ["small"]}),
        "dress": ({"clothesVariant": ["dress"]}, None),
        "jacket": ({"clothesVariant": ["openJacket"]}, {"clothesVariant": ["checkered"]}),
    },
    "clothes colour": {
        name: ({"clothesColor": [code]}, {"clothingColor": [code]})
        for name, code in {
            "red": "#c8202f",
            "orange": "#f37735",
            "yellow": "#f2c12e",
            "green": "#0f9d4f",
            "blue": "#2f6fd0",
            "purple": "#7a3fb0",
            "pink": "#f06fae",
            "white": "#f4f4ef",
            "black": "#2b2b2b",
        }.items()
    },
    "mouth": {
        "smiling": ({"mouthVariant": ["smile"], "eyebrowsVariant": ["happy"]}, {"mouthVariant": ["smile"]}),
        "laughing": ({"mouthVariant": ["laugh"], "eyebrowsVariant": ["happy"]}, {"mouthVariant": ["bigSmile"]}),
        "sad": ({"mouthVariant": ["sad"], "eyebrowsVariant": ["sad"]}, {"mouthVariant": ["frown"]}),
        "surprised": ({"mouthVariant": ["agape"], "eyebrowsVariant": ["raised"]}, {"mouthVariant": ["surprise"]}),
        "angry": ({"mouthVariant": ["angry"], "eyebrowsVariant": ["angry"]}, None),
    },
    "eyes": {
        "open": ({"eyesVariant": ["wide"]}, {"eyesVariant": ["open"]}),
        "closed": ({"eyesVariant": ["humble"]}, {"eyesVariant": ["sleep"]}),
        "winking": ({"eyesVariant": ["wink"]}, {"eyesVariant": ["wink"]}),
    },
    # No caption names it: here the model has a choice of its own.
    "skin": {
        name: ({"skinColor": [code]}, {"skinColor": [code]})
        for name, code in {"light": "#f1c3a5", "tan": "#c68e7a", "brown": "#a36b4f", "dark": "#5c3829"}.items()
    },
}
TOON_ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in LOOKS.items()}
SIZES = tuple(len(values) for values in TOON_ATTRIBUTES.values())  # (7, 6, 4, 5, 9, 5, 3, 4)
FIXED: dict[str, Options] = {
    "toon-head": {"seed": "dgm", "backgroundColor": ["#ffffff"], "scale": [1.1, 1.1]},
    "personas": {"seed": "dgm", "backgroundColor": ["#ffffff"], "scale": [1.1, 1.1], "noseVariant": ["smallRound"]},
}
# What is drawn only where an option asks for it.
OPTIONAL = {"rearHair": "rearHairVariant", "beard": "beardVariant", "facialHair": "facialHairVariant"}

# The words of a caption, by language; the order of the values is that of LOOKS. A beard's "none" is not mentioned.
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "hair": ("short", "spiky", "cropped", "tied", "long", "wavy", "bobbed"),
        "hair colour": ("black", "brown", "blond", "red", "grey", "blue"),
        "beard": ("", "a moustache", "a beard", "a long beard"),
        "clothes": ("t-shirt", "shirt", "turtleneck", "dress", "jacket"),
        "clothes colour": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black"),
        "mouth": ("smiling", "laughing", "sad", "surprised", "angry"),
        "eyes": ("eyes open", "eyes closed", "winking"),
    },
    "ru": {
        "hair": ("короткими", "торчащими", "стрижеными", "собранными", "длинными", "волнистыми", "подрезанными"),
        "hair colour": ("чёрными", "каштановыми", "светлыми", "рыжими", "седыми", "синими"),
        "beard": ("", "с усами", "с бородой", "с длинной бородой"),
        "clothes": ("футболке", "рубашке", "водолазке", "платье", "куртке"),
        "clothes colour": (
            "красн", "оранжев", "жёлт", "зелён", "син", "фиолетов", "розов", "бел", "чёрн",
        ),
        "mouth": ("улыбается", "смеётся", "грустит", "удивляется", "злится"),
        "eyes": ("глаза открыты", "глаза закрыты", "подмигивает"),
    },
}  # fmt: skip
LANGUAGES = tuple(WORDS)


class ToonHeads(NamedTuple):
    """Pictures in [0, 1], shape (N, 3, 64, 64), and their attributes, shape (N, 8)."""

    images: Tensor
    attributes: Tensor


def held_out(attributes: Tensor) -> Tensor:
    """Return which rows show a pair of attributes that no training picture shows, bool (N,).

    Of the 7 · 6 pairs of hair and its colour six are held out, and of the 5 · 9 pairs of clothes and their colour
    nine: every value is seen in training, but, for one, no spiky blue hair.

    Args:
        attributes: value numbers, int64 (N, 8), columns in the order of ``TOON_ATTRIBUTES``.

    >>> held_out(torch.tensor([[1, 5, 0, 0, 0, 0, 0, 0], [0, 5, 0, 0, 1, 0, 0, 0]]))
    tensor([ True, False])
    """
    hair, colour, _, clothes, dye = require(attributes, "attributes", shape="N 8", dtype="int")[:, :5].unbind(1)
    return ((hair + colour) % 7 == 6) | (dye % 5 == clothes)


def toon_heads(split: str, style: str = "toon-head") -> ToonHeads:
    """Load a split of the avatars.

    Eight attributes (``TOON_ATTRIBUTES`` names them and their values) are drawn independently and evenly. The training
    and the validation split hold no pair of attributes that is `held_out`; every picture of the test split does. The
    judge's split holds them as they come: who has never seen a pair can't be asked whether a picture shows it. The
    first call draws the split, 200 pictures a second; later calls read the cache.

    Args:
        split: ``"train"`` (6,000), ``"validation"`` (500), ``"test"`` (1,000), or ``"judge"`` (6,000), from which
            only classifiers learn.
        style: ``"toon-head"``, or ``"personas"``, another hand's drawing of the same attributes; it has no long
            beard, no dress and no angry mouth.

    Returns:
        float32 images (N, 3, 64, 64) in [0, 1] and int64 attributes (N, 8), the column's value numbers.

    Raises:
        ValueError: an unknown split or style.
        ImportError: a package that draws is missing; the message says how to install it.

    Source:
        DiceBear (2024), styles "Toon Head" (remix of Johan Melin's ToonHead) and "Personas" (Draftbit), both
        CC BY 4.0. No real person is shown.

    >>> images, attributes = toon_heads("validation")
    >>> tuple(images.shape), tuple(attributes.shape), int(held_out(attributes).sum())
    ((500, 3, 64, 64), (500, 8), 0)
    """
    require_choice(split, "split", SPLITS)
    require_choice(style, "style", STYLES)
    attributes = _attributes(split, style)
    key = {"drawing": 1, "versions": releases("toon_heads()"), "split": split, "style": style, "seed": SEED}
    key |= {"looks": LOOKS, "fixed": FIXED[style], "side": SIDE}
    pictures = cached("toon-heads", key, lambda: {"pictures": _drawn(attributes, style)})["pictures"]
    return ToonHeads(torch.from_numpy(pictures).float() / 255, torch.from_numpy(attributes.copy()))


def toon_attributes(split: str, style: str = "toon-head") -> Tensor:
    """The attributes of `toon_heads` alone, int64 (N, 8): no picture is drawn.

    >>> toon_attributes("train").shape
    torch.Size([6000, 8])
    """
    return torch.from_numpy(_attributes(require_choice(split, "split", SPLITS), require_choice(style, "style", STYLES)))


def draw_toon_head(attributes: Tensor, style: str = "toon-head") -> Tensor:
    """Draw any avatars.

    Args:
        attributes: value numbers, int64 (N, 8), columns in the order of ``TOON_ATTRIBUTES``.
        style: as for `toon_heads`.

    Returns:
        float32 (N, 3, 64, 64) in [0, 1].

    Raises:
        ValueError: another shape, a value number that the attribute does not have, or one that the style does not
            draw.
        TypeError: not a tensor of whole numbers.
        ImportError: a package that draws is missing.

    >>> draw_toon_head(torch.tensor([[4, 3, 0, 1, 4, 0, 0, 0]])).shape  # long red hair, a blue shirt, smiling
    torch.Size([1, 3, 64, 64])
    """
    require_choice(style, "style", STYLES)
    return torch.from_numpy(_drawn(_known(attributes).cpu().numpy(), style)).float() / 255


def toon_caption(attributes: Tensor, language: str = "en", *, told: Tensor | None = None, turn: int = 0) -> list[str]:
    """Say in words what avatars show, all but the skin.

    Args:
        attributes: value numbers, int64 (N, 8).
        language: ``"en"`` or ``"ru"``.
        told: which of the four parts (hair, beard, clothes, face) each caption names, bool (N, 4); all where not given.
        turn: by how many places the last parts (clothes, mouth, eyes) are turned round: the same said in other order.

    Returns:
        N captions.

    >>> toon_caption(torch.tensor([[4, 3, 1, 1, 4, 0, 2, 0]]))
    ['a person with long red hair and a moustache, in a blue shirt, smiling, winking']
    >>> toon_caption(torch.tensor([[4, 3, 1, 1, 4, 0, 2, 0]]), "ru")
    ['человек с длинными рыжими волосами и с усами, в синей рубашке, улыбается, подмигивает']
    """
    require_choice(language, "language", LANGUAGES)
    turn = require_count(turn, "turn", low=0) % 3
    rows = _known(attributes).tolist()
    parts = torch.ones(len(rows), 4, dtype=torch.bool) if told is None else told
    parts = require(parts, "told", shape=f"{len(rows)} 4")
    say = _english if language == "en" else _russian
    return [say(row, named, turn) for row, named in zip(rows, parts.tolist(), strict=True)]


def _english(row: list[int], told: list[bool], turn: int) -> str:
    hair, colour, beard, clothes, dye, mouth, eyes = (
        words[number] for words, number in zip(WORDS["en"].values(), row, strict=False)
    )
    article = "an" if dye[0] in "aeiou" else "a"
    return _joined(
        "a person",
        " and ".join([f"{hair} {colour} hair"] * told[0] + [beard] * (told[1] and beard != "")),
        "with ",
        [f"in {article} {dye} {clothes}"] * told[2],
        [mouth] * told[3],
        [eyes] * told[3],
        turn,
    )


def _russian(row: list[int], told: list[bool], turn: int) -> str:
    hair, colour, beard, clothes, dye, mouth, eyes = (
        words[number] for words, number in zip(WORDS["ru"].values(), row, strict=False)
    )
    # "Платье" is neuter, the other clothes are feminine; "син-" has soft endings.
    ending = {("платье", True): "ем", ("платье", False): "ом"}.get((clothes, dye == "син"))
    ending = ending or ("ей" if dye == "син" else "ой")
    return _joined(
        "человек",
        " и ".join([f"с {hair} {colour} волосами"] * told[0] + [beard] * (told[1] and beard != "")),
        "",
        [f"в {dye}{ending} {clothes}"] * told[2],
        [mouth] * told[3],
        [eyes] * told[3],
        turn,
    )


def _joined(who: str, head: str, link: str, clothes: list[str], mouth: list[str], eyes: list[str], turn: int) -> str:
    """ "a person with …, in a …, smiling, winking", the last three turned round by `turn` places."""
    rest = [clothes, mouth, eyes]
    rest = rest[turn:] + rest[:turn]
    return ", ".join([f"{who} {link}{head}" if head else who, *(word for words in rest for word in words)])


def _known(attributes: Tensor) -> Tensor:
    require(attributes, "attributes", shape="N 8", dtype="int")
    for column, (name, count) in enumerate(zip(LOOKS, SIZES, strict=True)):
        require(attributes[:, column], f"attributes[:, {column}] ({name})", low=0, high=count - 1)
    return attributes.long()


def _attributes(split: str, style: str) -> np.ndarray:
    """The attributes of a split, int64 (N, 8): drawn evenly, those thrown away that the split or the style lacks."""
    random = np.random.RandomState(
        [SEED, list(SPLITS).index(split), STYLES.index(style)]
    )  # NumPy has frozen its stream
    kept = np.empty((0, len(SIZES)), np.int64)
    lacks = [
        [i for i, looks in enumerate(values.values()) if looks[STYLES.index(style)] is None]
        for values in LOOKS.values()
    ]
    while len(kept) < SPLITS[split]:
        drawn = np.stack([random.randint(count, size=SPLITS[split]) for count in SIZES], axis=1).astype(np.int64)
        fits = (held_out(torch.from_numpy(drawn)).numpy() == (split == "test")) | (split == "judge")
        for column, missing in enumerate(lacks):
            fits &= ~np.isin(drawn[:, column], missing)
        kept = np.concatenate([kept, drawn[fits]])
    return kept[: SPLITS[split]]


def _drawn(attributes: np.ndarray, style: str) -> np.ndarray:
    """Pictures, uint8 (N, 3, 64, 64)."""
    pictures = np.empty((len(attributes), 3, SIDE, SIDE), np.uint8)
    for i, row in enumerate(attributes):
        pictures[i] = pixels(svg(style, _options(row, style)), SIDE)
    return pictures


def _options(row: np.ndarray, style: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(FIXED[style])
    for (name, values), number in zip(LOOKS.items(), row, strict=True):
        value, looks = list(values.items())[number]
        if (wanted := looks[STYLES.index(style)]) is None:
            raise ValueError(f"attributes: the style {style} does not draw {value!r} ({name})")
        options |= wanted
    shown = {f"{part}Probability": 100 if variant in options else 0 for part, variant in OPTIONAL.items()}
    return options | {name: value for name, value in shown.items() if name in _KNOBS[style]}


_KNOBS = {"toon-head": ("rearHairProbability", "beardProbability"), "personas": ("facialHairProbability",)}
