"""O6.2 WGAN-GP on pictures: the penalty and its gradient, the rounds of the game, a short training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.data import digits
from dgm.homework import Answer, Wrong, finite
from dgm.metrics.samples import frechet_distance
from dgm.recipes import digit_classifier

ASKS = {
    "interpolates": "interpolates(real, fake, share) -> share·real + (1 − share)·fake, one share a pair, (B, …)",
    "penalty": "penalty(critic, real, fake, share, weight) -> weight · mean (‖∇f‖ − 1)² at the interpolates, a scalar",
    "critic_loss": "critic_loss(critic, real, fake, share, weight) -> what the critic lowers, penalty added, a scalar",
    "generator_loss": "generator_loss(critic, fake) -> what the generator lowers, a scalar",
    "play_round": "play_round(generator, critic, batches, generator_optimizer, critic_optimizer, latent, weight) -> "
    "the critic's loss at each of its steps, one a batch, (len(batches),); then the generator steps once",
    "train": "train(pictures, seed) -> the trained generator, z (B, 32) to pictures (B, 1, 16, 16) in [−1, 1]",
}
LATENT = 32
THRESHOLD = 20.0  # ours
f64 = torch.float64


def _pictures(seed: int, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Data and samples, float64 (size, 1, 4, 4) each, and shares (size,)."""
    source = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, size, 1, 4, 4, generator=source, dtype=f64)
    return real, fake, torch.rand(size, generator=source, dtype=f64)


def _critic(seed: int) -> nn.Module:
    """A smooth critic of pictures 4 × 4 with random weights, float64."""
    source = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    for parameter in net.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=source, dtype=f64)
    return net


def _slopes(critic: nn.Module, x: Tensor, step: float = 1e-5) -> Tensor:
    """‖∇f‖ at each example by differences, one pixel moved at a time: no autograd."""
    moves = step * torch.eye(x[0].numel(), dtype=f64).view(-1, 1, *x.shape[1:])
    with torch.no_grad():
        there, back = (critic((x + way * moves).flatten(0, 1)).view(-1, len(x)) for way in (1, -1))
    return ((there - back) / (2 * step)).norm(dim=0)


def _penalty(critic: nn.Module, real: Tensor, fake: Tensor, share: Tensor, weight: float) -> float:
    """The penalty by differences."""
    t = share[:, None, None, None]
    return weight * (_slopes(critic, t * real + (1 - t) * fake) - 1).square().mean().item()


def _near(came: float, want: float, within: float = 1e-5) -> bool:
    return abs(came - want) <= within * max(1.0, abs(want))


def check_interpolates(answer: Answer) -> None:
    """Share 1 gives data, share 0 samples, and all pixels of a picture have the same share."""
    real, fake, share = _pictures(0)
    for ends, want, name in ((torch.ones(4, dtype=f64), real, "real"), (torch.zeros(4, dtype=f64), fake, "fake")):
        came = answer.tensor("interpolates", real, fake, ends, shape=(4, 1, 4, 4))
        if not torch.allclose(came, want):
            turned = torch.allclose(came, fake if name == "real" else real)
            hint = "; it gives the other end: the share is that of the data" if turned else ""
            raise Wrong(f"interpolates(real, fake, share) with all shares {ends[0]:g} is to be {name}{hint}")
    came = answer.tensor("interpolates", real, fake, share, shape=(4, 1, 4, 4))
    if not torch.allclose(came, torch.stack([t * x + (1 - t) * y for x, y, t in zip(real, fake, share, strict=True)])):
        if torch.allclose(came, torch.lerp(fake, real, share.expand_as(real))):
            raise Wrong(
                "interpolates gives each column of pixels its own share: shares (B,) met the last dimension, the "
                "width. Give them the shape (B, 1, 1, 1)"
            )
        raise Wrong("interpolates: row i is to be share[i]·real[i] + (1 − share[i])·fake[i]")


class _Plane(nn.Module):
    """The critic a·x, whose slope is ‖a‖ everywhere."""

    def __init__(self, length: float) -> None:
        super().__init__()
        a = torch.linspace(-1, 2, 16, dtype=f64)
        self.a = nn.Parameter(length * a / a.norm())

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.a)[:, None]


