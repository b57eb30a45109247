"""Time several ways to do one thing fairly: in turn, many rounds, ratios within a round."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
OURS = "dgm"


class Spread(NamedTuple):
    """The lower quartile, the median and the upper quartile of some numbers."""

    low: float
    middle: float
    high: float


class Ratio(NamedTuple):
    """Our time over that of the fastest of the others, round by round; `sure` holds the median in 95 of 100 races."""

    fastest: str
    spread: Spread
    sure: tuple[float, float]


def race(
    entrants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 40,
    shortest: float = 0.02,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds a call takes, one number an entrant and round.

    All run in turn, A B C, B C A, C A B, …: whatever slows the machine for a while slows them alike, and none has
    the better place. The clock counts the processor time of this process, so that other processes' turns on a shared
    processor do not count; with one thread and an idle machine it is the time on the wall.

    Args:
        entrants: a name for each, and what to call.
        rounds: turns of each.
        shortest: seconds that a turn lasts at least; faster entrants are called several times a turn.
        clock: seconds since some moment.
    """
    calls = {name: _calls(run, shortest, clock) for name, run in entrants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in entrants}
    names = list(entrants)
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                seconds[name].append(_time(entrants[name], calls[name], clock) / calls[name])
    finally:
        gc.enable()
    return seconds


def _time(run: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(calls):
        run()
    return clock() - began


def _calls(run: Callable[[], object], shortest: float, clock: Callable[[], float]) -> int:
    """How many calls last `shortest` seconds; finding out warms up."""
    calls = 1
    while _time(run, calls, clock) < shortest:
        calls *= 2
    return calls


def spread(values: Sequence[float]) -> Spread:
    """Quartiles and median.

    >>> spread([1, 2, 3, 4, 5])
    Spread(low=2.0, middle=3.0, high=4.0)
    """
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the median whatever the law of the values: two of the values in order, those
    between which a binomial number of n fair coins falls (by its normal approximation).

    >>> interval(range(100))
    (40, 59)
    """
    left = max(0, int((len(values) - 1.96 * len(values) ** 0.5) / 2))
    ordered = sorted(values)
    return ordered[left], ordered[-1 - left]


def ratio(seconds: Mapping[str, Sequence[float]], ours: str = OURS) -> Ratio:
    """Our time over the time of the fastest other one in the same round; the fastest is the one of least median.

    >>> ratio({"dgm": [2, 4, 9], "a": [1, 2, 3], "b": [8, 8, 8]})
    Ratio(fastest='a', spread=Spread(low=2.0, middle=2.0, high=2.5), sure=(2.0, 3.0))
    """
    fastest = min((name for name in seconds if name != ours), key=lambda name: statistics.median(seconds[name]))
    ratios = [a / b for a, b in zip(seconds[ours], seconds[fastest], strict=True)]
    return Ratio(fastest, spread(ratios), interval(ratios))


# --- what is kept ----------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the times depend on."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf8").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def versions(*names: str) -> dict[str, str]:
    """The installed release of each package."""
    return {name: metadata.version(name) for name in ("torch", *names)}


def rounded(seconds: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Four digits are more than a clock is worth."""
    return {name: [float(f"{value:.4g}") for value in values] for name, values in seconds.items()}


def keep(name: str, facts: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(_narrow(text) + "\n", "utf8")


def _narrow(text: str) -> str:
    """Lists of numbers on one line each."""
    lines, row = [], ""
    for line in text.split("\n"):
        if row:
            row += " " * (not row.endswith("[")) + line.strip()
            if line.strip() in ("]", "],"):
                lines.append(row.replace(" ]", "]"))
                row = ""
        elif line.endswith("["):
            row = line
        else:
            lines.append(line)
    return "\n".join(lines)
