r"""Chains: each value given only the k values before it, $p(\x) = \prod_i p(x_i \mid x_{i-k}, …, x_{i-1})$.

Three of them, all fitted without a gradient: bits of a picture (a table for each place), characters of a text (one
table for all places), samples of a sound (a normal distribution around a weighted sum).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Self

import torch
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count, require_number

# --- bits ------------------------------------------------------------------------------------------------------


class BitChain(nn.Module):
    r"""A Markov chain of order k over m bits, with a table of its own at every place.

    Order 0 is full independence; order m − 1 leaves nothing out: any distribution over $\{0, 1\}^m$.

    Args:
        m: the number of bits.
        order: k, how many bits before it each bit may look at.
    """

    def __init__(self, m: int, order: int = 0) -> None:
        super().__init__()
        self.m, self.order = require_count(m, "m"), require_count(order, "order", low=0)
        if order >= m:
            raise ValueError(f"order: expected fewer than {m} bits to look back at, came {order}")
        self.logits = nn.Parameter(torch.zeros(m, 2**order))  # log-odds of a 1, a row a place, a column a context

    def _contexts(self, x: Tensor) -> Tensor:
        """The k bits before each bit, read as a binary number; bits before the first count as 0: (B, m)."""
        bits = require(x, "x", shape=f"B {self.m}", dtype=("float", "int", "bool"), low=0, high=1).long()
        if (bits != x).any():
            raise ValueError("x: expected bits, each 0 or 1, came values between them")
        contexts = torch.zeros_like(bits)
        for back in range(1, self.order + 1):  # the nearest bit is the lowest digit
            contexts[:, back:] += bits[:, :-back] << (back - 1)
        return contexts

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of bits `x` of shape (B, m), any dtype: shape (B,)."""
        logits = self.logits[torch.arange(self.m), self._contexts(x)]  # (B, m)
        return torch.nn.functional.logsigmoid(torch.where(x > 0, logits, -logits)).sum(-1)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def fit_counts(self, x: Tensor, alpha: float = 1.0) -> Self:
        """Set every table to (n₁ + α)/(n₀ + n₁ + 2α) of its own place and context; α = 0 is maximum likelihood."""
        alpha = require_number(alpha, "alpha", low=0.0)
        cells = self._contexts(x) + torch.arange(self.m) * 2**self.order
        seen = torch.bincount(cells.flatten(), minlength=self.logits.numel())
        ones = torch.bincount(cells[x > 0], minlength=self.logits.numel())
        # A context that was never seen has log 0 − log 0 where α is 0: any value fits, so it stays even, at 0.
        odds = (ones + alpha).double().log() - (seen - ones + alpha).double().log()
        self.logits.copy_(odds.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf).view_as(self.logits))
        return self

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """`n` rows of bits, place after place: float (n, m)."""
        x = torch.zeros(require_count(n, "n"), self.m, dtype=self.logits.dtype)
        context = torch.zeros(n, dtype=torch.long)
        for i in range(self.m):
            p = self.logits[i, context].sigmoid()
            x[:, i] = torch.bernoulli(p, generator=generator)
            context = (2 * context + x[:, i].long()) % 2**self.order
        return x


# --- characters ------------------------------------------------------------------------------------------------


class CharacterChain:
    """Characters, each drawn as it followed the same k characters in the text that was read.

    Args:
        order: k, how many characters back it looks.
    """

    def __init__(self, order: int) -> None:
        self.order = require_count(order, "order")
        self.followers: dict[str, Counter[str]] = {}

    def fit(self, text: str) -> Self:
        """Count what follows each run of k characters."""
        if not isinstance(text, str):
            raise TypeError(f"text: expected a string, came {type(text).__name__}")
        if len(text) <= self.order:
            raise ValueError(f"text: expected more than {self.order} characters, came {len(text)}")
        tables: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for i in range(len(text) - self.order):
            tables[text[i : i + self.order]][text[i + self.order]] += 1
        self.followers = dict(tables)
        return self

    def sample(self, length: int, *, start: str, generator: Generator | None = None) -> str:
        """Go on from `start` for `length` characters; shorter where the text ends (a run that nothing followed).

        Raises:
            ValueError: `start` ends with k characters that the text does not hold.
        """
        require_count(length, "length")
        if start[-self.order :] not in self.followers:
            raise ValueError(f"start: expected to end with {self.order} characters of the text, came {start!r}")
        out = start
        for _ in range(length):
            table = self.followers.get(out[-self.order :])
            if table is None:
                break
            counts = torch.tensor(list(table.values()), dtype=torch.float64)
            out += list(table)[int(torch.multinomial(counts, 1, generator=generator))]
        return out


# --- sound -----------------------------------------------------------------------------------------------------


class SoundChain(nn.Module):
    r"""Linear prediction: $x_t \mid x_{t-k}, …, x_{t-1} \sim \N(\sum_{j=1}^k a_j x_{t-j}, \sigma^2)$.

    Args:
        order: k, how many samples back it looks.

    Source:
        George Udny Yule (1927), On a method of investigating periodicities in disturbed series.
    """

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = require_count(order, "order")
        self.a = nn.Parameter(torch.zeros(order))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def fit(self, wave: Tensor) -> Self:
        r"""The Yule–Walker equations $\sum_j r_{|i-j|} a_j = r_i$ with the autocovariances r of `wave` (T,).

        They give the best linear prediction for a process with these r, and one that never blows up: the biased
        autocovariances $r_i = \frac1T \sum_t x_t x_{t+i}$ are positive definite, so the recursion is stable.
        """
        wave = require(wave, "wave", shape="T", dtype="float").double()
        if len(wave) <= self.order:
            raise ValueError(f"wave: expected more than {self.order} samples, came {len(wave)}")
        if not wave.any():
            raise ValueError("wave: expected a sound, came silence")
        power = torch.fft.rfft(wave, 2 * len(wave)).abs().square()  # zero-padded: no wrap-around
        r = torch.fft.irfft(power)[: self.order + 1] / len(wave)
        lags = (torch.arange(self.order)[:, None] - torch.arange(self.order)).abs()
        a = torch.linalg.solve(r[lags], r[1:])
        self.a.copy_(a)
        self.log_sigma.copy_(0.5 * (r[0] - a @ r[1:]).log())
        return self

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of waves `x` of shape (B, T), given their first k samples: shape (B,)."""
        x = require(x, "x", shape="B T", dtype="float")
        if x.shape[1] <= self.order:
            raise ValueError(f"x: expected more than {self.order} samples, came {x.shape[1]}")
        past = x[:, :-1].unfold(1, self.order, 1)  # (B, T − k, k), oldest first
        error = (x[:, self.order :] - past @ self.a.flip(0)) / self.log_sigma.exp()
        return (-0.5 * error.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)).sum(-1)

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood of whole waves, nats."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int, length: int, *, generator: Generator | None = None) -> Tensor:
        """`n` waves of `length` samples that start from silence: shape (n, length)."""
        n, length = require_count(n, "n"), require_count(length, "length")
        x = torch.zeros(n, self.order + length, dtype=self.a.dtype)
        noise = torch.randn(n, length, generator=generator, dtype=self.a.dtype) * self.log_sigma.exp()
        for t in range(length):
            x[:, self.order + t] = x[:, t : t + self.order] @ self.a.flip(0) + noise[:, t]
        return x[:, self.order :]
