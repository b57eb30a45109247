"""Questions that a reader answers on the page: one choice, several, a number, an order of steps.

```
:::{quiz} choice
ask: Which term keeps $q(\\z\\mid\\x)$ near the prior?
options:
- text: The reconstruction.
  because: It pulls the other way.
- right: The KL.
  because: It is zero only where the two are equal.
:::
```

``several`` has any number of right options; ``number`` has ``answer``, ``within`` and ``because``; ``order`` has
``steps`` in the right order and ``because``. All texts are MyST. Without scripts, and on paper, the answer unfolds.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from press.chapters import Page
from press.exam import parsed, raw
from press.house import PressError, Problem

KINDS = ("choice", "several", "number", "order")
LEAST = 5
"""Questions a chapter."""
BLOCK = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{quiz\}[ \t]*(?P<kind>\S*)[ \t]*\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.M | re.S
)


@dataclass(frozen=True)
class Quiz:
    """A question. `options` are (text, is it right, why); `steps` stand in the right order."""

    kind: str
    ask: str
    options: tuple[tuple[str, bool, str], ...] = ()
    answer: float | None = None
    within: float = 0.0
    steps: tuple[str, ...] = ()
    because: str = ""


def read(kind: str, body: str) -> Quiz:
    """A question from its directive.

    Raises:
        ValueError: a part is missing, or is one that its kind does not have.
    """
    try:
        told: dict[str, Any] = yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error
    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}, came {kind!r}")
    needs = {"ask"} | {"number": {"answer", "within", "because"}, "order": {"steps", "because"}}.get(kind, {"options"})
    if not isinstance(told, dict) or set(told) != needs:
        came = sorted(told) if isinstance(told, dict) else told
        raise ValueError(f"expected the parts {', '.join(sorted(needs))}; came {came}")
    if kind in ("choice", "several"):
        options = []
        for option in told["options"]:
            if set(option) not in ({"text", "because"}, {"right", "because"}):
                raise ValueError(f"an option has 'because' and either 'text' or 'right'; came {sorted(option)}")
            options.append((str(option.get("right", option.get("text"))), "right" in option, str(option["because"])))
        right = sum(is_right for _, is_right, _ in options)
        if len(options) < 2 or right == 0 or (kind == "choice" and right > 1):
            raise ValueError(f"{len(options)} options, {right} of them right: a {kind} needs other numbers")
        return Quiz(kind, str(told["ask"]), tuple(options))
    if kind == "number":
        answer, within = float(told["answer"]), float(told["within"])
        if not within > 0 or not abs(answer) < float("inf"):
            raise ValueError(f"expected a finite answer within a positive distance, came {answer} within {within}")
        return Quiz(kind, str(told["ask"]), answer=answer, within=within, because=str(told["because"]))
    steps = tuple(map(str, told["steps"]))
    if len(steps) < 3 or len(set(steps)) < len(steps):
        raise ValueError("expected three steps or more, all different")
    return Quiz(kind, str(told["ask"]), steps=steps, because=str(told["because"]))


def problems(page: Page) -> Iterator[Problem]:
    """What is wrong with the questions of a page, and whether a chapter has enough."""
    count = 0
    for found in BLOCK.finditer(page.text):
        count += 1
        try:
            read(found["kind"], found["body"])
        except ValueError as error:
            yield Problem(page.where(page.text.count("\n", 0, found.start()) + 1), f"quiz: {error}")
    if page.is_chapter and count < LEAST:
        yield Problem(page.where(1), f"{count} quizzes; a chapter has at least {LEAST}")


class QuizDirective(SphinxDirective):
    """A question as a form: native inputs, so that keyboard and screen reader work; the answer folded below."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes of the form."""
        try:
            quiz = read(self.arguments[0], "\n".join(self.content))
        except ValueError as error:
            raise PressError(f"{self.env.docname}:{self.lineno}: quiz: {error}") from error
        name = f"quiz-{self.env.new_serialno('quiz') + 1}"
        about = f' data-answer="{quiz.answer}" data-within="{quiz.within}"' if quiz.kind == "number" else ""
        found = [
            raw(f'<form class="dgm-quiz" id="{name}" data-kind="{quiz.kind}"{about} aria-labelledby="{name}-ask">'),
            raw(f'<div class="dgm-ask" id="{name}-ask">'),
            *parsed(self, quiz.ask),
            raw("</div>"),
        ]
        put = {"choice": self._options, "several": self._options, "number": self._number, "order": self._steps}
        found += put[quiz.kind](quiz, name)
        return [*found, raw("</form>")]

    def _options(self, quiz: Quiz, name: str) -> Iterator[nodes.Node]:
        kind = "radio" if quiz.kind == "choice" else "checkbox"
        yield raw('<ol class="dgm-options" type="A">')
        for text, right, _ in quiz.options:
            mark = ' data-right=""' if right else ""
            yield raw(f'<li{mark}><label><input type="{kind}" name="{name}"><span>')
            yield from parsed(self, text)
            yield raw("</span></label></li>")
        yield raw("</ol>")
        yield raw(ANSWER.format(open="<ol type='A'>"))
        for _, right, because in quiz.options:
            yield raw(f"<li><b>{'Right.' if right else 'Wrong.'}</b> ")
            yield from parsed(self, because)
            yield raw("</li>")
        yield raw("</ol></details>")

    def _number(self, quiz: Quiz, name: str) -> Iterator[nodes.Node]:
        yield raw(f'<p><label>Your number: <input type="text" inputmode="decimal" name="{name}" size="10"></label></p>')
        yield raw(ANSWER.format(open=f"<p><b>{quiz.answer:g}</b> (within {quiz.within:g})</p>"))
        yield from parsed(self, quiz.because)
        yield raw("</details>")

    def _steps(self, quiz: Quiz, name: str) -> Iterator[nodes.Node]:
        del name
        mixed = list(enumerate(quiz.steps))
        chance = random.Random(quiz.ask)  # the same at every build
        while mixed == list(enumerate(quiz.steps)):
            chance.shuffle(mixed)
        yield raw('<ol class="dgm-steps">')
        for place, step in mixed:
            yield raw(f'<li data-place="{place}"><span>')
            yield from parsed(self, step)
            yield raw("</span></li>")
        yield raw("</ol>")
        yield raw(ANSWER.format(open="<ol>"))
        for step in quiz.steps:
            yield raw("<li>")
            yield from parsed(self, step)
            yield raw("</li>")
        yield raw("</ol>")
        yield from parsed(self, quiz.because)
        yield raw("</details>")


ANSWER = '<details class="dgm-answer"><summary>Answer</summary>{open}'


def plain(kind: str, body: str) -> list[str]:
    """A question as plain Markdown, for the exported notebook."""
    quiz = read(kind, body)
    lines = ["", f"**Question.** {quiz.ask.strip()}", ""]
    if quiz.options:
        lines += [f"- {chr(65 + i)}. {text.strip()}" for i, (text, _, _) in enumerate(quiz.options)]
        told = [
            f"- {chr(65 + i)}. {'Right.' if right else 'Wrong.'} {why.strip()}"
            for i, (_, right, why) in enumerate(quiz.options)
        ]
    elif quiz.steps:
        lines += [f"- {step.strip()}" for step in sorted(quiz.steps)]
        told = [*(f"{i}. {step.strip()}" for i, step in enumerate(quiz.steps, 1)), "", quiz.because.strip()]
    else:
        told = [f"{quiz.answer:g} (within {quiz.within:g}). {quiz.because.strip()}"]
    return [*lines, "", f"<details><summary>{escape('Answer')}</summary>", "", *told, "", "</details>", ""]
