"""Samplers: equal to a peer's step by step, of the order that they promise, true to the marginals; guidance."""

import math
import warnings
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dgm.data import toy
from dgm.diffusion.ddpm import (
    DDPM,
    VE,
    VP,
    Cosine,
    Denoiser,
    Linear,
    MixtureDenoiser,
    Sampler,
    diffuse,
    even_times,
    posterior,
    score,
)
from dgm.diffusion.samplers import DDIM, Clipped, DPMSolver, Euler, Guided, Heun, bridge, log_prob_ode, sde
from dgm.nn.timed import TimedMLP

f64 = torch.float64


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=f64)


def chance(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(schedule, spread: float = 0.3) -> MixtureDenoiser:
    means = torch.tensor([[-1.0, 0.5], [1.2, 0.3], [0.2, -1.1]], dtype=f64)
    covs = spread**2 * torch.tensor([[[1.0, 0.3], [0.3, 0.6]]], dtype=f64).repeat(3, 1, 1)
    return MixtureDenoiser(schedule, means, covs, torch.tensor([0.5, 0.3, 0.2], dtype=f64))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(30)


# --- a peer, step by step ------------------------------------------------------------------------------------------

STEPS = 10


def peer(name: str, **settings):
    import diffusers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, about how the peer turns tensors into arrays
        scheduler = getattr(diffusers, name)(
            num_train_timesteps=1_000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", **settings
        )
        scheduler.set_timesteps(STEPS)
    return scheduler


PEERS = {
    "DDPM, small": ("DDPMScheduler", {"clip_sample": False}, lambda d: DDPM(d), {}),
    "DDPM, large": (
        "DDPMScheduler",
        {"clip_sample": False, "variance_type": "fixed_large"},
        lambda d: DDPM(d, "large"),
        {},
    ),
    **{
        f"DDIM, η = {eta}": ("DDIMScheduler", {"clip_sample": False}, lambda d, eta=eta: DDIM(d, eta), {"eta": eta})
        for eta in (0.0, 0.3, 1.0)
    },
    "Euler": ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}, lambda d: Euler(d), {}),
    "Heun": ("HeunDiscreteScheduler", {"timestep_spacing": "leading"}, lambda d: Heun(d, "ratio"), {}),
    "DPM-Solver++(2M)": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "trailing", "solver_order": 2},
        lambda d: DPMSolver(d),
        {},
    ),
}


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
@pytest.mark.parametrize(("name", "settings", "make", "options"), PEERS.values(), ids=PEERS.keys())
def test_every_step_is_the_peer_s(name, settings, make, options, predicts):
    """From the same noise, with the same fixed random network: all states of ten steps."""
    kind = {"noise": "epsilon", "velocity": "v_prediction"}[predicts]
    scheduler = peer(name, prediction_type=kind, **settings)
    schedule = Linear(1_000)
    denoiser = Denoiser(TimedMLP(2, (64, 64)), schedule, predicts=predicts)
    moments = scheduler.timesteps.double().unique().flip(0)
    times = torch.cat([(moments + 1) / 1_000, number(0)[None]])
    x = torch.randn(50, 2)
    in_ratio = hasattr(scheduler, "sigmas") and "DPM" not in name  # they keep x / α
    alpha, _ = schedule(times[0])
    theirs, random = (x / alpha).float() if in_ratio else x, chance()
    states = [theirs]
    extra = {"generator": random} if name.startswith(("DDPM", "DDIM")) else {}
    with torch.no_grad():
        for k in scheduler.timesteps:
            seen = scheduler.scale_model_input(theirs, k)
            out = denoiser.answer(seen, (k.double() + 1) / 1_000)
            theirs = scheduler.step(out, k, theirs, **extra, **options).prev_sample
            states.append(theirs)
    if name.startswith("Heun"):  # two calls a step but for the last; the state after the first is not one of ours
        states = [states[0], *states[2:-1:2], states[-1]]
    ours = make(denoiser).walk(x, times, generator=chance())
    assert len(ours) == len(states) == STEPS + 1
    for t, mine, other in zip(times, ours, states, strict=True):
        unit = schedule(t)[0] if in_ratio else 1.0
        torch.testing.assert_close(mine, (unit * other).to(mine), rtol=1e-5, atol=1e-5 * other.abs().max().item())


