"""Recipes and the command line, tried with a tiny recipe that is written here."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dgm import cli, recipes, weights

CODE = Path(__file__).resolve().parents[1]
RECIPE = '''"""A line through points: one layer, no more.

What `dgm list` does not show.
"""
import os
import time

import torch
from torch import nn

from dgm import weights
from dgm.training import fit

NAME = "tiny_line"


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def loss(self, x):
        time.sleep(float(os.environ.get("SLOW", 0)))
        return (self.layer(x) - 1).square().mean()


def build():
    return Line()


def points():
    return torch.randn(50, 2, generator=torch.Generator().manual_seed(0))


def train(*, steps=20, seed=0, folder=None, **options):
    torch.manual_seed(seed)
    model = build()
    history = fit(model, points(), steps=steps, seed=seed, every=5, batch_size=10, **options)
    info = {"data": "points", "config": {}, "seed": seed, "seconds": history.seconds, "curve": history.as_dict()}
    weights.save(NAME, model.state_dict(), info | {"metrics": scores(model)}, folder=folder)


def scores(model):
    with torch.no_grad():
        return {"loss": model.loss(points()).item(), "bias": model.layer.bias.item()}


def sample(n, *, seed=0, folder=None):
    model = build()
    weights.load_into(model, NAME, folder=folder)
    noise = torch.rand(n, 1, 6, 4, generator=torch.Generator().manual_seed(seed))
    shape = os.environ.get("SHAPE", "image")
    return {"image": noise, "points": noise.flatten(1)[:, :2], "other": noise[0]}[shape]


def evaluate(*, folder=None):
    model = build()
    weights.load_into(model, NAME, folder=folder)
    return scores(model)
'''


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A folder with one recipe in place of the package's, and a place to work in."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny_line.py").write_text(RECIPE)
    (folder / "_helper.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(recipes, "__path__", [str(folder)])
    monkeypatch.setattr(weights, "RECIPES", folder)
    monkeypatch.setattr(weights, "HOME", tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("dgm.recipes.tiny_line", None)
    vars(recipes).pop("tiny_line", None)


def dgm(*words, code=0):
    result = CliRunner().invoke(cli.app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def real(folder, *words, **options):
    """The command in a process of its own, with the recipes of `folder`."""
    start = (
        f"from dgm import recipes; recipes.__path__ = [{str(folder / 'recipes')!r}]; from dgm.cli import main; main()"
    )
    env = {**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", start, *words],
        env=env,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_discovery_imports_nothing_until_it_is_asked(recipe):
    assert recipes.names() == ["tiny_line"]
    assert recipes.line("tiny_line") == "A line through points: one layer, no more."
    assert "dgm.recipes.tiny_line" not in sys.modules
    module = recipes.get("tiny_line")
    assert isinstance(module.build(), torch.nn.Module)
    with pytest.raises(ValueError, match=r"name: 'tinyline' is not known \(did you mean 'tiny_line'\?\)"):
        recipes.get("tinyline")
    with pytest.raises(TypeError, match="name"):
        recipes.get(3)


def test_every_recipe_of_the_package_keeps_the_contract():
    for name in recipes.names():
        assert 20 < len(recipes.line(name)) < 110
        module = recipes.get(name)
        for function in ("build", "train", "sample", "evaluate"):
            assert callable(getattr(module, function)), f"{name} has no {function}"


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_runs_for_two_steps(name, tmp_path):
    """The script that made the weights, cut short: it saves what it measures, and draws the same for one seed."""
    recipe = recipes.get(name)
    recipe.train(steps=2, folder=tmp_path, checkpoint=tmp_path / "run")
    metrics = weights.info(name, folder=tmp_path)["metrics"]
    assert recipe.evaluate(folder=tmp_path) == pytest.approx(metrics)
    first, again, other = (recipe.sample(3, seed=seed, folder=tmp_path) for seed in (1, 1, 2))
    assert len(first) == 3
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dim() == 2 or (first.min() >= 0 and first.max() <= 1)


def test_from_nothing_to_samples(recipe):
    assert dgm("list").split() == ["tiny_line", "not", "trained", *recipes.line("tiny_line").split()]
    out = dgm("train", "tiny_line", "--steps", "12")
    info = weights.info("tiny_line")
    assert info["curve"]["steps"] == [5, 10, 12]
    assert str(recipe / "home" / "tiny_line.safetensors") in out
    assert f"loss  {info['metrics']['loss']:.6g}" in out
    assert not list(recipe.glob("runs/**/*.safetensors"))
    row = dgm("list")
    assert row.startswith("tiny_line  0.0 MB  loss ")
    assert dgm("evaluate", "tiny_line").splitlines() == [
        f"loss  {info['metrics']['loss']:.6g}",
        f"bias  {info['metrics']['bias']:.6g}",
    ]
    assert dgm("sample", "tiny_line", "--n", "3").strip() == "samples.png"
    assert (recipe / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_ones_own(recipe):
    dgm("train", "tiny_line", "--steps", "2", "--out", "runs/tiny_line-0")  # beside its own checkpoint
    assert Path("runs/tiny_line-0/tiny_line.safetensors").is_file()
    dgm("train", "tiny_line", "--steps", "2", "--out", "mine", "--seed", "3", "--tracker", "tensorboard")
    assert sorted(p.name for p in Path("mine").iterdir()) == ["tiny_line.json", "tiny_line.safetensors"]
    assert not (recipe / "home").exists()
    assert json.loads(Path("mine/tiny_line.json").read_text())["seed"] == 3
    assert list(Path("runs/tiny_line-3/tensorboard").glob("events*"))
    assert "loss" in dgm("evaluate", "tiny_line", "--weights", "mine")
    for suffix in ("svg", "pdf", "png"):
        dgm("sample", "tiny_line", "--weights", "mine", "--out", f"deep/er/x.{suffix}")
    assert len(list(Path("deep/er").iterdir())) == 3


def test_samples_of_other_shapes(recipe, monkeypatch):
    dgm("train", "tiny_line", "--steps", "2")
    monkeypatch.setenv("SHAPE", "points")
    dgm("sample", "tiny_line", "--out", "points.png")
    assert Path("points.png").exists()
    monkeypatch.setenv("SHAPE", "other")
    assert "dgm: samples: expected images (n, C, H, W) or points (n, 2), came (1, 6, 4)" in dgm(
        "sample", "tiny_line", "--out", "other.png", code=1
    )
    assert not Path("other.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["train", "tiny_lin"], 2, "'tiny_lin' is not known (did you mean 'tiny_line'?)"),
        (["sample", "tinyline"], 2, "did you mean 'tiny_line'"),
        (["evaluate", "vae"], 2, "(there are: tiny_line)"),
        (["trian", "tiny_line"], 2, "train"),
        (["train", "tiny_line", "--step", "3"], 2, "--steps"),
        (["train", "tiny_line", "--steps", "0"], 2, "--steps"),
        (["train", "tiny_line", "--steps", "many"], 2, "--steps"),
        (["train", "tiny_line", "--seed", "-1"], 2, "--seed"),
        (["train", "tiny_line", "--tracker", "wandbb"], 2, "wandb"),
        (["sample", "tiny_line", "--n", "0"], 2, "--n"),
        (["sample", "tiny_line", "--out", "x.bmp"], 2, ".png, .svg or .pdf"),
        (["train"], 2, "NAME"),
        (["sample", "tiny_line"], 1, "tiny_line.json is missing; make it again with: dgm train tiny_line"),
        (["evaluate", "tiny_line", "--weights", "mine"], 1, "dgm train tiny_line --out mine"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_bad_words_get_the_nearest_good_ones(recipe, words, code, answer):
    out = dgm(*words, code=code)
    assert answer in " ".join(out.split())
    assert "Traceback" not in out


def test_damaged_weights_are_listed_as_such(recipe):
    dgm("train", "tiny_line", "--steps", "2")
    (recipe / "home" / "tiny_line.json").write_text("{")
    assert dgm("list").startswith("tiny_line  damaged")
    assert "is damaged" in dgm("evaluate", "tiny_line", code=1)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_killed_the_same_command_goes_on_to_the_same_weights(recipe, number):
    words = ["train", "tiny_line", "--steps", "60", "--out", "killed"]
    process = real(recipe, *words, env={"SLOW": "0.05"})
    checkpoint = recipe / "runs" / "tiny_line-0" / "checkpoint.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    assert number == signal.SIGKILL or "the same command goes on from" in err
    assert not (recipe / "killed").exists()
    assert checkpoint.exists()
    assert f"going on from {checkpoint.relative_to(recipe)}" in dgm(*words)
    assert not checkpoint.exists()
    dgm("train", "tiny_line", "--steps", "60", "--out", "whole")
    killed, whole = (weights.load("tiny_line", folder=folder)[0] for folder in ("killed", "whole"))
    assert all(torch.equal(killed[k], whole[k]) for k in whole)


def test_a_checkpoint_of_other_settings_is_said_in_a_line(recipe):
    dgm("train", "tiny_line", "--steps", "9", "--out", "nine")
    run = recipe / "runs" / "tiny_line-0"
    recipes.get("tiny_line").train(steps=9, folder=recipe, checkpoint=run / "checkpoint.safetensors")
    out = dgm("train", "tiny_line", "--steps", "3", code=1)
    assert "dgm: steps: expected at least the 9 that" in out


def seconds(code):
    process = subprocess.run(
        [sys.executable, "-c", f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"],
        env={**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(process.stdout.split()[-1])


def test_help_does_not_wait_for_torch(recipe):
    code = (
        "import sys, dgm.cli\nfor words in (['--help'], ['train', '--help'], ['list']):\n"
        "    try: dgm.cli.app(words)\n    except SystemExit as e: assert not e.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(CODE)}, check=True)


def test_importing_the_package_loads_no_part_and_no_time():
    loaded = "import sys; import dgm; assert not [m for m in sys.modules if m.startswith('dgm.')]"
    assert min(seconds(loaded) for _ in range(3)) < 0.1
