"""README.md of this folder, made of the results: nothing in it is typed by hand but the words."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race import OURS, RESULTS, ratio, spread

PAGE = Path(__file__).parent / "README.md"
NAMES = ("vae", "coupling", "diffusion")

HEAD = """\
# Side by side with other libraries

This page is made by `make bench` from the numbers in `results/`; do not edit it. Same model, same data, same machine,
{threads} thread. The libraries run in turn within one process, round by round, so that what slows the machine slows
them alike. Times are processor time a call, median over the rounds. The ratio is our time over that of the fastest
other library in the same round, median [lower quartile, upper quartile]: under 1, ours is faster. We say slower or
faster where the 95 % confidence interval of the median leaves out 1.

Run it: `make bench`. It makes an environment of its own under `_build/bench`, which sees the book's packages and adds
the other libraries by their own lock `code/benchmarks/requirements.txt`. The book needs none of them.

Measured on: {processor}, {cores} cores, of which one was used; Python {python}; {versions}.
"""

VAE = """\
## VAE: pythae

A VAE of the 3,500 training digits, thresholded; 16 latent dimensions, Bernoulli pixels, both with the layers of
`ConvEncoder` and `ConvDecoder`; Adam on batches of 125. Parameters: {parameters}.

{times}

{verdict}

Both give the same bound. Trained for an epoch, weights copied from one to the other, the same noise: over 200 single
test digits |Δ ELBO| is at most {forth:.0e} nats with our weights in pythae and {back:.0e} with pythae's in ours
(float32, in which a bound of −200 nats is known to 2e-05).

Nearly all the time goes into the convolutions, which are the same. What differs is the work around them. Ours refuses
pixels other than 0 and 1 and input that is not finite, which takes passes over the batch; pythae checks neither. Ours
works on logits; pythae on probabilities, whose logarithms it has to cut off at −100. Each trainer is compared as it
comes: pythae's draws batches by a data loader, ours watches every loss for NaN.
"""

COUPLING = """\
## RealNVP: zuko, nflows, normflows

Two moons; six affine couplings, networks with two hidden layers of 64 SiLU units, a fixed normal base; Adam with step
size 1e-3 on batches of 256. Parameters: {parameters}. Ours has more because its networks see and speak about both
variables, one of them masked: so one layer serves any mask, a chessboard too.

{times}

{verdict}

Test negative log-likelihood on 10,000 fresh points after {steps:,} steps on the same batches, each library from its
own start, {seeds} seeds, nats (lower is better):

{nll}

All give the same density. Our weights copied into each, log-scales taken as the networks say them, float64, 1,000
points with log p from {range[0]:.1f} to {range[1]:.1f}: |Δ log p| is at most {difference}. What is each library's own
is how it keeps the scale in bounds (ours: 3 tanh(s/3); zuko: a soft clip; nflows: a sigmoid; normflows: not at all) and
how it starts (ours and normflows as the identity; zuko and nflows with random couplings). nflows' sigmoid lets no
coupling stretch by more than 1.001, so that its density can hardly pass that of the base, 1/(2π): it has
normalisation layers that can stand between. With e^s in the place of the sigmoid it learns as the others do.

What differs in time is the work around the networks. Ours checks at the door of every transform that its input is
finite and of the right shape, takes a tanh, and computes both halves of each coupling; the others check shapes at most,
and pick and join columns instead. zuko builds its transforms anew at each call.
"""

DIFFUSION = """\
## DDPM: diffusers, denoising-diffusion-pytorch

Digits with a frame, each 2 × 2 pixels folded into four channels of 16 × 16 places, no classes; the cosine schedule of a
thousand steps, v-prediction, batches of {batch}. All networks have widths 32, 64, 96. Ours and diffusers' `UNet2DModel`
have the same layers and places of attention; denoising-diffusion-pytorch's `Unet` has two narrower blocks a level and
linear attention on every level. Parameters: {parameters}.

{times}

{verdict}