# --- one process, many kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", [Linear(20, high=10), Cosine(20), VP(), VE(0.05, 20)], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_every_eta_keeps_the_marginals(schedule, eta):
    """If x_t has the law q(x_t | x_0), x_s from the bridge has q(x_s | x_0): means and variances by linearity."""
    x_0 = torch.randn(1, 1, dtype=f64)
    for s, t in ((0.1, 0.35), (0.35, 0.6), (0.2, 1.0)):
        s, t = number(s), number(t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        at_mean, V = bridge(schedule, alpha_t * x_0, x_0, t, s, eta)
        above, _ = bridge(schedule, alpha_t * x_0 + 1, x_0, t, s, eta)  # the mean is affine in x_t
        torch.testing.assert_close(at_mean, alpha_s * x_0)
        torch.testing.assert_close(((above - at_mean) ** 2 * sigma_t**2 + V).squeeze(), sigma_s**2)


def test_eta_one_is_the_posterior():
    x_t, x_0 = torch.randn(2, 9, 2, dtype=f64)
    for one, other in zip(
        bridge(VP(), x_t, x_0, number(0.7), number(0.2), 1.0),
        posterior(VP(), x_t, x_0, number(0.7), number(0.2)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("steps", [7, 40])
def test_ddim_with_eta_one_draws_ancestral_samples_from_the_same_noise(steps):
    oracle = mixture(Linear(40, high=15.0))
    x = torch.randn(20, 2, dtype=f64)
    times = torch.cat([(torch.linspace(1, 40, steps, dtype=f64).round() / 40).flip(0), number(0)[None]])
    for mine, other in zip(
        DDIM(oracle, 1.0).walk(x, times, generator=chance()),
        DDPM(oracle).walk(x, times, generator=chance()),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_eta_finds_the_mixture(eta):
    oracle = mixture(VP())
    x = DDIM(oracle, eta).walk(torch.randn(10_000, 2, dtype=f64), even_times(100), generator=chance())[-1]
    data = oracle.sample(100_000)
    torch.testing.assert_close(x.mean(0), data.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(x.T.cov(), data.T.cov(), rtol=0, atol=0.06)


# --- the curve -----------------------------------------------------------------------------------------------------


def test_the_coefficients_of_the_process():
    t = 0.02 + 0.96 * torch.rand(20, dtype=f64)
    f, g2 = sde(VP(0.2, 9.0), t)
    beta = 0.2 + 8.8 * t
    torch.testing.assert_close(f, -beta / 2)
    torch.testing.assert_close(g2, beta)
    f, g2 = sde(VE(0.1, 5.0), t)
    torch.testing.assert_close(f, torch.zeros_like(t))
    torch.testing.assert_close(g2, 2 * math.log(50) * 0.01 * 50 ** (2 * t))


def test_both_coordinates_follow_the_flow_with_half_the_score():
    """dx/dt = f x − ½ g² ∇ log q(x), from the schedule's own coefficients and the oracle's density."""
    oracle, t = mixture(VP()), number(0.4)
    x = torch.randn(6, 2, dtype=f64)
    f, g2 = sde(oracle.schedule, t)
    velocity = f * x - 0.5 * g2 * score(oracle, x, t)
    h = 1e-6
    for coordinates in ("ratio", "angle", "time"):
        moved = Euler(oracle, coordinates).step(x, t, t - h)
        torch.testing.assert_close((x - moved) / h, velocity, rtol=1e-4, atol=1e-4)


def test_euler_in_the_ratio_is_ddim_without_chance_and_in_time_it_is_not():
    oracle, x = mixture(VP()), torch.randn(6, 2, dtype=f64)
    ddim = DDIM(oracle, 0.0).walk(x, even_times(8))[-1]
    torch.testing.assert_close(Euler(oracle).walk(x, even_times(8))[-1], ddim)
    assert (Euler(oracle, "time").walk(x, even_times(8))[-1] - ddim).abs().max() > 0.02


@cache
def _exact_ends() -> tuple[MixtureDenoiser, Tensor, Tensor]:
    """The oracle, 50 states at t = 0.8, and the ends of their curves at t = 0.1."""
    oracle, x = mixture(VP()), torch.randn(50, 2, dtype=f64, generator=chance())
    one, two = (Heun(oracle).walk(x, even_times(n, start=0.8, stop=0.1))[-1] for n in (300, 600))
    return oracle, x, (4 * two - one) / 3  # cancels what falls as 1 / N²


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda d: Euler(d), 1),
        (lambda d: Euler(d, "time"), 1),
        (lambda d: DDIM(d), 1),
        (lambda d: Heun(d), 2),
        (lambda d: Heun(d, "ratio"), 2),
        (lambda d: Heun(d, "time"), 2),
        (lambda d: DPMSolver(d), 2),
    ],
    ids=["Euler", "Euler in time", "DDIM", "Heun", "Heun in the ratio", "Heun in time", "DPM-Solver++(2M)"],
)
def test_the_order(make, order):
    """The slope of the error in the step's length, both logarithms, from 64 to 256 steps between t = 0.8 and 0.1."""
    oracle, x, exact = _exact_ends()
    counts = (64, 128, 256)
    errors = [
        (make(oracle).walk(x, even_times(n, start=0.8, stop=0.1))[-1] - exact).square().mean().sqrt() for n in counts
    ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert sum(slopes) / len(slopes) == pytest.approx(order, abs=0.15)


def test_heun_stands_a_schedule_that_leaves_nothing_of_the_data_and_in_the_ratio_it_does_not():
    """The cosine schedule ends at a ratio of 20,000: the step down from there is too long for a mean of two slopes."""
    oracle, x = mixture(Cosine(1_000)), torch.randn(100, 2, dtype=f64)
    goal = Heun(oracle).walk(x, even_times(100))[-1]
    off = {c: (Heun(oracle, c).walk(x, even_times(10))[-1] - goal).norm(dim=1).mean() for c in ("angle", "ratio")}
    assert off["angle"] < 0.05
    assert off["ratio"] > 1


def test_without_chance_one_noise_has_one_sample():
    oracle, x = mixture(VP()), torch.randn(3, 2, dtype=f64)
    for make in (DDIM, Euler, Heun, DPMSolver):
        sampler = make(oracle)
        assert torch.equal(sampler.walk(x, even_times(6))[-1], sampler.walk(x, even_times(6))[-1])


def test_all_solvers_meet_on_one_sample():
    oracle, x = mixture(Linear(100)), torch.randn(50, 2, dtype=f64)
    ends = [make(oracle).walk(x, even_times(100))[-1] for make in (Heun, DPMSolver)]
    torch.testing.assert_close(*ends, rtol=0, atol=0.03)
    assert (DDIM(oracle).walk(x, even_times(100))[-1] - ends[0]).abs().mean() < 0.05


class Counting(torch.nn.Module):
    def __init__(self, denoiser) -> None:
        super().__init__()
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, 0

    def forward(self, *args):
        self.calls += 1
        return self.denoiser(*args)


@pytest.mark.parametrize(("make", "calls"), [(DDPM, 9), (DDIM, 9), (Euler, 9), (DPMSolver, 9), (Heun, 17)])
def test_what_a_walk_costs(make, calls):
    counting = Counting(mixture(VP()))
    make(counting).walk(torch.randn(3, 2, dtype=f64), even_times(9))
    assert counting.calls == calls


# --- likelihood ----------------------------------------------------------------------------------------------------


def board(n: int = 36, reach: float = 4.0) -> tuple[Tensor, float]:
    line = torch.linspace(-reach, reach, n, dtype=f64)
    return torch.cartesian_prod(line, line), (2 * reach / (n - 1)) ** 2


@pytest.mark.parametrize("schedule", [VP(), Linear(100)], ids=["VP", "linear"])
def test_the_likelihood_by_the_ode_is_the_oracle_s_own_and_integrates_to_one(schedule):
    """Of Heun's order at least: twice the steps, a quarter of the error or less."""
    oracle = mixture(schedule)
    grid, cell = board()
    exact = oracle.log_prob(grid, number(0.01))
    off = []
    for steps in (80, 160):
        found = log_prob_ode(oracle, grid, even_times(steps, stop=0.01).flip(0))
        off.append((found.exp().sum() * cell).item() - 1)
    assert abs(off[1]) < 1e-4
    assert off[0] / off[1] > 3.5
    assert (found - exact)[exact > -12].abs().max() < 0.04


def test_the_likelihood_of_a_network_integrates_to_one():
    from dgm.training import cosine, fit

    denoiser = Denoiser(TimedMLP(2, (64, 64)), Linear(100), predicts="velocity")
    fit(
        denoiser,
        toy("moons", 5_000) - torch.tensor([0.5, 0.25]),
        steps=300,
        batch_size=256,
        lr=4e-3,
        schedule=cosine(300),
    )
    grid, cell = board()
    total = log_prob_ode(denoiser.double(), grid, even_times(80, stop=0.1).flip(0)).exp().sum() * cell
    assert total.item() == pytest.approx(1, abs=5e-3)


def test_likelihood_refuses_times_that_begin_at_the_data_or_fall():
    for times in (even_times(4).flip(0), even_times(4, stop=0.1), number(1.0)[None]):
        with pytest.raises(ValueError, match="^times: expected"):
            log_prob_ode(mixture(VP()), torch.zeros(1, 2, dtype=f64), times)


# --- wishes --------------------------------------------------------------------------------------------------------


def test_guidance_moves_the_guess_along_the_difference():
    oracle, x, t = mixture(VP()), torch.randn(8, 2, dtype=f64), number(0.5)
    label = torch.randint(3, (8,))
    wished, free = oracle(x, t, label), oracle(x, t)
    for scale in (0.0, 1.0, 2.5):
        for found, a, b in zip(Guided(oracle, scale)(x, t, label), free, wished, strict=True):
            torch.testing.assert_close(found, (1 - scale) * a + scale * b)
    assert torch.equal(Guided(oracle, 1.0)(x, t, label).noise, wished.noise)


def test_a_guided_guess_still_explains_the_state():
    oracle, x, t = mixture(VP()), torch.randn(8, 2, dtype=f64), number(0.5)
    guess = Guided(oracle, 3.0)(x, t, torch.zeros(8, dtype=torch.long))
    torch.testing.assert_close(diffuse(oracle.schedule, guess.x_0, t, guess.noise), x)


def test_more_guidance_more_of_the_wished_and_less_of_the_rest():
    oracle, label = mixture(VP(), spread=0.6), torch.ones(2_000, dtype=torch.long)
    x = torch.randn(2_000, 2, dtype=f64)
    found = [DDIM(Guided(oracle, s)).walk(x, even_times(60), label=label)[-1] for s in (0.0, 1.0, 3.0)]
    sure = [
        (oracle.log_prob(y, number(0.0), label) + oracle.log_weights[1] - oracle.log_prob(y, number(0.0))).exp().mean()
        for y in found
    ]
    assert sure[0] < sure[1] - 0.1 < sure[2] - 0.15
    assert found[2].var(0).sum() < 0.8 * found[1].var(0).sum()


def test_guidance_needs_a_label_and_a_scale():
    oracle = mixture(VP())
    with pytest.raises(ValueError, match="^label: expected the classes"):
        Guided(oracle)(torch.zeros(1, 2, dtype=f64), number(0.5))
    with pytest.raises(ValueError, match="^scale: expected"):
        Guided(oracle, -1.0)
    with pytest.raises(ValueError, match="^eta: expected"):
        DDIM(oracle, 1.5)
    with pytest.raises(ValueError, match="^coordinates: .* is not known"):
        Euler(oracle, "log")


def test_a_clipped_guess_is_within_the_range_and_explains_the_state():
    oracle, x, t = mixture(VP()), 3 * torch.randn(50, 2, dtype=f64), number(0.5)
    guess = Clipped(oracle, -0.5, 0.5)(x, t)
    assert guess.x_0.abs().max() == 0.5
    torch.testing.assert_close(diffuse(oracle.schedule, guess.x_0, t, guess.noise), x)
    times = torch.full((50,), 0.5, dtype=f64)
    torch.testing.assert_close(Clipped(oracle, -0.5, 0.5)(x, times), guess)
    with pytest.raises(ValueError, match="^high: expected"):
        Clipped(oracle, 1.0, 0.0)


def test_a_label_reaches_the_network_through_every_sampler():
    net = TimedMLP(2, (16,), classes=3)
    denoiser = Denoiser(net, Cosine(50), predicts="velocity")
    x, times = torch.randn(4, 2), even_times(5)
    for make in (DDPM, DDIM, Euler, Heun, DPMSolver):
        sampler: Sampler = make(Guided(denoiser, 2.0))
        one, two = (sampler.walk(x, times, label=torch.full((4,), k), generator=chance())[-1] for k in (0, 1))
        assert (one - two).abs().max() > 1e-4
