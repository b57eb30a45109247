"""Toy sets: reproducible, of the law that the docstring states, and refused by name when unknown."""

import math

import pytest
import torch

from dgm.data import TOYS, toy

N = 20_000


@pytest.mark.parametrize("name", TOYS)
def test_shape_seed_and_independence_of_global_state(name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    x = toy(name, 500, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert x.shape == (500, 2)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert torch.equal(x, toy(name, 500, seed=3))
    other = toy(name, 500, seed=4)
    assert not set(map(tuple, x.tolist())) & set(map(tuple, other.tolist()))


@pytest.mark.parametrize("name", TOYS)
def test_one_point_and_the_order_of_points(name):
    assert toy(name, 1).shape == (1, 2)
    # Independent points in no order: the two halves have the same law, neighbours are not alike.
    x = toy(name, N).double()
    halves = x.reshape(2, N // 2, 2)
    error = x.std(0) * math.sqrt(4 / N)
    assert ((halves[0].mean(0) - halves[1].mean(0)).abs() < 4 * error).all()
    steps = x - x.mean(0)
    assert ((steps[1:] * steps[:-1]).mean(0).abs() < 4 * x.var(0) / math.sqrt(N)).all()


def assert_normal(residual, sd):
    """The residuals (N, 2) have mean 0, standard deviation `sd` and no excess tail."""
    n = len(residual)
    assert (residual.mean(0).abs() < 4 * sd / math.sqrt(n)).all()
    assert (residual.std(0) / sd - 1).abs().max() < 4 / math.sqrt(2 * n)
    inside = (residual.abs() < sd).double().mean(0)
    assert (inside - 0.6827).abs().max() < 4 * math.sqrt(0.25 / n)


@pytest.mark.parametrize(
    ("name", "radius", "sd"), [("eight_gaussians", 2, 0.15), ("eight_peaks", 2**0.5, 0.02 / 2**0.5)]
)
def test_rings_of_eight(name, radius, sd):
    x = toy(name, N).double()
    k = (torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 4)).round().long() % 8
    centres = radius * torch.stack([torch.cos(math.pi / 4 * k), torch.sin(math.pi / 4 * k)], dim=1)
    assert_normal(x - centres, sd)
    assert (k.bincount() / N - 1 / 8).abs().max() < 4 * math.sqrt(7 / 64 / N)


def test_circles():
    x = toy("circles", N).double()
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    for centre, ring in ((0.5, radius < 0.75), (1.0, radius >= 0.75)):
        assert ring.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(N))
        # E r = c + σ²/2c to second order: noise across the ring pushes outward.
        assert radius[ring].mean().item() == pytest.approx(centre + 0.05**2 / (2 * centre), abs=0.003)
        assert radius[ring].std().item() == pytest.approx(0.05, abs=0.003)
        quarters = ((angle[ring] + math.pi) / (math.pi / 2)).long().clamp(0, 3).bincount() / ring.sum()
        assert (quarters - 0.25).abs().max() < 0.02


def test_moons():
    x = toy("moons", N).double()
    # Means: upper (0, 2/π), lower (1, ½ − 2/π). Variances: those of the half circles, of the choice, of the noise.
    assert torch.allclose(x.mean(0), torch.tensor([0.5, 0.25]).double(), atol=0.02)
    spread = torch.tensor([0.5 + 0.25, 0.5 - 4 / math.pi**2 + (2 / math.pi - 0.25) ** 2]).double() + 0.01
    assert torch.allclose(x.var(0), spread, atol=0.02)
    upper, lower = (x.norm(dim=1) - 1).abs(), ((x - torch.tensor([1, 0.5])).norm(dim=1) - 1).abs()
    assert torch.minimum(upper, lower).max() < 0.5


def test_two_spirals():
    x = toy("two_spirals", N).double()
    # Each point lies within the noise of an arm: the nearest of a fine drawing of both.
    a = 3 * math.pi * torch.linspace(0, 1, 2_000).double().sqrt()
    arm = (a / 3)[:, None] * torch.stack([a.cos(), a.sin()], dim=1)
    distance = torch.cdist(x[:4_000], torch.cat([arm, -arm])).min(dim=1).values
    assert distance.max() < 0.5
    assert distance.pow(2).mean().sqrt().item() == pytest.approx(0.1, abs=0.01)
    assert x.mean(0).abs().max() < 0.05  # as many on one arm as on the other
    # u = (a/3π)² is uniform and |x| ≈ a/3, so E|x|² ≈ π²·E u + 2·0.1² = π²/2 + 0.02.
    assert x.pow(2).sum(1).mean().item() == pytest.approx(math.pi**2 / 2 + 0.02, abs=0.1)


def test_checkerboard():
    x = toy("checkerboard", N)
    assert x.min() >= -2
    assert x.max() < 2
    cell = x.floor().long()
    assert (cell.sum(1) % 2 == 0).all()
    counts = ((cell[:, 0] + 2) * 4 + cell[:, 1] + 2).bincount(minlength=16)
    assert (counts > 0).sum() == 8
    assert (counts[counts > 0] / N - 1 / 8).abs().max() < 4 * math.sqrt(7 / 64 / N)
    inside = x - x.floor()
    assert (inside.mean(0) - 0.5).abs().max() < 0.02
    assert (inside.var(0) - 1 / 12).abs().max() < 0.005


def test_pinwheel():
    x = toy("pinwheel", N).double() / 2
    # Turn back by what the length tells: length² = r² + s², and s is small.
    r = x.norm(dim=1)
    angle = torch.atan2(x[:, 1], x[:, 0]) - 0.25 * r.exp()
    blade = (angle / (2 * math.pi / 5)).round()
    rest = angle - blade * 2 * math.pi / 5
    far = r > 0.5  # near the centre the blades meet
    assert (rest[far] * r[far]).std().item() == pytest.approx(0.1, abs=0.02)
    assert r.mean().item() == pytest.approx(1, abs=0.02)
    assert r.std().item() == pytest.approx(0.3, abs=0.02)
    share = (blade[far].long() % 5).bincount() / far.sum()
    assert (share - 0.2).abs().max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        (("moon", 5), ValueError, "moons"),
        ((None, 5), TypeError, "name"),
        (("moons", 0), ValueError, "n: "),
        (("moons", 2.0), TypeError, "n: "),
        (("moons", True), TypeError, "n: "),
    ],
)
def test_bad_input(arguments, error, word):
    with pytest.raises(error, match=word):
        toy(*arguments)


def test_bad_seed():
    with pytest.raises(ValueError, match="seed"):
        toy("moons", 3, seed=-1)
    with pytest.raises(TypeError, match="seed"):
        toy("moons", 3, seed=0.5)
