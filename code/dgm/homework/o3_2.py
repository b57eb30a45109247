"""O3.2 A VAE of pictures: sixteen numbers for an avatar, samples, reconstructions and interpolations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from dgm.data import avatars
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "log_normal": "log_normal(x, mean) -> log-density with deviation 1 in every pixel, nats for each picture, (B,)",
    "elbo": "elbo(x, encoder, decoder, eps) -> the bound with the codes made of the noise eps, in nats, (B,)",
    "networks": "networks() -> convolutional encoder (B, 3, 16, 16) → (B, 32) and decoder (B, 16) → (B, 3, 16, 16)",
    "train": "train(images, seed) -> encoder and decoder, trained on images (N, 3, 16, 16) in [−1, 1]",
    "reconstruct": "reconstruct(encoder, decoder, x) -> the decoder's pictures for the means of the codes, in [−1, 1]",
    "sample": "sample(decoder, n, seed) -> the decoder's pictures for n codes from the prior, in [−1, 1]",
    "interpolate": "interpolate(encoder, decoder, a, b, steps) -> lines between pictures, (B, steps, 3, 16, 16)",
}
LATENT, PIXELS = 16, 3 * 16 * 16
CONSTANT = PIXELS * 0.5 * math.log(2 * math.pi)
TRAINED = "the encoder that train gave", "the decoder that train gave"


def _judge(called: str, came: Any, expected: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Expect the vector `expected`; where one of the typical mistakes came instead, say which."""
    if not isinstance(came, Tensor):
        raise Wrong(f"{called} is to be a tensor, came {type(came).__name__}")
    same = {
        what: came.shape == wrong.shape and torch.allclose(came.double(), wrong) for what, wrong in mistakes.items()
    }
    if told := [what for what, is_so in same.items() if is_so]:
        raise Wrong(f"{called}: {told[0]}")
    finite(came, called, tuple(expected.shape))
    if not torch.allclose(came.double(), expected, rtol=1e-6):
        i = int((came.double() - expected).abs().argmax())
        raise Wrong(f"{called}: picture {i + 1} is to be {expected[i]:.4f} nats, came {came[i]:.4f}")


def _pictures(n: int = 5) -> Tensor:
    return 2 * torch.rand(n, 3, 16, 16, dtype=torch.float64) - 1


def _linear() -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder that need no training, in float64."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 2 * LATENT)).double()
    decoder = nn.Sequential(nn.Linear(LATENT, PIXELS), nn.Tanh(), nn.Unflatten(1, (3, 16, 16))).double()
    return encoder, decoder


def check_log_normal(answer: Answer) -> None:
    """The log-density sums over all pixels and channels and has its constant."""
    x, mean = _pictures(), _pictures()
    each = Normal(mean, 1.0).log_prob(x).flatten(1)
    truth, square = each.sum(1), (x - mean).square().flatten(1)
    mistakes = {
        f"the constant is missing, {PIXELS}/2 · log 2π = {CONSTANT:.2f} nats": truth + CONSTANT,
        "the constant is there once; it is needed for each of the 768 numbers": (
            truth + CONSTANT - 0.5 * math.log(2 * math.pi)
        ),
        "this is the mean over the pixels: against it the KL would weigh 768 times too much": each.mean(1),
        "the sign is turned: this is minus the log-density": -truth,
        "the factor ½ before the squared error is missing": truth - 0.5 * square.sum(1),
        "this is minus the mean squared error: neither a sum nor a log-density": -square.mean(1),
    }
    _judge("log_normal(x, mean)", answer("log_normal", x, mean), truth, mistakes)


def check_elbo(answer: Answer) -> None:
    """The bound is reconstruction minus KL, and its gradient reaches the encoder through the code."""
    encoder, decoder = _linear()
    x, eps = _pictures(), torch.randn(5, LATENT, dtype=torch.float64)
    mean, log_sd = encoder(x).chunk(2, 1)
    kl = kl_divergence(Normal(mean, log_sd.exp()), Normal(0.0, 1.0)).sum(1)

    def restored(z: Tensor) -> Tensor:
        return Normal(decoder(z), 1.0).log_prob(x).flatten(1).sum(1)

    z = mean + log_sd.exp() * eps
    truth = restored(z) - kl
    mistakes = {
        "the KL is added; it is a price and is subtracted": restored(z) + kl,
        "this is minus the bound": -truth,
        "the KL is missing: this trains an autoencoder, which cannot generate": restored(z),
        "the KL is the mean over the 16 coordinates; it is their sum": restored(z) - kl / LATENT,
        "the noise is not used: the code is the encoder's mean": restored(mean) - kl,
        "the noise is multiplied by σ²; z = μ + σ ε": restored(mean + (2 * log_sd).exp() * eps) - kl,
        "the noise is multiplied by log σ; z = μ + σ ε": restored(mean + log_sd * eps) - kl,
    }
    came = answer("elbo", x, encoder, decoder, eps)
    _judge("elbo(x, encoder, decoder, eps)", came, truth, mistakes)
    weight = next(encoder.parameters())  # of its one linear layer
    expected = torch.autograd.grad(truth.sum(), weight)[0]
    slope = torch.autograd.grad(came.sum(), weight, allow_unused=True)[0] if came.requires_grad else None
    if slope is None:
        raise Wrong("elbo: no gradient reaches the encoder; is there a detach or a no_grad on the way?")
    if not torch.allclose(slope, expected, rtol=1e-5):
        raise Wrong("elbo: its values are right, its gradient by the encoder is not; the code keeps its gradient")


