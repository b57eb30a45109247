"""Text to image: latent diffusion of toon heads told in English or Russian, in Stable Diffusion's own parts."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.data import TOON_ATTRIBUTES, captioned_folder, toon_attributes, toon_caption, toon_heads
from dgm.data.toon import LANGUAGES
from dgm.diffusion.latent_diffusion import TextToImage, encode, text_encoder, tokenizer, unet, words_of
from dgm.metrics.samples import compare
from dgm.nn.classifier import Classifier
from dgm.recipes import kl_autoencoder, toon_classifier, toon_clip
from dgm.recipes._shared import keep
from dgm.training import cosine, fit

NAME = "text_to_image"
NET: dict[str, Any] = {"widths": (72, 112)}
STEPS, SCALE = 20, 3.0
"""Of DDIM, and of guidance."""
SCALES: tuple[float, ...] = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
COUNTS: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50)
GALLERY, ROW = "gallery.webp", 30
"""The sheet of pictures for the prompt builder: its file, and how many are in a row."""
BEARD, SKIN = (list(TOON_ATTRIBUTES).index(name) for name in ("beard", "skin"))


def build(captions: Sequence[str] | None = None) -> TextToImage:
    """The system with the trained autoencoder; the U-Net not trained.

    Args:
        captions: what the tokenizer and the text encoder learn from, together with the U-Net, and the words that will
            be known. Without, they are those of the toon heads, and the text encoder is CLIP's: it is frozen.
    """
    if captions is None:
        captions = [caption for several in toon_clip.captions(toon_attributes("train")) for caption in several]
        tokens, encoder = toon_clip.reader(), toon_clip.load().text_encoder
    else:
        tokens = tokenizer(captions, size=toon_clip.SIZE)
        encoder = text_encoder(tokens)
    known = {word for caption in captions for word in words_of(caption)}
    return TextToImage(kl_autoencoder.load(), encoder, tokens, unet(**NET), known=known)


def examples(system: TextToImage, images: Tensor, captions: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
    """What `TextToImage.loss` takes: latents (N, C, h, w), and the tokens of K captions each, int64 (N, K, L)."""
    flat = [caption for several in captions for caption in several]
    return encode(system.vae, images), system.tokens(flat).unflatten(0, (len(images), -1))


def train(
    *,
    steps: int = 4_500,
    seed: int = 0,
    folder: Path | None = None,
    pretrained: str | None = None,
    data: Path | None = None,
    skip: bool = False,
    batch_size: int = 64,
    lr: float | None = None,
    **options: Any,
) -> None:
    """Train and write the pipeline's folder into `folder` (None: the package's own).

    Args:
        steps, seed, folder, options: as for every recipe.
        pretrained: a pipeline's folder, or a name that the hub of Hugging Face knows, to go on from; None: afresh.
        data: a folder of pictures with captions (`dgm.data.captioned_folder`); None: the toon heads.
        skip: leave out broken pictures and those without a caption, which are refused otherwise.
        batch_size, lr: of the training; the step size is 1e-3 afresh, 1e-5 for a system that is tuned.
    """
    torch.manual_seed(seed)
    lr = (1e-3 if pretrained is None else 1e-5) if lr is None else lr
    own = pretrained is None and data is None
    of_its_own(folder, own)
    system = TextToImage.load(pretrained) if pretrained else None
    if data is None:
        system = system or build()
        few = slice(None if steps >= 1_000 else 64)  # a trial sees few
        (images, attributes), (held, seen) = ((x[few], y[few]) for x, y in map(toon_heads, ("train", "validation")))
        captions, validation = toon_clip.captions(attributes), examples(system, held, toon_clip.captions(seen))
    else:
        images, captions, validation = *pictures(data, system, skip), None
        system = system or build([caption for several in captions for caption in several])
    history = fit(
        system,
        examples(system, images, captions),
        draws=system.draws,
        validation=validation,
        steps=steps,
        batch_size=min(batch_size, len(images)),
        lr=lr,
        schedule=cosine(steps, warmup=min(200, steps // 10)),
        clip=1.0,
        ema=0.999 if own else None,
        every=min(100, steps),
        seed=seed,
        **options,
    )
    n = 200 if steps >= 1_000 else 8  # a trial is scored and studied at once
    half = n // 2
    studies = {"guidance": partial(guidance_study, n=half), "steps": partial(steps_study, n=half)} if own else {}
    keep(
        NAME,
        system,
        partial(scores, n=n) if own else lambda _: {"training loss": history.train[-1]},
        history,
        data="toon heads and eight captions each, 6,000" if data is None else f"{len(images):,} pictures of {data}",
        config=NET | {"pretrained": pretrained, "batch": batch_size, "lr": lr},
        seed=seed,
        folder=folder,
        save=partial(write, system, sheet=gallery(system, limit=None if n > 8 else 2) if own else None, folder=folder),
        **studies,
    )


def pictures(data: Path, system: TextToImage | None, skip: bool) -> tuple[Tensor, list[list[str]]]:
    """The pictures of a user's folder at the system's size, and a list of one caption for each."""
    size = 64 if system is None else system.vae.config.sample_size
    do = "skip" if skip else "refuse"
    images, captions, _ = captioned_folder(data, size=size, on_broken=do, on_missing=do)
    return images, [[caption] for caption in captions]


def write(system: TextToImage, info: dict[str, Any], *, sheet: Any, folder: Path | None) -> None:
    """The system as its pipeline's folder, with the gallery in it where there is one."""

    def files(place: Path) -> None:
        system.save(place)
        if sheet is not None:
            sheet.save(place / GALLERY, quality=80)

    count = sum(parameter.numel() for parameter in system.parameters())
    weights.save_folder(NAME, files, info, parameters=count, folder=folder)


