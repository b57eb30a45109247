r"""Coupling layers: half of the variables stay as they are and say how the other half is moved.

    NICE       z_b = x_b + t(x_a)                     volume is preserved:  log |det| = 0
    RealNVP    z_b = x_b · exp s(x_a) + t(x_a)        triangular Jacobian:  log |det| = Σ s(x_a)
    Glow       the same, with a learned linear map between the layers instead of a fixed exchange of the halves

The inverse needs s and t at the same x_a, which did not change: the networks are never inverted.

Sources: Laurent Dinh, David Krueger, Yoshua Bengio (2015), NICE: Non-linear Independent Components Estimation;
Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio (2017), Density Estimation using Real NVP;
Diederik Kingma, Prafulla Dhariwal (2018), Glow: Generative Flow with Invertible 1×1 Convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dgm.checks import require, require_count, require_number
from dgm.nn.flow import Chain, Flow, Logit, Squeeze, StandardNormal, per_example
from dgm.nn.mlp import mlp

# --- masks: True where a variable stays ------------------------------------------------------------------------


def half_mask(m: int) -> Tensor:
    """The first half of m variables stays, bool (m,); of an odd number the smaller half.

    >>> half_mask(5).tolist()
    [True, True, False, False, False]
    """
    return torch.arange(require_count(m, "m", low=2)) < m // 2


def channel_mask(channels: int) -> Tensor:
    """The first half of the channels stays, bool (C, 1, 1)."""
    return half_mask(channels)[:, None, None]


def checkerboard_mask(height: int, width: int) -> Tensor:
    """The white squares of a chessboard stay, bool (1, H, W).

    >>> checkerboard_mask(2, 3).int().tolist()
    [[[1, 0, 1], [0, 1, 0]]]
    """
    rows, columns = torch.arange(require_count(height, "height")), torch.arange(require_count(width, "width"))
    return ((rows[:, None] + columns) % 2 == 0)[None]


# --- couplings -------------------------------------------------------------------------------------------------


class AdditiveCoupling(nn.Module):
    r"""NICE: $\z = \x + (1 - b) \odot t(b \odot \x)$ with a mask b; $\log|\det| = 0$.

    Args:
        mask: b, True where a variable stays; a 1 in its shape fits any size of x there.
        net: t, from (B, *shape) to the same shape.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mask", require(mask, "mask", dtype="bool"), persistent=False)
        self.net = net

    def _shift(self, x: Tensor, name: str) -> Tensor:
        x = require(x, name, shape=_batch_of(self.mask), dtype="float")
        return require(self.net(x * self.mask), "net", shape=("B", *x.shape[1:])) * ~self.mask

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add the shift."""
        return x + self._shift(x, "x"), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Take the shift off again: the variables that it depends on did not change."""
        return z - self._shift(z, "z"), z.new_zeros(len(z))


