"""C1.2: typical wrong answers are told what is wrong."""

import re

import pytest

DRAWN = "levels = torch.multinomial(table.flatten(0, 2), n, replacement=True, generator=source)"
GREY = "(pictures * (levels - 1)).round().long()"
NLL = "return -p.log().flatten(1).sum(1)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (GREY, "(pictures * (levels - 1)).long()", "cut to the level below; take the nearest"),
        (GREY, "(pictures * levels).long().clamp(max=levels - 1)", "multiply by 4 and round"),
        (
            "return counts / counts.sum(-1, keepdim=True)",
            "return (counts / counts.sum(-1, keepdim=True)).mean((0, 1, 2)).expand_as(counts)",
            "all pixels share one table",
        ),
        ("counts.sum(-1, keepdim=True)", "len(x)", "a table sums to 1.455: α is added to each of 5 levels"),
        (NLL, "return -p.log().flatten(1).mean(1)", "the NLL of a picture is the sum"),
        (NLL, "return -(p + 1e-12).log().flatten(1).sum(1)", "with a level of probability 0 is infinite"),
        (".float() / (table.shape[-1] - 1)", ".float()", "gives the levels 0 … 4"),
        (".float() / (table.shape[-1] - 1)", ".float() / table.shape[-1]", "divide by levels − 1"),
        (
            "levels.T.unflatten(1, table.shape[:3])",
            "levels.T.reshape(n, *table.shape[2::-1]).permute(0, 3, 2, 1)",
            "Has the order of the axes changed",
        ),
        (
            DRAWN,
            "u = torch.rand(n, generator=source, dtype=torch.float64).expand(table[..., 0].numel(), n).contiguous()\n"
            "    levels = torch.searchsorted(table.flatten(0, 2).cumsum(-1), u).clamp(max=table.shape[-1] - 1)",
            "drawn independently, not by the same chance number",
        ),
        (
            DRAWN,
            "levels = table.flatten(0, 2).argmax(-1, keepdim=True).expand(-1, n)",
            "draw, do not maximise",
        ),
        (", weights=p)", ").double() / len(x)", "count each with its weight p"),
        (" - torch.special.entr(p).sum()", "", "entropy of the whole is still to be subtracted"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("c1-2", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
