"""The side-by-side runs: what times, what reports, and that the page is made of the numbers. No peer is needed."""

import json
import math
import random
import re

import pytest

from benchmarks import race, report

TASKS = {"fast": {"dgm": [1.0, 1.0, 1.2], "a": [2.0, 2.0, 2.0], "b": [5.0, 5.0, 5.0]}}


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        def run():
            self.order.append(name)
            self.now += seconds

        return run


def test_race_measures_each_entrant_and_nothing_else():
    clock = Clock()
    entrants = {"slow": clock.work("slow", 3.0), "quick": clock.work("quick", 0.25)}
    seconds = race.race(entrants, rounds=5, shortest=1.0, clock=clock)
    assert seconds == {"slow": [3.0] * 5, "quick": [0.25] * 5}


def test_race_takes_turns_and_changes_who_begins():
    clock = Clock()
    entrants = {name: clock.work(name, 1.0) for name in "ABC"}
    race.race(entrants, rounds=4, shortest=0.5, clock=clock)
    assert "".join(clock.order[3:]) == "ABCBCACABABC"  # the first three calls warmed up


def test_race_calls_the_fast_ones_until_the_clock_can_see_them():
    clock = Clock()
    race.race({"quick": clock.work("quick", 0.25)}, rounds=1, shortest=1.5, clock=clock)
    assert len(clock.order) == 1 + 2 + 4 + 8 + 8  # 1.5 s are passed by eight calls


def test_race_gives_the_garbage_collector_back():
    import gc

    def fall():
        if not gc.isenabled():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        race.race({"falls": fall}, rounds=1, shortest=0.0)
    assert gc.isenabled()


def test_ratio_pairs_the_rounds():
    """A machine that is ten times slower in one round changes no ratio."""
    found = race.ratio({"dgm": [3.0, 30.0, 3.0, 3.0], "a": [2.0, 20.0, 2.0, 2.0], "b": [9.0, 9.0, 9.0, 9.0]})
    assert found == ("a", (1.5, 1.5, 1.5), (1.5, 1.5))


def test_the_interval_holds_the_median_as_often_as_it_says():
    """Drawn from a skew law, against the binomial itself: 14 to 26 of 40 values lie under the median."""
    chance = random.Random(0)
    draws = ([chance.expovariate(1.0) for _ in range(40)] for _ in range(2_000))
    held = sum(low <= math.log(2) <= high for low, high in map(race.interval, draws)) / 2_000
    exact = sum(math.comb(40, k) for k in range(14, 27)) / 2**40
    assert exact > 0.95
    assert abs(held - exact) < 5 * (exact * (1 - exact) / 2_000) ** 0.5


def test_ratio_is_against_the_fastest_other_one():
    assert race.ratio({"dgm": [1.0, 1.0], "a": [4.0, 4.0], "b": [2.0, 2.0]}).fastest == "b"


def test_kept_results_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(race, "RESULTS", tmp_path / "new")
    facts = {"seconds": {"a task, [of] brackets": {"dgm": [1.5, 2.5], "a": []}}, "names": ["x", "y"], "é": 1}
    race.keep("some", facts)
    text = (tmp_path / "new" / "some.json").read_text("utf8")
    assert json.loads(text) == facts
    assert '"dgm": [1.5, 2.5],' in text


@pytest.mark.parametrize(
    ("ours", "group"),
    [
        ([1.0, 1.1, 1.2], "Faster"),
        ([1.9, 2.0, 2.1], "No difference to be seen"),
        ([2.2, 2.3, 2.4], "Slower than the fastest"),
    ],
)
def test_verdict_goes_by_the_interval(ours, group):
    text = report.verdict({"the task": TASKS["fast"] | {"dgm": ours}})
    assert f"{group}: the task." in text
    assert text.count("nowhere") == 2


def test_times_table_has_medians_and_ratio():
    assert "| fast | 1 s | 2 s | 5 s | a | 0.50 [0.50, 0.55] |" in report.times(TASKS)


@pytest.fixture(scope="module")
def results():
    return {name: json.loads((race.RESULTS / f"{name}.json").read_text("utf8")) for name in report.NAMES}


def test_the_page_is_made_of_the_results(results):
    assert report.PAGE.read_text("utf8") == report.page(*results.values())


def test_the_results_hold_what_the_page_promises(results):
    assert results["vae"]["machine"] == results["coupling"]["machine"] == results["diffusion"]["machine"]
    assert results["vae"]["machine"]["threads"] == 1
    sizes = results["diffusion"]["parameters"].values()
    assert max(sizes) < 1.1 * min(sizes)
    reached = {name: row["FD"] for name, row in results["diffusion"]["quality"].items()}
    assert reached["training digits"] < min(reached[name] for name in results["diffusion"]["parameters"])
    assert max(results["vae"]["difference"].values()) < 1e-4
    assert max(results["coupling"]["difference"].values()) < 1e-9
    names = {"vae": {"dgm", "pythae"}, "coupling": {"dgm", "zuko", "nflows", "normflows"}}
    names["diffusion"] = {"dgm", "diffusers", "denoising-diffusion-pytorch"}
    for name, facts in results.items():
        for seconds in facts["seconds"].values():
            assert set(seconds) == names[name]
            assert len({len(values) for values in seconds.values()}) == 1
    ours, *others = (sum(values) / len(values) for values in results["coupling"]["nll"].values())
    assert ours < min(others) + 0.1  # speed at the price of quality would be none


def test_releases_measured_are_those_of_the_lock(results):
    folder = race.RESULTS.parent
    lock = "".join((place / "requirements.txt").read_text("utf8") for place in (folder, folder.parents[1]))
    for facts in results.values():
        for name, release in facts["versions"].items():
            assert re.search(rf"^{name}=={re.escape(release.split('+')[0])}[ ;\\]", lock, re.M), name
