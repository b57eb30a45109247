"""C1.1: typical wrong answers are told what is wrong."""

import re

import pytest

COUNTS = "torch.bincount(column, minlength=d).double() + alpha"
DRAWN = "drawn = [torch.multinomial(table, n, replacement=True, generator=source) for table in tables]"
CHOICE = "probability(fit(train, sizes, alpha), validation)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (", minlength=d)", ")", "attribute 2 has 5 entries of 6: a value that was never seen"),
        ("counts / counts.sum()", "counts", "These are counts; divide by their sum"),
        ("counts / counts.sum()", "counts / len(styles)", r"It sums to 1\.\d+: α is added to each"),
        (COUNTS, COUNTS.replace(" + alpha", ""), "pseudo-count is not used"),
        (COUNTS, COUNTS.replace(" + alpha", " + bool(alpha)"), "α = 1 whatever α is given"),
        (".prod(0)", ".sum(0)", "multiply, they do not add"),
        (".prod(0)", ".log().sum(0)", "probability.* holds NaN or infinite numbers"),
        (DRAWN, DRAWN.replace("multinomial(table,", "multinomial(torch.ones_like(table),"), "table is not used"),
        (
            DRAWN,
            "u = torch.rand(n, generator=source, dtype=torch.float64)\n"
            "    drawn = [torch.searchsorted(table.cumsum(0), u).clamp(max=len(table) - 1) for table in tables]",
            "drawn independently, not with the same chance number",
        ),
        (
            "return styles, probability(tables, styles)",
            "return styles, probability(tables, styles).sort().values",
            "Is it that of the style that was drawn",
        ),
        (CHOICE, CHOICE.replace("validation", "train"), "judge by the validation styles"),
        ("return min(alphas", "return max(alphas", "That is the worst: the NLL is to be small"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("c1-1", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
