"""O2.4: typical wrong answers are told what is wrong."""

import re

import pytest

SCORE = "[eps / log_sd.exp(), eps.square() - 1]"
VARIANCE = "a**2 / sd**2 - a * (D + 2) + sd**2 * (D + 2) * (D + 4) / 4"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (SCORE, "[eps, eps.square() - 1]", r"by the mean it is \(z − μ\)/σ², and not \(z − μ\)/σ"),
        (SCORE, "[eps / log_sd.exp(), eps.square()]", "by log σ it is ε² − 1"),
        (SCORE, "[eps / log_sd.exp(), (eps.square() - 1) / log_sd.exp()]", "the second half is the derivative by σ"),
        ("return f(z)[:, None] * score", "return (f(z)[:, None] * score).mean(0)", "one estimate for each draw"),
        ("return f(z)[:, None] * score", "return f(z).mean() * score", "each draw has its own value"),
        ("return f(z)[:, None] * score", "return -f(z)[:, None] * score", "the sign is turned"),
        ("log_joint(z) - log_q", "log_joint(z)", "the term −log q.* is missing in the bracket"),
        ("log_joint(z) - log_q", "log_joint(z) + log_q", "log q is added instead of subtracted"),
        ("log_joint(z) - log_q", "log_q - log_joint(z)", "the sign is turned: the bound is raised"),
        ("(values.sum() - values) / (len(z) - 1)", "values.mean()", r"in its own baseline.* = 0\.5"),
        ("(values.sum() - values) / (len(z) - 1)", "(values.sum() - values) / len(z)", "and not by S − 1"),
        (VARIANCE, "sd**2", "that is the variance of the pathwise gradient"),
        (VARIANCE, "sd**2 * (D + 2) * (D + 4) / 4", "a constant in f leaves the gradient as it is"),
        (VARIANCE, f"{VARIANCE.replace('sd**2', '1')}", r"variance\(2, 0.5, 0\)"),
        (VARIANCE, VARIANCE.replace("- a * (D + 2) ", ""), "the mixed term of the square is missing"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o2-4", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
