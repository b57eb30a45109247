"""Is a chapter what a chapter must be? Sources are read, and the outputs of the last run where they are fresh."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from press import homework, quiz, tickets
from press import path as ways
from press.chapters import Page, chapters, pages
from press.house import BOOK, CODE, ROOT, Problem, address, config
from press.maths import formulas, labels, letters, unknown_commands
from press.store import Store

ANATOMY = (
    "The question",
    "In one minute",
    "Derivation",
    "Code",
    "Live",
    "Numbers",
    "What can go wrong",
    "Exercises",
    "Exam",
    "Sources",
)
BUDGET_SECONDS = 60
CELL_LINES = 18
FIGURES, EXERCISES, CHECKED = 3, (4, 8), 2


def lint(only: str | None = None) -> list[Problem]:
    """All problems of the book's chapters (or of one)."""
    found: list[Problem] = []
    if only is None:
        found += [
            *notation_page(),
            *addresses(),
            *sources(BOOK / "references"),
            *course(),
        ]
        found += [problem for page in pages() for problem in quiz.problems(page)]
    store = Store()
    order = [page.name for page in pages()]
    for page in chapters(only):
        found += cells(page)
        found += symbols(page)
        if page.is_chapter:
            found += [
                *anatomy(page),
                *front_matter(page, order),
                *claims(page),
                *exercises(page),
                *rooms(page),
            ]
        record = store.state(page).record
        if record is not None:
            found += outputs(page, record)
    return list(dict.fromkeys(found))


def course() -> list[Problem]:
    """What is wrong with the exam, the ways through the book and the homework; it stops a build, too."""
    return [*tickets.problems(), *ways.problems(), *homework.problems()]


def binding(page: Page, record: dict[str, Any]) -> list[Problem]:
    """What stops a build: a claim that no number bears out, a picture without words."""
    return [*claims(page), *_proof(page, record)]


def anatomy(page: Page) -> Iterator[Problem]:
    """The sections of a chapter, in their order."""
    heads = [(n, line[3:].strip()) for n, line in _prose(page) if line.startswith("## ")]
    position = 0
    for n, head in heads:
        named = [i for i, name in enumerate(ANATOMY) if head == name or head.startswith((f"{name}:", f"{name},"))]
        if not named:
            yield Problem(page.where(n), f"the section {head!r} is none of: {', '.join(ANATOMY)}")
        elif named[0] < position:
            yield Problem(page.where(n), f"the section {head!r} comes too late; the order is: {', '.join(ANATOMY)}")
        else:
            position = named[0]
    for name in ANATOMY:
        if not any(head.startswith(name) for _, head in heads):
            yield Problem(page.where(1), f"the section '## {name}' is missing")


def front_matter(page: Page, order: list[str]) -> Iterator[Problem]:
    """What a chapter says of itself before it begins."""
    about = page.about
    if not isinstance(about.get("minutes"), int):
        yield Problem(page.where(1), "dgm.minutes is missing: how many minutes does the chapter take to read?")
    if not page.front.get("myst", {}).get("html_meta", {}).get("description"):
        yield Problem(page.where(1), "myst.html_meta.description is missing: one plain sentence for search engines")
    for name in about.get("prerequisites") or []:
        if name not in order:
            yield Problem(page.where(1), f"the prerequisite {name!r} is not in _toc.yml")
        elif order.index(name) >= order.index(page.name):
            yield Problem(page.where(1), f"the prerequisite {name!r} comes after the chapter in _toc.yml")
    if not about.get("tickets") or not all(isinstance(ticket, int) for ticket in about["tickets"]):
        yield Problem(page.where(1), "dgm.tickets is missing: which exam tickets does the chapter serve?")


def rooms(page: Page) -> Iterator[Problem]:
    """Chapter, module and test share one name."""
    for path in (page.module, page.test):
        if not path.is_file():
            yield Problem(
                page.where(1), f"{path.relative_to(ROOT)} is missing (press new {page.name} writes all three)"
            )


