"""O2.5: typical wrong answers are told what is wrong."""

import re

import pytest

SUM = "(p * -torch.expm1(v * log_t)).sum() / (v * (1 - v))"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (SUM, f"{SUM} / 4", "the factor 4 is missing"),
        (SUM, "-" + SUM, "the sign: the sum of the mixed powers is at most 1"),
        (SUM, f"{SUM} * (v * (1 - v))", r"the factor 4/\(1 − α²\) is missing"),
        ("v = (1 - alpha) / 2", "v = 1 - alpha", "the exponents are|expected"),
        (
            "if alpha < 0:",
            "p, q = (q, p) if alpha >= 0 else (p, q)\n    if alpha < 0:",
            "p and q are exchanged|other direction",
        ),
        (SUM, "(1 - (p ** (1 - v) * q**v).sum()) / (v * (1 - v))", "1 − Σ… subtracts two equal numbers"),
        ("if v == 0:\n        return (p * -log_t).sum()", "", "is no number there: take the limit"),
        ("return (p * -log_t).sum()", "return (q * log_t).sum()", r"is KL\(p ‖ q\) = .* that is the KL of the other"),
        ("p, q = p[p > 0], q[p > 0]", "pass", "0·log 0 counts as 0"),
        ("a * sd_q**2 + b * sd_p**2", "a * sd_p**2 + b * sd_q**2", "what stands before the exponential"),
        ("-0.5 * a * b", "-a * b", "with equal deviations the integral is"),
        ("a, b = (1 + alpha) / 2, (1 - alpha) / 2", "b, a = (1 + alpha) / 2, (1 - alpha) / 2", "are exchanged"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o2-5", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
