"""O6.3: typical wrong answers are told what is wrong."""

import re

import pytest

CLAMP = "parameter.clamp_(-bound, bound)"
QUICK = ("steps, critic_steps, batch = 750, 3, 128", "steps, critic_steps, batch = 3, 1, 16")
"""With this training is over at once, and only the last check says so."""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (CLAMP, "parameter.clamp(-bound, bound)", "leaves the weights as they were"),
        (CLAMP, "parameter.clamp_(max=bound)", "the cut has two sides"),
        (CLAMP, "parameter.mul_((bound / parameter.abs().max()).clamp(max=1))", "no scaling"),
        (CLAMP, f"{CLAMP} if parameter.dim() > 1 else None", "leaves the biases as they were"),
        ("bound * math.sqrt(N * M)", "bound * N * M", "the root is missing"),
        ("math.prod(bound * math.sqrt", "sum(bound * math.sqrt", "do not add"),
        ("math.prod(bound * math.sqrt", "bound * math.prod(math.sqrt", "counts once a layer"),
        ("(near.sum(0) >= least)", "(near.sum(0) >= 1)", "least = 10: expected 6 peaks, came 7.*make it a found one"),
        ("near.any(1).double().mean()", "near.sum()", "their number, not their share"),
        (
            "return torch.histc(entries, bins, -bound, bound)",
            "return torch.histc(entries, bins, 0, bound)",
            "weight_histogram in",
        ),
        ("in critic.parameters()])", "in critic.parameters() if parameter.dim() > 1])", "the biases are missing"),
        ("return torch.histc(", "return bins / (0.4 * len(entries)) * torch.histc(", "counts are asked, no density"),
        ("clip(critic, BOUND)", "pass", "a parameter of the critic is .* clip after every step"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o6-3", (old, new), QUICK)
    assert any(re.search(sentence, each) for each in wrong), wrong


def test_too_short_a_training_is_told(told):
    (wrong,) = told("o6-3", QUICK)
    assert re.search(r"0 of 8 peaks are found .*; 7 peaks at least are asked", wrong), wrong


@pytest.mark.slow
def test_a_penalty_that_is_too_strong_is_told(told):
    (wrong,) = told("o6-3", ("weight=0.1", "weight=30.0"))
    assert re.search(r"at least are asked|the penalty is expected ahead", wrong), wrong
