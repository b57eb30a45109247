"""Autoencoder and VAE: divergences, gradients, likelihoods, the bound; each against a second way of computing it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import distributions as D
from torch import nn

from dgm import weights
from dgm.data import digits, gaussian_pair, gaussian_pair_law
from dgm.latent import vae
from dgm.latent.vae import (
    VAE,
    Autoencoder,
    Bernoulli,
    ConvDecoder,
    ConvEncoder,
    Normal,
    kl_normal,
    kl_standard_normal,
    log_normal,
    pathwise_gradient,
    score_function_gradient,
)
from dgm.nn.gaussian import condition, normal_log_prob
from dgm.nn.mlp import mlp
from dgm.recipes import vae_digits, vae_plane
from dgm.training import cosine, fit


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=source(seed), dtype=torch.float64)


def random_tril(size: int, seed: int) -> torch.Tensor:
    raw = normals(size, size, seed=seed)
    return raw.tril(-1) + (0.5 * raw.diagonal()).exp().diag()


def hermite(dims: int, points: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (points^dims, dims) and weights of Gauss-Hermite quadrature under N(0, I)."""
    node, weight = np.polynomial.hermite_e.hermegauss(points)
    grid = torch.tensor(list(itertools.product(node, repeat=dims)))
    mass = torch.tensor(list(itertools.product(weight / weight.sum(), repeat=dims))).prod(1)
    return grid, mass


