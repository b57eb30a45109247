r"""Pencil exercises with numbers drawn by chance: the build makes 24 of each, the page's script deals and checks them.

A drill is a function of a seed. It draws handy numbers and gives the question, the answer, how near one must come, and
a worked solution with the numbers put in, in English and Russian. A text names its numbers between angle brackets:
``<x>`` is x as short as it can be written, ``<x:3>`` x with three decimals, ``<x:p>`` x in brackets where it is
negative, ``<x:+>`` x with its sign. Russian texts get their decimal commas here.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from dgm.checks import nearest
from press.exam import parsed, raw
from press.house import PressError
from press.tickets import LANGUAGES

SEEDS = 24
"""Instances of each drill."""
SLOT = re.compile(r"<(?P<name>[a-z]\w*)(?::(?P<how>[0-9p+]+))?>")
SOLUTION = {"en": "Solution", "ru": "Решение"}

Random = np.random.Generator


@dataclass(frozen=True)
class Instance:
    """A drill with its numbers: `given` are those drawn, `shown` is the answer as the solution writes it."""

    given: dict[str, Any]
    answer: float
    places: int
    ask: dict[str, str]
    solution: dict[str, str]
    shown: dict[str, str]

    @property
    def within(self) -> float:
        """How far from the answer still counts as right: twice the last decimal asked for, or half a per cent."""
        return 0.5 if self.places == 0 else max(2 * 10.0**-self.places, 0.005 * abs(self.answer))


@dataclass(frozen=True)
class Drill:
    """What is practised: a name for links, a title in each language, and how an instance is made."""

    name: str
    title: dict[str, str]
    places: int
    draw: Callable[[Random], tuple[dict[str, Any], dict[str, Any]]]
    ask: dict[str, str]
    solution: dict[str, str]

    def __call__(self, seed: int) -> Instance:
        """The instance of a seed: the same numbers in every build."""
        given, worked = self.draw(np.random.default_rng([seed, zlib.crc32(self.name.encode())]))
        values = given | worked
        answer = float(values["answer"])
        places = self.places
        return Instance(
            given=given,
            answer=answer,
            places=places,
            ask={lang: fill(self.ask[lang], lang, values) for lang in LANGUAGES},
            solution={lang: fill(self.solution[lang], lang, values) for lang in LANGUAGES},
            shown={lang: fill(f"<answer:{places}>", lang, values) for lang in LANGUAGES},
        )


def fill(text: str, lang: str, values: dict[str, Any]) -> str:
    r"""Put numbers into a text.

    >>> fill("$<a>+<b:2>=<c:p>$", "ru", {"a": 0.5, "b": 1 / 3, "c": -1})
    '$0{,}5+0{,}33=(-1)$'
    >>> fill("$x<d:+>$ at $<v>$", "en", {"d": -2, "v": (0.5, 1)})
    '$x-2$ at $(0.5,\\ 1)$'
    """
    return SLOT.sub(lambda found: _written(values[found["name"]], found["how"] or "", lang), text)


def _written(value: Any, how: str, lang: str) -> str:
    """A number, a list of numbers in brackets, or a text (one for all languages or one each)."""
    if isinstance(value, dict):
        return str(value[lang])
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list):
        return "(" + (r",\ " if lang == "en" else r";\ ").join(_written(one, how, lang) for one in value) + ")"
    places = "".join(c for c in how if c.isdigit())
    number = f"{float(value):.{places}f}" if places else f"{float(value):.12g}"
    if not number.strip("-0."):
        number = number.lstrip("-")  # no minus zero
    if lang == "ru":
        number = number.replace(".", "{,}")
    if "+" in how and not number.startswith("-"):
        return f"+{number}"
    return f"({number})" if "p" in how and number.startswith("-") else number


def _one(random: Random, *options: Any) -> Any:
    """One of some options, as it stands there."""
    return options[int(random.integers(len(options)))]


def _whole(random: Random, low: int, high: int) -> int:
    """A whole number, both ends included."""
    return int(random.integers(low, high + 1))


PYTHAGORAS = tuple((Fraction(a, 25), Fraction(b, 25)) for a, b in ((24, 7), (20, 15), (15, 20), (7, 24)))
"""α and σ with α² + σ² = 1 and no roots: 0.96, 0.8, 0.6, 0.28 and their partners."""

# --- counting and Bayes ----------------------------------------------------------------------------------------


def _bayes(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    sick, hit = Fraction(_one(random, 1, 2, 5, 10, 20), 1000), Fraction(_one(random, 80, 90, 95, 99), 100)
    alarm, tests = Fraction(_one(random, 1, 2, 5, 10), 100), _whole(random, 1, 2)
    good, bad = sick * hit**tests, (1 - sick) * alarm**tests
    words = {
        1: {"en": "One test is positive", "ru": "Один тест положителен"},
        2: {"en": "Two tests, independent given the state, are positive",
            "ru": "Два теста, независимые при данном состоянии, положительны"},
    }  # fmt: skip
    power = "" if tests == 1 else "^2"
    given = {"sick": sick, "hit": hit, "alarm": alarm, "tests": tests}
    return given, {
        "words": words[tests], "power": power, "well": 1 - sick, "good": good, "bad": bad,
        "answer": good / (good + bad),
    }  # fmt: skip


def _smoothing(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    d = _whole(random, 4, 5)
    counts = [_whole(random, 1, 6) for _ in range(d)]
    unseen = _whole(random, 1, d)
    counts[unseen - 1] = 0
    others = [j for j in range(1, d + 1) if j != unseen]
    tests = [int(j) for j in random.choice(others, 2, replace=False)] + [unseen]
    tests = [int(j) for j in random.permutation(tests)]
    total = sum(counts) + d
    chances = [Fraction(counts[j - 1] + 1, total) for j in tests]
    logs = "+".join(rf"\log\frac{{{counts[j - 1] + 1}}}{{{total}}}" for j in tests)
    answer = -sum(math.log(chance) for chance in chances) / len(chances)
    given = {"d": d, "counts": tuple(counts), "tests": tuple(tests)}
    return given, {"n": sum(counts), "total": total, "logs": logs, "answer": answer}


# --- information -----------------------------------------------------------------------------------------------


def _kl_line(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    pairs = ((1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2), (1, 0.5), (0.5, 1), (2, 4), (4, 2))
    (sd_q, sd_p), mean_q, mean_p = _one(random, *pairs), _whole(random, -2, 3), _whole(random, -2, 3)
    log, ratio = math.log(sd_p / sd_q), (sd_q**2 + (mean_q - mean_p) ** 2) / (2 * sd_p**2)
    given = {"mean_q": mean_q, "mean_p": mean_p, "sd_q": sd_q, "sd_p": sd_p}
    return given, {
        "var_q": sd_q**2, "var_p": sd_p**2, "gap": mean_q - mean_p, "log": log, "ratio": ratio,
        "answer": log + ratio - 0.5,
    }  # fmt: skip


def _kl_plane(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    mean = (_one(random, -2, -1, -0.5, 0.5, 1, 2), _one(random, -2, -1, 0, 1, 2))
    sd = (_one(random, 0.5, 0.8, 2), _one(random, 0.1, 0.2, 0.5, 1, 2))
    parts = [0.5 * (s**2 + m**2 - 1) - math.log(s) for m, s in zip(mean, sd, strict=True)]
    worked = {"m1": mean[0], "m2": mean[1], "s1": sd[0], "s2": sd[1], "first": parts[0], "second": parts[1]}
    return {"mean": mean, "sd": sd}, worked | {"answer": sum(parts)}


def _entropy(chance: Fraction) -> float:
    """Of a coin, in nats."""
    return -sum(float(x) * math.log(x) for x in (chance, 1 - chance) if x > 0)


def _jsd(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    first = _whole(random, 1, 9)
    a, b = Fraction(first, 10), Fraction(_one(random, *[k for k in range(10) if abs(k - first) >= 3]), 10)
    r = (a + b) / 2
    h_r, h_a, h_b = _entropy(r), _entropy(a), _entropy(b)
    worked = {"r": r, "h_r": h_r, "h_a": h_a, "h_b": h_b, "most": math.log(2)}
    return {"a": a, "b": b}, worked | {"answer": h_r - (h_a + h_b) / 2}


def _bits(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    side, channels = _one(random, 16, 28, 32, 64), _one(random, 1, 3)
    m, scaled = side * side * channels, bool(random.integers(2))
    bits = _whole(random, 20, 60) / 10  # about what comes out
    nats = round((bits - 8 * scaled) * m * math.log(2), -1)
    extra = {
        False: {"en": "The model is discrete: it gives probabilities of the 256 levels.",
                "ru": "Модель дискретная: она даёт вероятности 256 уровней."},
        True: {"en": (
            "The model gives a density of the values divided by 256 (with uniform noise added before the "
            "division)."
        ),
               "ru": "Модель даёт плотность значений, делённых на 256 (перед делением добавлен равномерный шум)."},
    }  # fmt: skip
    why = {
        False: {"en": "Nats become bits by division by $\\log2$, and the total is shared by all $m$ numbers:",
                "ru": "Наты переводятся в биты делением на $\\log2$, и сумма делится на все $m$ чисел:"},
        True: {"en": (
            "Dividing by 256 makes every density 256 times as large, so each number costs $\\log_2256=8$ bits "
            "more than the given nats say:"
        ),
               "ru": (
                   "После деления на 256 плотность по каждой координате в 256 раз больше, поэтому каждое число "
                   "стоит на $\\log_2256=8$ битов больше, чем говорят данные наты:"
               )},
    }  # fmt: skip
    share = nats / (m * math.log(2))
    given = {"side": side, "channels": channels, "nats": nats, "scaled": scaled}
    return given, {
        "m": m, "extra": extra[scaled], "why": why[scaled], "plus": "+8" if scaled else "",
        "way": {lang: f"{_written(share, '3', lang)}+8=" if scaled else "" for lang in LANGUAGES},
        "answer": share + 8 * scaled,
    }  # fmt: skip


# --- networks --------------------------------------------------------------------------------------------------


def _masks(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    m = _whole(random, 3, 5)
    first = tuple(_whole(random, 1, m - 1) for _ in range(_whole(random, 3, 4)))
    second = tuple(_whole(random, 1, m - 1) for _ in range(_whole(random, 2, 3)))
    into = sum(first)
    between = [sum(a <= b for a in first) for b in second]
    out = sum(m - b for b in second)
    given = {"m": m, "first": first, "second": second}
    return given, {
        "sum_in": "+".join(map(str, first)), "into": into,
        "sum_between": "+".join(map(str, between)), "between": sum(between),
        "sum_out": "+".join(str(m - b) for b in second), "out": out, "answer": into + sum(between) + out,
    }  # fmt: skip


def _field(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    kernels = tuple(_one(random, 3, 5, 7) for _ in range(3))
    if random.integers(2):
        strides, dilations = (_one(random, 1, 2), _one(random, 1, 2), 1), (1, 1, 1)
    else:
        strides, dilations = (1, 1, 1), (1, _one(random, 1, 2, 3), _one(random, 2, 4))
    jumps = (1, strides[0], strides[0] * strides[1])
    terms = [(k - 1) * e * j for k, e, j in zip(kernels, dilations, jumps, strict=True)]
    put = "+".join(rf"{k - 1}\cdot{e}\cdot{j}" for k, e, j in zip(kernels, dilations, jumps, strict=True))
    given = {"kernels": kernels, "strides": strides, "dilations": dilations}
    return given, {"put": put, "answer": 1 + sum(terms)}


def _lora(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    rows, columns = _one(random, 320, 640, 768, 1024), _one(random, 320, 640, 768, 1000, 2000)
    rank, layers = _one(random, 2, 4, 8, 16), _one(random, 4, 10, 12, 16)
    given = {"rows": rows, "columns": columns, "rank": rank, "layers": layers}
    one, full = rank * (rows + columns), rows * columns
    return given, {"one": one, "full": full, "share": 100 * one / full, "answer": layers * one}


# --- flows and GANs --------------------------------------------------------------------------------------------


def _planar(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    while True:
        u, w, z = (tuple(_one(random, -1, -0.5, 0.5, 1, 2) for _ in range(2)) for _ in range(3))
        inner = w[0] * u[0] + w[1] * u[1]
        if inner > -1 and inner != 0:
            break
    before = _one(random, 0, 0.5, -0.5, 1, -1)
    b = before - w[0] * z[0] - w[1] * z[1]
    slope = 1 - math.tanh(before) ** 2
    return {"u": u, "w": w, "z": z, "b": b}, {
        "before": before, "tanh": math.tanh(before), "slope": slope, "inner": inner, "answer": 1 + slope * inner,
    }  # fmt: skip


def _coupling(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    k, c, d = _one(random, 0.5, -0.5, 0.25), _one(random, 2, 3, -2, -3), _one(random, 1, -1, 2, -2)
    x = (_one(random, -2, -1, 1, 2), _one(random, -1, -0.5, 0.5, 1, 1.5))
    s, t = k * x[0], c * x[0] + d
    z_2 = x[1] * math.exp(s) + t
    base = -0.5 * (x[0] ** 2 + z_2**2) - math.log(2 * math.pi)
    given = {"k": k, "c": c, "d": d, "x": x}
    return given, {"x1": x[0], "x2": x[1], "s": s, "t": t, "z2": z_2, "base": base, "answer": base + s}


def _best(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    sd_pi, sd_p = _one(random, (1, 1), (1, 2), (2, 1), (2, 2), (0.5, 1))
    mean_pi, shift = _whole(random, -1, 1), _one(random, -2, -1, 1, 2)
    mean_p, x = mean_pi + shift, mean_pi + _one(random, -1, -0.5, 0.5, 1, 1.5)
    far_p, far_pi = (x - mean_p) ** 2 / (2 * sd_p**2), (x - mean_pi) ** 2 / (2 * sd_pi**2)
    log = math.log(sd_p / sd_pi)
    logit = log + far_p - far_pi
    given = {"mean_pi": mean_pi, "sd_pi": sd_pi, "mean_p": mean_p, "sd_p": sd_p, "x": x}
    return given, {
        "var_pi": sd_pi**2, "var_p": sd_p**2, "log": log, "far_p": far_p, "far_pi": far_pi, "logit": logit,
        "answer": 1 / (1 + math.exp(-logit)),
    }  # fmt: skip


def _earth(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    points = tuple(sorted(int(x) for x in random.choice(8, 4, replace=False)))
    while True:
        p, q = (tuple(Fraction(int(c), 10) for c in random.multinomial(10, [0.25] * 4)) for _ in range(2))
        heights = tuple(sum(p[: j + 1], Fraction()) - sum(q[: j + 1], Fraction()) for j in range(3))
        if sum(abs(height) for height in heights) > Fraction(2, 5):
            break
    lengths = tuple(b - a for a, b in pairwise(points))
    pieces = [(length, abs(height)) for length, height in zip(lengths, heights, strict=True)]
    put = {lang: "+".join(rf"{a}\cdot{_written(b, '', lang)}" for a, b in pieces) for lang in LANGUAGES}
    given = {"points": points, "p": p, "q": q}
    return given, {"heights": heights, "lengths": lengths, "put": put, "answer": sum(a * b for a, b in pieces)}


# --- diffusion -------------------------------------------------------------------------------------------------


def _snr(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    i, kept = _whole(random, 2, 4), Fraction()
    while kept < Fraction(1, 20):
        tenths = sorted(int(b) for b in random.choice([1, 2, 3, 4, 5, 6, 7, 8], 4, replace=False))
        betas = tuple(Fraction(b, 10) for b in tenths)
        kept = math.prod((1 - beta for beta in betas[:i]), start=Fraction(1))
    put = {lang: r"\cdot".join(_written(1 - beta, "", lang) for beta in betas[:i]) for lang in LANGUAGES}
    return {"betas": betas, "i": i}, {"put": put, "kept": kept, "lost": 1 - kept, "answer": kept / (1 - kept)}


def _posterior(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    s, t = sorted(int(k) for k in random.choice(4, 2, replace=False))
    (alpha_s, sigma_s), (alpha_t, sigma_t) = PYTHAGORAS[s], PYTHAGORAS[t]
    x_0, x_t = (Fraction(_one(random, -4, -3, -2, -1, 1, 2, 3, 4), 2) for _ in range(2))
    a = alpha_t / alpha_s
    v = sigma_t**2 - a**2 * sigma_s**2
    kept, gained = a * sigma_s**2 / sigma_t**2, alpha_s * v / sigma_t**2
    given = {
        "alpha_s": alpha_s, "sigma_s": sigma_s, "alpha_t": alpha_t, "sigma_t": sigma_t, "x_0": x_0, "x_t": x_t,
    }  # fmt: skip
    return given, {"a": a, "v": v, "kept": kept, "gained": gained, "answer": kept * x_t + gained * x_0}


def _guidance(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    alpha, sigma = PYTHAGORAS[_whole(random, 1, 2)]
    free, wished = (Fraction(int(k), 10) for k in random.choice([-8, -6, -4, -2, 2, 4, 6, 8], 2, replace=False))
    scale, x_t = Fraction(_one(random, 3, 4, 6, 10, 15), 2), Fraction(_one(random, -3, -2, -1, 1, 2, 3), 2)
    noise = free + scale * (wished - free)
    given = {"alpha": alpha, "sigma": sigma, "free": free, "wished": wished, "scale": scale, "x_t": x_t}
    return given, {"gap": wished - free, "noise": noise, "answer": (x_t - sigma * noise) / alpha}


DRILLS = (
    Drill(
        "bayes",
        {"en": "Bayes' rule: a positive test", "ru": "Формула Байеса: положительный тест"},
        3,
        _bayes,
        {
            "en": (
                r"A share $<sick>$ of the people is ill. A test is positive with probability $<hit>$ if one is "
                r"ill, and $<alarm>$ if one is healthy. <words>. What is the probability of being ill?"
            ),
            "ru": (
                r"Доля больных равна $<sick>$. У больного тест положителен с вероятностью $<hit>$, у здорового — с "
                r"вероятностью $<alarm>$. <words>. Какова вероятность болезни?"
            ),
        },
        {
            "en": (
                r"$$P=\frac{<sick>\cdot<hit><power>}{<sick>\cdot<hit><power>+<well>\cdot<alarm><power>}"
                r"=\frac{<good:7>}{<good:7>+<bad:7>}\approx<answer:3>$$"
            ),
            "ru": (
                r"$$P=\frac{<sick>\cdot<hit><power>}{<sick>\cdot<hit><power>+<well>\cdot<alarm><power>}"
                r"=\frac{<good:7>}{<good:7>+<bad:7>}\approx<answer:3>$$"
            ),
        },
    ),
    Drill(
        "smoothing",
        {"en": "Add-one smoothing and the loss", "ru": "Сглаживание Лапласа и функция потерь"},
        3,
        _smoothing,
        {
            "en": (
                r"A variable has the values $1,\dots,<d>$, with the counts $N=<counts>$ in training. With add-one "
                r"smoothing, what is the mean negative log-likelihood, in nats, of the test values $<tests>$?"
            ),
            "ru": (
                r"Переменная принимает значения $1,\dots,<d>$; счётчики на обучении $N=<counts>$. Применено "
                r"сглаживание Лапласа (единица к каждому счётчику). Чему равно среднее $-\log\hat\theta$ в натах "
                r"на тестовых значениях $<tests>$?"
            ),
        },
        {
            "en": (
                r"$\hat\theta_j=\frac{N_j+1}{n+d}$ with $n+d=<n>+<d>=<total>$. So the loss is "
                r"$-\frac13\bigl(<logs>\bigr)\approx<answer:3>$ nats. Without smoothing it would be infinite, as "
                r"one test value has the count 0."
            ),
            "ru": (
                r"$\hat\theta_j=\frac{N_j+1}{n+d}$, где $n+d=<n>+<d>=<total>$. Функция потерь равна "
                r"$-\frac13\bigl(<logs>\bigr)\approx<answer:3>$ ната. Без сглаживания она была бы бесконечна: у "
                r"одного тестового значения счётчик равен 0."
            ),
        },
    ),
    Drill(
        "kl-line",
        {"en": "KL of two normals on the line", "ru": "KL двух нормальных распределений на прямой"},
        3,
        _kl_line,
        {
            "en": (
                r"What is $\KL(q\,\Vert\,p)$ in nats for $q=\N(<mean_q>,\ <var_q>)$ and $p=\N(<mean_p>,\ "
                r"<var_p>)$? (The second number is the variance.)"
            ),
            "ru": (
                r"Чему равна $\KL(q\,\Vert\,p)$ в натах для $q=\N(<mean_q>;\ <var_q>)$ и $p=\N(<mean_p>;\ "
                r"<var_p>)$? (Второе число — дисперсия.)"
            ),
        },
        {
            "en": (
                r"$$\log\frac{\sigma_p}{\sigma_q}+\frac{\sigma_q^2+(\mu_q-\mu_p)^2}{2\sigma_p^2}-\frac12"
                r"=\log\frac{<sd_p>}{<sd_q>}+\frac{<var_q>+<gap:p>^2}{2\cdot<var_p>}-\frac12"
                r"\approx<log:3><ratio:3+>-\frac12\approx<answer:3>$$"
            ),
            "ru": (
                r"$$\log\frac{\sigma_p}{\sigma_q}+\frac{\sigma_q^2+(\mu_q-\mu_p)^2}{2\sigma_p^2}-\frac12"
                r"=\log\frac{<sd_p>}{<sd_q>}+\frac{<var_q>+<gap:p>^2}{2\cdot<var_p>}-\frac12"
                r"\approx<log:3><ratio:3+>-\frac12\approx<answer:3>$$"
            ),
        },
    ),
    Drill(
        "kl-plane",
        {"en": "KL of an encoder's normal from the prior", "ru": "KL от распределения кодировщика до априорного"},
        3,
        _kl_plane,
        {
            "en": (
                r"A VAE's encoder answers $\mu=<mean>$ and the standard deviations $\sigma=<sd>$. What is "
                r"$\KL\bigl(\N(\mu,\diag\sigma^2)\,\Vert\,\N(0,I)\bigr)$ in nats?"
            ),
            "ru": (
                r"Кодировщик VAE выдал $\mu=<mean>$ и стандартные отклонения $\sigma=<sd>$. Чему равна "
                r"$\KL\bigl(\N(\mu,\diag\sigma^2)\,\Vert\,\N(0,I)\bigr)$ в натах?"
            ),
        },
        {
            "en": (
                r"The coordinates add up, each with $\frac12(\sigma_j^2+\mu_j^2-1)-\log\sigma_j$ (the logarithm "
                r"outside the bracket). First: $\frac12(<s1>^2+<m1:p>^2-1)-\log<s1>\approx<first:3>$. Second: "
                r"$\frac12(<s2>^2+<m2:p>^2-1)-\log<s2>\approx<second:3>$. Together $<answer:3>$ nats."
            ),
            "ru": (
                r"Координаты складываются, каждая даёт $\frac12(\sigma_j^2+\mu_j^2-1)-\log\sigma_j$ (логарифм вне "
                r"скобки). Первая: $\frac12(<s1>^2+<m1:p>^2-1)-\log<s1>\approx<first:3>$. Вторая: "
                r"$\frac12(<s2>^2+<m2:p>^2-1)-\log<s2>\approx<second:3>$. Вместе $<answer:3>$ ната."
            ),
        },
    ),
    Drill(
        "jsd",
        {"en": "Jensen–Shannon divergence of two coins", "ru": "Дивергенция Йенсена–Шеннона двух монет"},
        4,
        _jsd,
        {
            "en": r"Two coins show heads with probability $<a>$ and $<b>$. What is the $\JSD$ of their laws, in nats?",
            "ru": (
                r"Две монеты падают орлом с вероятностями $<a>$ и $<b>$. Чему равна $\JSD$ их распределений, в "
                r"натах?"
            ),
        },
        {
            "en": (
                r"The average coin has $<r>$. "
                r"$\JSD=H(r)-\frac12H(p)-\frac12H(q)\approx<h_r:4>-\frac12(<h_a:4>+<h_b:4>)\approx<answer:4>$ "
                r"nats (with $H(\theta)=-\theta\log\theta-(1-\theta)\log(1-\theta)$). It can be at most "
                r"$\log2\approx<most:4>$."
            ),
            "ru": (
                r"У средней монеты вероятность $<r>$. "
                r"$\JSD=H(r)-\frac12H(p)-\frac12H(q)\approx<h_r:4>-\frac12(<h_a:4>+<h_b:4>)\approx<answer:4>$ "
                r"ната (здесь $H(\theta)=-\theta\log\theta-(1-\theta)\log(1-\theta)$). Больше "
                r"$\log2\approx<most:4>$ быть не может."
            ),
        },
    ),
    Drill(
        "bits",
        {"en": "Bits per dimension from nats", "ru": "Биты на размерность из натов"},
        3,
        _bits,
        {
            "en": (
                r"On pictures of shape $<channels>\times<side>\times<side>$ with 256 levels the mean of $-\log "
                r"p(\x)$ is $<nats>$ nats. <extra> How many bits per dimension is that?"
            ),
            "ru": (
                r"На изображениях формы $<channels>\times<side>\times<side>$ с 256 уровнями среднее значение "
                r"$-\log p(\x)$ в натах равно $<nats>$. <extra> Сколько это битов на размерность?"
            ),
        },
        {
            "en": r"<why> $\frac{<nats>}{<m>\cdot\log2}<plus>\approx<way><answer:3>$, with $m=<m>$.",
            "ru": r"<why> $\frac{<nats>}{<m>\cdot\log2}<plus>\approx<way><answer:3>$, где $m=<m>$.",
        },
    ),
    Drill(
        "masks",
        {"en": "Weights that the masks of MADE leave", "ru": "Сколько весов оставляют маски MADE"},
        0,
        _masks,
        {
            "en": (
                r"A MADE has $<m>$ inputs in their natural order and two hidden layers with the degrees "
                r"$r=<first>$ and $<second>$. How many weights (without biases) are left in its three layers "
                r"together?"
            ),
            "ru": (
                r"У MADE $<m>$ входов в естественном порядке и два скрытых слоя с номерами (степенями) нейронов "
                r"$r=<first>$ и $<second>$. Сколько весов (без смещений) остаётся во всех трёх слоях вместе?"
            ),
        },
        {
            "en": (
                r"Into the first layer a unit takes the inputs $i\le r(k)$: $<sum_in>=<into>$. Between hidden "
                r"layers degrees must not fall; counted for each unit of the second layer: "
                r"$<sum_between>=<between>$. An output $i$ takes the units with $r(k)<i$, so a unit feeds "
                r"$m-r(k)$ of them: $<sum_out>=<out>$. Together $<answer:0>$."
            ),
            "ru": (
                r"В первый слой нейрон берёт входы $i\le r(k)$: $<sum_in>=<into>$. Между скрытыми слоями номера "
                r"не убывают; по нейронам второго слоя: $<sum_between>=<between>$. Выход $i$ берёт нейроны с "
                r"$r(k)<i$, так что от нейрона идут веса к $m-r(k)$ выходам: $<sum_out>=<out>$. Всего "
                r"$<answer:0>$."
            ),
        },
    ),
    Drill(
        "field",
        {"en": "Receptive field of stacked convolutions", "ru": "Рецептивное поле стопки свёрток"},
        0,
        _field,
        {
            "en": (
                r"Three convolutions on a line follow one another, with kernels of size $<kernels>$, strides "
                r"$<strides>$ and dilations $<dilations>$. How many inputs does one output see?"
            ),
            "ru": (
                r"Три одномерные свёртки идут друг за другом: размеры ядер $<kernels>$, шаги $<strides>$, "
                r"коэффициенты расширения (dilation) $<dilations>$. Сколько входов видит один выход?"
            ),
        },
        {
            "en": (
                r"Each layer adds (kernel − 1) · dilation · (product of the strides before it): "
                r"$1+<put>=<answer:0>$."
            ),
            "ru": (
                r"Каждый слой добавляет (ядро − 1) · расширение · (произведение шагов до него): "
                r"$1+<put>=<answer:0>$."
            ),
        },
    ),
    Drill(
        "planar",
        {"en": "Determinant of a planar layer", "ru": "Определитель планарного слоя"},
        3,
        _planar,
        {
            "en": (
                r"$f(\z)=\z+u\,\tanh(w^\top\z+b)$ with $u=<u>$, $w=<w>$, $b=<b>$. What is the determinant of its "
                r"Jacobian at $\z=<z>$?"
            ),
            "ru": (
                r"$f(\z)=\z+u\,\tanh(w^\top\z+b)$, где $u=<u>$, $w=<w>$, $b=<b>$. Чему равен определитель матрицы "
                r"Якоби в точке $\z=<z>$?"
            ),
        },
        {
            "en": (
                r"$w^\top\z+b=<before>$, and $\tanh'=1-\tanh^2\approx1-<tanh:4p>^2\approx<slope:4>$. By the "
                r"matrix determinant lemma $\det=1+\tanh'\cdot w^\top "
                r"u\approx1+<slope:4>\cdot<inner:p>\approx<answer:3>$. The layer can be inverted, as $w^\top "
                r"u=<inner>\ge-1$."
            ),
            "ru": (
                r"$w^\top\z+b=<before>$ и $\tanh'=1-\tanh^2\approx1-<tanh:4p>^2\approx<slope:4>$. По лемме об "
                r"определителе $\det=1+\tanh'\cdot w^\top u\approx1+<slope:4>\cdot<inner:p>\approx<answer:3>$. "
                r"Слой обратим: $w^\top u=<inner>\ge-1$."
            ),
        },
    ),
    Drill(
        "coupling",
        {
            "en": "Log-likelihood under an affine coupling layer",
            "ru": "Логарифм правдоподобия аффинного связывающего слоя",
        },
        3,
        _coupling,
        {
            "en": (
                r"A flow in the plane keeps $z_1=x_1$ and takes $z_2=x_2e^{s}+t$ with $s=<k>\,x_1$ and "
                r"$t=<c>\,x_1<d:+>$. The base is $\N(0,I)$. What is $\log p(\x)$ in nats at $\x=<x>$?"
            ),
            "ru": (
                r"Поток на плоскости оставляет $z_1=x_1$, а $z_2=x_2e^{s}+t$, где $s=<k>\,x_1$ и "
                r"$t=<c>\,x_1<d:+>$. Базовое распределение — $\N(0,I)$. Чему равен $\log p(\x)$ в натах в точке "
                r"$\x=<x>$?"
            ),
        },
        {
            "en": (
                r"$s=<s>$, $t=<t>$, so $\z=(<x1>,\ <x2>\,e^{<s>}<t:+>)\approx(<x1>,\ <z2:3>)$. The base gives "
                r"$-\frac12\lVert\z\rVert^2-\log2\pi\approx<base:3>$, and the log-determinant is $s=<s>$. "
                r"Together $<answer:3>$ nats."
            ),
            "ru": (
                r"$s=<s>$, $t=<t>$, поэтому $\z=(<x1>;\ <x2>\,e^{<s>}<t:+>)\approx(<x1>;\ <z2:3>)$. Базовое "
                r"распределение даёт $-\frac12\lVert\z\rVert^2-\log2\pi\approx<base:3>$, логарифм определителя "
                r"равен $s=<s>$. Вместе $<answer:3>$ ната."
            ),
        },
    ),
    Drill(
        "best-discriminator",
        {"en": "The best discriminator at a point", "ru": "Лучший дискриминатор в точке"},
        3,
        _best,
        {
            "en": (
                r"The data follow $\pi=\N(<mean_pi>,\ <var_pi>)$, the generator makes $p=\N(<mean_p>,\ <var_p>)$ "
                r"(mean, variance). What is $D^*(<x>)$?"
            ),
            "ru": (
                r"Данные распределены как $\pi=\N(<mean_pi>;\ <var_pi>)$, генератор даёт $p=\N(<mean_p>;\ "
                r"<var_p>)$ (среднее, дисперсия). Чему равно $D^*(<x>)$?"
            ),
        },
        {
            "en": (
                r"$D^*=\frac{\pi}{\pi+p}=\frac1{1+e^{-a}}$ with $a=\log\pi-\log "
                r"p=\log\frac{<sd_p>}{<sd_pi>}+\frac{(x-\mu_p)^2}{2\sigma_p^2}-\frac{(x-\mu_\pi)^2}{2\sigma_\pi^2}"
                r"\approx<log:4>+<far_p:4>-<far_pi:4>\approx<logit:4>$. So $D^*\approx<answer:3>$."
            ),
            "ru": (
                r"$D^*=\frac{\pi}{\pi+p}=\frac1{1+e^{-a}}$, где $a=\log\pi-\log "
                r"p=\log\frac{<sd_p>}{<sd_pi>}+\frac{(x-\mu_p)^2}{2\sigma_p^2}-\frac{(x-\mu_\pi)^2}{2\sigma_\pi^2}"
                r"\approx<log:4>+<far_p:4>-<far_pi:4>\approx<logit:4>$. Значит, $D^*\approx<answer:3>$."
            ),
        },
    ),
    Drill(
        "earth",
        {"en": "Wasserstein distance on a line", "ru": "Расстояние Вассерштейна на прямой"},
        2,
        _earth,
        {
            "en": r"Two laws on the points $<points>$ of a line have the probabilities $p=<p>$ and $q=<q>$. "
            r"What is $W_1(p,q)$?",
            "ru": r"Два распределения на точках прямой $<points>$ имеют вероятности $p=<p>$ и $q=<q>$. "
            r"Чему равно $W_1(p,q)$?",
        },
        {
            "en": r"On a line $W_1$ is the area between the distribution functions. Between neighbouring points, "
            r"over lengths of $<lengths>$, they differ by $<heights>$. So $W_1=<put>=<answer:2>$.",
            "ru": r"На прямой $W_1$ — площадь между функциями распределения. На отрезках между соседними точками "
            r"длины $<lengths>$ они различаются на $<heights>$. Поэтому $W_1=<put>=<answer:2>$.",
        },
    ),
    Drill(
        "snr",
        {"en": "ᾱ and the signal-to-noise ratio", "ru": "ᾱ и отношение сигнала к шуму"},
        3,
        _snr,
        {
            "en": (
                r"A chain of four steps adds noise of the variances $\beta=<betas>$. What is the signal-to-noise "
                r"ratio $\bar\alpha/(1-\bar\alpha)$ after step $<i>$?"
            ),
            "ru": (
                r"Цепь из четырёх шагов добавляет шум с дисперсиями $\beta=<betas>$. Чему равно отношение сигнала "
                r"к шуму $\bar\alpha/(1-\bar\alpha)$ после шага $<i>$?"
            ),
        },
        {
            "en": (
                r"$\bar\alpha=\prod(1-\beta_j)=<put>=<kept>$. The noise has the variance $1-\bar\alpha=<lost>$, "
                r"so the ratio is $<kept>/<lost>\approx<answer:3>$."
            ),
            "ru": (
                r"$\bar\alpha=\prod(1-\beta_j)=<put>=<kept>$. Дисперсия шума $1-\bar\alpha=<lost>$, отношение "
                r"равно $<kept>/<lost>\approx<answer:3>$."
            ),
        },
    ),
    Drill(
        "posterior",
        {"en": "Posterior mean of a step back", "ru": "Апостериорное среднее шага назад"},
        3,
        _posterior,
        {
            "en": (
                r"One coordinate of a diffusion: $\alpha_s=<alpha_s>$, $\sigma_s=<sigma_s>$, and later "
                r"$\alpha_t=<alpha_t>$, $\sigma_t=<sigma_t>$. Given $x_t=<x_t>$ and $x_0=<x_0>$, what is the mean "
                r"of $q(x_s\mid x_t,x_0)$?"
            ),
            "ru": (
                r"Одна координата диффузии: $\alpha_s=<alpha_s>$, $\sigma_s=<sigma_s>$ и позже "
                r"$\alpha_t=<alpha_t>$, $\sigma_t=<sigma_t>$. Даны $x_t=<x_t>$ и $x_0=<x_0>$. Чему равно среднее "
                r"$q(x_s\mid x_t,x_0)$?"
            ),
        },
        {
            "en": (
                r"$a=\alpha_t/\alpha_s\approx<a:4>$ and $v=\sigma_t^2-a^2\sigma_s^2\approx<v:4>$. The mean is "
                r"$\frac{a\sigma_s^2}{\sigma_t^2}x_t+\frac{\alpha_sv}{\sigma_t^2}x_0"
                r"\approx<kept:4>\cdot<x_t:p>+<gained:4>\cdot<x_0:p>\approx<answer:3>$."
            ),
            "ru": (
                r"$a=\alpha_t/\alpha_s\approx<a:4>$ и $v=\sigma_t^2-a^2\sigma_s^2\approx<v:4>$. Среднее равно "
                r"$\frac{a\sigma_s^2}{\sigma_t^2}x_t+\frac{\alpha_sv}{\sigma_t^2}x_0"
                r"\approx<kept:4>\cdot<x_t:p>+<gained:4>\cdot<x_0:p>\approx<answer:3>$."
            ),
        },
    ),
    Drill(
        "guidance",
        {"en": "Guidance, down to the guess of the data", "ru": "Управление без классификатора: оценка данных"},
        3,
        _guidance,
        {
            "en": (
                r"At $\alpha_t=<alpha>$, $\sigma_t=<sigma>$ one coordinate is $x_t=<x_t>$. The network guesses "
                r"the noise $<free>$ without the label and $<wished>$ with it. With classifier-free guidance of "
                r"scale $\gamma=<scale>$ ($\gamma=1$ is off), what is the guess $\hat x_0$?"
            ),
            "ru": (
                r"При $\alpha_t=<alpha>$, $\sigma_t=<sigma>$ координата равна $x_t=<x_t>$. Оценка шума сетью: "
                r"$<free>$ без метки, $<wished>$ с меткой. Чему равна оценка $\hat x_0$ при управлении "
                r"без классификатора с силой $\gamma=<scale>$ ($\gamma=1$ — выключено)?"
            ),
        },
        {
            "en": (
                r"$\hat\varepsilon=<free>+<scale>\cdot<gap:p>=<noise>$, counted from the guess *without* the "
                r"label. Then $\hat "
                r"x_0=\frac{x_t-\sigma_t\hat\varepsilon}{\alpha_t}"
                r"=\frac{<x_t>-<sigma>\cdot<noise:p>}{<alpha>}\approx<answer:3>$."
            ),
            "ru": (
                r"$\hat\varepsilon=<free>+<scale>\cdot<gap:p>=<noise>$: отсчёт идёт от оценки *без* метки. Тогда "
                r"$\hat "
                r"x_0=\frac{x_t-\sigma_t\hat\varepsilon}{\alpha_t}"
                r"=\frac{<x_t>-<sigma>\cdot<noise:p>}{<alpha>}\approx<answer:3>$."
            ),
        },
    ),
    Drill(
        "lora",
        {"en": "Numbers that LoRA trains", "ru": "Сколько чисел обучает LoRA"},
        0,
        _lora,
        {
            "en": (
                r"LoRA of rank $<rank>$ is added to $<layers>$ weight matrices of $<rows>\times<columns>$. How "
                r"many numbers are trained?"
            ),
            "ru": (
                r"К $<layers>$ матрицам весов размера $<rows>\times<columns>$ добавлена LoRA ранга $<rank>$. "
                r"Сколько чисел обучается?"
            ),
        },
        {
            "en": (
                r"$B$ has $<rows>\cdot<rank>$ and $A$ has $<rank>\cdot<columns>$ numbers: "
                r"$<rank>\cdot(<rows>+<columns>)=<one>$ for a matrix, $<share:2>\,\%$ of its $<full>$. In all "
                r"$<layers>\cdot<one>=<answer:0>$."
            ),
            "ru": (
                r"В $B$ чисел $<rows>\cdot<rank>$, в $A$ — $<rank>\cdot<columns>$: "
                r"$<rank>\cdot(<rows>+<columns>)=<one>$ на матрицу, $<share:2>\,\%$ от её $<full>$. Всего "
                r"$<layers>\cdot<one>=<answer:0>$."
            ),
        },
    ),
)
"""In the order of the book's parts."""


