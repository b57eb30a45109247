"""All homework: solutions pass, starters say what is not written, files of every bad kind are told so."""

import json

import pytest
from typer.testing import CliRunner

from dgm import homework
from dgm.cli import app
from press import homework as pages
from press.chapters import Page
from press.chapters import pages as book

TRAINED = {"o1-2", "o1-3", "o3-1", "o3-2", "o3-3", "o6-1", "o6-2", "o6-3", "c1-3", "c4-2"}
"""Tasks whose check trains for longer than a few seconds."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in TRAINED else name for name in homework.names()]


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes(told, name):
    assert told(name) == []


@pytest.mark.parametrize("name", homework.names())
def test_the_starter_fails_and_says_what_is_missing(name, tmp_path):
    for path, text in (
        (tmp_path / "starter.py", pages.starter(pages.solution(name))),
        (tmp_path / "starter.ipynb", json.dumps(pages.notebook(name))),
    ):
        path.write_text(text)
        wrong = [sentence for _, sentence in homework.run(name, path) if sentence]
        assert wrong
        assert all("not written yet" in sentence or "does not define" in sentence for sentence in wrong), wrong


@pytest.mark.parametrize("name", homework.names())
def test_every_task_has_its_page_and_wrong_answers_in_a_test(name):
    file = name.replace("-", "_")
    assert Page(f"course/homework/{name}") in book()
    assert (pages.SOLUTIONS / f"{file}.py").is_file()
    assert (pages.SOLUTIONS.parent / "tests" / "homework" / f"test_{file}.py").is_file()
    assert len(homework.checks(name)) >= 2
    assert all(what.endswith(".") for _, what in homework.checks(name))


def test_names_are_forgiving_and_unknown_ones_named():
    assert homework.get("O2_1") is homework.get("o2-1")
    with pytest.raises(ValueError, match="o2-1"):
        homework.get("o2-10")


BAD = {
    "def masks(:": "SyntaxError",
    "import nothing_of_this_name": r"ModuleNotFoundError.*\(line 1 of answer.py\)",
    "masks = 3": "does not define paths",
    "masks = paths = lambda *_: None": "gives nothing back; is a `return` missing?",
    "masks = paths = lambda *_: 1 / 0": r"masks stops: ZeroDivisionError: division by zero \(line 1 of answer.py\)",
    "masks = paths = 3": "masks stops: TypeError",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_told_so(text, tmp_path):
    path = tmp_path / "answer.py"
    path.write_text(text)
    came = CliRunner().invoke(app, ["check", "o2-1", str(path)])
    assert came.exit_code == 1
    assert __import__("re").search(BAD[text], came.output), came.output


def test_the_command_tells_each_check_and_its_exit_code(tmp_path):
    path = tmp_path / "answer.py"
    path.write_text(pages.solution("o2-1"))
    came = CliRunner().invoke(app, ["check", "o2-1", str(path)])
    assert came.exit_code == 0
    assert came.output.count("✓") == len(homework.checks("o2-1"))
    path.write_text(pages.solution("o2-1").replace("> number", ">= number"))
    came = CliRunner().invoke(app, ["check", "o2-1", str(path)])
    assert came.exit_code == 1
    assert "✗" in came.output
    for wrong in (["o2-1", "nowhere.py"], ["o2-1", str(tmp_path)], ["o9-9", str(path)]):
        came = CliRunner().invoke(app, ["check", *wrong])
        assert came.exit_code in (1, 2)
        assert "expected" in came.output or "not known" in came.output


def test_a_notebook_that_is_none_is_told_so(tmp_path):
    path = tmp_path / "answer.ipynb"
    path.write_text("{}")
    ((_, wrong),) = homework.run("o2-1", path)
    assert wrong == "answer.ipynb is no notebook"
