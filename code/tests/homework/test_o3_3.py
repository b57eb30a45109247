"""O3.3: typical wrong answers are told what is wrong."""

import re

import pytest

UNTRAINED = ("steps = 1_000", "steps = 1")
"""The quick tests look at all but the training."""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("net(x * stays)", "net(x)", "the network saw the coordinate that moves"),
        ("net(x * stays)", "net(x * ~stays)", "the first mover is to become"),
        ("BOUND * torch.tanh(raw / BOUND)", "raw", "the log-scale is not bounded"),
        ("BOUND * torch.tanh(raw / BOUND)", "torch.tanh(raw)", r"it is 3 tanh\(r / 3\)"),
        ("* ~stays, shift * ~stays", "* stays, shift * stays", "True in stays says that it stays"),
        ("+ shift, log_scale.sum(1)", "+ shift, -log_scale.sum(1)", "the sign is turned"),
        ("+ shift, log_scale.sum(1)", "+ shift, log_scale.exp().prod(1)", "the determinant, not its logarithm"),
        ("+ shift, log_scale.sum(1)", "+ shift, log_scale.sum()", "log.det. of couple"),
        ("(z - shift) * (-log_scale).exp()", "z * (-log_scale).exp() - shift", "undone before the shift"),
        ("(z - shift) * (-log_scale).exp()", "(z - shift) * log_scale.exp()", "it is to be divided by"),
        ("total = total + ladj", "total = total - ladj", "the log-determinants are subtracted"),
        ("total = total + ladj", "total = ladj", "only the last coupling's log-determinant"),
        (" - 0.5 * math.log(2 * math.pi)", "", "the constant −log 2π of the base is missing"),
        ("in reversed(flow)", "in flow", "the last one is undone first"),
        ("x = uncouple(x, stays, net).detach()", "x = x + 0", "draws from the base"),
        ("x = uncouple(x, stays, net).detach()", "x = couple(x, stays, net)[0].detach()", "carried through the flow"),
        ("[k % 2 == 0, k % 2 == 1]", "[True, False]", "the same coordinate stays in all six"),
        ("steps = 1_000", "steps = 1", "nats on fresh moons"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o3-3", (old, new), *([UNTRAINED] if old != UNTRAINED[0] else []))
    assert any(re.search(sentence, each) for each in wrong), wrong
