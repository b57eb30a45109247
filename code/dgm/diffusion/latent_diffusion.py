r"""From words to pictures: diffusion in the space of an autoencoder, told a text through cross-attention.

    encode     x (3, 64, 64) ↦ z = s · E(x) (12, 8, 8)       a KL autoencoder; s brings the latents to variance 1
    read       words ↦ tokens ↦ one vector a token           a text encoder, taught before by contrast (`Contrast`)
    diffuse    z_t = α_t z + σ_t ε, the network told the text: softmax(Q K(text)ᵀ / √d) V(text) in every block
    draw       noise ↦ z by any sampler, guided; x = D(z / s)

The parts are those of Stable Diffusion, from the libraries diffusers and transformers; the schedule, the denoiser, the
samplers and the guidance are the book's own. A system is kept as the folder of a ``StableDiffusionPipeline``, so that
what is said here holds for Stable Diffusion 1.5 too, where its weights are at hand.

Source: Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser, Björn Ommer (2022), High-Resolution Image
Synthesis with Latent Diffusion Models.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import cast

import diffusers
import torch
import torch.nn.functional as F
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from tokenizers.pre_tokenizers import ByteLevel
from torch import Generator, Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dgm.checks import require, require_choice, require_count, require_number
from dgm.diffusion.ddpm import Chain, Denoiser, Denoises, Predicts, Sampler, even_times
from dgm.diffusion.samplers import DDIM, Guided

# What diffusers calls the three ways to read a network's answer, and what we do.
PREDICTS: dict[str, Predicts] = {"epsilon": "noise", "sample": "data", "v_prediction": "velocity"}
HIDDEN = 0.1
"""The share of captions that training hides, for guidance."""

# --- the autoencoder -------------------------------------------------------------------------------------------


def autoencoder(widths: Sequence[int] = (16, 32, 64, 64), channels: int = 12, *, side: int = 64) -> AutoencoderKL:
    """A KL autoencoder as Stable Diffusion has it, small: each width but the last halves the picture.

    Args:
        widths: channels of each level, multiples of 8.
        channels: of the latents.
        side: pixels a side of the pictures.
    """
    levels = len(widths)
    model = AutoencoderKL(
        sample_size=require_count(side, "side", low=2 ** (levels - 1)),
        latent_channels=require_count(channels, "channels"),
        block_out_channels=tuple(widths),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        mid_block_add_attention=False,
    )
    for block in model.modules():  # each residual block starts as its way around: colours find through at once
        if isinstance(block, ResnetBlock2D):
            nn.init.zeros_(block.conv2.weight)
    return model


def autoencoder_loss(model: AutoencoderKL, x: Tensor, *, beta: float = 1e-4) -> Tensor:
    r"""What a KL autoencoder lowers: errors of the picture and of its edges, colours counted thrice, and a little KL.

    $$\mathcal L = \tfrac2D \lVert e \rVert_2^2 + \tfrac1{2D} \lVert e \rVert_1 + \tfrac1{2D} \lVert \nabla e \rVert_1
    + \tfrac\beta d \KL(q(z \mid x) \,\|\, \N(0, I)), \qquad e = \delta + 2\,(\delta - \bar\delta),\
    \delta = \hat x - x$$

    with D values a picture, d numbers of its latents, ∇ the differences of neighbours to the right and below, and
    $\bar\delta$ the mean of δ over red, green and blue: what is left of δ without it is an error of colour. The square
    leads while errors are large, the rest, which does not blur, when they are small.

    Args:
        model: the autoencoder.
        x: pictures (B, 3, H, W) in [0, 1].
        beta: β. Small: the latents are to be smooth, not a code that one could draw from N(0, I).

    Returns:
        A scalar: nats play no part, as the error is no likelihood.
    """
    x = 2 * require(x, "x", shape="B 3 H W", dtype="float", low=0.0, high=1.0) - 1
    beta = require_number(beta, "beta", low=0.0)
    posterior = model.encode(x).latent_dist
    error = model.decode(posterior.sample()).sample - x
    error = error + 2 * (error - error.mean(1, keepdim=True))
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return 2 * error.square().mean() + 0.5 * error.abs().mean() + 0.5 * edges + beta * kl


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor, *, generator: Generator | None = None, batch: int = 50) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] → latents (N, C, h, w) of about variance 1.

    Args:
        model: the autoencoder.
        images: the pictures.
        generator: draws from the posterior; without, its mean is taken.
        batch: how many at a time.
    """
    images = require(images, "images", shape="N 3 H W", dtype="float", low=0.0, high=1.0)
    parts = []
    for x in images.split(batch):
        posterior = model.encode(2 * x.to(model.device) - 1).latent_dist
        parts.append((posterior.mean if generator is None else posterior.sample(generator)).to(x.device))
    return model.config.scaling_factor * torch.cat(parts)


