"""O2.3: typical wrong answers are told what is wrong."""

import re

import pytest

FULL = "0.5 * (white.square().sum() - len(mean_q) + log_dets)"
STANDARD = "(0.5 * (torch.exp(2 * log_sd) + mean.square() - 1) - log_sd).sum(-1)"
DIRECT = """inverse = torch.linalg.inv(cov_p)
    trace = torch.trace(inverse @ cov_q)
    square = (mean_p - mean_q) @ inverse @ (mean_p - mean_q)
    return 0.5 * (trace + square - len(mean_q) + torch.log(torch.det(cov_p) / torch.det(cov_q)))"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (FULL, f"2 * {FULL}", "the factor ½ is missing"),
        (FULL, FULL.replace("+ log", "- log"), "the log of the determinants has the wrong sign"),
        (FULL, FULL.replace("- len(mean_q)", ""), r"is 0 for any law, came 0.5 for D = 1; is the −D missing\?"),
        (FULL, FULL.replace("len(mean_q)", "1"), "subtract D, the number of coordinates, and not 1"),
        (FULL, f"{FULL} / len(mean_q)", "that is the mean over the coordinates"),
        (FULL, f"{FULL} / 0.6931471805599453", "that is in bits: nats are natural logarithms"),
        ("L_q, L_p = ", "cov_q, cov_p = cov_p, cov_q; L_q, L_p = ", r"that is KL\(p ‖ q\): the two laws are exchanged"),
        ("L_q, L_p = ", "cov_q, cov_p = cov_q**2, cov_p**2; L_q, L_p = ", "a variance, not a deviation"),
        (
            "L_q, L_p = ",
            "cov_q, cov_p = (c.diagonal().diag() for c in (cov_q, cov_p)); L_q, L_p = ",
            "only the diagonals of the covariances are used",
        ),
        (f"return {FULL}", DIRECT, "expected .*, came (nan|inf|-inf); det is rounded to (0|∞) here"),
        (STANDARD, STANDARD.replace("- 1) - log_sd", "- 1 - log_sd)"), "the logarithm stands outside the bracket"),
        (STANDARD, "(0.5 * (torch.exp(log_sd) + mean.square() - 1 - log_sd)).sum(-1)", "is log σ, not log σ²"),
        (STANDARD, STANDARD.replace("sum(-1)", "mean(-1)"), "that is the mean over the coordinates: KL is their sum"),
        (STANDARD, STANDARD.replace("sum(-1)", "sum()"), "one number for the whole batch"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o2-3", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