def check_slope(answer: Answer) -> None:
    """Of a critic that is a plane of slope s the penalty is λ(s − 1)², wherever it is asked."""
    real, fake, share = _pictures(1)
    for s, weight in ((3.0, 10.0), (0.4, 2.0)):
        plane = _Plane(s)
        came, want = answer.number("penalty", plane, real, fake, share, weight), weight * (s - 1) ** 2
        if _near(came, want):
            continue
        B, by_channel = len(real), weight * (plane.a.detach().abs() - 1).square().mean().item()
        why = {
            "the weight λ is missing": want / weight,
            "1 is to be subtracted from the slope before the square": weight * s**2,
            "the root of the sum of squares is missing: the slope is a norm": weight * (s**2 - 1) ** 2,
            "that is the norm over the whole batch; each picture has its own": weight * (B**0.5 * s - 1) ** 2,
            "the slope was taken of the mean over the batch, so that it is B times too small": weight
            * (s / B - 1) ** 2,
            "that is the sum over the batch, not the mean": want * B,
            "the penalty has two sides: a slope below 1 costs, too": 0.0,
            "the norm was taken over the channels; flatten each picture first": by_channel,
        }
        hint = next((text for text, value in why.items() if _near(came, value)), None)
        raise Wrong(
            f"penalty of a critic of slope {s:g} everywhere, λ = {weight:g}: expected {want:g}, came {came:.6g}"
            + (f"; {hint}" if hint else "")
        )


def check_penalty(answer: Answer) -> None:
    """For a curved critic the penalty is what differences of the critic say, at the interpolates."""
    for seed in range(3):
        real, fake, share = _pictures(seed)
        critic = _critic(seed)
        came, want = (
            answer.number("penalty", critic, real, fake, share, 10.0),
            _penalty(critic, real, fake, share, 10.0),
        )
        if _near(came, want):
            continue
        told = f"penalty of a curved critic: expected {want:.6f} (by differences), came {came:.6f}"
        for place, t in (("data", 1.0), ("samples", 0.0), ("the middle of each pair", 0.5)):
            if _near(came, _penalty(critic, real, fake, torch.full_like(share, t), 10.0)):
                raise Wrong(f"{told}. It is taken at {place}; it belongs to the interpolates")
        if _near(came, _penalty(critic, real, fake, 1 - share, 10.0)):
            raise Wrong(f"{told}. The shares of data and samples are exchanged")
        raise Wrong(told)


def check_gradient(answer: Answer) -> None:
    """The critic learns from the penalty: its gradient by every weight agrees with differences."""
    real, fake, share = _pictures(3)
    critic = _critic(3)
    loss = answer("penalty", critic, real, fake, share, 10.0)
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        raise Wrong("penalty has no gradient, so the critic cannot lower it: create_graph=True keeps the slope's graph")
    came = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
    parts = []
    for parameter, gradient in zip(critic.parameters(), came, strict=True):
        want = torch.zeros_like(parameter)
        for place in range(parameter.numel()):
            ends = []
            for step in (1e-4, -1e-4):
                parameter.data.view(-1)[place] += step
                ends.append(_penalty(critic, real, fake, share, 10.0))
                parameter.data.view(-1)[place] -= step
            want.view(-1)[place] = (ends[0] - ends[1]) / 2e-4
        parts.append((torch.zeros_like(parameter) if gradient is None else gradient) - want)
    off = max(part.detach().abs().max().item() for part in parts)
    if off > 1e-3:
        raise Wrong(
            f"the gradient of penalty by the critic's weights is off by {off:.3g} against differences of the value: "
            "does the graph of the slope reach every weight, and no detach() stand in between?"
        )


