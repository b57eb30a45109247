"""O2.1: typical wrong answers are told what is wrong."""

import re

import pytest


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("place[:, None] > number", "place[:, None] >= number", "output 1 sees its own pixel"),
        ("number[:, None] >= place", "number[:, None] > place", "though 200 units are enough"),
        (
            "number[:, None] >= place",
            "(number[:, None] >= place).T",
            r"M_W is to have the shape \(5, 3\), came \(3, 5\)",
        ),
        ("return M_V @ M_W", "return (M_V @ M_W).T", "paths is transposed"),
        ("return M_V @ M_W", "return ((M_V @ M_W) > 0).long()", "there are [2-4] ways for these masks; came 1"),
        ("manual_seed(seed)", "manual_seed(0)", "same for seeds 1 and 2"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o2-1", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
