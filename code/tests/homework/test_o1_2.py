"""O1.2: typical wrong answers are told what is wrong."""

import re

import pytest

LOG_PROB = "return model(x).log_softmax(-1).gather(-1, x[..., None]).squeeze(-1).sum(1)"
MASKED = "self.{0}.weight * self.{1}"
ONCE = (
    "            self.register_buffer(name, mask)\n",
    "            self.register_buffer(name, mask)\n"
    "        self.into.weight.data *= self.M_W\n        self.out.weight.data *= self.M_V\n",
)
NO_TRAINING = ("steps = 300", "steps = 2")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([("place[:, None] > degree", "place[:, None] >= degree")], "output 1 hears its own variable"),
        ([("degree[:, None] >= place", "degree[:, None] > place")], "output 2 does not hear variable 1"),
        ([("repeat_interleave(values)", "repeat(values)")], r"repeat_interleave\), not the whole row"),
        ([(MASKED.format("out", "M_V"), "self.out.weight")], "logits of variable 1 change with variable 1"),
        (
            [
                ONCE,
                (MASKED.format("into", "M_W"), "self.into.weight"),
                (MASKED.format("out", "M_V"), "self.out.weight"),
            ],
            "as made it is sound, but with other weights",
        ),
        ([(LOG_PROB, LOG_PROB.replace("sum(1)", "mean(1)"))], "mean over the variables"),
        ([(LOG_PROB, LOG_PROB.replace("log_softmax(-1)", "log_softmax(1)"))], "softmax runs over the variables"),
        ([(LOG_PROB, LOG_PROB.replace("return ", "return -"))], "sign is that of a loss"),
        ([("p = model(x)[:, i]", "p = model(torch.zeros_like(x))[:, i]")], "came from one pass"),
        ([("range(model.m)", "reversed(range(model.m))")], "of the mass is misplaced"),
        ([("manual_seed(seed)\n    x =", "manual_seed(1)\n    x =")], "same for seeds 0 and 1"),
        ([NO_TRAINING], r"row and column counted apart: 3\.92\d+\)\. The training NLL is 4\.\d+: train longer"),
    ],
)
def test_a_wrong_answer_is_told(told, changes, sentence):
    wrong = told("o1-2", *([] if NO_TRAINING in changes else [NO_TRAINING]), *changes)
    assert any(re.search(sentence, each) for each in wrong), wrong


def test_a_model_without_dependence_is_told(told):
    wrong = told("o1-2", ("self.out.weight * self.M_V", "0 * self.out.weight"))
    assert any("never change with variable 1" in each for each in wrong), wrong
    assert any("as good as two independent tables" in each for each in wrong), wrong
