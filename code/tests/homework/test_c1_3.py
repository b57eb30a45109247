"""C1.3: typical wrong answers are told what is wrong."""

import re

import pytest

UNTRAINED = ("steps = 800", "steps = 2")
"""The quick tests look at all but the training."""
LIMIT = "return max(limits.tolist(), key=lambda limit: min(rates(good, bad, limit)))"
RULE = "return (bad >= limit).double().mean().item(), (good < limit)"
FEWEST = "return max(limits.tolist(), key=lambda limit: (bad >= limit).sum() + (good < limit).sum())"
PRECISION = "((bad >= limit).sum() / ((bad >= limit).sum() + (good >= limit).sum()))"
TOP = "return error.topk(5, dim=1).values.sum(1)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("(good < limit)", "(good >= limit)", "the second is the false positive rate"),
        ("(bad >= limit)", "(bad > limit)", "is to be"),
        (RULE, RULE.replace(">=", ">").replace("<", "<="), "equals the limit counts as damaged"),
        ("(bad >= limit).double().mean()", PRECISION, "precision"),
        (LIMIT, "return good.max().item() + 1e-6", "it lies above all good scores"),
        (LIMIT, "return ((good.mean() + bad.mean()) / 2).item()", "both can be"),
        (LIMIT, FEWEST, "forgets the rarer kind"),
        (TOP, TOP.replace("return ", "return -"), "the other way round"),
        (TOP, "return error.topk(5, dim=1).values.sum()", "shape"),
        (TOP, "total = error.sum(1); return total / (total.max() + 1e-6)", "Nothing may be taken from the batch"),
        ("steps = 800", "steps = 2", "the squared error of a held-out good picture is"),
        ("return restore\n", "return lambda x: x.clone()\n", "the code is to be short"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("c1-3", (old, new), *([UNTRAINED] if old != UNTRAINED[0] else []))
    assert any(re.search(sentence, each) for each in wrong), wrong


@pytest.mark.slow
def test_a_code_that_is_too_short_is_told(told):
    change = "mlp([768, 256, 64]), mlp([64, 256, 768])", "mlp([768, 256, 3]), mlp([3, 256, 768])"
    wrong = told("c1-3", change)
    assert any(re.search("the mean picture with your score has.*how short is the code", each) for each in wrong), wrong
