"""O3.1: typical wrong answers are told what is wrong."""

import re

import pytest

UNTRAINED = ("steps = 1_000", "steps = 1")
"""The quick tests look at all but the training."""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("mean**2 - 1) - log_sd).sum(1)", "mean**2 - 1 - log_sd)).sum(1)", "the logarithm stands in the bracket"),
        ("mean**2 - 1) - log_sd).sum(1)", "mean**2 - 1) - log_sd).mean(1)", "this is the mean over the coordinates"),
        ("mean**2 - 1) - log_sd).sum(1)", "mean**2 - 1) - log_sd).sum(0)", "one number an example"),
        ("- 0.5 * math.log(2 * math.pi)", "", "the constant −½ log 2π of each coordinate is missing"),
        ("(-0.5 * away**2 - log_sd", "(-0.5 * away**2", "a wider σ costs nothing"),
        ("z = mean + log_sd.exp() * eps", "z = mean", "the noise is not used"),
        ("z = mean + log_sd.exp() * eps", "z = mean + (2 * log_sd).exp() * eps", "multiplied by σ²"),
        ("z = mean + log_sd.exp() * eps", "z = (mean + log_sd.exp() * eps).detach()", "the code is detached"),
        ("- kl(mean, log_sd)\n", "+ kl(mean, log_sd)\n", "the KL is added"),
        ("z = torch.randn(n, 2", "z = torch.rand(n, 2", r"are the codes N\(0, I\)"),
        ("if noise else mean", "if True else mean", "there is noise, though the means are asked"),
        ("for v in (mean, log_sd.exp())", "for v in (mean, log_sd)", "exp is missing"),
        (
            "0.5 * math.log(9 - w**2)",
            "math.log(3)",
            r"aligned\(1\) is no optimum.*covariance of what it draws is to be \[\[9.0, 0.0\]",
        ),
        ("math.log(1 - w**2 / 9)", "math.log(1 + w**2 / 9)", "the encoder is not its posterior"),
        ("2 * z[:, :1]", "0 * z[:, :1]", "rotated.. is no optimum.*means move too little"),
        ("-math.log(3))", "-math.log(9))", "rotated.. is no optimum.*the encoder is not its posterior"),
        ("steps = 1_000", "steps = 1", "train on the aligned set.*above the optimum"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o3-1", (old, new), *([UNTRAINED] if old != UNTRAINED[0] else []))
    assert any(re.search(sentence, each) for each in wrong), wrong


NETS = "encode, decode = mlp([2, 32, 32, 4]), mlp([2, 32, 32, 4])"
SURE = "encode, decode = mlp([2, 32, 32, 4]), torch.nn.Sequential(mlp([2, 32, 32, 2]), torch.nn.ZeroPad1d((0, 2)))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            [
                (
                    "-elbo(x, encode, decode, torch.randn(256",
                    "-elbo(x, encode, lambda z: decode(0 * z), torch.randn(256",
                ),
                ("decode.requires_grad_(False)", "lambda z: decode(0 * z).detach()"),
            ],
            "Two independent normals, which need no code, have 4.4473",
        ),
        ([(NETS, SURE)], "the decoder's deviation is 1 everywhere"),
    ],
)
def test_a_wrong_training_is_told(told, changes, sentence):
    wrong = told("o3-1", *changes)
    assert any(re.search(sentence, each) for each in wrong), wrong
