"""GANs: the best critic, the value, the losses, the game of two numbers, the networks; each against a second way."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dgm.adversarial.gan import (
    GAN,
    HINGE,
    MINIMAX,
    NON_SATURATING,
    CSPGenerator,
    CSPUp,
    DCCritic,
    DCGenerator,
    bilinear_orbit,
    discriminator_loss,
    game_value,
    hinge_critic_loss,
    least_squares,
    line_density,
    mean_loss,
    non_saturating_loss,
    optimal_discriminator,
    optimal_least_squares_critic,
    saturating_loss,
    small_start,
)
from dgm.foundations.generation import jensen_shannon, kl_divergence
from dgm.nn.mlp import mlp
from dgm.training import cosine, play

GRID = torch.linspace(-20, 20, 8_001, dtype=torch.float64)


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=source(seed), dtype=torch.float64)


def mixture(seed: int) -> torch.distributions.Distribution:
    """A random mixture of three normals on the line."""
    mean, log_sd, logits = normals(3, 3, seed=seed)
    parts = torch.distributions.Normal(2 * mean, (0.3 * log_sd).exp())
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), parts)


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return mixture(seed).log_prob(GRID), mixture(seed + 100).log_prob(GRID)


def close(a, b, atol=1e-9):
    a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (a, b))
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# --- the best critic and what the game is worth ------------------------------------------------------------------


def test_the_best_critic_is_the_best_of_a_fine_grid():
    log_pi, log_p = normals(2, 9, seed=1)
    D = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    value = log_pi.exp()[:, None] * D.log() + log_p.exp()[:, None] * (1 - D).log()
    close(optimal_discriminator(log_pi, log_p), D[value.argmax(1)], atol=5e-6)


def test_no_other_critic_is_worth_more_and_the_gap_is_a_divergence_of_coins():
    for seed in range(4):
        log_pi, log_p = pair(seed)
        best = log_pi - log_p
        other = torch.sin(GRID + seed) + 0.3 * normals(1, seed=seed) * GRID
        gap = game_value(best, log_pi, log_p, GRID) - game_value(other, log_pi, log_p, GRID)
        coins = torch.distributions.kl_divergence(
            torch.distributions.Bernoulli(logits=best), torch.distributions.Bernoulli(logits=other)
        )
        close(gap, torch.trapezoid((log_pi.exp() + log_p.exp()) * coins, GRID))
        assert gap > 0


def test_the_value_is_twice_the_jsd_less_twice_log_two():
    for seed in range(4):
        log_pi, log_p = pair(seed)
        value = game_value(log_pi - log_p, log_pi, log_p, GRID)
        close(value, 2 * jensen_shannon(log_pi, log_p, GRID) - 2 * math.log(2))
        close(game_value(torch.zeros_like(GRID), log_pi, log_pi, GRID), -2 * math.log(2))
        assert value > -2 * math.log(2)


def test_the_value_agrees_with_the_loss_on_drawn_examples():
    pi, p = mixture(0), mixture(100)
    torch.manual_seed(0)
    real, fake = pi.sample((400_000,)), p.sample((400_000,))
    loss = discriminator_loss(pi.log_prob(real) - p.log_prob(real), pi.log_prob(fake) - p.log_prob(fake))
    exact = game_value(pi.log_prob(GRID) - p.log_prob(GRID), pi.log_prob(GRID), p.log_prob(GRID), GRID)
    assert loss.item() == pytest.approx(-exact.item(), abs=0.01)


def test_far_apart_the_value_stays_finite():
    log_pi, log_p = -0.5 * (GRID + 15) ** 2 / 0.01, -0.5 * (GRID - 15) ** 2 / 0.01
    log_pi, log_p = (log - torch.trapezoid(log.exp(), GRID).log() for log in (log_pi, log_p))
    close(game_value(log_pi - log_p, log_pi, log_p, GRID), 0.0)


# --- what the generator lowers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_what_a_step_against_the_best_critic_lowers(seed):
    """Through samples, with D* held fixed: the gradient of 2 JSD, and of KL(p ‖ π) − 2 JSD."""
    data = mixture(seed)
    theta = torch.stack([normals(1, seed=seed)[0], 0.3 * normals(2, seed=seed)[1]]).requires_grad_()
    law, standing = (torch.distributions.Normal(t[0], t[1].exp()) for t in (theta, theta.detach()))
    z = torch.linspace(-9, 9, 6_001, dtype=torch.float64)
    mass = torch.distributions.Normal(0.0, 1.0).log_prob(z).exp() * (z[1] - z[0])
    x = theta[0] + theta[1].exp() * z
    logit = data.log_prob(x) - standing.log_prob(x)
    log_pi, log_p = data.log_prob(GRID), law.log_prob(GRID)
    jsd, kl = jensen_shannon(log_pi, log_p, GRID), kl_divergence(log_p, log_pi, GRID)
    for loss, goal in ((saturating_loss, 2 * jsd), (non_saturating_loss, kl - 2 * jsd)):
        # A mean over equal masses is what the loss takes; its slope by each logit serves for any masses.
        (slope,) = torch.autograd.grad(len(z) * loss(logit), logit, retain_graph=True)
        (pulled,) = torch.autograd.grad(logit, theta, grad_outputs=mass * slope, retain_graph=True)
        (exact,) = torch.autograd.grad(goal, theta, retain_graph=True)
        close(pulled, exact, atol=1e-8)


def test_slopes_of_both_losses_by_the_logit():
    t = torch.linspace(-18, 18, 61, dtype=torch.float64, requires_grad=True)
    D = torch.sigmoid(t.detach())
    for loss, slope in ((saturating_loss, -D), (non_saturating_loss, D - 1)):
        (found,) = torch.autograd.grad(61 * loss(t), t)
        close(found, slope, atol=1e-12)


def test_losses_are_those_of_torch():
    real, fake = normals(50, seed=2), normals(70, seed=3)
    bce = F.binary_cross_entropy_with_logits
    close(discriminator_loss(real, fake), bce(real, torch.ones(50).double()) + bce(fake, torch.zeros(70).double()))
    close(saturating_loss(fake), -bce(fake, torch.zeros(70).double()))
    close(non_saturating_loss(fake), bce(fake, torch.ones(70).double()))
    margin = partial(F.margin_ranking_loss, margin=1.0)
    ones, zeros = torch.ones(70).double(), torch.zeros(70).double()
    hinges = margin(real, zeros[:50], ones[:50]) + margin(zeros, fake, ones)
    close(hinge_critic_loss(real, fake), hinges)
    close(mean_loss(fake), -fake.sum() / 70)
    assert (MINIMAX.critic, MINIMAX.generator) == (discriminator_loss, saturating_loss)
    assert (NON_SATURATING.critic, NON_SATURATING.generator) == (discriminator_loss, non_saturating_loss)
    assert (HINGE.critic, HINGE.generator) == (hinge_critic_loss, mean_loss)


def test_least_squares_are_those_of_torch():
    real, fake = normals(50, seed=2), normals(70, seed=3)
    losses = least_squares(a=-0.3, b=0.9, c=0.2)
    halves = [0.5 * F.mse_loss(x, torch.full_like(x, goal)) for x, goal in ((real, 0.9), (fake, -0.3), (fake, 0.2))]
    close(losses.critic(real, fake), halves[0] + halves[1])
    close(losses.generator(fake), halves[2])


def test_extreme_logits_stay_finite():
    for scale in (1e4, -1e4):
        t = torch.full((3,), scale, requires_grad=True)
        for loss in (discriminator_loss(t, t), saturating_loss(t), non_saturating_loss(t)):
            (slope,) = torch.autograd.grad(loss, t)
            assert torch.isfinite(loss)
            assert torch.isfinite(slope).all()


# --- least squares (homework O5.4) -------------------------------------------------------------------------------


def test_the_best_least_squares_critic_is_the_best_of_a_fine_grid_and_the_weighted_mean():
    log_pi, log_p = normals(2, 6, seed=4)
    pi, p = log_pi.exp(), log_p.exp()
    D = torch.linspace(-4, 4, 160_001, dtype=torch.float64)
    for a, b in ((0.0, 1.0), (-1.0, 1.0), (0.7, -2.3)):
        loss = pi[:, None] * (D - b) ** 2 + p[:, None] * (D - a) ** 2
        found = optimal_least_squares_critic(log_pi, log_p, a=a, b=b)
        close(found, D[loss.argmin(1)], atol=5e-5)
        close(found, (b * pi + a * p) / (pi + p), atol=1e-12)


@pytest.mark.parametrize("c", [0.0, 0.4, -3.0])
def test_the_generators_value_is_half_a_chi_squared(c):
    """With b − c = 1 and b − a = 2; and E_p alone, without the added E_π, gives something else."""
    for seed in range(3):
        log_pi, log_p = pair(seed)
        pi, p = log_pi.exp(), log_p.exp()
        D = optimal_least_squares_critic(log_pi, log_p, a=c - 1, b=c + 1)
        value = 0.5 * torch.trapezoid((pi + p) * (D - c) ** 2, GRID)
        chi = torch.trapezoid(((pi + p) - 2 * p) ** 2 / (pi + p), GRID)
        close(value, 0.5 * chi)
        close(value, 0.5 * torch.trapezoid((pi - p) ** 2 / (pi + p), GRID))
        assert 0 < value < 1
        assert abs(value - 0.5 * torch.trapezoid(p * (D - c) ** 2, GRID)) > 1e-3


# --- the game of two numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.01, 0.3, 0.8, 1.7])
def test_the_bilinear_game(eta):
    start = (0.6, -1.1)
    steps = torch.arange(31, dtype=torch.float64)
    length = {
        rule: bilinear_orbit(eta, 30, rule=rule, start=start).norm(dim=1) / math.hypot(*start)
        for rule in ("simultaneous", "extragradient")
    }
    torch.testing.assert_close(length["simultaneous"], (1 + eta**2) ** (steps / 2), rtol=1e-6, atol=0)
    torch.testing.assert_close(length["extragradient"], (1 - eta**2 + eta**4) ** (steps / 2), rtol=1e-6, atol=0)
    u, v = bilinear_orbit(eta, 30, rule="alternating", start=start).T
    form = u**2 + v**2 - eta * u * v  # what steps in turn leave as it was
    close(form, torch.full_like(form, form[0].item()), atol=1e-9)


def test_the_bilinear_game_by_autograd():
    for rule in ("simultaneous", "alternating"):
        u, v = (torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (1.0, 0.5))
        for now in bilinear_orbit(0.2, 10, rule=rule, start=(1.0, 0.5)):
            close(torch.stack([u.detach(), v.detach()]), now, atol=1e-12)
            du, dv = torch.autograd.grad(u * v, (u, v))
            u = (u - 0.2 * du).detach().requires_grad_()
            if rule == "alternating":
                (dv,) = torch.autograd.grad(u * v, v)
            v = (v + 0.2 * dv).detach().requires_grad_()


# --- samples on the line -----------------------------------------------------------------------------------------


def test_the_density_of_samples_is_that_of_the_law():
    edges = torch.linspace(-2, 4, 61, dtype=torch.float64)
    law = torch.distributions.Normal(torch.tensor(1.0).double(), torch.tensor(0.8).double())
    exact = law.cdf(edges).diff() / edges.diff()
    close(line_density(lambda z: 1 - 0.8 * z, edges), exact, atol=2e-3)
    folded = line_density(lambda z: z.abs(), torch.tensor([-1.0, 0.0, 1.0]))
    close(folded, [0.0, math.erf(2**-0.5)], atol=1e-4)


# --- the game ----------------------------------------------------------------------------------------------------


def small_game(**options) -> GAN:
    torch.manual_seed(0)
    return GAN(mlp([3, 16, 2]), mlp([2, 16, 1]), NON_SATURATING, latent=3, shape=(2,), **options)


def test_each_loss_teaches_its_own_player():
    game, x = small_game(), torch.randn(20, 2, generator=source(0))
    game.critic_loss(x).backward()
    assert all(p.grad is None for p in game.generator.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in game.critic.parameters())
    game.generator_loss(20).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in game.generator.parameters())


def test_the_critics_loss_is_that_of_its_parts_and_the_penalty_is_added():
    x = torch.randn(20, 2, generator=source(0))
    plain, fined = small_game(), small_game(penalty=lambda critic, real, fake: 7.0 * critic(fake).square().mean())
    torch.manual_seed(5)
    loss = plain.critic_loss(x)
    torch.manual_seed(5)
    fake = plain.sample(20)
    close(loss.detach(), discriminator_loss(plain.logits(x), plain.logits(fake)).detach(), atol=1e-6)
    torch.manual_seed(5)
    extra = 7.0 * plain.logits(fake).square().mean()
    close((fined.critic_loss(x) - loss).detach(), extra.detach(), atol=1e-5)


def test_samples_come_from_the_source_of_chance_and_the_constraint_holds_the_critic():
    game = small_game(constraint=lambda critic: [p.data.clamp_(-0.01, 0.01) for p in critic.parameters()])
    assert torch.equal(game.sample(5, generator=source(3)), game.sample(5, generator=source(3)))
    game.constrain()
    assert max(p.abs().max() for p in game.critic.parameters()) <= 0.01
    small_game().constrain()  # nothing to hold


class Quadratic(nn.Module):
    """A logit a + bx + cx²: what the best critic between two normals looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(torch.cat([x, x.square()], 1))


