"""O1.2 MADE for pairs: masks for one-hot values, the likelihood in one pass, samples, and a picture learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from dgm.data import picture_points
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "masks": "masks(m, values, hidden) -> the masks (hidden, m * values) and (m * values, hidden), of zeros and ones",
    "MADE": "MADE(m, values, hidden) -> an nn.Module: int64 (B, m) to logits (B, m, values)",
    "log_prob": "log_prob(model, x) -> the log-probability in nats of each row of x, (B,)",
    "sample": "sample(model, n, seed) -> n examples drawn from the model, int64 (n, m)",
    "train": "train(data, values, seed) -> a MADE, trained on data, int64 (n, m)",
}
SIZES = ((2, 3, 4), (3, 4, 20), (5, 2, 60))
THRESHOLD = 3.85
"""Ours: the course's 4.0 is passed by two independent tables, which have 3.92."""


def _masks(answer: Answer, m: int, values: int, hidden: int) -> tuple[Tensor, Tensor]:
    """The two masks as they came, as numbers 0 and 1 of the right shapes."""
    came = answer("masks", m, values, hidden)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"masks is to give two masks, came {type(came).__name__}")
    called, wide = f"masks({m}, {values}, {hidden})", m * values
    for name, mask, shape in zip(("way in", "way out"), came, ((hidden, wide), (wide, hidden)), strict=True):
        if not isinstance(mask, Tensor) or tuple(mask.shape) != shape:
            what = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise Wrong(f"{called}: the mask of the {name} is to have the shape {shape}, came {what}")
        if not ((mask == 0) | (mask == 1)).all():
            raise Wrong(f"{called}: the mask of the {name} is to hold zeros and ones only")
    return came[0].double(), came[1].double()


def check_masks(answer: Answer) -> None:
    """The masks let a variable's outputs hear the variables before it, all of them and no other."""
    for m, values, hidden in SIZES:
        into, out = _masks(answer, m, values, hidden)
        called = f"masks({m}, {values}, {hidden})"
        paths = (out @ into).view(m, values, m, values)  # output, its value, input, its value
        heard = paths > 0
        if (heard != heard[:, :1, :, :1]).any():
            raise Wrong(
                f"{called}: some values of a variable are heard and some are not. All numbers of a variable share its "
                "mask and stand side by side: repeat each entry (repeat_interleave), not the whole row (repeat)"
            )
        for i in range(m):
            for j in range(m):
                if j >= i and heard[i, 0, j, 0]:
                    if i == j:
                        raise Wrong(
                            f"{called}: output {i + 1} hears its own variable. The way out is strict: place > degree"
                        )
                    raise Wrong(f"{called}: output {i + 1} hears variable {j + 1}, which comes later")
                if j < i and not heard[i, 0, j, 0]:
                    raise Wrong(
                        f"{called}: output {i + 1} does not hear variable {j + 1}, though {hidden} units are enough: "
                        "degrees are to take each of 1 … m−1, and a unit hears the places up to its degree"
                    )


def _model(answer: Answer, m: int, values: int, hidden: int) -> nn.Module:
    came = answer("MADE", m, values, hidden)
    if not isinstance(came, nn.Module):
        raise Wrong(f"MADE is to be an nn.Module, came {type(came).__name__}")
    if not list(came.parameters()):
        raise Wrong("MADE has no parameters that training could change: are the layers attributes of the module?")
    return came.eval()


@torch.no_grad()
def _drawn(answer: Answer, m: int, values: int, hidden: int, scale: float) -> nn.Module:
    """A model with random weights of this size."""
    model = _model(answer, m, values, hidden)
    source = torch.Generator().manual_seed(m)
    for weight in model.parameters():
        weight.copy_(scale * torch.randn(weight.shape, generator=source))
    return model


@torch.no_grad()
def _logits(answer: Answer, model: nn.Module, x: Tensor, values: int) -> Tensor:
    answer.names["MADE.forward"] = model
    came = answer("MADE.forward", x)
    return finite(came, "MADE(…)(x)", (*x.shape, values)).double()


