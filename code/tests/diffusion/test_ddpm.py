"""Schedules, the algebra of a step, denoisers and the bound: each against an independent way."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from dgm.data import toy
from dgm.diffusion.ddpm import (
    DDPM,
    VE,
    VP,
    Chain,
    Cosine,
    Denoiser,
    Linear,
    MixtureDenoiser,
    Sampler,
    diffuse,
    elbo_terms,
    even_times,
    posterior,
    score,
    transition,
)
from dgm.nn.mlp import mlp
from dgm.nn.timed import TimedMLP

f64 = torch.float64
SCHEDULES = {"linear": Linear(40), "cosine": Cosine(30), "VP": VP(), "VE": VE(0.05, 20.0)}
each = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=f64)


def times(n: int) -> Tensor:
    return 0.01 + 0.99 * torch.rand(n, dtype=f64)


def mixture(schedule, K: int = 3, D: int = 2) -> MixtureDenoiser:
    factors = 0.5 * torch.randn(K, D, D, dtype=f64)
    return MixtureDenoiser(schedule, torch.randn(K, D, dtype=f64), factors @ factors.mT, torch.rand(K, dtype=f64) + 0.2)


class Net(nn.Module):
    """A small network of a point and a time, with classes."""

    classes = 3

    def __init__(self, D: int = 2) -> None:
        super().__init__()
        self.body = mlp([D + 2, 16, D], activation=nn.Tanh)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        named = torch.full_like(t, self.classes) if label is None else label.to(t)
        return self.body(torch.cat([x, t[:, None], named[:, None]], 1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(20)


# --- schedules -----------------------------------------------------------------------------------------------------


@each
def test_a_schedule_starts_at_the_data_and_signal_to_noise_falls(schedule):
    alpha, sigma = schedule(torch.linspace(0, 1, 200, dtype=f64))
    assert (alpha[0], sigma[0]) == (1, 0)
    assert ((alpha / sigma).diff() < 0).all()
    if not isinstance(schedule, VE):
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(200, dtype=f64), rtol=0, atol=1e-14)


@each
def test_the_slopes_are_those_of_finite_differences(schedule):
    t = times(50) * 0.98
    if schedule.steps:  # between the steps: at a step the rate jumps
        t = ((t * schedule.steps).floor() + 0.2 + 0.6 * torch.rand(50, dtype=f64)) / schedule.steps
    h = 1e-6
    for slope, after, before in zip(schedule.slopes(t), schedule(t + h), schedule(t - h), strict=True):
        torch.testing.assert_close(slope, (after - before) / (2 * h), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make", [Linear, Cosine])
def test_a_chain_at_its_steps_is_the_product_of_its_table(make):
    from diffusers import DDPMScheduler

    kind = {Linear: "linear", Cosine: "squaredcos_cap_v2"}[make]
    peer = DDPMScheduler(1_000, beta_start=1e-4, beta_end=0.02, beta_schedule=kind)
    alpha, sigma = make(1_000)(torch.arange(1, 1_001, dtype=f64) / 1_000)
    torch.testing.assert_close(alpha.square(), peer.alphas_cumprod.double(), rtol=3e-4, atol=1e-7)  # theirs in float32
    torch.testing.assert_close(sigma.square(), 1 - peer.alphas_cumprod.double(), rtol=3e-4, atol=1e-7)


def test_the_linear_chain_tends_to_the_variance_preserving_diffusion():
    t = torch.linspace(0.1, 1, 10, dtype=f64)
    gaps = [(Linear(steps).log_alpha(t) - VP().log_alpha(t)).abs().max() for steps in (1_000, 2_000, 4_000)]
    assert gaps[0] < 0.1
    for coarse, fine in itertools.pairwise(gaps):
        assert coarse / fine == pytest.approx(2, abs=0.05)


def test_between_two_steps_the_logarithm_is_a_line():
    chain = Chain(torch.tensor([0.1, 0.3]))
    a, b = 0.5 * math.log(0.9), 0.5 * math.log(0.9 * 0.7)
    found = chain.log_alpha(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=f64))
    torch.testing.assert_close(found, torch.tensor([0, a / 2, a, (a + b) / 2, b], dtype=f64), rtol=1e-7, atol=1e-9)


def test_times_for_training():
    drawn = Cosine(5).draw(5_000)
    assert drawn.unique().tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert ((drawn[:, None] == drawn.unique()).double().mean(0) - 0.2).abs().max() < 0.03
    free = VP().draw(5_000)
    assert 0 < free.min() < 0.01
    assert free.max() <= 1
    assert free.mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(*(VP().draw(9, generator=torch.Generator().manual_seed(1)) for _ in range(2)))


@pytest.mark.parametrize("t", [-0.1, 1.01, float("nan")])
def test_times_outside_are_refused(t):
    for schedule in SCHEDULES.values():
        with pytest.raises(ValueError, match=r"^t: expected"):
            schedule(torch.tensor([t]))


def test_bad_settings_are_refused():
    for make, name in (
        (lambda: Linear(0), "steps"),
        (lambda: Linear(10, high=20), "betas"),
        (lambda: Linear(low=0), "low"),
        (lambda: Cosine(offset=-1), "offset"),
        (lambda: VP(high=-1), "high"),
        (lambda: VE(2, 1), "high"),
        (lambda: Chain(torch.tensor([0.1, 1.0])), "betas"),
        (lambda: Denoiser(Net(), VP(), unconditional=2), "unconditional"),
        (lambda: MixtureDenoiser(VP(), torch.zeros(1, 2), -torch.eye(2)[None]), "covs"),
        (lambda: MixtureDenoiser(VP(), torch.zeros(1, 2), torch.ones(1), torch.zeros(1)), "weights"),
        (lambda: even_times(0), "steps"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            make()
    for make, name in (
        (lambda: Denoiser(Net(), VP(), predicts="score"), "predicts"),
        (lambda: Denoiser(Net(), VP(), weight="snr"), "weight"),
        (lambda: DDPM(mixture(VP()), variance="middle"), "variance"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: .* is not known"):
            make()


# --- the algebra of a step -----------------------------------------------------------------------------------------


def test_the_homework_s_numbers_for_the_cosine_schedule():
    """T = 100, x_t = 1, ε̂ = 1; the sixth step has index 5 where tables count from zero."""
    schedule = Cosine(100)
    alpha, sigma = schedule(number(6 / 100))
    assert (round(alpha.item(), 5), round(sigma.item() ** 2, 5)) == (0.99447, 0.01103)
    one = torch.ones(1, 1, dtype=f64)
    x_0 = (one - sigma * one) / alpha
    mean, variance = posterior(schedule, one, x_0, number(6 / 100), number(5 / 100))
    assert [round(v.item(), 5) for v in (x_0, mean, variance)] == [0.89994, 0.97231, 0.00222]
    alpha, sigma = schedule(number(5 / 100))
    assert (round(alpha.item(), 5), round(sigma.item() ** 2, 5)) == (0.99600, 0.00799)


@each
def test_two_steps_forward_make_one(schedule):
    s, t = times(20) * 0.6, 0.7 + 0.3 * torch.rand(20, dtype=f64)
    a, v = transition(schedule, t, s)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    torch.testing.assert_close(a * alpha_s, alpha_t)
    torch.testing.assert_close(a**2 * sigma_s**2 + v, sigma_t**2)
    assert (v > 0).all()
    if schedule.steps:  # neighbours: √(1 − β) and β, from the table itself
        i = torch.arange(1, schedule.steps + 1, dtype=f64)
        a, v = transition(schedule, i / schedule.steps, (i - 1) / schedule.steps)
        torch.testing.assert_close(a**2 + v, torch.ones_like(a))


@each
def test_the_posterior_is_what_conditioning_the_joint_normal_gives(schedule):
    """Brute force: the joint covariance of (x_s, x_t) given x_0, and the formula for a part of a normal vector."""
    for _ in range(20):
        s, t = sorted(times(2).tolist())
        s, t = number(s), number(t)
        x_0, x_t = torch.randn(2, 1, 1, dtype=f64)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
        a = alpha_t / alpha_s  # x_t = a x_s + noise, so Cov(x_s, x_t) = a σ_s²
        cov = torch.stack([torch.stack([sigma_s**2, a * sigma_s**2]), torch.stack([a * sigma_s**2, sigma_t**2])])
        expected = alpha_s * x_0 + cov[0, 1] / cov[1, 1] * (x_t - alpha_t * x_0)
        variance = cov[0, 0] - cov[0, 1] ** 2 / cov[1, 1]
        mean, found = posterior(schedule, x_t, x_0, t, s)
        torch.testing.assert_close(mean, expected)
        torch.testing.assert_close(found, variance, rtol=1e-7, atol=1e-12)


def test_times_of_each_example_and_one_for_all_agree():
    schedule, x_t, x_0 = VP(), torch.randn(4, 3, 2, dtype=f64), torch.randn(4, 3, 2, dtype=f64)
    t, s = torch.full((4,), 0.7, dtype=f64), torch.full((4,), 0.4, dtype=f64)
    for one, many in zip(posterior(schedule, x_t, x_0, t[0], s[0]), posterior(schedule, x_t, x_0, t, s), strict=True):
        torch.testing.assert_close(one.expand_as(many), many)
    torch.testing.assert_close(diffuse(schedule, x_0, t, x_t), diffuse(schedule, x_0, t[0], x_t))


def test_a_step_that_does_not_go_back_is_refused():
    x = torch.zeros(1, 1, dtype=f64)
    for s in (0.5, 0.6):
        with pytest.raises(ValueError, match="^s: expected times before t"):
            posterior(VP(), x, x, number(0.5), number(s))


# --- the oracle ----------------------------------------------------------------------------------------------------


@each
def test_the_oracle_agrees_with_the_density_of_its_noisy_states(schedule):
    """Density by torch's own normals; score by autograd; Tweedie; E[x_0 | x_t] by a weighted sum over drawn data."""
    oracle = mixture(schedule)
    t = number(0.4)
    alpha, sigma = schedule(t)
    x = oracle.sample(6) * alpha + sigma * torch.randn(6, 2, dtype=f64)
    covs = oracle.axes @ (oracle.spread[:, :, None] * oracle.axes.mT)
    parts = MultivariateNormal(alpha * oracle.means, alpha**2 * covs + sigma**2 * torch.eye(2, dtype=f64))
    nats = (parts.log_prob(x[:, None]) + oracle.log_weights).logsumexp(1)
    torch.testing.assert_close(oracle.log_prob(x, t), nats)

    x.requires_grad_()
    (slope,) = torch.autograd.grad(oracle.log_prob(x, t).sum(), x)
    guess = oracle(x, t)
    torch.testing.assert_close(score(oracle, x, t), slope)  # −E[ε | x_t] / σ
    torch.testing.assert_close(guess.x_0, (x + sigma**2 * slope) / alpha)  # Tweedie
    torch.testing.assert_close(alpha * guess.x_0 + sigma * guess.noise, x)

    data = oracle.sample(100_000)
    weights = (-0.5 * ((x[:, None] - alpha * data) / sigma).square().sum(-1)).softmax(1)
    effective = 1 / weights.square().sum(1)
    spread = (weights[..., None] * (data - guess.x_0[:, None]).square()).sum(1) / effective[:, None]
    assert ((weights @ data - guess.x_0).abs() < 5 * spread.sqrt()).all()


