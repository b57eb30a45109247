"""O1.3: typical wrong answers are told what is wrong."""

import re

import pytest

LOG_PROB = 'return -F.binary_cross_entropy_with_logits(model(x), x, reduction="none").sum(1)'
BITS = "model(x)[:, i].sigmoid()"
MASKED = 'layer.weight * self.get_buffer(f"mask_{depth}")'
BUFFER = "            self.register_buffer"
SHORT = ("steps = 150", "steps = 1")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([("place[:, None] > degrees[-1]", "place[:, None] >= degrees[-1]")], "output 1 hears its own bit"),
        ([("after[:, None] >= before", "after[:, None] > before")], "strict is the last mask alone"),
        (
            [("torch.arange(size) * (m - 1) // size", "torch.arange(size) % (m - 1)")],
            "output 784 hears no pixel after 300",
        ),
        ([(MASKED, "layer.weight")], "logit 1 changes with bit 1. Is every mask in use"),
        (
            [(MASKED, "layer.weight"), (BUFFER, "            self.layers[depth].weight.data *= mask\n" + BUFFER)],
            "as made it is sound, but with other weights",
        ),
        ([("self.layers = nn.ModuleList(", "self.layers = list(")], "has to be an nn.ModuleList"),
        ([(LOG_PROB, LOG_PROB.replace("sum(1)", "mean(1)"))], "mean over the bits"),
        ([(LOG_PROB, LOG_PROB.replace("return -", "return "))], "sign is that of a loss"),
        (
            [(LOG_PROB, "p = model(x).sigmoid()\n    return (x * p.log()).sum(1)")],
            r"The zeros count as well",
        ),
        (
            [(LOG_PROB, "p = model(x).sigmoid()\n    return (p.log() * x + (1 - p).log() * (1 - x)).sum(1)")],
            "the sigmoid rounds to 0 or 1",
        ),
        ([(BITS, "model(0 * x)[:, i].sigmoid()")], "as if all bits came from one pass"),
        ([(BITS, "(model(x)[:, i] > 0).float()")], "draw, do not round"),
        ([("torch.bernoulli(model(x)[:, i].sigmoid(), generator=source)", BITS)], "zeros and ones; draw each bit"),
        ([], r"pixels counted apart: 0\.2618\)\. The training NLL is 0\.\d+: train longer"),
    ],
)
def test_a_wrong_answer_is_told(told, changes, sentence):
    wrong = told("o1-3", *changes, SHORT)
    assert any(re.search(sentence, each) for each in wrong), wrong