class AffineCoupling(nn.Module):
    r"""RealNVP: $\z = b \odot \x + (1 - b) \odot (\x \odot e^s + t)$ with $(s, t)$ a network of $b \odot \x$.

    $$ \log\Bigl|\det\frac{\partial\z}{\partial\x}\Bigr| = \sum_i (1 - b_i)\, s_i,
       \qquad s = c \tanh(\hat s / c) $$

    Whatever the network says ($\hat s$), $|s| < c$: no layer stretches by more than $e^c$.

    Args:
        mask: b, True where a variable stays; a 1 in its shape fits any size of x there.
        net: from (B, C, …) to (B, 2C, …): first $\hat s$, then t.
        bound: c > 0.
    """

    mask: Tensor
    stays: Tensor
    moves: Tensor

    def __init__(self, mask: Tensor, net: nn.Module, *, bound: float = 3.0) -> None:
        super().__init__()
        self.register_buffer("mask", require(mask, "mask", dtype="bool"), persistent=False)
        # The mask as numbers: a product with bools converts them each time.
        self.register_buffer("stays", mask.float(), persistent=False)
        self.register_buffer("moves", 1 - mask.float(), persistent=False)
        self.net, self.bound = net, require_number(bound, "bound", low=0.0, open_low=True)

    def _scale_and_shift(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        x = require(x, name, shape=_batch_of(self.mask), dtype="float")
        both = require(self.net(x * self.stays), "net", shape=("B", 2 * x.shape[1], *x.shape[2:]))
        raw, shift = both.chunk(2, dim=1)
        return torch.tanh(raw / self.bound) * (self.bound * self.moves), shift * self.moves

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        log_scale, shift = self._scale_and_shift(x, "x")
        return torch.addcmul(shift, x, log_scale.exp()), per_example(log_scale)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the shift, then the scale."""
        log_scale, shift = self._scale_and_shift(z, "z")
        return (z - shift) * (-log_scale).exp(), -per_example(log_scale)


def _batch_of(mask: Tensor) -> list[str | int]:
    """The batches that a mask fits, as `require` reads them: (4, 1, 1) → B, 4, size1, size2."""
    return ["B", *(size if size > 1 else f"size{i}" for i, size in enumerate(mask.shape))]


# --- linear maps between couplings -----------------------------------------------------------------------------


class Scaling(nn.Module):
    r"""NICE's last layer: $\z = e^{g} \odot \x$, $\log|\det| = \sum_i g_i$; it says which variables matter.

    Args:
        m: the number of variables.
    """

    def __init__(self, m: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(require_count(m, "m")))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Stretch each variable, (B, m)."""
        x = require(x, "x", shape=f"B {len(self.log_scale)}", dtype="float")
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Shrink it back."""
        z = require(z, "z", shape=f"B {len(self.log_scale)}", dtype="float")
        return z * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(z))


class ActNorm(nn.Module):
    r"""Glow's normalisation: $\z = e^{g} \odot (\x + b)$, one g and b a channel; $\log|\det| = HW \sum_c g_c$.

    The first batch that passes in training mode sets b and g so that every channel leaves with mean 0 and standard
    deviation 1 (a channel that does not vary is only centred). From then on they are parameters like any other;
    the buffer `started` is kept with the weights, so that a loaded model does not start again.

    Args:
        channels: C, of (B, C) or (B, C, H, W).
    """

    started: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(require_count(channels, "channels")))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        rows = x.transpose(0, 1).flatten(1)  # (C, B·H·W)
        sd = rows.std(1, correction=0)
        self.shift.copy_(-rows.mean(1))
        self.log_scale.copy_(-torch.where(sd > 1e-6, sd, 1.0).log())
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for value in (self.shift, self.log_scale):  # all processes of `accelerate launch` start alike
                torch.distributed.broadcast(value.data, 0)
        self.started.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shift, then scale."""
        x, like, places = self._check(x, "x")
        if self.training and not self.started:
            self._start(x)
        z = (x + self.shift.view(like)) * self.log_scale.exp().view(like)
        return z, (places * self.log_scale.sum()).expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the scale, then the shift."""
        z, like, places = self._check(z, "z")
        x = z * (-self.log_scale).exp().view(like) - self.shift.view(like)
        return x, (-places * self.log_scale.sum()).expand(len(z))

    def _check(self, x: Tensor, name: str) -> tuple[Tensor, list[int], int]:
        """The batch, the shape of a channel's number beside it, and the number of places H·W."""
        x = require_channels(x, name, len(self.shift))
        return x, [-1] + [1] * (x.dim() - 2), x[0, 0].numel()


class Conv1x1(nn.Module):
    r"""Glow's mixing of channels, one matrix for all pixels: $\z_{hw} = W \x_{hw}$, $\log|\det| = HW \log|\det W|$.

    The matrix is kept in factors, $W = P L (U + \diag(s))$, P a fixed permutation, L unit lower and U strictly upper
    triangular, so that $\log|\det W| = \sum_c \log|s_c|$ costs O(C) (multiplying still costs O(C²) a pixel). The signs
    of s are fixed: the determinant cannot pass through 0. It starts as a random rotation.

    Args:
        channels: C ≥ 2, of (B, C) or (B, C, H, W).
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = require_count(channels, "channels", low=2)
        rotation = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", upper.diagonal().sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_scale = nn.Parameter(upper.diagonal().abs().log().float())

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """P, L, U + diag(s), each (C, C)."""
        lower = self.lower.tril(-1) + torch.eye(len(self.sign)).to(self.lower)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())
        return self.permutation, lower, upper

    def weight(self) -> Tensor:
        """W, (C, C)."""
        permutation, lower, upper = self.factors()
        return permutation @ lower @ upper

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the channels of every pixel by W."""
        x = require_channels(x, "x", len(self.sign))
        z = torch.einsum("dc, bc... -> bd...", self.weight(), x)
        return z, (x[0, 0].numel() * self.log_scale.sum()).expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the two triangular systems."""
        z = require_channels(z, "z", len(self.sign))
        permutation, lower, upper = self.factors()
        half = torch.linalg.solve_triangular(lower, permutation.T, upper=False, unitriangular=True)
        back = torch.linalg.solve_triangular(upper, half, upper=True)  # W⁻¹
        x = torch.einsum("dc, bc... -> bd...", back, z)
        return x, (-z[0, 0].numel() * self.log_scale.sum()).expand(len(z))


def require_channels(x: object, name: str, channels: int) -> Tensor:
    """Return `x` if it is a float batch (B, channels) or (B, channels, H, W)."""
    pictures = isinstance(x, Tensor) and x.dim() == 4
    return require(x, name, shape=f"B {channels} H W" if pictures else f"B {channels}", dtype="float")


# --- several scales --------------------------------------------------------------------------------------------


class Multiscale(nn.Module):
    r"""Transform, let half of the channels go, go on with the rest at half the size: pictures ↔ flat latents.

    A level turns (C, H, W) into (4C, H/2, W/2). The first half of these channels is done; the second half is what the
    next level gets; the last level keeps all. What left first holds the finest detail. The latents lie in the row in
    the order in which they left; none is added or lost, and a split has log-determinant 0.

    Args:
        shape: of one picture (C, H, W); H and W divisible by $2^\text{levels}$.
        levels: the transforms of each level, one of them a `Squeeze`.
    """

    def __init__(self, shape: Sequence[int], levels: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Chain(transforms) for transforms in levels)
        channels, height, width = (require_count(size, "shape") for size in shape)
        if not levels or height % 2 ** len(levels) or width % 2 ** len(levels):
            raise ValueError(f"shape: expected sides divisible by 2^{len(levels)}, came {height}×{width}")
        self.shape = (channels, height, width)
        self.parts: list[tuple[int, int, int]] = []  # the shape of what each level lets go
        for level in range(len(levels)):
            channels, height, width = 4 * channels, height // 2, width // 2
            channels = channels if level == len(levels) - 1 else channels // 2
            self.parts.append((channels, height, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) → (B, C·H·W)."""
        x = require(x, "x", shape=("B", *self.shape), dtype="float")
        total, gone = x.new_zeros(len(x)), []
        for level, (channels, _, _) in zip(self.levels, self.parts, strict=True):
            x, ladj = level(x)
            gone.append(x[:, :channels].flatten(1))
            x, total = x[:, channels:], total + ladj
        return torch.cat(gone, 1), total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C·H·W) → (B, C, H, W)."""
        sizes = [math.prod(part) for part in self.parts]
        z = require(z, "z", shape=f"B {sum(sizes)}", dtype="float")
        parts = [part.unflatten(1, shape) for part, shape in zip(z.split(sizes, 1), self.parts, strict=True)]
        x, total = parts[-1], z.new_zeros(len(z))
        for depth in reversed(range(len(parts))):
            x, ladj = cast(Chain, self.levels[depth]).inverse(x)
            total = total + ladj
            if depth:
                x = torch.cat([parts[depth - 1], x], 1)
        return x, total


# --- the models ------------------------------------------------------------------------------------------------


def from_zero(net: nn.Sequential) -> nn.Sequential:
    """Set the last layer to 0: a coupling with this network starts as the identity."""
    for parameter in net[-1].parameters():
        nn.init.zeros_(parameter)
    return net


def conv_net(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Three convolutions (3×3, 1×1, 3×3) that keep height and width, for couplings of pictures; starts at 0."""
    return from_zero(
        nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 3, padding=1),
        )
    )


