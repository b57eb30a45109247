"""One training loop for every model and every game: the same on a CPU, on a GPU and under ``accelerate launch``.

A step is a pure function of (weights, seed, number of the step): it draws its examples and its noise from a
source of chance made from the seed and that number. So a run that was killed and taken up again ends in the
same bits as one that never stopped, and a call to `fit` leaves the caller's own random numbers where they
were.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack
from torch import Tensor, nn

from dgm.checks import require, require_choice, require_count, require_number
from dgm.weights import write_whole

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[..., Tensor]
Draws = Callable[[int], Tensor | Sequence[Tensor]]
Schedule = Callable[[int], float]
INSTALL = 'pip install "dgm-book[train]"'
TRACKERS = ("tensorboard", "wandb")
FORMAT = "dgm.training 1"
LOST = re.compile(r"gloo/transport|NCCL|connection (closed|reset|refused)|broken pipe|socket closed", re.IGNORECASE)
"""How a collective says that another process is gone."""


@dataclass
class History:
    """How a training went; one entry a logged step in each list."""

    steps: list[int] = field(default_factory=list)  # steps done by then
    train: list[float] = field(default_factory=list)  # mean loss of the steps since the entry before
    validation: list[float] = field(default_factory=list)  # empty without validation data
    best: int | None = None  # the step whose weights were kept (keep_best)
    seconds: float = 0.0  # of all calls together, where a run was taken up again

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


@dataclass
class GameHistory:
    """How a game went; one entry a logged step in each list."""

    steps: list[int] = field(default_factory=list)  # steps done by then
    critic: list[float] = field(default_factory=list)  # mean loss of the updates since the entry before
    generator: list[float] = field(default_factory=list)  # the same; neither says how good the samples are
    measures: dict[str, list[float]] = field(default_factory=dict)  # what `measure` gave, by name
    best: int | None = None  # the step whose weights were kept (keep_best)
    seconds: float = 0.0  # of all calls together, where a run was taken up again

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


# --- the loop -----------------------------------------------------------------------------------------------


def fit(
    model: nn.Module,
    data: Tensor | Sequence[Tensor],
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Schedule | None = None,
    loss: Loss | None = None,
    draws: Draws | None = None,
    clip: float | None = None,
    ema: float | None = None,
    validation: Tensor | Sequence[Tensor] | None = None,
    every: int = 100,
    keep_best: bool = False,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    log: str | Path | None = None,
    tracker: str = "tensorboard",
    progress: bool | None = None,
) -> History:
    r"""Lower the mean loss in `steps` steps of gradient descent; the model ends trained, in eval mode.

    Each step takes the next `batch_size` examples of a stream in which every epoch is a fresh permutation of
    the data, so that all examples are seen equally often. Under ``accelerate launch`` the processes share
    each batch. What a loss draws itself is then other noise in each of them; what `draws` drew for it is the same
    as in one process, and so is the run. Mixed precision follows accelerate's configuration.

    Args:
        model: what to train: all parameters with ``requires_grad``.
        data: a tensor, or several of equal first size; a batch is passed to the loss as ``loss(model,
            *batch)``.
        steps: steps in all, those of an earlier call that left a checkpoint included.
        batch_size: examples a step, over all processes; at most all of them.
        lr: step size given to the optimizer.
        optimizer: called as ``optimizer(parameters, lr=lr)``, `functools.partial` gives it other settings;
            Adam where none is given.
        schedule: factor of the step size as a function of the steps done, such as `cosine`.
        loss: ``loss(model, *batch)`` -> scalar; ``model.loss(*batch)`` where none is given.
        draws: ``draws(batch_size)`` -> a tensor or several of that first size, the chance of a whole batch: times and
            noise, say. They follow the batch, ``loss(model, *batch, *draws)``; a process gets those of its examples.
        clip: largest Euclidean norm of the gradient; a longer one is scaled down to it.
        ema: decay $\lambda$ in (0, 1) of the running mean of the weights, see `Average`. Validation and the
            end use the mean.
        validation: as `data`; its mean loss is measured without gradient, in eval mode, each time on the same
            noise.
        every: steps between two entries of the history, with validation and checkpoint at the same time.
        keep_best: end with the weights that were best on the validation data.
        checkpoint: one file from which the same call goes on if it was cut off at any moment. It is left in
            place; a finished one gives its weights without training.
        seed: of the order of examples and of all noise.
        log: folder for curves to look at while it trains.
        tracker: what writes them, ``"tensorboard"`` or ``"wandb"`` (offline: it asks nothing of the network).
        progress: show a bar; on a terminal only where not said.

    Raises:
        TypeError, ValueError: a bad argument, or a checkpoint that is damaged or was made with other
            settings.
        FloatingPointError: the loss or the weights are no longer finite; the last checkpoint is left as it
            was.
        KeyboardInterrupt: Ctrl-C; the running step is finished first and the checkpoint written.
        ConnectionError: another process of the run is gone; the message names the step that the checkpoint holds.
        ImportError: accelerate is missing; the message holds the line that installs it.
    """
    train = _examples(data, "data")
    held = None if validation is None else _examples(validation, "validation", like=train)
    common = _checked(steps, every, batch_size, len(train[0]), seed, clip, ema, schedule, optimizer)
    lr = require_number(lr, "lr", low=0.0, open_low=True)
    if keep_best and held is None:
        raise ValueError("keep_best: expected validation data beside it, came none")
    parameters = _trainable(model, "model")
    if not callable(model.loss if loss is None and hasattr(model, "loss") else loss):
        raise TypeError(f"loss: expected a function (or a model with a method 'loss'), came {loss!r}")
    if draws is not None and not callable(draws):
        raise TypeError(f"draws: expected a function of the number of examples, came {draws!r}")

    accelerator = _accelerator(log, tracker)
    with _moved(model, accelerator.device), _Company(accelerator) as company:
        raw = (optimizer or torch.optim.Adam)(parameters, lr=lr)
        saved = None
        if checkpoint is not None:
            settings = {
                "model": _portrait(model),
                "loss": "model.loss" if loss is None else _called(loss),
                "draws": None if draws is None else _called(draws),
                "optimizer": _settings_of(raw, lr),
                "data": _fingerprint(train),
                "validation": None if held is None else _fingerprint(held),
                "lr": lr,
                "keep_best": keep_best,
            }
            saved = company.saved = Checkpoint(checkpoint, settings | common.settings(accelerator))
        player = _Player.prepared(accelerator, "train", "step", _Objective(model, loss), raw, parameters)
        average = None if ema is None else Average(model, ema)
        run = company.run = _Run(model, model, [player], average, schedule, accelerator.scaler, History())

        def log_entry(entry: dict[str, float]) -> dict[str, float]:
            history = run.history
            history.train.append(entry["loss/train"])
            if held is None:
                return {}
            value = run.validate(player.objective, held, draws, common.size, common.seed, accelerator)
            _stop_if_broken(value, "the validation loss", run, saved)
            if keep_best and value < min(history.validation, default=math.inf):
                run.keep_this()
            history.validation.append(value)
            return {"loss/validation": value}

        _loop(run, train, common, log_entry, accelerator, saved, draws=draws, log=log, progress=progress)
    return run.history


class Game(Protocol):
    """What `play` needs of a module: two players, a loss for each, and perhaps a rule for one of them."""

    generator: nn.Module
    critic: nn.Module

    def critic_loss(self, x: Tensor) -> Tensor:
        """What the critic lowers, on real examples x (B, …) and as many samples: a scalar."""

    def generator_loss(self, n: int) -> Tensor:
        """What the generator lowers, on `n` samples: a scalar."""

    def constrain(self) -> None:
        """Called after each update of the critic: clips its weights, say."""


def play(
    game: nn.Module,
    data: Tensor,
    *,
    steps: int,
    critic_steps: int = 1,
    batch_size: int = 64,
    lr: float | tuple[float, float] = 2e-4,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Schedule | None = None,
    clip: float | None = None,
    ema: float | None = None,
    measure: Callable[[Any], Mapping[str, float]] | None = None,
    every: int = 100,
    keep_best: str | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    log: str | Path | None = None,
    tracker: str = "tensorboard",
    progress: bool | None = None,
) -> GameHistory:
    r"""Play a game of two networks: each step updates the critic `critic_steps` times, then the generator once.

    Everything else is as in `fit`: the stream of data, chance, checkpoints, several processes. The game ends trained,
    in eval mode.

    Args:
        game: a module with `generator`, `critic`, `critic_loss`, `generator_loss` and `constrain`, see `Game`.
        data: real examples, one tensor.
        steps: updates of the generator in all, those of an earlier call that left a checkpoint included.
        critic_steps: updates of the critic before each, every one on fresh examples.
        batch_size: examples an update, over all processes.
        lr: step size of both, or (critic's, generator's).
        optimizer: as for `fit`, made once for each player; Adam with β = (0.5, 0.999) where none is given.
        schedule, clip: as for `fit`, the same for both players.
        ema: decay of the running mean of the *generator's* weights; `measure` and the end use the mean.
        measure: called as ``measure(game)`` in eval mode without gradient at every entry of the history, on the same
            chance each time; its numbers go into the history by name. It may draw pictures as well.
        every: steps between two entries of the history.
        keep_best: end with the weights that had the smallest number of this name from `measure`: the losses of a game
            do not say when its samples were best.
        checkpoint, seed, log, tracker, progress: as for `fit`.

    Raises:
        as `fit`.

    Source:
        Ian Goodfellow and others (2014), Generative Adversarial Nets, algorithm 1.
    """
    train = _examples(data, "data")
    common = _checked(steps, every, batch_size, len(train[0]), seed, clip, ema, schedule, optimizer)
    critic_steps = require_count(critic_steps, "critic_steps")
    pair = lr if isinstance(lr, tuple) else (lr, lr)
    if len(pair) != 2:
        raise ValueError(f"lr: expected one number or two, came {lr!r}")
    rates = [require_number(rate, "lr", low=0.0, open_low=True) for rate in pair]
    for name in ("critic_loss", "generator_loss", "constrain"):
        if not callable(getattr(game, name, None)):
            raise TypeError(f"game: expected a module with a method {name!r}, came {type(game).__name__}")
    rules = cast(Game, game)
    if keep_best is not None and measure is None:
        raise ValueError("keep_best: expected a function `measure` beside it, came none")
    trained = [_trainable(getattr(game, side, None), f"game.{side}") for side in ("critic", "generator")]

    accelerator = _accelerator(log, tracker)
    with _moved(game, accelerator.device), _Company(accelerator) as company:
        make = optimizer or _adam_of_games
        raws = [make(parameters, lr=rate) for parameters, rate in zip(trained, rates, strict=True)]
        saved = None
        if checkpoint is not None:
            settings = {
                "game": _portrait(game),
                "optimizer": [_settings_of(raw, rate) for raw, rate in zip(raws, rates, strict=True)],
                "data": _fingerprint(train),
                "lr": rates,
                "critic_steps": critic_steps,
                "measure": None if measure is None else _called(measure),
                "keep_best": keep_best,
            }
            saved = company.saved = Checkpoint(checkpoint, settings | common.settings(accelerator))
        # Each objective holds one player's parameters alone, so that several processes exchange no others.
        sides = (
            ("critic", _Objective(rules.critic, lambda _, x: rules.critic_loss(x)), critic_steps),
            ("generator", _Objective(rules.generator, lambda _, x: rules.generator_loss(len(x))), 1),
        )
        players = [
            _Player.prepared(accelerator, name, name, objective, raw, parameters, updates)
            for (name, objective, updates), raw, parameters in zip(sides, raws, trained, strict=True)
        ]
        players[0].after = rules.constrain
        average = None if ema is None else Average(rules.generator, ema)
        run = _Run(game, rules.generator, players, average, schedule, accelerator.scaler, GameHistory())
        company.run = run

        def log_entry(entry: dict[str, float]) -> dict[str, float]:
            history = run.history
            history.critic.append(entry["loss/critic"])
            history.generator.append(entry["loss/generator"])
            if measure is None:
                return {}
            with run.at_rest():
                reseed(common.seed, "measure")
                numbers = {name: float(value) for name, value in measure(game).items()}
            if keep_best is not None:
                score = numbers[require_choice(keep_best, "keep_best", numbers)]
                if score < min(history.measures.get(keep_best, []), default=math.inf):
                    run.keep_this()
            for name, value in numbers.items():
                history.measures.setdefault(name, []).append(value)
            return numbers

        _loop(run, train, common, log_entry, accelerator, saved, log=log, progress=progress)
    return run.history


def _adam_of_games(parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam with little memory of direction: the other player turns the slope at every step (Radford et al. 2016)."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999))


@dataclass
class _Common:
    """The arguments that `fit` and `play` share, checked."""

    steps: int
    every: int
    size: int  # of a batch
    seed: int
    clip: float | None
    ema: float | None

    def settings(self, accelerator: Accelerator) -> dict[str, Any]:
        """What a checkpoint must have been made with as well."""
        return {
            "batch_size": self.size,
            "clip": self.clip,
            "ema": self.ema,
            "every": self.every,
            "seed": self.seed,
            "processes": accelerator.num_processes,
            "precision": accelerator.mixed_precision,
        }


def _checked(
    steps: int,
    every: int,
    batch_size: int,
    rows: int,
    seed: int,
    clip: float | None,
    ema: float | None,
    schedule: Schedule | None,
    optimizer: Callable[..., torch.optim.Optimizer] | None,
) -> _Common:
    steps, every = require_count(steps, "steps"), require_count(every, "every")
    size = min(require_count(batch_size, "batch_size"), rows)
    seed = require_count(seed, "seed", low=0)
    if clip is not None:
        clip = require_number(clip, "clip", low=0.0, open_low=True)
    if ema is not None and not 0.0 < require_number(ema, "ema") < 1.0:
        raise ValueError(f"ema: expected a number in (0, 1), came {ema!r}")
    if schedule is not None and not callable(schedule):
        raise TypeError(f"schedule: expected a function of the step, came {schedule!r}")
    if optimizer is not None and not callable(optimizer):
        raise TypeError(f"optimizer: expected a function (parameters, lr=…), came {type(optimizer).__name__}")
    return _Common(steps, every, size, seed, clip, ema)


def _trainable(model: object, name: str) -> list[nn.Parameter]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name}: expected a torch.nn.Module, came {model!r}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{name}: expected a parameter with requires_grad, came none")
    return parameters


def _stop_if_broken(value: float, what: str, run: _Run, saved: Checkpoint | None) -> None:
    if not math.isfinite(value):
        left = f"; {saved.path} holds the last good step" if saved and saved.path.exists() else ""
        raise FloatingPointError(f"{what} is {value} at step {run.done + 1}{left}")


def _loop(
    run: _Run,
    train: Sequence[Tensor],
    common: _Common,
    log_entry: Callable[[dict[str, float]], dict[str, float]],
    accelerator: Accelerator,
    saved: Checkpoint | None,
    *,
    draws: Draws | None = None,
    log: str | Path | None,
    progress: bool | None,
) -> None:
    """Take `run` from where it is (or where its checkpoint was) to its last step, and settle it.

    `log_entry` gets the mean losses of the steps since the entry before, writes them into the history, and gives what
    was measured beside them.
    """
    world, rank, device = accelerator.num_processes, accelerator.process_index, accelerator.device
    if common.size % world:
        raise ValueError(f"batch_size: expected a multiple of the {world} processes, came {common.size}")
    if saved is not None:
        run.resume(saved, common.steps)
        found = accelerator.gather(torch.tensor([run.done], device=device)).tolist() if world > 1 else []
        if len(set(found)) > 1:
            raise ValueError(
                f"checkpoint: expected one file that all processes see, came {saved.path} at the steps"
                f" {', '.join(map(str, found))} (put it into a folder that the machines share)"
            )
    history, began = run.history, time.perf_counter() - run.history.seconds

    def keep() -> None:
        history.seconds = time.perf_counter() - began
        if saved is not None and accelerator.is_main_process:
            saved.write(*run.contents())

    whole, versions = True, _versions(run.model)  # is the run as a step left it?
    try:
        with (
            untouched(),
            Interrupt() as interrupt,
            _trackers(accelerator, log),
            _bar(accelerator, progress, run.done, common.steps) as show,
        ):
            run.model.train()
            while run.done < common.steps:
                stop, factor = False, run.factor(run.done)
                for player, update in run.turns():
                    number = run.done * player.updates + update
                    mine = batch_rows(len(train[0]), common.size, number, common.seed)[rank::world]
                    batch = [x[mine.to(x.device)].to(device) for x in train]
                    if draws is not None:
                        reseed(common.seed, "draws", number)  # alike in every process
                        batch += [x[rank::world].to(device) for x in _drawn(draws, common.size)]
                    reseed(common.seed, player.place, number, rank)
                    value = player.objective(*batch)
                    # Loss and Ctrl-C go over all processes, so that all stop at the same step.
                    total, asked = _sum(accelerator, _scalar(value).item(), interrupt.asked)
                    stop = stop or bool(asked)
                    _stop_if_broken(level := total / world, "the loss", run, saved)
                    accelerator.backward(value)
                    if common.clip is not None:
                        accelerator.clip_grad_norm_(player.parameters, common.clip)
                    for group, rate in zip(player.raw.param_groups, player.rates, strict=True):
                        group["lr"] = rate * factor

                    whole = False
                    player.stepper.step()
                    player.stepper.zero_grad()
                    if player.after is not None:
                        player.after()
                    player.losses.append(level)
                if run.average is not None:
                    run.average.update(run.averaged, run.done)
                if logged := (run.done + 1) % common.every == 0 or run.done + 1 == common.steps:
                    finite = all(_finite(player.parameters) for player in run.players)
                    _stop_if_broken(0.0 if finite else math.nan, "a weight", run, saved)
                    entry = {f"loss/{p.name}": math.fsum(p.losses) / len(p.losses) for p in run.players}
                    history.steps.append(run.done + 1)
                    entry |= log_entry(entry) | {"lr": run.players[-1].raw.param_groups[0]["lr"]}
                    for player in run.players:
                        player.losses.clear()
                    accelerator.log(entry, step=run.done + 1)
                run.done += 1
                whole, versions = True, _versions(run.model)

                show(level)
                if logged:
                    keep()
                if stop:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        # One that comes in the middle of a step leaves the checkpoint as it was: nothing goes on from half a step.
        if whole and versions == _versions(run.model):
            keep()
        raise
    finally:
        run.release()
    run.settle()
    history.seconds = time.perf_counter() - began


# --- chance -------------------------------------------------------------------------------------------------


def chance(seed: int, *where: str | int) -> int:
    """Return the seed of one place in a run: a hash of the run's seed and of what is drawn there.

    >>> chance(0, "step", 1) == chance(0, "step", 1), chance(0, "step", 1) == chance(0, "step", 2)
    (True, False)
    """
    digest = hashlib.blake2b(repr((seed, *where)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes 63 bits on every device


def reseed(seed: int, *where: str | int) -> None:
    """Start torch's own random numbers afresh at one place of a run."""
    # Not torch.manual_seed, which costs more than a small step: it looks for every kind of device.
    torch.default_generator.manual_seed(number := chance(seed, *where))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextmanager
def untouched() -> Iterator[None]:
    """Give torch's random numbers back as they were, whatever is drawn inside (CPU and CUDA)."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


def batch_rows(n: int, size: int, step: int, seed: int) -> Tensor:
    """Return the rows of the batch of a step, shape (size,), from the step's number alone.

    Epoch after epoch, each a permutation of the `n` rows, makes one endless stream; batch number `step` is
    its entries from ``step · size`` on. A batch may reach into the next epoch, so no row is left out and all
    are seen equally often.

    >>> torch.cat([batch_rows(6, 4, step, seed=0) for step in range(3)]).bincount()
    tensor([2, 2, 2, 2, 2, 2])
    """
    rows = torch.empty(0, dtype=torch.int64)
    while len(rows) < size:
        epoch, start = divmod(step * size + len(rows), n)
        rows = torch.cat([rows, _permutation(n, seed, epoch)[start : start + size - len(rows)]])
    return rows


@lru_cache(maxsize=2)
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(chance(seed, "epoch", epoch)))


# --- step size and mean -------------------------------------------------------------------------------------


def cosine(steps: int, *, warmup: int = 0, floor: float = 0.0) -> Schedule:
    r"""Return a schedule: up in a line over `warmup` steps, down as half a cosine to `floor` at `steps`.

    $$ f(s) = \tfrac{s + 1}{w} \text{ for } s < w, \qquad
       f(s) = f_0 + \tfrac{1 - f_0}{2} \bigl(1 + \cos \pi \tfrac{s - w}{S - w}\bigr) \text{ after.} $$

    Args:
        steps: the steps of the training, $S$.
        warmup: the steps of the rise, $w < S$.
        floor: the last factor, $f_0$ in [0, 1].

    Source: I. Loshchilov, F. Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts.

    >>> f = cosine(10, warmup=2)
    >>> [round(f(s), 3) for s in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    steps, warmup = require_count(steps, "steps"), require_count(warmup, "warmup", low=0)
    floor = require_number(floor, "floor", low=0.0, high=1.0)
    if warmup >= steps:
        raise ValueError(f"warmup: expected fewer than the {steps} steps, came {warmup}")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        angle = math.pi * min(1.0, (step - warmup) / (steps - warmup))
        return floor + (1 - floor) * (1 + math.cos(angle)) / 2

    return factor


class Average:
    r"""The running mean of the weights, $\bar\theta \leftarrow \lambda \bar\theta + (1 - \lambda) \theta$.

    In the first steps $\lambda$ is smaller, $\min(\lambda, \frac{1 + k}{10 + k})$ at step $k$, so that the
    mean does not remember the random weights it began with. Buffers are not averaged.

    Source: B. Polyak, A. Juditsky (1992), Acceleration of Stochastic Approximation by Averaging.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.means = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (the first is 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, p in model.named_parameters():
            self.means[name].lerp_(p, share)

    @contextmanager
    def lent(self, model: nn.Module) -> Iterator[None]:
        """Put the mean into the model for a while."""
        own = {name: p.detach().clone() for name, p in model.named_parameters()}
        _fill(model, self.means)
        try:
            yield
        finally:
            _fill(model, own)


# --- what a run consists of ---------------------------------------------------------------------------------


class _Objective(nn.Module):
    """The loss as the `forward` of a module, where accelerate hooks in (mixed precision, several
    processes)."""

    def __init__(self, model: nn.Module, loss: Loss | None) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        # Several processes look for weights that a step does not use, see `_accelerator`; torch warns where it finds
        # none, so one is given to it.
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, *batch: Tensor) -> Tensor:
        if self.loss is None:
            return self.model.loss(*batch)  # type: ignore[operator]
        return self.loss(self.model, *batch)


@dataclass
class _Player:
    """One side of a training: what it changes and what it lowers. A model that is fitted plays alone."""

    name: str  # of its loss in the history
    place: str  # of its chance, see `chance`
    objective: nn.Module  # as accelerate prepared it, like the stepper
    stepper: Any
    raw: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    rates: list[float]
    updates: int = 1  # a step
    after: Callable[[], None] | None = None
    losses: list[float] = field(default_factory=list)  # of the updates since the last entry of the history

    @classmethod
    def prepared(
        cls,
        accelerator: Accelerator,
        name: str,
        place: str,
        objective: nn.Module,
        raw: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        updates: int = 1,
    ) -> _Player:
        """A player whose objective and optimizer have gone through accelerate."""
        objective, stepper = accelerator.prepare(objective, raw)
        return cls(
            name, place, objective, stepper, raw, parameters, [group["lr"] for group in raw.param_groups], updates
        )


@dataclass
class _Run:
    """Everything that changes while a model trains, as one thing to save and to restore."""

    model: nn.Module
    averaged: nn.Module  # the part whose weights `average` follows
    players: list[_Player]
    average: Average | None
    schedule: Schedule | None
    scaler: Any  # of the gradients in float16, None elsewhere
    history: Any  # a History or a GameHistory
    done: int = 0
    best: dict[str, Tensor] | None = None

    def factor(self, step: int) -> float:
        """The factor of the step size."""
        return 1.0 if self.schedule is None else require_number(self.schedule(step), "schedule", low=0.0)

    def turns(self) -> Iterator[tuple[_Player, int]]:
        """The updates of one step; while one player moves, the weights of the others ask for no gradient."""
        for player in self.players:
            for other in self.players if len(self.players) > 1 else ():
                for parameter in other.parameters:
                    parameter.requires_grad_(other is player)
            for update in range(player.updates):
                yield player, update

    def release(self) -> None:
        """Let all players' weights ask for gradients again."""
        for player in self.players:
            for parameter in player.parameters:
                parameter.requires_grad_(True)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """The model in eval mode, with averaged weights, without gradient."""
        self.model.eval()
        try:
            with torch.no_grad(), self.average.lent(self.averaged) if self.average else nullcontext():
                yield
        finally:
            self.model.train()

    def validate(
        self,
        objective: nn.Module,
        held: Sequence[Tensor],
        draws: Draws | None,
        size: int,
        seed: int,
        accelerator: Accelerator,
    ) -> float:
        """The mean loss over `held`, with the averaged weights, on noise that is the same every time."""
        objective = accelerator.unwrap_model(objective)
        total = 0.0
        with self.at_rest():
            pieces = list(zip(*(x.split(size) for x in held), strict=True))
            for i in range(accelerator.process_index, len(pieces), accelerator.num_processes):
                piece = list(pieces[i])
                if draws is not None:
                    reseed(seed, "draws", "validation", i)
                    piece += _drawn(draws, len(piece[0]))
                reseed(seed, "validation", i)
                value = objective(*(x.to(accelerator.device) for x in piece))
                total += _scalar(value).item() * len(piece[0])
        return _sum(accelerator, total)[0] / len(held[0])

    def _means(self) -> dict[str, Tensor]:
        """The averaged weights, under their names in the whole model."""
        if self.average is None:
            return {}
        own = {id(p): name for name, p in self.model.named_parameters()}
        return {own[id(p)]: self.average.means[name] for name, p in self.averaged.named_parameters()}

    def keep_this(self) -> None:
        """Remember the weights after the running step as the best so far."""
        means = self._means()
        self.history.best = self.done + 1
        self.best = {name: means.get(name, t).detach().clone() for name, t in _content(self.model).items()}

    def settle(self) -> None:
        """Leave in the model the weights to use: the best, else the averaged, else the last."""
        _fill(self.model, self._means() if self.best is None else self.best)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All of it as tensors with names and as what JSON can hold."""
        groups = {"model": _content(self.model), "optimizer": {}}
        others: dict[str, Any] = {}
        for player in self.players:
            for index, entries in player.raw.state_dict()["state"].items():
                for name, value in entries.items():
                    place = groups["optimizer"] if isinstance(value, Tensor) else others
                    place[f"{player.name}/{index}/{name}"] = value
        groups |= {"average": self.average.means} if self.average else {}
        groups |= {"best": self.best} if self.best else {}
        probes = sorted({round(i * max(0, self.done - 1) / 8) for i in range(9)}) if self.done else []
        return {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}, {
            "done": self.done,
            "losses": {player.name: player.losses for player in self.players},
            "history": self.history.as_dict(),
            "optimizer": others,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "factors": [[step, self.factor(step)] for step in probes],
        }

    def resume(self, saved: Checkpoint, steps: int) -> None:
        """Take up what was saved, if anything was; all is checked before anything is changed."""
        if (found := saved.read()) is None:
            return
        (tensors, record), path = found, saved.path
        if record["done"] > steps:
            raise ValueError(f"steps: expected at least the {record['done']} that {path} has done, came {steps}")
        for step, then in record["factors"]:
            if not math.isclose(now := self.factor(step), then, rel_tol=1e-9, abs_tol=1e-12):
                raise ValueError(
                    f"checkpoint: {path} was made with another schedule: its factor at step {step} is"
                    f" {then:g}, now {now:g} (use that, or delete it to start afresh)"
                )
        groups: dict[str, dict[str, Tensor]] = {}
        for name, t in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = t
        own = {name: tuple(t.shape) for name, t in _content(self.model).items()}
        if own != {name: tuple(t.shape) for name, t in groups["model"].items()}:
            raise ValueError(f"checkpoint: {path} holds other tensors than the model; delete it to start afresh")
        _fill(self.model, groups["model"])
        if self.average is not None:
            self.average.means = {k: t.to(self.average.means[k].device) for k, t in groups["average"].items()}
        if "best" in groups:
            device = next(self.model.parameters()).device
            self.best = {name: t.to(device) for name, t in groups["best"].items()}
        for player in self.players:
            state: dict[int, dict[str, Any]] = {}
            for name, value in (groups.get("optimizer", {}) | record["optimizer"]).items():
                whose, index, rest = name.split("/", 2)
                if whose == player.name:
                    state.setdefault(int(index), {})[rest] = value
            player.raw.load_state_dict(player.raw.state_dict() | {"state": state})
            player.losses = record["losses"][player.name]
        if self.scaler:
            self.scaler.load_state_dict(record["scaler"])
        self.done, self.history = record["done"], type(self.history)(**record["history"])


def _content(model: nn.Module) -> dict[str, Tensor]:
    """Everything that a step may change, buffers that `state_dict` leaves out included."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


@torch.no_grad()
def _fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    own = _content(model)
    for name, value in values.items():
        own[name].copy_(value)


# --- the checkpoint -----------------------------------------------------------------------------------------


class Checkpoint:
    """A run as one safetensors file, tensors and a JSON header, that is replaced whole or not at all.

    Args:
        path: the file.
        settings: what the run depends on; a file that was made with others is refused.

    Raises:
        ValueError: `path` is a folder.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))
        if self.path.is_dir():
            raise ValueError(f"checkpoint: expected a file, came the folder {self.path}")

    def write(self, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> None:
        """Replace the file."""
        whole = {k: t.detach().cpu().clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}
        text = json.dumps({"settings": self.settings, **record}, allow_nan=False)
        for litter in self.path.parent.glob(f".{self.path.name}.*.part"):  # of runs killed while they wrote
            litter.unlink(missing_ok=True)
        write_whole(self.path, pack(whole, {FORMAT: text}))

    def done(self) -> int | None:
        """Return the steps that the file holds, or None where there is none to read."""
        try:
            with safe_open(self.path, "pt") as file:
                return int(json.loads((file.metadata() or {})[FORMAT])["done"])
        except (SafetensorError, OSError, ValueError, KeyError):
            return None

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was written, or None where there is no file.

        Raises:
            ValueError: the file is damaged, is something else, or was made with other settings.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                header = (file.metadata() or {}).get(FORMAT)
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"checkpoint: {self.path} is damaged ({error}); delete it to start afresh") from None
        if header is None:
            raise ValueError(f"checkpoint: {self.path} was not made by dgm.training; name another file")
        record = json.loads(header)
        then = record.pop("settings")
        differ = [
            f"{key} was {then.get(key)!r}, now {self.settings.get(key)!r}"
            for key in {**self.settings, **then}
            if then.get(key) != self.settings.get(key)
        ]
        if differ:
            raise ValueError(
                f"checkpoint: {self.path} was made with other settings: {'; '.join(differ)}"
                " (use those, or delete it to start afresh)"
            )
        return tensors, record


def _portrait(model: nn.Module) -> str:
    """The model's class, size, and a hash of its structure."""
    content = _content(model)
    shapes = [(name, tuple(t.shape), str(t.dtype)) for name, t in content.items()]
    structure = re.sub(r" at 0x[0-9a-f]+", "", repr(model)) + repr(shapes)
    digest = hashlib.sha256(structure.encode()).hexdigest()[:8]
    return f"{type(model).__name__} of {sum(p.numel() for p in model.parameters()):,} parameters ({digest})"


def _settings_of(optimizer: torch.optim.Optimizer, lr: float) -> str:
    """The optimizer's class and what its groups are set to, without what is off and the common step size."""
    groups = [
        ", ".join(
            f"{k}={v}"
            for k, v in group.items()
            if k != "params" and v is not None and v is not False and (k, v) != ("lr", lr)
        )
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__}({' | '.join(groups)})"


def _fingerprint(tensors: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    for x in tensors:
        digest.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    shapes = " ".join(f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in tensors)
    return f"{shapes} ({digest.hexdigest()[:8]})"


# --- round about --------------------------------------------------------------------------------------------


class Interrupt:
    """Ctrl-C waits for the end of the step, which asks `asked`; a second one does not wait.

    Only where Ctrl-C means what it means by default, and in the main thread (Python allows it nowhere else).
    """

    def __init__(self) -> None:
        self.asked = False
        self._ours = False

    def __enter__(self) -> Interrupt:
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._ours = default and threading.current_thread() is threading.main_thread()
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.asked and kind is None:  # it came after the last step had asked
            raise KeyboardInterrupt


class _Company:
    """Where another process of the run is gone, this one ends with an error that says so, and what is left.

    It learns of it in one of two ways: a collective fails, or the launcher, which saw it first, sends SIGTERM. In a
    run of one process nothing is changed.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.run: _Run | None = None
        self.saved: Checkpoint | None = None
        self._many = accelerator.num_processes > 1
        self._ours = False  # is SIGTERM answered here?

    def __enter__(self) -> _Company:
        default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        self._ours = self._many and default and threading.current_thread() is threading.main_thread()
        if self._ours:
            signal.signal(signal.SIGTERM, self._told)
        return self

    def _told(self, number: int, frame: FrameType | None) -> None:
        raise self._gone("its launcher told this one to end: SIGTERM")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self._many and isinstance(error, RuntimeError) and (LOST.search(str(error)) or _is_of_network(error)):
            lines = [line for line in str(error).splitlines() if LOST.search(line)] or [str(error).partition("\n")[0]]
            # Gloo begins with a line of its source, in brackets, and ends with advice.
            raise self._gone(re.sub(r"^\[[^]]*\] ", "", lines[0].strip()).partition(". ")[0]) from None
        if self._ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _gone(self, how: str) -> ConnectionError:
        if self._ours:  # the launcher's SIGTERM must not cut the message off; its SIGKILL comes half a minute later
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._ours = False
        where = "before the first step" if self.run is None else f"in step {self.run.done + 1}"
        done = None if self.saved is None else self.saved.done()
        if self.saved is None:
            left = "no checkpoint was asked for, so the same command begins afresh"
        elif done is None:
            left = f"{self.saved.path} was not written yet, so the same command begins afresh"
        else:
            left = f"{self.saved.path} holds step {done}, and the same command goes on from there"
        return ConnectionError(f"another process of the run is gone, {where} ({how}); {left}")


def _is_of_network(error: BaseException) -> bool:
    return torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _drawn(draws: Draws, n: int) -> list[Tensor]:
    """The chance of `n` examples, checked."""
    came = draws(n)
    tensors = list(came) if isinstance(came, list | tuple) else [cast(Tensor, came)]
    if not tensors:
        raise ValueError("draws: expected at least one tensor, came none")
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"draws: expected tensors, came {type(x).__name__}")
        if not x.dim() or len(x) != n:
            raise ValueError(f"draws: expected tensors of first size {n}, came shape {tuple(x.shape)}")
    return tensors


def _examples(data: object, name: str, like: Sequence[Tensor] | None = None) -> list[Tensor]:
    """The tensors of a data set, checked: one first size, and the rest of the shape as in `like`."""
    tensors = [require(x, name) for x in (data if isinstance(data, list | tuple) else [data])]
    if not tensors:
        raise ValueError(f"{name}: expected at least one tensor, came none")
    for x in tensors:
        if not x.dim() or len(x) != len(tensors[0]):
            sizes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ValueError(f"{name}: expected tensors of one first size, came shapes {sizes}")
    if like is not None:
        wanted, came = ([f"{tuple(x.shape[1:])} {x.dtype}" for x in side] for side in (like, tensors))
        if wanted != came:
            raise ValueError(f"{name}: expected examples as in data, {', '.join(wanted)}, came {', '.join(came)}")
    return tensors


def _scalar(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"loss: expected a tensor, came {type(value).__name__}")
    if value.dim() or (torch.is_grad_enabled() and not value.requires_grad):
        what = f"shape {tuple(value.shape)}" if value.dim() else "one that no parameter changes"
        raise ValueError(f"loss: expected a scalar that depends on the parameters, came {what}")
    return value


def _finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in tensors)


def _versions(model: nn.Module) -> list[int]:
    """Counts of the changes made to the buffers in place."""
    return [b._version for b in model.buffers()]


def _sum(accelerator: Accelerator, *values: float) -> list[float]:
    """The sums over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    return list(accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=accelerator.device)).tolist())


