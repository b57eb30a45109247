"""Every answer of every drill by a second way, and what the page and its script need."""

import itertools
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Dirichlet, Independent, MultivariateNormal, Normal, kl_divergence

from dgm.autoregressive.made import connect
from press import drills
from press.drills import DRILLS, SEEDS, drill, fill
from press.house import BOOK, PressError
from press.maths import formulas, unknown_commands

f64 = torch.float64


def tensor(values):
    return torch.tensor([float(v) for v in values], dtype=f64)


def normal(mean, sd):
    """A normal law in float64."""
    return Normal(*tensor([mean, sd]))


# --- each answer once more, from the numbers drawn alone ---------------------------------------------------------


def bayes(sick, hit, alarm, tests):
    """By counting a large town."""
    town = sick.denominator * hit.denominator**2 * alarm.denominator**2
    ill = town * sick
    found, false = ill, town - ill
    for _ in range(tests):
        found, false = found * hit, false * alarm
    assert found.denominator == false.denominator == 1
    return Fraction(found, found + false)


def smoothing(d, counts, tests):
    """The mean of the posterior under a flat Dirichlet prior."""
    chances = Dirichlet(tensor(counts) + 1).mean
    assert len(chances) == d
    assert min(counts[j - 1] for j in tests) == 0
    return nn.functional.nll_loss(chances.log().expand(len(tests), d), torch.tensor(tests) - 1)


def kl_line(mean_q, mean_p, sd_q, sd_p):
    return kl_divergence(normal(mean_q, sd_q), normal(mean_p, sd_p))


def kl_plane(mean, sd):
    prior = MultivariateNormal(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64))
    return kl_divergence(MultivariateNormal(tensor(mean), tensor(sd).square().diag()), prior)


def jsd(a, b):
    p, q, r = (Bernoulli(tensor([c])) for c in (a, b, (a + b) / 2))
    return (kl_divergence(p, r) + kl_divergence(q, r)) / 2


def bits(side, channels, nats, scaled):
    """From the density of the raw values: each of the m values is 256 times the scaled one."""
    m = side * side * channels
    return (nats + (m * math.log(256) if scaled else 0)) / math.log(2) / m


def masks(m, first, second):
    degrees = [torch.arange(1, m + 1), torch.tensor(first), torch.tensor(second)]
    return sum(int(mask.sum()) for mask in connect(degrees))


def field(kernels, strides, dilations):
    """Which inputs have a gradient."""
    x = torch.ones(1, 1, 400, requires_grad=True)
    y = x
    for kernel, stride, dilation in zip(kernels, strides, dilations, strict=True):
        y = nn.functional.conv1d(y, torch.ones(1, 1, kernel), stride=stride, dilation=dilation)
    y[0, 0, 3].backward()
    seen = x.grad[0, 0].nonzero()
    return int(seen.max() - seen.min()) + 1


def planar(u, w, z, b):
    u, w = tensor(u), tensor(w)
    return torch.linalg.det(torch.autograd.functional.jacobian(lambda z: z + u * torch.tanh(w @ z + b), tensor(z)))


def coupling(k, c, d, x):
    """x₁ is standard normal, and x₂ given x₁ is normal: what z₂ says, solved for x₂."""
    scale = math.exp(-k * x[0])
    place = -(c * x[0] + d) * scale
    return normal(0, 1).log_prob(tensor(x[:1])) + normal(place, scale).log_prob(tensor(x[1:]))


def best_discriminator(mean_pi, sd_pi, mean_p, sd_p, x):
    pi, p = (normal(*law).log_prob(tensor([x])).exp() for law in ((mean_pi, sd_pi), (mean_p, sd_p)))
    return pi / (pi + p)


def earth(points, p, q):
    """Ten grains each; on a line the cheapest plan keeps their order. (All plans: see below.)"""
    grains = [[x for x, share in zip(points, law, strict=True) for _ in range(int(10 * share))] for law in (p, q)]
    return Fraction(sum(abs(a - b) for a, b in zip(*grains, strict=True)), 10)


def snr(betas, i):
    """Step by step: what is left of the data, and the variance of the noise."""
    signal, noise = 1.0, 0.0
    for beta in betas[:i]:
        signal, noise = signal * math.sqrt(1 - beta), (1 - beta) * noise + beta
    return signal**2 / noise


