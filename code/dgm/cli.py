"""The command line: ``dgm list | train | sample | evaluate`` for the recipes; ``check``, ``report`` for homework.

Torch is imported by the commands that need it, not before, so that the help comes at once.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dgm import recipes

try:
    import typer
except ImportError:
    sys.exit('dgm: the command line needs the package typer: pip install "dgm-book[train]"')

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(
    help="Train, sample and measure the models of the book.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Tracker(StrEnum):
    """What writes curves while a model trains."""

    tensorboard = "tensorboard"
    wandb = "wandb"


def known(name: str) -> str:
    """Return the name of a recipe, hyphens read as underscores, or leave with exit code 2 and the nearest names."""
    name = name.replace("-", "_")
    if name not in recipes.names():
        from dgm.checks import nearest

        raise typer.BadParameter(f"{name!r} is not known{nearest(name, recipes.names())}")
    return name


def drawable(path: Path) -> Path:
    """Return the path of a picture, or leave with exit code 2 and the formats there are."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise typer.BadParameter(f"expected a name that ends in .png, .svg or .pdf, came {str(path)!r}")
    return path


Name = Annotated[str, typer.Argument(metavar="NAME", callback=known, help="A recipe, as `dgm list` names it.")]
Seed = Annotated[int, typer.Option(min=0, help="Source of chance: one seed, one result.")]
Weights = Annotated[Path | None, typer.Option(help="Folder of the weights [default: those of the package]")]


@contextmanager
def plainly() -> Iterator[None]:
    """Turn the errors that a reader can mend into one line and exit code 1."""
    try:
        yield
    except (OSError, ValueError, ArithmeticError, ImportError) as error:
        typer.echo(f"dgm: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("list")
def show() -> None:
    """Show the recipes: name, size of the weights, main metric, what it is."""
    from dgm import weights

    rows = []
    for name in recipes.names():
        size, metric = "not trained", ""
        if name in weights.available():
            try:
                info = weights.info(name)
                size = f"{info['bytes'] / 1e6:.1f} MB"
                metric = next((f"{key} {value:.4g}" for key, value in info["metrics"].items()), "")
            except (OSError, ValueError, KeyError):
                size = "damaged"
        rows.append((name, size, metric, recipes.line(name)))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in rows:
        typer.echo("  ".join([cell.ljust(w) for cell, w in zip(row, widths, strict=False)] + [row[3]]).rstrip())


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A homework: o1-1, o2-3, c1-2, …")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your answer: a Python file or a notebook.")],
) -> None:
    """Check a homework, and say what is wrong in a sentence. The exit code is 0 when nothing is."""
    from dgm import homework

    failed = 0
    with plainly():
        for what, wrong in homework.run(name, file):
            typer.echo(f"✓ {what}" if wrong is None else f"✗ {what}\n  {wrong}")
            failed += wrong is not None
    if failed:
        raise typer.Exit(1)


@app.command("report")
def write_up(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A recipe, its record (JSON), or the folder of a run.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    aim: Annotated[str | None, typer.Option(help="What the experiment is to find out.")] = None,
    idea: Annotated[str | None, typer.Option(help="Why it should work.")] = None,
    conclusion: Annotated[str | None, typer.Option(help="What follows.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Another run to compare with.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many to show.")] = 8,
    pictures: Annotated[Path | None, typer.Option(help="Folder of samples, for a run without weights.")] = None,
    seed: Seed = 0,
) -> None:
    """Write up an experiment: aim, idea, result, baseline, conclusion, with curves, metrics and samples."""
    from dgm import report as writer

    told: dict[str, Any] = {"aim": aim, "idea": idea, "conclusion": conclusion, "baseline": baseline}
    with plainly():
        typer.echo(str(writer.report(run, out, samples=samples, seed=seed, pictures=pictures, **told)))


