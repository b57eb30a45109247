"""What every model promises, by family. A new model joins by one line in its family's table."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from dgm.adversarial.gan import (
    GAN,
    HINGE,
    MINIMAX,
    NON_SATURATING,
    CSPGenerator,
    DCCritic,
    DCGenerator,
    Losses,
    least_squares,
)
from dgm.adversarial.wasserstein import (
    DIVERGENCES,
    WASSERSTEIN,
    clip_weights,
    f_gan,
    gradient_penalty,
    spectrally_normalised,
)
from dgm.autoregressive.made import MADE
from dgm.diffusion.ddpm import DDPM, VE, VP, Cosine, Denoiser, Linear, diffuse, even_times
from dgm.diffusion.samplers import DDIM, Clipped, DPMSolver, Euler, Guided, Heun
from dgm.flows.coupling import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Conv1x1,
    Multiscale,
    Scaling,
    channel_mask,
    checkerboard_mask,
    conv_net,
    glow,
    half_mask,
    nice,
    realnvp,
    realnvp_image,
)
from dgm.foundations.counting import NaiveBayes, PixelGenerator, SoftmaxHistogram
from dgm.latent.vae import VAE, Bernoulli, Normal
from dgm.nn.chains import BitChain
from dgm.nn.flow import Chain, Dequantised, Flatten, Inverse, Logit, Permute, Squeeze
from dgm.nn.gaussian import ClassGaussians, Gaussian
from dgm.nn.mlp import mlp
from dgm.nn.timed import TimedMLP
from dgm.nn.unet import UNet


def flat(inputs: int, outputs: int) -> nn.Module:
    return mlp([inputs, 8, outputs], activation=nn.Tanh)


class Case(NamedTuple):
    """A small model (or transform) and some examples of what it takes."""

    model: Callable[[], nn.Module]
    examples: Callable[[int], Tensor]
    values: int | None = None
    """How many values a coordinate may take, where all examples can be listed."""
    scale: float = 1.0
    """The distance between two values (levels of a picture are k/(d − 1))."""
    shake: float = 0.3
    """How far each parameter is moved at random (sd); many layers multiply what it does."""


def bits(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(0, 2, (n, *shape)).float()


def levels(count: int, *shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(0, count, (n, *shape)) / (count - 1)


def normals(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, *shape)


TRACTABLE = {
    "SoftmaxHistogram": Case(lambda: SoftmaxHistogram(7), lambda n: torch.randint(0, 7, (n,)), 7),
    "NaiveBayes": Case(lambda: NaiveBayes((3, 3, 3)), lambda n: torch.randint(0, 3, (n, 3)), 3),
    "PixelGenerator": Case(
        lambda: PixelGenerator((1, 2, 2), levels=3), lambda n: torch.randint(0, 3, (n, 1, 2, 2)) / 2, 3, 0.5
    ),
    "BitChain, order 0": Case(lambda: BitChain(6), bits(6), 2),
    "BitChain, order 1": Case(lambda: BitChain(6, order=1), bits(6), 2),
    "Gaussian": Case(lambda: Gaussian(3), normals(3)),
    "ClassGaussians": Case(lambda: ClassGaussians(3, 4), normals(3)),
    "MADE, bits": Case(lambda: MADE((1, 2, 3), hidden=(16,)), bits(1, 2, 3), 2),
    "NICE": Case(lambda: nice(2, hidden=(16,)), normals(2)),
    "RealNVP": Case(lambda: realnvp(2, couplings=4, hidden=(16,)), normals(2)),
    "RealNVP, three": Case(lambda: realnvp(3, couplings=3, hidden=(16,)), normals(3)),
    "Glow": Case(lambda: glow((1, 4, 4), levels=2, depth=2, width=8, alpha=None), normals(1, 4, 4)),
    "MADE, three values": Case(lambda: MADE((4,), hidden=(16, 16), values=3), lambda n: torch.randint(0, 3, (n, 4)), 3),
}
"""Models whose log-likelihood is exact: `loss`, `log_prob`, `sample`."""

BOUND = {
    "VAE, bits": Case(lambda: VAE(flat(6, 4), flat(2, 6), Bernoulli(), shape=(6,), latent=2), bits(6), 2),
    "VAE, normal": Case(lambda: VAE(flat(3, 4), flat(2, 3), Normal(0.5), shape=(3,), latent=2), normals(3)),
    "VAE, learned sd": Case(lambda: VAE(flat(3, 4), flat(2, 6), Normal(None), shape=(3,), latent=2), normals(3)),
    "Dequantised": Case(
        lambda: Dequantised(glow((1, 4, 4), levels=1, depth=1, width=4), levels=5), levels(5, 1, 4, 4), 5, 0.25
    ),
}
"""Models whose log-likelihood is bounded and estimated: `loss`, `elbo`, `log_prob_is`, `sample`."""

TRANSFORM = {
    "AdditiveCoupling": Case(lambda: AdditiveCoupling(half_mask(3), flat(3, 3)), normals(3)),
    "AffineCoupling": Case(lambda: AffineCoupling(~half_mask(3), flat(3, 6)), normals(3)),
    "AffineCoupling, checkerboard": Case(
        lambda: AffineCoupling(checkerboard_mask(4, 2), conv_net(1, 8, 2)), normals(1, 4, 2)
    ),
    "AffineCoupling, channels": Case(lambda: AffineCoupling(channel_mask(4), conv_net(4, 8, 8)), normals(4, 2, 2)),
    "Scaling": Case(lambda: Scaling(3), normals(3)),
    "ActNorm": Case(lambda: ActNorm(3), normals(3)),
    "ActNorm, pictures": Case(lambda: ActNorm(2), normals(2, 2, 3)),
    "Conv1x1": Case(lambda: Conv1x1(3), normals(3)),
    "Conv1x1, pictures": Case(lambda: Conv1x1(4), normals(4, 2, 3)),
    "Multiscale": Case(
        lambda: Multiscale(
            (1, 4, 4), [[Squeeze(), Conv1x1(4)], [Squeeze(), AffineCoupling(channel_mask(8), conv_net(8, 8, 16))]]
        ),
        normals(1, 4, 4),
    ),
    "Flatten": Case(lambda: Flatten((2, 3)), normals(2, 3)),
    "Permute": Case(lambda: Permute(torch.tensor([2, 0, 1])), normals(3)),
    "Squeeze": Case(Squeeze, normals(1, 2, 4)),
    "Logit": Case(lambda: Logit(0.1), lambda n: torch.rand(n, 3)),
    "Inverse": Case(lambda: Inverse(Conv1x1(3)), normals(3)),
    "Chain": Case(lambda: Chain([Scaling(3), Conv1x1(3), ActNorm(3)]), normals(3)),
    "Flow, NICE": Case(lambda: nice(2, hidden=(16,)), normals(2)),
    "Flow, RealNVP": Case(lambda: realnvp(2, couplings=6, hidden=(16,)), normals(2)),
    "Flow, RealNVP for pictures": Case(
        lambda: realnvp_image((1, 4, 4), levels=2, depth=2, width=8), lambda n: torch.rand(n, 1, 4, 4), shake=0.1
    ),
    "Flow, Glow": Case(
        lambda: glow((1, 4, 4), levels=2, depth=2, width=8), lambda n: torch.rand(n, 1, 4, 4), shake=0.1
    ),
}
"""Invertible maps: `forward` and `inverse`, each with the log-determinant of its Jacobian."""


def duel(losses: Losses, **options: object) -> Callable[[], nn.Module]:
    return lambda: GAN(flat(2, 3), flat(3, 1), losses, latent=2, shape=(3,), **options)


def pictures(generator: Callable[[], nn.Module], critic: Callable[[], nn.Module], channels: int) -> Case:
    return Case(
        lambda: GAN(generator(), critic(), HINGE, latent=5, shape=(channels, 8, 8)), normals(channels, 8, 8), shake=0.1
    )


GAME = {
    "minimax": Case(duel(MINIMAX), normals(3)),
    "non-saturating": Case(duel(NON_SATURATING), normals(3)),
    "least squares": Case(duel(least_squares(-1, 1, 0)), normals(3)),
    "hinge, normalised spectra": Case(
        lambda: GAN(flat(2, 3), spectrally_normalised(flat(3, 1)), HINGE, latent=2, shape=(3,)), normals(3)
    ),
    "WGAN": Case(duel(WASSERSTEIN, constraint=clip_weights), normals(3)),
    "WGAN-GP": Case(duel(WASSERSTEIN, penalty=gradient_penalty), normals(3)),
    **{f"f-GAN, {name}": Case(duel(f_gan(name)), normals(3)) for name in DIVERGENCES},
    "DCGAN": pictures(lambda: DCGenerator(5, width=4, size=8), lambda: DCCritic(width=4, size=8), 1),
    "CSP-up": pictures(
        lambda: CSPGenerator(5, width=1 / 64, size=8), lambda: DCCritic(3, width=4, size=8, norm=None), 3
    ),
}
"""Two networks: `critic_loss`, `generator_loss`, `logits`, `sample`."""


def timed() -> nn.Module:
    return TimedMLP(3, (8,), classes=4)


DIFFUSION = {
    "noise, linear": Case(lambda: Denoiser(timed(), Linear(20, high=10.0), unconditional=0.3), normals(3)),
    "data, cosine": Case(lambda: Denoiser(timed(), Cosine(20), predicts="data"), normals(3)),
    "velocity, VP": Case(lambda: Denoiser(timed(), VP(), predicts="velocity", weight="min_snr"), normals(3)),
    "velocity, VE": Case(lambda: Denoiser(timed(), VE(0.1, 5.0), predicts="velocity"), normals(3)),
    "pictures": Case(
        lambda: Denoiser(UNet((1, 8, 8), widths=(8, 8), blocks=1, classes=4), Cosine(20), predicts="velocity"),
        normals(1, 8, 8),
        shake=0.05,
    ),
}
"""Denoisers with labels 0 … 3: `loss`, a guess of data and noise, and every sampler goes with every one."""

MODELS = TRACTABLE | BOUND

every = pytest.mark.parametrize("case", MODELS.values(), ids=MODELS.keys())
tractable = pytest.mark.parametrize("case", TRACTABLE.values(), ids=TRACTABLE.keys())
bound = pytest.mark.parametrize("case", BOUND.values(), ids=BOUND.keys())
transform = pytest.mark.parametrize("case", TRANSFORM.values(), ids=TRANSFORM.keys())
game = pytest.mark.parametrize("case", GAME.values(), ids=GAME.keys())
diffusion = pytest.mark.parametrize("case", DIFFUSION.values(), ids=DIFFUSION.keys())


def score(model: nn.Module, x: Tensor) -> Tensor:
    """What the model says about each example, the same each time."""
    if hasattr(model, "elbo"):
        return model.elbo(x, generator=torch.Generator().manual_seed(4))
    return model.log_prob(x)


def shaken(case: Case) -> nn.Module:
    """A model whose parameters are random, so that no start value hides a mistake."""
    torch.manual_seed(0)
    model = case.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(case.shake * torch.randn_like(parameter))
    return model.eval()


def reloaded(case: Case, model: nn.Module, folder: Path) -> nn.Module:
    """A fresh one with what was saved of the model."""
    from safetensors.torch import load_file, save_file

    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "m.safetensors")
    other = case.model().eval()
    other.load_state_dict(load_file(folder / "m.safetensors"))
    return other


@every
def test_shapes_and_the_loss_is_the_mean(case):
    model, x = shaken(case), case.examples(5)
    torch.manual_seed(1)
    loss = model.loss(x)
    torch.manual_seed(1)
    nats = model.elbo(x) if hasattr(model, "elbo") else model.log_prob(x)
    assert nats.shape == (5,)
    assert loss.shape == ()
    torch.testing.assert_close(loss, -nats.mean())
    assert model.sample(4).shape == (4, *x.shape[1:])


@every
def test_a_gradient_arrives_everywhere_and_is_finite(case):
    model = shaken(case).train()
    model.loss(case.examples(64)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every
def test_what_it_draws_it_can_score(case):
    model = shaken(case)
    samples = model.sample(6)
    assert samples.dtype == case.examples(1).dtype
    assert torch.isfinite(score(model, samples)).all()


@every
def test_the_same_generator_draws_the_same(case):
    model = shaken(case)
    first, second = (model.sample(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(model.sample(50), model.sample(50))


@tractable
def test_a_batch_of_one_and_rows_do_not_mix(case):
    model, x = shaken(case).double(), case.examples(6)
    x = x.double() if x.is_floating_point() else x
    torch.testing.assert_close(model.log_prob(x), torch.cat([model.log_prob(row[None]) for row in x]))


@bound
def test_a_batch_of_one_and_rows_do_not_mix_in_a_bound(case):
    model, x = shaken(case), case.examples(6)
    others = torch.cat([case.examples(2), x[2:3], case.examples(3)])
    assert score(model, x)[2] == score(model, others)[2]
    assert (score(model, x) != score(model, others)).any()
    assert score(model, x[:1]).shape == model.log_prob_is(x[:1], 3).shape == (1,)


@bound
def test_the_importance_sampled_estimate_rises_from_the_bound(case):
    """One draw estimates the bound; ten and a thousand come nearer to log p(x) from below."""
    model, x = shaken(case), case.examples(20)
    chance = torch.Generator().manual_seed(8)

    def level(samples: int, runs: int) -> tuple[float, float]:
        each = torch.stack([model.log_prob_is(x, samples, generator=chance).mean() for _ in range(runs)]).double()
        return each.mean().item(), (each.std() / runs**0.5).item()

    (one, e_1), (ten, e_10), (many, _) = level(1, 200), level(10, 50), level(200, 4)
    elbo = model.elbo(x, 200, generator=chance).mean().item()
    assert abs(one - elbo) < 6 * e_1
    assert one + 6 * e_1 < ten
    assert ten + 6 * e_10 < many


@bound
def test_more_samples_make_the_bound_steadier_not_higher(case):
    model, x = shaken(case), case.examples(4)
    one = torch.stack([model.elbo(x, 1) for _ in range(200)])
    some = torch.stack([model.elbo(x, 25) for _ in range(40)])
    assert (some.std(0) < 0.5 * one.std(0)).all()
    error = (one.var(0) / 200 + some.var(0) / 40).sqrt()
    assert ((one.mean(0) - some.mean(0)).abs() < 5 * error).all()


@bound
def test_a_bad_number_of_samples_is_refused(case):
    model, x = shaken(case), case.examples(2)
    for samples, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="^samples: expected"):
            model.elbo(x, samples)
        with pytest.raises(error, match="^samples: expected"):
            model.log_prob_is(x, samples)


@every
def test_float64(case):
    model, x = shaken(case).double(), case.examples(3)
    x = x.double() if x.is_floating_point() else x
    assert score(model, x).dtype == torch.float64
    assert model.sample(2).dtype == x.dtype


@every
def test_save_and_load(case, tmp_path):
    model, x = shaken(case), case.examples(3)
    assert torch.equal(score(model, x), score(reloaded(case, model, tmp_path), x))


@every
def test_bad_input_is_refused_by_name(case):
    model, x = shaken(case), case.examples(3)
    with pytest.raises(ValueError, match=r"^x: expected .* came"):
        score(model, x[:0])
    with pytest.raises(ValueError, match=r"^x: expected .* came"):
        score(model, torch.stack([x, x]))
    with pytest.raises(TypeError, match=r"^x: expected .* came"):
        score(model, x.tolist())
    with pytest.raises(TypeError, match=r"^x: expected dtype .* came"):
        score(model, x.to(torch.complex64))
    if x.is_floating_point():
        with pytest.raises(ValueError, match=r"^x: expected finite values, came NaN"):
            score(model, x * float("nan"))
    if case.values:
        with pytest.raises(ValueError, match=r"^x: expected .* came"):
            score(model, x + case.values)
    for n, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="^n: expected"):
            model.sample(n)


listed = {name: case for name, case in TRACTABLE.items() if case.values}


@pytest.mark.parametrize("case", listed.values(), ids=listed.keys())
def test_the_probabilities_of_all_examples_sum_to_one(case):
    model, x = shaken(case).double(), case.examples(1)
    values = [k * case.scale for k in range(case.values)]
    everything = torch.tensor(list(itertools.product(values, repeat=x[0].numel())), dtype=torch.float64)
    everything = everything.reshape(-1, *x.shape[1:])
    everything = everything if x.is_floating_point() else everything.long()
    assert model.log_prob(everything).exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("case", listed.values(), ids=listed.keys())
def test_it_draws_with_the_probabilities_that_it_states(case):
    """Pearson's chi-square over all examples (the rare ones pooled), far out in the tail for a wrong sampler."""
    from scipy.stats import chi2

    model, x, n = shaken(case), case.examples(1), 20_000
    values = [k * case.scale for k in range(case.values)]
    everything = (
        torch.tensor(list(itertools.product(values, repeat=x[0].numel()))).reshape(-1, *x.shape[1:]).to(x.dtype)
    )
    expected = n * model.log_prob(everything).exp().double()
    samples = model.sample(n, generator=torch.Generator().manual_seed(5))
    digits = (samples.reshape(n, -1) / case.scale).round().long()
    place = case.values ** torch.arange(digits.shape[1] - 1, -1, -1)
    seen = torch.bincount((digits * place).sum(1), minlength=len(everything)).double()
    rare = expected < 5
    if rare.any():
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
    statistic = ((seen - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.ppf(0.9999, len(expected) - 1)


@pytest.mark.parametrize("name", ["Gaussian", "ClassGaussians"])
def test_a_continuous_density_integrates_to_one(name):
    """Importance sampling with a wide normal: the mean weight is 1 up to a few standard errors."""
    case = TRACTABLE[name]
    model, n, wide = shaken(case).double(), 200_000, 3.0
    x = wide * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    proposal = -0.5 * (x / wide).square().sum(1) - 3 * math.log(wide * math.sqrt(2 * math.pi))
    weights = (model.log_prob(x) - proposal).exp()
    assert abs(weights.mean().item() - 1) < 5 * (weights.std() / n**0.5).item() < 0.1


@pytest.mark.parametrize("name", ["NICE", "RealNVP"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_density_of_the_plane_sums_to_one_on_a_grid(name, seed):
    model = shaken(TRACTABLE[name]).double()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        drawn = model.sample(5_000)
        middle, reach = drawn.mean(0), 9 * drawn.std(0)
        steps = (torch.arange(1_000, dtype=torch.float64) + 0.5) / 500 - 1
        points = torch.cartesian_prod(steps, steps) * reach + middle
        mass = sum(model.log_prob(part).exp().sum() for part in points.split(100_000)) * reach.prod() * (2 / 1_000) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


# --- transforms ------------------------------------------------------------------------------------------------


def jacobians(function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """log|det| of each example's own Jacobian, by autograd: (B,)."""
    rows = [torch.autograd.functional.jacobian(lambda row: function(row[None])[0].flatten(), row) for row in x]
    m = x[0].numel()
    return torch.stack([torch.linalg.slogdet(J.reshape(m, m)).logabsdet for J in rows])


@transform
def test_ladj_is_the_log_determinant_both_ways(case):
    model, x = shaken(case).double(), case.examples(4).double()
    z, ladj = model(x)
    assert z.flatten(1).shape == x.flatten(1).shape
    assert ladj.shape == (4,)
    torch.testing.assert_close(ladj, jacobians(model, x), atol=1e-9, rtol=1e-9)
    _, inverse_ladj = model.inverse(z.detach())
    torch.testing.assert_close(inverse_ladj, jacobians(model.inverse, z.detach()), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(inverse_ladj, -ladj, atol=1e-9, rtol=1e-9)


@transform
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=["32", "64"])
def test_the_inverse_is_one(case, dtype, atol):
    model, x = shaken(case).to(dtype), case.examples(64).to(dtype)
    z, _ = model(x)
    torch.testing.assert_close(model.inverse(z)[0], x, atol=atol, rtol=0)
    torch.testing.assert_close(model(model.inverse(z)[0])[0], z, atol=10 * atol, rtol=10 * atol)


@transform
def test_rows_of_a_transform_do_not_mix(case):
    model, x = shaken(case).double(), case.examples(5).double()
    z, ladj = model(x)
    one = [model(row[None]) for row in x]
    torch.testing.assert_close(z, torch.cat([z for z, _ in one]))
    torch.testing.assert_close(ladj, torch.cat([ladj for _, ladj in one]))


@transform
def test_gradients_pass_a_transform(case):
    model, x = shaken(case).train(), case.examples(16).requires_grad_()
    z, ladj = model(x)
    (z.square().sum() + ladj.sum()).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.flatten(1).abs().sum(1).min() > 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@transform
def test_a_transform_is_saved_and_loaded(case, tmp_path):
    model, x = shaken(case), case.examples(3)
    assert torch.equal(model(x)[0], reloaded(case, model, tmp_path)(x)[0])


@transform
def test_a_transform_refuses_bad_input_by_name(case):
    model, x = shaken(case), case.examples(3)
    z = model(x)[0].detach()
    for call, name, good in ((model.forward, "[xz]", x), (model.inverse, "[xz]", z)):
        with pytest.raises(ValueError, match=rf"^{name}: expected .* came"):
            call(good[:0])
        with pytest.raises(ValueError, match=rf"^{name}: expected finite values, came NaN"):
            call(good * float("nan"))
        with pytest.raises(TypeError, match=rf"^{name}: expected dtype .* came"):
            call(good.long())
        with pytest.raises(TypeError, match=rf"^{name}: expected a torch.Tensor"):
            call(good.tolist())
        with pytest.raises(ValueError, match=rf"^{name}: expected .* came"):
            call(good[0])


# --- games -----------------------------------------------------------------------------------------------------


@game
def test_a_game_has_two_losses_and_draws(case):
    model, x = shaken(case), case.examples(6)
    assert model.critic_loss(x).shape == model.generator_loss(5).shape == ()
    assert model.logits(x).shape == (6,)
    assert model.sample(4).shape == (4, *x.shape[1:])
    assert not model.sample(4).requires_grad


@game
def test_each_loss_moves_its_own_player_and_every_part_of_it(case):
    model, x = shaken(case).train(), case.examples(32)
    for loss, mine in (
        (lambda: model.critic_loss(x), model.critic),
        (lambda: model.generator_loss(32), model.generator),
    ):
        model.zero_grad()
        loss().backward()
        for name, parameter in mine.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            # What is added to every logit drops out of a difference of means (and out of hinges below their margin).
            added = mine is model.critic and parameter.shape == (1,) and model.losses in (WASSERSTEIN, HINGE)
            assert added or parameter.grad.abs().sum() > 0, name
    model.zero_grad()
    model.critic_loss(x).backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())


@game
def test_the_critic_judges_each_example_alone_and_the_losses_are_means(case):
    model, x = shaken(case).double(), case.examples(6).double()
    torch.testing.assert_close(model.logits(x), torch.cat([model.logits(row[None]) for row in x]))
    torch.manual_seed(3)
    loss = model.generator_loss(6)
    torch.manual_seed(3)
    logits = model.logits(model.sample(6))
    one_by_one = torch.stack([model.losses.generator(logit[None]) for logit in logits])
    torch.testing.assert_close(loss, one_by_one.mean())


@game
def test_a_step_down_a_players_loss_lowers_it(case):
    """The signs of both losses: a small step against its gradient lowers a player's loss by as much as it should."""
    model, x = shaken(case).double(), case.examples(64).double()
    for loss, mine in (
        (lambda: model.critic_loss(x), model.critic),
        (lambda: model.generator_loss(64), model.generator),
    ):
        model.zero_grad()
        torch.manual_seed(1)
        before = loss()
        before.backward()
        size = sum(p.grad.square().sum() for p in mine.parameters())
        with torch.no_grad():
            for parameter in mine.parameters():
                parameter -= 1e-5 * parameter.grad
        torch.manual_seed(1)
        after = loss()
        assert after.item() < before.item()
        assert (before - after).item() == pytest.approx(1e-5 * size.item(), rel=0.05)


@game
def test_a_rule_is_kept(case):
    model = shaken(case)
    model.constrain()
    if model.constraint is not None:
        assert max(parameter.abs().max() for parameter in model.critic.parameters()) <= 0.01
    assert max(parameter.abs().max() for parameter in model.generator.parameters()) > 0.01


@game
def test_a_game_is_saved_and_loaded(case, tmp_path):
    model, x = shaken(case), case.examples(3)
    other = reloaded(case, model, tmp_path)
    assert torch.equal(model.logits(x), other.logits(x))
    same = [one.sample(5, generator=torch.Generator().manual_seed(3)) for one in (model, other)]
    assert torch.equal(*same)
    assert not torch.equal(model.sample(5), model.sample(5))


@game
def test_a_game_computes_in_float64(case):
    model, x = shaken(case).double(), case.examples(3).double()
    assert model.critic_loss(x).dtype == model.generator_loss(2).dtype == model.sample(2).dtype == torch.float64


@game
def test_a_game_refuses_bad_input_by_name(case):
    model, x = shaken(case), case.examples(3)
    for call in (model.critic_loss, model.logits):
        with pytest.raises(ValueError, match=r"^x: expected .* came"):
            call(x[:0])
        with pytest.raises(ValueError, match=r"^x: expected .* came"):
            call(torch.stack([x, x]))
        with pytest.raises(TypeError, match=r"^x: expected a torch.Tensor"):
            call(x.tolist())
        with pytest.raises(TypeError, match=r"^x: expected dtype .* came"):
            call(x.long())
        with pytest.raises(ValueError, match=r"^x: expected finite values, came NaN"):
            call(x * float("nan"))
    for n, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        for call in (model.sample, model.generator_loss):
            with pytest.raises(error, match="^n: expected"):
                call(n)


# --- denoisers -----------------------------------------------------------------------------------------------------


@diffusion
def test_a_denoiser_s_loss_is_a_number_whose_gradient_arrives_everywhere(case):
    model, x = shaken(case).train(), case.examples(64)
    loss = model.loss(x, torch.arange(64) % 4) + model.loss(x)
    assert loss.shape == ()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@diffusion
def test_a_guess_explains_the_state_and_rows_do_not_mix(case):
    model, x, label = shaken(case).double(), case.examples(6).double(), torch.arange(6) % 4
    t = 0.1 + 0.8 * torch.rand(6, dtype=torch.float64)
    guess = model(x, t, label)
    assert guess.x_0.dtype == torch.float64
    torch.testing.assert_close(diffuse(model.schedule, guess.x_0, t, guess.noise), x)
    for i in range(6):
        alone = model(x[i : i + 1], t[i], label[i : i + 1])
        torch.testing.assert_close(alone.x_0[0], guess.x_0[i])


@diffusion
@pytest.mark.parametrize("make", [DDPM, DDIM, Euler, Heun, DPMSolver])
@pytest.mark.parametrize("around", [lambda d: d, lambda d: Clipped(Guided(d, 2.0))], ids=["plain", "guided"])
def test_every_sampler_goes_with_every_denoiser(case, make, around):
    sampler, shape = make(around(shaken(case))), tuple(case.examples(3).shape)
    label = torch.arange(3)
    one, two = (
        sampler.sample(shape, even_times(4), label=label, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert one.shape == shape
    assert one.dtype == torch.float32
    assert torch.isfinite(one).all()
    assert torch.equal(one, two)
    assert not torch.equal(one, sampler.sample(shape, even_times(4), label=label))


@diffusion
def test_a_denoiser_saves_and_loads(case, tmp_path):
    model, x, t = shaken(case), case.examples(3), torch.tensor(0.5)
    assert torch.equal(model(x, t).noise, reloaded(case, model, tmp_path)(x, t).noise)


@diffusion
def test_a_denoiser_refuses_bad_input_by_name(case):
    model, x, t = shaken(case), case.examples(3), torch.tensor(0.5)
    for call, error, words in (
        (lambda: model(x * float("nan"), t), ValueError, "x_t: expected finite"),
        (lambda: model(x.tolist(), t), TypeError, "x_t: expected"),
        (lambda: model(x, t + 1), ValueError, "t: expected"),
        (lambda: model(x, t, torch.tensor([0, 1, 9])), ValueError, "label: expected"),
        (lambda: model.loss(x.long()), TypeError, "x: expected dtype"),
        (lambda: model.loss(x[:0]), ValueError, "x: expected"),
    ):
        with pytest.raises(error, match=f"^{words}"):
            call()