def test_a_game_of_two_normals_finds_mean_and_deviation():
    data = 1.5 + 0.5 * torch.randn(2_000, 1, generator=source(0))
    torch.manual_seed(1)
    game = GAN(nn.Linear(1, 1), Quadratic(), NON_SATURATING, latent=1, shape=(1,))
    nn.init.ones_(game.generator.weight)  # begins at N(0, 1)
    nn.init.zeros_(game.generator.bias)
    steps = {"steps": 400, "critic_steps": 2, "schedule": cosine(400)}
    play(game, data, batch_size=256, lr=(0.1, 0.02), ema=0.95, **steps)
    x = game.sample(4_000, generator=source(1))
    assert x.mean().item() == pytest.approx(1.5, abs=0.15)
    assert x.std().item() == pytest.approx(0.5, abs=0.2)


def test_a_critic_alone_learns_the_density_ratio():
    """The logit of a trained linear critic between N(0, 1) and N(1, 1) is log π − log p = ½ − x."""
    real, fake = normals(100_000, seed=0), 1 + normals(100_000, seed=1)
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = discriminator_loss(w[0] + w[1] * real, w[0] + w[1] * fake)
        loss.backward()
        return loss

    optimizer.step(closure)
    close(w.detach(), [0.5, -1.0], atol=0.03)


