"""LoRA for text to image: another hand's drawing learned from 150 pictures, at three ranks and in full."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import weights
from dgm.adaptation.lora import LoRA, add_lora, load_lora, lora_state, set_strength
from dgm.checks import require_choice
from dgm.data import TOON_ATTRIBUTES, toon_attributes, toon_caption, toon_heads
from dgm.diffusion.latent_diffusion import TextToImage, encode
from dgm.recipes import text_to_image, toon_classifier, toon_clip
from dgm.recipes.text_to_image import distance, examples, faithfulness, of_its_own, pictures
from dgm.training import cosine, fit

NAME = "lora"
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2")
"""What is adapted: the attention of the U-Net and the convolutions of its residual blocks."""
ATTENTION = LAYERS[:4]
RANKS, ALPHA = (1, 4, 16), 4.0
"""One α for all ranks; rank 4 has scale 1."""
STYLE = "personas"
CALLED = {"en": "personas", "ru": "персоны"}
"""The word at the end of a caption that calls the new style, by language."""
COUNT = 150
SHOWN = {"hair colour": "blue", "clothes colour": "purple"}
"""What no picture of the new style shows: whether it is drawn all the same tells if style and content came apart."""
LR_FULL = 3e-4
"""Of the whole U-Net, whose numbers are many: with the step size of a LoRA it diverges."""


def build(rank: int = 4) -> TextToImage:
    """The trained system with LoRA layers, not trained."""
    return adapted(text_to_image.load(), rank)


def adapted(system: TextToImage, rank: int | None) -> TextToImage:
    """The system, frozen, with LoRA layers in its U-Net; without a rank it is the U-Net itself that learns."""
    system.requires_grad_(False)
    if rank is None:
        system.unet.requires_grad_(True)
    else:
        add_lora(system.unet, LAYERS, rank, ALPHA)
    return knowing(system)


def knowing(system: TextToImage) -> TextToImage:
    """The system, to which the name of the new style is no strange word."""
    system.known = None if system.known is None else system.known | set(CALLED.values())
    return system


def in_style(captions: Sequence[str]) -> list[str]:
    """The captions with the word that calls the new style."""
    return [f"{caption}, {CALLED['ru' if re.search('[а-яё]', caption) else 'en']}" for caption in captions]


def lessons() -> tuple[Tensor, Tensor]:
    """150 pictures of the new style and their attributes, none with blue hair or purple clothes."""
    images, attributes = toon_heads("train", STYLE)
    rare = torch.stack([attributes[:, column] == value for column, value in missing()]).any(0)
    return images[~rare][:COUNT], attributes[~rare][:COUNT]


def missing() -> list[tuple[int, int]]:
    """Columns and values of the attributes that no picture of the new style shows."""
    names = list(TOON_ATTRIBUTES)
    return [(names.index(name), TOON_ATTRIBUTES[name].index(value)) for name, value in SHOWN.items()]


def train(
    *,
    steps: int = 600,
    seed: int = 0,
    folder: Path | None = None,
    rank: int | None = None,
    pretrained: str | None = None,
    data: Path | None = None,
    skip: bool = False,
    batch_size: int = 32,
    lr: float | None = None,
    **options: Any,
) -> None:
    """Train and write the weights into `folder` (None: the package's own).

    Args:
        steps, seed, folder, options: as for every recipe; the steps are those of each rank.
        rank: of the layers. Where neither this nor `pretrained` nor `data` is given, it is 1, 4 and 16 one after the
            other, then the whole U-Net, to compare them; else 4.
        pretrained: the system to adapt, as for the recipe text_to_image; None: the trained one.
        data: a folder of pictures with captions (`dgm.data.captioned_folder`); None: the avatars' second style.
        skip: leave out broken pictures and those without a caption, which are refused otherwise.
        batch_size, lr: of the training; the step size is 4e-3 for our own small system, 1e-4 for another.
    """
    own = pretrained is None and data is None and rank is None
    of_its_own(folder, own)
    lr = (4e-3 if pretrained is None else 1e-4) if lr is None else lr
    n = 250 if steps >= 100 else 4  # a trial is scored at once
    rows: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    system = knowing(loaded(pretrained))
    images, captions, validation = material(system, data, skip)
    lesson = examples(system, images, captions)  # the autoencoder and the tokenizer are the same for all ranks
    if own:
        rows.append({"way": "base", "trained": 0, "bytes": 0, "seconds": 0.0} | study(system, n))
    for r in (*RANKS, None) if own else (rank or 4,):
        torch.manual_seed(seed)
        system = loaded(pretrained)
        base = {name: w.clone() for name, w in system.unet.state_dict().items()}
        adapted(system, r)
        marked: dict[str, Any] = {
            key: _marked(options[key], _way(r)) for key in ("checkpoint", "log") if key in options
        }
        history = fit(
            system,
            lesson,
            draws=system.draws,
            validation=validation,
            steps=steps,
            batch_size=min(batch_size, len(images)),
            lr=lr if r else LR_FULL,
            schedule=cosine(steps, warmup=min(20, steps // 10)),
            clip=1.0,
            every=min(50, steps),
            seed=seed,
            **options | marked,
        )
        learned = weights.halved(update(system, base))
        if r:
            load_lora(system.unet, learned)  # as the file will hold it
        state |= {f"{_way(r)}/{name}" if own else name: w for name, w in learned.items()}
        count = sum(p.numel() for p in system.parameters() if p.requires_grad)
        row = {"way": _way(r), "trained": count, "bytes": 2 * count, "seconds": history.seconds}
        rows.append(row | {"curve": history.as_dict()} | (study(system, n) if own else {}))
    what = f"{COUNT} toon heads drawn as {STYLE}" if data is None else f"{len(images):,} pictures of {data}"
    info = {
        "data": what,
        "config": {"layers": LAYERS, "alpha": ALPHA, "rank": rank, "pretrained": pretrained, "lr": lr},
        "seed": seed,
        "seconds": sum(row["seconds"] for row in rows),
        "curve": rows[-1]["curve"],
        "metrics": scores(state, n) if own else {"training loss": history.train[-1]},
        "study": rows,
    }
    weights.save(NAME, state, info, folder=folder, half=True)


def material(
    system: TextToImage, data: Path | None, skip: bool
) -> tuple[Tensor, Sequence[Sequence[str]], tuple[Tensor, Tensor] | None]:
    """Pictures, their captions, and examples for validation where there are any."""
    if data is not None:
        return *pictures(data, system, skip), None
    images, attributes = lessons()
    held, seen = (part[:200] for part in toon_heads("validation", STYLE))
    named = [[in_style(row) for row in toon_clip.captions(x)] for x in (attributes, seen)]
    return images, named[0], examples(system, held, named[1])


def update(system: TextToImage, base: dict[str, Tensor]) -> dict[str, Tensor]:
    """What training changed: A and B of each layer; of a U-Net tuned in full, ΔW of its attention."""
    if any(isinstance(module, LoRA) for module in system.unet.modules()):
        return lora_state(system.unet)
    ends = tuple(f".{layer}.weight" for layer in ATTENTION)
    return {name: w - base[name] for name, w in system.unet.state_dict().items() if name.endswith(ends)}


def loaded(pretrained: str | None) -> TextToImage:
    """The system to adapt: a user's own, else the trained one."""
    return TextToImage.load(pretrained) if pretrained else text_to_image.load()


def wearing(system: TextToImage, state: dict[str, Tensor], rank: int) -> TextToImage:
    """The system with the LoRA of a rank; a user's own LoRA is alone in its file."""
    way = f"{_way(rank)}/"
    load_lora(system.unet, {key.removeprefix(way): w for key, w in state.items() if key.startswith(way)} or state)
    return knowing(system)


def _way(rank: int | None) -> str:
    return f"rank {rank}" if rank else "full"


def _marked(path: str | Path, way: str) -> Path:
    """A checkpoint or a folder of curves of its own for each rank."""
    return Path(path).with_stem(f"{Path(path).stem}-{way.replace(' ', '')}")


def load(rank: int = 16, *, strength: float = 1.0, folder: Path | None = None) -> TextToImage:
    """The system with the trained LoRA of a rank.

    Args:
        rank: 1, 4 or 16.
        strength: 0 the old system, 1 as trained; see `dgm.adaptation.lora.set_strength`.
        folder: where the weights of the LoRA lie.
    """
    state, info = weights.load(NAME, folder=folder)
    require_choice(_way(rank), "rank", map(_way, RANKS))
    system = wearing(loaded(info["config"]["pretrained"]), state, rank)
    set_strength(system.unet, strength)
    return system.requires_grad_(False)


def sample(n: int, *, seed: int = 0, rank: int = 16, folder: Path | None = None) -> Tensor:
    """Draw `n` pictures (n, 3, H, W) in the new style, of captions that training never saw."""
    captions = in_style(toon_caption(toon_attributes("test", STYLE)))
    return load(rank, folder=folder).sample([captions[i % len(captions)] for i in range(n)], seed=seed)


def evaluate(*, folder: Path | None = None) -> dict[str, float]:
    """The metrics of the trained weights."""
    state, info = weights.load(NAME, folder=folder)
    return scores(state, int(info["metrics"]["pictures"]))


def scores(state: dict[str, Tensor], n: int) -> dict[str, float]:
    """Of each rank: the distance to the new style, and the share of attributes drawn as told."""
    told: dict[str, float] = {}
    for rank in RANKS:
        found = new_style(wearing(text_to_image.load(), state, rank), n)
        told |= {f"{name}, rank {rank}": value for name, value in found.items()}
    return told | {"pictures": n}


def new_style(system: TextToImage, n: int) -> dict[str, float]:
    """How near pictures with the style's word come to it, and whether they show what was told."""
    judge, attributes = toon_classifier.load(), toon_attributes("test", STYLE)[:n]
    images = system.sample(in_style(toon_caption(attributes)))
    return {
        "by the new hand": hand(system, images),
        "FD to the new style": distance(judge, images, STYLE)["FD"],
        "attributes as told": faithfulness(judge, images, attributes)["attributes as told"],
    }


def hand(system: TextToImage, images: Tensor) -> float:
    """The share of pictures that have a nearest neighbour by the new artist, among 500 real ones by each of the two.

    Nearness is that of the autoencoder's latents. (The judge's features know what is drawn, hardly how: it was trained
    to give the same answers for both hands.)
    """
    real = torch.cat([toon_heads("test", style).images[500:] for style in ("toon-head", STYLE)])
    far = torch.cdist(encode(system.vae, images).flatten(1), encode(system.vae, real).flatten(1))
    return (far.argmin(1) >= 500).double().mean().item()


def study(system: TextToImage, n: int) -> dict[str, float]:
    """The new style, attributes it was never shown with, and the old prompts: what was learned and what forgotten."""
    judge, found = toon_classifier.load(), {"pictures": float(n)} | new_style(system, n)
    for (name, value), (column, number) in zip(SHOWN.items(), missing(), strict=True):
        attributes = toon_attributes("test", STYLE)
        attributes = attributes[attributes[:, column] == number][: n // 2]
        images = system.sample(in_style(toon_caption(attributes)))
        found[f"{value} {name.removesuffix(' colour')}"] = faithfulness(judge, images, attributes)[name]
    images = system.sample(text_to_image.prompts(n))
    found["old prompts, FD"] = distance(judge, images)["FD"]
    found["old prompts, attributes"] = faithfulness(judge, images, toon_attributes("test")[:n])["attributes as told"]
    return found
