"""O1.1: typical wrong answers are told what is wrong."""

import re

import pytest

NLL = "return -logits.log_softmax(-1)[x].mean()"
GRADIENT = "return logits.softmax(-1) - frequencies"
STEP = "logits -= lr * gradient(logits, x)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (NLL, "return logits.log_softmax(-1)[x].mean()", r"came -0\.6931\. The sign is missing"),
        (NLL, "return -logits.log_softmax(-1)[x].sum()", "the sum over the 6 examples"),
        (NLL, "return -logits.log_softmax(-1)[x].mean() / 0.6931471805599453", "logarithm to base 2"),
        (NLL, "return -logits.softmax(-1)[x].mean().log()", "logarithm of a mean"),
        (NLL, "return -logits.softmax(-1)[x].log().mean()", r"nll\(\[1000, 0\], \[1\]\) is 1000; came inf.*overflows"),
        (GRADIENT, "return frequencies - logits.softmax(-1)", "wrong sign: it is model minus data"),
        (" / len(x)\n    return", "\n    return", "subtracts counts from probabilities"),
        (STEP, "logits += lr * gradient(logits, x)", "less probable: from 1.609.*up the gradient"),
        ("range(300)", "range(1)", "its learnt probability is"),
        ("range(300)", "range(3)", r"The training NLL is 4\.\d+, 4\.18 can be reached: more or larger steps"),
        (STEP, "logits = (torch.bincount(x, minlength=d) / len(x)).log()", "the probability 0, and one test draw"),
        (
            "torch.multinomial(logits.softmax(-1), n",
            "torch.multinomial(logits.clamp(min=0), n",
            "take the softmax first",
        ),
        ("return torch.multinomial(", "return 1 + torch.multinomial(", r"the numbers 0 … 3; came 1 … 4"),
        ("manual_seed(seed)", "manual_seed(0)", "same for seeds 0 and 1"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o1-1", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
