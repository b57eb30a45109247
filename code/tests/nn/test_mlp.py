"""The plain network: layers, bends, refusals."""

import pytest
import torch
from torch import nn

from dgm.nn.mlp import mlp


def test_layers_and_activations():
    net = mlp([3, 5, 7, 2], activation=nn.Tanh)
    assert [type(layer) for layer in net] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert net(torch.randn(4, 6, 3)).shape == (4, 6, 2)


def test_without_a_hidden_layer_it_is_linear():
    net, x, y = mlp([3, 2]).double(), torch.randn(4, 3).double(), torch.randn(4, 3).double()
    torch.testing.assert_close(net(x + y) + net(torch.zeros_like(x)), net(x) + net(y))


@pytest.mark.parametrize("sizes", [[], [3], [3, 0], [3, -1, 2]])
def test_bad_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"^sizes: expected"):
        mlp(sizes)
