"""A user's own folder of pictures with captions."""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require_choice, require_count
from dgm.data.packages import folder

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # whatever a file's name says, nothing else is tried on it
METADATA = "metadata.jsonl"
SHOWN = 10  # so many names in one message


class Captioned(NamedTuple):
    """Pictures in [0, 1], shape (N, 3, size, size), their N captions and the names of their files."""

    images: Tensor
    captions: list[str]
    names: list[str]


def captioned_folder(
    path: str | os.PathLike[str], *, size: int, on_broken: str = "refuse", on_missing: str = "refuse"
) -> Captioned:
    """Load the pictures of a folder and their captions.

    A caption stands in a text file beside its picture (``cat.txt`` for ``cat.png``), or all of them in a file
    ``metadata.jsonl``, one line a picture: ``{"file_name": "cat.png", "text": "a cat"}``, the layout of Hugging
    Face's imagefolder. Text is UTF-8; runs of blanks and line ends become one blank. Folders inside the folder,
    hidden files and texts without a picture are not read.

    A picture is turned as its EXIF tag says, laid on white where it is transparent, cut to its central square and
    resized by Lanczos' filter; of an animation, the first frame is taken.

    Args:
        path: the folder.
        size: pixels a side. A loaded picture takes 12 · size² bytes.
        on_broken: ``"refuse"`` or ``"skip"`` pictures that can't be read, have more pixels than Pillow's limit
            ``PIL.Image.MAX_IMAGE_PIXELS``, or are named in ``metadata.jsonl`` and not there.
        on_missing: ``"refuse"`` or ``"skip"`` pictures without a caption; an empty one counts as none. Of either
            kind, one warning tells how many were skipped, and which.

    Returns:
        float32 images (N, 3, size, size) in [0, 1], captions and names of files, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: `path` is not a folder.
        ValueError: no picture in the folder or none left, a caption is missing, a picture is broken, captions of
            both kinds, two captions for one picture, or one text for two, not UTF-8, a line that is not as above.
        TypeError: `path` is not a path, or `size` is not a whole number.
        ImportError: Pillow is missing; the message says how to install it.

    Source:
        Hugging Face, Datasets, "Create an image dataset": the layout of ``metadata.jsonl``.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as path:
    ...     Image.new("RGB", (90, 60), "red").save(f"{path}/stop.png")
    ...     _ = Path(path, "stop.txt").write_text("a red sign", "utf-8")
    ...     images, captions, names = captioned_folder(path, size=32)
    >>> tuple(images.shape), captions, names
    ((1, 3, 32, 32), ['a red sign'], ['stop.png'])
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected the path of a folder, came {path!r}")
    size = require_count(size, "size")
    require_choice(on_broken, "on_broken", ("refuse", "skip"))
    require_choice(on_missing, "on_missing", ("refuse", "skip"))
    folder("PIL", "pillow", "captioned_folder()")
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"path: expected a folder of pictures, came {str(root)!r}, which does not exist")
    if not root.is_dir():
        raise NotADirectoryError(f"path: expected a folder of pictures, came {str(root)!r}, which is a file")
    pictures, texts = _listed(root)
    captions, absent = _captions(root, pictures, texts)

    bare = dict.fromkeys((name for name in pictures if not captions.get(name)), "")
    _settle(bare, "without a caption", f'on_missing="{on_missing}"', root)
    broken = dict.fromkeys(absent, f"named in {METADATA}, not in the folder")
    loaded = {}
    for name in sorted(pictures.keys() - bare.keys()):
        try:
            loaded[name] = _picture(pictures[name], size)
        except Exception as problem:  # a damaged file can raise anything
            broken[name] = " ".join(str(problem).split()) or type(problem).__name__
    _settle(broken, "broken", f'on_broken="{on_broken}"', root)
    if not loaded:
        raise ValueError(f"path: expected pictures with captions in {str(root)!r}, none is left after skipping")
    images = torch.from_numpy(np.stack(list(loaded.values()))).float() / 255
    return Captioned(images, [captions[name] for name in loaded], [pictures[name].name for name in loaded])


def _settle(bad: dict[str, str], what: str, choice: str, root: Path) -> None:
    """Refuse the `bad` (name → reason), or warn that they are skipped."""
    if not bad:
        return
    shown = [f"{name} ({reason})" if reason else name for name, reason in sorted(bad.items())[:SHOWN]]
    names = ", ".join(shown) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
    if choice.endswith('"skip"'):
        warnings.warn(f"captioned_folder(): of {str(root)!r}, skipped {len(bad)} {what}: {names}", stacklevel=3)
        return
    skip = choice.replace("refuse", "skip")
    raise ValueError(
        f"path: expected whole pictures with captions in {str(root)!r}, came {len(bad)} {what}: {names}; "
        f"{skip} leaves them out"
    )


def _composed(name: str) -> str:
    """The same letters, one code point each: some systems write й in a file's name as и and a breve."""
    return unicodedata.normalize("NFC", name)