def _accelerator(log: str | Path | None, tracker: str) -> Accelerator:
    require_choice(tracker, "tracker", TRACKERS)
    for package in ["accelerate"] + ([tracker] if log else []):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"training needs the package {package}: {INSTALL}", name=package)
    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns that it can't draw its bar; `_bar` draws none there.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from accelerate import Accelerator, DistributedDataParallelKwargs

    accelerator = Accelerator(
        log_with=tracker if log else None,
        project_dir=Path(log).resolve().parent if log else None,
        # A weight that a step does not use has no gradient in one process, and is no error in several either.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if (pieces := accelerator.gradient_accumulation_steps) != 1:
        raise ValueError(f"batch_size: expected no accumulation of gradients from accelerate, came {pieces} pieces")
    return accelerator


@contextmanager
def _trackers(accelerator: Accelerator, log: str | Path | None) -> Iterator[None]:
    """Curves in the folder `log`; nothing leaves the machine (``wandb sync`` sends them, if you want it)."""
    if log:
        log = Path(log).resolve()
        log.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported
        quiet = {"mode": "offline", "dir": str(log), "settings": {"silent": True}}
        accelerator.init_trackers(log.name, init_kwargs={"wandb": quiet})
    try:
        yield
    finally:
        for one in accelerator.trackers:
            one.finish()


@contextmanager
def _bar(accelerator: Accelerator, progress: bool | None, done: int, steps: int) -> Iterator[Callable[[float], None]]:
    """A function that shows one step more and its loss: on a terminal only, where not said otherwise."""
    if not accelerator.is_main_process or not (sys.stderr.isatty() if progress is None else progress):
        yield lambda level: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError(f"the progress bar needs the package tqdm: {INSTALL}", name="tqdm") from None
    with tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) as bar:

        def show(level: float) -> None:
            bar.set_postfix_str(f"loss {level:.4g}", refresh=False)
            bar.update()

        yield show


@contextmanager
def _moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on another device for a while; it comes back in eval mode."""
    home = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(home)
        model.eval()
