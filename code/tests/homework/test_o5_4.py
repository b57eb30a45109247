"""O5.4: typical wrong answers are told what is wrong."""

import re

import pytest

CRITIC = "0.5 * (real - b).square().mean() + 0.5 * (fake - a).square().mean()"
VALUE = "0.5 * ((pi + p) * off.square()).sum()"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (CRITIC, CRITIC.replace("0.5 * ", ""), r"critic_loss.*the factor ½ is missing"),
        (CRITIC, CRITIC.replace("- b", "- _").replace("- a", "- b").replace("- _", "- a"), "a and b are exchanged"),
        (CRITIC, CRITIC.replace("mean", "sum"), "take means: the sums grow with the batch"),
        (CRITIC, CRITIC.replace("+", "-"), "none is subtracted"),
        (CRITIC, CRITIC.replace("fake", "fake.detach()"), "best_critic, on eight examples .* expected 0"),
        ("0.5 * (fake - c).square().mean()", "(fake - c).square().mean()", "generator_loss.*the factor ½ is missing"),
        ("(b * pi + a * p)", "(a * pi + b * p)", "best_critic.*a and b are exchanged"),
        ("(b * pi + a * p)", "pi", "that is the best critic of cross-entropy"),
        (VALUE, "0.5 * (p * off.square()).sum()", "the mean over the data, .* is missing"),
        (VALUE, "((pi + p) * off.square()).sum()", r"value\(.*the factor ½ is missing"),
        (
            "(first - second).square() / first",
            "(first - second).square() / second",
            "here the first argument stands below",
        ),
        ("(first - second).square() / first", "(first - second) / first", "chi2 for two laws"),
        (
            "return ((first",
            "first, second = first / first.sum(), second / second.sum(); return ((first",
            "the arguments are not to be scaled",
        ),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o5-4", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