def check_losses(answer: Answer) -> None:
    """The critic lowers E f(samples) − E f(data) plus the penalty, the generator −E f(samples)."""
    real, fake, share = _pictures(4)
    critic = _critic(4)
    with torch.no_grad():
        apart, on_fake = (critic(fake).mean() - critic(real).mean()).item(), critic(fake).mean().item()
    extra = _penalty(critic, real, fake, share, 5.0)
    came = answer.number("critic_loss", critic, real, fake, share, 5.0)
    if not _near(came, apart + extra):
        why = {
            "it lowers f on data: the two means are exchanged": -apart + extra,
            "the penalty is subtracted; in a loss that is lowered it is added": apart - extra,
            "it is what the critic raises, not what it lowers: all signs are turned": -apart - extra,
            "the penalty is missing": apart,
            "the weight was multiplied in twice": apart + 5 * extra,
        }
        hint = next((text for text, value in why.items() if _near(came, value)), None)
        raise Wrong(
            f"critic_loss with means {apart:+.4f} apart and a penalty of {extra:.4f}: expected {apart + extra:.4f}, "
            f"came {came:.4f}" + (f"; {hint}" if hint else "")
        )
    came = answer.number("generator_loss", critic, fake)
    if not _near(came, -on_fake):
        hint = "; the sign is turned: this generator walks away from the data" if _near(came, on_fake) else ""
        raise Wrong(f"generator_loss is −mean f = {-on_fake:.4f} on these samples, came {came:.4f}{hint}")


