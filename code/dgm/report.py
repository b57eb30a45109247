"""The report of an experiment, filled from what its run left; what only a person can say is asked for.

report.md     aim, idea, result, comparison with the baseline, conclusion
curves.png    losses and validation measures by step
samples.png   samples of the trained model, or pictures from a folder
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor

from dgm import recipes, viz, weights
from dgm.checks import nearest, require_count

BLANK = {  # where a person's words or a file are missing
    "aim": "… *(What do you want to find out, and which number will tell?)*",
    "idea": "… *(Which one thing do you change, and why should it help?)*",
    "samples": "… *(Which 5 to 10 samples show it? Take the first ones of a seed that you name; choose none.)*",
    "baseline": "… *(Against which run, which differs in that one thing only? Its metrics belong beside these.)*",
    "conclusion": "… *(Was the aim reached, is the gain larger than the spread over seeds, and what comes next?)*",
}
SPREADS = (", standard error", ", sd over seeds")
CLOUD = 1_000  # points that show a law in the plane


@dataclass
class Run:
    """What is known of a run."""

    name: str
    facts: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, dict[str, tuple[list[int], list[float]]]]  # "loss" or a measure → whose → steps and values
    settings: dict[str, Any] = field(default_factory=dict)  # empty where no record tells them
    best: int | None = None  # the step whose weights were kept
    sample: Callable[..., Tensor] | None = None  # (how many, seed=…) → samples, where there are weights


def report(
    run: str | Path,
    out: str | Path,
    *,
    aim: str | None = None,
    idea: str | None = None,
    conclusion: str | None = None,
    baseline: str | Path | None = None,
    samples: int = 8,
    seed: int = 0,
    pictures: str | Path | None = None,
) -> Path:
    """Write a report as Markdown with its pictures, and return its path; one that is there already stays as it is.

    Args:
        run: a recipe with weights, a JSON record, or a folder that holds one record or TensorBoard's log.
        out: folder for the report.
        aim, idea, conclusion: the person's part; "…" and a question stand where one is not given.
        baseline: a run to compare with.
        samples, seed: how many samples to show (the usual is 5 to 10), and their seed.
        pictures: a folder of samples to show instead, for a run without weights.

    Raises:
        ValueError: no such run, or it has no curve, or is damaged; no metric in common with the baseline.
        OSError: `out` is a file or has a report already; a file is missing.
    """
    out, count, seed = Path(out), require_count(samples, "samples"), require_count(seed, "seed", low=0)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out: expected a folder, came the file {out}")
    if (path := out / "report.md").exists():
        raise FileExistsError(f"out: expected a folder without a report, came {path}; name another folder")
    ours, base = read(run), None if baseline is None else read(baseline)
    compared = [BLANK["baseline"]] if base is None else _compared(ours, base)
    kept = "" if ours.best is None else f"; dotted: step {ours.best}, whose weights were kept"
    figures = {"curves.png": (curves(ours, base), f"By step: {', '.join(ours.curves)}{kept}")}
    if pictures is not None:
        figures["samples.png"] = draw(_pictures(Path(pictures), count)), f"Samples from the folder {pictures}"
    elif ours.sample is not None:
        x = ours.sample(count, seed=seed)
        x = ours.sample(CLOUD, seed=seed) if x.dim() == 2 else x
        figures["samples.png"] = draw(x), f"The first {len(x):,} samples with seed {seed}, none chosen"
    blocks = [
        f"# {ours.name}",
        viz.table(["run", ours.name], [*ours.facts.items()]).data,
        *("## Aim", aim or BLANK["aim"], "## Idea", idea or BLANK["idea"], "## Result"),
        viz.table(["metric", "value"], [*_values(ours).items()]).data,
        *(f"![{text}]({name})\n\n*{text}.*" for name, (_, text) in figures.items()),
        *([] if "samples.png" in figures else [BLANK["samples"]]),
        *("## Comparison with the baseline", *compared, "## Conclusion", conclusion or BLANK["conclusion"]),
    ]
    out.mkdir(parents=True, exist_ok=True)
    for name, (fig, _) in figures.items():
        fig.savefig(out / name, dpi=150, metadata={"Software": None})  # one run, one seed: the same bytes
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def read(run: str | Path) -> Run:
    """Read a run, see `report`."""
    if isinstance(run, str) and (name := run.replace("-", "_")) in recipes.names():
        return _recorded(weights.info(name), weights.HOME / f"{name}.json")
    path = Path(run)
    records = [path] if path.is_file() and path.suffix == ".json" else sorted(path.glob("*.json"))
    if len(records) > 1:
        raise ValueError(f"run: expected a folder with one record, came {', '.join(p.name for p in records)}; name one")
    if not records and not path.is_dir():
        what = "expected a recipe with weights, a folder that `dgm train` left, or a JSON record"
        raise ValueError(f"run: {what}, came {str(run)!r}{nearest(path.stem, weights.available())}")
    try:
        return _recorded(json.loads(records[0].read_bytes()), records[0]) if records else _logged(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{records[0]} is damaged: expected JSON, came this: {error}") from None


def curves(run: Run, baseline: Run | None = None) -> Figure:
    """Losses and measures of the validation data by step; of the baseline the measures of the same name."""
    count = len(run.curves)
    fig, axes = viz.figure(nrows=count, height=0.6 + 1.8 * count, sharex=True, squeeze=False)
    for ax, (name, own) in zip(axes.flat, run.curves.items(), strict=True):
        lines = dict(own)
        for whose, line in (baseline.curves.get(name, {}) if baseline else {}).items():
            if name != "loss" or whose == "validation":  # two games' losses have nothing to say to each other
                lines[f"{whose}, baseline".removeprefix("this run, ")] = line
        viz.curves(ax, lines, xlabel="step", ylabel=name, legend=len(lines) > 1)
        ax.label_outer()
        for line in ax.lines:
            line.set_marker("o" if len(line.get_xdata()) == 1 else "")
        if run.best is not None:
            ax.axvline(run.best, color=viz.MUTED, linewidth=1, linestyle=":")
    return fig


def draw(samples: Tensor) -> Figure:
    """Images (n, C, H, W) with values in [0, 1], eight a row, or points (n, 2)."""
    ncols, nrows = (4, 4) if samples.dim() == 2 else (min(8, len(samples)), -(-len(samples) // 8))
    fig, ax = viz.figure(width=ncols, height=nrows)
    if samples.dim() == 2:
        ax.scatter(*samples.detach().T.numpy(), s=3, color=viz.COLORS[0])
        ax.set_aspect("equal")
    else:
        viz.image_grid(ax, samples, ncols=ncols)
    return fig


def _recorded(record: Any, path: Path) -> Run:
    """A run from the record beside its weights."""
    curve = record.get("curve") if isinstance(record, dict) else None
    if not isinstance(curve, dict) or not (steps := curve.get("steps")):
        raise ValueError(f"{path}: expected a record with a curve, steps and the values at them; came none")
    try:
        lines = {"loss": {key: v for key in ("train", "validation", "critic", "generator") if (v := curve.get(key))}}
        lines |= {key: {"this run": values} for key, values in (curve.get("measures") or {}).items()}
        for name, group in (lines := {name: group for name, group in lines.items() if group}).items():
            lines[name] = {w: (steps, [float(y) for _, y in zip(steps, ys, strict=True)]) for w, ys in group.items()}
        metrics = {key: float(value) for key, value in record["metrics"].items()}
        if not lines:
            raise ValueError("a curve of steps alone")
        name, config, machine = (
            str(record.get("name", path.stem)),
            record.get("config") or {},
            record.get("machine") or {},
        )
        facts = {"data": record.get("data"), "seed": record.get("seed"), "steps": steps[-1]}
        settings = config and {**config, **facts}
        facts["settings"] = "; ".join(f"{key}: {value}" for key, value in config.items())
        place = machine.get("gpu") or f"{machine.get('cores', '?')} cores"
        facts["training"] = f"{record.get('seconds') or 0:,.0f} s on {place}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: expected a number a step and a metric, came: {error}") from None
    drawable = name in recipes.names() and name in weights.available(folder=path.parent)

    def sample(n: int, *, seed: int) -> Tensor:
        return recipes.get(name).sample(n, seed=seed, folder=path.parent)

    return Run(name, facts, metrics, lines, settings, curve.get("best"), sample if drawable else None)


def _logged(folder: Path) -> Run:
    """A run from TensorBoard's log; a recipe that trains several times leaves a subfolder for each."""
    places = sorted({file.parent for file in folder.rglob("events.out.tfevents*")})
    if not places:
        came = "W&B's own file" if any(folder.rglob("*.wandb")) else "neither"
        raise ValueError(f"{folder}: expected TensorBoard's log (--tracker tensorboard) or a JSON record, came {came}")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # what wrote it reads it

    run = Run(folder.resolve().name, {"log": folder.name}, {}, {})
    for place in places:
        log = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
        for tag in sorted(set(log.Tags()["scalars"]) - {"lr"}):
            panel, whose = ("loss", tag.removeprefix("loss/")) if "loss" in tag.lower() else (tag, "this run")
            whose += f" {place.name}" if len(places) > 1 else ""
            line = [event.step for event in log.Scalars(tag)], [event.value for event in log.Scalars(tag)]
            run.curves.setdefault(panel, {})[whose] = line
            run.metrics[f"{panel}, {whose}, last"], run.facts["steps"] = line[1][-1], line[0][-1]
    if not run.curves:
        raise ValueError(f"{folder}: expected a curve, came a log without a number in it")
    return run