def nice(dims: int, *, couplings: int = 4, hidden: Sequence[int] = (64, 64)) -> Flow:
    """NICE for points (B, dims): additive couplings with the halves in turn, then one scale a variable."""
    masks = [half_mask(dims), ~half_mask(dims)]
    steps = [
        AdditiveCoupling(masks[i % 2], from_zero(mlp([dims, *hidden, dims])))
        for i in range(require_count(couplings, "couplings"))
    ]
    return Flow([*steps, Scaling(dims)], StandardNormal((dims,)))


def realnvp(dims: int, *, couplings: int = 6, hidden: Sequence[int] = (64, 64)) -> Flow:
    """RealNVP for points (B, dims): affine couplings with the halves in turn.

    >>> flow = realnvp(2)
    >>> flow.log_prob(torch.zeros(3, 2)).shape, flow.sample(5).shape
    (torch.Size([3]), torch.Size([5, 2]))
    """
    masks = [half_mask(dims), ~half_mask(dims)]
    steps = [
        AffineCoupling(masks[i % 2], from_zero(mlp([dims, *hidden, 2 * dims])))
        for i in range(require_count(couplings, "couplings"))
    ]
    return Flow(steps, StandardNormal((dims,)))


def realnvp_image(
    shape: Sequence[int], *, levels: int = 2, depth: int = 4, width: int = 64, alpha: float | None = 0.05
) -> Flow:
    """RealNVP for pictures in [0, 1]: at each scale checkerboard couplings, a squeeze, couplings of channel halves.

    The arguments are those of `glow`; `depth` couplings of each kind, a normalisation before each.
    """

    def couplings(channels: int, mask: Tensor) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for i in range(require_count(depth, "depth")):
            net = conv_net(channels, width, 2 * channels)
            layers += [ActNorm(channels), AffineCoupling(~mask if i % 2 else mask, net)]
        return layers

    channels, rows, columns = shape
    stacks = []
    for _ in range(require_count(levels, "levels")):
        fine = couplings(channels, checkerboard_mask(rows, columns))
        stacks.append([*fine, Squeeze(), *couplings(4 * channels, channel_mask(4 * channels))])
        channels, rows, columns = 2 * channels, rows // 2, columns // 2
    return _pictures(shape, stacks, alpha)


