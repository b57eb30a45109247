"""The loop: what it computes against hand-written loops, and that no kill, key or bad file changes a bit of it."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from dgm import training
from dgm.training import Average, batch_rows, chance, cosine, fit

CODE = Path(__file__).resolve().parents[1]


class Denoise(nn.Module):
    """Everything that makes resuming hard: noise in the loss, dropout, statistics in buffers."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3, bias=False)
        )
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def loss(self, x):
        self.calls += self.training
        return (self.net(x + torch.randn_like(x)) - x).square().mean()


class Line(nn.Module):
    """Least squares: the loss and its gradient are known in closed form."""

    def __init__(self, start=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.full((3,), start, dtype=torch.float64))

    def loss(self, x, y):
        return (x @ self.w - y).square().mean()


def rows(n=60, seed=1):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def pairs(n=40, seed=2):
    x = rows(n, seed).double()
    return x, x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 0.1 * rows(n, seed + 1)[:, 0].double()


def bits(model):
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: t.detach().clone() for name, t in named.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


HARD = {
    "batch_size": 16,
    "validation": rows(20, 3),
    "ema": 0.9,
    "keep_best": True,
    "clip": 0.5,
    "every": 5,
    "lr": 0.02,
    "schedule": cosine(23, warmup=3),
}


# --- what it computes -------------------------------------------------------------------------------------------


def test_full_batches_of_plain_descent_follow_the_formula():
    x, y = pairs()
    model, w = Line(), torch.zeros(3, dtype=torch.float64)
    history = fit(model, (x, y), steps=30, batch_size=1000, lr=0.1, optimizer=torch.optim.SGD, every=1)
    losses = []
    for _ in range(30):
        losses.append((x @ w - y).square().mean().item())
        w = w - 0.1 * 2 / len(x) * x.T @ (x @ w - y)
    torch.testing.assert_close(model.w.detach(), w)
    assert history.steps == list(range(1, 31))
    assert history.train == pytest.approx(losses)


def test_it_reaches_the_least_squares_solution():
    x, y = pairs()
    model = Line()
    fit(model, (x, y), steps=600, batch_size=40, lr=0.05, schedule=cosine(600))
    torch.testing.assert_close(model.w.detach(), torch.linalg.lstsq(x, y).solution, atol=1e-4, rtol=0)


def test_every_epoch_sees_every_row_once_and_epochs_differ():
    stream = torch.cat([batch_rows(10, 4, step, seed=7) for step in range(15)])
    epochs = stream.reshape(6, 10)
    assert torch.equal(epochs.sort(1).values, torch.arange(10).expand(6, 10))
    assert len({tuple(e.tolist()) for e in epochs}) == 6
    assert not torch.equal(stream[:10], torch.cat([batch_rows(10, 4, s, seed=8) for s in range(3)])[:10])


def test_the_rows_of_the_stream_reach_the_loss():
    seen = []
    data = torch.arange(10.0).unsqueeze(1)

    def loss(model, x):
        seen.append(x.flatten())
        return model(x).square().mean()

    fit(nn.Linear(1, 1), data, steps=7, batch_size=4, loss=loss, seed=7)
    assert torch.equal(torch.stack(seen).long(), torch.stack([batch_rows(10, 4, s, 7) for s in range(7)]))


def test_history_averages_the_losses_since_the_entry_before():
    x, y = pairs()
    fine = fit(Line(), (x, y), steps=11, batch_size=8, every=1)
    coarse = fit(Line(), (x, y), steps=11, batch_size=8, every=4)
    assert coarse.steps == [4, 8, 11]
    parts = [fine.train[:4], fine.train[4:8], fine.train[8:]]
    assert coarse.train == pytest.approx([sum(p) / len(p) for p in parts])
    assert json.loads(json.dumps(coarse.as_dict())) == coarse.as_dict()
    assert coarse.seconds > 0


