"""Text to image: cross-attention, scale, loss, and whole pictures held against diffusers' own; prompts and folders."""

import json
import math
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import Attention
from torch import Tensor

from dgm.diffusion.ddpm import Cosine, even_times
from dgm.diffusion.latent_diffusion import (
    Contrast,
    TextNet,
    TextToImage,
    autoencoder,
    autoencoder_loss,
    cosine_scheduler,
    cross_attention,
    decode,
    encode,
    text_encoder,
    tokenizer,
    unet,
    words_of,
)
from dgm.diffusion.samplers import DDIM, DPMSolver, Guided
from dgm.weights import halved

f64 = torch.float64
CAPTIONS = [
    f"a person with {hair} {colour} hair, in a {dye} {clothes}, {mouth}"
    for hair in ("short", "long")
    for colour in ("black", "red", "blue")
    for dye, clothes, mouth in (("green", "shirt", "smiling"), ("blue", "t-shirt", "sad"))
] + ["человек с длинными рыжими волосами, в синей рубашке, улыбается", "человек с короткими волосами, грустит"]
PROMPTS = ["a person with long red hair", "человек с короткими волосами"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(9)


@cache
def words():
    return tokenizer(CAPTIONS, size=1_000, length=20)


def system(kind: str = "v_prediction", known=True, **settings) -> TextToImage:
    """A small system that was not trained, with weights of a size that matters."""
    torch.manual_seed(3)
    vae = autoencoder((8, 16), 4, side=16)
    vae.register_to_config(scaling_factor=0.7)
    net = unet(4, 8, (8, 16), words=24)
    scheduler = DDIMScheduler.from_config(cosine_scheduler().config, prediction_type=kind, **settings)
    reads = text_encoder(words(), width=24, layers=1, heads=2)
    made = TextToImage(
        vae, reads, words(), net, scheduler, {w for c in CAPTIONS for w in words_of(c)} if known else None
    )
    for parameter in made.parameters():
        if parameter.ndim == 1 and not parameter.any():
            parameter.data.normal_(0, 0.1)
    for parameter in vae.parameters():  # residual blocks begin at zero
        if not parameter.any():
            parameter.data.normal_(0, 0.05)
    return made.eval()


def noise(n: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


# --- cross-attention -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "width"), [(1, 6), (2, 8), (4, 12)])
def test_cross_attention_is_the_library_s_layer(heads, width):
    layer = Attention(width, cross_attention_dim=10, heads=heads, dim_head=width // heads).double()
    x, y = torch.randn(3, 7, width, dtype=f64), torch.randn(3, 5, 10, dtype=f64)
    found = cross_attention(x, y, layer.to_q.weight, layer.to_k.weight, layer.to_v.weight, heads)
    assert torch.allclose(layer.to_out[0](found), layer(x, y), rtol=0, atol=1e-12)


def test_cross_attention_place_by_place():
    x, y = torch.randn(2, 3, 4, dtype=f64), torch.randn(2, 5, 6, dtype=f64)
    q, k, v = torch.randn(4, 4, dtype=f64), torch.randn(4, 6, dtype=f64), torch.randn(4, 6, dtype=f64)
    found = cross_attention(x, y, q, k, v, heads=2)
    for b in range(2):
        for place in range(3):
            for head in range(2):
                rows = slice(2 * head, 2 * head + 2)
                asked = q[rows] @ x[b, place]
                logits = [float(asked @ (k[rows] @ token)) / math.sqrt(2) for token in y[b]]
                weights = [math.exp(value) / sum(map(math.exp, logits)) for value in logits]
                mean = sum(w * (v[rows] @ token) for w, token in zip(weights, y[b], strict=True))
                assert torch.allclose(found[b, place, rows], mean, rtol=0, atol=1e-12)


def test_cross_attention_knows_no_order():
    x, y = torch.randn(1, 6, 4, dtype=f64), torch.randn(1, 5, 4, dtype=f64)
    W = torch.randn(3, 4, 4, dtype=f64)
    places, tokens = torch.randperm(6), torch.randperm(5)
    moved = cross_attention(x[:, places], y[:, tokens], *W, heads=2)
    assert torch.allclose(moved, cross_attention(x, y, *W, heads=2)[:, places], rtol=0, atol=1e-12)


# --- the autoencoder -----------------------------------------------------------------------------------------------


def test_latents_are_scaled_and_scaled_back():
    vae, x = system().vae, torch.rand(5, 3, 16, 16)
    bare = vae.encode(2 * x - 1).latent_dist.mean
    z = encode(vae, x, batch=2)
    assert z.shape == (5, 4, 8, 8)
    assert torch.allclose(z, 0.7 * bare, atol=1e-6)
    by_hand = (vae.decode(bare).sample / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(decode(vae, z, batch=2), by_hand, atol=1e-5)


def test_a_drawn_code_has_the_posterior_s_width():
    vae, x = system().vae, torch.rand(1, 3, 16, 16)
    posterior = vae.encode(2 * x - 1).latent_dist
    drawn = torch.cat([encode(vae, x, generator=torch.Generator().manual_seed(k)) for k in range(400)])
    assert torch.allclose(drawn.mean(0), 0.7 * posterior.mean[0], atol=5 * 0.7 * posterior.std.max().item() / 20)
    assert abs((drawn.std(0) / (0.7 * posterior.std[0])).mean() - 1) < 0.02


def test_the_autoencoder_s_loss_by_hand():
    vae, x = system().vae.double(), torch.rand(3, 3, 16, 16, dtype=f64)
    torch.manual_seed(1)
    found = autoencoder_loss(vae, x, beta=0.1)
    torch.manual_seed(1)
    posterior = vae.encode(2 * x - 1).latent_dist
    delta = (vae.decode(posterior.sample()).sample - (2 * x - 1)).detach()
    square = size = across = down = 0.0
    for picture in delta:
        grey = sum(picture) / 3
        e = torch.stack([3 * colour - 2 * grey for colour in picture])
        square += float((e**2).sum()) / 3 / 768
        size += float(e.abs().sum()) / 3 / 768
        across += float((e[:, :, 1:] - e[:, :, :-1]).abs().sum()) / 3 / 720
        down += float((e[:, 1:] - e[:, :-1]).abs().sum()) / 3 / 720
    m, v = posterior.mean, posterior.var
    kl = 0.5 * (m**2 + v - 1 - v.log()).sum() / 3
    assert found.item() == pytest.approx(2 * square + (size + across + down) / 2 + 0.1 * kl.item() / 256, rel=1e-9)


def test_an_error_of_colour_counts_more_than_one_of_brightness():
    class Shifts(torch.nn.Module):
        """An autoencoder that adds a constant to each colour."""

        def __init__(self, by):
            super().__init__()
            self.by, self.inner = torch.tensor(by)[:, None, None], system().vae

        def encode(self, x):
            self.x = x
            return self.inner.encode(x)

        def decode(self, z):
            return type("Out", (), {"sample": self.x + self.by})()

    x = torch.rand(2, 3, 16, 16)
    grey, colour = (autoencoder_loss(Shifts(by), x, beta=0.0).item() for by in ([0.1] * 3, [0.1, -0.1, 0.0]))
    assert grey == pytest.approx(2 * 0.01 + 0.05, rel=1e-4)
    assert colour == pytest.approx(2 * 9 * 0.02 / 3 + 0.5 * 3 * 0.2 / 3, rel=1e-4)


def test_a_new_autoencoder_s_residual_blocks_are_ways_around():
    from diffusers.models.resnet import ResnetBlock2D

    blocks = [block for block in autoencoder((8, 16), 4).modules() if isinstance(block, ResnetBlock2D)]
    assert len(blocks) > 4
    for block in blocks:
        x = torch.randn(1, block.in_channels, 4, 4)
        around = block.conv_shortcut(x) if block.conv_shortcut is not None else x
        assert torch.allclose(block(x, None), around + block.conv2.bias[:, None, None], atol=1e-6)


# --- whole pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_every_picture_is_the_pipeline_s(kind, scale):
    made, z = system(kind), noise()
    ours = made.sample(PROMPTS, scale=scale, steps=5, noise=z)
    theirs = made.pipeline()(PROMPTS, latents=z, num_inference_steps=5, guidance_scale=scale, output_type="pt").images
    assert ours.std() > 0.05
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)


def test_the_text_and_the_scale_matter():
    made, z = system(), noise(1)
    pictures = [
        made.sample(p, scale=s, steps=3, noise=z) for p, s in ((PROMPTS[0], 1), (PROMPTS[1], 1), (PROMPTS[0], 5))
    ]
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3
    assert (pictures[0] - pictures[2]).abs().max() > 1e-3
    silent = [made.sample(prompt, scale=0, steps=3, noise=z) for prompt in PROMPTS]
    assert torch.equal(*silent)


def test_batches_and_seeds():
    made = system()
    prompts = [*PROMPTS, CAPTIONS[0]]
    whole = made.sample(prompts, steps=2, seed=4)
    assert whole.shape == (3, 3, 16, 16)
    assert torch.allclose(made.sample(prompts, steps=2, seed=4, batch=2), whole, atol=1e-5)
    assert not torch.allclose(made.sample(prompts, steps=2, seed=5), whole, atol=1e-3)


def test_another_sampler():
    made, z = system(), noise(1)
    by_hand = DPMSolver(Guided(made.denoiser, 2.0)).walk(z, even_times(4), label=made.tokens(PROMPTS[:1]))[-1]
    found = made.sample(PROMPTS[0], scale=2.0, steps=4, noise=z, sampler=DPMSolver)
    assert torch.allclose(found, decode(made.vae, by_hand.detach()), atol=1e-5)


def test_time_is_the_step_that_diffusers_counts_from_zero():
    asked = []

    class Notes(torch.nn.Module):
        def forward(self, x, k, encoder_hidden_states):
            asked.append(k.tolist())
            return type("Out", (), {"sample": x})()

    made = system()
    net = TextNet(Notes(), made.text_encoder, made.empty, 1_000)
    net(noise(3), torch.tensor([0.001, 0.5, 1.0]))
    made.scheduler.set_timesteps(4)
    net(noise(4), even_times(4)[:-1])
    assert asked == [[0, 499, 999], made.scheduler.timesteps.tolist()]
    assert asked[1] == [999, 749, 499, 249]


def test_no_text_is_the_empty_prompt():
    made, z = system(), noise()
    t = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        none, empty = made.denoiser.net(z, t), made.denoiser.net(z, t, made.empty.expand(2, -1))
    assert torch.equal(none, empty)


def test_the_scheduler_is_the_book_s_cosine():
    alpha, _ = Cosine(1_000)((torch.arange(1_000, dtype=f64) + 1) / 1_000)
    kept = cosine_scheduler().alphas_cumprod.double()
    assert torch.allclose(kept, alpha**2, rtol=0, atol=1e-6)
    own = system().denoiser.schedule
    times = torch.tensor([0.001, 0.25, 0.9], dtype=f64)
    assert torch.allclose(own(times)[0], Cosine(1_000)(times)[0], rtol=0, atol=1e-6)
    assert torch.allclose(own(times)[1] ** 2 + own(times)[0] ** 2, torch.ones(3, dtype=f64))


# --- the loss ------------------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    made, z, eps = system(), noise(3, 5), noise(3, 6)
    tokens = made.tokens([*PROMPTS, *CAPTIONS[:4]]).unflatten(0, (3, 2))
    t = torch.tensor([0.2, 0.6, 0.9])
    chance = torch.tensor([[0.5, 0.1], [0.05, 0.9], [0.1, 0.99]])  # told the first; hidden; told the second
    alpha, sigma = (part.float()[:, None, None, None] for part in made.denoiser.schedule(t))
    told = torch.stack([tokens[0, 0], made.empty, tokens[2, 1]])
    with torch.no_grad():
        spoken = made.text_encoder(told).last_hidden_state
        answer = made.unet(alpha * z + sigma * eps, torch.tensor([199, 599, 899]), spoken).sample
        loss = made.loss(z, tokens, t, eps, chance)
    assert loss.item() == pytest.approx(((answer - (alpha * eps - sigma * z)) ** 2).mean().item(), rel=1e-5)


def test_a_tenth_of_the_captions_is_hidden_and_all_captions_are_told(monkeypatch):
    made, seen = system(), []
    monkeypatch.setattr(made.denoiser, "errors", lambda x, t, e, told: seen.append(told) or torch.zeros(len(x)))
    n, captions = 4_000, made.tokens(CAPTIONS[:4])
    t, eps, chance = made.draws(n)
    assert (t.shape, eps.shape, chance.shape) == ((n,), (n, 4, 8, 8), (n, 2))
    made.loss(torch.zeros(n, 4, 8, 8), captions.expand(n, -1, -1), t, eps, chance)
    hidden = (seen[0] == made.empty).all(1).double().mean()
    shares = [(seen[0] == caption).all(1).double().mean() for caption in captions]
    assert abs(hidden - 0.1) < 5 * math.sqrt(0.09 / n)
    assert all(abs(share - 0.225) < 5 * math.sqrt(0.225 * 0.775 / n) for share in shares)


def test_the_autoencoder_is_frozen_and_the_rest_learns():
    made = system()
    made.loss(noise(), made.tokens(PROMPTS)[:, None], *made.draws(2)).backward()
    assert not any(parameter.requires_grad for parameter in made.vae.parameters())
    for part in (made.unet, made.text_encoder):
        silent = [name for name, parameter in part.named_parameters() if parameter.grad is None]
        assert not silent


# --- the contrast of text and pictures ------------------------------------------------------------------------------


def contrast() -> Contrast:
    return Contrast(text_encoder(words(), width=16, heads=2), 4, 8, width=6)


def test_the_contrast_by_hand():
    model, z = contrast(), noise(4, 5)
    tokens = system().tokens([*PROMPTS, *CAPTIONS[:6]]).unflatten(0, (4, 2))
    chance = torch.tensor([0.1, 0.9, 0.4, 0.6])
    with torch.no_grad():
        u, w = model.pictures(z), model.texts(tokens[range(4), [0, 1, 0, 1]])
        assert torch.allclose(u.norm(dim=1), torch.ones(4))
        assert torch.allclose(w.norm(dim=1), torch.ones(4))
        loss, scale = 0.0, 1 / 0.07
        for i in range(4):
            fits = [math.exp(scale * float(u[i] @ w[j])) for j in range(4)]
            fitted = [math.exp(scale * float(u[j] @ w[i])) for j in range(4)]
            loss -= (math.log(fits[i] / sum(fits)) + math.log(fitted[i] / sum(fitted))) / 8
        assert model.loss(z, tokens, chance).item() == pytest.approx(loss, rel=1e-4)


def test_who_cannot_tell_pays_the_logarithm_of_the_batch():
    model = contrast()
    torch.nn.init.zeros_(model.of_picture[-1].weight)  # every picture the same
    tokens = system().tokens([PROMPTS[0]] * 5)[:, None]  # every text the same
    assert model.loss(noise(5), tokens, torch.rand(5)).item() == pytest.approx(math.log(5), abs=1e-6)


def test_a_text_is_read_at_its_end_and_everything_learns():
    model = contrast()
    tokens = system().tokens([*PROMPTS, CAPTIONS[0]])
    end = (tokens == words().eos_token_id).int().argmax(1)
    states = model.text_encoder(tokens).last_hidden_state[range(3), end]
    wanted = torch.nn.functional.normalize(model.of_text(states), dim=-1)
    assert torch.allclose(model.texts(tokens), wanted, atol=1e-6)
    model.loss(noise(3), tokens[:, None], model.draws(3)).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_the_contrast_learns_a_word_of_few_pixels():
    """Pictures that differ in one number among 256: the word for it is told apart after a few steps."""
    model = contrast()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tokens = system().tokens(["a person with short hair, smiling", "a person with short hair, sad"])[:, None]
    z = torch.zeros(2, 4, 8, 8)
    z[1, 0, 6, 3] = 1.0
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(z, tokens, torch.rand(2)).backward()
        optimizer.step()
    assert model.loss(z, tokens, torch.rand(2)) < 0.05


# --- prompts -------------------------------------------------------------------------------------------------------


def doubts(made, prompt):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.tokens(prompt)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (PROMPTS[0], []),
        (PROMPTS, []),
        ("A PERSON with Short hair", []),
        ("", ["prompts: an empty one leaves the picture to chance"]),
        (["  \n"], ["prompts: an empty one"]),
        ("a person with purple hair and horns", ["prompts: no caption had the words and, horns, purple;"]),
        ("a person с длинными волосами", ["prompts: no caption mixed two alphabets, as 'a person с"]),
        (
            "a person with long red hair, in a green shirt, smiling, in a blue shirt, sad",
            ["prompts: expected at most 18 tokens, came 20; ', sad' was cut off the end of 'a person"],
        ),
        (["x", "x"], ["prompts: no caption had the words x;"]),
    ],
)
def test_prompts_that_will_not_be_understood_are_warned_of(prompt, told):
    found = doubts(system(), prompt)
    assert len(found) == len(told)
    assert all(came.startswith(expected) for came, expected in zip(found, told, strict=True))


def test_without_known_words_none_is_warned_of():
    assert doubts(system(known=False), "horns и рога") == []
    assert len(doubts(system(known=False), "horn " * 20)) == 1


def test_tokens_begin_and_are_filled_up_with_ends():
    made = system()
    tokens, empty = made.tokens(PROMPTS), made.empty
    start, end = words().bos_token_id, words().eos_token_id
    assert tokens.shape == (2, 20)
    assert tokens.dtype == torch.int64
    assert tokens[0].tolist() == [start, *words().convert_tokens_to_ids(words().tokenize(PROMPTS[0])), *[end] * 13]
    assert empty.tolist() == [start, *[end] * 19]


def test_what_was_cut_comes_back():
    text = "кот длинный ыёт 你好a a person"
    assert words().decode(words()(text).input_ids[1:-1]).split() == text.split()
    assert len(words().tokenize("рыжими")) == 1
    assert len(words().tokenize("кот")) > 1


def test_any_text_can_be_cut_and_comes_back():
    learned = tokenizer(["a person"], size=600)
    for text in ("xa ax", "club", "ёж, ъ", "猫 🙂", "0 9 ~ `", "Straße"):
        ids = learned(text).input_ids
        assert learned.unk_token_id not in ids[1:-1]
        assert learned.decode(ids, skip_special_tokens=True).replace(" ", "") == text.lower().replace(" ", "")


def test_the_pair_that_comes_most_often_is_joined_next():
    texts = ["abab abab ab", "bc bc bc bc", "абв"]
    learned = tokenizer(texts, size=514 + 5)
    merges = [tuple(pair) for pair in json.loads(learned.backend_tokenizer.to_str())["model"]["merges"]]
    # By hand: "bc" four times; "ab" at a word's end three times; then of two pairs that come twice the later in order.
    assert merges[:4] == [("b", "c</w>"), ("a", "b</w>"), ("b", "ab</w>"), ("a", "bab</w>")]
    assert len(learned) == 514 + 5
    assert len(tokenizer(texts, size=10_000)) < 600  # nothing is left to join
    assert learned.tokenize("abab bc ab") == ["abab</w>", "bc</w>", "ab</w>"]


def test_the_tokens_do_not_depend_on_chance():
    script = (
        "from dgm.diffusion.latent_diffusion import tokenizer; "
        "print(sorted(tokenizer(['a person in a t-shirt, smiling', 'человек, злится']).get_vocab().items()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_token_knows_those_before_it():
    encoder = text_encoder(words(), width=24).eval()
    first = system().tokens(["a person with long red hair", "a person with short hair"])
    with torch.no_grad():
        one, other = encoder(first).last_hidden_state
    assert torch.allclose(one[:4], other[:4], atol=1e-6)
    assert ((one - other).abs().amax(1)[4:] > 1e-3).all()


def test_words():
    assert words_of("A person in a T-shirt, злится; e-mail -x") == [
        "a",
        "person",
        "in",
        "a",
        "t-shirt",
        "злится",
        "e-mail",
        "x",
    ]


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [True, False])
def test_a_folder_gives_the_same_system_back(tmp_path, half):
    made, z = system("epsilon"), noise()
    if half:
        made.load_state_dict(halved(made.state_dict()))
    made.save(tmp_path, half=half)
    assert made.unet.dtype == torch.float32  # the system itself is as it was
    back = TextToImage.load(tmp_path)
    assert back.known == made.known
    assert back.vae.config.scaling_factor == 0.7
    assert back.denoiser.predicts == "noise"
    assert not back.training
    expected = made.sample(PROMPTS, steps=3, noise=z)
    assert torch.allclose(back.sample(PROMPTS, steps=3, noise=z), expected, rtol=0, atol=1e-5)
    alone = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None, requires_safety_checker=False)
    alone.set_progress_bar_config(disable=True)
    alone = alone.to(torch.float32)
    theirs = alone(PROMPTS, latents=z, num_inference_steps=3, guidance_scale=3.0, output_type="pt").images
    assert torch.allclose(theirs, expected, rtol=0, atol=1e-4)


