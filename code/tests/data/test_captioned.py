"""A user's folder: what was written comes back, and whatever is wrong is named."""

import json
import os
import pickle
import re
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dgm.data import Captioned, captioned_folder


def noise(height=24, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def paint(path, pixels=None, **options):
    pixels = noise() if pixels is None else pixels
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def three(tmp_path):
    """Pictures "a", "b" and "c", a caption beside each."""
    for seed, name in enumerate("abc"):
        paint(tmp_path / f"{name}.png", noise(seed=seed))
        (tmp_path / f"{name}.txt").write_text(f"the letter {name}", "utf-8")
    return tmp_path


def load(path, size=24, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return captioned_folder(path, size=size, **options)


def describe(path, *entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


# --- what is right ---------------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was_written(three):
    loaded = load(three)
    assert isinstance(loaded, Captioned)
    assert loaded.images.dtype == torch.float32
    assert loaded.names == ["a.png", "b.png", "c.png"]
    assert loaded.captions == ["the letter a", "the letter b", "the letter c"]
    for seed, image in enumerate(loaded.images):  # at their own size nothing is resized
        assert torch.equal(image, torch.from_numpy(noise(seed=seed)).permute(2, 0, 1).float() / 255)


def test_both_layouts_give_the_same(three, tmp_path_factory):
    other = tmp_path_factory.mktemp("metadata")
    for name in "abc":
        (three / f"{name}.png").rename(other / f"{name}.png")
    entries = [{"file_name": f"{name}.png", "text": f"the letter {name}", "artist": "x"} for name in "cab"]
    describe(other, entries[0], "", *entries[1:])
    first = load(other)
    for name in "abc":
        (other / f"{name}.png").rename(three / f"{name}.png")
    second = load(three)
    assert torch.equal(first.images, second.images)
    assert first[1:] == second[1:]


@pytest.mark.parametrize("kind", ["beside", "metadata"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_russian_names(tmp_path, kind, form):
    # A disk or an archive may hold й as и and a breve, while the editor writes it as one letter.
    written = {"чайник.png": "белый чайник", "ёлка.png": "зелёная ёлка"}
    for seed, (name, caption) in enumerate(written.items()):
        paint(tmp_path / unicodedata.normalize(form, name), noise(seed=seed))
        if kind == "beside":
            (tmp_path / name).with_suffix(".txt").write_text(caption, "utf-8")
    if kind == "metadata":
        lines = [json.dumps({"file_name": n, "text": c}, ensure_ascii=False) for n, c in written.items()]
        describe(tmp_path, *lines)
    images, captions, names = load(str(tmp_path))
    assert images.shape == (2, 3, 24, 24)
    assert dict(zip((unicodedata.normalize("NFC", n) for n in names), captions, strict=True)) == written
    assert all((tmp_path / name).is_file() for name in names)  # as the disk spells them
    assert [c[0] for c in captions] == ["б", "з"]  # ч before ё, by code points


def test_only_pictures_of_the_folder_itself_are_read(three):
    (three / "inner").mkdir()
    paint(three / "inner" / "d.png")
    paint(three / ".hidden.png")
    (three / "._a.png").write_bytes(b"what a Mac leaves in archives")
    (three / "folder.png").mkdir()
    (three / "readme.txt").write_bytes(b"\xff\xfe not UTF-8, and of no picture")
    (three / "model.pt").write_bytes(b"weights")
    assert load(three).names == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG"])
def test_every_format(tmp_path, suffix):
    wanted = np.full((30, 30, 3), (200, 60, 20), np.uint8)
    paint(tmp_path / f"x{suffix}", wanted)
    (tmp_path / "x.txt").write_text("orange", "utf-8")
    images, _, names = load(tmp_path, size=10)
    assert names == [f"x{suffix}"]
    assert (images[0].mean((1, 2)) * 255 - torch.tensor([200.0, 60.0, 20.0])).abs().max() < 4  # JPEG and WebP lose


@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24), (24, 41)])
def test_the_central_square_is_kept(tmp_path, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    top, left = (height - 24) // 2, (width - 24) // 2
    picture[top : top + 24, left : left + 24] = 255
    paint(tmp_path / "x.png", picture)
    (tmp_path / "x.txt").write_text("white", "utf-8")
    (image,) = load(tmp_path).images
    assert image.min() == 1  # also where 17 columns are too many: nothing is moved by half a pixel


def test_resizing_is_lanczos(tmp_path):
    pixels = paint(tmp_path / "x.png", noise(60, 60))
    (tmp_path / "x.txt").write_text("noise", "utf-8")
    (image,) = load(tmp_path, size=20).images
    # By the formula: a pixel is the sum of those around it, weighed by sinc(t) sinc(t/3), |t| < 3, t in new pixels.
    t = (np.arange(60) + 0.5)[None] / 3 - (np.arange(20) + 0.5)[:, None]
    weights = np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)
    weights /= weights.sum(1, keepdims=True)
    direct = np.einsum("yh,xw,hwc->cyx", weights, weights, pixels.astype(float)).clip(0, 255)
    assert np.abs(image.numpy() * 255 - direct).max() < 1.6  # Pillow rounds twice, after rows and after columns


def test_transparent_is_white_whatever_hides_beneath(tmp_path):
    rgba = np.zeros((24, 24, 4), np.uint8)
    rgba[..., 0], rgba[:12, :, 3], rgba[12:, :, 3] = 255, 0, 51  # red: above not to be seen, below at one fifth
    Image.fromarray(rgba).save(tmp_path / "a.png")
    palette = Image.new("P", (24, 24), 1)
    palette.putpalette([0, 0, 0, 90, 90, 90])
    palette.save(tmp_path / "b.png", transparency=1)
    Image.fromarray(np.dstack([np.zeros((24, 24)), np.zeros((24, 24))]).astype(np.uint8), "LA").save(tmp_path / "c.png")
    Image.new("RGB", (24, 24), (1, 2, 3)).save(tmp_path / "d.png", transparency=(1, 2, 3))
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text(name, "utf-8")
    first, *others = load(tmp_path).images
    assert (first[:, :12] == 1).all()
    assert torch.allclose(first[:, 12:, 0].mean(1), torch.tensor([1.0, 0.8, 0.8]), atol=1 / 255)
    for image in others:
        assert (image == 1).all()


@pytest.mark.parametrize("depth", ["1", "L", "CMYK", "16"])
def test_other_kinds_of_pixels(tmp_path, depth):
    ramp = np.tile(np.linspace(0, 255, 24).round().astype(np.uint8), (24, 1))
    if depth == "16":
        Image.fromarray(ramp.astype(np.uint16) * 256 + 100).save(tmp_path / "x.png")
    else:
        Image.fromarray(ramp).convert(depth).save(tmp_path / ("x.jpg" if depth == "CMYK" else "x.png"), quality=100)
    (tmp_path / "x.txt").write_text("from black to white", "utf-8")
    (image,) = load(tmp_path).images
    assert torch.equal(image[0], image[1])
    brightness = image[0].mean(0) * 255
    assert np.abs(brightness.numpy() - ramp[0]).max() < (140 if depth == "1" else 4)  # dithered: right on the mean
    assert abs(brightness.mean().item() - ramp.mean()) < 8


@pytest.mark.parametrize(("tag", "turned"), [(3, 2), (6, 3), (8, 1)])
def test_orientation_is_respected(tmp_path, tag, turned):
    upright = noise(24, 24)
    exif = Image.Exif()
    exif[0x0112] = tag  # a viewer turns by 180°, 90° to the right, 90° to the left
    paint(tmp_path / "x.png", upright, exif=exif)
    (tmp_path / "x.txt").write_text("turned", "utf-8")
    (image,) = load(tmp_path).images
    wanted = np.rot90(upright, turned)  # to the left, `turned` times
    assert np.array_equal((image.permute(1, 2, 0) * 255).round().numpy(), wanted)


def test_captions_are_tidied(three):
    (three / "a.txt").write_bytes(b"\xef\xbb\xbf  one \r\n two\t\tthree \r\n")
    assert load(three).captions[0] == "one two three"


def test_a_line_may_hold_other_line_ends(three):
    for name in "abc":
        (three / f"{name}.txt").unlink()
    describe(
        three,
        '{"file_name": "a.png", "text": "one\u2028two"}\r',
        {"file_name": "b.png", "text": "\ud800x"},
        {"file_name": "c.png", "text": "c"},
    )
    loaded = load(three)
    assert loaded.captions == ["one two", "?x", "c"]
    assert all(caption.encode("utf-8") for caption in loaded.captions)


# --- what is missing or broken: refused or skipped, as asked ----------------------------------------------------


@pytest.mark.parametrize("content", [None, "", " \n\t\n"])
def test_a_missing_caption(three, content):
    for name in "ac":
        (three / f"{name}.txt").unlink()
        if content is not None:
            (three / f"{name}.txt").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r'came 2 without a caption: a\.png, c\.png; on_missing="skip"'):
        captioned_folder(three, size=24)
    with pytest.warns(UserWarning, match=r"skipped 2 without a caption: a\.png, c\.png$") as heard:
        loaded = captioned_folder(three, size=24, on_missing="skip")
    assert len(heard) == 1
    assert heard[0].filename == __file__  # the line of the caller
    assert loaded.names == ["b.png"]
    assert len(loaded.images) == 1


@pytest.mark.parametrize("entry", [{}, {"text": None}, {"text": ""}, {"text": "  "}, None])
def test_a_missing_caption_of_the_metadata(three, entry):
    for name in "abc":
        (three / f"{name}.txt").unlink()
    entries = [{"file_name": f"{name}.png", "text": name} for name in "ac"]
    describe(three, *entries, *([] if entry is None else [{"file_name": "b.png", **entry}]))
    with pytest.raises(ValueError, match=r"came 1 without a caption: b\.png;"):
        captioned_folder(three, size=24)
    with pytest.warns(UserWarning, match=r"skipped 1 without a caption: b\.png$"):
        assert captioned_folder(three, size=24, on_missing="skip").captions == ["a", "c"]


def spoil_text(path):
    path.write_bytes(b"this is no picture")


def spoil_half(path):
    path.write_bytes(path.read_bytes()[:200])


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_pickle(path):
    path.write_bytes(pickle.dumps(Bomb()))


def spoil_link(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere.png"))


def spoil_pipe(path):
    path.unlink()
    os.mkfifo(path)


def spoil_format(path):
    Image.fromarray(noise()).save(path, format="GIF")  # Pillow could read it; we try no other format than we name


SPOILS = [spoil_text, spoil_half, spoil_empty, spoil_pickle, spoil_link, spoil_pipe, spoil_format]


class Bomb:
    """Whoever loads the pickle of it leaves a trace."""

    def __reduce__(self):
        return (exec, ('import os; os.environ["PICKLE_WAS_LOADED"] = "yes"',))


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_broken_picture(three, spoil):
    spoil(three / "b.png")
    with pytest.raises(ValueError, match=r'came 1 broken: b\.png \(.+\); on_broken="skip" leaves'):
        captioned_folder(three, size=24)
    with pytest.warns(UserWarning, match=r"skipped 1 broken: b\.png \(.+\)$") as heard:
        loaded = captioned_folder(three, size=24, on_broken="skip")
    assert len(heard) == 1
    assert heard[0].filename == __file__
    assert loaded.names == ["a.png", "c.png"]
    assert loaded.captions == ["the letter a", "the letter c"]
    assert "PICKLE_WAS_LOADED" not in os.environ


def test_the_pickle_of_these_tests_would_leave_its_trace(monkeypatch):
    monkeypatch.setenv("PICKLE_WAS_LOADED", "no")
    pickle.loads(pickle.dumps(Bomb()))
    assert os.environ["PICKLE_WAS_LOADED"] == "yes"


@pytest.mark.parametrize("limit", [500, 200])  # Pillow only warns between once and twice its limit
def test_a_huge_picture_is_broken(three, monkeypatch, limit):
    paint(three / "b.png", noise(30, 30))
    paint(three / "a.png", noise(10, 10))
    paint(three / "c.png", noise(10, 10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"came 1 broken: b\.png \(.*900 pixels.*limit"):
        captioned_folder(three, size=8)
    with pytest.warns(UserWarning, match=r"skipped 1 broken: b\.png"):
        assert captioned_folder(three, size=8, on_broken="skip").names == ["a.png", "c.png"]


def test_an_entry_without_a_picture(three):
    for name in "abc":
        (three / f"{name}.txt").unlink()
    describe(three, *({"file_name": f"{name}.png", "text": name} for name in "abcd"))
    with pytest.raises(ValueError, match=r"came 1 broken: d\.png \(named in metadata\.jsonl, not in the folder\)"):
        captioned_folder(three, size=24)
    with pytest.warns(UserWarning, match=r"skipped 1 broken: d\.png"):
        assert captioned_folder(three, size=24, on_broken="skip").captions == ["a", "b", "c"]


def test_no_entry_leads_out_of_the_folder(three):
    inner = three / "inner"
    inner.mkdir()
    paint(inner / "x.png")
    describe(inner, {"file_name": "x.png", "text": "x"}, {"file_name": "../a.png", "text": "a"})
    with pytest.raises(ValueError, match=re.escape("../a.png (named in metadata.jsonl, not in the folder)")):
        captioned_folder(inner, size=24)


def test_many_are_counted_and_the_first_are_named(tmp_path):
    for number in range(14):
        paint(tmp_path / f"{number:02}.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"came 14 without a caption: 00\.png, .*09\.png and 4 more;"):
        captioned_folder(tmp_path, size=8)


def test_both_are_skipped_with_a_warning_each(three):
    (three / "a.txt").unlink()
    spoil_half(three / "b.png")
    with pytest.warns(UserWarning, match="skipped 1") as heard:
        loaded = captioned_folder(three, size=24, on_broken="skip", on_missing="skip")
    assert [str(warning.message).split("skipped ")[1][:9] for warning in heard] == ["1 without", "1 broken:"]
    assert loaded.names == ["c.png"]


def test_nothing_left(three):
    for name in "abc":
        spoil_text(three / f"{name}.png")
    with (
        pytest.warns(UserWarning, match="skipped 3 broken"),
        pytest.raises(ValueError, match="none is left after skipping"),
    ):
        captioned_folder(three, size=24, on_broken="skip")


# --- what is always refused --------------------------------------------------------------------------------------


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="path: expected a folder.*'.*картинки', which does not exist"):
        captioned_folder(tmp_path / "картинки", size=24)
    paint(tmp_path / "a.png")
    with pytest.raises(NotADirectoryError, match=r"a\.png', which is a file"):
        captioned_folder(tmp_path / "a.png", size=24)


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture", "utf-8")
    with pytest.raises(ValueError, match=r"path: expected pictures \(\.png, .*came none"):
        captioned_folder(tmp_path, size=24)


def test_captions_of_both_kinds(three):
    describe(three, {"file_name": "a.png", "text": "a"})
    with pytest.raises(ValueError, match=r"metadata\.jsonl: expected captions of one kind, came also 'a\.txt'"):
        captioned_folder(three, size=24, on_broken="skip", on_missing="skip")


def test_one_text_for_two_pictures(three):
    paint(three / "b.jpg")
    with pytest.raises(ValueError, match=r"b\.txt: expected one picture of this name, came 'b\.jpg' and 'b\.png'"):
        captioned_folder(three, size=24, on_broken="skip", on_missing="skip")


def test_two_files_whose_names_are_the_same_letters(tmp_path):
    for form in ("NFC", "NFD"):
        paint(tmp_path / unicodedata.normalize(form, "чай.png"))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes both spellings for one")
    with pytest.raises(ValueError, match=r"чаи?.?й?\.png: expected one file of this name"):
        captioned_folder(tmp_path, size=24)


@pytest.mark.parametrize("name", ["b.txt", "metadata.jsonl"])
def test_text_that_is_not_utf8(three, name):
    if name == "metadata.jsonl":
        for letter in "abc":
            (three / f"{letter}.txt").unlink()
    (three / name).write_bytes("красный дом".encode("cp1251"))
    with pytest.raises(ValueError, match=rf"{re.escape(name)}: expected text in UTF-8, came other bytes at 0"):
        captioned_folder(three, size=24, on_broken="skip", on_missing="skip")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'file_name': 'b.png'}", r"line 3: expected JSON, came \"{'file_name': 'b.png'}\""),
        ("[" * 100_000, r"line 3: expected JSON, came"),
        ('"b.png"', r"line 3: expected {\"file_name\": …, \"text\": …}, came '\"b.png\"'"),
        ('{"text": "b"}', r"line 3: expected {\"file_name\""),
        ('{"file_name": 7, "text": "b"}', r"line 3: expected {\"file_name\""),
        ('{"file_name": "b.png", "text": ["b"]}', r"line 3: expected text as a string, came \['b'\]"),
        ('{"file_name": "a.png", "text": "b"}', r"line 3: expected each picture once, came 'a.png' again"),
    ],
)
def test_a_line_that_is_wrong(three, line, message):
    for name in "abc":
        (three / f"{name}.txt").unlink()
    describe(three, {"file_name": "a.png", "text": "a"}, "", line, {"file_name": "c.png", "text": "c"})
    with pytest.raises(ValueError, match=r"metadata\.jsonl, " + message):
        captioned_folder(three, size=24, on_broken="skip", on_missing="skip")


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"path": 7}, TypeError, "path"),
        ({"path": None}, TypeError, "path"),
        ({"size": 0}, ValueError, "size"),
        ({"size": 8.0}, TypeError, "size"),
        ({"on_broken": "ignore"}, ValueError, "on_broken"),
        ({"on_missing": True}, TypeError, "on_missing"),
    ],
)
def test_bad_arguments(three, arguments, error, word):
    with pytest.raises(error, match=word):
        captioned_folder(**{"path": Path(three), "size": 24, **arguments})


def test_a_missing_package_names_the_line_that_installs_it(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "dgm-book\[data\]".*pip install pillow'):
        captioned_folder(three, size=24)
