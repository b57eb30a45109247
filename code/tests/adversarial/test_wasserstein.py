"""Transport, critics of bounded slope, f-divergences: exact answers, each against a second way of computing it."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from torch import nn

from dgm.adversarial.gan import GAN, MINIMAX, discriminator_loss, saturating_loss
from dgm.adversarial.wasserstein import (
    DIVERGENCES,
    WASSERSTEIN,
    clip_weights,
    f_divergence,
    f_gan,
    gradient_penalty,
    optimal_transport,
    power_iteration,
    slopes,
    spectrally_normalised,
    steepest,
    wasserstein_1d,
    wasserstein_critic_loss,
)
from dgm.foundations.generation import jensen_shannon, kl_divergence
from dgm.nn.mlp import mlp
from dgm.training import play


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=source(seed), dtype=torch.float64)


def clouds(n: int, m: int, seed: int, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return normals(n, dims, seed=seed), normals(m, dims, seed=seed + 100) + 0.7


# --- the distance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 25])
def test_transport_is_the_best_assignment(size):
    x, y = clouds(size, size, seed=size)
    ways = (x[:, None] - y).norm(dim=2)
    rows, columns = linear_sum_assignment(ways.numpy())
    assert optimal_transport(x, y).distance == pytest.approx(ways[rows, columns].mean().item(), abs=1e-10)


@pytest.mark.parametrize(("n", "m"), [(3, 8), (20, 11)])
def test_plan_prices_and_critic_of_clouds_of_two_sizes(n, m):
    x, y = clouds(n, m, seed=3)
    x_mass, y_mass = (torch.rand(k, generator=source(k)).double() for k in (n, m))
    x_mass, y_mass = x_mass / x_mass.sum(), y_mass / y_mass.sum()
    found = optimal_transport(x, y, x_mass=x_mass, y_mass=y_mass)
    ways = (x[:, None] - y).norm(dim=2)
    torch.testing.assert_close(found.plan.sum(1), x_mass, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.plan.sum(0), y_mass, rtol=0, atol=1e-10)
    assert (found.plan * ways).sum().item() == pytest.approx(found.distance, abs=1e-10)
    u, v = found.potentials
    assert (u[:, None] + v <= ways + 1e-9).all()
    assert (u @ x_mass + v @ y_mass).item() == pytest.approx(found.distance, abs=1e-9)
    used = found.plan > 1e-9
    torch.testing.assert_close((u[:, None] + v)[used], ways[used], rtol=0, atol=1e-9)
    dual = found.critic(x) @ x_mass - found.critic(y) @ y_mass
    assert dual.item() == pytest.approx(found.distance, abs=1e-9)


def test_the_critic_is_1_lipschitz_everywhere():
    found = optimal_transport(*clouds(12, 9, seed=1))
    a, b = 4 * normals(2, 5_000, 2, seed=2)
    rise = (found.critic(a) - found.critic(b)).abs() / (a - b).norm(dim=1)
    assert rise.max() <= 1 + 1e-9
    assert rise.max() > 0.99


def test_on_the_line_sorting_and_both_integrals_agree():
    for n in (1, 5, 40):
        x, y = normals(n, seed=n), 2 * normals(n, seed=n + 1) - 1
        by_sorting = wasserstein_1d(x, y).item()
        assert by_sorting == pytest.approx(optimal_transport(x[:, None], y[:, None]).distance, abs=1e-9)
        assert by_sorting == pytest.approx(wasserstein_distance(x.numpy(), y.numpy()), abs=1e-10)


def test_weighted_heaps_on_the_line_are_scipys():
    places = torch.arange(4.0)[:, None]
    a, b = torch.tensor([4.0, 1, 1, 2]) / 8, torch.tensor([2.0, 2, 3, 1]) / 8
    found = optimal_transport(places, places, x_mass=a, y_mass=b).distance
    assert found == pytest.approx(0.5, abs=1e-10)
    assert found == pytest.approx(wasserstein_distance(range(4), range(4), a.double(), b.double()), abs=1e-7)


@pytest.mark.parametrize("theta", [-2.0, 1e-3, 0.4, 3.0])
def test_parallel_lines_are_as_far_apart_as_they_are(theta):
    height = torch.rand(20, generator=source(1)).double()
    lines = [torch.stack([torch.full_like(height, place), height], 1) for place in (0.0, theta)]
    assert optimal_transport(*lines).distance == pytest.approx(abs(theta), abs=1e-10)


def test_disjoint_laws_saturate_every_other_divergence():
    x = torch.linspace(0, 3, 3_001, dtype=torch.float64)

    def inside(low: float) -> torch.Tensor:
        return torch.where((x >= low) & (x <= low + 1), 0.0, -math.inf).double()

    for low in (1.5, 2.0):
        assert jensen_shannon(inside(0.0), inside(low), x).item() == pytest.approx(math.log(2), abs=2e-3)
        assert kl_divergence(inside(0.0), inside(low), x) == math.inf


def test_a_point_and_itself_are_at_distance_zero():
    x = normals(6, 3)
    assert optimal_transport(x, x.flip(0)).distance == pytest.approx(0, abs=1e-12)


# --- where critics point ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_the_best_critic_has_slope_1_towards_the_real_point(dims):
    x, y = clouds(15, 15, seed=dims, dims=dims)
    found = optimal_transport(x, y)
    i, j = (found.plan > 1e-6).nonzero().T
    for share in (0.05, 0.5, 0.95):
        x_t = (share * x[i] + (1 - share) * y[j]).requires_grad_()
        (gradient,) = torch.autograd.grad(found.critic(x_t).sum(), x_t)
        towards = nn.functional.normalize(x[i] - x_t.detach(), dim=1)
        torch.testing.assert_close(gradient.norm(dim=1), torch.ones(len(i)).double(), rtol=0, atol=1e-9)
        if dims > 1:  # on the line another sample may lie on the segment, where the critic has a tip
            torch.testing.assert_close(gradient, towards, rtol=0, atol=1e-8)
            torch.testing.assert_close(
                found.critic(x_t), found.critic(y[j]) + share * (x[i] - y[j]).norm(dim=1), rtol=0, atol=1e-8
            )


@pytest.mark.parametrize(("d", "weight"), [(1.0, 0.5), (2.0, 1.0), (2.0, 10.0)])
def test_the_penalised_slope_of_one_pair(d, weight):
    # free slopes at 16 places between the two, no network: the objective itself
    s = torch.ones(16, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([s], lr=4 / weight)
    for _ in range(200):
        loss = -d * s.mean() + weight * (s - 1).square().mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    torch.testing.assert_close(s.detach(), torch.full((16,), 1 + d / (2 * weight)).double(), rtol=0, atol=1e-6)
    # and a critic that is linear: its loss with the package's penalty is lowest at that slope
    e = torch.tensor([0.6, 0.8]).double()
    x, y = d * e[None], torch.zeros(1, 2).double()
    tried = torch.linspace(0.5, 3.5, 601, dtype=torch.float64)
    losses = [
        wasserstein_critic_loss(x @ e * k, y @ e * k) + gradient_penalty(lambda z, k=k: z @ e * k, x, y, weight=weight)
        for k in tried
    ]
    assert tried[torch.stack(losses).argmin()].item() == pytest.approx(1 + d / (2 * weight), abs=5e-3)


def test_a_network_reaches_the_dual_within_two_per_cent():
    torch.manual_seed(0)
    real = torch.cat([0.4 * torch.randn(24, 2) + torch.tensor(at) for at in ([-2.0, 1.0], [2.0, 1.0])])
    fake = 0.4 * torch.randn(48, 2) - torch.tensor([0.0, 1.0])
    exact = optimal_transport(real, fake).distance
    net = nn.Sequential(mlp([2, 48, 48, 1], activation=partial(nn.LeakyReLU, 0.2)), nn.Flatten(0))
    adam = torch.optim.Adam(net.parameters(), 2e-3, betas=(0.5, 0.9))
    for step in range(700):
        loss = wasserstein_critic_loss(net(real), net(fake))
        loss = loss + gradient_penalty(net, real, fake[torch.randperm(48)])
        adam.param_groups[0]["lr"] = 2e-3 * (1 + math.cos(math.pi * step / 700))
        adam.zero_grad()
        loss.backward()
        adam.step()
    said = (net(real).mean() - net(fake).mean()).item()
    assert 0.98 * exact <= said / steepest(net, real, fake).item() <= exact + 1e-5
    assert said > 1.05 * exact  # before the division: steeper than 1, as the penalty makes it


def test_no_function_divided_by_its_steepest_rise_exceeds_the_distance():
    x, y = clouds(20, 15, seed=5)
    exact = optimal_transport(x, y)
    for seed in range(20):
        torch.manual_seed(seed)
        net = mlp([2, 16, 1]).double()
        with torch.no_grad():
            value = net(x).mean() - net(y).mean()
        rise = steepest(net, x, y)
        assert rise > 0
        assert value / rise <= exact.distance + 1e-9
    assert steepest(exact.critic, x, y).item() == pytest.approx(1, abs=1e-9)


# --- losses, slopes, penalties, clipping -----------------------------------------------------------------------


def test_wasserstein_losses_are_differences_of_means():
    real, fake = normals(5, seed=1), normals(8, seed=2)
    assert wasserstein_critic_loss(real, fake).item() == pytest.approx((fake.mean() - real.mean()).item())
    assert WASSERSTEIN.critic(real, fake) == wasserstein_critic_loss(real, fake)
    assert WASSERSTEIN.generator(fake) == -fake.mean()


def test_slopes_and_penalty_of_a_linear_critic():
    w = torch.tensor([3.0, -4.0]).double()
    real, fake = normals(6, 2, seed=1), normals(6, 2, seed=2)
    torch.testing.assert_close(slopes(lambda x: x @ w + 7, real), torch.full((6,), 5.0).double())
    assert gradient_penalty(lambda x: x @ w, real, fake).item() == pytest.approx(10 * 16)
    assert gradient_penalty(lambda x: x @ w / 5, real, fake, weight=3.0).item() == pytest.approx(0, abs=1e-20)


def test_slopes_and_penalty_of_a_quadratic_critic():
    A = normals(3, 3)
    A = A + A.T

    def f(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x @ A * x).sum(1)

    real, fake, share = normals(9, 3, seed=1), normals(9, 3, seed=2), torch.rand(9, generator=source(3)).double()
    between = share[:, None] * real + (1 - share[:, None]) * fake
    norm = (between @ A).norm(dim=1)  # ∇ ½xᵀAx = Ax
    torch.testing.assert_close(slopes(f, between), norm, rtol=0, atol=1e-12)
    found = gradient_penalty(f, real, fake, weight=2.0, share=share)
    assert found.item() == pytest.approx(2 * (norm - 1).square().mean().item(), abs=1e-12)


def test_the_penalty_has_a_gradient_in_the_critics_weights():
    w = torch.tensor([3.0, -4.0], dtype=torch.float64, requires_grad=True)
    gradient_penalty(lambda x: x @ w, normals(4, 2), normals(4, 2, seed=1), weight=2.0).backward()
    torch.testing.assert_close(w.grad, 2 * 2 * (5 - 1) * w.detach() / 5)  # λ · 2 (|w| − 1) w / |w|


def test_a_flat_critic_has_a_finite_gradient():
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    gradient_penalty(lambda x: x @ w, normals(4, 2), normals(4, 2, seed=1)).backward()
    assert torch.isfinite(w.grad).all()


def test_penalty_draws_its_shares_and_pictures_work():
    critic = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(2 * 36, 1))
    real, fake = torch.randn(2, 5, 1, 8, 8, generator=source(0))
    torch.manual_seed(0)
    first = gradient_penalty(critic, real, fake)
    assert gradient_penalty(critic, real, fake) != first
    torch.manual_seed(0)
    assert gradient_penalty(critic, real, fake) == first


def test_clipping_cuts_every_parameter_and_nothing_within():
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.05, -0.3, 0.01], [2.0, 0.0, -0.05]]))
        net.bias.copy_(torch.tensor([9.0, -0.02]))
    clip_weights(net, 0.1)
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.05, -0.1, 0.01], [0.1, 0.0, -0.05]]))
    torch.testing.assert_close(net.bias.data, torch.tensor([0.1, -0.02]))


def test_a_game_keeps_its_critic_clipped():
    torch.manual_seed(0)
    game = GAN(nn.Linear(1, 2), mlp([2, 8, 1]), WASSERSTEIN, latent=1, shape=(2,), constraint=clip_weights)
    play(game, torch.randn(64, 2), steps=2, critic_steps=2, batch_size=16)
    assert max(p.abs().max() for p in game.critic.parameters()) <= 0.01


# --- spectral norms --------------------------------------------------------------------------------------------


def test_power_iteration_finds_the_largest_singular_value():
    for rows, columns in ((4, 7), (6, 2), (1, 3)):
        W = normals(rows, columns, seed=rows)
        sigma, u = power_iteration(W, normals(rows, seed=9), steps=500)
        left, values, _ = torch.linalg.svd(W)
        assert sigma.item() == pytest.approx(values[0].item(), abs=1e-9)
        assert abs((u @ left[:, 0]).item()) == pytest.approx(1, abs=1e-7)


def test_power_iteration_never_overshoots_and_can_be_taken_up_again():
    W, u = normals(5, 5, seed=4), normals(5, seed=5)
    whole, _ = power_iteration(W, u, steps=6)
    for _ in range(6):
        sigma, u = power_iteration(W, u)
        assert sigma <= torch.linalg.svdvals(W)[0] + 1e-12
    assert sigma.item() == pytest.approx(whole.item(), abs=1e-14)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(2, 5, 3), nn.ConvTranspose2d(3, 4, 4)], ids=str)
def test_power_iteration_is_torchs(layer):
    weight = layer.weight.detach().clone()
    spectrally_normalised(layer)
    torchs = layer.parametrizations.weight[0]
    W = weight.transpose(0, 1).flatten(1) if isinstance(layer, nn.ConvTranspose2d) else weight.flatten(1)
    start = nn.functional.normalize(torch.randn(W.shape[1], generator=source(7)), dim=0)
    torchs._v.copy_(start)
    for steps in (1, 2, 3):
        normalised = layer.weight.detach()  # each use in training is a round
        sigma, v = power_iteration(W.T, start, steps=steps)  # torch begins a round with v, ours with u
        torch.testing.assert_close(normalised, weight / sigma, rtol=0, atol=1e-6)
        torch.testing.assert_close(torchs._v, v, rtol=0, atol=1e-6)


def test_a_normalised_chain_is_1_lipschitz():
    torch.manual_seed(0)
    net = spectrally_normalised(mlp([3, 32, 32, 1], activation=nn.ReLU)).double()
    for _ in range(100):  # let the estimates settle
        net(torch.zeros(1, 3).double())
    net.eval()
    assert slopes(net, 3 * normals(2_000, 3)).max() <= 1 + 1e-6


# --- f-divergences ---------------------------------------------------------------------------------------------

GRID = torch.linspace(-14, 14, 28_001, dtype=torch.float64)


def log_normal(mean: float, sd: float) -> torch.Tensor:
    return -0.5 * ((GRID - mean) / sd) ** 2 - math.log(sd * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_slope_and_conjugate_belong_to_f(name):
    which = DIVERGENCES[name]
    u = torch.tensor([0.1, 0.5, 1.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    (by_autograd,) = torch.autograd.grad(which.f(u).sum(), u)
    torch.testing.assert_close(which.slope(u), by_autograd, rtol=0, atol=1e-10)
    t = which.slope(u.detach())
    tried = torch.linspace(1e-4, 30, 400_000, dtype=torch.float64)
    by_grid = torch.stack([(s * tried - which.f(tried)).max() for s in t])
    torch.testing.assert_close(which.conjugate(t), by_grid, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_critics_output_stays_where_the_conjugate_is_finite(name):
    which = DIVERGENCES[name]
    v = torch.linspace(-6, 6, 200, dtype=torch.float64)
    assert torch.isfinite(which.conjugate(which.output(v))).all()
    assert (which.output(v).diff() > 0).all()  # more certain means larger


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_variational_bound_is_tight_at_the_slope_and_below_elsewhere(name):
    which, log_pi, log_p = DIVERGENCES[name], log_normal(0.5, 0.8), log_normal(0.0, 1.2)

    def value(T: torch.Tensor) -> float:
        return torch.trapezoid(log_pi.exp() * T - log_p.exp() * which.conjugate(T), GRID).item()

    exact = f_divergence(name, log_pi, log_p, GRID).item()
    best = which.slope((log_pi - log_p).exp())
    assert value(best) == pytest.approx(exact, abs=1e-9)
    for factor in (0.8, 1.1):
        assert value(factor * best) < exact - 1e-4


def test_divergences_have_their_known_values():
    log_pi, log_p = log_normal(0.5, 0.8), log_normal(0.0, 1.2)
    known = {
        "kl": kl_divergence(log_pi, log_p, GRID),
        "reverse_kl": kl_divergence(log_p, log_pi, GRID),
        "pearson": torch.trapezoid((log_pi.exp() - log_p.exp()) ** 2 * (-log_p).exp(), GRID),
        "hellinger": 2 - 2 * torch.trapezoid((0.5 * (log_pi + log_p)).exp(), GRID),
        "gan": 2 * jensen_shannon(log_pi, log_p, GRID) - 2 * math.log(2),
    }
    assert set(known) == set(DIVERGENCES)
    for name, value in known.items():
        assert f_divergence(name, log_pi, log_p, GRID).item() == pytest.approx(value.item(), abs=1e-8)
        least = -2 * math.log(2) if name == "gan" else 0.0
        assert f_divergence(name, log_p, log_p, GRID).item() == pytest.approx(least, abs=1e-9)


def test_the_gans_conjugate():
    t = torch.tensor([-3.0, -1.0, -0.1]).double()
    torch.testing.assert_close(DIVERGENCES["gan"].conjugate(t), -torch.log(1 - t.exp()))


def test_the_f_gan_of_the_gan_is_the_gan():
    real, fake = normals(7, seed=1), normals(9, seed=2)
    game = f_gan("gan")
    assert game.critic(real, fake).item() == pytest.approx(discriminator_loss(real, fake).item(), abs=1e-12)
    assert game.generator(fake).item() == pytest.approx(saturating_loss(fake).item(), abs=1e-12)
    assert MINIMAX.generator(fake).item() == pytest.approx(game.generator(fake).item(), abs=1e-12)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_losses_of_an_f_gan(name):
    which, real, fake = DIVERGENCES[name], normals(7, seed=1), normals(9, seed=2)
    game = f_gan(name)
    T = which.output
    critic = -(T(real).mean() - which.conjugate(T(fake)).mean())
    assert game.critic(real, fake).item() == pytest.approx(critic.item(), abs=1e-12)
    assert game.generator(fake).item() == pytest.approx(-which.conjugate(T(fake)).mean().item(), abs=1e-12)


def test_implications_between_distances_hold_on_random_laws():
    places = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    for seed in range(10):
        a, b = torch.rand(2, 5, generator=source(seed)).double().pow(4)
        a, b = a / a.sum(), b / b.sum()
        tv, kl, r = 0.5 * (a - b).abs().sum(), (a * (a / b).log()).sum(), (a + b) / 2
        jsd = 0.5 * (a * (a / r).log()).sum() + 0.5 * (b * (b / r).log()).sum()
        w = optimal_transport(places, places, x_mass=a, y_mass=b).distance
        assert tv <= (kl / 2).sqrt() + 1e-12
        assert tv**2 / 2 <= jsd + 1e-12
        assert jsd <= tv * math.log(2) + 1e-12
        assert w <= tv + 1e-9


# --- bad input is named ----------------------------------------------------------------------------------------

LINE = torch.linspace(0, 1, 5)
REFUSED = {
    "y: expected shape": lambda: wasserstein_1d(torch.zeros(3), torch.zeros(4)),
    "x: expected shape": lambda: optimal_transport(torch.zeros(3), torch.zeros(3, 1)),
    "y: expected shape (M, 2)": lambda: optimal_transport(torch.zeros(3, 2), torch.zeros(3, 1)),
    "x: expected finite": lambda: optimal_transport(torch.full((2, 1), math.nan), torch.zeros(2, 1)),
    "x_mass: expected masses of sum 1": lambda: optimal_transport(LINE[:, None], LINE[:, None], x_mass=torch.ones(5)),
    "y_mass: expected values": lambda: optimal_transport(LINE[:, None], LINE[:, None], y_mass=LINE - 0.05),
    "points: expected shape": lambda: optimal_transport(LINE[:, None], LINE[:, None]).critic(torch.zeros(2, 3)),
    "y: expected examples of shape": lambda: steepest(nn.Flatten(), torch.zeros(2, 3), torch.zeros(2, 4)),
    "y: expected no point that is also in x": lambda: steepest(lambda x: x.sum(1), torch.ones(2, 3), torch.ones(1, 3)),
    "real_logits: expected shape": lambda: wasserstein_critic_loss(torch.zeros(3, 1), torch.zeros(3)),
    "bound: expected a finite number": lambda: clip_weights(nn.Linear(1, 1), 0.0),
    "fake: expected shape (3, 2)": lambda: gradient_penalty(lambda x: x.sum(1), torch.zeros(3, 2), torch.zeros(4, 2)),
    "share: expected values in [0, 1]": lambda: gradient_penalty(
        lambda x: x.sum(1), torch.zeros(1, 2), torch.ones(1, 2), share=torch.tensor([1.5])
    ),
    "weight: expected a finite number": lambda: gradient_penalty(
        lambda x: x.sum(1), torch.zeros(1, 2), torch.ones(1, 2), weight=-1.0
    ),
    "u: expected shape (2,)": lambda: power_iteration(torch.zeros(2, 3), torch.zeros(3)),
    "steps: expected at least 1": lambda: power_iteration(torch.ones(2, 3), torch.ones(2), steps=0),
    "did you mean 'hellinger'": lambda: f_gan("helinger"),
    "name: 'tv' is not known": lambda: f_divergence("tv", LINE, LINE, LINE),
    "log_p: expected shape (5,)": lambda: f_divergence("kl", LINE, LINE[:4], LINE),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_named(message):
    with pytest.raises(ValueError) as refusal:
        REFUSED[message]()
    assert message in str(refusal.value)


def test_a_missing_solver_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match="pip install"):
        optimal_transport(torch.zeros(1, 1), torch.ones(1, 1))
