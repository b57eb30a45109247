"""O1.3 MADE on binary digits: deep masks, an exact likelihood, samples, and digits learnt in half a minute."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from dgm.data import digits
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "masks": "masks(m, hidden) -> the list of masks of a network with hidden layers of these sizes",
    "MADE": "MADE(m, hidden) -> an nn.Module: float (B, m) of zeros and ones to logits (B, m)",
    "log_prob": "log_prob(model, x) -> the log-probability in nats of each row of x, (B,)",
    "sample": "sample(model, n, seed) -> n examples drawn from the model, float (n, m)",
    "train": "train(data, seed) -> a MADE, trained on data, float (n, m)",
}
SIZES: tuple[tuple[int, list[int]], ...] = ((4, [30]), (6, [60]), (6, [60, 60]), (5, [40, 60, 40]))
THRESHOLD = 0.22  # of the course, for MNIST itself


def _masks(answer: Answer, m: int, hidden: list[int]) -> list[Tensor]:
    """The masks as they came, as numbers 0 and 1 of the right shapes."""
    called = f"masks({m}, {hidden})"
    came = answer("masks", m, hidden)
    if not (isinstance(came, tuple | list) and len(came) == len(hidden) + 1):
        what = f"{len(came)}" if isinstance(came, tuple | list) else type(came).__name__
        raise Wrong(f"{called} is to give a list of {len(hidden) + 1} masks, one a layer; came {what}")
    sizes = [m, *hidden, m]
    for depth, mask in enumerate(came):
        shape = (sizes[depth + 1], sizes[depth])
        if not isinstance(mask, Tensor) or tuple(mask.shape) != shape:
            what = str(tuple(mask.shape)) if isinstance(mask, Tensor) else type(mask).__name__
            raise Wrong(f"{called}: mask {depth + 1} is to have the shape {shape}, came {what}")
        if not ((mask == 0) | (mask == 1)).all():
            raise Wrong(f"{called}: mask {depth + 1} is to hold zeros and ones only")
    return [mask.double() for mask in came]


def _heard(masks: list[Tensor]) -> Tensor:
    """Which input (column) leads to which output (row)."""
    total = masks[0]
    for mask in masks[1:]:
        total = ((mask @ total) > 0).double()
    return total > 0


def check_masks(answer: Answer) -> None:
    """Through any number of layers, output i hears the inputs 1 … i−1, all of them and no other."""
    for m, hidden in SIZES:
        heard, called = _heard(_masks(answer, m, hidden)), f"masks({m}, {hidden})"
        if (leaks := heard.triu()).any():
            i, j = leaks.nonzero()[0].tolist()
            if i == j:
                raise Wrong(f"{called}: output {i + 1} hears its own bit. The last mask is strict: place > degree")
            raise Wrong(f"{called}: output {i + 1} hears bit {j + 1}, which comes later")
        if (deaf := (~heard).tril(-1)).any():
            i, j = deaf.nonzero()[0].tolist()
            hint = "a hidden unit reads degrees up to its own, ≥; strict is the last mask alone"
            raise Wrong(f"{called}: output {i + 1} does not hear bit {j + 1}, though there are units enough: {hint}")


def check_spread(answer: Answer) -> None:
    """With fewer units than pixels, the degrees are spread over the whole picture."""
    heard = _heard(_masks(answer, 784, [300]))
    last = torch.where(heard, torch.arange(1, 785), 0).amax(1)  # the latest pixel that each output hears
    late = torch.arange(784) - last  # how many it misses right before itself
    if late.max() > 100:
        i = int(late.argmax())
        raise Wrong(
            f"masks(784, [300]): output {i + 1} hears no pixel after {int(last[i])}, so it does not know its "
            "neighbours. Spread the degrees over 1 … 783, evenly or by chance; counting up from 1 ends at 300"
        )


def _model(answer: Answer, m: int, hidden: list[int]) -> nn.Module:
    came = answer("MADE", m, hidden)
    if not isinstance(came, nn.Module):
        raise Wrong(f"MADE is to be an nn.Module, came {type(came).__name__}")
    if not list(came.parameters()):
        raise Wrong("MADE has no parameters that training could change: a list of layers has to be an nn.ModuleList")
    return came.eval()


@torch.no_grad()
def _drawn(answer: Answer, m: int, hidden: list[int], scale: float) -> nn.Module:
    """A model with random weights of this size."""
    model = _model(answer, m, hidden)
    source = torch.Generator().manual_seed(m)
    for weight in model.parameters():
        weight.copy_(scale * torch.randn(weight.shape, generator=source))
    return model


@torch.no_grad()
def _logits(answer: Answer, model: nn.Module, x: Tensor) -> Tensor:
    answer.names["MADE.forward"] = model
    return finite(answer("MADE.forward", x), "MADE(…)(x)", tuple(x.shape)).double()


def _flipped(x: Tensor, j: int) -> Tensor:
    other = x.clone()
    other[:, j] = 1 - other[:, j]
    return other


def _leak(answer: Answer, model: nn.Module, x: Tensor, bits: list[int]) -> tuple[int, int] | None:
    """The first output that hears one of these bits and must not, and that bit."""
    base = _logits(answer, model, x)
    for j in bits:
        moved = (_logits(answer, model, _flipped(x, j)) - base).abs().amax(0)[: j + 1] > 1e-5
        if moved.any():
            return int(moved.nonzero()[0]), j
    return None


def _every(m: int) -> Tensor:
    """All outcomes of m bits, float (2^m, m)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * m)