# --- networks ----------------------------------------------------------------------------------------------------


def stages(net: nn.Sequential, x: torch.Tensor, kinds: tuple[type, ...]) -> list[tuple[int, ...]]:
    shapes = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, kinds):
            shapes.append(tuple(x.shape[1:]))
    return shapes


def doubled(t: torch.Tensor) -> torch.Tensor:
    return t.repeat_interleave(2, 2).repeat_interleave(2, 3)


def count(net: nn.Sequential, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in net)


def test_the_block_halves_channels_and_doubles_sides():
    with torch.device("meta"):
        assert CSPUp(1024)(torch.zeros(2, 1024, 4, 4)).shape == (2, 512, 8, 8)
    assert CSPUp(6)(torch.zeros(2, 6, 3, 5)).shape == (2, 3, 6, 10)


def test_the_block_is_its_two_branches_written_out():
    torch.manual_seed(0)
    block = CSPUp(8).double()
    x = normals(3, 8, 4, 5, seed=7)
    convolutions = [layer for layer in block.long if isinstance(layer, nn.Conv2d)]
    assert [c.kernel_size for c in convolutions] == [(1, 1), (3, 3), (3, 3)]
    one, two, three = [(c.weight, c.bias) for c in convolutions]
    h = torch.einsum("oi,bihw->bohw", one[0][:, :, 0, 0], x[:, 4:]) + one[1][:, None, None]
    h = doubled(h.clamp(min=0))
    h = F.conv2d(F.pad(h, (1, 1, 1, 1)), *two).clamp(min=0)
    h = F.conv2d(F.pad(h, (1, 1, 1, 1)), *three)
    close(block(x).detach(), (doubled(x[:, :4]) + h).detach(), atol=1e-12)