def of_its_own(folder: Path | None, own: bool) -> None:
    """Refuse to put what was made from a user's data or settings in the place of the package's own weights."""
    if folder is None and not own:
        raise ValueError("out: expected a folder, as the package's own weights are made from its own data, came none")


def load(*, folder: Path | None = None) -> TextToImage:
    """The trained system."""
    return TextToImage.load(weights.load_folder(NAME, folder=folder)[0]).requires_grad_(False)


@cache
def prompts(n: int, language: str = "en") -> list[str]:
    """The first `n` captions of the test split: each has a pair of attributes that no training caption had."""
    return toon_caption(toon_attributes("test")[:n], language)


def sample(
    n: int,
    *,
    seed: int = 0,
    captions: Sequence[str] | None = None,
    scale: float = SCALE,
    steps: int = STEPS,
    folder: Path | None = None,
) -> Tensor:
    """Draw `n` pictures (n, 3, H, W) from the trained system.

    Args:
        n: how many.
        seed: of the noise.
        captions: what is wished, n prompts; those of the test split, which training never saw, where none are given.
        scale: of guidance, 1 = off.
        steps: of DDIM.
        folder: where the weights lie.
    """
    captions = [prompts(1_000)[i % 1_000] for i in range(n)] if captions is None else captions
    return load(folder=folder).sample(captions, scale=scale, steps=steps, seed=seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder), int(weights.info(NAME, folder=folder)["metrics"]["pictures"]))


def faithfulness(judge: Classifier, images: Tensor, attributes: Tensor) -> dict[str, float]:
    """The share of the attributes told that the judge sees, on average over the seven and one by one.

    That there is no beard is never said, and training leaves out a beard now and then: a caption without one leaves it
    open. So beards are counted where one was told.
    """
    each = dict(zip(TOON_ATTRIBUTES, toon_classifier.accuracy(judge, images, attributes).tolist(), strict=True))
    del each["skin"]  # no caption tells it
    bearded = attributes[:, BEARD] > 0
    if bearded.any():
        each["beard"] = toon_classifier.accuracy(judge, images[bearded], attributes[bearded])[BEARD].item()
    return {"attributes as told": sum(each.values()) / len(each)} | each


def scores(system: TextToImage, n: int) -> dict[str, float]:
    """How faithful pictures are to captions never seen, beside real pictures (ceiling) and other captions (floor)."""
    judge, (real, attributes) = toon_classifier.load(), toon_heads("test")
    real, attributes = real[:n], attributes[:n]
    with warnings.catch_warnings():
        # "В чёрном платье": of a pair that is held out, Russian even has a form of the word that no caption had.
        warnings.filterwarnings("ignore", message="prompts: no caption had the words")
        drawn = {lang: system.sample(prompts(n, lang), scale=SCALE, steps=STEPS) for lang in LANGUAGES}
    told = faithfulness(judge, drawn["en"], attributes)
    back = kl_autoencoder.through(system.vae, real)
    return told | {
        "Russian": faithfulness(judge, drawn["ru"], attributes)["attributes as told"],
        "ceiling, real pictures": faithfulness(judge, real, attributes)["attributes as told"],
        "ceiling, through the autoencoder": faithfulness(judge, back, attributes)["attributes as told"],
        "floor, captions of others": faithfulness(judge, drawn["en"], attributes.roll(1, 0))["attributes as told"],
        "FD": distance(judge, drawn["en"])["FD"],
        "FD of real pictures through the autoencoder": distance(judge, back)["FD"],
        "pictures": n,
        "scale": SCALE,
        "steps": STEPS,
    }