def check_blind(answer: Answer) -> None:
    """No logit changes with its own bit or a later one, and later logits do change, whatever the weights."""
    for m, hidden in SIZES:
        x, called = _every(m), f"MADE({m}, {hidden})"
        if leak := _leak(answer, _model(answer, m, hidden), x, list(range(m))):
            told = f"{called}: logit {leak[0] + 1} changes with bit {leak[1] + 1}"
            raise Wrong(f"{told}. Is every mask in use, each at its own layer?")
        model = _drawn(answer, m, hidden, 1.0)
        if leak := _leak(answer, model, x, list(range(m))):
            told = f"logit {leak[0] + 1} changes with bit {leak[1] + 1}"
            raise Wrong(
                f"{called}: as made it is sound, but with other weights in it {told}. Mask the weights in each pass, "
                "not once: training changes them"
            )
        for j in range(m - 1):
            base = _logits(answer, model, x)
            still = (_logits(answer, model, _flipped(x, j)) - base).abs().amax(0)[j + 1 :] < 1e-6
            if still.any():
                raise Wrong(f"{called}: logit {j + 2 + int(still.nonzero()[0])} never changes with bit {j + 1}")


def check_log_prob(answer: Answer) -> None:
    """`log_prob` adds up the logarithms of what happened, and all outcomes together have the mass 1."""
    for m, hidden in SIZES:
        x, model = _every(m), _drawn(answer, m, hidden, 0.5)
        logits = _logits(answer, model, x)
        each = Bernoulli(logits=logits).log_prob(x.double())
        came = answer.tensor("log_prob", model, x, shape=(len(x),)).detach().double()
        want = each.sum(1)
        if torch.allclose(came, want, rtol=0, atol=1e-4):
            if abs(mass := came.exp().sum().item() - 1) > 1e-3:
                raise Wrong(f"log_prob: all {len(x)} outcomes together have the mass {mass + 1:.3f}, not 1: a leak")
            continue
        k = int((came - want).abs().argmax())
        bits = [int(bit) for bit in x[k]]
        told = f"log_prob of {bits} is {want[k]:.4f} by the model's own logits, came {came[k]:.4f}"
        for guess, hint in (
            (-want, "The sign is that of a loss"),
            (each.mean(1), "That is the mean over the bits; their log-probabilities are added"),
            (want / math.log(2), "That is to base 2; use the natural logarithm"),
            (want.exp(), "That is the probability itself"),
            (Bernoulli(logits=-logits).log_prob(x.double()).sum(1), "Zeros and ones are exchanged"),
            ((x * logits.sigmoid().log()).sum(1), "The zeros count as well: (1 − x) log(1 − p) is missing"),
        ):
            if torch.allclose(came, guess, rtol=0, atol=1e-4):
                raise Wrong(f"{told}. {hint}")
        raise Wrong(told)
    model = _drawn(answer, 4, [9], 300.0)
    came = answer("log_prob", model, _every(4))
    if not torch.isfinite(torch.as_tensor(came)).all():
        raise Wrong(
            "log_prob gives an infinite number or NaN for large logits: the sigmoid rounds to 0 or 1. "
            "Use binary_cross_entropy_with_logits or logsigmoid"
        )