def test_the_short_way_passes_its_gradient_unchanged():
    block = CSPUp(8)
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, 8, 4, 4, generator=source(0), requires_grad=True)
    (slope,) = torch.autograd.grad(block(x).sum(), x)
    assert (slope[:, :4] == 4).all()  # each pixel is repeated four times
    assert (slope[:, 4:] == 0).all()


@pytest.mark.parametrize("channels", [2, 8, 64])
def test_the_block_has_so_many_parameters(channels):
    half = channels // 2
    assert sum(p.numel() for p in CSPUp(channels).parameters()) == 19 * half**2 + 3 * half


def test_the_homeworks_generator_has_the_homeworks_stages():
    with torch.device("meta"):
        net = CSPGenerator()
        shapes = stages(net, torch.zeros(2, 100), (nn.Unflatten, CSPUp, nn.ConvTranspose2d))
        total = sum(p.numel() for p in net.parameters())
    assert shapes == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64), (3, 128, 128)]
    assert total == 101 * 16_384 + sum(19 * h**2 + 3 * h for h in (512, 256, 128, 64)) + 64 * 3 * 16 + 3


@pytest.mark.parametrize(("size", "width"), [(8, 1 / 64), (32, 1 / 64), (64, 1 / 64), (128, 1 / 32)])
def test_the_homeworks_generator_at_small_width(size, width):
    net = CSPGenerator(width=width, size=size)
    shapes = stages(net, torch.randn(2, 100, generator=source(0)), (nn.Unflatten, CSPUp, nn.ConvTranspose2d))
    first = round(1024 * width)
    sides = [4 << i for i in range(int(math.log2(size)) - 1)]
    assert shapes == [*((first >> i, side, side) for i, side in enumerate(sides[:-1])), (3, size, size)]
    assert net(torch.randn(3, 100)).abs().max() <= 1


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_dcgan_doubles_and_halves(size):
    maker, critic = DCGenerator(10, 3, width=4, size=size), DCCritic(3, width=4, size=size)
    doublings = int(math.log2(size)) - 2
    up = stages(maker, torch.randn(2, 10, generator=source(0)), (nn.Unflatten, nn.ConvTranspose2d))
    channels = [4 << i for i in reversed(range(doublings))]
    assert up == [*((c, 4 << i, 4 << i) for i, c in enumerate(channels)), (3, size, size)]
    down = stages(critic, torch.randn(2, 3, size, size, generator=source(0)), (nn.Conv2d, nn.Linear))
    assert down == [*((4 << i, size >> (i + 1), size >> (i + 1)) for i in range(doublings)), (1,)]


