"""C1.1 A style generator: five attributes counted apart, drawn apart, and the probability of what was drawn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from dgm.data import avatar_frequencies, avatars
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "fit": "fit(styles, sizes, alpha) -> a list of tables of probabilities, (d_i,) each",
    "probability": "probability(tables, styles) -> the probability of each style, (B,)",
    "generate": "generate(tables, n, seed) -> n styles, int64 (n, m), and the probability of each, (n,)",
    "choose": "choose(train, validation, sizes, alphas) -> the pseudo-count with the smallest NLL on validation",
}
SIZES = [7, 6, 3, 4, 8]


def _fifty() -> Tensor:
    """Fifty styles as in the course: every attribute counted on 50 people, the last hair colour never seen."""
    source = torch.Generator().manual_seed(0)
    columns = [torch.randint(d - (i == 1), (50,), generator=source) for i, d in enumerate(SIZES)]
    return torch.stack(columns, 1)


def _tables(seed: int = 0) -> list[Tensor]:
    """Random tables for attributes with 2, 3 and 4 values; the last value of the last has the probability 0."""
    source = torch.Generator().manual_seed(seed)
    raw = [torch.rand(d, generator=source, dtype=torch.float64).square() + 0.05 for d in (2, 3, 4)]
    raw[2][3] = 0
    return [table / table.sum() for table in raw]


def _fit(answer: Answer, styles: Tensor, sizes: list[int], alpha: float) -> list[Tensor]:
    came = answer("fit", styles.clone(), list(sizes), alpha)
    if not isinstance(came, list | tuple) or len(came) != len(sizes):
        what = f"{len(came)} of them" if isinstance(came, list | tuple) else type(came).__name__
        raise Wrong(f"fit is to give {len(sizes)} tables, one an attribute; came {what}")
    tables = []
    for i, (table, d) in enumerate(zip(came, sizes, strict=True)):
        if isinstance(table, Tensor) and table.dim() == 1 and len(table) < d:
            raise Wrong(
                f"fit: the table of attribute {i + 1} has {len(table)} entries of {d}: a value that was never seen "
                "needs its place too (minlength)"
            )
        tables.append(finite(table, f"fit(…)[{i}]", (d,)).double())
    return tables


def _row(x: Tensor) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in x.tolist()) + "]"


def check_frequencies(answer: Answer) -> None:
    """With α = 0 each table holds the frequencies of its column, 0 for what was not seen."""
    styles = _fifty()
    for i, table in enumerate(_fit(answer, styles, SIZES, 0.0)):
        counts = torch.tensor([sum(int(row[i] == j) for row in styles) for j in range(SIZES[i])]).double()
        want = counts / 50
        if torch.allclose(table, want, rtol=0, atol=1e-6):
            continue
        told = f"fit(styles, sizes, 0): attribute {i + 1} has the frequencies {_row(want)}, came {_row(table)}"
        if torch.allclose(table, counts, rtol=0, atol=1e-6):
            raise Wrong(f"{told}. These are counts; divide by their sum, 50")
        if torch.allclose(table * 250, counts, rtol=0, atol=1e-4):
            raise Wrong(f"{told}. Each table is divided by all 250 numbers; it sums to 1 by itself")
        if torch.allclose(table, (counts > 0) / (counts > 0).sum(), rtol=0, atol=1e-6):
            raise Wrong(f"{told}. All values seen come alike: count how often")
        raise Wrong(told)


def check_smoothing(answer: Answer) -> None:
    """With α > 0 each table is (N + α)/(n + dα), and sums to 1."""
    styles = _fifty()
    for alpha in (1.0, 0.5, 10.0):
        for i, table in enumerate(_fit(answer, styles, SIZES, alpha)):
            d = SIZES[i]
            counts = torch.tensor([sum(int(row[i] == j) for row in styles) for j in range(d)]).double()
            want = (counts + alpha) / (50 + d * alpha)
            if torch.allclose(table, want, rtol=0, atol=1e-6):
                continue
            told = f"fit(styles, sizes, {alpha:g}): attribute {i + 1} is to have {_row(want)}, came {_row(table)}"
            if torch.allclose(table, counts / 50, rtol=0, atol=1e-6):
                raise Wrong(f"{told}. The pseudo-count is not used")
            if torch.allclose(table, (counts + 1) / (50 + d), rtol=0, atol=1e-6):
                raise Wrong(f"{told}. That is α = 1 whatever α is given")
            if torch.allclose(table, (counts + alpha - 1) / (50 + d * (alpha - 1)), rtol=0, atol=1e-6):
                raise Wrong(f"{told}. That is the mode of the posterior; the mean is asked")
            if abs(table.sum().item() - 1) > 1e-6:
                raise Wrong(
                    f"{told}. It sums to {table.sum():.3f}: α is added to each of {d} values, so the sum grows by {d}α"
                )
            raise Wrong(told)


def check_probability(answer: Answer) -> None:
    """The probability of a style is the product over its attributes; all styles together have 1."""
    tables = _tables()
    styles = torch.tensor(list(itertools.product(*(range(len(table)) for table in tables))))
    each = torch.tensor([[table[j].item() for table, j in zip(tables, style, strict=True)] for style in styles])
    want = torch.tensor([math.prod(row) for row in each.tolist()], dtype=torch.float64)
    came = answer.tensor("probability", tables, styles, shape=(len(styles),)).double()
    if torch.allclose(came, want, rtol=0, atol=1e-7):
        return
    k = int((came - want).abs().argmax())
    style, mass = styles[k].tolist(), came.sum().item()
    told = f"probability of the style {style} is {want[k]:.5f}, came {came[k]:.5f}; all {len(styles)} sum to {mass:.3f}"
    if torch.allclose(came, each.sum(1).double(), rtol=0, atol=1e-5):
        raise Wrong(f"{told}. Independent probabilities multiply, they do not add")
    if torch.allclose(came, each.mean(1).double(), rtol=0, atol=1e-5):
        raise Wrong(f"{told}. That is the mean over the attributes; independent probabilities multiply")
    if torch.allclose(came.exp(), want, rtol=0, atol=1e-5):
        raise Wrong(f"{told}. That is the logarithm; the probability itself is asked")
    raise Wrong(told)


def check_generate(answer: Answer) -> None:
    """Styles come as often as their probability says, and each with its own probability beside it."""
    tables, n = _tables(1), 20_000
    styles, given = _drawn(answer, tables, n, 0)
    for i, table in enumerate(tables):
        seen = torch.bincount(styles[:, i], minlength=len(table)) / n
        if (seen - table).abs().max() > 0.02:
            told = f"generate: attribute {i + 1} has the table {_row(table)}, its values came in {_row(seen)} of 20,000"
            if (seen - 1 / len(table)).abs().max() < 0.02:
                raise Wrong(f"{told}. All values come alike: the table is not used")
            if seen.max() == 1:
                raise Wrong(f"{told}. Always the likeliest: draw, do not maximise")
            raise Wrong(told)
    numbers = styles @ torch.tensor([12, 4, 1])
    p = torch.einsum("a,b,c->abc", *tables).flatten()
    distance = (torch.bincount(numbers, minlength=24) / n - p).abs().sum().item() / 2
    if distance > 0.03:
        raise Wrong(
            f"generate: every attribute by itself is right, but together {distance:.0%} of the mass is misplaced: the "
            "attributes of a style are to be drawn independently, not with the same chance number"
        )
    if not torch.allclose(given, p[numbers], rtol=0, atol=1e-7):
        k = int((given - p[numbers]).abs().argmax())
        told = (
            f"generate gives the style {styles[k].tolist()} the probability {given[k]:.5f}; it is {p[numbers[k]]:.5f}"
        )
        if torch.allclose(given.exp(), p[numbers], rtol=0, atol=1e-6):
            raise Wrong(f"{told}. That is the logarithm")
        raise Wrong(f"{told}. Is it that of the style that was drawn?")
    if not torch.equal(styles, _drawn(answer, tables, n, 0)[0]):
        raise Wrong("generate with the same seed twice gives two samples; draw from a generator with that seed")
    if torch.equal(styles, _drawn(answer, tables, n, 1)[0]):
        raise Wrong("generate gives the same for seeds 0 and 1; use the seed")


def _drawn(answer: Answer, tables: list[Tensor], n: int, seed: int) -> tuple[Tensor, Tensor]:
    came: Any = answer("generate", tables, n, seed)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"generate is to give two things, the styles and their probabilities; came {type(came).__name__}")
    styles = finite(came[0], "generate(…)[0]", (n, len(tables)))
    if styles.is_floating_point():
        raise Wrong(f"generate is to give styles as whole numbers, int64; came {styles.dtype}")
    high = torch.tensor([len(table) for table in tables])
    if (styles < 0).any() or (styles >= high).any():
        raise Wrong(f"generate: value numbers go from 0 to {(high - 1).tolist()}, came up to {styles.amax(0).tolist()}")
    return styles.long(), finite(came[1], "generate(…)[1]", (n,)).double()


def check_choose(answer: Answer) -> None:
    """The pseudo-count is chosen by the validation styles, and one that makes any of them impossible loses."""
    alphas = [0.0, 0.1, 1.0, 10.0, 100.0, 1_000.0]
    frequencies = list(avatar_frequencies().values())
    data, held = avatars("train").attributes, avatars("validation").attributes
    blue = held[:1].clone()
    blue[0, 1] = 5  # a hair colour that no training avatar has
    for n, rows in ((1_400, held), (30, held), (1_400, torch.cat([held, blue])), (100, held[:100])):
        scores = {}
        for alpha in alphas:
            logs = torch.zeros(len(rows), dtype=torch.float64)
            for i, table in enumerate(frequencies):
                counts = (data[:n, i, None] == torch.arange(len(table))).sum(0).double() + alpha
                logs += (counts / counts.sum()).log()[rows[:, i]]
            scores[alpha] = -logs.mean().item()
        best = min(scores, key=lambda alpha: scores[alpha])
        came = answer.number("choose", data[:n].clone(), rows.clone(), list(SIZES), list(alphas))
        if came == best:
            continue
        called = f"choose on {n:,} training and {len(rows)} validation styles"
        told = f"{called}: best is α = {best:g} ({scores[best]:.4f} nats)"
        if came not in scores:
            raise Wrong(f"{told}; came {came:g}, which is none of those to choose from")
        told += f", came {came:g} ({scores[came]:.4f})"
        if came == 0:
            raise Wrong(f"{told}. α = 0 always fits the *training* styles best; judge by the validation styles")
        if came == max(scores, key=lambda alpha: scores[alpha] if scores[alpha] < math.inf else -1):
            raise Wrong(f"{told}. That is the worst: the NLL is to be small")
        raise Wrong(told)
