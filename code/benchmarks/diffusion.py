"""A diffusion model of digits beside diffusers and denoising-diffusion-pytorch: networks of one size, one thread.

All see the same: digits with a frame, each 2 × 2 pixels folded into four channels of 16 × 16 places; no classes; the
cosine schedule of a thousand steps, v-prediction. Everything else is each library's own: its U-Net, its loss, its DDIM.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch import denoising_diffusion_pytorch as lucid
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from benchmarks.race import OURS, keep, machine, race, rounded, versions
from dgm.data import digits
from dgm.diffusion.ddpm import Cosine, Denoiser, even_times
from dgm.diffusion.samplers import DDIM, Clipped
from dgm.metrics.samples import frechet_distance
from dgm.nn.unet import UNet
from dgm.recipes import digit_classifier
from dgm.recipes._frame import framed, unframed
from dgm.training import Average

BATCH, LR, STEPS = 64, 1e-3, 20  # STEPS of DDIM where sampling is timed
MINUTES, SAMPLES, MANY = 4.0, 500, 50  # of training; samples that are judged, and steps of DDIM for them


class Entrant(NamedTuple):
    """A model, its loss of folded digits (B, 4, 16, 16) in [−1, 1], and how it draws n of them in so many steps."""

    model: nn.Module
    loss: Callable[[Tensor], Tensor]
    sample: Callable[[int, int], Tensor]


def ours() -> Entrant:
    """Ours; its network could fold by itself, here it need not."""
    net = UNet((4, 16, 16), widths=(32, 64, 96), blocks=1)
    denoiser = Denoiser(net, Cosine(1_000), predicts="velocity")
    sampler = DDIM(Clipped(denoiser))
    return Entrant(denoiser, denoiser.loss, lambda n, steps: sampler.sample((n, 4, 16, 16), even_times(steps)))


def diffusers() -> Entrant:
    """diffusers: `UNet2DModel`, `DDPMScheduler` for training, `DDIMScheduler` for sampling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net: Any = UNet2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(32, 64, 96),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=24,
        )
        common = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
        train: Any = DDPMScheduler(1_000, **common)
        walk: Any = DDIMScheduler(1_000, timestep_spacing="trailing", **common)

    def loss(x: Tensor) -> Tensor:
        t, noise = torch.randint(0, 1_000, (len(x),)), torch.randn_like(x)
        return F.mse_loss(net(train.add_noise(x, noise, t), t).sample, train.get_velocity(x, noise, t))

    @torch.no_grad()
    def sample(n: int, steps: int) -> Tensor:
        x = torch.randn(n, 4, 16, 16)
        walk.set_timesteps(steps)
        for t in walk.timesteps:
            x = walk.step(net(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
        return x

    return Entrant(net, loss, sample)


def lucidrains() -> Entrant:
    """denoising-diffusion-pytorch: `Unet` and `GaussianDiffusion`, which takes data in [0, 1]."""
    net = Unet(dim=32, dim_mults=(1, 2, 3), channels=4, attn_heads=4, attn_dim_head=24, flash_attn=False)
    model = GaussianDiffusion(
        net, image_size=16, timesteps=1_000, sampling_timesteps=STEPS, objective="pred_v", beta_schedule="cosine"
    )
    lucid.tqdm = lambda steps, **_: steps  # no progress bar

    def sample(n: int, steps: int) -> Tensor:
        model.sampling_timesteps = steps
        return model.sample(batch_size=n) * 2 - 1

    return Entrant(model, lambda x: model((x + 1) / 2), sample)


ENTRANTS: dict[str, Callable[[], Entrant]] = {
    OURS: ours,
    "diffusers": diffusers,
    "denoising-diffusion-pytorch": lucidrains,
}


def folded() -> Tensor:
    """The 3,500 training digits, (3500, 4, 16, 16) in [−1, 1]."""
    return F.pixel_unshuffle(framed(digits("train").images), 2)


def stepper(entrant: Entrant, data: Tensor, rate: Callable[[], float] = lambda: 1.0) -> Callable[[], object]:
    """One training step on the next batch of a fixed stream; the step size is LR times the rate."""
    optimizer = torch.optim.Adam(entrant.model.parameters(), lr=LR)
    order = torch.Generator().manual_seed(0)

    def step() -> None:
        rows = torch.randint(len(data), (BATCH,), generator=order)
        for group in optimizer.param_groups:
            group["lr"] = LR * rate()
        optimizer.zero_grad()
        entrant.loss(data[rows]).backward()
        nn.utils.clip_grad_norm_(entrant.model.parameters(), 1.0)
        optimizer.step()

    return step


def times(data: Tensor) -> dict[str, dict[str, list[float]]]:
    """Seconds of a training step, of one evaluation, and of sampling."""
    torch.manual_seed(0)
    found = {name: make() for name, make in ENTRANTS.items()}
    tasks = {f"training step, {BATCH} digits": race({k: stepper(e, data) for k, e in found.items()}, rounds=15)}
    for entrant in found.values():
        entrant.model.eval()
    for count, steps in ((BATCH, 1), (BATCH, STEPS)):
        name = f"DDIM, {count} digits, {steps} step{'s' * (steps > 1)}"
        tasks[name] = race({k: partial(e.sample, count, steps) for k, e in found.items()}, rounds=10)
    return {task: rounded(seconds) for task, seconds in tasks.items()}


def trained(entrant: Entrant, data: Tensor) -> tuple[Average, int]:
    """The mean of the weights after `MINUTES` of processor time, and the steps that they were enough for."""
    began, average, steps = time.process_time(), Average(entrant.model, 0.998), 0

    def share() -> float:
        """Of the time, what has passed."""
        return min(1.0, (time.process_time() - began) / (60 * MINUTES))

    step = stepper(entrant, data, rate=lambda: 1 - share())
    entrant.model.train()
    while share() < 1:
        step()
        average.update(entrant.model, steps)
        steps += 1
    entrant.model.eval()
    return average, steps


def quality(data: Tensor) -> dict[str, dict[str, float]]:
    """Each trained for the same processor time in the same loop; FD of its samples to the test digits."""
    real = digit_classifier.features(digits("test").images)
    found = {}
    for name, make in ENTRANTS.items():
        torch.manual_seed(0)
        entrant = make()
        average, steps = trained(entrant, data)
        with average.lent(entrant.model):
            images = torch.cat([entrant.sample(50, MANY) for _ in range(SAMPLES // 50)]).clamp(-1, 1)
        drawn = digit_classifier.features(unframed(F.pixel_shuffle(images, 2)))
        found[name] = {"steps": steps, "FD": round(frechet_distance(real, drawn), 3)}
    train = digit_classifier.features(digits("train").images[:SAMPLES])
    return found | {"training digits": {"steps": 0, "FD": round(frechet_distance(real, train), 3)}}


def main() -> None:
    """Run all and write the results."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    data = folded()
    keep(
        "diffusion",
        {
            "machine": machine(),
            "versions": versions("diffusers", "denoising-diffusion-pytorch"),
            "parameters": {name: sum(p.numel() for p in make().model.parameters()) for name, make in ENTRANTS.items()},
            "batch": BATCH,
            "minutes": MINUTES,
            "samples": SAMPLES,
            "many": MANY,
            "quality": quality(data),
            "seconds": times(data),
        },
    )


if __name__ == "__main__":
    main()