def test_dcgan_follows_its_rules():
    maker, critic = DCGenerator(10, width=8), DCCritic(width=8)
    assert stages(maker, torch.randn(2, 10), (nn.Unflatten, nn.ConvTranspose2d)) == [
        (32, 4, 4),
        (16, 8, 8),
        (8, 16, 16),
        (1, 32, 32),
    ]
    assert (count(maker, nn.BatchNorm2d), count(maker, nn.ReLU), count(maker, nn.Tanh)) == (3, 3, 1)
    assert (count(critic, nn.BatchNorm2d), count(critic, nn.LeakyReLU)) == (2, 3)
    assert not isinstance(critic[1], nn.BatchNorm2d)
    assert count(DCCritic(width=8, norm=None), nn.BatchNorm2d) == 0
    weights = torch.cat([p.flatten() for net in (maker, critic) for p in net.parameters() if p.dim() > 1])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(weights.mean().item()) < 1e-3
    for big, small in pairwise((64, 32)):
        assert small_start(nn.Linear(big, small)).bias.abs().max() == 0


@pytest.mark.parametrize(
    "nets",
    [
        (lambda: DCGenerator(5, width=4), lambda: DCCritic(width=4), (1, 32, 32)),
        (lambda: CSPGenerator(5, 3, width=1 / 64, size=32), lambda: DCCritic(3, width=4, norm=None), (3, 32, 32)),
    ],
    ids=["dcgan", "csp"],
)
def test_a_game_of_pictures_takes_steps(nets):
    maker, critic, shape = nets
    torch.manual_seed(0)
    game = GAN(maker(), critic(), NON_SATURATING, latent=5, shape=shape)
    before = [p.detach().clone() for p in game.parameters()]
    history = play(game, torch.randn(16, *shape, generator=source(0)).clamp(-1, 1), steps=2, batch_size=8, every=1)
    assert len(history.critic) == len(history.generator) == 2
    moved = [not torch.equal(a, b) for a, b in zip(before, game.parameters(), strict=True)]
    assert sum(moved) > 0.8 * len(moved)
    assert game.sample(3).shape == (3, *shape)


