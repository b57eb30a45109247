"""Chains, bases and pixel transforms of flows; dequantisation against exact cell probabilities."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from dgm.nn.flow import (
    Chain,
    Dequantised,
    Flatten,
    Flow,
    Inverse,
    Logit,
    Permute,
    Squeeze,
    StandardNormal,
    Uniform,
    per_example,
)


class Power(nn.Module):
    """z = |x|^a sign x: a transform whose log-determinant depends on the point."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = a

    def forward(self, x):
        z = x.abs() ** self.a * x.sign()
        return z, per_example(math.log(self.a) + (self.a - 1) * x.abs().log())

    def inverse(self, z):
        x = z.abs() ** (1 / self.a) * z.sign()
        return x, -self(x)[1]


def jacobian_ladj(transform, x):
    """log |det| of each example's Jacobian by autograd."""
    rows = []
    for example in x:
        J = torch.autograd.functional.jacobian(lambda v: transform(v[None])[0].flatten(), example)
        rows.append(torch.linalg.slogdet(J.reshape(example.numel(), example.numel())).logabsdet)
    return torch.stack(rows)


TRANSFORMS = {
    "Flatten": (lambda: Flatten((2, 2, 4)), (2, 2, 4)),
    "Permute": (lambda: Permute(torch.tensor([2, 0, 1])), (3,)),
    "Permute, channels": (lambda: Permute(torch.tensor([1, 2, 0])), (3, 2, 2)),
    "Squeeze": (Squeeze, (2, 4, 2)),
    "Logit": (lambda: Logit(0.05), (1, 2, 3)),
    "Logit, narrow": (lambda: Logit(1e-4), (5,)),
    "Inverse": (lambda: Inverse(Power(3.0)), (4,)),
    "Chain": (lambda: Chain([Logit(0.1), Power(1.5), Squeeze(), Flatten((4, 1, 1)), Power(0.7)]), (1, 2, 2)),
}
every = pytest.mark.parametrize(("make", "shape"), TRANSFORMS.values(), ids=TRANSFORMS.keys())


@every
def test_ladj_is_the_log_determinant_of_the_jacobian(make, shape):
    transform, x = make(), 0.02 + 0.96 * torch.rand(5, *shape, dtype=torch.float64)
    z, ladj = transform(x)
    assert ladj.shape == (5,)
    torch.testing.assert_close(ladj, jacobian_ladj(transform, x), rtol=0, atol=1e-9)
    back, ladj_back = transform.inverse(z)
    torch.testing.assert_close(ladj_back, jacobian_ladj(Inverse(transform), z), rtol=0, atol=1e-9)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)


@every
def test_the_inverse_in_float32(make, shape):
    transform, x = make(), 0.02 + 0.96 * torch.rand(50, *shape)
    z, ladj = transform(x)
    back, ladj_back = transform.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(ladj + ladj_back, torch.zeros(50), rtol=0, atol=1e-3)


def test_rearranging_moves_values_where_it_says():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    z = Squeeze()(x)[0]
    for channel, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.equal(z[0, channel], x[0, 0, i::2, j::2])
    assert torch.equal(Flatten((1, 4, 4))(x)[0], torch.arange(16.0)[None])


def test_steps_are_the_points_between_the_transforms():
    chain, x = Chain([Power(2.0), Power(0.3), Power(3.0)]), torch.rand(6, 2)
    points = chain.steps(x)
    assert len(points) == 4
    torch.testing.assert_close(points[1], x**2)
    torch.testing.assert_close(points[2], x**0.6)
    assert torch.equal(points[0], x)
    assert torch.equal(points[-1], chain(x)[0])


def test_standard_normal_against_torch():
    base, z = StandardNormal((2, 3)), torch.randn(7, 2, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2))
    torch.testing.assert_close(base.log_prob(z), expected)
    draws = base.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (20_000, 2, 3)
    assert draws.mean((0, 1, 2)).abs() < 5 / 120_000**0.5
    assert (draws.square().mean() - 1).abs() < 5 * (2 / 120_000) ** 0.5


def test_uniform():
    base = Uniform((2,))
    z = torch.tensor([[0.0, 1.0], [0.3, 0.4], [0.5, 1.1], [-0.1, 0.5]])
    assert base.log_prob(z).tolist() == [0.0, 0.0, -math.inf, -math.inf]
    draws = base.sample(10_000, generator=torch.Generator().manual_seed(0))
    assert (draws.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 10_000) ** 0.5
    assert (draws.var(0) - 1 / 12).abs().max() < 0.005
    assert (base.log_prob(draws) == 0).all()