def test_the_oracle_with_a_label_knows_the_component():
    oracle = mixture(VP())
    x, t = torch.randn(9, 2, dtype=f64), number(0.3)
    for k in range(3):
        single = MixtureDenoiser(
            VP(), oracle.means[k : k + 1], (oracle.axes * oracle.spread[:, None] @ oracle.axes.mT)[k : k + 1]
        )
        label = torch.full((9,), k)
        torch.testing.assert_close(oracle(x, t, label).x_0, single(x, t).x_0)
        torch.testing.assert_close(oracle.log_prob(x, t, label), single.log_prob(x, t))
    torch.testing.assert_close(oracle(x, t, torch.full((9,), -1)), oracle(x, t))
    with pytest.raises(ValueError, match="^label: expected"):
        oracle(x, t, torch.full((9,), 3))


def test_a_point_mass_is_a_mixture_too_and_samples_have_the_law():
    oracle = MixtureDenoiser(VP(), torch.tensor([[1.0, 2.0]], dtype=f64), torch.zeros(1, dtype=f64))
    x = torch.randn(5, 2, dtype=f64)
    torch.testing.assert_close(oracle(x, number(0.5)).x_0, oracle.means.expand(5, 2))
    other = mixture(VP())
    drawn = other.sample(200_000, generator=torch.Generator().manual_seed(1))
    w = other.log_weights.exp()
    torch.testing.assert_close(drawn.mean(0), w @ other.means, rtol=0, atol=0.01)


