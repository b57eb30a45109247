"""Counting: estimates against brute force, models against their definition, doors against bad input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from dgm.data import mixture_1d
from dgm.foundations.counting import (
    NaiveBayes,
    PixelGenerator,
    SoftmaxHistogram,
    bayes,
    count,
    descend,
    edges,
    log_predictive,
    mixture_masses,
    mle,
    posterior_mean,
    posterior_mode,
    to_bins,
    uniform_mle,
)

SIZES = (7, 6, 3, 4, 8)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts_of(d: int, seed: int, high: int = 12) -> Tensor:
    return torch.randint(0, high, (d,), generator=generator(seed)) + torch.eye(d, dtype=torch.int64)[0]


def nll(theta: Tensor, counts: Tensor) -> Tensor:
    return -(counts * theta.log()).sum(-1)


# --- estimates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_mle_beats_every_other_point_of_the_simplex(seed: int) -> None:
    counts = counts_of(4, seed) + 1
    best = mle(counts)
    torch.manual_seed(seed)
    others = torch.distributions.Dirichlet(torch.ones(4).double()).sample((20_000,))
    near = best * torch.exp(1e-3 * torch.randn(500, 4, generator=generator(seed), dtype=torch.float64))
    near = near / near.sum(-1, keepdim=True)
    assert nll(best, counts) < nll(torch.cat([others, near]), counts).min()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("d", [2, 5])
def test_posterior_mean_is_the_integral(d: int, alpha: float) -> None:
    counts = counts_of(d, seed=d).double()
    a, b = counts[1] + alpha, counts.sum() - counts[1] + (d - 1) * alpha  # the marginal of θ_1 is Beta(a, b)
    mean, _ = integrate.quad(lambda t: t * stats.beta.pdf(t, a.item(), b.item()), 0, 1, epsabs=1e-12)
    assert posterior_mean(counts, alpha)[1].item() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 4.0])
def test_posterior_mode_maximises_the_posterior(alpha: float) -> None:
    counts = counts_of(5, seed=1).double() + 0.5
    z = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -((counts + alpha - 1) * z.log_softmax(0)).sum()  # −log posterior + constant
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.allclose(posterior_mode(counts, alpha), z.detach().softmax(0), atol=1e-7)


def test_mean_under_one_is_mode_under_two() -> None:
    counts = torch.stack([counts_of(6, seed) for seed in range(8)])
    assert torch.equal(posterior_mean(counts, 1.0), posterior_mode(counts, 2.0))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_predictive_is_the_chain_of_one_step_predictions(alpha: float) -> None:
    counts, draws = counts_of(4, seed=3), [2, 0, 2, 3, 2]
    chain, seen = 0.0, counts.clone()
    for j in draws:
        chain += posterior_mean(seen, alpha)[j].log().item()
        seen[j] += 1
    assert log_predictive(seen - counts, counts, alpha).item() == pytest.approx(chain, abs=1e-11)


def test_predictive_sums_to_one_over_all_sequences() -> None:
    counts = torch.tensor([3, 0, 1])
    new = torch.stack([count(torch.tensor(s), 3) for s in itertools.product(range(3), repeat=4)])
    assert log_predictive(new, counts.expand(len(new), 3), 0.7).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_bayes_is_conditioning_a_joint_table() -> None:
    g = generator(0)
    prior = torch.rand(6, 4, generator=g, dtype=torch.float64)
    prior = prior / prior.sum(-1, keepdim=True)
    table = torch.rand(6, 4, 3, generator=g, dtype=torch.float64)
    table = table / table.sum(-1, keepdim=True)  # p(e | h)
    joint = prior[..., None] * table
    for e in range(3):
        seen = joint[..., e]
        assert torch.allclose(bayes(prior, table[..., e]), seen / seen.sum(-1, keepdim=True))


def test_bayes_test_example_of_the_course() -> None:
    prior = torch.tensor([0.001, 0.999], dtype=torch.float64)
    positive = torch.tensor([0.9, 0.01], dtype=torch.float64)
    once, twice = bayes(prior, positive), bayes(prior, positive**2)
    assert once[0].item() == pytest.approx(0.0009 / 0.01089, abs=1e-12)
    assert twice[0].item() == pytest.approx(0.00081 / 0.0009099, abs=1e-12)
    assert torch.allclose(bayes(once, positive), twice, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_uniform_mle_has_its_mean(n: int) -> None:
    theta, trials = 1.7, 200_000
    top = uniform_mle(theta * torch.rand(trials, n, generator=generator(n), dtype=torch.float64))
    assert abs(top.mean() - n * theta / (n + 1)) < 5 * top.std() / trials**0.5
    assert (top <= theta).all()


# --- bins ---------------------------------------------------------------------------------------------------


def test_bins_are_numpys_digits() -> None:
    x = 0.5 + torch.randn(5_000, generator=generator(0), dtype=torch.float64)
    for d in (2, 7, 100):
        assert np.array_equal(to_bins(x, d), np.digitize(np.clip(x.numpy(), 0, 1), np.linspace(0, 1, d)) - 1)


def test_each_left_edge_belongs_to_its_bin() -> None:
    assert torch.equal(to_bins(edges(100), 100), torch.arange(100))


def test_masses_are_integrals_of_the_density() -> None:
    d, means, sds = 20, (0.2, 0.7), (0.1, 0.3)
    ends = [-8.0, *edges(d)[1:].tolist(), 9.0]

    def density(x: float) -> float:
        return float(np.mean(stats.norm.pdf(x, means, sds)))

    wanted = [integrate.quad(density, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(ends)]
    assert np.allclose(mixture_masses(d, means, sds), wanted, atol=1e-9)


def test_reference_numbers_of_the_homework() -> None:
    """The numbers that the outline gives for seed 42, to all their digits; raw counts meet an unseen bin."""
    train, test = (to_bins(mixture_1d(split), 100) for split in ("train", "test"))
    counts = count(train, 100)
    assert mle(counts).log()[train].mean().item() == pytest.approx(-4.1820, abs=5e-5)
    assert mixture_masses(100, (0.2, 0.6), (0.05, 0.15)).log()[test].mean().item() == pytest.approx(-4.2247, abs=5e-5)
    assert posterior_mean(counts).log()[test].mean().item() == pytest.approx(-4.2372, abs=5e-5)
    assert SoftmaxHistogram(100).fit_counts(train).loss(test).item() == math.inf
    assert SoftmaxHistogram(100).loss(test).item() == pytest.approx(math.log(100), abs=1e-5)


def test_descent_reaches_the_homework_target() -> None:
    train, test = (to_bins(mixture_1d(split), 100) for split in ("train", "test"))
    model = SoftmaxHistogram(100)
    curves = descend(model, train, train, steps=300, lr=20.0)
    assert len(curves.train) == 301
    assert curves.train[0].item() == pytest.approx(math.log(100), abs=1e-5)
    assert (curves.train.diff() < 1e-6).all()
    assert model.loss(test).item() < 4.25


# --- models -------------------------------------------------------------------------------------------------


def test_gradient_of_the_histogram_is_model_minus_data() -> None:
    model = SoftmaxHistogram(9).double()
    torch.nn.init.normal_(model.logits, generator=generator(1))
    x = torch.randint(0, 9, (40,), generator=generator(2))
    model.loss(x).backward()
    assert model.logits.grad is not None
    assert torch.allclose(model.logits.grad, model.log_probs().exp().detach() - mle(count(x, 9)), atol=1e-12)


def test_naive_bayes_is_the_product_and_sums_to_one() -> None:
    model = NaiveBayes(SIZES).double()
    torch.nn.init.normal_(model.logits, generator=generator(3))
    every = torch.tensor(list(itertools.product(*map(range, SIZES))))
    assert len(every) == 4_032
    tables = [row[:d].softmax(0) for row, d in zip(model.logits.detach(), SIZES, strict=True)]
    by_hand = torch.stack([table[every[:, i]] for i, table in enumerate(tables)]).prod(0)
    assert torch.allclose(model.log_prob(every).exp(), by_hand, atol=1e-15)
    assert model.log_prob(every).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_counting_is_the_minimum_of_the_loss() -> None:
    x = torch.stack([torch.randint(0, d, (60,), generator=generator(d)) for d in SIZES], -1)
    model = NaiveBayes(SIZES).double().fit_counts(x)
    model.loss(x).backward()
    assert model.logits.grad is not None
    assert model.logits.grad.abs().max() < 1e-12
    for i, d in enumerate(SIZES):
        assert torch.allclose(model.log_probs()[i, :d].exp(), mle(count(x[:, i], d)), atol=1e-12)


def test_draw_returns_the_probability_of_each_style() -> None:
    x = torch.stack([torch.randint(0, d - 1, (50,), generator=generator(d)) for d in SIZES], -1)  # last never seen
    model = NaiveBayes(SIZES).double().fit_counts(x)
    styles, probability = model.draw(5_000, generator=generator(0))
    assert styles.shape == (5_000, 5)
    assert torch.allclose(probability, model.log_prob(styles).exp().detach())
    assert (styles < torch.tensor(SIZES) - 1).all()
    share = count(styles[:, 4], 8) / len(styles)
    assert (share - mle(count(x[:, 4], 8))).abs().max() < 5 * (0.25 / len(styles)) ** 0.5
    smooth = NaiveBayes(SIZES).double().fit_counts(x, alpha=1.0)
    assert smooth.log_prob(torch.tensor([[6, 5, 2, 3, 7]])).isfinite().all()


def test_pixel_generator_is_a_product_over_channels_and_keeps_the_levels() -> None:
    images = torch.randint(0, 4, (30, 3, 2, 2), generator=generator(5)).float() / 3
    model = PixelGenerator((3, 2, 2), levels=4).fit_counts(images, alpha=0.5)
    by_hand = torch.zeros(30, dtype=torch.float64)
    for c, i, j in itertools.product(range(3), range(2), range(2)):
        levels = (images[:, c, i, j] * 3).round().long()
        by_hand += posterior_mean(count(levels, 4), 0.5).log()[levels]
    assert torch.allclose(model.log_prob(images).double(), by_hand, atol=1e-5)
    assert PixelGenerator((3, 2, 2)).log_prob(images).mean().item() == pytest.approx(-12 * math.log(256), rel=1e-6)
    drawn = model.sample(7, generator=generator(0))
    assert drawn.shape == (7, 3, 2, 2)
    assert torch.isfinite(model.log_prob(drawn)).all()


MODELS: dict[str, tuple[SoftmaxHistogram | NaiveBayes | PixelGenerator, Tensor]] = {
    "histogram": (SoftmaxHistogram(10), torch.tensor([0, 9, 3])),
    "naive Bayes": (NaiveBayes(SIZES), torch.tensor([[6, 5, 2, 3, 7], [0, 0, 0, 0, 0]])),
    "pixels": (PixelGenerator((1, 3, 2), levels=5), torch.rand(2, 1, 3, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str) -> None:
    model, x = MODELS[name]
    assert model.log_prob(x).shape == (len(x),)
    assert model.loss(x).item() == pytest.approx(-model.log_prob(x).mean().item())
    model.loss(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    drawn = model.sample(6, generator=generator(1))
    assert drawn.shape == (6, *x.shape[1:])
    assert torch.equal(drawn, model.sample(6, generator=generator(1)))
    assert model.log_prob(drawn).isfinite().all()


# --- doors --------------------------------------------------------------------------------------------------

TWO = torch.tensor([0.5, 0.5])
BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: count(torch.tensor([0, 3]), 3), ValueError, "x: expected values"),
    (lambda: count(torch.tensor([0.0]), 3), TypeError, "x: expected dtype"),
    (lambda: count(torch.empty(0, dtype=torch.int64), 3), ValueError, "x: expected shape"),
    (lambda: count(torch.tensor([0]), 1), ValueError, "d: expected at least 2"),
    (lambda: mle(torch.zeros(4)), ValueError, "counts: expected at least one count"),
    (lambda: mle(torch.tensor([1, -1])), ValueError, "counts: expected values"),
    (lambda: mle([1, 2]), TypeError, "counts: expected a torch.Tensor"),  # type: ignore[arg-type]
    (lambda: posterior_mean(torch.tensor([1.0, math.nan])), ValueError, "counts: expected finite"),
    (lambda: posterior_mean(torch.ones(3), -0.1), ValueError, "alpha: "),
    (lambda: posterior_mode(torch.ones(3), 0.9), ValueError, "alpha: "),
    (lambda: log_predictive(torch.ones(3), torch.ones(4)), ValueError, "new: expected 4 values"),
    (lambda: log_predictive(torch.ones(3), torch.ones(3), 0.0), ValueError, "alpha: "),
    (lambda: bayes(torch.tensor([0.5, 0.6]), TWO), ValueError, "prior: expected probabilities"),
    (lambda: bayes(TWO, torch.tensor([0.0, 0.0])), ValueError, "likelihood: expected evidence"),
    (lambda: bayes(TWO, torch.tensor([0.5, 1.5])), ValueError, "likelihood: expected values"),
    (lambda: bayes(TWO, torch.ones(3)), ValueError, "likelihood: expected 2 hypotheses"),
    (lambda: uniform_mle(torch.tensor([-0.1, 1.0])), ValueError, "x: expected values"),
    (lambda: to_bins(torch.tensor([math.nan]), 10), ValueError, "x: expected finite"),
    (lambda: to_bins(torch.zeros(2, 2), 10), ValueError, "x: expected shape"),
    (lambda: edges(1), ValueError, "d: expected at least 2"),
    (lambda: SoftmaxHistogram(10).log_prob(torch.tensor([10])), ValueError, "x: expected values"),
    (lambda: SoftmaxHistogram(10).log_prob(torch.tensor([1.0])), TypeError, "x: expected dtype"),
    (lambda: SoftmaxHistogram(10).sample(0), ValueError, "n: expected at least 1"),
    (lambda: NaiveBayes([]), ValueError, "sizes: "),
    (lambda: NaiveBayes([3, 0]), ValueError, "sizes: expected at least 1"),
    (lambda: NaiveBayes([3, 4]).log_prob(torch.tensor([[3, 0]])), ValueError, "x: expected values below"),
    (lambda: NaiveBayes([3, 4]).log_prob(torch.tensor([[0, 4]])), ValueError, "x: expected values"),
    (lambda: NaiveBayes([3, 4]).log_prob(torch.tensor([[0, 0, 0]])), ValueError, "x: expected shape"),
    (lambda: NaiveBayes([3, 4]).fit_counts(torch.zeros(0, 2).long()), ValueError, "x: expected shape"),
    (lambda: PixelGenerator((3, 4, 4)).loss(torch.zeros(1, 1, 4, 4)), ValueError, "x: expected shape"),
    (lambda: PixelGenerator((3, 4, 4)).loss(torch.full((1, 3, 4, 4), 1.1)), ValueError, "x: expected values"),
    (lambda: PixelGenerator((3, 4, 4)).loss(torch.zeros(1, 3, 4, 4).long()), TypeError, "x: expected dtype"),
    (lambda: PixelGenerator((3, 4, 4), levels=1), ValueError, "levels: expected at least 2"),
    (lambda: descend(SoftmaxHistogram(3), TWO.long(), TWO.long(), steps=1, lr=0.0), ValueError, "lr: "),
    (lambda: descend(SoftmaxHistogram(3), TWO.long(), TWO.long(), steps=-1, lr=1.0), ValueError, "steps: "),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD, ids=[f"{i}-{row[2][:8]}" for i, row in enumerate(BAD)])
def test_bad_input_is_named(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