def test_a_flow_states_the_density_that_it_draws_from():
    """x = z³ of a normal z: the probabilities of intervals by quadrature, by the normal's own and by counting."""
    flow = Flow([Power(1 / 3)], StandardNormal((1,))).double()
    edges = torch.tensor([-2.0, -0.7, 0.4, 1.0, 3.0], dtype=torch.float64)
    draws = flow.sample(200_000, generator=torch.Generator().manual_seed(1)).squeeze(1)
    for low, high in pairwise(edges):
        ends = torch.special.ndtr(torch.stack([low, high]).abs().pow(1 / 3) * torch.stack([low, high]).sign())
        p = (ends[1] - ends[0]).item()
        counted = ((draws > low) & (draws < high)).double().mean().item()
        assert counted == pytest.approx(p, abs=5 * (p * (1 - p) / 200_000) ** 0.5)
        if low > 0:  # no pole at 0 inside
            x = torch.linspace(low.item(), high.item(), 20_001, dtype=torch.float64)
            assert torch.trapezoid(flow.log_prob(x[:, None]).exp(), x).item() == pytest.approx(p, abs=1e-7)


def test_a_uniform_base_gives_the_distribution_function():
    """f(x) = x² on [0, 1] with a uniform base: density 2x, nothing outside."""
    flow = Flow([Power(2.0)], Uniform((1,)))
    x = torch.tensor([[0.2], [0.9], [1.5]])
    assert flow.log_prob(x).tolist() == [pytest.approx(math.log(0.4)), pytest.approx(math.log(1.8)), -math.inf]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logit_at_its_ends_is_finite(dtype):
    transform = Logit(0.01)
    extremes = torch.tensor([[-200.0, 200.0], [-30.0, 30.0]], dtype=dtype)
    x, back = transform.inverse(extremes)
    assert torch.isfinite(back).all()
    z, ladj = transform(x)  # as far out as numbers of this kind go
    assert torch.isfinite(z).all()
    assert torch.isfinite(ladj).all()
    assert (z.abs() > 15).all()
    with pytest.raises(ValueError, match="^x: expected values in"):
        transform(torch.tensor([[1.02]], dtype=dtype))


# --- dequantisation --------------------------------------------------------------------------------------------


def two_pixels(levels: int) -> Dequantised:
    """Two independent pixels, x_i = Φ-normal around 0.4 with sd 0.3: cells have closed-form probabilities."""

    class Affine(nn.Module):
        def forward(self, x):
            return (x - 0.4) / 0.3, x.new_full((len(x),), -2 * math.log(0.3))

        def inverse(self, z):
            return 0.4 + 0.3 * z, z.new_full((len(z),), 2 * math.log(0.3))

    return Dequantised(Flow([Affine()], StandardNormal((2,))), levels).double()


def pictures(levels: int) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(levels, dtype=torch.float64)] * 2) / (levels - 1)


def cells(x: torch.Tensor, levels: int) -> torch.Tensor:
    """log P of each picture from the normal distribution function."""
    k = x * (levels - 1)
    ends = torch.special.ndtr(((torch.stack([k, k + 1]) / levels) - 0.4) / 0.3)
    return (ends[1] - ends[0]).log().sum(1)


def test_the_importance_weighted_estimate_tends_to_the_exact_cell_probability():
    model, x = two_pixels(4), pictures(4)
    exact, chance = cells(x, 4), torch.Generator().manual_seed(3)
    estimate = model.log_prob_is(x, 4_000, generator=chance)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.03)
    assert (estimate - exact).abs().max() > 0