def cells(page: Page) -> Iterator[Problem]:
    """The form of code cells."""
    notebook = page.notebook()
    for cell, line in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        count = len(cell.source.splitlines())
        if "hide-input" not in tags and count > CELL_LINES:
            yield Problem(page.where(line + 1), f"a cell of {count} lines; move what is plumbing into the package")
        if any(tag.startswith("remove-") for tag in tags):
            yield Problem(page.where(line + 1), "remove-… hides code from notebooks too; use hide-input")
        if any(tag in ("raises-exception", "skip-execution") for tag in tags):
            yield Problem(page.where(line + 1), "a failure that is part of the text is caught in the cell and printed")


def claims(page: Page) -> Iterator[Problem]:
    """Every labelled claim is verified in the first code cell after it, by two expressions that differ."""
    notebook = page.notebook()
    waiting: dict[str, int] = {}
    seen: set[str] = set()
    for cell, line in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
        if cell.cell_type == "markdown":
            for at, label in labels(cell.source):
                if label.startswith("eq-"):
                    waiting[label] = line + at
                elif not label.startswith("def-"):
                    yield Problem(page.where(line + at), f"label {label!r}: claims are eq-…, definitions def-…")
            continue
        calls = list(_verifications(cell.source))
        for label, _, _ in calls:
            seen.add(label)
        here = {label for label, _, _ in calls}
        if here & set(waiting):
            waiting = {label: at for label, at in waiting.items() if label not in here}
            for label, at in waiting.items():
                yield Problem(page.where(at), f"the claim {label} is not verified in the cell right after it")
            waiting = {}
        for label, left, right in calls:
            where = page.where(line + 1)
            if label not in {known for _, known in labels(page.text)}:
                yield Problem(where, f"verify names {label}, but no equation of the chapter has that label")
            if ast.dump(left) == ast.dump(right):
                yield Problem(where, f"{label}: both sides are the same expression {ast.unparse(left)!r}")
            for side in (left, right):
                if not any(isinstance(node, ast.Name) for node in ast.walk(side)):
                    yield Problem(where, f"{label}: the side {ast.unparse(side)!r} is a constant")
    for label, at in waiting.items():
        yield Problem(page.where(at), f"the claim {label} is not verified; compute both sides in a cell right after it")


def _verifications(source: str) -> Iterator[tuple[str, ast.expr, ast.expr]]:
    """Label and sides of each `verify` call; names that the cell assigns once stand for what they are."""
    try:
        tree = ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))
    except SyntaxError:
        return  # the run will say so, with the line
    once: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            once[name] = node.value if name not in once else ast.Name(name)

    def resolve(side: ast.expr) -> ast.expr:
        return once.get(side.id, side) if isinstance(side, ast.Name) else side

    for node in ast.walk(tree):
        named = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == "verify"
        if named and isinstance(node, ast.Call) and len(node.args) >= 3 and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value), resolve(node.args[1]), resolve(node.args[2])


def exercises(page: Page) -> Iterator[Problem]:
    """Exercises with folded solutions, two of them checked by code."""
    posed = re.findall(
        r"^`{3,}\{exercise(?:-start)?\}[^\n]*\n(?::[^\n]*\n)*?:label: *([\w-]+)", page.text, re.MULTILINE
    )
    low, high = EXERCISES
    if not low <= len(posed) <= high:
        yield Problem(page.where(1), f"{len(posed)} exercises; a chapter has {low} to {high}")
    answers = re.findall(r"^`{3,}\{solution(?:-start)?\} *([\w-]+) *\n((?::[^\n]*\n)*)", page.text, re.MULTILINE)
    folded = {label for label, options in answers if "dropdown" in options}
    for label in posed:
        if label not in {name for name, _ in answers}:
            yield Problem(page.where(1), f"the exercise {label} has no solution")
        elif label not in folded:
            yield Problem(page.where(1), f"the solution of {label} is not folded; add ':class: dropdown'")
    checked = len(re.findall(r"^`{3,}\{solution-start\}", page.text, re.MULTILINE))
    if checked < CHECKED:
        yield Problem(
            page.where(1),
            f"{checked} exercises are checked by code (solution-start … solution-end); {CHECKED} must be",
        )


