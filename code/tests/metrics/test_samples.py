"""Scores of samples: exact answers, the packages that others use, bias, edges, refusals."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from torch import nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from dgm.metrics.samples import (
    ROWS,
    compare,
    density_coverage,
    frechet_distance,
    frechet_gaussians,
    inception_score,
    kernel_distance,
    mode_counts,
    nearest_distances,
    precision_recall,
)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clouds(n: int = 120, m: int = 120, D: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two overlapping clouds that are neither round nor centred."""
    bend = torch.randn(2, D, D, generator=source(seed), dtype=torch.float64) / D**0.5
    x = torch.randn(n, D, generator=source(seed + 1), dtype=torch.float64) @ bend[0]
    y = torch.randn(m, D, generator=source(seed + 2), dtype=torch.float64) @ bend[1] + 0.3
    return x, y


def covariance(D: int, seed: int, rank: int | None = None) -> torch.Tensor:
    root = torch.randn(D, rank or D, generator=source(seed), dtype=torch.float64)
    return root @ root.T


# --- what others compute on the same features ----------------------------------------------------------------------

SIZES = [(120, 120, 6), (150, 90, 3), (40, 70, 12)]


@pytest.mark.parametrize(("n", "m", "D"), SIZES)
def test_frechet_distance_is_that_of_the_packages(n, m, D):
    x, y = clouds(n, m, D)
    ours = frechet_distance(x, y)
    statistics = map(fid_features_to_statistics, (x, y))
    assert ours == pytest.approx(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"], abs=1e-6)
    theirs = FrechetInceptionDistance(feature=_Passing(D)).set_dtype(torch.float64)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert ours == pytest.approx(theirs.compute().item(), abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel:UserWarning")  # that it will keep all features
@pytest.mark.parametrize("D", [3, 6, 12])
def test_kernel_distance_is_that_of_the_packages(D):
    x, y = clouds(D=D)
    ours = kernel_distance(x, y)
    one = {"kid_subsets": 1, "kid_subset_size": len(x), "verbose": False}
    assert ours == pytest.approx(kid_features_to_metric(x, y, **one)["kernel_inception_distance_mean"], abs=1e-6)
    theirs = KernelInceptionDistance(feature=_Passing(D), subsets=1, subset_size=len(x)).set_dtype(torch.float64)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert ours == pytest.approx(theirs.compute()[0].item(), abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Inception:UserWarning")
def test_inception_score_is_that_of_the_packages():
    logits = 3 * torch.randn(200, 7, generator=source(), dtype=torch.float64)
    ours = inception_score(logits.softmax(1))
    assert ours == pytest.approx(isc_features_to_metric(logits, splits=1)["inception_score_mean"], abs=1e-6)
    theirs = InceptionScore(feature=_Passing(7), splits=2)  # the mean over two random halves
    theirs.update(logits)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        score = theirs.compute()[0].item()
        torch.manual_seed(0)
        halves = logits[torch.randperm(200)].softmax(1).chunk(2)
    assert score == pytest.approx(sum(map(inception_score, halves)) / 2, abs=1e-6)


@pytest.mark.parametrize(("n", "m", "D"), SIZES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbourhoods_are_those_of_the_packages(n, m, D, k):
    real, fake = clouds(n, m, D)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = compute_prdc(real.numpy(), fake.numpy(), k)
    precision, recall = precision_recall(real, fake, k)
    density, coverage = density_coverage(real, fake, k)
    for name, ours in {"precision": precision, "recall": recall, "density": density, "coverage": coverage}.items():
        assert ours == pytest.approx(theirs[name], abs=1e-6), name
    other = prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    assert (precision, recall) == pytest.approx((other["precision"], other["recall"]), abs=1e-6)


class _Passing(nn.Module):
    """The features themselves, for packages that want a network."""

    def __init__(self, D):
        super().__init__()
        self.num_features = D

    def forward(self, x):
        return x.expand(1, self.num_features) if x.dim() != 2 else x


# --- the Fréchet distance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 2, 5])
def test_frechet_of_gaussians_by_the_matrix_root(D):
    for seed in range(5):
        one, two = covariance(D, seed), covariance(D, 100 + seed)
        shift = torch.randn(D, generator=source(seed), dtype=torch.float64)
        root = sqrtm(one.numpy() @ two.numpy())
        direct = shift.square().sum() + (one + two).trace() - 2 * np.trace(root).real
        assert frechet_gaussians(shift, one, torch.zeros(D), two) == pytest.approx(direct.item(), abs=1e-8)


def test_frechet_of_round_gaussians():
    mean1, mean2 = torch.randn(2, 7, generator=source(), dtype=torch.float64)
    for sd1, sd2 in ((1.0, 1.0), (0.5, 2.0), (3.0, 0.0)):
        exact = (mean1 - mean2).square().sum().item() + 7 * (sd1 - sd2) ** 2
        eye = torch.eye(7, dtype=torch.float64)
        assert frechet_gaussians(mean1, sd1**2 * eye, mean2, sd2**2 * eye) == pytest.approx(exact, abs=1e-12)


def test_frechet_is_the_price_of_the_best_map():
    """x → μ₂ + A(x − μ₁) with A = Σ₁^{-½}(Σ₁^½ Σ₂ Σ₁^½)^½ Σ₁^{-½} carries one law to the other at this mean cost."""
    one, two = covariance(4, 1), covariance(4, 2)
    root = torch.from_numpy(np.real(sqrtm(one.numpy())))
    inner = torch.from_numpy(np.real(sqrtm((root @ two @ root).numpy())))
    A = torch.linalg.inv(root) @ inner @ torch.linalg.inv(root)
    torch.testing.assert_close(A @ one @ A.T, two)
    move = torch.eye(4, dtype=torch.float64) - A
    zeros = torch.zeros(4)
    assert frechet_gaussians(zeros, one, zeros, two) == pytest.approx((move @ one @ move.T).trace().item(), abs=1e-9)


def test_flat_covariances_cost_no_digits():
    flat, other = covariance(30, 1, rank=3), covariance(30, 2, rank=3)
    zeros = torch.zeros(30)
    assert frechet_gaussians(zeros, flat, zeros, flat) < 1e-10
    left, right = (torch.linalg.svd(c) for c in (flat, other))
    small = (left.U[:, :3] * left.S[:3].sqrt()).T @ (right.U[:, :3] * right.S[:3].sqrt())
    exact = (flat + other).trace() - 2 * torch.linalg.svdvals(small).sum()
    assert frechet_gaussians(zeros, flat, zeros, other) == pytest.approx(exact.item(), abs=1e-6)


def test_fewer_rows_than_features_are_no_trouble():
    x, y = clouds(5, 5, 12)
    assert math.isfinite(frechet_distance(x, y))
    assert frechet_distance(x, x) < 1e-10


# --- bias --------------------------------------------------------------------------------------------------------


def spread_of_equal_laws(score, n: int, trials: int, seed: int) -> torch.Tensor:
    """The score of two clouds of n rows of one law, `trials` times."""
    draws = torch.randn(trials, 2, n, 4, generator=source(seed))
    return torch.tensor([score(x, y) for x, y in draws], dtype=torch.float64)


def test_the_frechet_distance_of_equal_laws_falls_as_one_over_n():
    sizes = torch.tensor([100.0, 200.0, 400.0, 800.0, 1_600.0])
    means = [spread_of_equal_laws(frechet_distance, int(n), 60, int(n)).mean() for n in sizes]
    heights, places = torch.stack(means).log().float(), sizes.log()
    slope = torch.linalg.lstsq(torch.stack([places, torch.ones(5)], 1), heights[:, None]).solution[0].item()
    assert slope == pytest.approx(-1, abs=0.08)


@pytest.mark.parametrize("n", [20, 80, 320])
def test_the_kernel_distance_of_equal_laws_is_zero_on_average(n):
    values = spread_of_equal_laws(kernel_distance, n, 400, n)
    error = values.std() / 400**0.5
    assert values.mean().abs() < 4 * error
    assert (values < 0).any()


def test_the_kernel_distance_has_its_exact_mean():
    """One dimension, N(0, 1) against a point mass at a: E k by the moments of a normal."""
    a, n = 0.7, 25
    exact = (1 + 3 * 1) - 2 * (1 + 3 * a**2) + (1 + a**2) ** 3  # E(xx'+1)³ = 1 + 3, E(ax+1)³ = 1 + 3a²
    points = torch.full((n, 1), a)
    values = torch.tensor([kernel_distance(torch.randn(n, 1, generator=source(s)), points) for s in range(2_000)])
    assert values.mean().item() == pytest.approx(exact, abs=5 * values.std().item() / 2_000**0.5)


@pytest.mark.parametrize("spectrum", [[1.0, 1.0, 1.0, 1.0], [9.0, 4.0, 1.0, 0.25]])
def test_the_bias_is_the_constant_that_the_chapter_derives(spectrum):
    lam, n = torch.tensor(spectrum, dtype=torch.float64), 400
    draws = torch.randn(400, 2, n, 4, generator=source(7), dtype=torch.float64) * lam.sqrt()
    found = n * torch.tensor([frechet_distance(x, y) for x, y in draws], dtype=torch.float64)
    pairs = lam[:, None] * lam / (lam[:, None] + lam)
    expected = 3 * lam.sum() + pairs.sum() - pairs.trace()
    error = found.std() / len(found) ** 0.5
    assert (found.mean() - expected).abs() < 4 * error + 0.02 * expected  # the second order is of relative size 1/n
    assert error < 0.05 * expected


# --- the inception score -----------------------------------------------------------------------------------------


def test_inception_score_between_its_bounds():
    for classes in (2, 5, 10):
        for sharpness in (0.0, 1.0, 30.0):
            p = (sharpness * torch.randn(500, classes, generator=source(classes), dtype=torch.float64)).softmax(1)
            assert 1 - 1e-12 <= inception_score(p) <= classes
        assert inception_score(torch.eye(classes)) == pytest.approx(classes, abs=1e-12)
        assert inception_score(torch.full((3, classes), 1 / classes)) == pytest.approx(1, abs=1e-6)
        assert inception_score(torch.eye(classes)[:1].repeat(9, 1)) == pytest.approx(1, abs=1e-12)


# --- neighbourhoods ----------------------------------------------------------------------------------------------


def test_the_radius_is_that_of_the_reference_point():
    """Data in a tight clump, samples far apart: none is among the data, however wide the samples' own balls are."""
    real = torch.linspace(0, 0.1, 20)[:, None]
    fake = torch.linspace(-10, 10, 8)[:, None] + 0.37
    precision, recall = precision_recall(real, fake, k=1)
    assert precision == 0.0  # with the radius of the sample under test, it would be 2/8
    assert recall == 1.0  # the wide balls of samples hold the clump; with the data's radii it would be 0
    within = (fake - real.T).abs() <= (fake - fake.T).abs().kthvalue(2, dim=1).values[:, None]
    assert within.any(1).double().mean() == 0.25


def test_copies_of_the_data_lie_on_every_edge():
    real = torch.randn(50, 3, generator=source())
    assert precision_recall(real, real.clone(), 3) == (1.0, 1.0)
    density, coverage = density_coverage(real, real.clone(), 3)
    assert density == pytest.approx(4 / 3)  # each ball holds its centre and k neighbours
    assert coverage == 1.0


def test_equal_laws_have_density_one_and_the_coverage_that_counting_gives():
    n, m, k, trials = 40, 30, 3, 600
    draws = torch.randn(trials, n + m, 2, generator=source(5))
    found = torch.tensor([density_coverage(rows[:n], rows[n:], k) for rows in draws])
    expected = 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    errors = found.std(0) / trials**0.5
    assert ((found.mean(0) - torch.tensor([1.0, expected])).abs() < 4 * errors).all()
    assert errors.max() < 0.01


def test_one_stray_sample_raises_recall_but_not_coverage():
    real = torch.randn(200, 2, generator=source(1))
    fake = 0.05 * torch.randn(100, 2, generator=source(2))
    stray = torch.cat([fake, torch.tensor([[30.0, 30.0]])])
    assert precision_recall(real, stray)[1] > precision_recall(real, fake)[1] + 0.4
    assert density_coverage(real, stray)[1] == density_coverage(real, fake)[1]


def test_modes_are_counted_as_by_a_loop():
    points, centres = (
        3 * torch.rand(400, 2, generator=source(1)),
        torch.tensor([[0.0, 0.0], [3.0, 0.5], [1.0, 2.0], [9.0, 9.0]]),
    )
    by_hand = [sum(math.dist(p, c) <= 0.8 for p in points.tolist()) for c in centres.tolist()]
    assert mode_counts(points, centres, 0.8).tolist() == by_hand
    assert by_hand[-1] == 0 < min(by_hand[:-1])


@pytest.mark.parametrize(
    ("points", "centres", "radius", "told"),
    [
        (torch.zeros(0, 2), torch.zeros(1, 2), 1.0, "points: expected shape"),
        (torch.zeros(3, 2), torch.zeros(1, 3), 1.0, "centres: expected shape"),
        (torch.zeros(3, 2), torch.zeros(1, 2), 0.0, "radius: expected a finite number"),
    ],
)
def test_bad_modes_are_named(points, centres, radius, told):
    with pytest.raises(ValueError, match=told):
        mode_counts(points, centres, radius)


def test_rows_in_blocks_are_rows_at_once(monkeypatch):
    real, fake = clouds(90, 70)
    whole = compare(real, fake)
    monkeypatch.setattr("dgm.metrics.samples.ROWS", 16)
    assert compare(real, fake) == pytest.approx(whole, abs=1e-12)
    assert ROWS > 90


def test_all_at_once_is_one_by_one():
    real, fake = clouds(90, 70)
    precision, recall = precision_recall(real, fake, 3)
    density, coverage = density_coverage(real, fake, 5)
    apart = {"FD": frechet_distance(real, fake), "KD": kernel_distance(real, fake)}
    assert compare(real, fake) == apart | {
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


def test_half_precision_features_are_counted_in_double():
    real, fake = clouds()
    rounded = real.half(), fake.half()
    assert compare(*rounded) == pytest.approx(compare(rounded[0].double(), rounded[1].double()), abs=1e-12)


# --- refusals ----------------------------------------------------------------------------------------------------

GOOD = torch.randn(12, 3, generator=source())
NAN = GOOD.clone().fill_(float("nan"))
eye = torch.eye(3)


@pytest.mark.parametrize("score", [frechet_distance, kernel_distance, precision_recall, density_coverage, compare])
@pytest.mark.parametrize(
    ("bad", "error", "told"),
    [
        (NAN, ValueError, "expected finite values, came NaN"),
        (GOOD[:0], ValueError, "expected shape"),
        (GOOD[0], ValueError, "expected shape"),
        (GOOD.long(), TypeError, "expected dtype float"),
        (GOOD.tolist(), TypeError, "expected a torch.Tensor"),
    ],
)
def test_bad_features_are_named(score, bad, error, told):
    names = ("x", "y") if score in (frechet_distance, kernel_distance) else ("real", "fake")
    with pytest.raises(error, match=f"^{names[0]}: {told}"):
        score(bad, GOOD)
    with pytest.raises(error, match=f"^{names[1]}: {told}"):
        score(GOOD, bad)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: frechet_distance(GOOD, GOOD[:, :2]), ValueError, r"y: expected shape \(M, 3\), came \(12, 2\)"),
        (lambda: frechet_distance(GOOD[:1], GOOD), ValueError, "x: expected at least 2 rows, came 1"),
        (lambda: kernel_distance(GOOD, GOOD[:1]), ValueError, "y: expected at least 2 rows, came 1"),
        (lambda: precision_recall(GOOD[:3], GOOD), ValueError, "real: expected at least 4 rows, came 3"),
        (lambda: precision_recall(GOOD, GOOD[:3]), ValueError, "fake: expected at least 4 rows, came 3"),
        (lambda: precision_recall(GOOD, GOOD, 0), ValueError, "k: expected at least 1"),
        (lambda: density_coverage(GOOD[:5], GOOD), ValueError, "real: expected at least 6 rows, came 5"),
        (lambda: density_coverage(GOOD, GOOD, 2.0), TypeError, "k: expected a whole number"),
        (lambda: inception_score(torch.rand(4, 3) + 1), ValueError, "probabilities: expected values in"),
        (lambda: inception_score(torch.full((4, 3), 0.3)), ValueError, "probabilities: expected rows that sum to 1"),
        (lambda: inception_score(torch.eye(3)[:0]), ValueError, "probabilities: expected shape"),
        (lambda: frechet_gaussians(GOOD[0], eye, GOOD[0, :2], eye), ValueError, "mean2: expected shape"),
        (lambda: frechet_gaussians(GOOD[0], eye[:2], GOOD[0], eye), ValueError, "cov1: expected shape"),
        (lambda: frechet_gaussians(GOOD[0], eye, GOOD[0], -eye), ValueError, "cov2: expected a covariance"),
        (lambda: frechet_gaussians(GOOD[0], eye.roll(1, 0), GOOD[0], eye), ValueError, "cov1: expected a covariance"),
        (lambda: frechet_gaussians(GOOD[0], NAN[:3], GOOD[0], eye), ValueError, "cov1: expected finite"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=f"^{told}"):
        call()


def test_the_nearest_by_brute_force_and_copies_at_distance_zero():
    x, y = clouds(70, 40)
    found = nearest_distances(x, y)
    expected = (x[:, None] - y).square().sum(2).sqrt().min(1).values
    torch.testing.assert_close(found, expected)
    assert (nearest_distances(y.repeat(3, 1)[:5], y) == 0).all()
    with pytest.raises(ValueError, match="^cloud: expected shape"):
        nearest_distances(x, y[:, :2])