def test_the_scheduler_of_stable_diffusion_is_walked_as_the_book_walks(tmp_path):
    """Stable Diffusion's folders name another scheduler, whose times begin below t = 1 and stop above 0."""
    system("epsilon").save(tmp_path)
    about = {
        "_class_name": "PNDMScheduler",
        "num_train_timesteps": 1_000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
    }
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(about))
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "PNDMScheduler"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    made = TextToImage.load(tmp_path)
    config = made.scheduler.config
    assert (config.timestep_spacing, config.set_alpha_to_one, config.clip_sample) == ("trailing", True, False)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1_000, dtype=f64) ** 2
    alpha, _ = made.denoiser.schedule(torch.tensor(0.5, dtype=f64))
    assert alpha.item() == pytest.approx((1 - betas[:500]).prod().sqrt().item(), rel=1e-4)
    assert made.denoiser.predicts == "noise"
    z = noise()
    theirs = made.pipeline()(PROMPTS, latents=z, num_inference_steps=4, guidance_scale=2.0, output_type="pt").images
    assert torch.allclose(made.sample(PROMPTS, scale=2.0, steps=4, noise=z), theirs, rtol=0, atol=1e-4)


def test_what_is_no_system_is_named(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"0")
    with pytest.raises(ValueError, match=r"^pretrained: expected a folder or a name, came the file .*safetensors$"):
        TextToImage.load(file)
    other = tmp_path / "other"
    other.mkdir()
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    (other / "model_index.json").write_text(json.dumps(index))
    for place in (tmp_path / "empty", other):
        place.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="^pretrained: expected the folder of a StableDiffusionPipeline"):
            TextToImage.load(place)


