"""Reports, from every form that a run can have."""

import json
import re
import warnings
from pathlib import Path

import matplotlib.image
import pytest
import torch
from typer.testing import CliRunner

from dgm import cli, recipes, weights
from dgm.report import BLANK, curves, draw, read, report

HEADS = ["Aim", "Idea", "Result", "Comparison with the baseline", "Conclusion"]
RECORD = {
    "name": "mine",
    "data": "points",
    "config": {"width": 4},
    "seed": 3,
    "seconds": 1.5,
    "curve": {"steps": [1, 2], "train": [2.0, 1.0], "validation": [], "best": 2},
    "metrics": {"loss": 0.123456, "loss, standard error": 0.01},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What two steps of `dgm train` with TensorBoard leave: weights with their record, and a log."""
    place = tmp_path_factory.mktemp("work")
    words = ["train", "avatar_classifier", "--steps", "2", "--out", str(place / "out"), "--runs", str(place / "runs")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's writer
        result = CliRunner().invoke(cli.app, [*words, "--tracker", "tensorboard"])
    assert result.exit_code == 0, result.output
    return place


def written(path):
    assert path.name == "report.md"
    text = path.read_text("utf8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADS
    shown = re.findall(r"!\[.+\]\((.+)\)", text)
    assert {p.name for p in path.parent.iterdir()} == {"report.md", *shown}
    for name in shown:
        assert matplotlib.image.imread(path.parent / name).std() > 0
    return text, shown


def record(folder, name="mine", **changes):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.json").write_text(json.dumps(RECORD | {"name": name} | changes))
    return folder / f"{name}.json"


def test_a_recipe_fills_all_but_what_a_person_says(tmp_path):
    text, shown = written(report("vae_plane", tmp_path / "new" / "folder", samples=5, seed=1))
    known = weights.info("vae_plane")
    assert shown == ["curves.png", "samples.png"]
    assert f"| test nats/image | {known['metrics']['test nats/image']:.4g} ± " in text
    assert "standard error |" not in text.replace("(standard error) |", "")
    assert "latent: 2; width: 16" in text
    assert "The first 5 samples with seed 1, none chosen" in text
    assert [key for key, blank in BLANK.items() if blank in text] == ["aim", "idea", "baseline", "conclusion"]


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in "ab":
        report("vae-plane", tmp_path / name)
    assert all((tmp_path / "b" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "a").iterdir())


def test_words_are_taken_and_the_baseline_stands_beside(tmp_path):
    words = {"aim": "An aim.", "idea": "An idea.", "conclusion": "It is so."}
    text, _ = written(report("sngan_digits", tmp_path, baseline="dcgan_digits", **words))
    assert "…" not in text
    assert all(f"\n\n{word}\n" in text for word in words.values())
    ours, theirs = (weights.info(name)["metrics"]["FD"] for name in ("sngan_digits", "dcgan_digits"))
    row = re.search(r"^\| FD \| ([\d.]+) ± .* \| ([\d.]+) ± .* \| (\S+) \|$", text, re.MULTILINE)
    assert [float(x) for x in row.groups()] == pytest.approx([ours, theirs, ours - theirs], rel=5e-3)
    assert "| lr | 0.001 | 0.0002 |" in text  # a setting that differs
    assert "| critic_steps | 3 | not set |" in text
    assert "| width |" not in text  # one that does not


def test_curves_hold_what_was_recorded(tmp_path):
    run, base = read("sngan_digits"), read("dcgan_digits")
    curve = weights.info("sngan_digits")["curve"]
    assert run.curves["FD"]["this run"] == (curve["steps"], curve["measures"]["FD"])
    loss, measure = curves(run, base).axes
    assert [line.get_label() for line in loss.lines][:2] == ["critic", "generator"]  # losses of two games: apart
    assert [line.get_label() for line in measure.lines][:2] == ["this run", "baseline"]
    assert list(measure.lines[0].get_ydata()) == curve["measures"]["FD"]
    (loss,) = curves(read("vae_digits"), read("vae_plane")).axes
    assert [line.get_label() for line in loss.lines][:3] == ["train", "validation", "validation, baseline"]


@pytest.mark.parametrize("form", ["folder", "record"])
def test_weights_of_ones_own_are_found_beside_their_record(trained, tmp_path, form):
    run = trained / "out" if form == "folder" else trained / "out" / "avatar_classifier.json"
    text, shown = written(report(run, tmp_path / "report"))
    assert shown == ["curves.png", "samples.png"]
    assert "| steps | 2 |" in text
    known = weights.info("avatar_classifier", folder=trained / "out")
    assert f"| test accuracy | {known['metrics']['test accuracy']:.4g}" in text


def test_a_log_is_read_and_its_samples_are_asked_for(trained, tmp_path):
    run, known = trained / "runs" / "avatar_classifier-0", weights.info("avatar_classifier", folder=trained / "out")
    text, shown = written(report(str(run), tmp_path / "report"))
    assert shown == ["curves.png"]
    assert BLANK["samples"] in text
    assert read(run).curves["loss"]["train"][0] == [2]
    assert read(run).metrics["loss, train, last"] == pytest.approx(known["curve"]["train"][-1], rel=1e-5)
    assert read(run).metrics["loss, validation, last"] == pytest.approx(known["curve"]["validation"][-1], rel=1e-5)
    text, _ = written(report(run, tmp_path / "again", baseline=run))
    assert "| loss, train, last |" in text.partition("## Comparison")[2]


def test_several_trainings_in_a_log_are_told_apart(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for i in range(2):
        with SummaryWriter(str(tmp_path / "mine-0" / "tensorboard" / str(i))) as log:
            log.add_scalar("loss/critic", 1.0 + i, 10)
            log.add_scalar("FD", 2.0 + i, 10)
            log.add_scalar("lr", 0.1, 10)
    run = read(tmp_path / "mine-0")
    assert run.curves["FD"] == {"this run 0": ([10], [2.0]), "this run 1": ([10], [3.0])}
    assert set(run.curves) == {"loss", "FD"}
    assert set(run.curves["loss"]) == {"critic 0", "critic 1"}


@pytest.mark.parametrize(("kind", "size"), [("png", (6, 4, 3)), ("png", (6, 4)), ("jpg", (6, 4, 3))])
def test_a_folder_of_pictures_stands_for_samples(tmp_path, kind, size):
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        matplotlib.image.imsave(tmp_path / "pictures" / f"{i}.{kind}", torch.rand(size).numpy())
    text, shown = written(report(record(tmp_path), tmp_path / "report", pictures=tmp_path / "pictures", samples=2))
    assert shown == ["curves.png", "samples.png"]
    assert "Samples from the folder" in text


def test_points_become_a_cloud():
    assert len(draw(torch.rand(50, 2)).axes[0].collections[0].get_offsets()) == 50


def test_every_recipe_with_weights_can_be_read():
    for name in set(weights.available()) & set(recipes.names()):
        run = read(name)
        assert run.curves
        assert run.metrics
        assert run.sample is not None


def test_a_record_without_a_recipe_is_enough(tmp_path):
    text, shown = written(report(record(tmp_path), tmp_path / "report"))
    assert shown == ["curves.png"]
    assert "| loss | 0.1235 ± 0.01 (standard error) |" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"curve": {}}, "mine.json: expected a record with a curve"),
        ({"curve": {"steps": [1, 2]}}, "a curve of steps alone"),
        ({"curve": {"steps": [1, 2], "train": [1.0]}}, "mine.json is damaged: expected a number a step"),
        ({"curve": {"steps": [1, 2], "train": [1.0, "two"]}}, "mine.json is damaged"),
        ({"curve": {"steps": 2, "train": [1.0]}}, "mine.json is damaged"),
        ({"metrics": {"loss": None}}, "mine.json is damaged"),
        ({"metrics": None}, "mine.json is damaged"),
        ({"config": ["width"]}, "mine.json is damaged"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else None,
)
def test_a_damaged_record_is_said(tmp_path, changes, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        report(record(tmp_path, **changes), tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe\x00", b"[1, 2]"])
def test_a_file_that_is_no_record_is_said(tmp_path, data):
    (tmp_path / "mine.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"mine\.json.* expected (JSON|a record)"):
        report(tmp_path / "mine.json", tmp_path / "report")


def test_what_is_no_run_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("wandb").mkdir()
    Path("wandb/run-1.wandb").write_bytes(b"0")
    Path("log").mkdir()
    Path("log/events.out.tfevents.1").write_bytes(b"")
    record(Path("two"), "one")
    record(Path("two"), "other")
    for run, says in {
        "vae_digitz": "came 'vae_digitz' (did you mean 'vae_digits'",
        "runs/none-0": "expected a recipe with weights, a folder that `dgm train` left, or a JSON record",
        "empty": "empty: expected TensorBoard's log (--tracker tensorboard) or a JSON record, came neither",
        "wandb": "came W&B's own file",
        "log": "log: expected a curve",
        "two": "expected a folder with one record, came one.json, other.json",
    }.items():
        with pytest.raises(ValueError, match=re.escape(says)):
            report(run, "report")
    with pytest.raises(ValueError, match=r"pictures: expected .* came none"):
        report("vae_plane", "report", pictures="empty")
    with pytest.raises(ValueError, match="samples: expected at least 1, came 0"):
        report("vae_plane", "report", samples=0)
    assert not Path("report").exists()


def test_a_recipe_without_weights_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "HOME", tmp_path)
    with pytest.raises(FileNotFoundError, match="make it again with: dgm train vae_plane"):
        report("vae_plane", tmp_path / "report")


def test_a_baseline_needs_a_metric_in_common(tmp_path):
    with pytest.raises(ValueError, match="baseline: expected a metric in common with the run, came loss against test"):
        report(record(tmp_path), tmp_path / "report", baseline="vae_plane")


def test_nothing_that_is_there_is_written_over(tmp_path):
    run = record(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="out: expected a folder, came the file"):
        report(run, tmp_path / "file")
    report(run, tmp_path / "report")
    (tmp_path / "report" / "report.md").write_text("written by a person")
    with pytest.raises(FileExistsError, match="name another folder"):
        report(run, tmp_path / "report")
    assert (tmp_path / "report" / "report.md").read_text() == "written by a person"
