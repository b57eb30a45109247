"""O6.1: typical wrong answers are told what is wrong."""

import re

import pytest

CRITIC = "F.softplus(-real).mean() + F.softplus(fake).mean()"
SATURATING = "-F.softplus(fake).mean()"
NON_SATURATING = "F.softplus(-fake).mean()"
SHORT = ("for _ in range(steps):", "for _ in range(min(steps, 5)):")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (CRITIC, f"0.5 * ({CRITIC})", "the two terms are added, not averaged"),
        (CRITIC, f"-({CRITIC})", "the critic lowers its loss, and raises the value"),
        (CRITIC, "F.softplus(real).mean() + F.softplus(-fake).mean()", "data and samples are exchanged"),
        (
            CRITIC,
            "F.softplus(-real).mean() + F.softplus(-fake).mean()",
            r"for the samples it is log\(1 − D\), not log D",
        ),
        (f"return {SATURATING}", "return F.softplus(fake).mean()", "saturating for .* the sign is turned"),
        (f"return {SATURATING}", f"return {NON_SATURATING}", "saturating for .* the other one of the two losses"),
        (f"return {NON_SATURATING}", "return F.softplus(-fake).sum()", "non_saturating for .* take the mean"),
        (f"return {NON_SATURATING}", "return -torch.log(fake.sigmoid()).mean()", "at logits -200 is 200, came inf"),
        (f"return {NON_SATURATING}", "return F.softplus(-fake.detach()).mean()", "nothing is to be detached"),
        ("manual_seed(seed)", "manual_seed(0)", "same generator for seeds 1 and 2"),
        ("torch.manual_seed(seed)", "pass", "with the same seed twice gives two generators"),
        ("non_saturating}[loss]", 'non_saturating}["non-saturating"]', "which loss does it lower"),
        ("return generator, critic", "return generator", r"is to give two networks .* came Sequential"),
    ],
)
def test_a_wrong_answer_is_told(told, old, new, sentence):
    wrong = told("o6-1", (old, new), SHORT)
    assert any(re.search(sentence, each) for each in wrong), wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("generator_lowers(critic", "-generator_lowers(critic", "does the generator climb the critic, or descend"),
        ("(critic, 3e-3)", "(critic, 1e-7)", "total variation .* expected below 0.3"),
        ("return generator, critic", "return generator, lambda x: critic(x).sigmoid()", "return the logits"),
    ],
)
def test_a_wrong_game_is_told(told, old, new, sentence):
    wrong = told("o6-1", (old, new))
    assert any(re.search(sentence, each) for each in wrong), wrong