@app.command()
def train(
    name: Name,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps [default: the recipe's own]")] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the weights [default: the package's]")] = None,
    runs: Annotated[Path, typer.Option(help="Folder for checkpoints and curves.")] = Path("runs"),
    tracker: Annotated[Tracker | None, typer.Option(help="Write curves while it trains.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Pipeline to go on from: a folder, or a name of the Hugging Face hub.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures with captions of your own.")] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out broken pictures and those without a caption.")
    ] = False,
    rank: Annotated[int | None, typer.Option(min=1, help="Of a LoRA.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples a step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Step size.")] = None,
) -> None:
    """Train a model and write its weights. Cut off at any moment, the same command goes on.

    The options from --pretrained on are for text-to-image and lora, --rank for lora alone.
    """
    from dgm import weights

    main = os.environ.get("RANK", "0") == "0"  # of several processes under `accelerate launch`, one speaks and tidies
    run = runs / f"{name}-{seed}"
    options: dict[str, Any] = {"checkpoint": run / "checkpoint.safetensors"}
    if tracker is not None:
        options |= {"log": run / tracker.value, "tracker": tracker.value}
    if steps is not None:
        options["steps"] = steps
    options |= wished(
        name, pretrained=pretrained, data=data, skip=skip or None, rank=rank, batch_size=batch_size, lr=lr
    )
    if main and (left := sorted(run.glob("checkpoint*.safetensors"))):
        typer.echo(f"going on from {left[-1]}")
    with plainly():
        try:
            recipes.get(name).train(seed=seed, folder=out, **options)
        except KeyboardInterrupt:
            if main:
                typer.echo(f"\nstopped; the same command goes on from {run}", err=True)
            raise typer.Exit(130) from None
        if not main:
            return
        for checkpoint in run.glob("checkpoint*.safetensors"):  # the weights are written: the run is over
            checkpoint.unlink()
        info = weights.info(name, folder=out)
    place = (out or weights.HOME) / (name if "files" in info else f"{name}.safetensors")
    typer.echo(f"{place}: {info['parameters']:,} numbers, {info['seconds']:.0f} s")
    report(info["metrics"])


def wished(name: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given, or leave with exit code 2 where the recipe does not take one of them."""
    takes = inspect.signature(recipes.get(name).train).parameters
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in takes:
            raise typer.BadParameter(f"{name} does not take it", param_hint=f"--{key.replace('_', '-')}")
    return given


@app.command()
def sample(
    name: Name,
    n: Annotated[int, typer.Option("--n", min=1, help="How many.")] = 16,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(callback=drawable, help="The picture.")] = Path("samples.png"),
    weights: Weights = None,
) -> None:
    """Draw samples from a trained model into a picture."""
    with plainly():
        draw(recipes.get(name).sample(n, seed=seed, folder=weights), out)
    typer.echo(str(out))


@app.command()
def evaluate(name: Name, weights: Weights = None) -> None:
    """Measure a trained model again: its metrics, computed now."""
    with plainly():
        report(recipes.get(name).evaluate(folder=weights))


def report(metrics: dict[str, float]) -> None:
    """Print metrics one a line."""
    for key, value in metrics.items():
        typer.echo(f"{key.ljust(max(map(len, metrics)))}  {value:.6g}")


def draw(samples: Tensor, out: Path) -> None:
    """Write a picture of samples: a grid of images (n, C, H, W) or a cloud of points (n, 2)."""
    from dgm.viz import COLORS, figure, image_grid

    if samples.dim() == 4:
        ncols = min(len(samples), max(8, round(len(samples) ** 0.5)))
        nrows = -(-len(samples) // ncols)
        fig, ax = figure(width=0.8 * ncols, height=0.8 * nrows * samples.shape[2] / samples.shape[3])
        image_grid(ax, samples, ncols=ncols)
    elif samples.dim() == 2 and samples.shape[1] == 2:
        fig, ax = figure(width=4, height=4)
        ax.scatter(*samples.detach().cpu().T.numpy(), s=4, color=COLORS[0])
        ax.set_aspect("equal")
    else:
        raise ValueError(f"samples: expected images (n, C, H, W) or points (n, 2), came {tuple(samples.shape)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(out, dpi=200)


def main() -> None:
    """Run the command line."""
    app(prog_name="dgm")


if __name__ == "__main__":
    main()
