"""`dgm train text-to-image` and `dgm train lora` on a user's own pictures, from a pipeline of the user's own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from dgm import cli
from dgm.adaptation.lora import load_lora
from dgm.diffusion.latent_diffusion import TextToImage, autoencoder, text_encoder, tokenizer, unet

CODE = Path(__file__).resolve().parents[1]
CAPTIONS = ["a red square", "синий круг", "a green line"]


def system(widths=(8, 16)) -> TextToImage:
    """Small enough to train in a blink: pictures of 16 × 16."""
    torch.manual_seed(0)
    tokens = tokenizer(CAPTIONS, size=600, length=12)
    words = text_encoder(tokens, width=16, layers=1)
    return TextToImage(autoencoder((8, 8), 4, side=16), words, tokens, unet(4, 8, widths, words=16)).eval()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    system().save(folder)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    chance = np.random.default_rng(0)
    for i, caption in enumerate(CAPTIONS):
        Image.fromarray(chance.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(caption, "utf-8")
    return tmp_path


def dgm(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == code, result.output + str(result.exception)
    return " ".join(result.output.split())


@pytest.fixture
def train(pipeline, folder, tmp_path_factory):
    out, runs = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("runs")

    def run(name: str, *words: object, code: int = 0) -> tuple[str, Path]:
        given = ("--pretrained", pipeline, "--data", folder, "--out", out, "--runs", runs, "--steps", 3)
        return dgm("train", name, *given, *words, code=code), out

    return run


def test_text_to_image_goes_on_from_a_pipeline(train, pipeline):
    said, out = train("text-to-image", "--lr", 1e-3)
    assert "training loss" in said
    tuned, base = TextToImage.load(out / "text_to_image"), TextToImage.load(pipeline)
    assert not torch.equal(tuned.unet.conv_in.weight, base.unet.conv_in.weight)
    assert torch.equal(tuned.vae.decoder.conv_in.weight, base.vae.decoder.conv_in.weight)  # the autoencoder is frozen
    assert tuned.sample("a red square", steps=2).shape == (1, 3, 16, 16)
    record = json.loads((out / "text_to_image.json").read_text("utf-8"))
    assert record["data"].startswith("3 pictures of")
    assert record["config"]["pretrained"] == str(pipeline)
    assert record["curve"]["steps"] == [3]


def test_lora_writes_what_the_pipeline_of_diffusers_opens(train, pipeline):
    said, out = train("lora", "--rank", 2)
    assert "training loss" in said
    state = load_file(out / "lora.safetensors")
    assert all(key.startswith("unet.") and ".lora_" in key for key in state)
    assert {w.shape[0] for key, w in state.items() if ".lora_A." in key} == {2}
    assert any(w.any() for key, w in state.items() if ".lora_B." in key)
    ours = TextToImage.load(pipeline)
    base = ours.sample("a red square", steps=2)
    load_lora(ours.unet, {key: w.float() for key, w in state.items()})
    tuned = ours.sample("a red square", steps=2)
    assert not torch.equal(tuned, base)
    theirs = TextToImage.load(pipeline)
    theirs.pipeline().load_lora_weights(out, weight_name="lora.safetensors")
    assert torch.allclose(theirs.sample("a red square", steps=2), tuned, atol=1e-4)


@pytest.mark.parametrize("name", ["text-to-image", "lora"])
def test_cut_off_the_same_command_goes_on_to_the_same_weights(train, name, monkeypatch):
    def digests(out: Path) -> str:
        return json.loads((out / f"{name.replace('-', '_')}.json").read_text("utf-8"))["sha256"]

    whole = digests(train(name)[1])
    loss, calls = TextToImage.loss, []

    def cut(self, *batch):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return loss(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(TextToImage, "loss", cut)
        said, _ = train(name, code=130)
    assert "the same command goes on" in said
    said, out = train(name)
    assert "going on from" in said
    assert (len(calls), digests(out)) == (2, whole)


def test_curves_are_written(train):
    _, out = train("lora", "--tracker", "tensorboard")
    assert list(out.parent.rglob("events.out.tfevents*"))


@pytest.mark.parametrize("name", ["text-to-image", "lora"])
def test_a_broken_picture_or_a_missing_caption_is_named_or_skipped(train, folder, name):
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "broken.txt").write_text("a square")
    said, _ = train(name, code=1)
    assert "broken.png" in said
    with pytest.warns(UserWarning, match="broken.png"):
        _, out = train(name, "--skip")
    (folder / "broken.png").unlink()
    (folder / "broken.txt").unlink()
    (folder / "0.txt").unlink()
    said, _ = train(name, code=1)
    assert "0.png" in said
    with pytest.warns(UserWarning, match=r"0\.png"):
        train(name, "--skip")
    assert json.loads((out / f"{name.replace('-', '_')}.json").read_text("utf-8"))["data"].startswith("2 pictures of")


def test_a_rank_over_the_layer_and_another_architecture_are_said(train, folder, pipeline, tmp_path):
    said, out = train("lora", "--rank", 100, code=1)
    assert "rank: expected at most" in said
    train("lora", "--rank", 2)
    with pytest.raises(ValueError, match="does not fit this UNet2DConditionModel"):
        load_lora(system((16, 16)).unet, {k: w.float() for k, w in load_file(out / "lora.safetensors").items()})
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0"}')
    said = dgm("train", "lora", "--pretrained", other, "--data", folder, "--out", out, code=1)
    assert "expected the folder of a StableDiffusionPipeline" in said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["train", "made-digits", "--rank", "2"], 2, "made_digits does not take it"),
        (["train", "text-to-image", "--rank", "2"], 2, "text_to_image does not take it"),
        (["train", "text-to-image", "--data", "."], 1, "out: expected a folder"),
        (["train", "lora", "--rank", "4"], 1, "out: expected a folder"),
        (["train", "lora", "--rank", "0"], 2, "--rank"),
        (["train", "text-to-imgae"], 2, "did you mean 'text_to_image'"),
        (["train", "text-to-image", "--data", "nowhere", "--out", "mine"], 1, "nowhere"),
    ],
)
def test_bad_words_are_answered(words, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in dgm(*words, code=code)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text-to-image", "lora"])
def test_two_processes_have_the_curve_of_one(pipeline, folder, name, tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "3.png")
    (folder / "3.txt").write_text("a green square", "utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    launch += ["-m", "dgm.cli"]
    curves = []
    for start in ([sys.executable, "-m", "dgm.cli"], launch):
        out = tmp_path / f"out{len(curves)}"
        words = ["train", name, "--pretrained", pipeline, "--data", folder, "--out", out, "--steps", 6, "--lr", 1e-3]
        words += ["--batch-size", 4, "--runs", tmp_path / f"runs{len(curves)}"]
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(word) for word in start + words], cwd=CODE, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        curves.append(json.loads((out / f"{name.replace('-', '_')}.json").read_text("utf-8"))["curve"]["train"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
