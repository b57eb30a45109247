"""The chapter's divergences, fits and counts, against closed forms, other libraries and brute force."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as closed_kl

from dgm.foundations.generation import (
    FAMILIES,
    alpha_divergence,
    caption_features,
    draw_families,
    fit_by_divergence,
    gaussian_log_density,
    jensen_shannon,
    kl_divergence,
    mixture_log_density,
    parameter_count,
    plucked_string,
    reverse_kl,
    shell_fraction,
)
from dgm.viz import figure

X = torch.linspace(-30, 30, 6001, dtype=torch.float64)
GRID = torch.linspace(-16, 16, 801, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def pairs(n: int = 6) -> tuple[Normal, Normal, torch.Tensor, torch.Tensor]:
    mean, sd = torch.randn(2, n, dtype=torch.float64), 0.5 + torch.rand(2, n, dtype=torch.float64)
    p, q = Normal(mean[0], sd[0]), Normal(mean[1], sd[1])
    return p, q, p.log_prob(X[:, None]).T, q.log_prob(X[:, None]).T


def test_kl_is_the_closed_form_in_both_directions():
    p, q, log_p, log_q = pairs()
    torch.testing.assert_close(kl_divergence(log_p, log_q, X), closed_kl(p, q))
    torch.testing.assert_close(reverse_kl(log_p, log_q, X), closed_kl(q, p))


def test_kl_of_supports_that_differ():
    x = torch.linspace(0, 3, 3001, dtype=torch.float64)
    narrow, wide = (torch.where(x <= end, -math.log(end), -math.inf) for end in (1.0, 2.0))
    assert kl_divergence(narrow, wide, x).item() == pytest.approx(math.log(2), abs=1e-3)
    assert kl_divergence(wide, narrow, x).item() == math.inf
    left, right = torch.where(x < 1, 0.0, -math.inf), torch.where(x > 2, 0.0, -math.inf)
    assert jensen_shannon(left, right, x).item() == pytest.approx(math.log(2), abs=1e-3)


def test_kl_where_a_density_underflows():
    log_p, log_q = gaussian_log_density(X, torch.tensor([-20.0, 20.0]), torch.tensor([0.1, 0.1])).double()
    assert kl_divergence(log_p, log_q, X).item() == pytest.approx(40**2 / (2 * 0.1**2), rel=1e-3)
    assert jensen_shannon(log_p, log_q, X).item() == pytest.approx(math.log(2))


def test_jsd_is_symmetric_bounded_and_that_of_scipy():
    scipy = pytest.importorskip("scipy.spatial.distance")
    _, _, log_p, log_q = pairs()
    jsd = jensen_shannon(log_p, log_q, X)
    torch.testing.assert_close(jsd, jensen_shannon(log_q, log_p, X))
    assert (jsd > 0).all()
    assert (jsd < math.log(2)).all()
    expected = scipy.jensenshannon(log_p.exp().numpy(), log_q.exp().numpy(), axis=1) ** 2
    torch.testing.assert_close(jsd, torch.from_numpy(expected), atol=1e-8, rtol=0)


@pytest.mark.parametrize("alpha", [-0.9, -0.3, 0.0, 0.5])
def test_alpha_divergence_of_gaussians(alpha):
    p, q, log_p, log_q = pairs()
    t = (1 + alpha) / 2
    var = (1 - t) * p.variance + t * q.variance
    affinity = p.stddev ** (1 - t) * q.stddev**t / var.sqrt()
    affinity = affinity * (-0.5 * t * (1 - t) * (p.mean - q.mean) ** 2 / var).exp()
    expected = (1 - affinity) / (t * (1 - t))
    torch.testing.assert_close(alpha_divergence(log_p, log_q, X, alpha), expected)
    torch.testing.assert_close(alpha_divergence(log_q, log_p, X, -alpha), expected)


def test_alpha_divergence_tends_to_both_kl():
    _, _, log_p, log_q = pairs()
    for end in (1.0, -1.0):
        at_the_end = alpha_divergence(log_p, log_q, X, end)
        torch.testing.assert_close(
            alpha_divergence(log_p, log_q, X, end * (1 - 1e-7)), at_the_end, atol=1e-6, rtol=1e-3
        )


def test_mixture_is_that_of_torch():
    parts = Normal(torch.tensor([-2.0, 2.0]), torch.tensor([0.5, 0.5]))
    weights = torch.distributions.Categorical(torch.tensor([0.8, 0.2]))
    expected = torch.distributions.MixtureSameFamily(weights, parts).log_prob(GRID.float())
    torch.testing.assert_close(mixture_log_density(GRID.float(), [0.8, 0.2], [-2, 2], 0.5), expected)


def starts() -> tuple[torch.Tensor, torch.Tensor]:
    mu, sigma = zip(*itertools.product((-3.0, -1.0, 0.0, 1.0, 3.0), (0.5, 2.0)), strict=True)
    return torch.tensor(mu, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)


def test_forward_kl_matches_mean_and_variance_from_every_start():
    target = mixture_log_density(GRID, [0.8, 0.2], [-2, 2], 0.5)
    fit = fit_by_divergence(kl_divergence, target, GRID, *starts())
    torch.testing.assert_close(fit.mu, torch.full_like(fit.mu, -1.2))
    torch.testing.assert_close(fit.sigma, torch.full_like(fit.mu, math.sqrt(2.81)))


@pytest.mark.parametrize(
    ("divergence", "values"), [(reverse_kl, (0.22310, 1.60924)), (jensen_shannon, (0.07486, 0.42275))]
)
def test_reverse_kl_and_jsd_have_two_valleys(divergence, values):
    target = mixture_log_density(GRID, [0.8, 0.2], [-2, 2], 0.5)
    fit = fit_by_divergence(divergence, target, GRID, *starts())
    left = fit.mu < 0
    assert 0 < left.sum() < len(left)
    assert fit.value[left].tolist() == pytest.approx([values[0]] * int(left.sum()), abs=1e-5)
    assert fit.value[~left].tolist() == pytest.approx([values[1]] * int((~left).sum()), abs=1e-5)
    assert (fit.mu.abs() - 2).abs().max() < 2e-3


def test_fit_ends_where_the_gradient_vanishes():
    target = mixture_log_density(GRID, [0.6, 0.4], [-1, 2], 0.7)
    for divergence in (kl_divergence, reverse_kl, jensen_shannon):
        fit = fit_by_divergence(divergence, target, GRID, *starts())
        mu, sigma = fit.mu.requires_grad_(), fit.sigma.requires_grad_()
        divergence(target, gaussian_log_density(GRID, mu, sigma), GRID).sum().backward()
        assert mu.grad.abs().max() < 1e-4
        assert sigma.grad.abs().max() < 1e-4


def test_fit_takes_a_batch_of_targets():
    targets = torch.stack([mixture_log_density(GRID, [0.8, 0.2], [-s, s], 0.5) for s in (0.5, 2.0)])[:, None]
    fit = fit_by_divergence(kl_divergence, targets, GRID, torch.zeros(2, 3).double(), torch.ones(2, 3).double())
    expected = torch.tensor([[-0.3] * 3, [-1.2] * 3], dtype=torch.float64)
    torch.testing.assert_close(fit.mu, expected)
    assert fit.value.shape == (2, 3)


def test_shell_fraction_against_points_in_a_ball():
    g = torch.Generator().manual_seed(0)
    for m in (2, 30):
        white = torch.randn(50_000, m + 2, generator=g, dtype=torch.float64)
        ball = (white / white.norm(dim=1, keepdim=True))[:, :m]  # the shadow of a sphere fills a ball evenly
        share = (ball.norm(dim=1) > 0.9).double().mean().item()
        assert shell_fraction(torch.tensor(m), 0.1).item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("m", "order"), [(3, 0), (4, 1), (4, 2), (5, 4)])
def test_parameter_count_is_the_rank_of_the_map_to_the_table(m, order):
    from dgm.nn.chains import BitChain

    model, table = BitChain(m, order).double(), torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * m)
    start = torch.randn_like(model.logits)

    def probabilities(logits: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(_Log(model), {"chain.logits": logits}, (table,)).exp()

    jacobian = torch.autograd.functional.jacobian(probabilities, start).flatten(1)
    assert torch.linalg.matrix_rank(jacobian).item() == parameter_count(m, order)


class _Log(torch.nn.Module):
    def __init__(self, chain: torch.nn.Module) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.chain.log_prob(x)


def test_parameter_counts_of_the_outline():
    assert parameter_count(784, 0) == 784
    assert parameter_count(784, 1) == 2 * 784 - 1
    assert parameter_count(784, 783) == 2**784 - 1


def test_caption_features_are_words_and_pairs():
    sizes = (3, 2, 4)
    attributes = torch.stack([torch.randint(0, d, (9,)) for d in sizes], 1)
    features = caption_features(attributes, sizes, [(0, 2)])
    assert features.shape == (9, 9 + 12)
    for row, (a, b, c) in zip(features, attributes.tolist(), strict=True):
        assert row.nonzero().flatten().tolist() == [a, 3 + b, 5 + c, 9 + 4 * a + c]


def test_string_sounds_at_its_pitch():
    wave = plucked_string(220.0, 0.5, 8_000)
    assert wave.shape == (4_000,)
    assert torch.fft.rfft(wave).abs().argmax().item() / 0.5 == 220


def test_every_family_is_on_the_map():
    fig, ax = figure()
    draw_families(ax)
    words = " ".join(text.get_text() for text in ax.texts)
    assert all(family.name in words and family.latent in words for family in FAMILIES)
    assert len(fig.axes) == 1


P = gaussian_log_density(GRID, torch.tensor(0.0).double(), torch.tensor(1.0).double())
ONE = torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: kl_divergence(P[:5], P, GRID), ValueError, "log_p"),
        (lambda: kl_divergence(P, P[:5], GRID), ValueError, "log_q"),
        (lambda: kl_divergence(P, P * math.nan, GRID), ValueError, "log_q.*NaN"),
        (lambda: kl_divergence(P.tolist(), P, GRID), TypeError, "log_p"),
        (lambda: jensen_shannon(P, P, GRID.flip(0)), ValueError, "x: expected .* rising"),
        (lambda: jensen_shannon(P[:0], P[:0], GRID[:0]), ValueError, "x"),
        (lambda: alpha_divergence(P, P, GRID, 1.5), ValueError, "alpha"),
        (lambda: alpha_divergence(P, P, GRID, math.nan), ValueError, "alpha"),
        (lambda: mixture_log_density(GRID, [0.5, 0.6], [0, 1], 1.0), ValueError, "weights"),
        (lambda: mixture_log_density(GRID, [1.0], [0, 1], 1.0), ValueError, "weights"),
        (lambda: mixture_log_density(GRID, [1.0], [0], 0.0), ValueError, "sd"),
        (lambda: fit_by_divergence(kl_divergence, P, GRID, ONE, 0 * ONE), ValueError, "sigma"),
        (lambda: fit_by_divergence(kl_divergence, P, GRID, ONE, ONE.float()), TypeError, "sigma"),
        (lambda: fit_by_divergence(kl_divergence, P, GRID, ONE, ONE, steps=0), ValueError, "steps"),
        (lambda: fit_by_divergence(jensen_shannon, P, GRID, 99 * ONE, ONE), ValueError, "x: expected a grid"),
        (lambda: shell_fraction(torch.tensor([0]), 0.1), ValueError, "m"),
        (lambda: shell_fraction(torch.tensor([1.0]), 0.1), TypeError, "m"),
        (lambda: shell_fraction(torch.tensor([1]), 1.1), ValueError, "epsilon"),
        (lambda: parameter_count(3, 3), ValueError, "order"),
        (lambda: parameter_count(0, 0), ValueError, "m"),
        (lambda: caption_features(torch.tensor([[2, 0]]), (2, 2)), ValueError, "attributes"),
        (lambda: caption_features(torch.tensor([[0]]), (2, 2)), ValueError, "attributes"),
        (lambda: plucked_string(0.0, 1.0, 8_000), ValueError, "pitch"),
        (lambda: plucked_string(220.0, 0.0, 8_000), ValueError, "seconds"),
        (lambda: plucked_string(220.0, 1.0, 0), ValueError, "rate"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_start_of_infinite_divergence_is_named():
    inside = torch.where(GRID.abs() < 1, -math.log(2), -math.inf)
    with pytest.raises(ValueError, match="mu: expected starts"):
        fit_by_divergence(reverse_kl, inside, GRID, ONE, ONE)
