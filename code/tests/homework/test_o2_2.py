"""O2.2: typical wrong answers are told what is wrong."""

import re

import pytest


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("return C * d, H, W", "return d, H, W", "expected 8 channels, came 4; that is one softmax a pixel"),
        ("return C * d, H, W", "return d**C, H, W", "joint table over all channels"),
        ("return C * d, H, W", "return H, W, C * d", "The channels come first"),
        ("return 3 * K * C, H, W", "return 2 * K * C, H, W", "the weights of the components are missing"),
        ("return 3 * K * C, H, W", "return 3 * K, H, W", "each of the C channels has a mixture of its own"),
        ("return d // 3 + 1", "return d // 3", "with K = 85 the mixture has 255 numbers a value and the softmax 256"),
        ("return d // 3 + 1", "return -(-d // 3)", r"smallest_K\(3\): with K = 1 both heads have 3 numbers"),
        ("torch.where(x == 0, -torch.inf, low)", "low", "the first bin is to reach down to"),
        ("logits.log_softmax(-1)", "logits", "are the weights a softmax"),
        ("/ log_scale.exp()", "* log_scale.exp()", r"the scale exp\(log-scale\), and not 1 over it"),
        ("logits.log_softmax(-1)", "logits.mul(0).log_softmax(-1)", "a softmax of the first K numbers"),
        ("x = torch.arange(d", "x = torch.arange(1, d + 1", "add up to|one place off"),
        (
            "F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))",
            "(high.sigmoid() - low.sigmoid()).clamp(min=1e-12).log()",
            r"log P\(200\) is -379.145, came -27.631",
        ),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o2-2", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