def _two(answer: Answer, name: str, *arguments: Any) -> tuple[nn.Module, nn.Module]:
    """Two modules as they came from a function."""
    came = answer(name, *arguments)
    if not (isinstance(came, tuple | list) and len(came) == 2 and all(isinstance(part, nn.Module) for part in came)):
        raise Wrong(f"{name} is to give two modules of torch, encoder and decoder; came {type(came).__name__}")
    return came[0], came[1]


def check_networks(answer: Answer) -> None:
    """The networks are convolutional and have the shapes that are asked."""
    encoder, decoder = _two(answer, "networks")
    for name, net, x, shape in (
        ("encoder", encoder, _pictures(4).float(), (4, 2 * LATENT)),
        ("decoder", decoder, torch.randn(4, LATENT), (4, 3, 16, 16)),
    ):
        called = f"the {name} of networks()"
        answer.names[called] = net
        came = answer.tensor(called, x, shape=shape)
        if not any(weight.dim() == 4 for weight in net.parameters()):
            raise Wrong(f"{called} has no convolution; a picture is more than a list of numbers")
        if torch.allclose(came[0], came[1], atol=1e-7):
            raise Wrong(f"{called} answers two inputs alike")


def check_sample(answer: Answer) -> None:
    """Samples are decoded from codes of the prior, and values stay within [−1, 1]."""
    weight = torch.eye(LATENT)

    class Told(nn.Module):
        """Shows the codes it is given: as pixels, made small enough for [−1, 1]."""

        def forward(self, z: Tensor) -> Tensor:
            pixels = torch.zeros(len(z), PIXELS, dtype=z.dtype)
            pixels[:, :LATENT] = z @ weight.to(z.dtype) / 10
            pixels[:, -1] = 5.0  # beyond what a pixel can show
            return pixels.unflatten(1, (3, 16, 16))

    n = 5_000
    came, again, other = (answer.tensor("sample", Told(), n, seed, shape=(n, 3, 16, 16)) for seed in (0, 0, 1))
    z = 10 * came.flatten(1)[:, :LATENT]
    if not torch.equal(came, again) or torch.equal(came, other):
        raise Wrong("sample: the same seed is to give the same pictures, another seed others")
    if (z.mean(0) - 0.5).abs().max() < 0.1 and (z.std(0) - 12**-0.5).abs().max() < 0.1:
        raise Wrong("sample: the codes are uniform on [0, 1); the prior is N(0, I): randn, not rand")
    if z.mean(0).abs().max() > 0.1 or (z.T.cov() - weight).abs().max() > 0.15:
        raise Wrong(
            "sample: the codes are to be N(0, I), independent; came means up to "
            f"{z.mean(0).abs().max():.2f} and deviations from {z.std(0).min():.2f} to {z.std(0).max():.2f}"
        )
    if (came.flatten(1)[:, LATENT:-1] != 0).any():
        raise Wrong("sample: noise is added to what the decoder says; its means are asked")
    if came.abs().max() > 1:
        raise Wrong(f"sample: a pixel is to lie in [−1, 1], came {came.abs().max():g}; clamp what the decoder says")


def check_between(answer: Answer) -> None:
    """Reconstructions come from the codes' means, interpolations run through the codes from end to end."""
    encoder, decoder = (net.float() for net in _linear())
    a, b = _pictures(3).float(), _pictures(3).float()
    with torch.no_grad():
        begin, end = (encoder(x).chunk(2, 1)[0] for x in (a, b))
        came = answer.tensor("reconstruct", encoder, decoder, a, shape=tuple(a.shape))
        if not _near(came, decoder(begin)):
            if not torch.equal(came, answer("reconstruct", encoder, decoder, a)):
                raise Wrong("reconstruct: twice the same picture gives two answers; decode the mean of the code")
            raise Wrong("reconstruct is to decode the means of q(z | x), the first half of the encoder's answer")
        steps = 5
        line = finite(answer("interpolate", encoder, decoder, a, b, steps), "interpolate(…)")
        if tuple(line.shape) != (3, steps, 3, 16, 16):
            swapped = " (pairs first, then steps)" if line.shape[:2] == (steps, 3) else ""
            raise Wrong(f"interpolate is to have the shape (3, {steps}, 3, 16, 16){swapped}, came {tuple(line.shape)}")
        share = torch.linspace(0, 1, steps)
        truth = torch.stack([decoder(torch.lerp(begin, end, s)) for s in share], 1)
        if _near(line, torch.lerp(truth[:, :1], truth[:, -1:], share.view(-1, 1, 1, 1))):
            raise Wrong("interpolate: this fades from one picture to the other; the line runs between the codes")
        if _near(line, truth.flip(1)):
            raise Wrong("interpolate: the line runs from b to a")
        for i, name in ((0, "a"), (-1, "b")):
            if not _near(line[:, i], truth[:, i]):
                raise Wrong(
                    f"interpolate: both ends are included; picture {i % steps + 1} of {steps} is to be that of {name}"
                )
        if not _near(line, truth):
            raise Wrong(
                "interpolate: the ends are right, the codes between them are not in equal steps on a straight line"
            )