def _leak(answer: Answer, model: nn.Module, x: Tensor, values: int) -> tuple[int, int] | None:
    """The first output that hears a variable it must not, and that variable."""
    base = _logits(answer, model, x, values)
    for j in range(x.shape[1]):
        other = x.clone()
        other[:, j] = (x[:, j] + 1) % values
        moved = (_logits(answer, model, other, values) - base).abs().amax((0, 2))[: j + 1] > 1e-6
        if moved.any():
            return int(moved.nonzero()[0]), j
    return None


def check_blind(answer: Answer) -> None:
    """No logit changes with its own variable or a later one, and later logits do change, whatever the weights."""
    for m, values, hidden in SIZES:
        x = torch.randint(values, (64, m), generator=torch.Generator().manual_seed(0))
        if leak := _leak(answer, _model(answer, m, values, hidden), x, values):
            i, j = leak
            raise Wrong(
                f"MADE({m}, {values}, {hidden}): the logits of variable {i + 1} change with variable {j + 1}. "
                "Are both masks in use, each at its own layer?"
            )
        model = _drawn(answer, m, values, hidden, 1.0)
        if leak := _leak(answer, model, x, values):
            i, j = leak
            raise Wrong(
                f"MADE({m}, {values}, {hidden}): as made it is sound, but with other weights in it the logits of "
                f"variable {i + 1} change with variable {j + 1}. Mask the weights in each pass, not once: training "
                "changes them"
            )
        base = _logits(answer, model, x, values)
        for j in range(m - 1):
            other = x.clone()
            other[:, j] = (x[:, j] + 1) % values
            still = (_logits(answer, model, other, values) - base).abs().amax((0, 2))[j + 1 :] < 1e-6
            if still.any():
                i = j + 1 + int(still.nonzero()[0])
                raise Wrong(
                    f"MADE({m}, {values}, {hidden}): the logits of variable {i + 1} never change with variable {j + 1}"
                )


def _every(m: int, values: int) -> Tensor:
    """All outcomes, (values^m, m)."""
    return torch.cartesian_prod(*[torch.arange(values)] * m)


def check_log_prob(answer: Answer) -> None:
    """`log_prob` adds up the logarithms of what happened, and all outcomes together have the mass 1."""
    for m, values, hidden in SIZES:
        x, model = _every(m, values), _drawn(answer, m, values, hidden, 0.5)
        logits = _logits(answer, model, x, values)
        each = Categorical(logits=logits).log_prob(x)
        came = answer.tensor("log_prob", model, x, shape=(len(x),)).detach().double()
        want = each.sum(1)
        if torch.allclose(came, want, rtol=0, atol=1e-4):
            mass = came.exp().sum().item()
            if abs(mass - 1) > 1e-3:
                raise Wrong(
                    f"log_prob: all {len(x)} outcomes together have the mass {mass:.3f}, not 1: the model leaks"
                )
            continue
        k = int((came - want).abs().argmax())
        told = f"log_prob of {x[k].tolist()} is {want[k]:.4f} by the model's own logits, came {came[k]:.4f}"
        for guess, hint in (
            (-want, "The sign is that of a loss"),
            (each.mean(1), "That is the mean over the variables; their log-probabilities are added"),
            (want / math.log(2), "That is in bits; use the natural logarithm"),
            (want.exp(), "That is the probability itself"),
            (
                logits.log_softmax(1).gather(-1, x[..., None]).squeeze(-1).sum(1),
                "The softmax runs over the variables; it belongs to the values, the last dimension",
            ),
            (
                logits.gather(-1, x[..., None]).squeeze(-1).sum(1),
                "The logits are not normalised: log_softmax is missing",
            ),
        ):
            if torch.allclose(came, guess, rtol=0, atol=1e-4):
                raise Wrong(f"{told}. {hint}")
        raise Wrong(told)


