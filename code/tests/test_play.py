"""The loop for two players: what it computes, that a stopped game goes on as if never stopped, what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from dgm.training import Average, batch_rows, cosine, fit, play

CODE = Path(__file__).resolve().parents[1]


class Bilinear(nn.Module):
    """min over y, max over x of x·y: every update is known in closed form."""

    def __init__(self, x=1.0, y=0.5):
        super().__init__()
        self.critic, self.generator = nn.Module(), nn.Module()
        self.critic.x = nn.Parameter(torch.tensor(x, dtype=torch.float64))
        self.generator.y = nn.Parameter(torch.tensor(y, dtype=torch.float64))
        self.asked, self.seen = [], []

    def critic_loss(self, data):
        self.asked.append((self.critic.x.requires_grad, self.generator.y.requires_grad))
        self.seen.append(data.flatten())
        return -self.critic.x * self.generator.y

    def generator_loss(self, n):
        self.asked.append((self.critic.x.requires_grad, self.generator.y.requires_grad))
        self.seen.append(n)
        return self.critic.x * self.generator.y

    def constrain(self):
        self.seen.append("rule")


class Noisy(nn.Module):
    """Everything that makes resuming hard: noise, batch statistics, spectral norms, in both networks."""

    def __init__(self, seed=0, calls=None):
        super().__init__()
        torch.manual_seed(seed)
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
        first = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8))
        self.critic = nn.Sequential(first, nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
        self.calls = [] if calls is None else calls

    def critic_loss(self, x):
        self.calls.append("critic")
        with torch.no_grad():
            fake = self.sample(len(x))
        return nn.functional.softplus(-self.critic(x)).mean() + nn.functional.softplus(self.critic(fake)).mean()

    def generator_loss(self, n):
        self.calls.append("generator")
        return nn.functional.softplus(-self.critic(self.sample(n))).mean()

    def constrain(self):
        with torch.no_grad():
            self.critic[4].weight.clamp_(-0.2, 0.2)

    def sample(self, n):
        return self.generator(torch.randn(n, 2))


def rows(n=60, seed=1):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def spread(game):
    return {"spread": game.sample(50).std(), "noise": torch.rand(())}


def bits(model):
    return {
        name: t.detach().clone()
        for name, t in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


HARD = {
    "critic_steps": 2,
    "batch_size": 16,
    "lr": (0.01, 0.02),
    "ema": 0.9,
    "measure": spread,
    "keep_best": "spread",
    "clip": 0.5,
    "every": 5,
    "schedule": cosine(23, warmup=3),
}


# --- what it computes -----------------------------------------------------------------------------------------


def test_alternating_descent_follows_the_formula():
    game, x, y = Bilinear(), 1.0, 0.5
    history = play(game, rows(), steps=20, critic_steps=3, lr=(0.1, 0.2), optimizer=torch.optim.SGD, every=1)
    critic, generator = [], []
    for _ in range(20):
        losses = []
        for _ in range(3):
            losses.append(-x * y)
            x += 0.1 * y
        critic.append(sum(losses) / 3)
        generator.append(x * y)
        y -= 0.2 * x
    assert game.critic.x.item() == pytest.approx(x, abs=1e-12)
    assert game.generator.y.item() == pytest.approx(y, abs=1e-12)
    assert history.critic == pytest.approx(critic)
    assert history.generator == pytest.approx(generator)
    assert history.steps == list(range(1, 21))


def test_each_player_alone_has_gradients_and_sees_what_it_should():
    game, data = Bilinear(), torch.arange(10.0)[:, None]
    play(game, data, steps=4, critic_steps=2, batch_size=4, seed=7)
    assert game.asked == [(True, False), (True, False), (False, True)] * 4
    seen = [entry for entry in game.seen if isinstance(entry, torch.Tensor)]
    assert torch.equal(torch.stack(seen).long(), torch.stack([batch_rows(10, 4, k, 7) for k in range(8)]))
    words = ["data" if isinstance(entry, torch.Tensor) else entry for entry in game.seen]
    assert words == ["data", "rule", "data", "rule", 4] * 4
    assert game.critic.x.requires_grad
    assert game.generator.y.requires_grad
    assert not game.training


def test_frozen_weights_stay_frozen():
    game = Noisy()
    game.critic[4].bias.requires_grad_(False)
    before = game.critic[4].bias.clone()
    play(game, rows(), steps=3)
    assert torch.equal(game.critic[4].bias, before)
    assert not game.critic[4].bias.requires_grad


def test_the_default_is_adam_with_little_memory_of_direction():
    made = []

    def watch(parameters, lr):
        made.append(lr)
        return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999))

    play(a := Noisy(), rows(), steps=5)
    play(b := Noisy(), rows(), steps=5, optimizer=watch)
    assert same(bits(a), bits(b))
    assert made == [2e-4, 2e-4]


def test_the_rule_holds_after_the_game():
    play(game := Noisy(), rows(), steps=30, lr=0.1)
    assert game.critic[4].weight.abs().max() <= 0.2


def test_the_mean_of_the_generator_alone_is_kept():
    weights, game = [], Noisy()
    average = Average(game.generator, 0.8)

    def step_by_step(loss):
        def act(*arguments):
            weights.append(bits(game.generator))
            return loss(*arguments)

        return act

    play(plain := Noisy(), rows(), steps=6, every=1, measure=lambda g: weights.append(bits(g.generator)) or {})
    for step, state in enumerate(weights):
        for name, p in game.generator.named_parameters():
            p.data = state[name].clone()
        average.update(game.generator, step)
    play(other := Noisy(), rows(), steps=6, every=1, ema=0.8)
    for name, p in other.generator.named_parameters():
        torch.testing.assert_close(p.detach(), average.means[name])
    assert same(bits(plain.critic), bits(other.critic))


def test_measuring_changes_nothing_and_has_the_same_chance_each_time():
    modes = []

    def look(game):
        modes.append((game.training, torch.is_grad_enabled()))
        return spread(game)

    history = play(a := Noisy(), rows(), steps=9, every=2, measure=look)
    play(b := Noisy(), rows(), steps=9, every=2)
    assert same(bits(a), bits(b))
    assert modes == [(False, False)] * 5
    assert history.steps == [2, 4, 6, 8, 9]
    assert len(set(history.measures["spread"])) == 5
    assert len(set(history.measures["noise"])) == 1


def test_keep_best_ends_with_the_weights_that_measured_best():
    kept = {}

    def look(game):
        value = abs(len(kept) - 2)
        kept[len(kept)] = bits(game)
        return {"distance": value}

    history = play(game := Noisy(), rows(), steps=10, every=2, ema=0.9, measure=look, keep_best="distance")
    assert history.best == 6
    assert same(bits(game), kept[2])


# --- a game that was stopped ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 5, 12, 23])
def test_resumed_is_never_stopped(tmp_path, stop):
    between = stop not in (5, 23)  # stopping between two entries adds an entry, which might be the best
    options = HARD | ({"keep_best": None} if between else {})
    whole = play(never := Noisy(), rows(), steps=23, **options)
    path = tmp_path / "run.safetensors"
    play(Noisy(), rows(), steps=stop, checkpoint=path, **options)
    history = play(again := Noisy(seed=5), rows(), steps=23, checkpoint=path, **options)
    assert same(bits(again), bits(never))
    if not between:
        assert history.as_dict() | {"seconds": 0} == whole.as_dict() | {"seconds": 0}


@pytest.mark.parametrize("call", [3, 7, 9, 24])
def test_ctrl_c_finishes_the_step_and_the_same_call_goes_on(tmp_path, call):
    """Pressed in a critic's or a generator's update: all updates of the step are still made."""
    whole = play(never := Noisy(), rows(), steps=23, **HARD)

    class Pressed(Noisy):
        def critic_loss(self, x):
            if len(self.calls) == call:
                os.kill(os.getpid(), signal.SIGINT)
            return super().critic_loss(x)

        def generator_loss(self, n):
            if len(self.calls) == call:
                os.kill(os.getpid(), signal.SIGINT)
            return super().generator_loss(n)

    Pressed.__name__ = "Noisy"
    calls, path = [], tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        play(Pressed(calls=calls), rows(), steps=23, checkpoint=path, **HARD)
    assert len(calls) == 3 * (call // 3 + 1)
    history = play(again := Pressed(seed=3, calls=calls), rows(), steps=23, checkpoint=path, **HARD)
    assert len(calls) == 3 * 23
    assert same(bits(again), bits(never))
    assert history.measures == whole.measures


def test_an_interrupt_between_two_updates_keeps_the_last_whole_step(tmp_path):
    class Broken(Bilinear):
        def generator_loss(self, n):
            if len(self.asked) == 3 * 5 - 1:
                self.asked.append(None)
                raise KeyboardInterrupt  # by somebody else's handler, after the critic has moved
            return super().generator_loss(n)

    options = {"critic_steps": 2, "lr": 0.1, "every": 2, "optimizer": torch.optim.SGD}
    broken = Broken()
    Broken.__name__ = "Bilinear"
    with pytest.raises(KeyboardInterrupt):
        play(broken, rows(), steps=9, checkpoint=tmp_path / "run", **options)
    assert broken.critic.x.requires_grad
    assert broken.generator.y.requires_grad
    play(again := Bilinear(), rows(), steps=9, checkpoint=tmp_path / "run", **options)
    play(never := Bilinear(), rows(), steps=9, **options)
    assert len(again.asked) == 3 * 5
    assert same(bits(again), bits(never))


# --- what it refuses ------------------------------------------------------------------------------------------


class NoRule(nn.Module):
    generator, critic = nn.Linear(1, 1), nn.Linear(1, 1)
    critic_loss = generator_loss = staticmethod(lambda x: x)


class NoCritic(Bilinear):
    def __init__(self):
        super().__init__()
        self.critic = None


BAD = {
    "steps": ({"steps": 0}, ValueError, "steps: expected at least 1"),
    "critic_steps": ({"critic_steps": 0}, ValueError, "critic_steps: expected at least 1"),
    "critic_steps, no number": ({"critic_steps": 1.5}, TypeError, "critic_steps: expected a whole number"),
    "lr": ({"lr": (0.1, -1.0)}, ValueError, "lr: expected a finite number"),
    "three lr": ({"lr": (0.1, 0.1, 0.1)}, ValueError, "lr: expected one number or two"),
    "ema": ({"ema": 1.0}, ValueError, "ema: expected a number in (0, 1)"),
    "keep_best": ({"keep_best": "FD"}, ValueError, "keep_best: expected a function `measure` beside it"),
    "keep_best's name": ({"keep_best": "sprad", "measure": spread}, ValueError, "did you mean 'spread'"),
    "data": ({"data": rows() * float("nan")}, ValueError, "data: expected finite values, came NaN"),
    "game": ({"game": nn.Linear(3, 1)}, TypeError, "game: expected a module with a method 'critic_loss'"),
    "no rule": ({"game": NoRule()}, TypeError, "game: expected a module with a method 'constrain'"),
    "no critic": ({"game": NoCritic()}, TypeError, "game.critic: expected a torch.nn.Module, came None"),
    "frozen": ({"game": Noisy().requires_grad_(False)}, ValueError, "game.critic: expected a parameter"),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(change, error, message):
    options = {"game": Noisy(), "data": rows(), "steps": 2} | change
    with pytest.raises(error, match=re.escape(message)):
        play(options.pop("game"), options.pop("data"), **options)


def test_a_loss_that_is_not_finite_stops_and_names_the_step(tmp_path):
    class Broken(Noisy):
        def generator_loss(self, n):
            return super().generator_loss(n) * (float("nan") if len(self.calls) > 7 else 1)

    game, path = Broken(), tmp_path / "run"
    with pytest.raises(FloatingPointError, match=rf"the loss is nan at step 4; {re.escape(str(path))} holds"):
        play(game, rows(), steps=9, every=2, checkpoint=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"critic_steps": 1}, "critic_steps was 2, now 1"),
        ({"lr": 0.01}, "lr was [0.01, 0.02], now [0.01, 0.01]"),
        ({"keep_best": None}, "keep_best was 'spread', now None"),
        ({"batch_size": 8}, "batch_size was 16, now 8"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change, message):
    play(Noisy(), rows(), steps=3, checkpoint=tmp_path / "run", **HARD)
    with pytest.raises(ValueError, match=re.escape(message)):
        play(Noisy(), rows(), steps=3, checkpoint=tmp_path / "run", **HARD | change)


def test_a_checkpoint_of_a_fit_is_refused(tmp_path):
    fit(nn.Linear(3, 3), rows(), steps=2, loss=lambda m, x: m(x).square().mean(), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="made with other settings"):
        play(Noisy(), rows(), steps=3, checkpoint=tmp_path / "run")


@pytest.mark.filterwarnings("ignore")  # of tensorboard's own imports
def test_tensorboard_holds_both_losses_and_what_was_measured(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    play(Noisy(), rows(), steps=6, every=2, measure=spread, log=tmp_path / "log")
    found = EventAccumulator(str(tmp_path / "log"))
    found.Reload()
    assert {"loss/critic", "loss/generator", "spread", "lr"} <= set(found.Tags()["scalars"])


# --- many processes -------------------------------------------------------------------------------------------

LAUNCHED = """
import json, os, sys
sys.path.insert(0, {tests!r})
import torch
from test_play import HARD, Noisy, bits, rows
from dgm.training import play
options = HARD | {{"ema": None, "keep_best": None}}
noise = []
class Watched(Noisy):
    def critic_loss(self, x):
        noise.append(torch.rand(()).item())
        return super().critic_loss(x)
history = play(game := Watched(), rows(), steps=8, **options)
out = dict(weights=dict((k, v.tolist()) for k, v in game.named_parameters()), noise=noise, critic=history.critic)
json.dump(out, open(f"{{sys.argv[1]}}/{{os.environ['RANK']}}.json", "w"))
"""


@pytest.mark.slow
def test_two_processes_hold_the_same_weights_and_have_noise_of_their_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED.format(tests=str(Path(__file__).parent)))
    env = {**os.environ, "PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=env, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["critic"] == second["critic"]
    assert not set(first["noise"]) & set(second["noise"])


def test_scripts_in_this_file_are_python():
    compile(textwrap.dedent(LAUNCHED.format(tests="x")), "script", "exec")
