"""Planted defects: local, visible, the same for the same seed."""

import pytest
import torch

from dgm.data import avatars, plant_defects
from dgm.data.defects import LEAST_CHANGE, LEAST_PIXELS


@pytest.fixture(scope="module")
def good():
    return avatars("test").images[:90]


def test_only_the_marked_pixels_change_and_all_of_them_do(good):
    before = good.clone()
    bad, where = plant_defects(good, seed=1)
    assert torch.equal(good, before)
    assert torch.equal((bad != good).any(1), where)


def test_a_defect_is_small_inside_and_visible(good):
    bad, where = plant_defects(good)
    sizes = where.flatten(1).sum(1)
    assert sizes.min() >= LEAST_PIXELS
    assert sizes.max() <= 16  # a sixteenth of the picture
    assert not where[:, :4].any()
    assert not where[:, :, :4].all()
    for image, damaged, mask in zip(good, bad, where, strict=True):
        assert (damaged - image)[:, mask].abs().mean() >= LEAST_CHANGE


def test_no_colour_is_new(good):
    bad, _ = plant_defects(good)
    for image, damaged in zip(good, bad, strict=True):
        assert {*map(tuple, damaged.flatten(1).T.tolist())} <= {*map(tuple, image.flatten(1).T.tolist())}


def test_the_seed_decides(good):
    assert torch.equal(plant_defects(good, seed=3)[0], plant_defects(good, seed=3)[0])
    assert not torch.equal(plant_defects(good, seed=3)[0], plant_defects(good, seed=4)[0])


def test_larger_pictures_are_damaged_to_scale(good):
    large = good[:12].repeat_interleave(2, 2).repeat_interleave(2, 3)
    _, where = plant_defects(large)
    assert 4 <= where.flatten(1).sum(1).max() <= 64


def test_bad_input_is_refused(good):
    with pytest.raises(ValueError, match="contrast"):
        plant_defects(torch.full((2, 3, 16, 16), 0.5))
    with pytest.raises(ValueError, match=r"^images: expected a side of at least 8"):
        plant_defects(good[:, :, :4, :4])
    with pytest.raises(ValueError, match=r"^images: expected .* came"):
        plant_defects(good[:, :, :, :8])
    with pytest.raises(ValueError, match=r"^images: expected .* came"):
        plant_defects(good * 255)
    with pytest.raises(ValueError, match=r"^images: expected .* came"):
        plant_defects(good[:0])
    with pytest.raises(ValueError, match=r"^seed: expected"):
        plant_defects(good, seed=-1)