def check_sample(answer: Answer) -> None:
    """Every outcome is drawn as often as its probability says, and the seed decides the draws."""
    n, m = 20_000, 4
    model, x = _drawn(answer, m, [9], 1.0), _every(m)
    came = answer.tensor("sample", model, n, 0, shape=(n, m)).double()
    if not ((came == 0) | (came == 1)).all():
        raise Wrong("sample is to give zeros and ones; draw each bit from its probability")
    seen = torch.bincount((came.long() * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / n
    p = Bernoulli(logits=_logits(answer, model, x)).log_prob(x.double()).sum(1).exp()
    distance = (seen - p).abs().sum().item() / 2  # in total variation; chance makes about 0.01
    if distance > 0.03:
        start = Bernoulli(logits=_logits(answer, model, torch.zeros(1, m)))
        at_once = start.log_prob(x.double()).sum(1).exp()
        hint = ""
        if (seen - at_once).abs().sum() / 2 < 0.02:
            hint = ". They are distributed as if all bits came from one pass: put each in before you ask for the next"
        elif seen.max() == 1:
            hint = ". Always the same outcome: draw, do not round"
        elif (seen - 1 / 16).abs().sum() / 2 < 0.02:
            hint = ". All outcomes come alike: are the logits used?"
        k = int((seen - p).abs().argmax())
        raise Wrong(
            f"sample: {[int(bit) for bit in x[k]]} has the probability {p[k]:.3f}, of 20,000 draws {seen[k]:.3f} were "
            f"it; in all {distance:.0%} of the mass is misplaced{hint}"
        )
    if not torch.equal(came, torch.as_tensor(answer("sample", model, n, 0)).double()):
        raise Wrong("sample with the same seed twice gives two samples; draw from a generator with that seed")
    if torch.equal(came, torch.as_tensor(answer("sample", model, n, 1)).double()):
        raise Wrong("sample gives the same for seeds 0 and 1; use the seed")


def check_train(answer: Answer) -> None:
    """Trained on the 3,500 binary digits, the test NLL is below 0.22 nats per pixel, and nothing leaks."""
    data, test = (digits(split, binary=True).images.flatten(1) for split in ("train", "test"))
    model = answer("train", data.clone(), 0)
    if not isinstance(model, nn.Module):
        raise Wrong(f"train is to give the trained model, came {type(model).__name__}")
    model.eval()
    if leak := _leak(answer, model, test[:50], list(range(20, 784, 40))):
        raise Wrong(f"after train, logit {leak[0] + 1} changes with pixel {leak[1] + 1}: the trained model leaks")
    with torch.no_grad():
        fitted, came = (-answer.tensor("log_prob", model, x, shape=(len(x),)).mean().item() / 784 for x in (data, test))
    if came >= THRESHOLD:
        rate = (data.sum(0) + 1) / (len(data) + 2)
        apart = -Bernoulli(probs=rate).log_prob(test).mean().item()
        told = (
            f"after train the test NLL is {came:.4f} nats per pixel; below {THRESHOLD} is asked "
            f"(all alike: {math.log(2):.4f}; pixels counted apart: {apart:.4f})"
        )
        if fitted < 0.8 * THRESHOLD:
            raise Wrong(
                f"{told}. The training NLL is {fitted:.4f}: it learns the digits by heart; make it smaller, or stop"
            )
        raise Wrong(f"{told}. The training NLL is {fitted:.4f}: train longer, or with larger steps")
