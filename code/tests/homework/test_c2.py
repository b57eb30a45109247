"""C2: typical wrong answers are told what is wrong."""

import re

import pytest

SUM = "return self.enlarge(short) + self.long(long)"
FORWARD = "pictures: Tensor = self.net(z)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (SUM, "return torch.cat([self.enlarge(short), self.long(long)], 1)", "added, not put side by side"),
        ("short, long = x.chunk(2, dim=1)", "long, short = x.chunk(2, dim=1)", "the halves are exchanged"),
        (SUM, "return self.long(long)", "the short way is missing"),
        ("padding=1),\n            nn.ReLU(),\n", "padding=1),\n", "ReLU between the 3 × 3 convolutions is missing"),
        ("return (1 + 9 + 9) * half**2 + 3 * half", "return (1 + 9 + 9) * half**2", "the biases are missing"),
        ("half = channels // 2\n    return", "half = channels\n    return", "see half of the channels only"),
        ("(LATENT + 1) * 16 * base", "LATENT * 16 * base", "the biases of the linear layer are missing"),
        ("* 3 * 16 + 3", "* 3 * 9 + 3", "4 × 4 places, not 3 × 3"),
        ("            nn.Tanh(),\n", "", "the last activation, tanh, is missing"),
        ("nn.Tanh()", "nn.ReLU()", "tanh is missing|ends in a ReLU|very large z reaches"),
        ("nn.Tanh()", "nn.Sigmoid()", "seems to end in a sigmoid"),
        (SUM, "return self.enlarge(short) + self.long(long).detach()", "no gradient arrives at .*cut off by detach"),
        (FORWARD, "pictures: Tensor = self.net(0 * z + 1)", "the pictures do not depend on z"),
        (
            "-critic(generator(torch.randn(32, LATENT)))",
            "-critic(generator(torch.randn(32, LATENT)).detach())",
            "detached",
        ),
        (
            "softplus(-critic(generator(torch.randn(32, LATENT)))).mean()",
            "-softplus(critic(generator(torch.randn(32, LATENT)))).mean()",
            r"log\(1 − D\) is negative",
        ),
        (
            "for net, rate in zip((critic, generator), lr",
            "for net, rate in zip((critic, generator), lr[::-1]",
            "pair is exchanged",
        ),
        ('"change": run["FD"] / base - 1', '"change": base / run["FD"] - 1', "FD / baseline − 1"),
        ('"conclusion": told[run["name"]]', '"conclusion": ""', "of number 0 conclusion is empty"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("c2", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong


def test_blocks_in_a_plain_list_are_missed(told):
    wrong = told(
        "c2",
        (
            "self.long = nn.Sequential(",
            "self.long = lambda x: [x := layer(x) for layer in self.plain][-1]\n        self.plain = [",
        ),
        (
            "            nn.Conv2d(half, half, 3, padding=1),\n        )",
            "            nn.Conv2d(half, half, 3, padding=1),\n        ]",
        ),
    )
    assert any("three nn.Conv2d" in each for each in wrong), wrong
    assert any("a plain list hides them" in each for each in wrong), wrong