# --- denoisers -----------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Answers with the right target for one known (x_0, ε)."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.target


@each
@pytest.mark.parametrize("predicts", ["noise", "data", "velocity"])
def test_whatever_a_network_predicts_the_guess_is_the_same(schedule, predicts):
    x_0, noise = torch.randn(2, 7, 3, dtype=f64)
    t = times(7)
    alpha, sigma = (c[:, None] for c in schedule(t))
    target = {"noise": noise, "data": x_0, "velocity": alpha * noise - sigma * x_0}[predicts]
    denoiser = Denoiser(Fixed(target), schedule, predicts=predicts)
    guess = denoiser(diffuse(schedule, x_0, t, noise), t)
    torch.testing.assert_close(guess.x_0, x_0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(guess.noise, noise, rtol=1e-6, atol=1e-6)
    assert denoiser.errors(x_0, t, noise).abs().max() < 1e-20


@each
@pytest.mark.parametrize("predicts", ["noise", "data", "velocity"])
@pytest.mark.parametrize("weight", ["noise", "data", "velocity", "min_snr"])
def test_the_weights_count_the_error_that_they_name(schedule, predicts, weight):
    """The error of the guess itself, taken directly."""
    x_0, noise, t = torch.randn(6, 2, dtype=f64), torch.randn(6, 2, dtype=f64), times(6)
    denoiser = Denoiser(Net().double(), schedule, predicts=predicts, weight=weight)
    guess = denoiser(diffuse(schedule, x_0, t, noise), t)
    alpha, sigma = (c[:, None] for c in schedule(t))
    velocity = alpha * (guess.noise - noise) - sigma * (guess.x_0 - x_0)
    off = {"noise": guess.noise - noise, "data": guess.x_0 - x_0, "velocity": velocity}
    off["min_snr"] = (alpha / sigma).clamp(max=5**0.5) * off["data"]
    torch.testing.assert_close(denoiser.errors(x_0, t, noise), off[weight].square().mean(1))


def test_the_loss_is_the_mean_error_over_times_and_noise():
    denoiser, x = Denoiser(Net().double(), Linear(4, high=2.0)), torch.randn(3, 2, dtype=f64)
    losses = torch.stack([denoiser.loss(x) for _ in range(1_000)]).detach()
    grid = torch.stack(
        [denoiser.errors(x, number(i / 4), torch.randn_like(x)).mean() for i in range(1, 5) for _ in range(250)]
    ).detach()
    error = ((losses.var() + grid.var()) / 1_000).sqrt()
    assert abs(losses.mean() - grid.mean()) < 4 * error


def test_labels_are_hidden_at_the_asked_rate():
    seen = []

    class Watch(Net):
        def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
            seen.append(label)
            return super().forward(x, t, label)

    denoiser = Denoiser(Watch(), VP(), unconditional=0.2)
    denoiser.loss(torch.randn(5_000, 2), torch.ones(5_000, dtype=torch.long))
    assert seen[0].unique().tolist() == [1, 3]
    assert (seen[0] == 3).double().mean() == pytest.approx(0.2, abs=0.03)
    denoiser.unconditional = 0.0
    denoiser.loss(torch.randn(50, 2), torch.ones(50, dtype=torch.long))
    assert seen[1].unique().tolist() == [1]


# --- the bound -----------------------------------------------------------------------------------------------------


def draws(make, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error of n draws of a vector."""
    values = torch.stack([make() for _ in range(n)])
    return values.mean(0), values.std(0) / n**0.5


def normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() / variance + (2 * math.pi * variance).log()).sum(-1)


def test_the_terms_sum_to_the_bound_computed_directly():
    """Directly: the mean over whole paths, drawn step by step, of log q(path | x_0) − log p(path and x_0)."""
    T, n, schedule = 6, 100_000, Linear(6, low=1.0, high=4.0)
    oracle = mixture(schedule)
    x_0 = oracle.sample(3).repeat_interleave(n, 0)
    grid = torch.arange(T + 1, dtype=f64) / T
    x, bound = x_0, torch.zeros(len(x_0), dtype=f64)
    for s, t in itertools.pairwise(grid):
        a, v = transition(schedule, t, s)
        x_t = a * x + v.sqrt() * torch.randn_like(x)
        bound += normal(x_t, a * x, v)
        mean, variance = posterior(schedule, x_t, oracle(x_t, t).x_0, t, s)
        bound -= normal(x, mean, v if s == 0 else variance)
        x = x_t
    bound -= normal(x, torch.zeros(2, dtype=f64), number(1.0))
    direct, terms = bound.reshape(3, -1), elbo_terms(oracle, x_0).sum(0).reshape(3, -1)
    error = ((direct.var(1) + terms.var(1)) / n).sqrt()
    assert (error < 0.02).all()
    assert ((direct.mean(1) - terms.mean(1)).abs() < 4 * error).all()


def test_for_one_normal_law_every_term_is_known():
    """x_0 ~ N(0, s²): E‖x_0 − x̂_0‖² = s² σ²/C at the given time, so the terms' means over data are numbers."""
    s2, schedule = 0.5, Linear(5, high=3.0)
    oracle = MixtureDenoiser(schedule, torch.zeros(1, 1, dtype=f64), torch.full((1,), s2, dtype=f64))
    x_0 = oracle.sample(400_000)
    found = elbo_terms(oracle, x_0)
    alpha, sigma = schedule(torch.arange(6, dtype=f64) / 5)
    left = s2 * sigma**2 / (alpha**2 * s2 + sigma**2)
    snr = (alpha / sigma) ** 2
    expected = [0.5 * (left[1] / sigma[1] ** 2 + (2 * math.pi * sigma[1] ** 2).log())]
    expected += [0.5 * (snr[i - 1] - snr[i]) * left[i] for i in range(2, 6)]
    expected += [0.5 * (alpha[5] ** 2 * s2 + sigma[5] ** 2 - 1 - 2 * sigma[5].log())]
    error = found.std(1) / len(x_0) ** 0.5
    assert ((found.mean(1) - torch.stack(expected)).abs() < 5 * error).all()
    entropy = 0.5 * math.log(2 * math.pi * math.e * s2)
    assert found.mean(1).sum() > entropy


def test_more_steps_make_the_bound_tighter():
    gaps = []
    for T in (5, 20, 80):
        oracle = MixtureDenoiser(Linear(T, high=4.0), torch.zeros(1, 1, dtype=f64), torch.full((1,), 0.5, dtype=f64))
        x_0 = oracle.sample(20_000)
        gaps.append((elbo_terms(oracle, x_0).sum(0) + oracle.log_prob(x_0, number(0.0))).mean().item())
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_the_bound_wants_steps():
    with pytest.raises(ValueError, match="^denoiser: expected a schedule that has steps"):
        elbo_terms(mixture(VP()), torch.zeros(2, 2, dtype=f64))


# --- the way back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variance", "s2"), [("small", 0.0), ("large", 1.0)])
def test_each_variance_is_right_for_the_data_it_was_made_for(variance, s2):
    """Ancestral sampling with few steps keeps the law of x_s exactly: small for a point, large for N(0, 1)."""
    schedule = Linear(5, high=4.0)
    oracle = MixtureDenoiser(schedule, torch.zeros(1, 1, dtype=f64), torch.full((1,), s2, dtype=f64))
    for s, t in ((0.2, 0.6), (0.6, 1.0)):
        s, t = number(s), number(t)
        (alpha, sigma), (alpha_s, sigma_s) = schedule(t), schedule(s)
        x_t = (alpha**2 * s2 + sigma**2).sqrt() * torch.randn(200_000, 1, dtype=f64)
        x_s = DDPM(oracle, variance).step(x_t, t, s)
        assert x_s.var().item() == pytest.approx((alpha_s**2 * s2 + sigma_s**2).item(), rel=0.02)
        other = DDPM(oracle, "large" if variance == "small" else "small").step(x_t, t, s)
        assert abs(other.var() - x_s.var()) > 0.05


def test_ancestral_sampling_finds_the_mixture():
    oracle = mixture(VP()).float()
    x = DDPM(oracle).sample((10_000, 2), even_times(100), generator=torch.Generator().manual_seed(0))
    assert x.dtype == torch.float32
    data = oracle.sample(100_000)
    torch.testing.assert_close(x.mean(0), data.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(x.T.cov(), data.T.cov(), rtol=0, atol=0.08)


def test_a_walk_tells_all_states_and_the_same_generator_draws_the_same():
    sampler, x = DDPM(mixture(VP())), torch.randn(4, 2, dtype=f64)
    one, two = (sampler.walk(x, even_times(6), generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert len(one) == 7
    assert torch.equal(one[0], x)
    assert torch.equal(one[-1], two[-1])
    assert not torch.equal(one[-1], sampler.walk(x, even_times(6))[-1])


@pytest.mark.parametrize("bad", [torch.tensor([1.0]), torch.tensor([0.5, 0.5]), torch.tensor([0.1, 0.9])])
def test_times_that_do_not_fall_are_refused(bad):
    with pytest.raises(ValueError, match="^times: expected"):
        DDPM(mixture(VP())).walk(torch.zeros(1, 2, dtype=f64), bad)


def test_a_sampler_without_a_step_says_so():
    with pytest.raises(NotImplementedError):
        Sampler(mixture(VP())).walk(torch.zeros(1, 2, dtype=f64), even_times(1))


def test_a_small_network_learns_what_the_oracle_knows():
    """A short training explains 95 % of what there is to know of the noise, at every level."""
    from dgm.training import cosine, fit

    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    oracle = MixtureDenoiser(Linear(50), means, torch.tensor([0.05, 0.1]))
    denoiser = Denoiser(TimedMLP(2, (64, 64)), oracle.schedule)
    fit(denoiser, oracle.sample(4_000), steps=1_500, batch_size=256, lr=4e-3, schedule=cosine(1_500), ema=0.99)
    for t in (0.1, 0.4, 0.9):
        x = diffuse(oracle.schedule, oracle.sample(4_000), torch.tensor(t), torch.randn(4_000, 2))
        with torch.no_grad():
            exact, learned = oracle(x, torch.tensor(t)).noise, denoiser(x, torch.tensor(t)).noise
        assert (learned - exact).square().mean() < 0.05 * exact.square().mean(), t


def test_toy_data_can_be_learned_without_a_warning():
    denoiser = Denoiser(Net(), Cosine(20), predicts="velocity", weight="min_snr")
    assert torch.isfinite(denoiser.loss(toy("moons", 64), torch.zeros(64, dtype=torch.long)))