def glow(shape: Sequence[int], *, levels: int = 2, depth: int = 8, width: int = 64, alpha: float | None = 0.05) -> Flow:
    """Glow for pictures in [0, 1]: at each of `levels` scales `depth` times normalise, mix the channels, couple.

    In each level's last coupling the half that stays tells the half that leaves how to be scaled and shifted: given
    the rest, what enters that coupling is normal with a learned mean and scale, as under Glow's learned prior.

    Args:
        shape: of one picture (C, H, W).
        levels: how often it is halved.
        depth: steps a level.
        width: channels inside the couplings' networks.
        alpha: the margin of the `Logit` in front; None for none.
    """
    channels, stacks = shape[0], []
    for _ in range(require_count(levels, "levels")):
        channels *= 4
        mask = ~channel_mask(channels)  # the second half stays; the first, which leaves at the end, is what changes
        stack: list[nn.Module] = [Squeeze()]
        for _ in range(require_count(depth, "depth")):
            stack += [ActNorm(channels), Conv1x1(channels)]
            stack += [AffineCoupling(mask, conv_net(channels, width, 2 * channels))]
        stacks.append(stack)
        channels //= 2
    return _pictures(shape, stacks, alpha)


def _pictures(shape: Sequence[int], stacks: Sequence[Sequence[nn.Module]], alpha: float | None) -> Flow:
    front = [] if alpha is None else [Logit(alpha)]
    return Flow([*front, Multiscale(shape, stacks)], StandardNormal((math.prod(shape),)))
