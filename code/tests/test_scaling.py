"""Several processes: the run of one, at the same global batch; and what is left where one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dgm.training import Checkpoint, _Company, fit

CODE = Path(__file__).resolve().parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


class Diffuse(nn.Module):
    """Noise predicted from a noisy point and its time, with all that several processes might trip over."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 2))
        self.spare = nn.Linear(2, 2)  # in no loss
        self.late = nn.Linear(2, 2)  # only in the losses of examples that lie on the right
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def loss(self, x, t, noise):
        self.calls += self.training
        noisy = torch.cos(t) * x + torch.sin(t) * noise
        guess = self.net(torch.cat([noisy, t], 1))
        right = x[:, 0] > 1.3
        if right.any():
            guess = guess + self.late(noisy) * right[:, None]
        return (guess - noise).square().mean()


def points(n=64, seed=1):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def times_and_noise(n):
    return torch.rand(n, 1), torch.randn(n, 2)


PLAIN = {"steps": 40, "batch_size": 8, "lr": 0.02, "every": 1, "draws": times_and_noise}
OWN = PLAIN | {"draws": None, "loss": lambda model, x: model.loss(x, *times_and_noise(len(x)))}
FULL = PLAIN | {"ema": 0.9, "clip": 0.3, "validation": points(19, 2), "keep_best": True}


def trained(**options):
    """The curves and the weights of one training, as JSON can hold them."""
    history = fit(model := Diffuse(), points(), **options)
    weights = {name: p.tolist() for name, p in model.named_parameters()}
    return {"train": history.train, "validation": history.validation, "best": history.best, "weights": weights}


def launch(*script, flags=(), seconds=150, **env):
    """Run a script in two processes, as a reader would; return the exit status and what it said."""
    surroundings = {**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*LAUNCH, *flags, *map(str, script)],
        capture_output=True,
        text=True,
        env=surroundings | env,
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def written(folder, script):
    path = folder / "script.py"
    path.write_text(script.format(tests=str(Path(__file__).parent)))
    return path


def assert_near(one, two):
    """Equal to 1e-4: every entry of both curves relatively, every weight."""
    assert len(one["train"]) == len(two["train"])
    assert two["train"] == pytest.approx(one["train"], rel=1e-4, abs=0)
    assert two["validation"] == pytest.approx(one["validation"], rel=1e-4, abs=0)
    assert two["best"] == one["best"]
    for name, values in one["weights"].items():
        torch.testing.assert_close(torch.tensor(two["weights"][name]), torch.tensor(values), atol=1e-4, rtol=0)


# --- the same run ---------------------------------------------------------------------------------------------

SAME = """
import json, os, sys
sys.path.insert(0, {tests!r})
from test_scaling import FULL, OWN, PLAIN, trained
folder, rank = sys.argv[1], os.environ["RANK"]
out = [trained(**options) for options in (PLAIN, FULL, OWN)]
try:  # a checkpoint in a folder that each process has for itself; the first one writes
    for _ in range(2):
        trained(**PLAIN, checkpoint=f"{{folder}}/folder {{rank}}/run")
except ValueError as error:
    out.append(str(error))
json.dump(out, open(f"{{folder}}/{{rank}}.json", "w"))
"""


def test_two_processes_run_as_one_at_the_same_global_batch(tmp_path):
    status, said = launch(written(tmp_path, SAME), tmp_path)
    assert status == 0, said
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0][:3] == ranks[1][:3]
    plain, full, own, apart = ranks[0]
    assert_near(trained(**PLAIN), plain)
    assert_near(trained(**FULL), full)
    assert own["train"] != pytest.approx(trained(**OWN)["train"], rel=1e-2)  # noise that the loss draws itself
    assert "checkpoint: expected one file that all processes see" in apart
    assert "run at the steps 40, 0 (put it into a folder that the machines share)" in apart


def test_draws_are_those_of_the_step_and_follow_the_batch():
    seen = []

    def loss(model, x, t, noise):
        torch.rand(7)  # what a loss draws itself does not move the next draws
        seen.append((model.training, t.clone(), noise.clone()))
        return model.loss(x, t, noise)

    options = {"steps": 6, "batch_size": 16, "draws": times_and_noise, "validation": points(19, 2), "every": 3}
    for _ in range(2):
        fit(Diffuse(), points(), loss=loss, **options)
    fit(Diffuse(), points(), loss=loss, **options, seed=1)
    runs = [[(t, noise) for mode, t, noise in seen[k : k + 10] if mode] for k in (0, 10, 20)]
    assert [t.shape for t, _ in runs[0]] == [(16, 1)] * 6
    assert all(
        torch.equal(a, b) for one, two in zip(runs[0], runs[1], strict=True) for a, b in zip(one, two, strict=True)
    )
    everything = torch.cat([t for run in (runs[0], runs[2]) for t, _ in run])
    assert len(everything.unique()) == 2 * 6 * 16
    pieces = [(t, noise) for mode, t, noise in seen[:10] if not mode]
    assert [len(t) for t, _ in pieces] == [16, 3] * 2
    assert torch.equal(pieces[0][0], pieces[2][0])
    assert torch.equal(pieces[1][1], pieces[3][1])


def test_draws_are_part_of_a_checkpoint(tmp_path):
    def others(n):
        return times_and_noise(n)

    options = {"steps": 4, "checkpoint": tmp_path / "run"}
    fit(Diffuse(), points(), **options, draws=times_and_noise)
    with pytest.raises(ValueError, match="draws was 'times_and_noise', now '.*others'"):
        fit(Diffuse(), points(), **options, draws=others)