@torch.no_grad()
def decode(model: AutoencoderKL, latents: Tensor, *, batch: int = 50) -> Tensor:
    """Latents (N, C, h, w) as from `encode` → pictures (N, 3, H, W) in [0, 1]."""
    latents = require(latents, "latents", shape=f"N {model.config.latent_channels} h w", dtype="float")
    parts = [model.decode(z / model.config.scaling_factor).sample for z in latents.split(batch)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what the libraries log on the way."""
    logs = (diffusers.utils.logging, transformers.utils.logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    try:
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
    finally:
        for log, (level, bars) in zip(logs, before, strict=True):
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()


# --- words -----------------------------------------------------------------------------------------------------


def tokenizer(captions: Iterable[str], *, size: int = 2_048, length: int = 32) -> CLIPTokenizer:
    """Learn to cut text into tokens by byte-pair encoding: what stands side by side most often is joined.

    It begins with all bytes, each also as the end of a word, so that any text of any language can be cut, at worst byte
    by byte. (The library's own training gives some ids by chance: no run could be taken up again.)

    Args:
        captions: the text to learn from; case is ignored.
        size: tokens in all at most, those of the beginning and the end of a text included.
        length: tokens a prompt, beginning and end included; shorter ones are filled up with ends.

    Source:
        Rico Sennrich, Barry Haddow, Alexandra Birch (2016), Neural Machine Translation of Rare Words with Subword
        Units; the bytes and the form are those of CLIP.
    """
    room = require_count(size, "size", low=514) - 514
    blank = CLIPTokenizer()
    counts: Counter[tuple[str, ...]] = Counter()
    for caption in captions:
        plain = blank.backend_tokenizer.normalizer.normalize_str(caption)
        for word, _ in blank.backend_tokenizer.pre_tokenizer.pre_tokenize_str(plain):
            counts[*word[:-1], word[-1] + END] += 1
    merges: list[tuple[str, str]] = []
    while len(merges) < room:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))  # of equals, the last in order
        counts = Counter({_joined(word, merges[-1]): count for word, count in counts.items()})
    letters = sorted(ByteLevel.alphabet())
    tokens = [blank.bos_token, blank.eos_token, *letters, *(x + END for x in letters), *map("".join, merges)]
    learned = CLIPTokenizer(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges=merges)
    learned.model_max_length = require_count(length, "length", low=3)
    return learned


def _joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """A word in which the pair is one symbol, from left to right."""
    symbols: list[str] = []
    for symbol in word:
        # What the pair has made cannot begin it again: a joined symbol is longer than its first half.
        if symbols and (symbols[-1], symbol) == pair:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return tuple(symbols)


def text_encoder(tokens: CLIPTokenizer, *, width: int = 128, layers: int = 2, heads: int = 4) -> CLIPTextModel:
    """A small CLIP text model: a transformer in which a token sees those before it; one vector a token comes out."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=tokens.model_max_length,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )


class Contrast(nn.Module):
    r"""Which text belongs to which picture? CLIP's question, by which a text encoder learns before anything is drawn.

    Of B pairs, with unit vectors u_i of the pictures and w_j of their texts and a temperature τ that is learned too,

    $$\mathcal L = \frac1{2B} \sum_{i=1}^B \biggl(-\log \frac{e^{u_i^\top w_i/\tau}}{\sum_j e^{u_i^\top w_j/\tau}}
    - \log \frac{e^{u_i^\top w_i/\tau}}{\sum_j e^{u_j^\top w_i/\tau}}\biggr)$$

    in nats: log B for who guesses. Every word that tells two pictures of a batch apart lowers it, however few pixels it
    is about.

    Args:
        text_encoder: what is to learn.
        channels, side: of the latents, as which pictures are seen.
        width: numbers of u and w.

    Source: Alec Radford and others (2021), Learning Transferable Visual Models From Natural Language Supervision.
    """

    def __init__(self, text_encoder: CLIPTextModel, channels: int = 12, side: int = 8, *, width: int = 128) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.of_text = nn.Linear(text_encoder.config.hidden_size, width, bias=False)
        self.of_picture = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(128 * (side // 2) ** 2, width),
        )
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # log 1/τ, from where CLIP starts

    def texts(self, tokens: Tensor) -> Tensor:
        """Unit vectors w of texts, int64 (B, L) → (B, width): from the end of the text, which has seen all of it."""
        return F.normalize(self.of_text(self.text_encoder(tokens).pooler_output), dim=-1)

    def pictures(self, latents: Tensor) -> Tensor:
        """Unit vectors u of pictures, (B, C, h, w) → (B, width)."""
        return F.normalize(self.of_picture(latents), dim=-1)

    def draws(self, n: int) -> Tensor:
        """The chance of `n` examples for `loss`: uniform numbers (n,)."""
        return torch.rand(n)

    def loss(self, latents: Tensor, tokens: Tensor, chance: Tensor) -> Tensor:
        """Contrast pictures with their captions.

        Args:
            latents: as `encode` gives them, (B, C, h, w).
            tokens: of several captions each, int64 (B, K, L), of which one is taken by chance.
            chance: as `draws` gives it.

        Returns:
            A scalar, nats.
        """
        scores = self.pictures(latents) @ self.texts(_one_of(tokens, chance)).mT
        scores = scores * self.log_scale.exp().clamp(max=100.0)
        pairs = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.mT, pairs)) / 2


def _one_of(tokens: Tensor, chance: Tensor) -> Tensor:
    """One of the K captions of each example, int64 (B, K, L) → (B, L), by uniform numbers (B,)."""
    return tokens[torch.arange(len(tokens)), (chance * tokens.shape[1]).long()]


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, hyphens within a word kept.

    >>> words_of("A person in a T-shirt, злится")
    ['a', 'person', 'in', 'a', 't-shirt', 'злится']
    """
    return re.findall(r"\w+(?:-\w+)*", text.lower())


# --- the network, told a text ----------------------------------------------------------------------------------


def unet(
    channels: int = 12, side: int = 8, widths: Sequence[int] = (72, 112), *, words: int = 128
) -> UNet2DConditionModel:
    """Stable Diffusion's U-Net, small: a residual block and a transformer block on each level, down and up.

    Args:
        channels: of the latents.
        side: their height and width.
        widths: channels of each level, multiples of 8.
        words: numbers of a token's vector.
    """
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(widths),
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=words,
        attention_head_dim=4,  # the number of heads: the name is a mistake that diffusers keeps for old weights
    )


def cross_attention(x: Tensor, words: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, heads: int = 1) -> Tensor:
    r"""Every place of a picture looks at every token and takes a mean of what they say.

    $$\operatorname{Att}(x, y) = A\,V, \qquad A = \softmax\bigl(Q K^\top / \sqrt{d}\bigr), \qquad
    Q = x W_q^\top,\ K = y W_k^\top,\ V = y W_v^\top$$

    Args:
        x: places, (B, N, C).
        words: tokens, (B, L, E).
        W_q: weights, (H d, C).
        W_k, W_v: weights, (H d, E).
        heads: H; each has its own d columns of Q, K and V.

    Returns:
        (B, N, H d), the heads side by side.
    """
    Q, K, V = (
        (rows @ W.mT).unflatten(-1, (require_count(heads, "heads"), -1)).transpose(1, 2)
        for rows, W in ((x, W_q), (words, W_k), (words, W_v))
    )
    A = (Q @ K.mT / Q.shape[-1] ** 0.5).softmax(-1)
    return (A @ V).transpose(1, 2).flatten(2)


class TextNet(nn.Module):
    """A text encoder and a U-Net as the network of a `Denoiser`, whose labels are tokens.

    Args:
        unet, text_encoder: the parts.
        empty: the tokens of the empty prompt, int64 (L,): what an unknown text is.
        steps: T of the schedule; the U-Net counts step i = 1 … T as i − 1.
    """

    empty: Tensor

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, empty: Tensor, steps: int) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.steps = unet, text_encoder, steps
        self.register_buffer("empty", empty, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents (B, C, h, w) at times (B,), tokens (B, L) or None → the network's answer, of the shape of x_t."""
        tokens = self.empty.expand(len(x_t), -1) if label is None else label
        words = self.text_encoder(tokens).last_hidden_state
        return self.unet(x_t, (t * self.steps - 1).round(), encoder_hidden_states=words).sample


# --- the system ------------------------------------------------------------------------------------------------


class TextToImage(nn.Module):
    r"""The whole system: pictures ↔ latents, words → tokens, and a `Denoiser` of latents that is told the tokens.

    The autoencoder is frozen; the U-Net learns, and the text encoder too, unless it comes frozen.

    Args:
        vae: the autoencoder, with its scaling factor.
        text_encoder, tokens: what reads the words.
        unet: what denoises.
        scheduler: states the noise and what the U-Net predicts.
        known: the words of all captions; a prompt's other words are warned of. None: no words are warned of.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokens: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler | None = None,
        known: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if unet.config.in_channels != vae.config.latent_channels:
            raise ValueError(
                f"unet: expected {vae.config.latent_channels} channels, as the latents of the autoencoder have, "
                f"came {unet.config.in_channels}"
            )
        if unet.config.cross_attention_dim != text_encoder.config.hidden_size:
            raise ValueError(
                f"unet: expected words of {text_encoder.config.hidden_size} numbers, as the text encoder gives, "
                f"came {unet.config.cross_attention_dim}"
            )
        self.vae, self.tokenizer = vae.requires_grad_(False), tokens
        self.scheduler = scheduler or cosine_scheduler()
        self.known = None if known is None else frozenset(known)
        kind = require_choice(self.scheduler.config.prediction_type, "prediction_type", PREDICTS)
        schedule = Chain(self.scheduler.betas.double())
        self.denoiser = Denoiser(
            TextNet(unet, text_encoder, self._cut([""])[0], len(self.scheduler.betas)),
            schedule,
            predicts=PREDICTS[kind],
            unconditional=HIDDEN,
        )

    @property
    def unet(self) -> UNet2DConditionModel:
        """The U-Net."""
        return self.denoiser.net.unet

    @property
    def text_encoder(self) -> CLIPTextModel:
        """The text encoder."""
        return self.denoiser.net.text_encoder

    @property
    def empty(self) -> Tensor:
        """The tokens of the empty prompt, int64 (L,)."""
        return cast(Tensor, self.denoiser.net.empty)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture's latents, (C, h, w)."""
        side = self.unet.config.sample_size
        return self.unet.config.in_channels, side, side

    def _cut(self, prompts: Sequence[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        cut = self.tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length)
        return torch.tensor(cut.input_ids)

    def tokens(self, prompts: str | Sequence[str]) -> Tensor:
        """Cut prompts into tokens, int64 (N, L), and warn of what will not be understood.

        Warns:
            UserWarning: a prompt is empty, or longer than L tokens (the warning says what was cut off), or holds words
                that no caption had, or mixes Latin and Cyrillic letters, which no caption did.

        Raises:
            TypeError: a prompt is no text.
            ValueError: there is none.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts:
            raise ValueError("prompts: expected at least one, came none")
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise TypeError(f"prompts: expected text, came {type(prompt).__name__}: {prompt!r}")
        for prompt in dict.fromkeys(prompts):
            for word in self._doubts(prompt):
                warnings.warn(word, stacklevel=2)
        return self._cut(prompts)

    def _doubts(self, prompt: str) -> list[str]:
        """What is to be said of a prompt."""
        if not prompt.strip():
            return ["prompts: an empty one leaves the picture to chance; guidance has nothing to follow"]
        doubts, length = [], self.tokenizer.model_max_length
        with _quiet():
            ids = self.tokenizer(prompt).input_ids
        if len(ids) > length:
            left = self.tokenizer.decode(ids[length - 1 : -1]).strip()
            doubts.append(
                f"prompts: expected at most {length - 2} tokens, came {len(ids) - 2}; {left!r} was cut off the end of "
                f"{prompt!r}"
            )
        if self.known is not None:
            strange = sorted({word for word in words_of(prompt) if word not in self.known})
            if strange:
                doubts.append(f"prompts: no caption had the words {', '.join(strange)}; they may be misread")
            elif re.search("[a-z]", prompt.lower()) and re.search("[а-яё]", prompt.lower()):
                doubts.append(f"prompts: no caption mixed two alphabets, as {prompt!r} does; it may be misread")
        return doubts

    def draws(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The chance of `n` examples for `loss`: times (n,), noise (n, C, h, w), two uniform numbers each (n, 2)."""
        return self.denoiser.schedule.draw(n), torch.randn(n, *self.shape), torch.rand(n, 2)

    def loss(self, latents: Tensor, tokens: Tensor, t: Tensor, noise: Tensor, chance: Tensor) -> Tensor:
        """The denoiser's loss on latents whose captions are told, a share of them hidden.

        Args:
            latents: as `encode` gives them, (B, C, h, w).
            tokens: of several captions each, int64 (B, K, L), of which one is taken by chance.
            t, noise, chance: as `draws` gives them.
        """
        require(tokens, "tokens", shape=f"{len(latents)} K L", dtype="int")
        hide, which = chance.unbind(1)
        told = torch.where((hide < self.denoiser.unconditional)[:, None], self.empty, _one_of(tokens, which))
        return self.denoiser.errors(latents, t, noise, told).mean()

    @torch.no_grad()
    def sample(
        self,
        prompts: str | Sequence[str],
        *,
        scale: float = 3.0,
        steps: int = 20,
        seed: int = 0,
        noise: Tensor | None = None,
        sampler: Callable[[Denoises], Sampler] = DDIM,
        batch: int = 50,
    ) -> Tensor:
        """Draw one picture a prompt: (N, 3, H, W) in [0, 1].

        Args:
            prompts: what is wished; see `tokens` for what is warned of.
            scale: of guidance, 1 = off.
            steps: of the sampler.
            seed: of the noise.
            noise: the noise itself, (N, C, h, w), instead.
            sampler: made of the guided denoiser.
            batch: how many at a time.
        """
        tokens = self.tokens(prompts)
        if noise is None:  # drawn on the CPU: one seed, one picture, whatever it is drawn on
            noise = torch.randn(len(tokens), *self.shape, generator=Generator().manual_seed(seed))
        noise = require(noise, "noise", shape=(len(tokens), *self.shape), dtype="float").to(self.empty.device)
        tokens = tokens.to(noise.device)
        walker, times = sampler(Guided(self.denoiser, scale)), even_times(steps)
        parts = zip(noise.split(batch), tokens.split(batch), strict=True)
        return decode(self.vae, torch.cat([walker.walk(x, times, label=told)[-1] for x, told in parts])).cpu()

    def pipeline(self) -> StableDiffusionPipeline:
        """The same parts as the pipeline of diffusers, whose pictures are those of `sample` for the same noise."""
        pipe = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def save(self, folder: str | Path, *, half: bool = True) -> None:
        """Write the folder of a ``StableDiffusionPipeline``, and the known words beside the tokenizer.

        Args:
            folder: is made where it is missing.
            half: weights in float16.
        """
        pipe = copy.deepcopy(self).pipeline()
        with _quiet():
            pipe.to(torch.float16 if half else torch.float32).save_pretrained(folder)
        if self.known is not None:
            Path(folder, WORDS).write_text("\n".join(sorted(self.known)) + "\n", "utf-8")

    @classmethod
    def load(cls, source: str | Path) -> TextToImage:
        """Take up a system in float32.

        Args:
            source: a folder as `save` writes it, or the name of a ``StableDiffusionPipeline`` that the hub of Hugging
                Face holds, such as Stable Diffusion 1.5.

        Raises:
            ValueError: neither, or a pipeline of another kind.
        """
        if Path(source).is_file():
            raise ValueError(f"pretrained: expected a folder or a name, came the file {source}")
        try:
            with _quiet():
                pipe = StableDiffusionPipeline.from_pretrained(
                    source, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
                )
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"pretrained: expected the folder of a StableDiffusionPipeline, or a name that the hub of Hugging Face "
                f"knows, came {str(source)!r} ({first})"
            ) from None
        scheduler = DDIMScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False
        )
        words = Path(source, WORDS)
        known = words.read_text("utf-8").split() if words.is_file() else None
        return cls(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, scheduler, known).eval()


WORDS = "words.txt"
END = "</w>"
"""What marks the last symbol of a word."""


def cosine_scheduler(steps: int = 1_000) -> DDIMScheduler:
    """`dgm.diffusion.ddpm.Cosine` for a network that predicts the velocity, as diffusers says it."""
    return DDIMScheduler(
        num_train_timesteps=require_count(steps, "steps"),
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",  # from t = 1 down, in equal steps
        set_alpha_to_one=True,  # to t = 0, where no noise is left
        clip_sample=False,
        steps_offset=1,
    )