def check_sample(answer: Answer) -> None:
    """Every outcome is drawn as often as its probability says, and the seed decides the draws."""
    n, m, values = 20_000, 3, 3
    model, x = _drawn(answer, m, values, 12, 0.7), _every(3, 3)
    came = answer.tensor("sample", model, n, 0, shape=(n, m))
    if came.is_floating_point() or int(came.min()) < 0 or int(came.max()) >= values:
        raise Wrong(
            f"sample is to give whole numbers 0 … {values - 1}, int64; came {came.dtype}, {came.min()} … {came.max()}"
        )
    places = torch.tensor([9, 3, 1])
    seen = torch.bincount((came.long() * places).sum(1), minlength=27) / n
    p = Categorical(logits=_logits(answer, model, x, values)).log_prob(x).sum(1).exp()
    distance = (seen - p).abs().sum().item() / 2  # in total variation; chance makes about 0.01
    if distance > 0.03:
        start = _logits(answer, model, torch.zeros(1, m, dtype=torch.int64), values).softmax(-1)[0]
        at_once = torch.einsum("a,b,c->abc", *start).flatten()
        hint = ""
        if (seen - at_once).abs().sum() / 2 < 0.02:
            hint = (
                ". They are distributed as if all variables came from one pass: put each in before you ask for the next"
            )
        elif seen.max() == 1:
            hint = ". Always the same outcome: draw, do not maximise"
        elif (seen - p.view(3, 3, 3).permute(2, 1, 0).flatten()).abs().sum() / 2 < 0.02:
            hint = ". The variables come in reverse"
        k = int((seen - p).abs().argmax())
        raise Wrong(
            f"sample: {x[k].tolist()} has the probability {p[k]:.3f}, of 20,000 draws {seen[k]:.3f} were it; in all "
            f"{distance:.0%} of the mass is misplaced{hint}"
        )
    if not torch.equal(came, answer("sample", model, n, 0)):
        raise Wrong("sample with the same seed twice gives two samples; draw from a generator with that seed")
    if torch.equal(came, answer("sample", model, n, 1)):
        raise Wrong("sample gives the same for seeds 0 and 1; use the seed")


def check_train(answer: Answer) -> None:
    """Trained on 14,000 pairs from the picture, the test NLL per coordinate is below 3.85, and the mass is 1."""
    data, test = picture_points("train"), picture_points("test")
    model = answer("train", data.clone(), 60, 0)
    if not isinstance(model, nn.Module):
        raise Wrong(f"train is to give the trained model, came {type(model).__name__}")
    model.eval()
    with torch.no_grad():
        mass = answer.tensor("log_prob", model, _every(2, 60), shape=(3_600,)).double().exp().sum().item()
        if abs(mass - 1) > 1e-3:
            raise Wrong(f"after train the 3,600 cells have the mass {mass:.4f}, not 1: the trained model leaks")
        fitted, came = (-answer.tensor("log_prob", model, x, shape=(len(x),)).mean().item() / 2 for x in (data, test))
    if came >= THRESHOLD:
        row, column = (torch.bincount(x, minlength=60).double() + 1 for x in data.T)
        apart = -((row / row.sum()).log()[test[:, 0]] + (column / column.sum()).log()[test[:, 1]]).mean().item() / 2
        told = (
            f"after train the test NLL is {came:.4f} nats per coordinate; below {THRESHOLD} is asked "
            f"(uniform: {math.log(60):.4f}; row and column counted apart: {apart:.4f})"
        )
        if fitted < THRESHOLD - 0.05:
            raise Wrong(
                f"{told}. The training NLL is {fitted:.4f}: it learns the points by heart; make it smaller, or stop"
            )
        if abs(came - apart) < 0.03:
            raise Wrong(f"{told}. This is as good as two independent tables: does the column hear the row?")
        raise Wrong(f"{told}. The training NLL is {fitted:.4f}: train longer, or with larger steps")