def posterior(alpha_s, sigma_s, alpha_t, sigma_t, x_0, x_t):
    """Bayes' rule on a grid of x_s."""
    a = float(alpha_t / alpha_s)
    step = math.sqrt(float(sigma_t) ** 2 - a**2 * float(sigma_s) ** 2)
    grid = torch.linspace(-12, 12, 24_001, dtype=f64)
    log = normal(alpha_s * x_0, sigma_s).log_prob(grid) + Normal(a * grid, step).log_prob(tensor([x_t]))
    return log.softmax(0) @ grid


def guidance(alpha, sigma, free, wished, scale, x_t):
    """By scores: they are combined in the same way, and Tweedie's formula turns one into a guess of the data."""
    score = scale * (-wished / sigma) + (1 - scale) * (-free / sigma)
    return (x_t + sigma**2 * score) / alpha


def lora(rows, columns, rank, layers):
    one = nn.Linear(columns, rank, bias=False), nn.Linear(rank, rows, bias=False)
    return layers * sum(p.numel() for part in one for p in part.parameters())


AGAIN = {
    "bayes": bayes,
    "smoothing": smoothing,
    "kl-line": kl_line,
    "kl-plane": kl_plane,
    "jsd": jsd,
    "bits": bits,
    "masks": masks,
    "field": field,
    "planar": planar,
    "coupling": coupling,
    "best-discriminator": best_discriminator,
    "earth": earth,
    "snr": snr,
    "posterior": posterior,
    "guidance": guidance,
    "lora": lora,
}
EVERY = [pytest.param(each, id=each.name) for each in DRILLS]


def test_every_drill_has_a_second_way():
    assert set(AGAIN) == {each.name for each in DRILLS}
    assert len(DRILLS) == len(AGAIN) >= 10


@pytest.mark.parametrize("this", EVERY)
def test_the_answers_agree_with_the_second_way(this):
    for seed in range(SEEDS):
        one = this(seed)
        assert float(AGAIN[this.name](**one.given)) == pytest.approx(one.answer, abs=1e-9, rel=1e-9), one.ask["en"]


def test_kl_by_quadrature():
    x = torch.linspace(-60, 60, 200_001, dtype=f64)
    for seed in range(SEEDS):
        one = drill("kl-line")(seed)
        log_q, log_p = (normal(one.given[f"mean_{k}"], one.given[f"sd_{k}"]).log_prob(x) for k in ("q", "p"))
        assert float(torch.trapezoid(log_q.exp() * (log_q - log_p), x)) == pytest.approx(one.answer, abs=1e-8)
    one = drill("kl-plane")(3)
    q = Independent(Normal(tensor(one.given["mean"]), tensor(one.given["sd"])), 1)
    p = Independent(Normal(torch.zeros(2, dtype=f64), 1.0), 1)
    assert float(kl_divergence(q, p)) == pytest.approx(one.answer)


