"""More digits from few: the affine jitter that several recipes train with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def jitter(grey: Tensor, bend: float = 0.1, shift: float = 0.5) -> Tensor:
    """Bend each picture by a random affine map: matrix entries vary by `bend`, the centre by `shift` pixels (sd).

    3,500 digits are few: without it a network learns them by heart within minutes.

    Args:
        grey: pictures (B, 1, H, W) in [0, 1].
    """
    maps = torch.eye(2, 3, device=grey.device).repeat(len(grey), 1, 1)
    maps[:, :, :2] += bend * torch.randn(len(grey), 2, 2, device=grey.device)
    maps[:, :, 2] += shift * 2 / grey.shape[-1] * torch.randn(len(grey), 2, device=grey.device)
    where = F.affine_grid(maps, list(grey.shape), align_corners=False)
    return F.grid_sample(grey, where, align_corners=False)


def bits(model: nn.Module, grey: Tensor, **jitters: float) -> Tensor:
    """What a model of binary digits gets to see of grey ones: jittered while it trains, thresholded at 128 always."""
    return ((jitter(grey, **jitters) if model.training else grey) > 0.5).float()
