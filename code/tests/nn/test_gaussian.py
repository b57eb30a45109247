"""The normal distribution and its conditionals, against joint densities, autograd and many draws."""

import math

import pytest
import torch

from dgm.nn.gaussian import (
    ClassGaussians,
    Gaussian,
    condition,
    gain,
    normal_log_prob,
    see_blocks,
    see_brightness,
    see_places,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def random_cov(m: int) -> torch.Tensor:
    root = torch.randn(m, m + 2, dtype=torch.float64)
    return root @ root.T / m


def fitted(m: int = 5, n: int = 200) -> tuple[Gaussian, torch.Tensor]:
    x = torch.randn(n, m, dtype=torch.float64) @ random_cov(m) + torch.arange(m)
    return Gaussian(m).double().fit_ml(x), x


def test_log_prob_is_that_of_torch():
    cov, mean = random_cov(4), torch.randn(4, dtype=torch.float64)
    x = torch.randn(7, 4, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(mean, cov).log_prob(x)
    torch.testing.assert_close(normal_log_prob(x, mean, torch.linalg.cholesky(cov)), expected)


def test_fit_is_the_maximum_of_the_likelihood():
    model, x = fitted()
    model.loss(x).backward()
    assert model.mean.grad.abs().max() < 1e-10
    assert model.raw.grad.abs().max() < 1e-10
    torch.testing.assert_close(model.cov, torch.cov(x.T, correction=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_arrive_where_they_should(dtype):
    model = Gaussian(3).to(dtype)
    model.loss(torch.randn(1, 3, dtype=dtype)).backward()
    assert model.mean.grad.isfinite().all()
    assert model.raw.grad.isfinite().all()
    assert (model.raw.grad.triu(1) == 0).all()
    assert model.raw.grad[torch.ones(3, 3).tril() > 0].ne(0).all()


def test_joint_is_part_times_conditional():
    model, _ = fitted()
    x = torch.randn(6, 5, dtype=torch.float64)
    seen = torch.tensor([True, False, True, False, False])
    A = see_places(seen)
    mean, cov = condition(model.mean.detach(), model.tril.detach(), A, x @ A.T)
    rest = torch.linalg.cholesky(cov[~seen][:, ~seen])
    conditional = torch.stack([normal_log_prob(x[[i]][:, ~seen], mean[i, ~seen], rest)[0] for i in range(6)])
    torch.testing.assert_close(model.log_prob_part(x @ A.T, A) + conditional, model.log_prob(x).detach())


def test_what_is_seen_stays_for_any_linear_view():
    model, _ = fitted()
    A, y = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    for x in (model.mean_given(y, A), model.sample_given(y, A)):
        torch.testing.assert_close(x @ A.T, y)


def test_conditional_samples_have_the_conditional_moments():
    model, _ = fitted(m=4)
    A, y = torch.randn(2, 4, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    mean, cov = condition(model.mean.detach(), model.tril.detach(), A, y)
    draws = model.sample_given(y.expand(40_000, -1), A, generator=torch.Generator().manual_seed(0))
    error = cov.diagonal().clamp_min(0).sqrt() / 200  # standard errors of the means
    assert ((draws.mean(0) - mean[0]).abs() < 5 * error + 1e-9).all()
    torch.testing.assert_close(torch.cov(draws.T), cov, atol=0.04 * cov.diagonal().max().item(), rtol=0)


def test_views_read_what_they_say():
    x = torch.rand(3, 8, 8, dtype=torch.float64)
    pooled = torch.nn.functional.avg_pool2d(x[:, None], 4)[:, 0].flatten(1)
    torch.testing.assert_close(x.flatten(1) @ see_blocks(8, 4).T, pooled)
    grey = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    torch.testing.assert_close(see_brightness(64) @ x.flatten(), grey.flatten())
    mask = torch.rand(8, 8) < 0.5
    torch.testing.assert_close(see_places(mask) @ x[0].flatten(), x[0][mask])


@pytest.fixture
def model() -> ClassGaussians:
    x = torch.cat([torch.randn(30, 2) - 2, torch.randn(60, 2) + 2]).double()
    return ClassGaussians(2, 2).double().fit_ml(x, (torch.arange(90) >= 30).long(), ridge=0.1)


def test_class_gaussians_are_a_density(model):
    line = torch.linspace(-12, 12, 241, dtype=torch.float64)
    mass = model.log_prob(torch.cartesian_prod(line, line)).exp().sum() * 0.1**2
    assert mass.item() == pytest.approx(1, abs=1e-6)
    assert model.prior.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_class_gaussians_given_a_part_agree_with_integration(model):
    line = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    first = torch.tensor([[-0.3], [0.4]], dtype=torch.float64)
    A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for given, mean, probs in zip(first, model.mean_given(first, A), model.class_given(first, A), strict=True):
        points = torch.stack([given.expand(4001), line], 1)
        density = model.log_prob(points).exp().detach()
        assert mean[1].item() == pytest.approx((density * line).sum().item() / density.sum().item(), abs=1e-6)
        joint = torch.stack([model.prior[c] * model.part(c).log_prob(points).exp().sum() for c in range(2)]).detach()
        torch.testing.assert_close(probs, joint / joint.sum(), atol=1e-6, rtol=0)


def test_class_of_a_whole_point(model):
    x = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(model.class_given(x), model.class_given(x, torch.eye(2, dtype=torch.float64)))


def test_class_gaussians_sample(model):
    g = torch.Generator().manual_seed(1)
    assert model.sample(5, generator=g).shape == (5, 2)
    assert model.sample(500, label=1, generator=g).mean().item() == pytest.approx(2, abs=0.3)
    y = torch.zeros(4000, 1, dtype=torch.float64)
    A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    draws = model.sample_given(y, A, generator=g)
    assert draws[:, 0].abs().max() < 1e-12
    assert draws[:, 1].mean().item() == pytest.approx(model.mean_given(y[:1], A)[0, 1].item(), abs=0.15)
    model.loss(draws).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_save_and_load(tmp_path):
    model, x = fitted()
    torch.save(model.state_dict(), tmp_path / "g.pt")
    other = Gaussian(5).double()
    other.load_state_dict(torch.load(tmp_path / "g.pt", weights_only=True))
    torch.testing.assert_close(other.log_prob(x), model.log_prob(x))


NAN = torch.full((2, 2), math.nan)
EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Gaussian(0), ValueError, "m: expected at least 1"),
        (lambda: Gaussian(2).log_prob(torch.zeros(0, 2)), ValueError, "x"),
        (lambda: Gaussian(2).log_prob(torch.zeros(3, 3)), ValueError, "x"),
        (lambda: Gaussian(2).log_prob(NAN), ValueError, "x.*NaN"),
        (lambda: Gaussian(2).log_prob(torch.zeros(1, 2, dtype=torch.long)), TypeError, "x"),
        (lambda: Gaussian(2).sample(0), ValueError, "n"),
        (lambda: Gaussian(2).fit_ml(torch.ones(5, 2)), ValueError, "ridge"),
        (lambda: Gaussian(2).fit_ml(torch.randn(5, 2), ridge=-1.0), ValueError, "ridge"),
        (lambda: gain(EYE, torch.ones(2, 2)), ValueError, "A: expected linearly independent"),
        (lambda: gain(EYE, torch.ones(2, 3)), ValueError, "A"),
        (lambda: condition(torch.zeros(2), EYE, EYE[:1], torch.zeros(1, 2)), ValueError, "y"),
        (lambda: see_places(torch.zeros(3, dtype=torch.bool)), ValueError, "seen"),
        (lambda: see_places(torch.ones(3)), TypeError, "seen"),
        (lambda: see_blocks(28, 5), ValueError, "factor"),
        (lambda: see_brightness(0), ValueError, "pixels"),
        (lambda: ClassGaussians(2, 0), ValueError, "classes"),
        (lambda: ClassGaussians(2, 3).fit_ml(torch.randn(4, 2), torch.tensor([0, 1, 0, 1])), ValueError, "class 2"),
        (lambda: ClassGaussians(2, 2).fit_ml(torch.randn(4, 2), torch.tensor([0, 1, 0, 2])), ValueError, "labels"),
        (lambda: ClassGaussians(2, 2).fit_ml(torch.randn(2, 2), torch.tensor([True, False])), TypeError, "labels"),
        (lambda: ClassGaussians(2, 2).sample(2, label=2), ValueError, "label"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