# --- doors ---------------------------------------------------------------------------------------------------------


def mixed(**parts):
    made = system()
    own = {"vae": made.vae, "text_encoder": made.text_encoder, "tokens": words(), "unet": made.unet}
    return TextToImage(**own | parts)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: mixed(unet=unet(5, 8, (8, 16), words=24)), ValueError, "^unet: expected 4 channels, .* came 5"),
        (
            lambda: mixed(unet=unet(4, 8, (8, 16), words=16)),
            ValueError,
            "^unet: expected words of 24 numbers, .* came 16",
        ),
        (lambda: system("flow"), ValueError, "^prediction_type: 'flow' is not known"),
        (lambda: system().tokens([]), ValueError, "^prompts: expected at least one, came none"),
        (lambda: system().tokens(["a person", 3]), TypeError, "^prompts: expected text, came int: 3"),
        (lambda: system().sample(PROMPTS, noise=noise(3)), ValueError, "^noise: expected shape"),
        (lambda: system().sample(PROMPTS, steps=0), ValueError, "^steps: expected at least 1"),
        (lambda: system().sample(PROMPTS, scale=-1.0), ValueError, "^scale: expected"),
        (lambda: system().loss(noise(), torch.ones(3, 1, 20).long(), *system().draws(2)), ValueError, "^tokens:"),
        (lambda: encode(system().vae, torch.rand(2, 1, 16, 16)), ValueError, "^images: expected shape"),
        (
            lambda: encode(system().vae, 2 * torch.ones(2, 3, 16, 16)),
            ValueError,
            r"^images: expected values in \[0, 1\]",
        ),
        (lambda: decode(system().vae, torch.rand(2, 3, 8, 8)), ValueError, "^latents: expected shape"),
        (lambda: autoencoder_loss(system().vae, torch.rand(2, 3, 16, 16), beta=-1), ValueError, "^beta: expected"),
        (lambda: autoencoder(channels=0), ValueError, "^channels: expected at least 1"),
        (lambda: tokenizer(CAPTIONS, size=100), ValueError, "^size: expected at least 514"),
        (lambda: tokenizer(CAPTIONS, length=2), ValueError, "^length: expected at least 3"),
        (lambda: cosine_scheduler(0), ValueError, "^steps: expected at least 1"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=told):
        call()


def test_ddim_alone_is_what_sample_walks():
    """The default is DDIM on the guided denoiser at evenly spaced times."""
    made, z = system(), noise(1)
    walked = DDIM(Guided(made.denoiser, 3.0)).walk(z, even_times(3), label=made.tokens(PROMPTS[0]))[-1].detach()
    assert torch.allclose(made.sample(PROMPTS[0], steps=3, noise=z), decode(made.vae, walked), atol=1e-5)
