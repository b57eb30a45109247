"""C4.2: typical wrong answers are told what is wrong."""

import re

import pytest

SUM = "return self.base(x) + self.scale * addition"
ZEROS = "self.B = nn.Parameter(torch.zeros(k, rank, dtype=base.weight.dtype))"
RANDOM = "(2 * torch.rand(rank, l, dtype=base.weight.dtype) - 1) / math.sqrt(l)"
PARTS = "return scale * B.T @ g, scale * g @ A.T"
QUICK = ("(1, 4, 8, None) for lr in (1e-3, 3e-3, 1e-2, 3e-2)", "(1, 4) for lr in (1e-2,)")
"""With this `study` is quick and told to be too small, which the checks before it do not mind."""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (ZEROS, ZEROS.replace("zeros", "ones"), "at the start A and B are both random|B = 0"),
        (RANDOM, "torch.zeros(rank, l, dtype=base.weight.dtype)", "both start at 0: both gradients are 0"),
        (RANDOM, "torch.ones(rank, l, dtype=base.weight.dtype)", "all entries of A are equal"),
        ("torch.rand(rank, l,", "torch.rand(l, rank,", r"A is to have the shape .*transposed"),
        (SUM, "return nn.functional.linear(x, self.base.weight) + self.scale * addition", "bias of the old layer kept"),
        (
            "self.scale = base.requires_grad_(False), alpha / rank",
            "self.scale = base.requires_grad_(False), alpha",
            "not divided by the rank",
        ),
        (SUM, "return self.base(x) + addition", "the scale α/r is missing"),
        (SUM, "return self.scale * addition", "off by"),
        ("base.requires_grad_(False), alpha", "base, alpha", "base.weight.* of the old layer learn, too"),
        ("return rank * (k + l)", "return rank * k * l", "two thin matrices"),
        ("return rank * (k + l)", "return rank * (k + l - rank)", "degrees of freedom"),
        (PARTS, "return B.T @ g, g @ A.T", "by A is off .*the scale is missing"),
        (PARTS, "return scale * g @ A.T, scale * B.T @ g", "by A comes first|they are exchanged"),
        ("plain = copy.deepcopy(layer.base)", "plain = layer.base", "merged changed the layer it was given"),
        ("plain.weight += layer.scale * layer.B", "plain.weight += layer.B", "merged: .*the scale α/r is missing"),
        (
            "copy.deepcopy(model).requires_grad_(False)\n",
            "model.requires_grad_(False)\n",
            "adapt (changed|froze) the model",
        ),
        ("model = copy.deepcopy(model).requires_grad_(False)\n", "model = copy.deepcopy(model)\n", "only A and B may"),
        ("in model.named_modules() if", "in model.named_children() if", "layers inside of other modules"),
        (
            "model = copy.deepcopy(model).requires_grad_(True) if",
            "model = model.requires_grad_(True) if",
            "tune a copy",
        ),
        ("for _ in range(150)", "for _ in range(1)", "30 points more are asked"),
        (".double().mean().item()", ".double().sum().item()", "their number, not their share"),
        ("adam.step()", "adam.step()", "at least three ranks are asked"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("c4-2", (old, new), QUICK)
    assert any(re.search(sentence, each) for each in wrong), wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "(one, accuracy(one, validation))",
            "(one, accuracy(one, lesson))",
            r"has the validation accuracy 0\.\d+, came",
        ),
        (
            "for lr in (1e-3, 3e-3, 1e-2, 3e-2)",
            "for lr in ((3e-3, 1e-2) if rank else (3e-3,))",
            "full tuning .* at 1 learning rate;",
        ),
        ("(1, 4, 8, None)", "(1, 4, 16, None)", "rank 16 is over the smaller side of the last layer, 10 × 128"),
        (", reverse=True)", ")", "best of the accuracies .* these are the worst"),
        ("(1e-3, 3e-3, 1e-2, 3e-2)", "(1e-5, 2e-5)", r"best LoRA .* 75% are asked"),
    ],
)
def test_a_wrong_study_is_told(told, old, new, sentence):
    wrong = told("c4-2", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