Quality after equal time: each was trained once for {minutes:g} minutes of processor time in the same loop (Adam, step
size falling from 1e-3 to 0 with the time, gradients cut at 1, mean of the weights), then drew {samples} digits by its
own DDIM of {many} steps. Fréchet distance to the 1,000 test digits on digit-classifier features, lower is better; one
training each, so small differences mean nothing:

{quality}

Each step of our samplers equals that of diffusers' schedulers to 1e-5 (`tests/diffusion/test_samplers.py`), so what
differs is the networks, their loss, and the work around them. Ours takes time into each block as a scale and a shift,
diffusers' as a shift; ours checks its input. Nearly all the time goes into convolutions, of which the third has more.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are set to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(seconds: float) -> str:
    """Three digits with a unit."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def times(tasks: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A row a task: each library's median, and our ratio to the fastest other one."""
    names = list(next(iter(tasks.values())))
    rows = []
    for task, seconds in tasks.items():
        fastest, (low, middle, high), _ = ratio(seconds)
        medians = [duration(spread(seconds[name]).middle) for name in names]
        rows.append([task, *medians, fastest, f"{middle:.2f} [{low:.2f}, {high:.2f}]"])
    return table(["", *names, "fastest other", f"{OURS} / fastest"], rows)


def verdict(tasks: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Where ours is slower, faster, or neither, by the confidence interval of the ratio."""
    groups: dict[str, list[str]] = {"Slower than the fastest": [], "No difference to be seen": [], "Faster": []}
    slower, same, faster = groups.values()
    for task, seconds in tasks.items():
        low, high = ratio(seconds).sure
        (slower if low > 1 else faster if high < 1 else same).append(task)
    return " ".join(f"{group}: {'; '.join(found) or 'nowhere'}." for group, found in groups.items())


def scores(nll: Mapping[str, Sequence[float]]) -> str:
    """Mean, standard error and each seed's value."""
    rows = []
    for name, values in nll.items():
        error = statistics.stdev(values) / len(values) ** 0.5
        rows.append([name, f"{statistics.mean(values):.3f} ± {error:.3f}", ", ".join(f"{v:.3f}" for v in values)])
    return table(["", "mean ± standard error", "seeds"], rows)


def page(vae: Mapping[str, Any], coupling: Mapping[str, Any], diffusion: Mapping[str, Any]) -> str:
    """The whole README."""
    results = (vae, coupling, diffusion)
    releases = vae["versions"] | coupling["versions"] | diffusion["versions"]
    counts = [", ".join(f"{k} {v:,}" for k, v in facts["parameters"].items()) for facts in results]
    head = HEAD.format(
        **coupling["machine"], versions=", ".join(f"{name} {release}" for name, release in releases.items())
    )
    first = VAE.format(
        parameters=counts[0],
        times=times(vae["seconds"]),
        verdict=verdict(vae["seconds"]),
        forth=vae["difference"]["ours to pythae"],
        back=vae["difference"]["pythae to ours"],
    )
    second = COUPLING.format(
        parameters=counts[1],
        times=times(coupling["seconds"]),
        verdict=verdict(coupling["seconds"]),
        steps=coupling["steps"],
        seeds=len(next(iter(coupling["nll"].values()))),
        nll=scores(coupling["nll"]),
        range=coupling["log_prob"],
        difference=", ".join(f"{value:.0e} ({name})" for name, value in coupling["difference"].items()),
    )
    third = DIFFUSION.format(
        **{key: diffusion[key] for key in ("batch", "minutes", "samples", "many")},
        parameters=counts[2],
        times=times(diffusion["seconds"]),
        verdict=verdict(diffusion["seconds"]),
        quality=table(
            ["", "steps of training", "FD"],
            [[name, f"{row['steps']:,}", f"{row['FD']:.2f}"] for name, row in diffusion["quality"].items()],
        ),
    )
    return "\n".join([head, first, second, third])


def main() -> None:
    """Write the README from the results."""
    found = [json.loads((RESULTS / f"{name}.json").read_text("utf8")) for name in NAMES]
    PAGE.write_text(page(*found), "utf8")


if __name__ == "__main__":
    main()
