"""Chains of bits, characters and sound, against enumeration and loops."""

import itertools
import math

import pytest
import torch

from dgm.nn.chains import BitChain, CharacterChain, SoundChain


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def every(m: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=m)))


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_bits_are_normalised_and_match_a_loop(order):
    model = BitChain(5, order).double()
    torch.nn.init.normal_(model.logits)
    x = every(5)
    log_prob = model.log_prob(x)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    for row, nats in zip(x.int().tolist(), log_prob.tolist(), strict=True):
        expected = 0.0
        for i, bit in enumerate(row):
            context = sum(b << j for j, b in enumerate(reversed(([0] * order + row)[i : i + order])))
            p = model.logits[i, context].sigmoid().item()
            expected += math.log(p if bit else 1 - p)
        assert nats == pytest.approx(expected)


def test_bits_of_full_order_are_the_histogram():
    x = (torch.rand(60, 3) < torch.tensor([0.3, 0.6, 0.5])).float()
    model = BitChain(3, 2).double().fit_counts(x, alpha=0.0)
    frequency = torch.stack([(x == row).all(1).double().mean() for row in every(3)])
    torch.testing.assert_close(model.log_prob(every(3)).exp().detach(), frequency)


def test_bits_of_order_zero_are_independent_and_smoothed():
    x = (torch.rand(50, 4) < 0.3).float()
    model = BitChain(4).double().fit_counts(x, alpha=1.0)
    p = (x.double().sum(0) + 1) / 52
    expected = (every(4) * p.log() + (1 - every(4)) * (1 - p).log()).sum(1)
    torch.testing.assert_close(model.log_prob(every(4)).detach(), expected)


def test_bits_fit_by_counts_is_the_maximum():
    x = (torch.rand(400, 6) < 0.5).float()
    model = BitChain(6, 2).double().fit_counts(x, alpha=0.0)
    model.loss(x).backward()
    assert model.logits.grad.abs().max() < 1e-12


def test_bits_sample_what_they_say():
    model = BitChain(3, 1).double()
    torch.nn.init.normal_(model.logits)
    draws = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    for row, nats in zip(every(3), model.log_prob(every(3)), strict=True):
        p = nats.exp().item()
        frequency = (draws == row).all(1).double().mean().item()
        assert frequency == pytest.approx(p, abs=5 * math.sqrt(p / 20_000))


def test_characters_follow_the_text():
    chain = CharacterChain(2).fit("abcabcabd")
    assert chain.followers["ab"] == {"c": 2, "d": 1}
    assert CharacterChain(1).fit("ababab").sample(6, start="a") == "abababa"
    assert chain.sample(50, start="xbd"[:2] + "ca").startswith("xbca")
    assert CharacterChain(2).fit("abcd").sample(50, start="ab") == "abcd"  # nothing followed "cd"


def test_characters_are_drawn_as_often_as_they_followed():
    chain = CharacterChain(1).fit("ab" * 30 + "ac" * 10)
    text = chain.sample(8_000, start="a", generator=torch.Generator().manual_seed(0))
    assert text.count("ab") / text.count("a") == pytest.approx(0.75, abs=0.04)


def test_sound_finds_the_recursion_that_made_it():
    truth = SoundChain(2).double()
    truth.a.data = torch.tensor([1.6, -0.8], dtype=torch.float64)
    wave = truth.sample(1, 20_000, generator=torch.Generator().manual_seed(0))[0]
    model = SoundChain(2).double().fit(wave)
    torch.testing.assert_close(model.a.detach(), truth.a.detach(), atol=0.02, rtol=0)
    assert model.log_sigma.item() == pytest.approx(0, abs=0.02)


def test_sound_log_prob_matches_a_loop_and_gradients_arrive():
    model = SoundChain(3).double()
    torch.nn.init.normal_(model.a)
    x = torch.randn(2, 9, dtype=torch.float64)
    expected = torch.zeros(2, dtype=torch.float64)
    for t in range(3, 9):
        mean = sum(model.a[j] * x[:, t - 1 - j] for j in range(3))
        expected += torch.distributions.Normal(mean, model.log_sigma.exp()).log_prob(x[:, t])
    torch.testing.assert_close(model.log_prob(x), expected)
    model.loss(x).backward()
    assert model.a.grad.ne(0).all()
    assert model.log_sigma.grad.ne(0)


@pytest.mark.parametrize("order", [1, 5, 40])
def test_sound_never_blows_up(order):
    wave = torch.sin(torch.arange(300.0).double() ** 1.2) + torch.rand(300)
    companion = torch.diag(torch.ones(order - 1, dtype=torch.float64), -1)
    companion[0] = SoundChain(order).double().fit(wave).a.detach()
    assert torch.linalg.eigvals(companion).abs().max() < 1


BITS = torch.tensor([[0.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: BitChain(3, 3), ValueError, "order"),
        (lambda: BitChain(3, -1), ValueError, "order"),
        (lambda: BitChain(0), ValueError, "m"),
        (lambda: BitChain(3).log_prob(BITS / 2), ValueError, "x"),
        (lambda: BitChain(3).log_prob(2 * BITS), ValueError, "x"),
        (lambda: BitChain(3).log_prob(BITS[:, :2]), ValueError, "x"),
        (lambda: BitChain(3).log_prob(BITS[:0]), ValueError, "x"),
        (lambda: BitChain(3).log_prob(BITS * math.nan), ValueError, "x.*NaN"),
        (lambda: BitChain(3).fit_counts(BITS, alpha=-1.0), ValueError, "alpha"),
        (lambda: BitChain(3).sample(0), ValueError, "n"),
        (lambda: CharacterChain(0), ValueError, "order"),
        (lambda: CharacterChain(3).fit("abc"), ValueError, "text"),
        (lambda: CharacterChain(3).fit(b"abcd"), TypeError, "text"),
        (lambda: CharacterChain(1).fit("abc").sample(3, start="z"), ValueError, "start"),
        (lambda: SoundChain(3).fit(torch.zeros(9)), ValueError, "wave"),
        (lambda: SoundChain(3).fit(torch.ones(3)), ValueError, "wave"),
        (lambda: SoundChain(3).fit(torch.tensor([1.0, math.nan, 0, 0, 0])), ValueError, "wave"),
        (lambda: SoundChain(3).log_prob(torch.ones(1, 3)), ValueError, "x"),
        (lambda: SoundChain(3).sample(1, 0), ValueError, "length"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