def test_no_plan_of_transport_is_cheaper():
    """A linear program over all plans."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    rows = [np.kron(np.eye(4)[i], np.ones(4)) for i in range(4)] + [np.kron(np.ones(4), np.eye(4)[j]) for j in range(4)]
    for seed in range(SEEDS):
        one = drill("earth")(seed)
        cost = np.abs(np.subtract.outer(one.given["points"], one.given["points"])).ravel()
        found = linprog(cost, A_eq=np.array(rows), b_eq=[float(v) for v in (*one.given["p"], *one.given["q"])])
        assert found.fun == pytest.approx(one.answer, abs=1e-7)


# --- the texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("this", EVERY)
def test_instances_differ(this):
    made = [this(seed) for seed in range(SEEDS)]
    assert len({round(one.answer, 6) for one in made}) >= 12
    assert len({one.ask["en"] for one in made}) >= 20
    assert made[5] == this(5)


@pytest.mark.parametrize("this", EVERY)
def test_the_solution_ends_at_the_answer_in_both_languages(this):
    for seed, lang in itertools.product(range(SEEDS), drills.LANGUAGES):
        one = this(seed)
        assert re.search(r"[а-яё]" if lang == "ru" else r"[a-z]", one.ask[lang])
        assert not (lang == "en" and re.search(r"[а-яё]", one.ask[lang] + one.solution[lang], re.IGNORECASE))
        assert re.search(rf"(?<![\d.}}]){re.escape(one.shown[lang])}(?!\d)", one.solution[lang])
        assert float(one.shown["en"]) == pytest.approx(one.answer, abs=0.5 * 10.0**-one.places + 1e-12)
        assert abs(float(one.shown["en"]) - one.answer) < one.within
        assert float(one.shown["ru"].replace("{,}", ".")) == float(one.shown["en"])


@pytest.mark.parametrize("this", EVERY)
def test_the_texts_can_be_set(this):
    for seed, lang in itertools.product(range(SEEDS), drills.LANGUAGES):
        one = this(seed)
        for text in (one.ask[lang], one.solution[lang]):
            assert not drills.SLOT.search(text)
            assert text.count("$") % 2 == 0
            assert not re.search(r"--|\+-|-\+|\+\+|\d\s*\^2\^|nan|inf(?!o)", re.sub(r"[^\W\d_]{4,}", "", text)), text
            outside = re.sub(r"\$\$.+?\$\$|\$.+?\$", "", text)
            assert "{,}" not in outside
            assert "\\" not in outside
            if lang == "ru":
                assert not re.search(r"\d\.\d", text)
            for _, tex in formulas(text):
                known = {"KL", "JSD", "N", "diag", "x", "z"}
                assert unknown_commands(tex, known) <= {"dots", "log", "hat", "prod", "tanh"}
                assert tex.count("{") == tex.count("}")


@pytest.mark.parametrize("this", EVERY)
def test_a_wrong_answer_is_not_taken_for_right(this):
    """The tolerance is small against the answer, and an answer is never so near 0 that its sign does not matter."""
    for seed in range(SEEDS):
        one = this(seed)
        assert one.within <= 0.1 * abs(one.answer), one.ask["en"]
        assert (one.places == 0) == (one.within == 0.5)


def test_numbers_are_written_as_in_each_language():
    values = {"a": 0.5, "b": -2, "c": Fraction(1, 3), "v": (1, 0.25)}
    assert fill("<a> <b:p> <c:2> <v> <a:+> <b:+>", "en", values) == r"0.5 (-2) 0.33 (1,\ 0.25) +0.5 -2"
    assert fill("<a> <b:p> <c:2> <v>", "ru", values) == r"0{,}5 (-2) 0{,}33 (1;\ 0{,}25)"
    assert fill("<z:2>", "en", {"z": -0.0001}) == "0.00"
    with pytest.raises(PressError, match="kl-line"):
        drill("kl-lime")


def test_the_page_deals_each_drill_once():
    named = re.findall(r"^```\{drills\}(.*)$", (BOOK / "exam" / "drills.md").read_text("utf8"), re.MULTILINE)
    assert Counter(" ".join(named).split()) == Counter(each.name for each in DRILLS)


# --- the script --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_reads_and_judges_numbers():
    source = (drills.Path(drills.__file__).parent / "assets" / "drills.js").read_text("utf8")
    parts = [re.search(rf"^  function {name}\(.*?^  }}$", source, re.M | re.S)[0] for name in ("number", "judge")]
    cases = {
        "0.5": 0.5, "0,5": 0.5, " −2.25 ": -2.25, "-2,25": -2.25, "1/3": 1 / 3, "+.5": 0.5, "1e-3": 0.001, "7": 7,
        "": None, "abc": None, "1/0": None, "1.2.3": None, "--1": None, "1 200,5": 1200.5,
    }  # fmt: skip
    whole = {"1,200": 1200, "27 136": 27136, "1.200.000": 1200000, "12": 12, "0,5": 0.5}
    verdicts = [
        [0.5005, 0.5, 0.002, False, "right"], [-0.5, 0.5, 0.002, False, "sign"], [0.508, 0.5, 0.002, False, "close"],
        [0.6, 0.5, 0.002, False, "wrong"], [12, 12, 0.5, True, "right"], [12.4, 12, 0.5, True, "wrong"],
    ]  # fmt: skip
    ask = f"""{" ".join(parts)}
    console.log(JSON.stringify({{
      cases: {json.dumps(list(cases))}.map((text) => number(text, false)),
      whole: {json.dumps(list(whole))}.map((text) => number(text, true)),
      verdicts: {json.dumps(verdicts)}.map(([a, b, c, d]) => judge(a, b, c, d)),
      none: judge(NaN, 1, 0.1, false),
    }}));"""
    ended = subprocess.run(["node", "-e", ask], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(ended.stdout)
    assert told["cases"] == pytest.approx(list(cases.values()))
    assert told["whole"] == list(whole.values())
    assert told["verdicts"] == [row[-1] for row in verdicts]
    assert told["none"] == "none"
