"""O6.1 A GAN on the line: the saturating and the non-saturating loss, and a game of two small networks."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dgm.homework import Answer, Wrong, finite

ASKS = {
    "critic_loss": "critic_loss(real, fake) -> −E log D − E log(1 − D) from logits (B, 1), a scalar",
    "saturating": "saturating(fake) -> E log(1 − D) from logits at samples (B, 1), a scalar",
    "non_saturating": "non_saturating(fake) -> −E log D from logits at samples (B, 1), a scalar",
    "train": "train(data, loss, steps, seed) -> (generator, critic), the critic with logits",
}
STEPS, APART = 1_000, 0.3
"""Steps of the game that is judged, and what the total variation of its samples from new data is to be below."""


def points(split: str) -> Tensor:
    """The homework's data: 20,000 draws of ½N(−1, 0.3²) + ½N(1, 0.3²), moved and scaled to fill [0, 1].

    Args:
        split: "train", the first 16,000, or "test", the last 4,000.

    Returns:
        (N, 1).
    """
    draw = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(20_000, 1, generator=draw) < 0.5, -1.0, 1.0)
    x = side + 0.3 * torch.randn(20_000, 1, generator=draw)
    x = (x - x.min()) / (x.max() - x.min())
    return {"train": x[:16_000], "test": x[16_000:]}[split]


def shares(x: Tensor, bins: int = 20) -> Tensor:
    """The share of points in each of the bins of [0, 1], (bins,); points outside are in none."""
    return torch.histc(x.flatten(), bins, 0, 1) / x.numel()


def apart(x: Tensor, y: Tensor) -> float:
    """The total variation between two heaps of points, over 20 bins and what is outside: 0 … 1."""
    p, q = shares(x), shares(y)
    return 0.5 * ((p - q).abs().sum() + (p.sum() - q.sum()).abs()).item()


def _logits(seed: int, n: int) -> Tensor:
    return 2 * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _means(real: Tensor, fake: Tensor) -> tuple[float, float, float]:
    """The mean of log D at data, of log(1 − D) and of log D at samples."""

    def D(t: float) -> float:
        return 1 / (1 + math.exp(-t))

    real_, fake_ = real.flatten().tolist(), fake.flatten().tolist()
    columns = ([math.log(D(t)) for t in real_], [math.log(1 - D(t)) for t in fake_], [math.log(D(t)) for t in fake_])
    log_real, log_not, log_fake = (sum(column) / len(column) for column in columns)
    return log_real, log_not, log_fake


def check_critic(answer: Answer) -> None:
    """The critic's loss is the cross-entropy of telling data from samples: 2 log 2 where it knows nothing."""
    zero = torch.zeros(5, 1)
    came = answer.number("critic_loss", zero, zero)
    if abs(came - 2 * math.log(2)) > 1e-5:
        why = {
            round(math.log(2), 3): "; the two terms are added, not averaged",
            round(-2 * math.log(2), 3): "; the sign is turned: the critic lowers its loss, and raises the value",
            round(10 * math.log(2), 3): "; take means over the batch, not sums",
        }.get(round(came, 3), "; are logits taken for probabilities?")
        raise Wrong(f"critic_loss at logits 0, D = ½, is 2 log 2 = 1.3863, came {came:.4f}{why}")
    real, fake = _logits(1, 6), _logits(2, 4)
    log_real, log_not, log_fake = _means(real, fake)
    right, came = -log_real - log_not, answer.number("critic_loss", real, fake)
    if abs(came - right) > 1e-6:
        exchanged = -_means(fake, real)[0] - _means(fake, real)[1]
        why = {
            round(exchanged, 5): "; data and samples are exchanged: D is the probability of data",
            round(-log_real - log_fake, 5): "; for the samples it is log(1 − D), not log D",
        }.get(round(came, 5), "")
        raise Wrong(f"critic_loss for 6 and 4 random logits: expected {right:.5f}, came {came:.5f}{why}")


def check_generator(answer: Answer) -> None:
    """The generator's two losses have the slopes −D and D − 1 by the logit: both push it up."""
    fake = _logits(3, 5)
    _, log_not, log_fake = _means(fake, fake)
    D = torch.sigmoid(fake)
    for name, right, slope in (("saturating", log_not, -D), ("non_saturating", -log_fake, D - 1)):
        logits = fake.clone().requires_grad_()
        loss = answer(name, logits)
        if not (isinstance(loss, Tensor) and loss.shape == () and loss.requires_grad):
            raise Wrong(f"{name} is to give a scalar with a gradient by the logits; nothing is to be detached in it")
        came = loss.item()
        (felt,) = torch.autograd.grad(loss, logits)
        if abs(came - right) < 1e-6 and (felt - slope / 5).abs().max() < 1e-6:
            continue
        why = ""
        if abs(came + right) < 1e-6:
            why = "; the sign is turned: the generator would leave where the critic is fooled"
        elif abs(came - (-log_fake if name == "saturating" else log_not)) < 1e-6:
            why = "; that is the other one of the two losses"
        elif abs(came - 5 * right) < 1e-6:
            why = "; take the mean over the batch, not the sum"
        elif abs(came + (log_fake if name == "saturating" else log_not)) < 1e-6:
            why = "; log D and log(1 − D) are mixed up"
        slopes = f"slope by the first logit {slope[0].item() / 5:.4f}, came {came:.5f} and {felt[0].item():.4f}"
        raise Wrong(f"{name} for 5 random logits: expected {right:.5f}, {slopes}{why}")


