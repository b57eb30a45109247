"""The picture as a density, and the cells drawn from it."""

import sys

import pytest
import torch

from dgm.data import picture, picture_points, portrait

SPLITS = {"train": 14_000, "validation": 2_000, "test": 4_000}


def test_the_picture_is_a_distribution_with_something_in_it():
    p = picture()
    assert p.shape == (60, 60)
    assert p.dtype == torch.float64
    assert p.min() > 0
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    entropy = -(p * p.log()).sum().item()
    assert entropy / 2 == pytest.approx(3.7565, abs=1e-3)  # ln 60 = 4.094 would be an empty page
    # Rows and columns depend on each other, or a model of the two alone would do.
    rows, columns = p.sum(1), p.sum(0)
    information = (p * (p / rows[:, None] / columns).log()).sum().item()
    assert information > 0.3
    assert p.max() / p.min() > 30


@pytest.mark.parametrize(("split", "size"), SPLITS.items())
def test_points(split, size):
    x, p = picture_points(split), picture()
    assert x.shape == (size, 2)
    assert x.dtype == torch.int64
    assert x.min() == 0
    assert x.max() == 59
    # The true model scores each split as its entropy says.
    entropy = -(p * p.log()).sum().item()
    assert -p[x[:, 0], x[:, 1]].log().mean().item() == pytest.approx(entropy, abs=0.006)


def test_points_are_drawn_from_the_picture_and_not_from_its_transpose():
    p = picture()
    x = torch.cat([picture_points(split) for split in SPLITS])
    counts = torch.zeros(60, 60, dtype=torch.float64)
    counts.index_put_((x[:, 0], x[:, 1]), torch.ones(len(x), dtype=torch.float64), accumulate=True)

    def chi(q):
        expected = len(x) * q
        return (((counts - expected) ** 2 / expected).sum().item() - 3_599) / (2 * 3_599) ** 0.5

    assert abs(chi(p)) < 4
    assert chi(p.T) > 100


def test_what_was_loaded_may_be_changed():
    p, x = picture(), picture_points("test")
    kept = p.clone(), x.clone()
    p.zero_()
    x.zero_()
    assert torch.equal(picture(), kept[0])
    assert torch.equal(picture_points("test"), kept[1])


def test_bad_input():
    with pytest.raises(ValueError, match="split"):
        picture_points("tests")


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch):
    portrait._probabilities.cache_clear()
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match=r'pip install "dgm-book\[data\]".*pip install resvg-py'):
        picture()


def test_the_points_do_not_move():
    # The weights of the chapter on MADE were trained on these.
    assert picture_points("train")[:4].tolist() == [[25, 42], [35, 30], [45, 35], [46, 30]]
    assert picture_points("test")[:4].tolist() == [[41, 38], [1, 50], [44, 21], [30, 16]]
