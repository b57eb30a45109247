"""O3.2: typical wrong answers are told what is wrong."""

import re

import pytest

UNTRAINED = ("steps = 900", "steps = 2")
"""The quick tests look at all but the training."""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("flatten(1).sum(1)\n    # --- end", "flatten(1).mean(1)\n    # --- end", "weigh 768 times too much"),
        ("- 0.5 * math.log(2 * math.pi)", "", "the constant is missing"),
        ("- kl\n", "+ kl\n", "the KL is added"),
        ("- log_sd).sum(1)", "- log_sd).mean(1)", "the KL is the mean over the 16 coordinates"),
        ("log_normal(x, decoder(z)) - kl", "log_normal(x, decoder(z))", "trains an autoencoder"),
        ("z = mean + log_sd.exp() * eps", "z = mean", "the noise is not used"),
        ("decoder(z)) - kl", "decoder(z.detach())) - kl", "the code keeps its gradient"),
        (
            "encoder(x).chunk(2, dim=1)\n    z",
            "encoder(x).detach().chunk(2, dim=1)\n    z",
            "no gradient reaches the encoder",
        ),
        ("nn.Linear(128, 2 * LATENT)", "nn.Linear(128, LATENT)", r"shape \(4, 32\), came \(4, 16\)"),
        ("z = torch.randn(n, LATENT", "z = torch.rand(n, LATENT", "randn, not rand"),
        ("return decoder(z).clamp(-1, 1)", "return decoder(z)", "clamp what the decoder says"),
        ("begin[:, None], end[:, None]", "end[:, None], begin[:, None]", "runs from b to a"),
        ("torch.linspace(0, 1, steps)", "torch.linspace(0, 1, steps + 1)[:-1]", "both ends are included"),
        ("x).chunk(2, dim=1)[0]).clamp", "x).chunk(2, dim=1)[1]).clamp", "first half of the encoder's answer"),
        ("steps = 900", "steps = 2", "best linear decoder is asked"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o3-2", (old, new), *([UNTRAINED] if old != UNTRAINED[0] else []))
    assert any(re.search(sentence, each) for each in wrong), wrong


LOSS = "loss = -elbo(x, encoder, decoder, torch.randn(64, LATENT)).mean()"
PLAIN = "loss = (decoder(encoder(x).chunk(2, dim=1)[0]) - x).square().flatten(1).sum(1).mean()"
MEAN = "loss = -log_normal(x, decoder(torch.randn(64, LATENT))).mean() + encoder(x).square().mean()"


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "sentence"), [(PLAIN, "The KL is huge"), (MEAN, "The code is empty")])
def test_a_wrong_training_is_told(told, loss, sentence):
    wrong = told("o3-2", (LOSS, loss), ("steps = 900", "steps = 300"))
    assert any(re.search(sentence, each) for each in wrong), wrong
