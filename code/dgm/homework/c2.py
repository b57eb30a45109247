"""C2 A GAN of CSP-up blocks: the block, the generator to 128 × 128, its counts, first steps, experiments."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.data import avatars
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "CSPUp": "CSPUp(channels), a module: (B, C, H, W) to (B, C/2, 2H, 2W)",
    "Generator": "Generator(base=1024, blocks=4), a module: z (B, 100) to pictures (B, 3, S, S), S = 8 · 2^blocks",
    "block_count": "block_count(channels) -> the parameters of CSPUp(channels), by formula",
    "generator_count": "generator_count(base, blocks) -> the parameters of Generator(base, blocks), by formula",
    "train": "train(pictures, base, blocks, steps, seed, lr) -> the generator, and the losses of critic and generator "
    "(steps, 2); lr is the pair of step sizes, the critic's first",
    "experiments": "experiments() -> a list of dictionaries with name, aim, idea, FD, change and conclusion",
}
LATENT = 100
WORDS = ("name", "aim", "idea", "conclusion")


def _made(answer: Answer, name: str, *sizes: int) -> tuple[str, nn.Module]:
    """A module of the student's class, under a name by which the answer can call it."""
    module, called = answer(name, *sizes), f"{name}({', '.join(map(str, sizes))})"
    if not isinstance(module, nn.Module):
        raise Wrong(f"{called} is to be a torch.nn.Module, came {type(module).__name__}")
    answer.names[called] = module
    return called, module


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def check_block_shape(answer: Answer) -> None:
    """A block halves the channels and doubles the side, 4 × 4 × 1024 to 8 × 8 × 512."""
    for C, H, W in ((8, 4, 4), (12, 5, 3), (1024, 4, 4)):
        called, _ = _made(answer, "CSPUp", C)
        with torch.no_grad():
            came = answer(called, torch.randn(2, C, H, W))
        if isinstance(came, Tensor) and came.shape == (2, C, 2 * H, 2 * W):
            raise Wrong(f"{called}: the two ways are added, not put side by side; expected {C // 2} channels, came {C}")
        finite(came, f"{called}(x) of x {(2, C, H, W)}", (2, C // 2, 2 * H, 2 * W))


def check_block_ways(answer: Answer) -> None:
    """Half of the channels is only enlarged, the other half goes through three convolutions, and both are added."""
    called, block = _made(answer, "CSPUp", 8)
    for kind in (nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm):
        if any(isinstance(layer, kind) for layer in block.modules()):
            raise Wrong(f"{called}: this block has no {kind.__name__}; pixels are repeated, nothing is normalised")
    convolutions = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    shapes, want = [tuple(layer.weight.shape) for layer in convolutions], [(4, 4, 1, 1), (4, 4, 3, 3), (4, 4, 3, 3)]
    if shapes != want:
        raise Wrong(
            f"{called} is to hold three nn.Conv2d with the weights {want}, in the order of the way; came {shapes}"
        )
    block.double()
    x = torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = x.chunk(2, dim=1)
    with torch.no_grad():
        came = finite(answer(called, x), f"{called}(x)", (3, 4, 10, 8))
        right = _twice(first) + _long(convolutions, second)
        if torch.allclose(came, right, atol=1e-9):
            return
        others = {
            "the halves are exchanged: the first one takes the short way": _twice(second) + _long(convolutions, first),
            "every other channel takes the short way; it is the first half": _twice(x[:, ::2])
            + _long(convolutions, x[:, 1::2]),
            "the short way is missing": _long(convolutions, second),
            "the long way is missing": _twice(first),
            "the ReLU after the 1 × 1 convolution is missing": _twice(first) + _long(convolutions, second, relu1=False),
            "the ReLU between the 3 × 3 convolutions is missing": _twice(first)
            + _long(convolutions, second, relu2=False),
            "both ReLUs are missing": _twice(first) + _long(convolutions, second, relu1=False, relu2=False),
            "there is no ReLU after the last convolution": _twice(first) + F.relu(_long(convolutions, second)),
            "there is no ReLU after the sum": F.relu(right),
            "the long way is enlarged before the 3 × 3 convolutions, not after them": _twice(first)
            + _long(convolutions, second, late=True),
            "pixels are to be repeated (nearest), not interpolated": F.interpolate(
                first, scale_factor=2, mode="bilinear"
            )
            + _long(convolutions, second, mode="bilinear"),
        }
    hint = next((text for text, value in others.items() if torch.allclose(came, value, atol=1e-9)), None)
    off = (came - right).abs().max()
    raise Wrong(f"{called}(x) is off by up to {off:.3g} from enlarge(first half) + long way(second half)" + _told(hint))


def _told(hint: str | None) -> str:
    return f"; {hint}" if hint else ""


def _twice(x: Tensor, mode: str = "nearest") -> Tensor:
    return F.interpolate(x, scale_factor=2, mode=mode)


def _long(
    convolutions: list[nn.Conv2d],
    x: Tensor,
    *,
    relu1: bool = True,
    relu2: bool = True,
    late: bool = False,
    mode: str = "nearest",
) -> Tensor:
    """The long way by hand, with the student's kernels; the options are typical mistakes."""
    kernels = [(layer.weight, torch.zeros(4).to(x) if layer.bias is None else layer.bias) for layer in convolutions]
    x = F.conv2d(x, *kernels[0])
    x = F.relu(x) if relu1 else x
    x = F.conv2d(x if late else _twice(x, mode), *kernels[1], padding=1)
    x = F.conv2d(F.relu(x) if relu2 else x, *kernels[2], padding=1)
    return _twice(x) if late else x


def check_block_count(answer: Answer) -> None:
    """The formula of the block's parameters agrees with a sum over kernels, and with the module that was made."""
    for C in (8, 64, 1024):
        half = C // 2
        want = sum(half * half * side**2 + half for side in (1, 3, 3))
        came = answer.number("block_count", C)
        if came != want:
            why = {
                19 * half**2: "the biases are missing, C/2 of each convolution",
                19 * C**2 + 3 * C: "the convolutions see half of the channels only",
                10 * half**2 + 2 * half: "there are two 3 × 3 convolutions",
                19 * half**2 + half: "each of the three convolutions has its own biases",
                7 * half**2 + 3 * half: "a 3 × 3 kernel has 9 places",
            }
            raise Wrong(f"block_count({C}) is {want:,}, came {came:,.0f}{_told(why.get(int(came)))}")
        called, block = _made(answer, "CSPUp", C)
        if _count(block) != want:
            raise Wrong(
                f"{called} holds {_count(block):,} parameters, {want:,} are expected: are all convolutions there, each "
                "with biases, and are they attributes of the module (a plain list hides them)?"
            )


def check_generator_shape(answer: Answer) -> None:
    """The way is 100 → 4²·1024 → 8²·512 → 16²·256 → 32²·128 → 64²·64 → 128²·3; fewer blocks make smaller pictures."""
    for sizes in ((64, 1), (64, 3), ()):
        base, blocks = sizes or (1024, 4)
        called, net = _made(answer, "Generator", *sizes)
        seen: list[tuple[int, ...]] = []
        kind = answer.names["CSPUp"]
        for layer in net.modules():
            if isinstance(kind, type) and isinstance(layer, kind):
                layer.register_forward_hook(lambda _, x, y, seen=seen: seen.append((*x[0].shape[1:], *y.shape[1:])))
        with torch.no_grad():
            came = answer(called, torch.randn(2, LATENT))
        finite(came, f"{called}(z) of z (2, 100)", (2, 3, 8 << blocks, 8 << blocks))
        want = [(base >> i, 4 << i, 4 << i, base >> i + 1, 8 << i, 8 << i) for i in range(blocks)]
        if seen != want:
            told = [" → ".join(f"{row[j + 1]}²·{row[j]}" for j in (0, 3)) for row in (*want, *seen)]
            raise Wrong(
                f"{called}: its blocks are to make {', '.join(told[:blocks])}; "
                f"came {', '.join(told[blocks:]) or 'none'}"
            )


def check_generator_count(answer: Answer) -> None:
    """The generator's count is right by formula and in the module: 8,275,779 for the whole one."""
    for base, blocks in ((64, 2), (128, 3), (1024, 4)):
        inside = sum(19 * (base >> i + 1) ** 2 + 3 * (base >> i + 1) for i in range(blocks))
        first, last = LATENT * 16 * base, 48 * (base >> blocks)
        want = inside + first + 16 * base + last + 3
        came = answer.number("generator_count", base, blocks)
        if came != want:
            why = {
                want - 16 * base: "the biases of the linear layer are missing",
                want - 3: "the three biases of the transposed convolution are missing",
                want - 16 * base - 3: "the biases of both ends are missing",
                inside: "these are the blocks; the linear layer and the transposed convolution are missing",
                want - last - 3: "the transposed convolution is missing",
                want - first - 16 * base: "the linear layer is missing",
                want - last + 27 * (base >> blocks): "the last kernel has 4 × 4 places, not 3 × 3",
            }
            raise Wrong(f"generator_count({base}, {blocks}) is {want:,}, came {came:,.0f}{_told(why.get(int(came)))}")
        called, net = _made(answer, "Generator", base, blocks)
        if _count(net) != want:
            raise Wrong(
                f"{called} holds {_count(net):,} parameters, {want:,} are expected. Blocks in a plain list are hidden "
                "from the optimiser: use nn.Sequential or nn.ModuleList; neither norms nor other kernels belong here"
            )


def check_range(answer: Answer) -> None:
    """The pictures lie in (−1, 1), and both ends can be reached."""
    torch.manual_seed(0)
    called, _ = _made(answer, "Generator", 64, 2)
    with torch.no_grad():
        usual, extreme = (answer.tensor(called, scale * torch.randn(16, LATENT)) for scale in (1.0, 1e4))
    low, high = extreme.min().item(), extreme.max().item()
    if high > 1 or low < -1:
        raise Wrong(
            f"{called}(z) for very large z reaches from {low:.3g} to {high:.3g}: the last activation, tanh, is missing"
        )
    if low >= 0:
        last = "a sigmoid" if high <= 1 and usual.min() > 0.1 else "a ReLU"
        raise Wrong(f"{called}(z) is never below 0: it seems to end in {last}; tanh reaches both ends of (−1, 1)")
    if low > -0.9 or high < 0.9:
        raise Wrong(f"{called}(z) for very large z stays in [{low:.2f}, {high:.2f}]; black and white are at −1 and 1")
    if usual.abs().max() >= 1:
        raise Wrong(f"{called}(z) at the start is at ±1 for usual z: there tanh has no slope. It has seen no step yet")


def check_gradients(answer: Answer) -> None:
    """A gradient arrives at every parameter, through both ways of every block, and at z."""
    torch.manual_seed(1)
    called, net = _made(answer, "Generator", 64, 3)
    z = torch.randn(8, LATENT, requires_grad=True)
    pictures = answer.tensor(called, z, shape=(8, 3, 64, 64))
    if not pictures.requires_grad:
        raise Wrong(f"{called}(z) has no gradient: no detach(), no no_grad() in forward")
    net.zero_grad()
    (pictures * torch.randn_like(pictures)).sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            raise Wrong(f"no gradient arrives at {name} of {called}: it is not used, or cut off by detach()")
        if not (parameter.grad.isfinite().all() and parameter.grad.any()):
            raise Wrong(f"the gradient of {name} of {called} is {'0' if not parameter.grad.any() else 'not finite'}")
    if z.grad is None or not z.grad.any():
        raise Wrong(f"{called}: the pictures do not depend on z")


def _played(answer: Answer, pictures: Tensor, steps: int, lr: tuple[float, float]) -> tuple[nn.Module, Tensor]:
    """A short game of the student's."""
    called = f"train(pictures, 64, 2, {steps}, 0, {lr})"
    came = answer("train", pictures.clone(), 64, 2, steps, 0, lr)
    if not (isinstance(came, tuple | list) and len(came) == 2 and isinstance(came[0], nn.Module)):
        raise Wrong(f"{called} is to give the generator and the losses; came {type(came).__name__}")
    return came[0], finite(came[1], f"the losses of {called}", (steps, 2))


def check_train(answer: Answer) -> None:
    """In a few steps on avatars each player moves by its own loss only, and all parameters of the generator do."""
    pictures = avatars("train", size=32).images[:200] * 2 - 1
    start = _played(answer, pictures, 0, (1e-3, 1e-3))[0].state_dict()
    still, _ = _played(answer, pictures, 2, (1e-3, 0.0))
    if any(not torch.equal(value, start[key]) for key, value in still.state_dict().items()):
        raise Wrong(
            "train with the step sizes (0.001, 0) moved the generator, whose step size is 0. Either the pair is "
            "exchanged (the critic's comes first), or the seed does not fix the start, or the critic's optimiser holds "
            "its parameters"
        )
    moved, losses = _played(answer, pictures, 3, (1e-3, 1e-3))
    for name, parameter in moved.named_parameters():
        if torch.equal(parameter, start[name]):
            raise Wrong(
                f"after 3 steps the generator's {name} is what it was: is the fake detached in the generator's loss, "
                "too, or is this parameter not given to its optimiser?"
            )
    if (losses[:, 1] <= 0).any():
        raise Wrong(
            f"the generator's losses are {[round(v, 3) for v in losses[:, 1].tolist()]}: log(1 − D) is negative, and "
            "flat where the critic is sure. Non-saturating is −log D, which is positive"
        )
    if (losses[:, 0] <= 0).any():
        raise Wrong(
            f"the critic's losses are {[round(v, 3) for v in losses[:, 0].tolist()]}: a cross-entropy is positive; the "
            "critic lowers it"
        )
    again, _ = _played(answer, pictures, 3, (1e-3, 1e-3))
    if any(not torch.equal(value, moved.state_dict()[key]) for key, value in again.state_dict().items()):
        raise Wrong(
            "train with the same seed twice gives two generators; seed all chance, the start of the networks included"
        )


def check_experiments(answer: Answer) -> None:
    """At least three experiments are reported, with aim, idea, result, change against the baseline, conclusion."""
    rows: Any = answer("experiments")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Wrong(f"experiments() is to be a list of dictionaries, came {type(rows).__name__}")
    if len(rows) < 3:
        raise Wrong(f"experiments(): the baseline and at least two changes are asked, came {len(rows)}")
    for i, row in enumerate(rows):
        if lacks := [key for key in (*WORDS, "FD", "change") if key not in row]:
            raise Wrong(f"experiments(): number {i} lacks {', '.join(lacks)}")
        if empty := [key for key in WORDS if not (isinstance(row[key], str) and row[key].strip())]:
            raise Wrong(f"experiments(): of number {i} {', '.join(empty)} is empty; say it in a sentence")
        if not (isinstance(row["FD"], int | float) and math.isfinite(row["FD"]) and row["FD"] > 0):
            raise Wrong(f"experiments(): the FD of {row['name']!r} is to be a number above 0, came {row['FD']!r}")
    base = rows[0]["FD"]
    for row in rows:
        came, want = row["change"], row["FD"] / base - 1
        if not (isinstance(came, int | float) and abs(came - want) < 0.005):
            shown = f"{came:.3f}" if isinstance(came, int | float) else repr(came)
            told = f"experiments(): {row['name']!r} has FD {row['FD']:.2f}, the baseline {base:.2f}"
            raise Wrong(
                f"{told}: change {want:+.3f}, came {shown}; it is FD / baseline − 1, negative where the distance fell"
            )