def _listed(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Pictures by name and texts by name without suffix."""
    entries = [entry for entry in root.iterdir() if not entry.name.startswith(".") and not entry.is_dir()]
    pictures = _unique((_composed(e.name), e) for e in entries if e.suffix.lower() in SUFFIXES)
    if not pictures:
        raise ValueError(f"path: expected pictures ({', '.join(SUFFIXES)}) in {str(root)!r}, came none")
    stems = {_composed(picture.stem) for picture in pictures.values()}
    texts = ((_composed(e.stem), e) for e in entries if e.suffix.lower() == ".txt")
    return pictures, _unique((stem, e) for stem, e in texts if stem in stems)


def _unique(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """A dictionary of the pairs, none of which may come twice."""
    found: dict[str, Path] = {}
    for name, entry in pairs:
        if name in found:
            raise ValueError(f"{entry}: expected one file of this name, came also {found[name].name!r}")
        found[name] = entry
    return found


def _captions(root: Path, pictures: dict[str, Path], texts: dict[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Captions by the name of the picture, and the names in the metadata to which no picture belongs."""
    metadata = root / METADATA
    if metadata.is_file():
        if texts:
            first = min(entry.name for entry in texts.values())
            raise ValueError(f"{metadata}: expected captions of one kind, came also {first!r} beside its picture")
        noted = _lines(metadata)
        return noted, [name for name in noted if name not in pictures]
    captions: dict[str, str] = {}
    owners: dict[str, str] = {}  # of a text, the picture beside it
    for name, picture in sorted(pictures.items()):
        stem = _composed(picture.stem)
        if stem in texts:
            if stem in owners:
                both = f"{owners[stem]!r} and {name!r}"
                raise ValueError(f"{texts[stem]}: expected one picture of this name, came {both}")
            owners[stem] = name
            captions[name] = _tidy(_text(texts[stem]))
    return captions, []


def _lines(metadata: Path) -> dict[str, str]:
    """The captions of a ``metadata.jsonl``; one that is absent or null is empty."""
    captions: dict[str, str] = {}
    # Not splitlines(): a string of JSON may hold U+2028 and its like as they are.
    for number, line in enumerate(_text(metadata).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{metadata}, line {number}"
        try:
            entry: Any = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise ValueError(f"{where}: expected JSON, came {line.strip()[:60]!r} ({problem})") from None
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise ValueError(f'{where}: expected {{"file_name": …, "text": …}}, came {line.strip()[:60]!r}')
        name, text = _composed(entry["file_name"]), entry.get("text")
        if name in captions:
            raise ValueError(f"{where}: expected each picture once, came {name!r} again")
        if not isinstance(text, str | None):
            raise ValueError(f"{where}: expected text as a string, came {text!r}")
        captions[name] = _tidy(text or "")
    return captions


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: expected text in UTF-8, came other bytes at {problem.start}; save it anew") from None


def _tidy(text: str) -> str:
    # JSON can spell half of a pair of surrogates, which is no character and breaks whoever writes it to a file.
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _picture(path: Path, size: int) -> np.ndarray:
    """A file as uint8 (3, size, size)."""
    from PIL import Image, ImageOps

    if not path.is_file():  # a link that leads nowhere, or a pipe, which would keep us waiting
        raise FileNotFoundError("no file is there")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):  # 16 bits: Pillow would cut all above 255
        picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)  # whole pixels: half of one would blur
    box = (left, top, left + side, top + side)
    square = picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(square).transpose(2, 0, 1)