def drill(name: str) -> Drill:
    """The drill of that name.

    Raises:
        PressError: there is none; the message names the nearest.
    """
    for each in DRILLS:
        if each.name == name:
            return each
    raise PressError(f"no drill {name!r}{nearest(name, [each.name for each in DRILLS])}")


class DrillsDirective(SphinxDirective):
    """``{drills}``: all drills, or those named: instance 0 to read, all instances as templates that a script deals."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The nodes of the drills."""
        self.env.note_dependency(str(Path(__file__)))
        named = self.arguments[0].split() if self.arguments else [each.name for each in DRILLS]
        return [node for name in named for node in self._drill(drill(name))]

    def _drill(self, this: Drill) -> Iterator[nodes.Node]:
        title = "".join(f'<span class="dgm-{lang}" lang="{lang}">{this.title[lang]}</span> ' for lang in LANGUAGES)
        yield raw(f'<section class="dgm-drill" id="drill-{this.name}" aria-labelledby="drill-{this.name}-title">')
        yield raw(f'<h3 id="drill-{this.name}-title">{title.strip()}</h3><div class="dgm-board dgm-still">')
        for lang in LANGUAGES:
            yield raw(f'<div class="dgm-{lang}" lang="{lang}">')
            yield from parsed(self, this(0).ask[lang])
            yield raw(f"<details><summary>{SOLUTION[lang]}</summary>")
            yield from parsed(self, this(0).solution[lang])
            yield raw("</details></div>")
        yield raw("</div>")
        for seed in range(SEEDS):
            one = this(seed)
            about = f'data-seed="{seed}" data-answer="{one.answer!r}" data-within="{one.within!r}"'
            about += f' data-places="{one.places}"'
            for lang in LANGUAGES:
                yield raw(f'<template {about} data-language="{lang}"><div class="dgm-ask" lang="{lang}">')
                yield from parsed(self, one.ask[lang])
                yield raw(f'</div><div class="dgm-worked" lang="{lang}">')
                yield from parsed(self, one.solution[lang])
                yield raw("</div></template>")
        yield raw("</section>")
