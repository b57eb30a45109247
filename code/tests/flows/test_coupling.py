"""Couplings, the linear maps between them, several scales; whole flows against autograd, grids and moments."""

import math

import pytest
import torch
from torch import nn

from dgm.data import toy
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
from dgm.nn.flow import Dequantised, Flow, Squeeze, StandardNormal
from dgm.nn.mlp import mlp
from dgm.training import fit

CASES = {
    "AdditiveCoupling": (lambda: AdditiveCoupling(half_mask(5), mlp([5, 8, 5])), (5,)),
    "AffineCoupling": (lambda: AffineCoupling(half_mask(4), mlp([4, 8, 8])), (4,)),
    "AffineCoupling, board": (lambda: AffineCoupling(checkerboard_mask(4, 6), conv_net(2, 4, 4)), (2, 4, 6)),
    "AffineCoupling, channels": (lambda: AffineCoupling(~channel_mask(3), conv_net(3, 4, 6)), (3, 2, 4)),
    "Scaling": (lambda: Scaling(3), (3,)),
    "ActNorm": (lambda: ActNorm(3), (3,)),
    "ActNorm, channels": (lambda: ActNorm(3), (3, 2, 2)),
    "Conv1x1": (lambda: Conv1x1(4), (4,)),
    "Conv1x1, channels": (lambda: Conv1x1(4), (4, 3, 2)),
    "Multiscale": (lambda: Multiscale((2, 4, 4), [[Squeeze(), Conv1x1(8)], [Squeeze(), ActNorm(16)]]), (2, 4, 4)),
    "nice": (lambda: nice(3, hidden=(8,)), (3,)),
    "realnvp": (lambda: realnvp(3, hidden=(8,)), (3,)),
    "realnvp_image": (lambda: realnvp_image((1, 4, 4), depth=2, width=4), (1, 4, 4)),
    "glow": (lambda: glow((1, 4, 4), depth=2, width=4), (1, 4, 4)),
    "glow, one level of three colours": (lambda: glow((3, 2, 2), levels=1, depth=1, width=4, alpha=None), (3, 2, 2)),
}
every = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES.keys())


def shaken(make, seed=0, by=0.2):
    """A transform with random parameters: what starts at the identity hides every mistake."""
    torch.manual_seed(seed)
    transform = make().eval()
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return transform


def examples(n, shape, dtype=torch.float64):
    return 0.02 + 0.96 * torch.rand(n, *shape, dtype=dtype)


# --- every transform -------------------------------------------------------------------------------------------


@every
def test_ladj_is_the_log_determinant_of_the_jacobian(make, shape):
    transform, x = shaken(make).double(), examples(3, shape)
    z, ladj = transform(x)
    for row in range(3):
        J = torch.autograd.functional.jacobian(lambda v: transform(v[None])[0].flatten(), x[row])
        size = math.prod(shape)
        assert ladj[row].item() == pytest.approx(torch.linalg.slogdet(J.view(size, size)).logabsdet.item(), abs=1e-9)
    back, ladj_back = transform.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(ladj_back, -ladj, rtol=0, atol=1e-9)


@every
def test_the_inverse_in_float32(make, shape):
    transform, x = shaken(make), examples(64, shape, torch.float32)
    z, ladj = transform(x)
    back, ladj_back = transform.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(ladj + ladj_back, torch.zeros(64), rtol=0, atol=1e-3)