@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        (3, TypeError, "draws: expected a function of the number of examples, came 3"),
        (lambda n: torch.rand(n + 1, 1), ValueError, r"draws: expected tensors of first size 8, came shape \(9, 1\)"),
        (lambda n: torch.rand(()), ValueError, r"draws: expected tensors of first size 8, came shape \(\)"),
        (lambda n: (torch.rand(n), 0.5), TypeError, "draws: expected tensors, came float"),
        (lambda n: None, TypeError, "draws: expected tensors, came NoneType"),
        (lambda n: (), ValueError, "draws: expected at least one tensor, came none"),
    ],
)
def test_bad_draws_are_named(draws, error, message):
    with pytest.raises(error, match=message):
        fit(Diffuse(), points(), steps=2, batch_size=8, draws=draws)


# --- a worker is killed ---------------------------------------------------------------------------------------

KILLED = """
import json, os, signal, sys, time
import torch
sys.path.insert(0, {tests!r})
from test_scaling import FULL, trained
folder, victim, moment = sys.argv[1:]
rank, armed = os.environ["RANK"], victim != "nobody"
count = [0]
def loss(model, *batch):
    count[0] += model.training
    if armed and count[0] == 13 and model.training:
        if rank == victim and moment == "step":
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "slow step":
            os.kill(os.getpid(), signal.SIGKILL) if rank == victim else time.sleep(60)
        if rank == victim and moment == "bug":
            raise RuntimeError("mat1 and mat2 do not fit")
    return model.loss(*batch)
loss.__qualname__ = "loss"
replace, writes = os.replace, [0]
def torn(*names):
    writes[0] += 1
    if armed and moment == "write" and writes[0] == 3:  # at step 15
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(*names)
os.replace = torn
options = FULL | dict(every=5, loss=loss)
out = [trained(**options, checkpoint=folder + "/run")]
if not armed:
    out.append(trained(**options))  # never cut
    json.dump(out, open(f"{{folder}}/{{rank}}.json", "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "moment", "step"),
    [(0, "step", 13), (1, "step", 13), (0, "slow step", 13), (1, "slow step", 13), (0, "write", 16), (1, "bug", 13)],
)
def test_the_end_of_one_process_ends_the_run_and_the_same_command_goes_on(tmp_path, victim, moment, step):
    script = written(tmp_path, KILLED)
    # The launcher looks after its processes ten times a second, or so seldom that a collective fails first.
    flags = ["--monitor_interval", "0.1" if moment == "slow step" else "4"]
    status, said = launch(script, tmp_path, victim, moment, flags=flags)
    assert status != 0
    told = [line for line in said.splitlines() if "ConnectionError: another process of the run is gone" in line]
    assert len(told) == 1, said
    assert f"gone, in step {step} (" in told[0]
    assert told[0].endswith(f"; {tmp_path / 'run'} holds step 10, and the same command goes on from there")
    assert ("SIGTERM" in told[0]) == (moment == "slow step"), said
    assert ("mat1 and mat2 do not fit" in said) == (moment == "bug")
    status, said = launch(script, tmp_path, "nobody", moment)
    assert status == 0, said
    for rank in (0, 1):
        again, never = json.loads((tmp_path / f"{rank}.json").read_text())
        assert again == never
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def lost(company, step=None, saved=None):
    company.run = None if step is None else SimpleNamespace(done=step)
    company.saved = saved
    with pytest.raises(ConnectionError) as caught, company:
        raise RuntimeError(
            "[gloo/transport/pair.cc:545] Read error [::1]:653: Connection reset by peer. This is typical"
        )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return str(caught.value)


@pytest.fixture
def company():
    yield _Company(SimpleNamespace(num_processes=2))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_what_is_left_is_named(company, tmp_path):
    gone = "another process of the run is gone, {} (Read error [::1]:653: Connection reset by peer); {}"
    afresh = "no checkpoint was asked for, so the same command begins afresh"
    assert lost(company) == gone.format("before the first step", afresh)
    path = tmp_path / "run"
    saved = Checkpoint(path, {})
    afresh = f"{path} was not written yet, so the same command begins afresh"
    assert lost(company, 3, saved) == gone.format("in step 4", afresh)
    fit(Diffuse(), points(), steps=3, checkpoint=path, draws=times_and_noise)
    on = f"{path} holds step 3, and the same command goes on from there"
    assert lost(company, 4, saved) == gone.format("in step 5", on)


def test_other_errors_and_sigterm_stay_what_they_were(company):
    with pytest.raises(RuntimeError, match="mat1 and mat2"), company:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with company:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(ConnectionError, match=r"told this one to end: SIGTERM\)"), company:
        os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(RuntimeError, match="Connection closed by peer"), _Company(SimpleNamespace(num_processes=1)):
        raise RuntimeError("Connection closed by peer")


@pytest.mark.slow
def test_the_command_line_tidies_up_once(tmp_path):
    """`dgm train` as a module in two processes: one writes the weights, removes the checkpoint and speaks."""
    folder = tmp_path / "weights"
    words = ["-m", "dgm.cli", "train", "vae_plane", "--steps", "3", "--out", folder, "--runs", tmp_path / "runs"]
    status, said = launch(*words)
    assert status == 0, said
    assert said.count(f"{folder / 'vae_plane.safetensors'}: ") == 1
    assert "Warning" not in said
    assert sorted(p.name for p in folder.iterdir()) == ["vae_plane.json", "vae_plane.safetensors"]
    assert not list(tmp_path.glob("runs/**/*.safetensors"))


def test_scripts_in_this_file_are_python():
    for script in (SAME, KILLED):
        compile(textwrap.dedent(script.format(tests="x")), "script", "exec")