def symbols(page: Page) -> Iterator[Problem]:
    """Symbols are on the notation page or named in the front matter; commands are known to MathJax."""
    local: dict[str, str] = page.about.get("symbols") or {}
    known = _notation() | {letter for symbol in local for letter in letters(symbol)}
    macros = set(config()["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"])
    for line, tex in formulas(page.text):
        for command in sorted(unknown_commands(tex, macros)):
            yield Problem(page.where(line), f"MathJax does not know \\{command}; add a macro in _config.yml")
        for letter in sorted(letters(tex) - known):
            if letter[1:] not in unknown_commands(tex, macros):
                yield Problem(page.where(line), f"the symbol {letter} is not in book/reference/notation.yml")


@cache
def _notation() -> set[str]:
    macros = {f"\\{name}" for name in config()["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]}
    return macros | {letter for _, entry in _entries() for letter in letters(entry["symbol"])}


def _entries() -> Iterator[tuple[str, dict[str, Any]]]:
    """The notation's entries with the name of their group."""
    groups = yaml.safe_load((BOOK / "reference" / "notation.yml").read_text("utf8"))
    for group in groups:
        for entry in group["entries"]:
            yield group["name"], entry


def notation_page() -> Iterator[Problem]:
    """The notation page says what notation.yml says."""
    page = Page("reference/notation")
    text = re.sub(r"\s+", " ", page.text)
    for group, entry in _entries():
        row = re.sub(r"\s+", " ", f"| ${entry['symbol']}$ | {entry['meaning']} | {entry['russian']} |")
        if row not in text:
            yield Problem(page.where(1), f"{group}: the row '{row}' of notation.yml is missing")


def addresses() -> Iterator[Problem]:
    """Every mention of the repository is the address in _config.yml."""
    slug = address().slug
    name = slug.split("/")[1]
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", CODE / "pyproject.toml", CODE / "README.md"):
        if path.is_file():
            for n, line in enumerate(path.read_text("utf8").splitlines(), 1):
                for other in re.findall(rf"(?:github\.com|/gh|github)/([\w.-]+/{re.escape(name)})\b", line):
                    if other != slug:
                        what = f"{other} is not the address in _config.yml ({slug}); press address rewrites all"
                        yield Problem(f"{path.relative_to(ROOT)}:{n}", what)


def sources(folder: Path) -> Iterator[Problem]:
    """No key is defined twice: the reader of the files would drop an entry and say nothing."""
    first: dict[str, str] = {}
    for path in sorted(folder.glob("*.bib")):
        for n, line in enumerate(path.read_text("utf8").splitlines(), 1):
            if found := re.match(r"@\w+\{([^,\s]+),", line):
                where = f"{path.name}:{n}"
                if (key := found[1]) in first:
                    yield Problem(f"book/references/{where}", f"the key {key} is defined already, in {first[key]}")
                first.setdefault(key, where)


def outputs(page: Page, record: dict[str, Any]) -> Iterator[Problem]:
    """What the last run showed: claims, pictures, seconds."""
    yield from _proof(page, record)
    if record["seconds"] > BUDGET_SECONDS:
        yield Problem(page.where(1), f"the chapter takes {record['seconds']:.0f} s; its budget is {BUDGET_SECONDS} s")
    if not page.is_chapter:
        return
    if record["figures"] < FIGURES or not record["interactive"]:
        has = f"{record['figures']} figures, {record['interactive']} of them interactive"
        yield Problem(page.where(1), f"{has}; a chapter has at least {FIGURES}, one of them interactive (viz.slider)")


def _proof(page: Page, record: dict[str, Any]) -> Iterator[Problem]:
    if record["alt_missing"]:
        yield Problem(
            page.where(1),
            f"{record['alt_missing']} pictures without alternative text; use viz.show(…, alt=…)",
        )
    if record["addresses"]:
        yield Problem(page.where(1), "an output shows an object's address, new in each run; end the cell otherwise")
    claimed = {label for _, label in labels(page.text) if label.startswith("eq-")}
    for label in sorted(claimed - {claim["label"] for claim in record["claims"]}):
        yield Problem(page.where(1), f"the claim {label} was not verified when the chapter ran")


def _prose(page: Page) -> Iterator[tuple[int, str]]:
    """The lines outside fenced blocks, with their numbers."""
    fence = ""
    for n, line in enumerate(page.text.splitlines(), 1):
        mark = re.match(r"^(`{3,}|:{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        elif not fence:
            yield n, line