def check_sure(answer: Answer) -> None:
    """All losses stay finite and right where the critic is sure."""
    low, high = torch.full((3, 1), -200.0), torch.full((3, 1), 200.0)
    for name, logits, right in (
        ("saturating", (low,), 0.0),
        ("saturating", (high,), -200.0),
        ("non_saturating", (low,), 200.0),
        ("non_saturating", (high,), 0.0),
        ("critic_loss", (high, low), 0.0),
        ("critic_loss", (low, high), 400.0),
    ):
        came = float(answer(name, *logits))
        if not abs(came - right) < 1e-3:
            at = " and ".join(f"{t[0].item():g}" for t in logits)
            how = "the sigmoid is rounded to 0 or 1; use softplus or logsigmoid of the logit, and no small constant"
            raise Wrong(f"{name} at logits {at} is {right:g}, came {came:g}; {how}")


def _game(answer: Answer, loss: str, steps: int, seed: int) -> tuple[Any, Any]:
    """Generator and critic as they came."""
    came = answer("train", points("train"), loss, steps, seed)
    if not (isinstance(came, tuple | list) and len(came) == 2 and all(callable(net) for net in came)):
        raise Wrong(f"train is to give two networks (generator, critic), came {type(came).__name__}")
    return came[0], came[1]


@torch.no_grad()
def _called(net: Any, x: Tensor, name: str) -> Tensor:
    """What a trained network gives for x, (N, 1)."""
    try:
        came = net(x)
    except Exception as error:
        raise Wrong(f"the {name} of train stops on a tensor {tuple(x.shape)}: {error}") from None
    return finite(came, f"the {name} of train on {tuple(x.shape)}", tuple(x.shape))


def check_short(answer: Answer) -> None:
    """A few steps: the right shapes, the same game for the same seed, another one for another seed or loss."""
    z = torch.linspace(-2, 2, 9)[:, None]
    played = [
        _game(answer, *how) for how in (("non-saturating", 5, 1), ("non-saturating", 5, 1), ("non-saturating", 5, 2))
    ]
    one, again, other = (_called(game[0], z, "generator") for game in played)
    _called(played[0][1], z, "critic")
    if not torch.equal(one, again):
        raise Wrong("train with the same seed twice gives two generators; call torch.manual_seed(seed) first of all")
    if torch.equal(one, other):
        raise Wrong("train gives the same generator for seeds 1 and 2; the seed is to be that of all chance")
    if torch.equal(one, _called(_game(answer, "saturating", 5, 1)[0], z, "generator")):
        raise Wrong('train gives the same generator for "saturating" and "non-saturating"; which loss does it lower?')


@lru_cache(maxsize=1)
def _trained(answer: Answer) -> tuple[Any, Any, Tensor]:
    """Generator and critic of the game that is judged, and 50,000 samples at equally spaced quantiles of z."""
    generator, critic = _game(answer, "non-saturating", STEPS, 0)
    z = torch.special.ndtri((torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000).float()[:, None]
    return generator, critic, _called(generator, z, "generator")


def check_samples(answer: Answer) -> None:
    """After 1,000 non-saturating steps the samples have both modes, and a total variation from new data below 0.3."""
    x, test = _trained(answer)[2], points("test")
    missed = apart(x, test)
    if missed < APART:
        return
    normal = apart(points("train").mean() + points("train").std() * torch.randn(50_000, 1), test)
    left, outside = (x < 0.5).float().mean().item(), ((x < 0) | (x > 1)).float().mean().item()
    why = "the modes are there, but not their shape: more steps of the critic for one of the generator may help"
    if outside > 0.3:
        why = f"{outside:.0%} of the samples are outside [0, 1]: does the generator climb the critic, or descend?"
    elif not 0.2 < left < 0.8:
        why = f"{left:.0%} of the samples are in the left half: one mode is missing"
    elif shares(x, 5)[2] > 0.25:
        valley = shares(x, 5)[2].item(), shares(test, 5)[2].item()
        why = f"{valley[0]:.0%} of the samples are between the modes, where {valley[1]:.0%} of the data are"
    told = f"total variation {missed:.3f}, expected below {APART:g}"
    raise Wrong(f"train(…, 'non-saturating', {STEPS}, 0): {told}, and one normal law has {normal:.3f}; {why}")


def check_logits(answer: Answer) -> None:
    """The critic's answers are logits, and not probabilities."""
    _, critic, _ = _trained(answer)
    logit = _called(critic, torch.linspace(-1, 2, 301)[:, None], "critic")
    if logit.min() >= 0 and logit.max() <= 1:
        told = f"from {logit.min():.3f} to {logit.max():.3f} for x from −1 to 2"
        raise Wrong(f"the critic of train says {told}: these look like probabilities; return the logits")