def _near(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0.0, atol=1e-5)


def _trained(answer: Answer) -> tuple[Tensor, Tensor]:
    """The training pictures and the test pictures; the networks, trained once, are in `answer.names`."""
    images, test = (2 * avatars(split).images - 1 for split in ("train", "test"))
    if TRAINED[0] not in answer.names:
        torch.manual_seed(0)
        parts = _two(answer, "train", images, 0)
        answer.names.update({name: part.eval() for name, part in zip(TRAINED, parts, strict=True)})
    return images, test


def _lines(images: Tensor, test: Tensor) -> tuple[float, float]:
    """Loss on the test pictures of the mean picture, and of the best linear decoder with 16 numbers (exact)."""
    centre = images.mean(0)
    away = (test - centre).flatten(1).double()
    values, vectors = torch.linalg.eigh((images - centre).flatten(1).double().T.cov(correction=0))
    big, directions = values[-LATENT:].clamp_min(1.0), vectors[:, -LATENT:]
    told = (away @ directions).square()
    linear = 0.5 * (big.log().sum() + (told / big - told).sum(1) + away.square().sum(1))
    return 0.5 * away.square().sum(1).mean().item() + CONSTANT, linear.mean().item() + CONSTANT


def check_train(answer: Answer) -> None:
    """Trained, the loss on test pictures is below that of the best linear decoder with 16 numbers."""
    images, test = _trained(answer)
    mean_picture, linear = _lines(images, test)
    with torch.no_grad():
        mean, log_sd = answer.tensor(TRAINED[0], test, shape=(len(test), 2 * LATENT)).chunk(2, 1)
        kl = kl_divergence(Normal(mean, log_sd.exp()), Normal(0.0, 1.0)).sum(1).mean().item()
        error = 0.0
        for _ in range(5):
            z = mean + log_sd.exp() * torch.randn(mean.shape)
            restored = answer.tensor(TRAINED[1], z, shape=tuple(test.shape))
            error += (restored - test).square().flatten(1).sum(1).mean().item() / 5
    loss = CONSTANT + 0.5 * error + kl
    if loss < linear:
        return
    told = (
        f"train: {loss:.1f} nats on test pictures (constant {CONSTANT:.1f}, error {0.5 * error:.1f}, KL {kl:.1f}); "
        f"less than the {linear:.1f} of the best linear decoder is asked, "
        f"the mean picture without any code has {mean_picture:.1f}"
    )
    if kl < 0.5:
        raise Wrong(f"{told}. The code is empty, the posterior collapsed: is the error summed over the pixels?")
    if kl > 100:
        raise Wrong(f"{told}. The KL is huge: was it left out of the loss?")
    raise Wrong(f"{told}. More steps, another step size?")


def check_samples(answer: Answer) -> None:
    """Codes follow the prior, and samples differ and lie nearer to training pictures than a blur does."""
    images, test = _trained(answer)
    with torch.no_grad():
        mean, log_sd = answer.tensor(TRAINED[0], test, shape=(len(test), 2 * LATENT)).chunk(2, 1)
        spread = mean.var(0) + (2 * log_sd).exp().mean(0)
        came = answer.tensor("sample", answer.names[TRAINED[1]], 200, 0, shape=(200, 3, 16, 16))
        away = torch.cdist(came.flatten(1), images.flatten(1)).amin(1).square().mean().item()
        typical = torch.cdist(images.mean(0).flatten()[None], images.flatten(1)).amin().square().item()
    if spread.max() > 3 or spread.min() < 0.3:
        raise Wrong(
            "train: over all pictures a coordinate of the code has the variance "
            f"{spread.min():.2f} to {spread.max():.2f}; the prior, "
            "from which samples come, has 1. Is the KL in the loss as it stands in elbo?"
        )
    if came.flatten(1).std(0).mean() < 0.02:
        raise Wrong("sample: all samples are one picture: the code is not used")
    if away > typical:
        raise Wrong(
            f"sample: the squared distance of a sample to the nearest training picture is {away:.1f} on average; "
            f"that of the mean picture, a blur, is {typical:.1f}"
        )
