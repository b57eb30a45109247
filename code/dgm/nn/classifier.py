"""A small convolutional classifier: the judge whose features tell how near two pictures are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.checks import require, require_count

FEATURES = 64


class Classifier(nn.Module):
    r"""Answers one or several questions about a picture, each by a softmax over 64 common features.

    Three 3 × 3 convolutions halve the picture (16, 32, 64 channels); of what is left a linear layer makes 64 features
    $\h$, brought to mean 0 and mean square 1; another makes all logits, $p(y_q \mid \x) = \softmax(W_q\,\h(\x) + b_q)$.
    So features have one scale however long the training went, and $\h^\top\h'/64$ is the cosine of an angle.

    Args:
        shape: of one picture, (C, H, W).
        classes: the number of answers to each question: (10,) for a digit, (7, 6, 3, 4, 8) for an avatar.

    >>> judge = Classifier((3, 16, 16), classes=(7, 6, 3))
    >>> x = torch.rand(2, 3, 16, 16)
    >>> judge.features(x).shape, [tuple(logits.shape) for logits in judge(x)]
    (torch.Size([2, 64]), [(2, 7), (2, 6), (2, 3)])
    """

    def __init__(self, shape: Sequence[int], classes: Sequence[int]) -> None:
        super().__init__()
        self.shape = channels, height, width = [require_count(size, "shape") for size in shape]
        self.classes = [require_count(count, "classes", low=2) for count in classes]
        if not self.classes:
            raise ValueError("classes: expected at least one question, came none")
        layers: list[nn.Module] = []
        for before, after in ((channels, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.SiLU()]
        left = 64 * math.ceil(height / 8) * math.ceil(width / 8)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(left, FEATURES))
        self.body.append(nn.LayerNorm(FEATURES, elementwise_affine=False))
        self.head = nn.Linear(FEATURES, sum(self.classes))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees of pictures (B, C, H, W) in [0, 1]: shape (B, 64)."""
        return self.body(require(x, "x", shape=("B", *self.shape), dtype="float", low=0.0, high=1.0))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of each question, shape (B, answers)."""
        return self.head(self.features(x)).split(self.classes, dim=1)

    def probabilities(self, x: Tensor, question: int = 0) -> Tensor:
        r"""$p(y_q \mid \x)$ of one question, shape (B, answers)."""
        if require_count(question, "question", low=0) >= len(self.classes):
            raise ValueError(f"question: expected a number below {len(self.classes)}, came {question}")
        return self(x)[question].softmax(1)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        r"""Mean of $-\sum_q \log p(y_q \mid \x)$ in nats.

        Args:
            x: pictures (B, C, H, W) in [0, 1].
            labels: numbers of the right answers, (B, questions), or (B,) for a single question.
        """
        pairs = zip(self(x), self._columns(labels, len(x)), strict=True)
        return torch.stack([F.cross_entropy(logits, column) for logits, column in pairs]).sum()

    @torch.no_grad()
    def accuracy(self, x: Tensor, labels: Tensor) -> Tensor:
        """The share of right answers to each question, float64 (questions,); arguments as for `loss`."""
        pairs = zip(self(x), self._columns(labels, len(x)), strict=True)
        return torch.stack([(logits.argmax(1) == column).double().mean() for logits, column in pairs])

    def _columns(self, labels: Tensor, count: int) -> list[Tensor]:
        """The labels of each question, int64 (B,)."""
        single = len(self.classes) == 1 and isinstance(labels, Tensor) and labels.dim() == 1
        rows = labels[:, None] if single else labels
        rows = require(rows, "labels", shape=f"{count} {len(self.classes)}", dtype="int", low=0)
        for question, answers in enumerate(self.classes):
            require(rows[:, question], f"labels[:, {question}]", high=answers - 1)
        return list(rows.long().unbind(1))