def test_the_schedule_scales_the_rate_of_every_group():
    class Spy(torch.optim.SGD):
        seen: list = []  # noqa: RUF012

        def step(self, closure=None):
            self.seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    model = nn.Linear(2, 1)

    def two_groups(parameters, lr):
        assert {id(p) for p in parameters} == {id(p) for p in model.parameters()}
        return Spy([{"params": [model.weight], "lr": 10 * lr}, {"params": [model.bias]}], lr=lr)

    f = cosine(6, warmup=2)
    fit(
        model,
        torch.ones(4, 2),
        steps=6,
        lr=0.01,
        optimizer=two_groups,
        schedule=f,
        loss=lambda m, x: m(x).square().mean(),
    )
    torch.testing.assert_close(torch.tensor(Spy.seen), torch.tensor([[0.1 * f(s), 0.01 * f(s)] for s in range(6)]))


def test_cosine_against_its_corners():
    f = cosine(110, warmup=10, floor=0.2)
    rise = [f(s) for s in range(10)]
    assert rise == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert [f(10), f(60), f(110), f(500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    fall = [f(s) for s in range(10, 111)]
    assert fall == sorted(fall, reverse=True)
    for bad in ({"steps": 0}, {"steps": 5, "warmup": 5}, {"steps": 5, "floor": 2.0}, {"steps": 5, "warmup": -1}):
        with pytest.raises(ValueError, match=list(bad)[-1]):
            cosine(**bad)


def test_clipping_bounds_the_step_and_leaves_short_gradients_alone():
    x, y = pairs()
    steep = torch.autograd.grad((m := Line(50.0)).loss(x, y), m.w)[0]
    for clip in (0.5, 2 * steep.norm().item()):
        model = Line(50.0)
        fit(model, (x, y), steps=1, lr=0.01, optimizer=torch.optim.SGD, clip=clip, batch_size=40)
        expected = 50.0 - 0.01 * steep * min(1.0, clip / steep.norm().item())
        torch.testing.assert_close(model.w.detach(), expected, rtol=1e-6, atol=0)


def test_ema_against_the_sum_written_out():
    x, y = pairs()
    path = [torch.zeros(3, dtype=torch.float64)]
    for k in range(1, 21):
        fit(model := Line(), (x, y), steps=k, batch_size=8, lr=0.1)
        path.append(model.w.detach().clone())
    fit(model := Line(), (x, y), steps=20, batch_size=8, lr=0.1, ema=0.8)
    decays = [min(0.8, (1 + k) / (10 + k)) for k in range(20)]
    mean = math.prod(decays) * path[0]
    for k in range(20):
        mean = mean + (1 - decays[k]) * math.prod(decays[k + 1 :]) * path[k + 1]
    torch.testing.assert_close(model.w.detach(), mean)
    assert not torch.allclose(model.w.detach(), path[-1])


def test_average_lends_itself_and_takes_itself_back():
    model = nn.Linear(2, 2)
    average = Average(model, 0.9)
    first = bits(model)
    with torch.no_grad():
        model.weight += 1
    second = bits(model)
    with contextlib.suppress(RuntimeError), average.lent(model):
        assert same(bits(model), first)
        raise RuntimeError
    assert same(bits(model), second)


def test_validation_has_no_gradient_fixed_noise_and_changes_nothing():
    seen = []

    def loss(model, x):
        if not torch.is_grad_enabled():
            seen.append((model.training, torch.rand(())))
        return model.loss(x)

    fit(a := Denoise(), rows(), steps=12, batch_size=16, loss=loss, validation=rows(20, 3), every=4)
    fit(b := Denoise(), rows(), steps=12, batch_size=16, every=4)
    assert same(bits(a), bits(b))
    pieces = torch.stack([noise for _, noise in seen]).reshape(3, 2)  # three times, 20 rows in pieces of 16
    assert not any(mode for mode, _ in seen)
    assert torch.equal(pieces, pieces[:1].expand(3, 2))
    assert pieces[0, 0] != pieces[0, 1]


def test_validation_is_the_mean_over_all_examples():
    x, y = pairs()
    held = pairs(19, seed=9)
    history = fit(model := Line(), (x, y), steps=5, batch_size=8, validation=held)
    assert history.validation == pytest.approx([model.loss(*held).item()])


def test_keep_best_ends_with_the_weights_that_were_best():
    x, y = pairs()
    held = (x[:9], y[:9])
    options = {"batch_size": 3, "lr": 0.3, "every": 3, "validation": held}
    history = fit(model := Line(), (x, y), steps=60, keep_best=True, **options)
    best = min(history.validation)
    assert history.best == history.steps[history.validation.index(best)] < 60
    assert model.loss(*held).item() == pytest.approx(best)
    fit(last := Line(), (x, y), steps=history.best, **options)
    assert torch.equal(model.w, last.w)


def test_of_equals_the_earliest_is_best():
    history = fit(
        Line(),
        pairs(),
        steps=6,
        every=2,
        validation=pairs(),
        keep_best=True,
        loss=lambda m, x, y: m.loss(x, y) if torch.is_grad_enabled() else torch.ones(()),
    )
    assert history.best == 2


def test_frozen_parameters_stay_and_the_model_comes_back_in_eval_mode():
    model = Denoise()
    model.net[0].requires_grad_(False)
    before = bits(model)
    fit(model, rows(), steps=3)
    after = bits(model)
    assert torch.equal(before["net.0.weight"], after["net.0.weight"])
    assert not torch.equal(before["net.4.weight"], after["net.4.weight"])
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


# --- chance -----------------------------------------------------------------------------------------------------


def test_a_seed_is_a_result_and_the_callers_numbers_stay():
    models = [Denoise() for _ in range(3)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(models[0], rows(), steps=9, **{**HARD, "schedule": None})
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    fit(models[1], rows(), steps=9, **{**HARD, "schedule": None})
    fit(models[2], rows(), steps=9, seed=1, **{**HARD, "schedule": None})
    assert same(bits(models[0]), bits(models[1]))
    assert not same(bits(models[0]), bits(models[2]))


def test_the_callers_numbers_stay_when_the_loss_fails():
    def loss(model, x):
        torch.rand(3)
        raise RuntimeError("a bug")

    model = Denoise()
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="a bug"):
        fit(model, rows(), steps=2, loss=loss)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_step_has_noise_of_its_own_and_the_seed_decides_it():
    def noise(seed):
        seen = []

        def loss(model, x, y):
            seen.append(torch.rand(()).item())
            return model.loss(x, y)

        fit(Line(), pairs(), steps=20, loss=loss, seed=seed)
        return seen

    first = noise(0)
    assert len(set(first)) == 20
    assert noise(0) == first
    assert not set(noise(1)) & set(first)


def test_chance_differs_by_seed_step_and_process():
    places = [(s, step, p) for s in range(5) for step in range(50) for p in range(4)]
    assert len({chance(s, "step", step, p) & 0xFFFFFFFF for s, step, p in places}) == len(places)


# --- killed and resumed = never killed ---------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 5, 12, 22, 23])
@pytest.mark.parametrize("optimizer", [None, partial(torch.optim.SGD, momentum=0.9, nesterov=True), torch.optim.AdamW])
def test_resumed_is_never_stopped(tmp_path, stop, optimizer):
    whole = fit(never := Denoise(), rows(), steps=23, optimizer=optimizer, **HARD)
    path = tmp_path / "a folder" / "run.safetensors"
    fit(Denoise(), rows(), steps=stop, optimizer=optimizer, checkpoint=path, **HARD)
    with safe_open(path, "pt") as file:
        before = json.loads(file.metadata()[training.FORMAT])["history"]["seconds"]
    torch.rand(7)
    history = fit(again := Denoise(seed=99), rows(), steps=23, optimizer=optimizer, checkpoint=path, **HARD)
    assert same(bits(again), bits(never))
    assert history.seconds > before > 0
    assert history.best == whole.best or stop % 5  # stopping between two entries adds an entry
    if stop % 5 == 0 or stop == 23:
        assert (history.steps, history.train, history.validation) == (
            whole.steps,
            whole.train,
            whole.validation,
        )
    assert [p.name for p in path.parent.iterdir()] == ["run.safetensors"]


SCRIPT = """
import hashlib, os, random, signal, stat, sys, time
import torch
import accelerate, torch._dynamo  # once, before the forks
sys.path.insert(0, {tests!r})
from test_training import Denoise, rows, bits, HARD
from dgm import training

folder, mode = sys.argv[1], sys.argv[2]
options = dict(HARD, steps=60, every=3, schedule=training.cosine(60))

def child(path, kill_at=None, kill_when=None):
    '''Train in a process of its own; return its weights' hash, or None where it was killed.'''
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        fsync, replace, count = os.fsync, os.replace, [0]
        def maybe(name, function):
            def act(*args):
                count[0] += 1
                if kill_when == (name, count[0]):
                    if name == "fsync" and stat.S_ISREG(os.fstat(args[0]).st_mode):
                        os.ftruncate(args[0], 1000)  # the disk got part of it
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args)
            return act
        if kill_when:
            os.fsync, os.replace = maybe("fsync", fsync), maybe("replace", replace)
        def loss(model, x):
            os.write(writer, b"s")
            return model.loss(x)
        loss.__qualname__ = "loss"
        model = Denoise()
        history = training.fit(model, rows(), loss=loss, checkpoint=path, **options)
        text = repr([(k, v.tolist()) for k, v in bits(model).items()])
        text += repr((history.steps, history.train, history.validation, history.best))
        os.write(writer, b"=" + hashlib.sha256(text.encode()).hexdigest().encode())
        os._exit(0)
    os.close(writer)
    got, calls = b"", 0
    while piece := os.read(reader, 4096):
        got += piece
        calls = got.count(b"s")
        if kill_at and calls >= kill_at[0]:
            time.sleep(kill_at[1])
            os.kill(pid, signal.SIGKILL)
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return None
    assert status == 0, status
    return got.split(b"=")[1]

never = child(os.path.join(folder, "never"))
assert never == child(None)
random.seed(int(mode))
killed = 0
for trial in range(int(mode)):
    path = os.path.join(folder, f"run{{trial}}")
    for _ in range(3):  # each run is killed up to three times
        if trial % 3 == 0:
            moment = dict(kill_when=("fsync", random.randint(1, 10)))
        elif trial % 3 == 1:
            moment = dict(kill_when=("replace", random.randint(1, 5)))
        else:
            moment = dict(kill_at=(random.randint(1, 25), random.random() / 100))
        killed += child(path, **moment) is None
    assert child(path) == never, (trial, moment)
    left = [f for f in os.listdir(folder) if ".part" in f]
    assert not left, left
print("killed", killed)
"""


def run(script, *arguments, env=None, code=0):
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", **(env or {})},
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("runs", [3, pytest.param(24, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_same_call_ends_in_the_same_bits(tmp_path, runs):
    """SIGKILL in the middle of steps and of writes; weights, curves and the best step are the same."""
    out = run(SCRIPT.format(tests=str(Path(__file__).parent)), tmp_path, runs)
    assert int(re.search(r"killed (\d+)", out)[1]) >= runs  # of 3 · runs tried; a run may end first


def test_a_finished_checkpoint_gives_its_weights_without_training(tmp_path):
    path = tmp_path / "run"
    first = fit(a := Denoise(), rows(), steps=23, checkpoint=path, **HARD)
    stamp = path.stat().st_mtime_ns
    second = fit(b := Denoise(seed=4), rows(), steps=23, checkpoint=path, **HARD)
    assert same(bits(a), bits(b))
    assert path.stat().st_mtime_ns == stamp
    assert second.train == first.train


def test_ctrl_c_finishes_the_step_and_the_same_call_goes_on(tmp_path):
    whole = fit(never := Denoise(), rows(), steps=23, **HARD)
    path, count = tmp_path / "run", [0]

    class Pressed(Denoise):
        def loss(self, x):
            count[0] += self.training
            if count[0] == 8 and self.training:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(x)

    Pressed.__name__ = "Denoise"
    with pytest.raises(KeyboardInterrupt):
        fit(stopped := Pressed(), rows(), steps=23, checkpoint=path, **HARD)
    assert stopped.calls == 8
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    history = fit(again := Pressed(), rows(), steps=23, checkpoint=path, **HARD)
    assert count[0] == 23
    assert (history.train, history.validation) == (whole.train, whole.validation)
    assert same(bits(again), bits(never))


@pytest.mark.parametrize("with_buffers", [False, True])
def test_an_interrupt_inside_a_step_keeps_the_last_whole_one(tmp_path, with_buffers):
    """Raised by somebody else's handler: saved only if the broken step has changed nothing yet."""
    path, count = tmp_path / "run", [0]

    def loss(model, *batch):
        value = model.loss(*batch)
        count[0] += 1
        if count[0] == 8:
            raise KeyboardInterrupt
        return value

    make, data = (Denoise, rows()) if with_buffers else (Line, pairs())
    options = {"batch_size": 16, "every": 5, "loss": loss}
    fit(never := make(), data, steps=12, **{**options, "loss": lambda m, *b: m.loss(*b)})
    with pytest.raises(KeyboardInterrupt):
        fit(make(), data, steps=12, checkpoint=path, **options)
    fit(again := make(), data, steps=12, checkpoint=path, **options)
    assert count[0] == 8 + (7 if with_buffers else 5)
    assert same(bits(again), bits(never))


def test_an_interrupt_inside_an_update_keeps_the_last_whole_step(tmp_path):
    class Torn(torch.optim.SGD):
        def step(self, closure=None):
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            if len(tries) == 6:
                tries.append("last")
                raise KeyboardInterrupt
            tries.append("whole")
            return super().step(closure)

    tries = []
    options = {"optimizer": Torn, "lr": 0.1, "every": 2, "batch_size": 8}
    with pytest.raises(KeyboardInterrupt):
        fit(Line(), pairs(), steps=10, checkpoint=tmp_path / "run", **options)
    fit(again := Line(), pairs(), steps=10, checkpoint=tmp_path / "run", **options)
    fit(never := Line(), pairs(), steps=10, **options)
    assert torch.equal(again.w, never.w)


def test_a_second_ctrl_c_does_not_wait():
    def press(times):
        with training.Interrupt() as interrupt:
            for _ in range(times):
                pressed.append(interrupt.asked)
                os.kill(os.getpid(), signal.SIGINT)
            pressed.append("end")

    for times, seen in ((1, [False, "end"]), (2, [False, True])):  # one that nobody asked for is raised at the end
        pressed = []
        with pytest.raises(KeyboardInterrupt):
            press(times)
        assert pressed == seen
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_trains_in_another_thread():
    model = Denoise()
    thread = threading.Thread(target=fit, args=(model, rows()), kwargs={"steps": 3})
    thread.start()
    thread.join()
    assert model.calls == 3


# --- numbers that are none ---------------------------------------------------------------------------------------


def test_a_loss_that_is_nan_stops_and_names_the_step(tmp_path):
    path, count = tmp_path / "run", [0]

    def loss(model, x, y):
        count[0] += 1
        return model.loss(x, y) * (math.nan if count[0] == 8 else 1.0)

    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 8; .*run holds the last good"):
        fit(model := Line(), pairs(), steps=20, every=5, loss=loss, checkpoint=path)
    fit(five := Line(), pairs(), steps=5, every=5, loss=loss, checkpoint=path)
    fit(seven := Line(), pairs(), steps=7)
    assert torch.equal(model.w, seven.w)
    fit(expected := Line(), pairs(), steps=5)
    assert torch.equal(five.w, expected.w)
    assert count[0] == 8  # the checkpoint held all five


def test_weights_that_are_nan_never_reach_the_checkpoint(tmp_path):
    path = tmp_path / "run"

    def loss(model, x, y):  # finite, but its gradient at step 6 is not
        edge = (model.w[0] - model.w[0].detach()).abs().sqrt()
        return model.loss(x, y) + (edge if len(seen) == 5 else 0.0) * (seen.append(1) is None)

    seen = []
    with pytest.raises(FloatingPointError, match="a weight is nan at step 6"):
        fit(Line(), pairs(), steps=20, every=1, loss=loss, checkpoint=path)
    fit(five := Line(), pairs(), steps=5, every=1, loss=loss, checkpoint=path)
    assert torch.isfinite(five.w).all()
    with pytest.raises(FloatingPointError, match="the validation loss is inf at step 5"):
        fit(
            Line(),
            pairs(),
            steps=5,
            validation=pairs(),
            loss=lambda m, *b: m.loss(*b) * (1 if torch.is_grad_enabled() else math.inf),
        )


# --- bad input ---------------------------------------------------------------------------------------------------

BAD = [
    ({"steps": 0}, ValueError, "steps: expected at least 1, came 0"),
    ({"steps": 2.5}, TypeError, "steps: expected a whole number"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"lr": -1.0}, ValueError, "lr"),
    ({"lr": 0.0}, ValueError, "lr"),
    ({"lr": math.nan}, ValueError, "lr"),
    ({"lr": "fast"}, TypeError, "lr"),
    ({"clip": 0.0}, ValueError, "clip"),
    ({"ema": 1.0}, ValueError, r"ema: expected a number in \(0, 1\), came 1.0"),
    ({"ema": 0.0}, ValueError, "ema"),
    ({"ema": True}, TypeError, "ema"),
    ({"every": 0}, ValueError, "every"),
    ({"seed": -1}, ValueError, "seed"),
    ({"schedule": 0.5}, TypeError, "schedule"),
    ({"schedule": lambda step: -1.0}, ValueError, "schedule"),
    ({"schedule": lambda step: None}, TypeError, "schedule"),
    ({"optimizer": "adam"}, TypeError, "optimizer"),
    ({"loss": 3}, TypeError, "loss"),
    ({"loss": lambda m, x: 0.0}, TypeError, "loss: expected a tensor, came float"),
    ({"loss": lambda m, x: m.net(x)}, ValueError, r"loss: expected a scalar .* came shape \(60, 3\)"),
    ({"loss": lambda m, x: x.sum()}, ValueError, "loss: .* no parameter changes"),
    ({"keep_best": True}, ValueError, "keep_best: expected validation data"),
    ({"validation": torch.zeros(5, 4)}, ValueError, r"validation: .*\(3,\).*\(4,\)"),
    ({"validation": torch.zeros(5, 3).double()}, ValueError, "validation: .*float32.*float64"),
    ({"validation": (torch.zeros(5, 3), torch.zeros(5))}, ValueError, "validation"),
    ({"validation": torch.zeros(0, 3)}, ValueError, "validation"),
    ({"data": torch.zeros(0, 3)}, ValueError, "data: .* empty"),
    ({"data": torch.tensor(1.0)}, ValueError, "data"),
    ({"data": ()}, ValueError, "data: expected at least one tensor"),
    ({"data": [[1.0, 2.0]]}, TypeError, "data: expected a torch.Tensor, came list"),
    ({"data": (torch.zeros(4, 3), torch.zeros(5))}, ValueError, r"data: .*one first size.*\(4, 3\), \(5,\)"),
    ({"data": torch.full((4, 3), math.nan)}, ValueError, "data: expected finite"),
    ({"model": lambda x: x}, TypeError, "model: expected a torch.nn.Module"),
    ({"model": nn.Tanh()}, ValueError, "model: expected a parameter"),
    ({"model": nn.Linear(3, 3)}, TypeError, "loss: expected a function"),
    ({"tracker": "wandbb"}, ValueError, "tracker: 'wandbb' is not known .*'wandb'"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[str(case[2])[:40] for case in BAD])
def test_bad_input_is_named(change, error, message):
    call = {"model": Denoise(), "data": rows(), "steps": 2, **change}
    with pytest.raises(error, match=message):
        fit(call.pop("model"), call.pop("data"), **call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.03}, r"lr was 0.02, now 0.03 \(use"),
        ({"batch_size": 8}, "batch_size was 16, now 8"),
        ({"optimizer": torch.optim.SGD}, r"optimizer was 'Adam\(.*now 'SGD\("),
        ({"seed": 3}, "seed was 0, now 3"),
        ({"ema": None}, "ema was 0.9, now None"),
        ({"data": rows(seed=8)}, "data was "),
        ({"model": Line()}, "model was 'Denoise of 72 parameters .*, now 'Line of 3 parameters"),
        ({"schedule": cosine(23)}, "another schedule: its factor at step 0 is 0.333333, now 1"),
        ({"schedule": None}, "another schedule"),
        ({"steps": 9}, "steps: expected at least the 10 that .*run has done, came 9"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_checkpoint_of_other_settings_is_refused_with_what_differs(tmp_path, change, message):
    path = tmp_path / "run"
    fit(Denoise(), rows(), checkpoint=path, steps=10, **HARD)
    call = {"model": Denoise(), "data": rows(), "steps": 23, **HARD, **change}
    model = call.pop("model")
    before, kept = bits(model), path.read_bytes()
    loss = None if isinstance(model, Denoise) else (lambda m, x: m.w.square().sum())
    with pytest.raises(ValueError, match=message) as caught:
        fit(model, call.pop("data"), checkpoint=path, loss=loss, **call)
    assert str(path) in str(caught.value)
    assert same(bits(model), before)
    assert path.read_bytes() == kept


def test_damaged_and_foreign_checkpoints_are_named(tmp_path):
    path = tmp_path / "run"
    fit(Denoise(), rows(), checkpoint=path, steps=10, **HARD)
    whole = path.read_bytes()
    for broken in (b"", whole[:5], whole[:100], whole[: len(whole) // 2], whole[:-1], b"\xff" * 300):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=f"checkpoint: {path} is damaged .*delete it"):
            fit(Denoise(), rows(), checkpoint=path, steps=23, **HARD)
        assert path.read_bytes() == broken
    save_file({"w": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=f"{path} was not made by dgm.training"):
        fit(Denoise(), rows(), checkpoint=path, steps=23, **HARD)
    with pytest.raises(ValueError, match="expected a file, came the folder"):
        fit(Denoise(), rows(), checkpoint=tmp_path, steps=23, **HARD)


def test_an_optimizer_state_that_is_no_tensor_survives(tmp_path):
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                self.state[p]["count"] = self.state[p].get("count", 0) + 1
                assert isinstance(self.state[p]["count"], int)
            counts.append(self.state[p]["count"])
            return super().step(closure)

    counts = []
    for steps in (3, 5):
        fit(Line(), pairs(), steps=steps, optimizer=Counting, checkpoint=tmp_path / "run")
    assert counts == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("package", ["accelerate", "wandb"])
def test_a_missing_package_is_named_with_its_install_line(monkeypatch, tmp_path, package):
    find = training.importlib.util.find_spec
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ImportError, match=rf'package {package}: pip install "dgm-book\[train\]"'):
        fit(Denoise(), rows(), steps=1, log=tmp_path / "log", tracker="wandb")


# --- what is to be seen ------------------------------------------------------------------------------------------


def test_silent_where_nobody_looks_and_a_bar_where_asked(capfd):
    fit(Denoise(), rows(), steps=3, validation=rows(), every=1)
    assert capfd.readouterr() == ("", "")
    fit(Denoise(), rows(), steps=3, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "loss" in err


@pytest.mark.filterwarnings("ignore")  # of tensorboard's own imports
def test_tensorboard_holds_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = tmp_path / "runs" / "x"
    history = fit(Denoise(), rows(), steps=6, every=2, validation=rows(), log=log)
    events = EventAccumulator(str(log))
    events.Reload()
    for tag, values in (("loss/train", history.train), ("loss/validation", history.validation)):
        points = events.Scalars(tag)
        assert [p.step for p in points] == [2, 4, 6]
        assert [p.value for p in points] == pytest.approx(values)
    assert events.Scalars("lr")[0].value == pytest.approx(1e-3)


OFFLINE = """
import sys
sys.path.insert(0, {tests!r})
outside = []
def watch(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(arguments[1], tuple):
        if arguments[-1 if event == "socket.connect" else 0] not in ("localhost", "127.0.0.1", "::1", None):
            if not (event == "socket.connect" and arguments[1][0] in ("127.0.0.1", "::1")):
                outside.append((event, arguments[1:]))
sys.addaudithook(watch)
from test_training import Denoise, rows
from dgm.training import fit
import os
os.environ["WANDB_MODE"] = "online"
fit(Denoise(), rows(), steps=4, every=2, log=sys.argv[1], tracker="wandb")
import wandb
assert not outside, outside
"""


@pytest.mark.slow
def test_wandb_runs_offline(tmp_path):
    run(OFFLINE.format(tests=str(Path(__file__).parent)), tmp_path / "x", env={"WANDB_API_KEY": "0" * 40})
    assert len(list((tmp_path / "x" / "wandb").glob("offline-run-*/*.wandb"))) == 1


# --- many processes, other precision ------------------------------------------------------------------------------

LAUNCHED = """
import json, sys
sys.path.insert(0, {tests!r})
import torch
from test_training import Denoise, Line, bits, pairs, rows
from dgm.training import fit
import os
rank = os.environ.get("RANK", "0")
folder = sys.argv[1]
noise = []
def loss(model, x, y):
    noise.append(torch.rand(()).item())
    return model.loss(x, y)
model = Line()
fit(model, pairs(), steps=6, batch_size=8, loss=loss, checkpoint=folder + "/run", validation=pairs(9), every=3)
history = fit(model, pairs(), steps=12, batch_size=8, loss=loss, checkpoint=folder + "/run",
              validation=pairs(9), every=3, clip=None)
out = dict(w=model.w.tolist(), noise=noise, train=history.train, validation=history.validation)
try:
    fit(model, pairs(), steps=2, batch_size=7)
    out["odd"] = "accepted"
except ValueError as error:
    out["odd"] = str(error)
json.dump(out, open(f"{{folder}}/{{rank}}.json", "w"))
"""


@pytest.mark.slow
def test_two_processes_share_a_batch_and_have_noise_of_their_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED.format(tests=str(Path(__file__).parent)))
    env = {**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    plain = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    plain += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for launch, folder in ((plain, one), (pair, two)):  # several processes of a CPU are launched by torch
        command = [*launch, str(script), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
    alone = json.loads((one / "0.json").read_text())
    first, second = (json.loads((two / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["w"] == second["w"] == pytest.approx(alone["w"])
    assert first["train"] == second["train"] == pytest.approx(alone["train"])
    assert first["validation"] == second["validation"] == pytest.approx(alone["validation"])
    assert not set(first["noise"]) & set(second["noise"])
    assert "batch_size: expected a multiple of the 2 processes, came 7" in first["odd"]
    assert alone["odd"] == "accepted"


PRECISION = """
import sys
sys.path.insert(0, {tests!r})
import torch
from test_training import Denoise, rows
from dgm.training import fit
seen = set()
def loss(model, x):
    model.net[0].register_forward_hook(lambda m, i, o: seen.add(o.dtype))
    return model.loss(x)
fit(model := Denoise(), rows(), steps=2, loss=loss)
print(seen, model.net[0].weight.dtype)
"""


@pytest.mark.slow
def test_mixed_precision_comes_from_accelerates_configuration():
    out = run(PRECISION.format(tests=str(Path(__file__).parent)), env={"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert out.split() == ["{torch.bfloat16}", "torch.float32"]


def test_scripts_in_this_file_are_python():
    for script in (SCRIPT, OFFLINE, LAUNCHED, PRECISION):
        compile(textwrap.dedent(script.format(tests="x")), "script", "exec")