def _pictures(folder: Path, count: int) -> Tensor:
    files = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in (".png", ".jpg", ".jpeg")][:count]
    arrays = [imread(file) for file in files]
    if len({array.shape for array in arrays}) != 1:
        came = ", ".join(f"{file.name} {array.shape}" for file, array in zip(files, arrays, strict=True))
        raise ValueError(f"pictures: expected .png or .jpg files of one size in {folder}, came {came or 'none'}")
    x = torch.stack([torch.tensor(array / (255 if array.dtype == "uint8" else 1)).float() for array in arrays])
    return x[:, None] if x.dim() == 3 else x[..., :3].permute(0, 3, 1, 2)


def _compared(run: Run, base: Run) -> list[str]:
    """The metrics in common, and the settings that differ."""
    ours, theirs = _values(run), _values(base)
    if not (common := [key for key in ours if key in theirs]):
        sides = " against ".join(", ".join([*values][:4]) for values in (ours, theirs))
        raise ValueError(f"baseline: expected a metric in common with the run, came {sides}")
    rows = [[key, ours[key], theirs[key], f"{run.metrics[key] - base.metrics[key]:+.3g}"] for key in common]
    every = {**run.settings, **base.settings} if run.settings and base.settings else {}
    pairs = [[key, *(one.settings.get(key, "not set") for one in (run, base))] for key in every]
    differ = [pair for pair in pairs if pair[1] != pair[2]]
    metrics = viz.table(["metric", run.name, f"{base.name} (baseline)", "difference"], rows).data
    return [metrics, *([viz.table(["setting that differs", run.name, base.name], differ).data] if differ else [])]


def _values(run: Run) -> dict[str, str]:
    """The metrics as text, each with its spread."""
    found = {key: f"{value:.4g}" for key, value in run.metrics.items() if not key.endswith(SPREADS)}
    for key in found:
        found[key] += "".join(f" ± {run.metrics[key + s]:.2g} ({s[2:]})" for s in SPREADS if key + s in run.metrics)
    return found
