"""O6.2: typical wrong answers are told what is wrong."""

import re

import pytest

PENALTY = "return weight * (slope.flatten(1).norm(dim=1) - 1).square().mean()"
LOSS = "return critic(fake).mean() - critic(real).mean() + penalty("
QUICK = ("steps, critic_steps, batch = 300, 2, 32", "steps, critic_steps, batch = 2, 1, 4")
"""All but the last check, which trains, are quick; with this it is, too, and says that the distance is large."""
STEP = """    loss = generator_loss(critic, generator(torch.randn(len(batches[-1]), latent)))
    generator_optimizer.zero_grad()
    loss.backward()
    generator_optimizer.step()
"""
ZERO = "        critic_optimizer.zero_grad()\n"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("t * real + (1 - t) * fake", "t * fake + (1 - t) * real", "the share is that of the data"),
        ("t = share.reshape(-1, *[1] * (real.dim() - 1))", "t = share", "its own share.*shape \\(B, 1, 1, 1\\)"),
        (PENALTY, "return (slope.flatten(1).norm(dim=1) - 1).square().mean()", "weight λ is missing"),
        (PENALTY, PENALTY.replace(" - 1)", ")"), "1 is to be subtracted"),
        (PENALTY, "return weight * (slope.flatten(1).square().sum(1) - 1).square().mean()", "the root .* is missing"),
        (PENALTY, "return weight * (slope.norm() - 1).square()", "norm over the whole batch"),
        (PENALTY, PENALTY.replace("flatten(1).norm(dim=1) - 1)", "flatten(1).norm(dim=1) - 1).relu()"), "two sides"),
        (PENALTY, PENALTY.replace("slope.flatten(1)", "slope"), "norm was taken over the channels"),
        ("critic(x).sum(), x", "critic(x).mean(), x", "taken of the mean over the batch"),
        ("x = interpolates(real, fake, share)", "x = real", "taken at data; it belongs to the interpolates"),
        (", create_graph=True", "", "create_graph=True keeps the slope's graph"),
        (LOSS, "return critic(real).mean() - critic(fake).mean() + penalty(", "the two means are exchanged"),
        (LOSS, "return critic(fake).mean() - critic(real).mean() - penalty(", "the penalty is subtracted"),
        ("return -critic(fake).mean()", "return critic(fake).mean()", "walks away from the data"),
        (ZERO, "", r"step 2 the critic's gradient .* zero_grad\(\) is missing"),
        (STEP, STEP.replace("    ", "        "), "generator is to step once a round; it stepped 3 times"),
        ("(torch.randn(len(real), latent))", "(torch.rand(len(real), latent) * 0 + 1)", "is to see fresh samples"),
        (
            "(torch.randn(len(batches[-1]), latent))",
            "(torch.randn(len(real), latent)).detach()",
            "stops: RuntimeError|is 0",
        ),
        ("losses.append(loss.detach())", "losses.append(-loss.detach())", "the loss from which that step was taken"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o6-2", (old, new), QUICK)
    assert any(re.search(sentence, each) for each in wrong), wrong


def test_too_short_a_training_is_told(told):
    (wrong,) = told("o6-2", QUICK)
    assert re.search(r"Fréchet distance .* is \d+\.\d; at most .*pixels drawn alone", wrong), wrong


@pytest.mark.slow
def test_a_generator_that_forgets_z_is_told(told):
    (wrong,) = told("o6-2", ("return generator.eval()", "return lambda z: generator.eval()(0 * z)"))
    assert "z is not used" in wrong