# --- bad input ---------------------------------------------------------------------------------------------------

ONE, GOOD = torch.zeros(3), torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: optimal_discriminator(ONE, torch.zeros(4)), ValueError, "^log_p: expected the shape of log_pi"),
        (lambda: optimal_discriminator([0.0], ONE), TypeError, "^log_pi: expected a torch.Tensor"),
        (lambda: optimal_least_squares_critic(ONE, ONE, a="low"), TypeError, "^a: expected a number"),
        (lambda: game_value(ONE, ONE, torch.zeros(4), ONE), ValueError, "^log_p: expected shape"),
        (lambda: discriminator_loss(torch.zeros(3, 1), ONE), ValueError, "^real_logits: expected shape"),
        (lambda: discriminator_loss(ONE, torch.zeros(0)), ValueError, "^fake_logits: expected"),
        (lambda: non_saturating_loss(torch.tensor([math.nan])), ValueError, "^fake_logits: expected finite"),
        (lambda: saturating_loss(torch.zeros(3, dtype=torch.int64)), TypeError, "^fake_logits: expected dtype"),
        (lambda: least_squares(c=math.inf), ValueError, "^c: expected a finite number"),
        (lambda: bilinear_orbit(0.1, 0), ValueError, "^steps: expected at least 1"),
        (lambda: bilinear_orbit(0.1, 5, rule="alternate"), ValueError, "^rule: .*did you mean 'alternating'"),
        (lambda: line_density(lambda z: z, torch.tensor([1.0, 0.0])), ValueError, "^edges: expected .* rising"),
        (lambda: line_density(lambda z: z[:, 0], torch.tensor([0.0, 1.0])), ValueError, r"^generator\(z\): expected"),
        (lambda: small_game().critic_loss(torch.zeros(4, 3)), ValueError, r"^x: expected shape \(B, 2\)"),
        (lambda: small_game().critic_loss(GOOD * math.nan), ValueError, "^x: expected finite"),
        (lambda: small_game().sample(0), ValueError, "^n: expected at least 1"),
        (
            lambda: GAN(mlp([3, 2]), mlp([2, 2]), MINIMAX, latent=3, shape=(2,)).logits(GOOD),
            ValueError,
            r"^critic\(x\)",
        ),
        (
            lambda: GAN(mlp([3, 4]), mlp([2, 1]), MINIMAX, latent=3, shape=(2,)).sample(2),
            ValueError,
            r"^generator\(z\)",
        ),
        (lambda: GAN(mlp([3, 2]), mlp([2, 1]), MINIMAX, latent=0, shape=(2,)), ValueError, "^latent: expected"),
        (lambda: DCGenerator(4, size=48), ValueError, "^size: expected a power of two from 8, came 48"),
        (lambda: DCGenerator(4, size=4), ValueError, "^size: expected at least 8"),
        (lambda: DCCritic(0), ValueError, "^channels: expected at least 1"),
        (lambda: CSPUp(7), ValueError, "^channels: expected an even number, came 7"),
        (lambda: CSPUp(8)(torch.zeros(2, 6, 4, 4)), ValueError, r"^x: expected shape \(B, 8, H, W\)"),
        (lambda: CSPGenerator(width=1 / 100), ValueError, "^width: expected a multiple of"),
        (lambda: CSPGenerator(width=-1.0), ValueError, "^width: expected a finite number"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, match):
    with pytest.raises(error, match=match):
        call()
