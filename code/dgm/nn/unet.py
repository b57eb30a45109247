r"""A compact U-Net: the network of a diffusion model of pictures, conditioned on time and, if wished, on a class.

    picture ─ unshuffle ─ convolution ─ level 1 ──────────────── skips ──────────────── level 1 ─ convolution ─ shuffle
                                          └ ↓ 2 ─ level 2 ────── skips ────── level 2 ─ ↑ 2 ┘
                                                    └ ↓ 2 ─ level 3 with attention ─ ↑ 2 ┘

Time and class become one vector; every block lets it scale and shift its channels.

Sources: Olaf Ronneberger, Philipp Fischer, Thomas Brox (2015), U-Net: Convolutional Networks for Biomedical Image
Segmentation; Jonathan Ho, Ajay Jain, Pieter Abbeel (2020), Denoising Diffusion Probabilistic Models; Prafulla Dhariwal,
Alex Nichol (2021), Diffusion Models Beat GANs on Image Synthesis (scale and shift).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.checks import require, require_count, require_number
from dgm.nn.timed import known_labels, time_features

Layer = TypeVar("Layer", bound=nn.Module)


def _silent(layer: Layer) -> Layer:
    """The layer with all parameters 0: what it is added to starts unchanged."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels, affine=affine)


class Block(nn.Module):
    r"""Two convolutions with a way around; a vector $e$ of time and class scales and shifts the channels between them.

    $$h = A_1 * \varphi(\mathrm{norm}\,x), \qquad
    y = Wx + A_2 * \varphi\bigl((1 + a(e)) \cdot \mathrm{norm}\,h + b(e)\bigr)$$

    Args:
        before, after: numbers of channels.
        features: the length of e.
        dropout: share of values set to 0 before the last convolution, while training.
    """

    def __init__(self, before: int, after: int, features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.norm = _norm(after, affine=False)
        self.modulate = nn.Linear(features, 2 * after)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), _silent(nn.Conv2d(after, after, 3, padding=1)))
        self.around = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Channels x (B, before, H, W) and vectors e (B, features) → (B, after, H, W)."""
        a, b = self.modulate(e)[..., None, None].chunk(2, dim=1)
        return self.around(x) + self.leave(self.norm(self.enter(x)) * (1 + a) + b)


class Attention(nn.Module):
    r"""Every place looks at every other: $x + W\,\softmax(QK^\top/\sqrt{d})\,V$ over the places of a picture.

    Args:
        channels: their number.
        heads: into how many groups of channels the look is split; divides `channels`.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if channels % require_count(heads, "heads"):
            raise ValueError(f"heads: expected a divisor of {channels} channels, came {heads}")
        self.heads = heads
        self.norm = _norm(channels)
        self.ask = nn.Conv2d(channels, 3 * channels, 1)  # queries, keys and values
        self.answer = _silent(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Channels (B, C, H, W) → the same shape."""
        B, C, H, W = x.shape
        q, k, v = self.ask(self.norm(x)).reshape(B, 3, self.heads, C // self.heads, H * W).mT.unbind(1)
        found = F.scaled_dot_product_attention(q, k, v)  # (B, heads, places, C / heads)
        return x + self.answer(found.mT.reshape(B, C, H, W))


class UNet(nn.Module):
    """Answers a noisy picture with a picture of the same shape, knowing the time and perhaps the class.

    Args:
        shape: of one picture, (C, H, W).
        widths: numbers of channels, one a level; each level after the first has half the places a side.
        blocks: on each level on the way down; the way up has one more, as every skip needs a taker.
        classes: how many there are; 0 for a model without.
        patch: each patch × patch square of pixels becomes one place with patch² times the channels.
        heads: of the attention on the lowest level.
        dropout: in every block.

    Raises:
        ValueError: H or W cannot be divided by patch and by 2 for each further level.

    >>> net = UNet((1, 32, 32), widths=(8, 16), blocks=1, classes=10)
    >>> net(torch.zeros(2, 1, 32, 32), torch.tensor([0.1, 0.9]), torch.tensor([3, 10])).shape  # 10: no class
    torch.Size([2, 1, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        classes: int = 0,
        patch: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = channels, height, width = [require_count(size, "shape") for size in shape]
        widths = [require_count(size, "widths", low=2) for size in widths]
        require_count(blocks, "blocks")
        divisor = require_count(patch, "patch") * 2 ** (len(widths) - 1)
        if height % divisor or width % divisor:
            raise ValueError(f"shape: expected height and width that {divisor} divides, came {height} × {width}")
        require_number(dropout, "dropout", low=0.0, high=0.99)
        self.classes, first, features = require_count(classes, "classes", low=0), widths[0], 4 * widths[0]
        self.waves = 2 * first

        self.time = nn.Sequential(nn.Linear(self.waves, features), nn.SiLU(), nn.Linear(features, features))
        self.label = nn.Embedding(classes + 1, features) if classes else None  # the last row: no class

        lowest = len(widths) - 1
        self.unshuffle, self.stem = nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, first, 3, padding=1)
        self.down, kept, now = nn.ModuleList(), [first], first
        for level, size in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
            for _ in range(blocks):
                self.down.append(_Step(now, size, features, dropout, heads if level == lowest else 0))
                kept.append(now := size)
        self.middle = nn.ModuleList([_Step(now, now, features, dropout, heads), _Step(now, now, features, dropout)])
        self.up = nn.ModuleList()
        for level, size in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(_Step(now + kept.pop(), size, features, dropout, heads if level == lowest else 0))
                now = size
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(now, now, 3, padding=1)))
        self.head = nn.Sequential(_norm(now), nn.SiLU(), _silent(nn.Conv2d(now, channels * patch**2, 3, padding=1)))
        self.shuffle = nn.PixelShuffle(patch)
        # On a CPU a step takes two thirds of the time at 32 × 32 places; at 16 × 16 there is no difference.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Answer pictures.

        Args:
            x: noisy pictures, shape (B, C, H, W).
            t: times in [0, 1], shape (B,).
            label: classes, int64 (B,), the number `classes` for an unknown one; None: all unknown.
        """
        x = require(x, "x", shape=("B", *self.shape), dtype="float")
        e = self.time(time_features(require(t, "t", shape=f"{len(x)}", dtype="float"), self.waves))
        label = known_labels(label, self.classes, x)
        if self.label is not None:
            e = e + self.label(label)
        e = F.silu(e)

        h = self.stem(self.unshuffle(x).contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h, e) if isinstance(layer, _Step) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, e)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), e) if isinstance(layer, _Step) else layer(h)
        return self.shuffle(self.head(h))


class _Step(nn.Module):
    """A block, and attention after it where the level has any."""

    def __init__(self, before: int, after: int, features: int, dropout: float, heads: int = 0) -> None:
        super().__init__()
        self.block = Block(before, after, features, dropout)
        self.attention = Attention(after, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        return self.attention(self.block(x, e))
