"""CLIP for toon heads: a text encoder in English and Russian that tells which caption belongs to which picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from dgm.data import TOON_ATTRIBUTES, toon_attributes, toon_caption, toon_heads
from dgm.data.toon import LANGUAGES
from dgm.diffusion.latent_diffusion import Contrast, encode, text_encoder, tokenizer
from dgm.recipes import kl_autoencoder
from dgm.recipes._shared import keep, trained
from dgm.training import cosine, fit

NAME = "toon_clip"
CONFIG: dict[str, Any] = {"channels": kl_autoencoder.CONFIG["channels"], "side": 8}
SIZE = 1_024
"""Tokens in all at most."""


def captions(attributes: Tensor, seed: int = 0) -> list[list[str]]:
    """Eight captions of each avatar: in each language one that says all, and three in turned order with parts left out.

    A part is left out with chance 1/4, so that short prompts are known too.
    """
    chance = torch.Generator().manual_seed(seed)
    columns = []
    for language in LANGUAGES:
        columns.append(toon_caption(attributes, language))
        for turn in range(3):
            parts = torch.rand(len(attributes), 4, generator=chance) < 0.75
            columns.append(toon_caption(attributes, language, told=parts, turn=turn))
    return [list(row) for row in zip(*columns, strict=True)]


def reader() -> CLIPTokenizer:
    """The tokenizer, learned from the training captions."""
    return tokenizer((caption for several in captions(toon_attributes("train")) for caption in several), size=SIZE)


def build(tokens: CLIPTokenizer | None = None) -> Contrast:
    """The two encoders, not trained; the tokenizer is learned again (a matter of seconds) where it is not at hand."""
    return Contrast(text_encoder(reader() if tokens is None else tokens), **CONFIG)


def cut(tokens: CLIPTokenizer, told: list[str]) -> Tensor:
    """Prompts as tokens, int64 (N, L)."""
    return torch.tensor(tokens(told, padding="max_length", truncation=True).input_ids)


def examples(split: str, few: slice) -> tuple[Tensor, Tensor]:
    """What `Contrast.loss` takes of a split: latents (N, C, h, w), and the tokens of eight captions, (N, 8, L)."""
    images, attributes = (part[few] for part in toon_heads(split))
    told = [caption for several in captions(attributes) for caption in several]
    return encode(kl_autoencoder.load(), images), cut(reader(), told).unflatten(0, (len(images), -1))


def train(*, steps: int = 1_000, seed: int = 0, folder: Path | None = None, **options: Any) -> None:
    """Train and write the weights into `folder` (None: the package's own)."""
    torch.manual_seed(seed)
    model = build()
    few = slice(None if steps >= 500 else 64)  # a trial sees few
    data = examples("train", few)
    history = fit(
        model,
        data,
        draws=model.draws,
        validation=examples("validation", few),
        steps=steps,
        batch_size=min(256, len(data[0])),
        lr=1e-3,
        schedule=cosine(steps, warmup=min(50, steps // 10)),
        clip=1.0,
        every=min(100, steps),
        seed=seed,
        **options,
    )
    what = "latents of toon heads and eight captions each, 6,000"
    keep(NAME, model, scores, history, data=what, config=CONFIG, seed=seed, folder=folder)


def load(*, folder: Path | None = None, tokens: CLIPTokenizer | None = None) -> Contrast:
    """The trained encoders; `tokens` as for `build`."""
    return trained(NAME, build(tokens), folder).requires_grad_(False)


def sample(n: int, *, seed: int = 0, folder: Path | None = None) -> Tensor:
    """It draws nothing; these are the training pictures (n, 3, 64, 64) that it finds for `n` test captions."""
    model, images = load(folder=folder), toon_heads("train").images
    order = torch.randperm(1_000, generator=torch.Generator().manual_seed(seed))[:n]
    told = toon_caption(toon_attributes("test")[order])
    with torch.no_grad():
        seen = model.pictures(encode(kl_autoencoder.load(), images))
        return images[(model.texts(cut(reader(), told)) @ seen.mT).argmax(1)]


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    return scores(load(folder=folder))


@torch.no_grad()
def scores(model: Contrast) -> dict[str, float]:
    """How often the right value of an attribute fits a test picture best, all else in the caption being right."""
    images, attributes = toon_heads("test")
    seen, tokens = model.pictures(encode(kl_autoencoder.load(), images)), reader()
    told = {}
    for language in LANGUAGES:
        for column, (name, values) in enumerate(TOON_ATTRIBUTES.items()):
            if name == "skin":  # no caption tells it
                continue
            other, fits = attributes.clone(), []
            for value in range(len(values)):
                other[:, column] = value
                fits.append((seen * model.texts(cut(tokens, toon_caption(other, language)))).sum(1))
            right = torch.stack(fits, 1).argmax(1) == attributes[:, column]
            told[f"{name}, {language}"] = right.double().mean().item()
    return told