def test_the_bound_is_the_mean_log_density_of_the_cell():
    """E_u log p((k+u)/d) − m log d by Gauss–Legendre quadrature; it lies below log P by a visible amount."""
    import numpy as np

    model, x = two_pixels(3), pictures(3)
    chance = torch.Generator().manual_seed(7)
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(12))
    u = torch.cartesian_prod((nodes + 1) / 2, (nodes + 1) / 2)
    w = torch.cartesian_prod(weights / 2, weights / 2).prod(1)
    y = (2 * x[:, None] + u) / 3  # k = 2x
    exact = (model.flow.log_prob(y.flatten(0, 1)).view(9, -1) * w).sum(1) - 2 * math.log(3)
    draws = torch.stack([model.elbo(x, generator=chance) for _ in range(1_000)])
    error = draws.std(0) / 1_000**0.5
    assert ((draws.mean(0) - exact).abs() < 5 * error).all()
    gap = cells(x, 3) - exact
    assert (gap > 0).all()
    assert (gap > 10 * error).any()
    # With 1, 5 and 50 samples the estimate climbs from the bound to the exact value.
    means = [
        torch.stack([model.log_prob_is(x, k, generator=chance) for _ in range(2_000 // k)]).mean() for k in (1, 5, 50)
    ]
    assert exact.mean() - 0.02 < means[0] < means[1] < means[2] < cells(x, 3).mean() + 0.01


def test_noise_stays_in_its_cell_and_quantise_takes_it_off():
    model = two_pixels(256)
    x = torch.randint(0, 256, (4_000, 2)).float() / 255
    x[:2] = torch.tensor([0.0, 1.0])
    y = model.dequantise(x, generator=torch.Generator().manual_seed(0))
    u = y * 256 - x * 255
    assert u.min() > -1e-4
    assert u.max() < 1 + 1e-4
    assert (u.mean() - 0.5).abs() < 5 * (1 / 12 / 8_000) ** 0.5
    assert torch.equal(model.quantise(y), x)
    assert model.quantise(torch.tensor([-0.2, 1.0, 1.3])).tolist() == [0.0, 1.0, 1.0]


def test_samples_are_levels_with_the_probabilities_of_their_cells():
    model, x = two_pixels(4), pictures(4)
    k = (model.sample(50_000, generator=torch.Generator().manual_seed(0)) * 3).round().long()
    inner = (k > 0).all(1) & (k < 3).all(1)  # the cells at the ends also get what lies beyond
    seen = torch.bincount((k @ torch.tensor([4, 1]))[inner], minlength=16) / 50_000
    exact = cells(x, 4).exp()
    for row in (5, 6, 9, 10):
        assert seen[row].item() == pytest.approx(exact[row].item(), abs=5 * (exact[row].item() / 50_000) ** 0.5)


def test_a_flow_trains_by_fit():
    from dgm.training import fit

    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return x - self.by, x.new_zeros(len(x))

    flow = Flow([Shift()], StandardNormal((2,)))
    x = torch.randn(500, 2) + torch.tensor([1.0, -2.0])
    fit(flow, x, steps=200, batch_size=500, lr=0.05)
    torch.testing.assert_close(flow.transforms[0].by.detach(), x.mean(0), rtol=0, atol=1e-2)


# --- doors -----------------------------------------------------------------------------------------------------

BAD = {
    "sides that are odd": (lambda: Squeeze()(torch.zeros(1, 1, 3, 4)), ValueError, "^x: expected an even height"),
    "not a picture": (lambda: Squeeze()(torch.zeros(2, 4)), ValueError, "^x: expected shape"),
    "channels to unsqueeze": (lambda: Squeeze().inverse(torch.zeros(1, 2, 2, 2)), ValueError, "^z: .* multiple of 4"),
    "brightness above 1": (lambda: Logit()(torch.full((1, 2), 1.2)), ValueError, "^x: expected values in"),
    "no margin": (lambda: Logit(0.0), ValueError, "^alpha: expected"),
    "too much margin": (lambda: Logit(0.5), ValueError, "^alpha: expected"),
    "no permutation": (lambda: Permute(torch.tensor([0, 0, 1])), ValueError, "^order: expected a permutation"),
    "order of floats": (lambda: Permute(torch.tensor([0.0, 1.0])), TypeError, "^order: expected dtype int"),
    "another width": (lambda: Permute(torch.tensor([1, 0]))(torch.zeros(2, 3)), ValueError, "^x: expected shape"),
    "another width back": (lambda: Flatten((2, 2)).inverse(torch.zeros(2, 5)), ValueError, "^z: expected shape"),
    "whole numbers": (lambda: Flatten((2,))(torch.zeros(2, 2).long()), TypeError, "^x: expected dtype float"),
    "an empty batch": (lambda: Flatten((2,))(torch.zeros(0, 2)), ValueError, "^x: expected shape"),
    "NaN": (lambda: Logit()(torch.tensor([[float("nan")]])), ValueError, "^x: .* NaN"),
    "latents of another shape": (lambda: StandardNormal((2,)).log_prob(torch.zeros(1, 3)), ValueError, "^z: expected"),
    "an empty side": (lambda: StandardNormal((0,)), ValueError, "^shape: expected at least 1"),
    "no samples": (lambda: Uniform((2,)).sample(0), ValueError, "^n: expected"),
    "one level": (lambda: Dequantised(Flow([], Uniform((1,))), 1), ValueError, "^levels: expected"),
    "between levels": (lambda: two_pixels(3).elbo(torch.full((1, 2), 0.3).double()), ValueError, "^x: expected grey"),
    "above the levels": (lambda: two_pixels(3).elbo(torch.full((1, 2), 1.5).double()), ValueError, "^x: expected val"),
    "no noise": (lambda: two_pixels(3).elbo(pictures(3), 0), ValueError, "^samples: expected"),
    "no weights": (lambda: two_pixels(3).log_prob_is(pictures(3), 0), ValueError, "^samples: expected"),
    "no tensor": (lambda: Flow([], Uniform((1,))).log_prob([[0.5]]), TypeError, "^x: expected a torch.Tensor"),
    "a number": (lambda: Flow([Flatten((1,))], Uniform((1,))).log_prob(torch.tensor(0.5)), ValueError, "^x: expected"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
