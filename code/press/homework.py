"""The homework pages: starters made from the solutions, what is checked, and the solution folded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import yaml

from press.chapters import Page, pages
from press.exam import MystDirective
from press.house import BOOK, CODE, PressError, Problem, address, install_cell
from press.tickets import tickets

SOLUTIONS = CODE / "homework"
CHECKS = CODE / "dgm" / "homework"
SOURCE = BOOK / "course" / "homework.yml"
TASK = r"[OC]\d(\.\d)?"
"""What the book calls the homework of the two courses; that of later editions has other names."""
SOLVED = re.compile(r"^(?P<indent> *)# --- solution\n.*?^ *# --- end\n", re.MULTILINE | re.DOTALL)
DOWNLOADS = "_downloads/homework"


def names() -> list[str]:
    """The tasks that have a solution: ``o1-1``, …"""
    return sorted(path.stem.replace("_", "-") for path in SOLUTIONS.glob("*.py"))


def solution(name: str) -> str:
    """The source of a task's solution.

    Raises:
        PressError: there is none.
    """
    path = SOLUTIONS / f"{name.replace('-', '_')}.py"
    if not path.is_file():
        raise PressError(f"there is no solution {path.relative_to(CODE.parent)}")
    return path.read_text("utf8")


def starter(source: str) -> str:
    """A solution without what a student is to write: what stands between ``# --- solution`` and ``# --- end``.

    Raises:
        PressError: nothing is marked.
    """
    came, count = SOLVED.subn(lambda m: f'{m["indent"]}raise NotImplementedError("your turn")\n', source)
    if not count:
        raise PressError("a solution marks what the student writes by '# --- solution' and '# --- end'")
    return came


def notebook(name: str) -> nbformat.NotebookNode:
    """The starter as a notebook, which installs the package where it is not at hand."""
    made = jupytext.reads(starter(solution(name)), fmt="py:percent")
    made.cells.insert(1, nbformat.v4.new_code_cell(install_cell()))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for i, cell in enumerate(made.cells):
        cell["id"] = f"cell-{i}"
    return made


def plain(source: str) -> str:
    """A solution without its marks."""
    return re.sub(r"^ *# --- (?:solution|end)\n", "", source, flags=re.MULTILINE)


def export(folder: Path) -> None:
    """Write each starter as a notebook into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names():
        nbformat.write(notebook(name), folder / f"{name}.ipynb")


def checks(name: str) -> list[str]:
    """What the public checks of a task look at, read from their source."""
    tree = ast.parse((CHECKS / f"{name.replace('-', '_')}.py").read_text("utf8"))
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("check_")]
    return [(ast.get_docstring(n) or "").partition("\n")[0] for n in found]


@dataclass(frozen=True)
class Task:
    """One homework of a course."""

    task: str
    course: int
    title: str
    points: int | str
    chapters: tuple[str, ...] = ()
    waits_for: str | None = None
    russian: str = ""

    @property
    def name(self) -> str:
        """As it is called on the command line: ``o1-1``."""
        return self.task.lower().replace(".", "-")


def tasks() -> list[Task]:
    """All homework, in the order of the courses; none where the book has no course.

    Raises:
        PressError: an entry has a part that no homework has.
    """
    if not SOURCE.is_file():
        return []
    entries = yaml.safe_load(SOURCE.read_text("utf8"))
    known = set(Task.__dataclass_fields__)
    for entry in entries:
        if strange := sorted(set(entry) - known):
            raise PressError(f"homework.yml, {entry.get('task', '?')}: no homework has {', '.join(strange)}")
    return [Task(**entry | {"chapters": tuple(entry.get("chapters") or ())}) for entry in entries]


def problems(found: list[Task] | None = None, book: list[Page] | None = None) -> list[Problem]:
    """Tasks without a page, a solution or a chapter; pages and claims of chapters without a task."""
    found, book = tasks() if found is None else found, pages() if book is None else book
    in_toc, by_name = {page.name for page in book}, {each.task: each for each in found}
    told = []
    for each in found:
        wanted, where = f"course/homework/{each.name}", f"book/course/homework.yml, {each.task}"
        if each.waits_for in in_toc:
            told.append(Problem(where, f"waits for {each.waits_for}, which is there"))
        if each.waits_for is None and not (wanted in in_toc and each.name in names()):
            told.append(
                Problem(where, f"has no page {wanted} or no solution, and does not say which chapter it waits for")
            )
        told += [
            Problem(where, f"names the chapter {name}, which is not there") for name in set(each.chapters) - in_toc
        ]
    for page in book:
        for task in page.about.get("homework") or []:
            if re.fullmatch(TASK, task) and (task not in by_name or page.name not in by_name[task].chapters):
                told.append(Problem(page.where(1), f"claims homework {task}, which does not name {page.name}"))
        named = page.name.startswith("course/homework/") and page.name.rpartition("/")[2]
        if named and named not in {each.name for each in found}:
            told.append(Problem(page.where(1), "homework.yml has no such task"))
    return told


class TableDirective(MystDirective):
    """``{homework-table} 1``: the homework of a course."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """The table."""
        self.env.note_dependency(str(SOURCE))
        yield from ("| task | title | chapter | points | page |", "|---|---|---|---|---|")
        for each in filter(lambda each: each.course == int(self.arguments[0]), tasks()):
            title = f"{each.title} ({each.russian})" if each.russian else each.title
            chapters = ", ".join(f"{{doc}}`/{name}`" for name in each.chapters)
            page = "comes with its chapter" if each.waits_for else f"{{doc}}`/course/homework/{each.name}`"
            yield f"| {each.task} | {title} | {chapters} | {each.points} | {page} |"


class WaitingDirective(MystDirective):
    """``{waiting}``: everything that waits for a chapter to come, in the one place that lists it."""

    def lines(self) -> Iterator[str]:
        """A line for each chapter to come."""
        self.env.note_dependency(str(SOURCE))
        waits: dict[str, list[str]] = {}
        for each in tickets():
            if each.waits_for:
                state = "answered already, in text and its own figures" if each.complete else "no page yet"
                waits.setdefault(each.waits_for, []).append(f"ticket {each.number}, {each.title['en']} ({state})")
        for task in tasks():
            if task.waits_for:
                waits.setdefault(task.waits_for, []).append(f"homework {task.task}, {task.title}")
        yield from (f"- `{chapter}`: {'; '.join(waiting)}" for chapter, waiting in sorted(waits.items()))


class HomeworkDirective(MystDirective):
    """``{homework} o2-1``: the starter, the command that checks, what is checked, the solution folded."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """The block."""
        name = self.arguments[0]
        for path in (SOLUTIONS / f"{name.replace('-', '_')}.py", CHECKS / f"{name.replace('-', '_')}.py"):
            self.env.note_dependency(str(path))
        source = solution(name)
        colab = address().colab(f"homework/{name}")
        yield from (
            "**Begin**",
            "",
            f"Take the starter notebook: [open it in Colab]({colab}), or "
            f'<a href="../../{DOWNLOADS}/{name}.ipynb" download>download it</a>. Or copy it as a Python file:',
            "",
            "````{admonition} Starter",
            ":class: dropdown",
            "```python",
            *starter(source).splitlines(),
            "```",
            "````",
            "",
            "**Check your answer**",
            "",
            "```bash",
            f"dgm check {name} my_answer.py  # or my_answer.ipynb",
            "```",
            "",
            "The checks, in this order:",
            "",
            *(f"- {what}" for what in checks(name)),
            "",
            "````{admonition} A solution",
            ":class: dropdown tip",
            "```python",
            *plain(source).splitlines(),
            "```",
            "````",
        )
