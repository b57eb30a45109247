"""C1.2 A pixel generator: every channel of every pixel counted and drawn by itself, and what that costs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgm.data import avatars
from dgm.homework import Answer, Wrong

ASKS = {
    "fit": "fit(pictures, levels, alpha) -> a table of probabilities for each number of a picture, (C, H, W, levels)",
    "nll": "nll(table, pictures) -> the negative log-likelihood of each picture in nats, (B,)",
    "generate": "generate(table, n, seed) -> n pictures, float (n, C, H, W) in [0, 1]",
    "price": "price(x, p) -> the sum of the entropies of the columns minus the entropy of the rows, in nats",
}
SHAPE = (2, 3, 4)  # channels, height, width: all different, so that no order of the axes goes unnoticed


def _levels(n: int, levels: int, seed: int = 0) -> Tensor:
    """Random grey levels, int64 (n, 2, 3, 4), the higher ones rarer in later pixels."""
    source = torch.Generator().manual_seed(seed)
    steep = torch.linspace(1, 3, math.prod(SHAPE)).view(SHAPE)
    return (torch.rand(n, *SHAPE, generator=source) ** steep * levels).long().clamp(max=levels - 1)


def _table(levels: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    raw = torch.rand(*SHAPE, levels, generator=source, dtype=torch.float64) ** 2 + 0.02
    return raw / raw.sum(-1, keepdim=True)


def _counts(x: Tensor, levels: int) -> Tensor:
    return torch.stack([(x == level).sum(0) for level in range(levels)], -1).double()


def _place(x: Tensor) -> list[int]:
    """Where the largest entry stands."""
    return [int(i) for i in torch.unravel_index(x.argmax(), x.shape)]


def check_fit(answer: Answer) -> None:
    """With α = 0 the table of each channel of each pixel holds the frequencies of its own levels."""
    for levels in (2, 5, 256):
        x = torch.cat([_levels(30, levels), torch.full((1, *SHAPE), levels - 1)])
        # Not all values lie on a level: a picture that was resized or jittered has others.
        noise = 0.8 * torch.rand(x.shape, generator=torch.Generator().manual_seed(levels)) - 0.4
        pictures = ((x + noise) / (levels - 1)).clamp(0, 1)
        counts = _counts(x, levels)
        want = counts / len(x)
        called = f"fit({len(x)} pictures, {levels}, 0)"
        came = answer.tensor("fit", pictures, levels, 0.0, shape=(*SHAPE, levels)).double()
        if torch.allclose(came, want, rtol=0, atol=1e-6):
            continue
        for guess, hint in (
            (counts, "it holds counts; divide by their sum"),
            (counts.sum((0, 1, 2)) / counts.sum(), "all pixels share one table; each is to have its own"),
            (counts.sum(0) / counts.sum(0).sum(-1, keepdim=True), "the channels of a pixel share one table"),
            (
                _counts((pictures * (levels - 1)).long(), levels) / len(x),
                "values are cut to the level below; take the nearest (round)",
            ),
            (
                _counts((pictures * levels).long().clamp(max=levels - 1), levels) / len(x),
                f"the levels are 0, 1/{levels - 1}, …, 1: multiply by {levels - 1} and round to the nearest",
            ),
        ):
            if torch.allclose(came, guess.expand_as(came), rtol=0, atol=1e-6):
                raise Wrong(f"{called}: {hint}")
        c, i, j, k = _place((came - want).abs())
        raise Wrong(
            f"{called}: channel {c} of pixel ({i}, {j}) has level {k} with the frequency {want[c, i, j, k]:.4f}, "
            f"came {came[c, i, j, k]:.4f}"
        )


def check_smoothing(answer: Answer) -> None:
    """With α > 0 each level gets (N + α)/(n + levels · α), and every table sums to 1."""
    levels, x = 5, _levels(11, 5)
    counts = _counts(x, levels)
    for alpha in (1.0, 0.01):
        came = answer.tensor("fit", x / (levels - 1), levels, alpha, shape=(*SHAPE, levels)).double()
        want = (counts + alpha) / (11 + levels * alpha)
        if torch.allclose(came, want, rtol=0, atol=1e-6):
            continue
        told = f"fit(11 pictures, 5, {alpha:g})"
        if torch.allclose(came, counts / 11, rtol=0, atol=1e-6):
            raise Wrong(f"{told}: the pseudo-count is not used")
        total = came.sum(-1)
        if not torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-6):
            raise Wrong(
                f"{told}: a table sums to {total.flatten()[0]:.3f}: α is added to each of 5 levels, the sum grows by 5α"
            )
        least, most = want.min().item(), want.max().item()
        raise Wrong(
            f"{told}: expected probabilities {least:.4f} … {most:.4f}, came {came.min():.4f} … {came.max():.4f}"
        )


def check_nll(answer: Answer) -> None:
    """`nll` adds −log p over all numbers of a picture, and is infinite where a level is impossible."""
    levels, x = 5, _levels(6, 5, seed=1)
    table = _table(levels)
    each = torch.tensor(
        [
            [
                -math.log(table[c, i, j, picture[c, i, j]])
                for c in range(SHAPE[0])
                for i in range(SHAPE[1])
                for j in range(SHAPE[2])
            ]
            for picture in x
        ],
        dtype=torch.float64,
    )
    want = each.sum(1)
    came = answer.tensor("nll", table, x / (levels - 1), shape=(6,)).double()
    if not torch.allclose(came, want, rtol=0, atol=1e-4):
        told = f"nll of a picture of 24 numbers is {want[0]:.4f} nats, came {came[0]:.4f}"
        for guess, hint in (
            (-want, "The sign is that of a log-likelihood"),
            (each.mean(1), "That is the mean over its numbers; the NLL of a picture is the sum"),
            (want / math.log(2), "That is in bits; use the natural logarithm"),
        ):
            if torch.allclose(came, guess, rtol=0, atol=1e-4):
                raise Wrong(f"{told}. {hint}")
        raise Wrong(told)
    never = table.clone()
    never[0, 0, 0] = torch.tensor([1.0, 0, 0, 0, 0])
    x[:, 0, 0, 0] = torch.tensor([0, 1, 0, 1, 0, 1])
    impossible = torch.as_tensor(answer("nll", never, x / (levels - 1))).double()
    if not torch.equal(impossible == math.inf, x[:, 0, 0, 0] == 1):
        raise Wrong(
            "nll of a picture with a level of probability 0 is infinite, and only of such a picture; "
            f"came {[round(v, 2) for v in impossible.tolist()]}, where every second is impossible"
        )


def check_generate(answer: Answer) -> None:
    """Every number comes as often as its table says, independently of the others, at its own place."""
    levels = 5
    fixed = torch.nn.functional.one_hot(_levels(1, levels, seed=2)[0], levels).double()
    came = answer.tensor("generate", fixed, 3, 0, shape=(3, *SHAPE)).double()
    want = (fixed.argmax(-1).double() / (levels - 1)).expand(3, *SHAPE)
    if not torch.allclose(came, want, rtol=0, atol=1e-6):
        told = "generate from a table that leaves no choice"
        if torch.allclose(came, want * (levels - 1), rtol=0, atol=1e-6):
            raise Wrong(f"{told} gives the levels 0 … 4; divide by 4 to come back to [0, 1]")
        if torch.allclose(came, want * (levels - 1) / levels, rtol=0, atol=1e-6):
            raise Wrong(f"{told} gives level k as k/5; the levels are 0, 1/4, …, 1: divide by levels − 1")
        c, i, j = _place((came[0] - want[0]).abs())
        raise Wrong(
            f"{told}: channel {c} of pixel ({i}, {j}) is {want[0, c, i, j]:.2f}, came {came[0, c, i, j]:.2f}. "
            "Has the order of the axes changed?"
        )
    table, n = _table(levels), 4_000
    came = answer.tensor("generate", table, n, 0, shape=(n, *SHAPE))
    x = (came.double() * (levels - 1)).round().long()
    seen = _counts(x, levels) / n
    if (seen - table).abs().max() > 0.05:
        hint = ""
        if (seen - 1 / levels).abs().max() < 0.05:
            hint = ". All levels come alike: the table is not used"
        elif seen.amax(-1).min() == 1:
            hint = ". Every picture has the same numbers: draw, do not maximise"
        raise Wrong(
            f"generate: levels of the first number have the probabilities {_row(table[0, 0, 0])}, "
            f"in 4,000 pictures {_row(seen[0, 0, 0])}{hint}"
        )
    flat = x.flatten(1).double()
    correlation = torch.corrcoef(flat.T).fill_diagonal_(0).abs().max().item()
    if correlation > 0.1:
        raise Wrong(
            f"generate: two numbers of a picture have a correlation of {correlation:.2f}, though each has its own "
            "table: they are to be drawn independently, not by the same chance number or from the same example"
        )
    if not torch.equal(came, answer("generate", table, n, 0)):
        raise Wrong("generate with the same seed twice gives two samples; draw from a generator with that seed")
    if torch.equal(came, answer("generate", table, n, 1)):
        raise Wrong("generate gives the same for seeds 0 and 1; use the seed")


def _row(x: Tensor) -> str:
    return "[" + ", ".join(f"{v:.3f}" for v in x.tolist()) + "]"


def check_price(answer: Answer) -> None:
    """The price of independence is the divergence of the true law from the product of its columns."""
    for seed in range(3):
        source = torch.Generator().manual_seed(seed)
        pi = torch.rand(3, 4, 2, generator=source, dtype=torch.float64) ** 4
        pi[0, 0] = 0  # outcomes that do not occur
        pi /= pi.sum()
        a, b, c = pi.sum((1, 2)), pi.sum((0, 2)), pi.sum((0, 1))
        product = a[:, None, None] * b[:, None] * c
        x = pi.nonzero()
        p, q = pi[pi > 0], product[pi > 0]
        want = (p * (p / q).log()).sum().item()
        came = answer.number("price", x, p)
        if abs(came - want) < 1e-6:
            continue
        told = f"price of a random law on 3 × 4 × 2 outcomes is {want:.4f} nats, came {came:.4f}"
        whole = -(p * p.log()).sum().item()
        unweighted = [torch.bincount(column).double() / len(x) for column in x.T]
        counted = sum(float(torch.special.entr(each).sum()) for each in unweighted)
        for guess, hint in (
            (-want, "The sign: entropies of the columns minus that of the whole"),
            (want / math.log(2), "That is in bits; use the natural logarithm"),
            (want + whole, "The entropy of the whole is still to be subtracted"),
            (counted - whole, "The outcomes are not equally likely: count each with its weight p"),
        ):
            if abs(came - guess) < 1e-6:
                raise Wrong(f"{told}. {hint}")
        raise Wrong(told)


def check_avatars(answer: Answer) -> None:
    """On the book's avatars: what 1,400 pictures teach, and an impossible picture in the test split."""
    (pictures, _), (held, _), (test, _) = (avatars(split) for split in ("train", "validation", "test"))
    x, y = ((each * 255).round().long().flatten(1) for each in (pictures, held))
    alpha, want = 0.01, 0.0
    for column, new in zip(x.T, y.T, strict=True):
        p = (torch.bincount(column, minlength=256).double() + alpha) / (1_400 + 256 * alpha)
        want -= p[new].log().sum().item() / len(y)
    table = answer.tensor("fit", pictures, 256, alpha, shape=(3, 16, 16, 256))
    came = answer.tensor("nll", table, held, shape=(200,)).mean().item()
    if abs(came - want) > 0.01:
        raise Wrong(
            f"fit with α = 0.01, nll of the validation avatars: expected {want:.2f} nats a picture, came {came:.2f}"
        )
    plain = torch.as_tensor(answer("nll", answer("fit", pictures, 256, 0.0), test)).double()
    if not (plain == math.inf).any():
        raise Wrong(
            "with α = 0 a test avatar with blue hair is impossible: nll of the test split is to hold an infinite number"
        )
