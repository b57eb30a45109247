"""Networks that are told the time: waves, labels, the U-Net; each promise by number."""

import pytest
import torch

from dgm.nn.timed import TimedMLP, known_labels, time_features
from dgm.nn.unet import Attention, Block, UNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(40)


def stirred(net: torch.nn.Module) -> torch.nn.Module:
    """Parameters away from the start, at which the last layers are silent."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def small(**options) -> UNet:
    return stirred(UNet((2, 8, 12), **({"widths": (8, 16), "blocks": 1, "classes": 3} | options)))


# --- time and class ------------------------------------------------------------------------------------------------


def test_waves_are_those_of_the_formula_and_those_of_a_peer():
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.rand(7, dtype=torch.float64)
    found = time_features(t, 8, scale=50.0, longest=30.0)
    for i in range(4):
        torch.testing.assert_close(found[:, i], (50 * t * 30 ** (-2 * i / 8)).cos())
        torch.testing.assert_close(found[:, 4 + i], (50 * t * 30 ** (-2 * i / 8)).sin())
    theirs = get_timestep_embedding(1_000 * t.float(), 8, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(time_features(t.float(), 8), theirs, rtol=1e-4, atol=1e-4)


def test_waves_tell_neighbouring_steps_apart():
    steps = time_features(torch.arange(1_001) / 1_000, 64)
    distances = torch.cdist(steps, steps) + 10 * torch.eye(1_001)
    assert distances.min() > 0.3


@pytest.mark.parametrize("dims", [3, 0, 1])
def test_an_odd_number_of_waves_is_refused(dims):
    with pytest.raises(ValueError, match="^dims: expected"):
        time_features(torch.rand(2), dims)


def test_labels():
    x = torch.zeros(3, 2)
    assert known_labels(None, 4, x).tolist() == [4, 4, 4]
    assert known_labels(torch.tensor([0, 3, 4], dtype=torch.int32), 4, x).tolist() == [0, 3, 4]
    for label, classes in ((torch.tensor([0, 5, 1]), 4), (torch.tensor([0, -1, 1]), 4), (torch.zeros(3).long(), 0)):
        with pytest.raises(ValueError, match="^label: expected"):
            known_labels(label, classes, x)
    with pytest.raises(TypeError, match="^label: expected"):
        known_labels(torch.zeros(3), 4, x)


# --- both networks -------------------------------------------------------------------------------------------------

NETS = {"mlp": (lambda: stirred(TimedMLP(2, (16,), classes=3)), (2,)), "unet": (small, (2, 8, 12))}
each = pytest.mark.parametrize(("make", "shape"), NETS.values(), ids=NETS.keys())


@each
def test_the_answer_depends_on_state_time_and_class_and_rows_do_not_mix(make, shape):
    net, x, t, label = make().double(), torch.randn(5, *shape).double(), torch.rand(5).double(), torch.arange(5) % 3
    out = net(x, t, label)
    assert out.shape == x.shape
    for i in range(5):
        torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1], label[i : i + 1])[0], out[i])
    for changed in (net(x + 1, t, label), net(x, t * 0.5, label), net(x, t, (label + 1) % 3), net(x, t)):
        assert ((changed - out).abs().flatten(1).amax(1) > 1e-3).all()
    torch.testing.assert_close(net(x, t, torch.full((5,), 3)), net(x, t))  # the last number: no class


@each
def test_a_gradient_arrives_at_every_parameter(make, shape):
    net = make().train()
    net(torch.randn(8, *shape), torch.rand(8), torch.arange(8) % 4).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@each
def test_bad_input_is_refused_by_name(make, shape):
    net, x, t = make(), torch.randn(3, *shape), torch.rand(3)
    for call, name in (
        (lambda: net(x[:, :1], t), "x"),
        (lambda: net(x, t[:2]), "t"),
        (lambda: net(x * float("nan"), t), "x"),
        (lambda: net(x, t, torch.tensor([0, 1])), "label"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            call()


# --- the U-Net -----------------------------------------------------------------------------------------------------


def test_it_begins_by_answering_nothing_and_every_block_as_its_way_around():
    net = UNet((1, 8, 8), widths=(8, 16), blocks=2)
    assert (net(torch.randn(2, 1, 8, 8), torch.rand(2)) == 0).all()
    block, x = Block(8, 8, 4), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x, torch.randn(2, 4)), x)
    assert torch.equal(Attention(8)(x), x)


@pytest.mark.parametrize("options", [{"blocks": 3}, {"patch": 2}, {"widths": (8, 8, 8)}, {"classes": 0}, {"heads": 2}])
def test_sizes(options):
    net, x = small(**options), torch.randn(2, 2, 8, 12)
    assert net(x, torch.rand(2)).shape == x.shape


def test_attention_carries_news_across_the_picture():
    """A corner hears of the far corner by attention alone, where the norms, which take means over all, are off."""
    for heads_off in (False, True):
        net = stirred(UNet((1, 64, 64), widths=(4, 4), blocks=1)).double()
        for module in net.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.forward = torch.clone
            if heads_off and isinstance(module, Attention):
                torch.nn.init.zeros_(module.answer.weight)
        x = torch.randn(1, 1, 64, 64).double().requires_grad_()
        (slope,) = torch.autograd.grad(net(x, torch.rand(1).double())[0, 0, 0, 0], x)
        assert (slope[0, 0, -1, -1] == 0) == heads_off


def test_attention_is_torch_s_own():
    ours = stirred(Attention(8, heads=2))
    peer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(ours.ask.weight[..., 0, 0])
        peer.in_proj_bias.copy_(ours.ask.bias)
        peer.out_proj.weight.copy_(ours.answer.weight[..., 0, 0])
        peer.out_proj.bias.copy_(ours.answer.bias)
    x = torch.randn(3, 8, 4, 5)
    places = ours.norm(x).flatten(2).mT
    expected = x + peer(places, places, places, need_weights=False)[0].mT.reshape(x.shape)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


def test_the_memory_format_changes_the_speed_and_not_the_answer():
    net, x, t = small(), torch.randn(2, 2, 8, 12), torch.rand(2)
    assert net.stem.weight.is_contiguous(memory_format=torch.channels_last)
    out = net(x, t)
    torch.testing.assert_close(net.to(memory_format=torch.contiguous_format)(x, t), out, rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused():
    for options, name in (
        ({"shape": (1, 10, 8), "widths": (8, 8, 8)}, "shape"),
        ({"shape": (1, 8, 8), "patch": 3}, "shape"),
        ({"shape": (1, 8, 8), "widths": (8, 6), "heads": 4}, "heads"),
        ({"shape": (1, 8, 8), "blocks": 0}, "blocks"),
        ({"shape": (1, 8, 8), "dropout": 1.5}, "dropout"),
        ({"shape": (1, 8, 8), "classes": -1}, "classes"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            UNet(**options)