class _Watched(nn.Module):
    """A linear map without bias that writes down what it was asked."""

    def __init__(self, name: str, weight: Tensor, log: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.name, self.log, self.weight = name, log, nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        self.log.append((f"{self.name} asked", x.detach().clone()))
        out = x.flatten(1) @ self.weight.T
        return out if self.name == "critic" else out.view(-1, 1, 2, 2)


class _Descent(torch.optim.SGD):
    """Gradient descent that writes down each step: weight before and gradient."""

    def __init__(self, net: _Watched) -> None:
        super().__init__(net.parameters(), lr=0.1)
        self.net = net

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        weight, gradient = self.net.weight.detach().clone(), self.net.weight.grad
        gradient = torch.zeros_like(weight) if gradient is None else gradient.clone()
        self.net.log.append((f"{self.net.name} step", (weight, gradient)))
        super().step(closure)


def check_round(answer: Answer) -> None:
    """In a round the critic steps once a batch, each time against fresh samples, and then the generator once."""
    source, log = torch.Generator().manual_seed(5), list[tuple[str, Any]]()
    batches = [torch.randn(6, 1, 2, 2, generator=source) + 1 for _ in range(3)]
    generator = _Watched("generator", torch.randn(4, 3, generator=source), log)
    critic = _Watched("critic", torch.tensor([[1.0, -2.0, 0.5, 1.5]]), log)
    optimizers = _Descent(generator), _Descent(critic)
    told = answer.tensor(
        "play_round", generator, critic, [x.clone() for x in batches], *optimizers, 3, 10.0, shape=(3,)
    )
    order = [what for what, _ in log if what.endswith("step")]
    counts = [order.count(f"{name} step") for name in ("critic", "generator")]
    if counts[0] != 3:
        raise Wrong(
            f"play_round with 3 batches: the critic is to step 3 times, once a batch; it stepped {counts[0]} times"
        )
    if counts[1] != 1:
        raise Wrong(f"play_round with 3 batches: the generator is to step once a round; it stepped {counts[1]} times")
    if order[-1] != "generator step":
        raise Wrong(
            "play_round: the generator steps last, after the critic has learnt; here it came before a critic's step"
        )
    noise = [x for what, x in log if what == "generator asked"]
    if any(tuple(z.shape) != (6, 3) for z in noise):
        raise Wrong(f"play_round: z is to have the shape (B, latent) = (6, 3), came {tuple(noise[0].shape)}")
    if len(noise) < 4 or any(torch.equal(a, b) for i, a in enumerate(noise) for b in noise[:i]):
        raise Wrong(
            "play_round: each step is to see fresh samples, 3 draws of z for the critic and 1 for the generator; some "
            "step saw old ones"
        )
    if torch.cat(noise).min() >= 0:
        raise Wrong("play_round: z is to be standard normal, came numbers that are never negative: randn, not rand")
    _check_steps(log, batches, told)


def _check_steps(log: list[tuple[str, Any]], batches: list[Tensor], told: Tensor) -> None:
    """The gradients at all steps of a round, which of linear players are known."""
    G = next(seen[0] for what, seen in log if what == "generator step")
    z, earlier, number = torch.empty(0), torch.zeros(1, 4), 0
    for what, seen in log:
        if what == "generator asked":
            z = seen
        elif what == "critic step":
            (w, gradient), fake, real = seen, z @ G.T, batches[number].flatten(1)
            long = w.norm()
            want = fake.mean(0) - real.mean(0) + 20 * (long - 1) * w / long
            if not torch.allclose(gradient, want, rtol=1e-3, atol=1e-3):
                hint = (
                    ": it is that of all steps so far. zero_grad() is missing"
                    if torch.allclose(gradient, want + earlier, rtol=1e-3, atol=1e-3)
                    else f", [{', '.join(f'{v:.3f}' for v in want.flatten().tolist())}] expected, came "
                    f"[{', '.join(f'{v:.3f}' for v in gradient.flatten().tolist())}]"
                )
                raise Wrong(f"play_round: at step {number + 1} the critic's gradient is not that of its loss{hint}")
            value = ((fake.mean(0) - real.mean(0)) @ w[0] + 10 * (long - 1) ** 2).item()
            if not _near(told[number].item(), value, 1e-3):
                raise Wrong(
                    f"play_round gives {told[number]:.4f} as the critic's loss at step {number + 1}, expected "
                    f"{value:.4f}, the loss from which that step was taken"
                )
            earlier, number = earlier + want, number + 1
        elif what == "generator step":
            w = next(x for name, x in reversed(log) if name == "critic step")
            after = w[0] - 0.1 * w[1]
            want = -after.T * z.mean(0)
            if not torch.allclose(seen[1], want, rtol=1e-3, atol=1e-3):
                if not seen[1].any():
                    raise Wrong(
                        "play_round: the generator's gradient is 0 at its step; its samples are cut off by no_grad"
                    )
                hint = ""
                if torch.allclose(seen[1], -want, rtol=1e-3, atol=1e-3):
                    hint = " It has the wrong sign"
                elif torch.allclose(seen[1], -w[0].T * z.mean(0), rtol=1e-3, atol=1e-3):
                    hint = " It is that of the critic before its last step"
                hint = hint or " Does the critic's loss teach the generator, or is zero_grad() missing?"
                raise Wrong(f"play_round: the generator's gradient is not that of its loss under the critic now.{hint}")


def small(images: Tensor) -> Tensor:
    """Digits (N, 1, 28, 28) in [0, 1] as the task's pictures (N, 1, 16, 16) in [−1, 1]."""
    return F.pad(F.avg_pool2d(images, 2), (1, 1, 1, 1)) * 2 - 1


def distance(pictures: Tensor) -> float:
    """The Fréchet distance of pictures (N, 1, 16, 16) to the test digits, both enlarged, on classifier features."""

    def features(x: Tensor) -> Tensor:
        large = F.interpolate((x[..., 1:-1, 1:-1] + 1) / 2, scale_factor=2, mode="bilinear")
        return digit_classifier.features(large.clamp(0, 1))

    return frechet_distance(features(small(digits("test").images)), features(pictures))


def trivial(pictures: Tensor, n: int = 500) -> Tensor:
    """n pictures, each pixel taken from a picture of its own."""
    m = pictures[0].numel()
    some = torch.randint(len(pictures), (n, m), generator=torch.Generator().manual_seed(0))
    return pictures.flatten(1)[some, torch.arange(m)].view(n, *pictures.shape[1:])


def check_train(answer: Answer) -> None:
    """After a short training on small digits the samples are nearer to test digits than the threshold."""
    pictures = small(digits("train").images)
    generator: Callable[[Tensor], Tensor] = answer("train", pictures.clone(), 0)
    answer.names["generator"] = generator
    z = torch.randn(500, LATENT, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn = finite(answer("generator", z), "train(…)(z)", (500, 1, 16, 16))
    if drawn.abs().max() > 1 + 1e-6:
        low, high = drawn.min(), drawn.max()
        raise Wrong(f"the generator's pictures are to lie in [−1, 1], came {low:.2f} … {high:.2f}; end it with tanh")
    came, alone = distance(drawn), distance(trivial(pictures))
    if came > THRESHOLD:
        hint = "."
        if (drawn[1:] - drawn[0]).abs().max() < 1e-3:
            hint = ". All its pictures are the same: z is not used"
        elif drawn.min() >= 0:
            hint = ". None of its pixels is below 0, but the pictures reach from −1 to 1"
        raise Wrong(
            f"after train the Fréchet distance of 500 samples to the test digits is {came:.1f}; at most {THRESHOLD:g} "
            f"is asked (pixels drawn alone: {alone:.1f}){hint}"
        )
