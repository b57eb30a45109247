"""Digits as networks of pictures of 32 × 32 see them, a size that can be halved five times."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def framed(images: Tensor) -> Tensor:
    """Digits (B, 1, 28, 28) in [0, 1] as the networks see them: 32 × 32 with a black frame, in [−1, 1]."""
    return F.pad(images, (2, 2, 2, 2)) * 2 - 1


def unframed(x: Tensor) -> Tensor:
    """The way back: (B, 1, 32, 32) in [−1, 1] → (B, 1, 28, 28) in [0, 1]."""
    return ((x + 1) / 2).clamp(0, 1)[..., 2:-2, 2:-2]