# --- densities and divergences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 1), (3, 2, 5)])
def test_log_normal_and_kl_agree_with_torch_distributions(shape):
    x, mean, log_sd = normals(3, *shape, seed=1)
    q = D.Independent(D.Normal(mean, log_sd.exp()), 1)
    p = D.Independent(D.Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(log_normal(x, mean, log_sd), q.log_prob(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(kl_standard_normal(mean, log_sd), D.kl_divergence(q, p), rtol=0, atol=1e-10)


def test_kl_standard_normal_is_the_integral_of_its_definition():
    z = torch.linspace(-40, 40, 400_001, dtype=torch.float64)[:, None]
    for mean, log_sd in ((0.7, -1.2), (-3.0, 0.9), (0.0, 0.3)):
        mean, log_sd = torch.tensor([mean]).double(), torch.tensor([log_sd]).double()
        log_q = log_normal(z, mean, log_sd)
        log_p = log_normal(z, torch.zeros(1).double(), torch.zeros(1).double())
        by_grid = torch.trapezoid(log_q.exp() * (log_q - log_p), z[:, 0])
        torch.testing.assert_close(kl_standard_normal(mean, log_sd), by_grid, rtol=0, atol=1e-8)


def test_kl_standard_normal_keeps_its_digits_near_zero():
    small = torch.full((1, 1), 1e-4)  # ½(e^{2ℓ} − 1) − ℓ = ℓ² + …: in float32 the plain formula leaves noise
    assert kl_standard_normal(torch.zeros(1, 1), small).item() == pytest.approx(1e-8, rel=0.02)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_kl_between_full_normals(size):
    for seed in range(5):
        mean_q, mean_p = normals(2, size, seed=seed)
        tril_q, tril_p = random_tril(size, seed + 50), random_tril(size, seed + 90)
        q, p = (D.MultivariateNormal(m, scale_tril=L) for m, L in ((mean_q, tril_q), (mean_p, tril_p)))
        found = kl_normal(mean_q, tril_q, mean_p, tril_p)
        torch.testing.assert_close(found, D.kl_divergence(q, p), rtol=0, atol=1e-9)
        nodes, mass = hermite(size, 4)  # the integrand is a polynomial of degree 2: exact
        z = mean_q + nodes @ tril_q.T
        by_quadrature = mass @ (normal_log_prob(z, mean_q, tril_q) - normal_log_prob(z, mean_p, tril_p))
        torch.testing.assert_close(found, by_quadrature, rtol=0, atol=1e-9)
        diagonal = tril_q.diagonal()
        torch.testing.assert_close(
            kl_normal(mean_q, diagonal.diag(), torch.zeros(size).double(), torch.eye(size).double()),
            kl_standard_normal(mean_q, diagonal.log()),
            rtol=0,
            atol=1e-10,
        )


# --- gradients -------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "wave": lambda z: (2 * z[:, 0]).sin() + z[:, 0] * z[:, 1].square(),
    "bowl": lambda z: (z - 1).square().sum(1),
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("estimate", [pathwise_gradient, score_function_gradient])
def test_both_gradient_estimators_are_unbiased(f, estimate):
    mean, log_sd = torch.tensor([0.6, -0.4]).double(), torch.tensor([-0.3, 0.2]).double()
    nodes, mass = hermite(2, 40)
    parameters = torch.cat([mean, log_sd]).requires_grad_()
    expectation = mass @ f(parameters[:2] + parameters[2:].exp() * nodes)
    (exact,) = torch.autograd.grad(expectation, parameters)
    n = 200_000
    each = estimate(f, mean, log_sd, normals(n, 2, seed=3))
    assert each.shape == (n, 4)
    error = each.std(0) / n**0.5
    assert ((each.mean(0) - exact).abs() < 5 * error).all()
    assert (error < 0.05).all()


def test_the_variances_of_both_gradients_are_those_of_theory():
    r"""For f(z) = z²: pathwise 2z, variance 4σ²; score z²ε/σ, variance (μ⁴ + 18μ²σ² + 15σ⁴)/σ² − 4μ²."""
    for mu, sd in ((1.0, 0.5), (2.0, 1.0), (0.3, 1.5)):
        mean, log_sd = torch.tensor([mu]).double(), torch.tensor([math.log(sd)]).double()
        eps = normals(1_000_000, 1, seed=8)
        path, score = (
            estimate(lambda z: z[:, 0].square(), mean, log_sd, eps)[:, 0].var().item()
            for estimate in (pathwise_gradient, score_function_gradient)
        )
        exact = (mu**4 + 18 * mu**2 * sd**2 + 15 * sd**4) / sd**2 - 4 * mu**2
        assert path == pytest.approx(4 * sd**2, rel=0.01)
        assert score == pytest.approx(exact, rel=0.03)
        assert score / path > 3


def test_the_score_function_needs_no_slope_and_the_path_does():
    """d/dμ P(z > 0) = φ(μ/σ)/σ is found from a step; through the step nothing flows."""
    mean, log_sd = torch.tensor([0.5]).double(), torch.tensor([0.0]).double()
    eps = normals(200_000, 1, seed=4)
    by_score = score_function_gradient(lambda z: (z[:, 0] > 0).double(), mean, log_sd, eps)[:, 0]
    exact = math.exp(-0.125) / math.sqrt(2 * math.pi)
    assert abs(by_score.mean().item() - exact) < 5 * by_score.std().item() / 200_000**0.5
    by_path = pathwise_gradient(lambda z: (z[:, 0] > 0).double() + 0 * z[:, 0], mean, log_sd, eps)
    assert (by_path == 0).all()


# --- likelihoods -----------------------------------------------------------------------------------------------


def test_bernoulli_agrees_with_torch_distributions_sums_to_one_and_draws_so():
    everything = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).double()
    h = normals(1, 4, seed=2).expand(16, 4)
    log_p = Bernoulli().log_prob(everything, h)
    torch.testing.assert_close(log_p, D.Bernoulli(logits=h).log_prob(everything).sum(1), rtol=0, atol=1e-10)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    draws = Bernoulli().sample(h[:1].expand(40_000, 4), source(5))
    assert ((draws.mean(0) - Bernoulli().mean(h[0])).abs() < 5 * 0.5 / 40_000**0.5).all()


@pytest.mark.parametrize("sd", [None, 0.3])
def test_normal_agrees_with_torch_distributions_and_draws_so(sd):
    x, mean, log_sd = normals(3, 5, 2, 3, seed=6)
    h = mean if sd else torch.cat([mean, log_sd], 1)
    scale = torch.full_like(mean, sd) if sd else log_sd.exp()
    exact = D.Normal(mean, scale).log_prob(x).sum((1, 2))
    torch.testing.assert_close(Normal(sd).log_prob(x, h), exact, rtol=0, atol=1e-10)
    assert torch.equal(Normal(sd).mean(h), mean)
    draws = torch.stack([Normal(sd).sample(h, source(i)) for i in range(2_000)])
    assert ((draws.mean(0) - mean).abs() < 5 * scale / 2_000**0.5).all()
    assert (draws.std(0) / scale - 1).abs().max() < 0.1


def test_grey_pictures_are_refused_and_the_cure_is_named():
    model = VAE(ConvEncoder(4, 2), ConvDecoder(2, 2), Bernoulli(), shape=(1, 28, 28), latent=2)
    grey = torch.rand(2, 1, 28, 28, generator=source(0))
    with pytest.raises(ValueError, match=r"^x: expected only zeros and ones, .*\(x > 0.5\)"):
        model.elbo(grey)
    assert torch.isfinite(model.elbo((grey > 0.5).float())).all()


# --- the bound, where everything is known: x = Wz + b + sd·noise -------------------------------------------------

SD = 0.6


def linear(exact: bool, m: int = 3, latent: int = 2, seed: int = 0) -> VAE:
    """A linear-Gaussian VAE; `exact`: W has orthogonal columns, the true posterior is diagonal and q equals it."""
    W = normals(m, latent, seed=seed)
    W = torch.linalg.qr(W)[0] * torch.tensor([1.5, 0.7]).double() if exact else W
    encoder, decoder = nn.Linear(m, 2 * latent).double(), nn.Linear(latent, m).double()
    with torch.no_grad():
        decoder.weight.copy_(W)
        decoder.bias.copy_(normals(m, seed=seed + 1))
        encoder.weight.copy_(0.3 * normals(2 * latent, m, seed=seed + 2))
        encoder.bias.copy_(0.3 * normals(2 * latent, seed=seed + 3))
        if exact:
            precision = 1 + W.square().sum(0) / SD**2
            encoder.weight[:latent] = W.T / SD**2 / precision[:, None]
            encoder.weight[latent:] = 0
            encoder.bias[:latent] = -encoder.weight[:latent] @ decoder.bias
            encoder.bias[latent:] = -0.5 * precision.log()
    return VAE(encoder, decoder, Normal(SD), shape=(m,), latent=latent)


def truth(model: VAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p(x), and mean (B, D) and covariance (D, D) of p(z | x), from the joint normal of (z, x)."""
    W, b = model.decoder.weight.detach(), model.decoder.bias.detach()
    m, latent = W.shape
    mean = torch.cat([torch.zeros(latent).double(), b])
    top = torch.cat([torch.eye(latent).double(), torch.zeros(latent, m).double()], 1)
    tril = torch.cat([top, torch.cat([W, SD * torch.eye(m).double()], 1)])  # (z, x) = mean + tril·noise
    A = torch.eye(latent + m).double()[latent:]
    log_p = normal_log_prob(x, b, torch.linalg.cholesky(W @ W.T + SD**2 * torch.eye(m).double()))
    means, cov = condition(mean, tril, A, x)
    return log_p, means[:, :latent], cov[:latent, :latent]


@torch.no_grad()
def exact_elbo(model: VAE, x: torch.Tensor) -> torch.Tensor:
    """The ELBO without chance: E_q log p(x | z) by quadrature, exact because it is quadratic in z."""
    nodes, mass = hermite(model.latent, 4)
    mean, log_sd = model.posterior(x)
    z = mean + log_sd.exp() * nodes[:, None]
    return mass @ model.log_likelihood(x, z) - kl_standard_normal(mean, log_sd)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exact", [True, False])
def test_elbo_plus_the_gap_is_the_log_likelihood(exact, seed):
    model, x = linear(exact, seed=seed), 2 * normals(6, 3, seed=seed + 20)
    log_p, means, cov = truth(model, x)
    mean, log_sd = (t.detach() for t in model.posterior(x))
    tril = torch.linalg.cholesky(cov)
    gap = torch.stack([kl_normal(mean[i], log_sd[i].exp().diag(), means[i], tril) for i in range(6)])
    torch.testing.assert_close(exact_elbo(model, x) + gap, log_p, rtol=0, atol=1e-9)
    assert (gap.abs() < 1e-9).all() if exact else (gap > 0.01).all()


def test_one_draw_suffices_where_the_posterior_is_exact():
    model, x = linear(exact=True), 2 * normals(6, 3, seed=1)
    log_p, _, _ = truth(model, x)
    torch.testing.assert_close(model.elbo(x, analytic=False).detach(), log_p, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.log_prob_is(x, 3), log_p, rtol=0, atol=1e-9)
    # with the KL in closed form each draw has noise left: only its mean is right
    assert (model.elbo(x, generator=source(0)).detach() - log_p).abs().max() > 0.01


def test_both_forms_of_the_elbo_have_the_exact_mean():
    model, x = linear(exact=False), 2 * normals(1, 3, seed=2)
    exact, n = exact_elbo(model, x).item(), 100_000
    draws = {}
    for analytic in (True, False):
        draws[analytic] = model.elbo(x.expand(n, 3), analytic=analytic, generator=source(5)).detach()
        assert abs(draws[analytic].mean().item() - exact) < 5 * draws[analytic].std().item() / n**0.5
    difference = draws[True] - draws[False]  # the same draws: sampled KL minus analytic KL
    assert difference.std().item() > 0.1
    assert abs(difference.mean().item()) < 5 * difference.std().item() / n**0.5
    many = model.elbo(x.expand(500, 3), samples=100, generator=source(6)).detach()
    assert many.std().item() == pytest.approx(draws[True].std().item() / 10, rel=0.15)
    reconstruction, kl = (t.detach() for t in model.terms(x.expand(500, 3), 100, generator=source(6)))
    torch.testing.assert_close(reconstruction - kl, many)


def test_importance_sampling_rises_to_the_log_likelihood():
    model, x = linear(exact=False, seed=3), 2 * normals(1, 3, seed=4)
    log_p = truth(model, x)[0].item()
    repeats, before = 1_000, exact_elbo(model, x).item()
    for samples in (1, 4, 16, 64, 1_024):
        found = model.log_prob_is(x.expand(repeats, 3), samples, generator=source(samples))
        mean, error = found.mean().item(), found.std().item() / repeats**0.5
        assert mean < log_p + 5 * error
        assert mean > before - 5 * error
        if samples == 1:
            assert abs(mean - before) < 5 * error  # one sample: the ELBO
        before = mean
    assert log_p - before < 0.1 < 1 < log_p - exact_elbo(model, x).item()


def test_importance_sampling_decodes_no_more_rows_than_it_says(monkeypatch):
    monkeypatch.setattr(vae, "ROWS", 10)
    model, sizes = linear(exact=True), []
    model.decoder.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    for batch, samples in ((7, 3), (2, 25), (25, 1), (1, 10)):
        sizes.clear()
        x = normals(batch, 3, seed=batch)
        torch.testing.assert_close(model.log_prob_is(x, samples), truth(model, x)[0], rtol=0, atol=1e-9)
        assert max(sizes) <= 10
        assert sum(sizes) == batch * samples


@pytest.mark.parametrize("sd", [0.4, None])
def test_samples_follow_the_model(sd):
    torch.manual_seed(0)
    decoder = nn.Linear(2, 3 if sd else 6).double()
    model = VAE(nn.Linear(3, 4).double(), decoder, Normal(sd), shape=(3,), latent=2)
    with torch.no_grad():
        decoder.weight[3:] = 0  # a constant log sd: the marginal is normal
    n, W, b = 100_000, decoder.weight[:3].detach(), decoder.bias.detach()
    noise = torch.full((3,), sd**2).double() if sd else (2 * b[3:]).exp()
    draws, means = (model.sample(n, noise=on, generator=source(1)) for on in (True, False))
    torch.testing.assert_close(draws.mean(0), b[:3], rtol=0, atol=0.03)
    torch.testing.assert_close(draws.T.cov(), W @ W.T + noise.diag(), rtol=0, atol=0.05)
    torch.testing.assert_close(means.T.cov(), W @ W.T, rtol=0, atol=0.03)


def test_a_bernoulli_vae_is_normalised_and_draws_what_it_states():
    from scipy.stats import chi2

    torch.manual_seed(1)
    model = VAE(nn.Linear(3, 2), mlp([1, 8, 3]), Bernoulli(), shape=(3,), latent=1).double()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
        everything = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3))).double()
        nodes, mass = hermite(1, 200)
        p = mass @ model.log_likelihood(everything, nodes[:, None].expand(-1, 8, -1)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-10)
    torch.testing.assert_close(model.log_prob_is(everything, 200_000, generator=source(0)), p.log(), rtol=0, atol=0.02)
    n = 40_000
    place = torch.tensor([4, 2, 1])
    seen = torch.bincount((model.sample(n, generator=source(2)).long() * place).sum(1), minlength=8)
    assert ((seen - n * p).square() / (n * p)).sum().item() < chi2.ppf(0.9999, 7)
    assert n * p.min().item() > 5


# --- the homework: two normal numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("rotated", [False, True])
def test_a_vae_of_the_pair_comes_within_a_hundredth_of_a_nat_of_the_truth(rotated):
    torch.manual_seed(0)
    model = VAE(mlp([2, 64, 64, 4]), mlp([2, 64, 64, 4]), Normal(sd=None), shape=(2,), latent=2)
    x = gaussian_pair("train", rotated=rotated)
    fit(model, x, steps=1_000, batch_size=256, lr=5e-3, schedule=cosine(1_000, warmup=50), ema=0.99)
    mean, cov = gaussian_pair_law(rotated=rotated)
    tril = torch.linalg.cholesky(cov)
    fresh = mean + normals(100_000, 2, seed=9) @ tril.T
    with torch.no_grad():
        reconstruction, kl = model.double().terms(fresh, 4, generator=source(2))
    paired = normal_log_prob(fresh, mean, tril) - (reconstruction - kl)
    error = paired.std().item() / len(fresh) ** 0.5
    assert -5 * error < paired.mean().item() < 0.01
    if rotated:  # a diagonal decoder can state the dependence through z alone: log 3 nats of it
        assert kl.mean().item() > math.log(3) - 0.11


# --- the autoencoder ---------------------------------------------------------------------------------------------


def test_the_best_linear_autoencoder_is_pca():
    mix = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0.5, 0], [0, 0, 0.2, 0.3]]).double()
    x = normals(500, 4, seed=0) @ mix
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    model = Autoencoder(nn.Linear(4, 2), nn.Linear(2, 4), shape=(4,)).double()
    with torch.no_grad():
        for layer, weight in ((model.encoder, vectors[:, 2:].T), (model.decoder, vectors[:, 2:])):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    assert model.loss(x).item() == pytest.approx(values[:2].sum().item(), abs=1e-12)
    torch.testing.assert_close(model.errors(x), (model.decode(model.encode(x)) - x).square().sum(1))
    model.loss(x).backward()
    assert all(p.grad.abs().max() < 1e-10 for p in model.parameters())  # a stationary point
    torch.manual_seed(0)
    other = Autoencoder(nn.Linear(4, 2), nn.Linear(2, 4), shape=(4,))
    fit(other, x.float(), steps=600, lr=1e-2, schedule=cosine(600))
    assert values[:2].sum().item() < other.double().loss(x).item() < 1.02 * values[:2].sum().item()


def test_an_autoencoder_of_digits_has_codes_and_no_way_to_draw_them():
    model = Autoencoder(ConvEncoder(5, 2), ConvDecoder(5, 2), shape=(1, 28, 28))
    x = torch.rand(3, 1, 28, 28, generator=source(0))
    assert model.encode(x).shape == (3, 5)
    assert model(x).shape == x.shape
    model.loss(x).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    assert not hasattr(model, "sample")


# --- extremes: finite, with finite gradients -----------------------------------------------------------------------


class Constant(nn.Module):
    """A network that gives one row whatever comes in, and lets a gradient through."""

    def __init__(self, row: list[float]) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.tensor(row))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.row + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("encoder", "decoder", "likelihood"),
    [
        ([0.0, 0.0], [1e4, -1e4], Bernoulli()),
        ([0.0, 0.0], [-1e4, 1e4], Bernoulli()),
        ([1e4, 1e4], [0.0, 0.0], Bernoulli()),
        ([-1e4, -1e4], [0.0, 0.0], Bernoulli()),
        ([0.0, 0.0], [0.0, 1.0, -1e4, -1e4], Normal(sd=None)),
        ([0.0, 0.0], [0.5, 0.5, -1e4, 1e4], Normal(sd=None)),
        ([1e4, 1e4], [1e4, -1e4, 1e4, 1e4], Normal(sd=None)),
        ([0.0, -1e4], [0.5, 0.5], Normal(sd=1e-4)),
    ],
)
def test_extreme_networks_stay_finite(encoder, decoder, likelihood):
    model = VAE(Constant(encoder), Constant(decoder), likelihood, shape=(2,), latent=1)
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    for analytic in (True, False):
        value = model.elbo(x, analytic=analytic)
        assert torch.isfinite(value).all()
        model.zero_grad()
        value.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.isfinite(model.log_prob_is(x, 10)).all()
    assert torch.isfinite(model.sample(10)).all()
    assert torch.isfinite(model.reconstruct(x)).all()


# --- the trained weights -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_weights_reach_what_the_book_promises():
    recorded, model = weights.info("vae_digits")["metrics"], vae_digits.load()
    x = digits("test", binary=True).images
    bound = -model.elbo(x, generator=source(0))
    error = bound.std().item() / len(x) ** 0.5
    assert abs(bound.mean().item() - recorded["test negative ELBO"]) < 3 * error / 2  # the digits are the same
    part = x[:40]
    assert -model.log_prob_is(part, 200, generator=source(1)).mean() < bound[:40].mean()
    assert recorded["test nats/image"] < recorded["test negative ELBO"] < 205.25  # independent pixels
    total = recorded["test reconstruction"] + recorded["test KL"]
    assert recorded["test negative ELBO"] == pytest.approx(total, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1_200)  # a million codes are decoded
@pytest.mark.parametrize("recipe", [vae_plane, vae_digits])
def test_the_recorded_numbers_come_again(recipe):
    assert recipe.evaluate() == pytest.approx(weights.info(recipe.NAME)["metrics"], abs=1e-2)


# --- bad input -----------------------------------------------------------------------------------------------------

MODEL = VAE(nn.Linear(2, 4), nn.Linear(2, 2), Bernoulli(), shape=(2,), latent=2)
CODER = Autoencoder(nn.Linear(2, 1), nn.Linear(1, 2), shape=(2,))
X, EYE, ZERO = torch.ones(3, 2), torch.eye(2), torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: log_normal([0.0], ZERO, ZERO), TypeError, "^x: expected a torch.Tensor"),
        (lambda: log_normal(X, ZERO * float("nan"), ZERO), ValueError, "^mean: expected finite"),
        (lambda: kl_standard_normal(ZERO, ZERO.long()), TypeError, "^log_sd: expected dtype float"),
        (lambda: kl_standard_normal(torch.zeros(0, 2), ZERO), ValueError, "^mean: expected"),
        (lambda: kl_normal(ZERO, EYE, torch.zeros(3), EYE), ValueError, r"^mean_p: expected shape \(2,\)"),
        (lambda: kl_normal(ZERO, EYE, ZERO, torch.ones(2, 2)), ValueError, "^tril_p: expected a lower triangular"),
        (lambda: kl_normal(ZERO, -EYE, ZERO, EYE), ValueError, "^tril_q: .*positive diagonal"),
        (lambda: kl_normal(X, EYE, ZERO, EYE), ValueError, "^mean_q: expected shape"),
        (lambda: pathwise_gradient(lambda z: z, ZERO, ZERO, X), ValueError, r"^f\(z\): expected shape \(3,\)"),
        (lambda: score_function_gradient(lambda z: z.sum(), ZERO, ZERO, X), ValueError, r"^f\(z\): expected shape"),
        (lambda: pathwise_gradient(lambda z: z.sum(1), ZERO, torch.zeros(1), X), ValueError, "^log_sd: expected"),
        (lambda: score_function_gradient(lambda z: z.sum(1), ZERO, ZERO, ZERO), ValueError, "^eps: expected shape"),
        (lambda: Normal(sd=0.0), ValueError, "^sd: expected"),
        (lambda: Normal(sd="1"), TypeError, "^sd: expected"),
        (lambda: Normal().log_prob(X, torch.zeros(3, 1)), ValueError, r"^h: expected shape \(3, 2\)"),
        (lambda: Normal(None).log_prob(X, torch.zeros(3, 2)), ValueError, r"^h: expected shape \(3, 4\)"),
        (lambda: Bernoulli().log_prob(X, torch.zeros(1, 2)), ValueError, r"^h: expected shape \(3, 2\)"),
        (lambda: Bernoulli().log_prob(2 * X, X), ValueError, "^x: expected only zeros and ones"),
        (lambda: ConvEncoder(0), ValueError, "^outputs: expected at least 1"),
        (lambda: ConvEncoder(2, width=1.5), TypeError, "^width: expected a whole number"),
        (lambda: ConvDecoder(0), ValueError, "^latent: expected at least 1"),
        (lambda: VAE(nn.Linear(2, 4), nn.Linear(2, 2), Bernoulli(), shape=(0,), latent=2), ValueError, "^shape: "),
        (lambda: VAE(nn.Linear(2, 4), nn.Linear(2, 2), Bernoulli(), shape=(2,), latent=-1), ValueError, "^latent: "),
        (lambda: VAE(nn.Linear(2, 3), nn.Linear(2, 2), Bernoulli(), shape=(2,), latent=2).loss(X), ValueError, "^enc"),
        (lambda: VAE(nn.Linear(2, 4), nn.Linear(2, 1), Bernoulli(), shape=(2,), latent=2).loss(X), ValueError, "^h: "),
        (lambda: MODEL.elbo(X[:0]), ValueError, "^x: expected shape"),
        (lambda: MODEL.elbo(X, samples=0), ValueError, "^samples: expected at least 1"),
        (lambda: MODEL.log_prob_is(X, 0), ValueError, "^samples: expected at least 1"),
        (lambda: MODEL.log_prob_is(X[0], 5), ValueError, "^x: expected shape"),
        (lambda: MODEL.log_weights(X, 1.5), TypeError, "^samples: expected a whole number"),
        (lambda: MODEL.posterior(X.long()), TypeError, "^x: expected dtype float"),
        (lambda: MODEL.log_likelihood(X, torch.zeros(5, 1, 2)), ValueError, "^z: expected shape"),
        (lambda: MODEL.decode(torch.zeros(1, 3)), ValueError, r"^z: expected shape \(B, 2\)"),
        (lambda: MODEL.reconstruct(X * float("inf")), ValueError, "^x: expected finite"),
        (lambda: MODEL.sample(0), ValueError, "^n: expected at least 1"),
        (lambda: CODER.loss(torch.ones(3, 3)), ValueError, "^x: expected shape"),
        (lambda: CODER.decode(ZERO), ValueError, "^z: expected shape"),
        (lambda: CODER.encode("digit"), TypeError, "^x: expected a torch.Tensor"),
        (lambda: Autoencoder(nn.Linear(2, 1), nn.Linear(1, 1), shape=(2,)).loss(X), ValueError, "^decoder"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, match):
    with pytest.raises(error, match=match):
        call()
