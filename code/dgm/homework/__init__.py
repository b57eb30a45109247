"""Homework: for each task the public checks that ``dgm check NAME FILE`` runs on a student's file.

A task is a module of this folder. Its docstring's first line is its title; `ASKS` names what a student's file defines,
each with what it is to be; each function ``check_…`` takes the student's file and raises `Wrong` with a sentence that a
student can act on. What a check looks at is the first line of its docstring::

    ASKS = {"kl": "kl(m, s) -> the divergence in nats"}

    def check_zero(answer: Answer) -> None:
        \"\"\"The divergence of a law from itself is zero.\"\"\"
        came = answer.number("kl", 0.0, 1.0)
        if abs(came) > 1e-9:
            raise Wrong(f"kl(0, 1) is 0, as the two laws are equal; came {came:g}")
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dgm.checks import require_choice


class Wrong(Exception):
    """What is wrong with an answer, in a sentence that a student can act on."""


def names() -> list[str]:
    """The tasks, as they are called on the command line: ``o1-1``, …"""
    files = (path for folder in __path__ for path in Path(folder).glob("*.py") if not path.stem.startswith("_"))
    return sorted(path.stem.replace("_", "-") for path in files)


def get(name: str) -> ModuleType:
    """The module of a task.

    Raises:
        ValueError: no task has this name; the nearest are named.
    """
    known = require_choice(name.lower().replace("_", "-"), "name", names())
    return importlib.import_module(f"{__name__}.{known.replace('-', '_')}")


def checks(name: str) -> list[tuple[str, str]]:
    """The checks of a task in order: the function's name, and what it looks at."""
    return [(key, _first(part)) for key, part in vars(get(name)).items() if key.startswith("check_")]


def run(name: str, path: str | Path) -> Iterator[tuple[str, str | None]]:
    """Check a student's file: for each check what it looks at, and what is wrong, None where nothing is.

    Args:
        name: of the task.
        path: a Python file or a notebook.

    Raises:
        ValueError: there is no such task, or no such file, or it is of another kind.
    """
    task, path = get(name), Path(path)
    if path.suffix not in (".py", ".ipynb") or not path.is_file():
        raise ValueError(f"file: expected a Python file or a notebook, came {str(path)!r}")
    try:
        answer = Answer(path, task.ASKS)
    except Wrong as wrong:
        yield f"{path.name} runs and defines {', '.join(task.ASKS)}", str(wrong)
        return
    for key, what in checks(name):
        torch.manual_seed(0)
        try:
            getattr(task, key)(answer)
        except Wrong as wrong:
            yield what, str(wrong)
        else:
            yield what, None


class Answer:
    """A student's file, run; its functions are called so that whatever goes wrong is said in a sentence.

    Args:
        path: the file.
        asks: what it is to define: name → how it is called.

    Raises:
        Wrong: it does not run, or does not define what is asked.
    """

    def __init__(self, path: Path, asks: dict[str, str]) -> None:
        self.path, self.asks = path, asks
        self.names: dict[str, Any] = {"__name__": "answer", "__file__": str(path)}
        source = _source(path)
        sys.path.insert(0, str(path.parent.resolve()))
        try:
            exec(compile(source, str(path), "exec"), self.names)
        except NotImplementedError:
            raise Wrong("a part that is called while the file runs is not written yet") from None
        except Exception as error:
            raise Wrong(f"the file stops: {self._where(error)}") from None
        finally:
            sys.path.pop(0)
        if lacks := [name for name in asks if name not in self.names]:
            raise Wrong(f"the file does not define {' and '.join(f'{name}: {asks[name]}' for name in lacks)}")

    def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call what the file defines under this name."""
        try:
            came = self.names[name](*arguments, **options)
        except NotImplementedError:
            raise Wrong(f"{name} is not written yet") from None
        except Wrong:
            raise
        except Exception as error:
            raise Wrong(f"{name} stops: {self._where(error)}") from None
        if came is None:
            raise Wrong(f"{name} gives nothing back; is a `return` missing?")
        return came

    def tensor(self, name: str, *arguments: Any, shape: tuple[int, ...] | None = None, **options: Any) -> Tensor:
        """Call it and expect a finite tensor, of this shape where one is given."""
        return finite(self(name, *arguments, **options), f"{name}(…)", shape)

    def number(self, name: str, *arguments: Any, **options: Any) -> float:
        """Call it and expect one finite number."""
        came = self(name, *arguments, **options)
        try:
            exact = torch.tensor(came, dtype=torch.float64) if isinstance(came, float) else torch.as_tensor(came)
            return finite(exact, f"{name}(…)", ()).item()
        except (TypeError, ValueError, RuntimeError):
            raise Wrong(f"{name} is to give one number, came {type(came).__name__}") from None

    def _where(self, error: Exception) -> str:
        """The error, and the line of the student's own file in which it came up."""
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.path)
        ]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (lines or [None])[-1]
        at = f" (line {line} of {self.path.name})" if line else ""
        return f"{type(error).__name__}: {str(error).strip() or 'no message'}{at}"


def finite(came: Any, called: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor as it came, if it is one, has the shape and holds finite numbers.

    Raises:
        Wrong: it is not.
    """
    if not isinstance(came, Tensor):
        raise Wrong(f"{called} is to be a tensor, came {type(came).__name__}")
    if shape is not None and tuple(came.shape) != shape:
        raise Wrong(f"{called} is to have the shape {shape}, came {tuple(came.shape)}")
    if not torch.isfinite(came).all():
        raise Wrong(f"{called} holds NaN or infinite numbers")
    return came


def _first(part: Any) -> str:
    return (part.__doc__ or "").strip().partition("\n")[0]


def _source(path: Path) -> str:
    """The code of a file; of a notebook the code cells, without the lines that are for the notebook alone."""
    text = path.read_text("utf8")
    if path.suffix == ".py":
        return text
    try:
        cells = json.loads(text)["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise Wrong(f"{path.name} is no notebook") from None
    return "\n\n".join(
        "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in cell.splitlines()) for cell in code
    )