@every
def test_the_inverse_of_what_comes_from_the_base(make, shape):
    transform, x = shaken(make).double(), examples(2, shape)
    z = 0.5 * torch.randn(64, *transform(x)[0].shape[1:], dtype=torch.float64)  # far out a logit loses digits
    x, ladj = transform.inverse(z)
    again, ladj_again = transform(x)
    torch.testing.assert_close(again, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(ladj_again, -ladj, rtol=0, atol=1e-9)


@every
def test_save_and_load(make, shape):
    transform, x = shaken(make), examples(3, shape, torch.float32)
    other = shaken(make, seed=1)
    assert not torch.equal(other(x)[0], transform(x)[0])
    other.load_state_dict(transform.state_dict())
    assert torch.equal(other(x)[0], transform(x)[0])


# --- masks and couplings ---------------------------------------------------------------------------------------


def test_masks():
    assert half_mask(5).tolist() == [True, True, False, False, False]
    assert channel_mask(4).shape == (4, 1, 1)
    assert channel_mask(4).flatten().tolist() == half_mask(4).tolist()
    board = checkerboard_mask(6, 8)[0]
    assert board[0, 0]
    assert (board[1:] != board[:-1]).all()
    assert (board[:, 1:] != board[:, :-1]).all()
    assert board.float().mean() == 0.5


@pytest.mark.parametrize("name", ["AffineCoupling", "AdditiveCoupling", "AffineCoupling, board"])
def test_what_stays_does_not_change_and_alone_decides(name):
    make, shape = CASES[name]
    coupling, x = shaken(make).double(), examples(1, shape)[0]
    mask = coupling.mask.expand(shape).flatten()
    J = torch.autograd.functional.jacobian(lambda v: coupling(v[None])[0].flatten(), x).view(len(mask), len(mask))
    assert torch.equal(J[mask], torch.eye(len(mask), dtype=J.dtype)[mask])
    moved = J[~mask][:, ~mask]
    assert torch.equal(moved, torch.diag(moved.diagonal()))
    assert (J[~mask][:, mask] != 0).any()


def test_nice_preserves_volume_up_to_its_scaling():
    flow, x = shaken(lambda: nice(4)).double(), examples(5, (4,))
    ladj = flow(x)[1]
    torch.testing.assert_close(ladj, flow.transforms[-1].log_scale.sum().expand(5))
    assert ladj[0] != 0


@pytest.mark.parametrize("raw", [1e4, -1e4, 1e30])
def test_a_network_that_explodes_stretches_by_no_more_than_the_bound(raw):
    class Wild(nn.Module):
        def forward(self, x):
            return torch.cat([torch.full_like(x, raw), torch.zeros_like(x)], 1)

    coupling, x = AffineCoupling(half_mask(2), Wild(), bound=2.5), torch.randn(4, 2)
    z, ladj = coupling(x)
    torch.testing.assert_close(ladj, torch.full((4,), math.copysign(2.5, raw)))
    torch.testing.assert_close(coupling.inverse(z)[0], x)


def test_far_out_points_stay_finite():
    flow = shaken(lambda: realnvp(2))
    x = torch.tensor([[1e6, -1e6], [1e-30, 0.0], [1e12, 1.0]])
    z, ladj = flow(x)
    assert torch.isfinite(z).all()
    assert torch.isfinite(ladj).all()
    assert torch.isfinite(flow.log_prob(x)).all()


# --- ActNorm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
def test_the_first_batch_leaves_with_mean_0_and_sd_1(shape):
    norm = ActNorm(4)
    x = torch.randn(64, *shape) * torch.tensor([0.01, 1.0, 5.0, 300.0]).view(-1, *[1] * (len(shape) - 1)) - 3
    columns = norm(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(columns.mean(1), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(columns.std(1, correction=0), torch.ones(4), rtol=0, atol=1e-3)
    assert norm.started
    before = norm.state_dict()["shift"].clone()
    norm(x + 100)
    assert torch.equal(norm.shift, before)


def test_it_starts_in_training_only_and_once_for_all():
    norm, x = ActNorm(2).eval(), 5 + torch.randn(32, 2)
    assert torch.equal(norm(x)[0], x)
    assert not norm.started
    norm.train()(x)
    loaded = ActNorm(2)
    loaded.load_state_dict(norm.state_dict())
    assert torch.equal(loaded.train()(2 * x)[0], norm(2 * x)[0])


def test_a_channel_that_does_not_vary_is_centred():
    norm = ActNorm(2)
    z, ladj = norm(torch.tensor([[7.0, 1.0], [7.0, 3.0]]))
    assert z.tolist() == [[0.0, -1.0], [0.0, 1.0]]
    assert ladj.tolist() == [0.0, 0.0]
    assert torch.isfinite(ActNorm(3)(torch.randn(1, 3))[0]).all()  # one example: nothing varies


def test_every_norm_of_a_deep_flow_starts_on_what_reaches_it():
    flow = glow((1, 8, 8), depth=3, width=4).train()
    with torch.no_grad():
        z = flow(examples(256, (1, 8, 8), torch.float32))[0]
    assert 0.3 < z.std() < 3
    assert all(module.started for module in flow.modules() if isinstance(module, ActNorm))


def test_the_start_survives_fit_with_a_mean_of_weights_and_a_checkpoint(tmp_path):
    data = 50 + 0.1 * torch.randn(256, 2)

    def trained(steps, path):
        torch.manual_seed(0)
        flow = Flow([ActNorm(2), *realnvp(2, couplings=2, hidden=(8,)).transforms], StandardNormal((2,)))
        options = {"validation": data[:64], "keep_best": True, "ema": 0.99, "every": 10}
        fit(flow, data, steps=steps, batch_size=64, checkpoint=path, **options)
        return flow

    whole = trained(40, tmp_path / "whole")
    trained(20, tmp_path / "cut")
    resumed = trained(40, tmp_path / "cut")
    assert whole.transforms[0].started
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    z = whole(data)[0]
    assert z.mean().abs() < 0.3
    assert 0.5 < z.std() < 2


# --- Conv1x1 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 5, 12])
def test_the_determinant_by_its_factors(channels):
    conv = shaken(lambda: Conv1x1(channels)).double()
    dense = torch.linalg.slogdet(conv.weight()).logabsdet
    torch.testing.assert_close(conv.log_scale.sum(), dense, rtol=0, atol=1e-9)
    ladj = conv(torch.randn(2, channels, 3, 4, dtype=torch.float64))[1]
    torch.testing.assert_close(ladj, 12 * dense.expand(2), rtol=0, atol=1e-8)
    permutation, lower, upper = conv.factors()
    assert torch.equal(permutation @ permutation.T, torch.eye(channels).double())
    assert torch.equal(lower.triu(), torch.eye(channels).double())
    assert torch.equal(upper.tril(-1), torch.zeros(channels, channels).double())


def test_it_starts_as_a_rotation_and_is_torchs_convolution():
    torch.manual_seed(3)
    conv = Conv1x1(6)
    weight = conv.weight()
    torch.testing.assert_close(weight @ weight.T, torch.eye(6), rtol=0, atol=1e-5)
    x = torch.randn(2, 6, 3, 5)
    torch.testing.assert_close(conv(x)[0], nn.functional.conv2d(x, weight[:, :, None, None]))
    assert not torch.allclose(Conv1x1(6).weight(), weight)


# --- several scales --------------------------------------------------------------------------------------------


def test_what_leaves_first_is_the_first_half_of_the_channels():
    x = torch.randn(2, 1, 4, 4)
    z, _ = Multiscale((1, 4, 4), [[Squeeze()], [Squeeze()]])(x)
    squeezed = nn.functional.pixel_unshuffle(x, 2)
    assert torch.equal(z[:, :8], squeezed[:, :2].flatten(1))
    assert torch.equal(z[:, 8:], nn.functional.pixel_unshuffle(squeezed[:, 2:], 2).flatten(1))


def test_a_picture_of_28_goes_to_784_without_padding():
    flow = glow((1, 28, 28), depth=1, width=4)
    assert flow.transforms[-1].parts == [(2, 14, 14), (8, 7, 7)]
    assert flow(torch.rand(2, 1, 28, 28))[0].shape == (2, 784)


# --- densities -------------------------------------------------------------------------------------------------


def mass(flow, reach=8.0, n=500):
    """∫ p over [−reach, reach]², by the rectangle rule."""
    line = torch.linspace(-reach, reach, n, dtype=torch.float64)
    with torch.no_grad():
        return flow.double().log_prob(torch.cartesian_prod(line, line)).exp().sum().item() * (2 * reach / (n - 1)) ** 2


FLOWS = {
    "nice": lambda: nice(2, hidden=(16,)),
    "realnvp": lambda: realnvp(2, hidden=(16,)),
    "linear": lambda: Flow([ActNorm(2), Conv1x1(2), Scaling(2)], StandardNormal((2,))),
}


@pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS.keys())
def test_the_density_integrates_to_one_untrained_shaken_and_trained(make):
    assert mass(make().eval()) == pytest.approx(1, abs=1e-3)
    assert mass(shaken(make, by=0.1)) == pytest.approx(1, abs=1e-3)
    torch.manual_seed(0)
    flow, data = make(), toy("moons", 1_000).float()
    before = flow.eval().loss(data).item()
    fit(flow, data, steps=150, batch_size=256, lr=5e-3)
    assert flow.loss(data) < before - 0.3
    assert mass(flow) == pytest.approx(1, abs=1e-3)


def test_samples_have_the_moments_of_the_density():
    flow = shaken(lambda: realnvp(2, hidden=(16,)), by=0.1).double()
    draws = flow.sample(100_000, generator=torch.Generator().manual_seed(0))
    line = torch.linspace(-8, 8, 500, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        p = flow.log_prob(grid).exp() * (16 / 499) ** 2
    for moment in (lambda x: x, lambda x: x**2, lambda x: x.prod(1, keepdim=True), lambda x: (2 * x).sin()):
        drawn, exact = moment(draws), (p[:, None] * moment(grid)).sum(0)
        error = drawn.std(0) / 100_000**0.5
        assert ((drawn.mean(0) - exact).abs() < 5 * error).all()


def test_realnvp_learns_two_moons():
    torch.manual_seed(0)
    flow = realnvp(2)
    fit(flow, toy("moons", 4_000).float(), steps=250, batch_size=256, lr=5e-3)
    fresh = toy("moons", 2_000, seed=1).float()
    normal = torch.distributions.MultivariateNormal(fresh.mean(0), fresh.T.cov())
    assert flow.loss(fresh) < -normal.log_prob(fresh).mean() - 0.5


def test_the_probabilities_of_all_pictures_sum_to_the_mass_inside_the_cube():
    """All 16 pictures of 2×2 pixels with two levels. With a margin α the flow draws a little outside of [0, 1]."""
    flow = shaken(lambda: glow((1, 2, 2), levels=1, depth=2, width=4, alpha=0.1))
    pictures = torch.cartesian_prod(*[torch.arange(2.0)] * 4).view(-1, 1, 2, 2)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        p = Dequantised(flow, levels=2).log_prob_is(pictures.repeat(20, 1, 1, 1), 50, generator=chance).exp()
    totals = p.view(20, 16).sum(1)  # twenty estimates, each without bias
    draws = flow.sample(20_000, generator=chance).flatten(1)
    inside = ((draws >= 0) & (draws <= 1)).all(1).float()
    error = (totals.var() / 20 + inside.var() / 20_000).sqrt()
    assert (totals.mean() - inside.mean()).abs() < 4 * error < 0.05
    assert inside.mean() < 0.95
    assert p.max() > 2 * p.min()


# --- doors -----------------------------------------------------------------------------------------------------

BAD = {
    "one variable": (lambda: half_mask(1), ValueError, "^m: expected at least 2"),
    "a mask of numbers": (lambda: AffineCoupling(torch.ones(2), nn.Identity()), TypeError, "^mask: expected dtype"),
    "no bound": (lambda: AffineCoupling(half_mask(2), nn.Identity(), bound=0.0), ValueError, "^bound: expected"),
    "a net without scales": (
        lambda: AffineCoupling(half_mask(2), mlp([2, 2]))(torch.zeros(1, 2)),
        ValueError,
        "^net: ",
    ),
    "a net too wide": (lambda: AdditiveCoupling(half_mask(2), mlp([2, 4]))(torch.zeros(1, 2)), ValueError, "^net: "),
    "another width": (lambda: realnvp(2)(torch.zeros(1, 3)), ValueError, "^x: expected shape"),
    "another width back": (lambda: realnvp(2).inverse(torch.zeros(1, 3)), ValueError, "^z: expected shape"),
    "an empty batch": (lambda: nice(2).log_prob(torch.zeros(0, 2)), ValueError, "^x: expected"),
    "NaN": (lambda: nice(2).log_prob(torch.full((1, 2), math.nan)), ValueError, "^x: .* NaN"),
    "an infinity": (lambda: realnvp(2).log_prob(torch.full((1, 2), math.inf)), ValueError, "^x: .* infinity"),
    "whole numbers": (lambda: Scaling(2)(torch.zeros(1, 2).long()), TypeError, "^x: expected dtype float"),
    "a row for channels": (lambda: ActNorm(2)(torch.zeros(1, 2, 3)), ValueError, "^x: expected shape"),
    "another number of channels": (lambda: Conv1x1(3)(torch.zeros(1, 2, 2, 2)), ValueError, "^x: expected shape"),
    "one channel": (lambda: Conv1x1(1), ValueError, "^channels: expected at least 2"),
    "no couplings": (lambda: realnvp(2, couplings=0), ValueError, "^couplings: expected"),
    "no levels": (lambda: glow((1, 4, 4), levels=0), ValueError, "^levels: expected"),
    "sides that cannot be halved twice": (lambda: glow((1, 6, 6)), ValueError, "^shape: expected sides divisible"),
    "a picture of another size": (lambda: glow((1, 4, 4))(torch.zeros(1, 1, 8, 8)), ValueError, "^x: expected shape"),
    "a picture too bright": (lambda: glow((1, 4, 4))(torch.full((1, 1, 4, 4), 2.0)), ValueError, "^x: expected val"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