def distance(judge: Classifier, images: Tensor, style: str = "toon-head") -> dict[str, float]:
    """How far pictures are from the last 500 of a style's test split, on the judge's features."""
    with torch.no_grad():
        real, drawn = (
            torch.cat([judge.features(x) for x in part.split(250)])
            for part in (toon_heads("test", style).images[500:], images)
        )
    return compare(real, drawn)


def guidance_study(system: TextToImage, n: int, scales: Sequence[float] = SCALES) -> list[dict[str, float]]:
    """What each scale of guidance gives: faithfulness, distance, and the spread of what no caption tells."""
    judge, attributes = toon_classifier.load(), toon_attributes("test")[:n]
    rows = []
    for scale in scales if n > 4 else (SCALE,):
        images = system.sample(prompts(n), scale=scale, steps=STEPS)
        rows.append({"scale": scale, **faithfulness(judge, images, attributes), **distance(judge, images)})
        rows[-1]["skin, nats"] = entropy(toon_classifier.answers(images)[:, SKIN])
    return rows


def menus() -> dict[str, tuple[str, ...]]:
    """What the gallery lets one choose: attribute → values."""
    return {name: TOON_ATTRIBUTES[name] for name in ("hair", "hair colour", "beard", "mouth")}


def gallery_captions() -> list[str]:
    """The prompts of the gallery, the last menu turning fastest: all in a green t-shirt, with open eyes."""
    rows = torch.cartesian_prod(*(torch.arange(len(values)) for values in menus().values()))
    attributes = torch.zeros(len(rows), len(TOON_ATTRIBUTES), dtype=torch.int64)
    names = list(TOON_ATTRIBUTES)
    attributes[:, [names.index(name) for name in menus()]] = rows
    attributes[:, names.index("clothes colour")] = TOON_ATTRIBUTES["clothes colour"].index("green")
    return toon_caption(attributes)


def gallery(system: TextToImage, limit: int | None = None) -> Any:
    """A sheet of pictures, 30 in a row, one for each choice from the menus, all from the same noise: a PIL image."""
    from PIL import Image

    wished = gallery_captions()[:limit]
    noise = torch.randn(1, *system.shape, generator=torch.Generator().manual_seed(1))
    images = system.sample(wished, scale=SCALE, steps=STEPS, noise=noise.expand(len(wished), -1, -1, -1))
    sheet = torch.ones(-(-len(wished) // ROW) * ROW, *images.shape[1:])
    sheet[: len(images)] = images
    _, channels, height, width = sheet.shape
    sheet = sheet.view(-1, ROW, channels, height, width).permute(0, 3, 1, 4, 2).reshape(-1, ROW * width, channels)
    return Image.fromarray((sheet * 255).round().byte().numpy())


def entropy(answers: Tensor) -> float:
    """Of the shares of answers, nats; four equal shares have 1.386."""
    shares = answers.bincount(minlength=4) / len(answers)
    return -sum(p * math.log(p) for p in shares.tolist() if p)


def steps_study(system: TextToImage, n: int, counts: Sequence[int] = COUNTS) -> list[dict[str, float]]:
    """What each number of steps gives, and the seconds a picture takes on this machine."""
    judge, attributes, rows = toon_classifier.load(), toon_attributes("test")[:n], []
    for steps in counts if n > 4 else (1,):
        began = time.perf_counter()
        images = system.sample(prompts(n), scale=SCALE, steps=steps)
        seconds = (time.perf_counter() - began) / n
        told = faithfulness(judge, images, attributes)["attributes as told"]
        rows.append({"steps": steps, "attributes as told": told, "seconds": seconds, **distance(judge, images)})
    return rows
